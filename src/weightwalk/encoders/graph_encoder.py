"""What the encoders of the static neural graph have in common: what they read, mixtures, and what is read of nodes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from types import SimpleNamespace
from typing import Any, get_args

from weightwalk import config
from weightwalk.encoders.base import Encoder
from weightwalk.encoders.graph_blocks import Pool, pooled_parts
from weightwalk.encoders.neural_graph import GraphInput, mixture
from weightwalk.errors import InputError
from weightwalk.graphs.blocks import ROLES, Channels
from weightwalk.graphs.static import channels_of
from weightwalk.registry import unknown
from weightwalk.spec import NetworkSpec
from weightwalk.weights import Weights

_OF_INPUT = (
    *("num_frequencies", "scale", "reverse", "num_probes", "output_offset", "positional"),
    *("activation_embedding", "linear_as_conv"),
)
"""Options that are the `GraphInput`'s as they stand."""


class GraphEncoder(Encoder):
    """An encoder that begins with a `GraphInput` and has its options, and `pool`, which says what is read of nodes.

    With `shared`, any network is read of the same inputs and outputs whose kernels fit: as the spec's or, where they
    are larger, of `kernel_size` taps along an axis, `kernel_positions` positions and `max_hidden` hidden groups.
    Networks are read one architecture at a time, so no node is ever padded and nothing has to be masked; layers are not
    standardised.
    """

    def __init__(self, spec: NetworkSpec, node_dim: int, edge_dim: int, options: SimpleNamespace):
        """`options` has the subclass's options as attributes."""
        self.validate(options)
        super().__init__(spec)
        self.shared, self.pool, self.edges = bool(options.shared), options.pool, options.edges
        self.graph_input = GraphInput(
            spec,
            node_dim,
            edge_dim,
            **{name: getattr(options, name) for name in _OF_INPUT},
            standardise=options.standardise and not self.shared,
            channels=_common_channels(spec, options) if self.shared else None,
            max_hidden=options.max_hidden if self.shared else 0,
        )
        self.access = self.graph_input.access
        self.pooled_dim = pooled_parts(self.graph_input.graph, self.pool) * node_dim

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


def _common_channels(spec: NetworkSpec, options: SimpleNamespace) -> Channels:
    """The channels of a mixture's edges: the spec's, at least as large as the options say, with all roles."""
    own = channels_of(spec)
    size, positions = max(own.kernel_size, options.kernel_size), max(own.positions, options.kernel_positions)
    return Channels(size, own.axes, positions, ROLES)
