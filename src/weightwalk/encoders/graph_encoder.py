"""What the encoders of the static neural graph have in common: what they read, mixtures, and what is read of nodes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, get_args

from weightwalk import config
from weightwalk.encoders.base import Encoder
from weightwalk.encoders.graph_blocks import Pool
from weightwalk.encoders.neural_graph import GraphInput, mixture
from weightwalk.errors import InputError
from weightwalk.graphs.blocks import ROLES, Channels
from weightwalk.graphs.static import channels_of
from weightwalk.registry import unknown
from weightwalk.spec import NetworkSpec
from weightwalk.weights import Weights


class GraphEncoder(Encoder):
    """An encoder that begins with a `GraphInput` and has its options, and `pool`, which says what is read of nodes.

    With `shared`, any network is read of the same inputs and outputs whose kernels fit: as the spec's or, where they
    are larger, of `kernel_size` taps along an axis, `kernel_positions` positions and `max_hidden` hidden groups.
    Networks are read one architecture at a time, so no node is ever padded and nothing has to be masked; layers are not
    standardised.
    """

    graph_input: GraphInput

    @classmethod
    def validate(cls, options: Any) -> None:
        config.bounded(options, "num_layers", 1)
        config.bounded(options, "num_frequencies num_probes kernel_size kernel_positions max_hidden", 0)
        config.bounded(options, "scale", above=0)
        config.bounded(options, "output_offset")
        config.bounded(options, "dropout", 0, below=1)
        if options.pool not in get_args(Pool):
            raise InputError(unknown("pool", options.pool, list(get_args(Pool))))
        if options.shared and options.num_probes:
            raise InputError(
                "probes have maps for every layer of one architecture, got shared=true; set num_probes=0 for mixtures"
            )
        if options.shared and options.pool == "layers":
            raise InputError('networks of a mixture have unequally many layers; choose another pool than "layers"')

    @classmethod
    def covering(cls, specs: Sequence[NetworkSpec], options: Any) -> dict[str, Any]:
        channels, hidden = mixture(specs)
        sizes = {"kernel_size": channels.kernel_size, "kernel_positions": channels.positions, "max_hidden": hidden}
        return {name: max(size, getattr(options, name)) for name, size in sizes.items()}

    def check(self, spec: NetworkSpec) -> None:
        if self.shared:
            self.graph_input.check(spec)
        else:
            super().check(spec)

    def prepare(self, batches: Iterable[Weights]) -> None:
        """Set the mean and deviation of every layer's weights and biases."""
        self.graph_input.prepare(batches)


def common_channels(spec: NetworkSpec, kernel_size: int, positions: int) -> Channels:
    """The channels of a mixture's edges: the spec's, at least so large, with all roles."""
    own = channels_of(spec)
    return Channels(max(own.kernel_size, kernel_size), own.axes, max(own.positions, positions), ROLES)
