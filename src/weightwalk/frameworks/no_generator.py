"""INR2JLS without its latent generator, an ablation (Dynamic Neural Graphs, TMLR 2026, Table 3).

Axes: B networks, O output neurons, D memory, P pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from weightwalk.config import bounded
from weightwalk.encoders.base import Encoder
from weightwalk.errors import InputError
from weightwalk.frameworks import views
from weightwalk.frameworks.pretraining import PRETEXTS, Pretext, Pretraining, Shown
from weightwalk.heads.mlp import MLPHead
from weightwalk.lanes import reading
from weightwalk.weights import Weights


@PRETEXTS.register("no_generator")
@dataclass(frozen=True)
class ChannelSizes(Pretext):
    """The width of the decoder of `NoGenerator`; the default is the paper's."""

    name: str = field(default="no_generator", kw_only=True)
    decoder_dim: int = 512

    def __post_init__(self) -> None:
        bounded(self, "decoder_dim", 1)

    @property
    def views(self) -> tuple[str, ...]:
        return ("identity",)

    def build(self, encoder: Encoder, image_shape: Sequence[int]) -> NoGenerator:
        """The framework for networks of pictures of that shape; InputError for other signals, and for an encoder whose
        encoding is not a part for each channel.
        """
        return NoGenerator(encoder, views.check(self.views, image_shape), self.decoder_dim)

    def wanted(self, model: Any, shown: Shown, training: bool) -> Tensor:
        """The pictures, (B, 1, C, H, W)."""
        return shown.pictures()[:, None]


class NoGenerator(Pretraining):
    """Each output neuron's memory is decoded into its channel of the picture: channel_o = MLP(s_o), D -> 512 -> P.

    The loss is the mean squared error against the picture that the INR was fitted to, in [-1, 1]; there is one view,
    since a channel has one neuron. s_o is part o of O equal parts of the pooled encoding: of the DNG-Encoder, NG-GNN
    and NG-T the output nodes' features in order, of another encoder what it makes of that.

    There are no latents, so a head reads the encoding itself, (O D,), as of the encoder alone. The paper does not say
    what its classifier reads.
    """

    def __init__(self, encoder: Encoder, image_shape: tuple[int, int, int], decoder_dim: int = 512):
        super().__init__()
        outputs, channels = encoder.spec.num_outputs, image_shape[0]
        if outputs != channels or encoder.pooled_dim % outputs:
            raise InputError(
                f"expected an encoding with a part for each of the picture's {channels} channels, got "
                f"{encoder.pooled_dim} numbers of networks of {outputs} outputs; choose another encoder, or a recipe "
                "of INR2JLS"
            )
        self.encoder, self.image_shape = encoder, image_shape
        self.decoder = MLPHead((encoder.pooled_dim // outputs,), image_shape[1] * image_shape[2], decoder_dim)

    @property
    def encoding_shape(self) -> tuple[int, ...]:
        return self.encoder.encoding_shape

    @reading
    def encode(self, networks: Weights | Sequence[Weights]) -> Tensor:
        """The pooled encoding, (B, O D)."""
        return self.encoder.encode(networks)

    @reading
    def forward(self, networks: Weights | Sequence[Weights]) -> Tensor:
        """The pictures, (B, 1, C, H, W)."""
        memories = self.encode(networks).unflatten(1, (self.image_shape[0], -1))
        pictures: Tensor = self.decoder(memories.flatten(0, 1)).reshape(len(memories), 1, *self.image_shape)
        return pictures
