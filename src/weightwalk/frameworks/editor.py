"""Networks that edit INRs: by other parameters (`Editor`), or by decoding the edited picture (`PictureEditor`).

The two are different things. The first answers with a network, which is a function of any point; the second with
pixels. Their errors belong in columns of their own.

Axes: B networks, P parameters, C channels, H rows, W columns.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from weightwalk.config import bounded
from weightwalk.encoders.base import Encoder, Encoding
from weightwalk.errors import InputError
from weightwalk.frameworks.inr2jls import INR2JLS
from weightwalk.heads.edit import OffsetHead
from weightwalk.lanes import reading
from weightwalk.weights import Weights
from weightwalk.zoos.inr.pixels import PixelFormat


@dataclass(frozen=True)
class OffsetSizes:
    """Of the head that changes parameters (`heads/edit.py`); the defaults are the published ones."""

    hidden_dim: int | None = None
    num_hidden: int = 1
    scale: float = 0.01

    def __post_init__(self) -> None:
        bounded(self, "hidden_dim", 1)
        bounded(self, "num_hidden scale", 0)

    def build(self, encoder: Encoder, image_shape: Sequence[int], pixels: PixelFormat) -> Editor:
        """The editor of INRs of pictures of that shape; InputError for an encoder that says nothing of edges."""
        encoding = _example(encoder)
        if not encoding.edges or not encoding.nodes:
            raise InputError(
                f"an editing head reads what an encoder says of edges and nodes, but {type(encoder).__name__} gives "
                "only pooled encodings; choose an encoder with the option edges"
            )
        dims = {tensor.shape[-1] for tensor in encoding.nodes[1:]}, {tensor.shape[-1] for tensor in encoding.edges}
        assert all(len(dim) == 1 for dim in dims), f"one number of features for all layers, got {dims}"
        (node_dim,), (edge_dim,) = dims
        head = OffsetHead(encoder.spec, node_dim, edge_dim, **vars(self))
        return Editor(encoder, head, tuple(image_shape[1:]), pixels)


def _example(encoder: Encoder) -> Encoding:
    """What an encoder makes of a network of zeros, for its shapes."""
    training, own = encoder.training, next(encoder.parameters(), torch.empty(0))
    with torch.no_grad():
        zeros = own.new_zeros(1, encoder.spec.num_parameters)
        encoding: Encoding = encoder.eval()(Weights(encoder.spec, zeros))
    encoder.train(training)
    return encoding


class Editor(nn.Module):
    """theta' = theta + head(encoder(theta)), one offset per parameter; what it shows is the edited network evaluated.

    The head is equivariant, so the edit of a network whose hidden neurons were reordered is the edit reordered. The
    edit itself never evaluates a network (`access` is the encoder's); a loss of `forward` does evaluate the edited one,
    on every point of the `grid`, and its gradients go through that evaluation.
    """

    def __init__(self, encoder: Encoder, head: OffsetHead, grid: tuple[int, ...], pixels: PixelFormat):
        super().__init__()
        self.encoder, self.head = encoder, head
        self.grid, self.pixels = grid, pixels

    @reading
    def _edited(self, networks: Weights) -> Tensor:
        """(B, P)."""
        flat: Tensor = networks.flat + self.head(self.encoder(networks))
        return flat

    def edit(self, networks: Weights | Sequence[Weights]) -> Weights:
        """The edited networks, of the same spec; differentiable."""
        batch = networks if isinstance(networks, Weights) else Weights.cat(networks)
        return Weights(batch.spec, self._edited(batch))

    @reading
    def forward(self, networks: Weights | Sequence[Weights]) -> Tensor:
        """What the edited networks show, -1 black and 1 white, not clipped: (B, C, H, W)."""
        return 2 * self.pixels.render(self.edit(networks), *self.grid) - 1


class PictureEditor(nn.Module):
    """INR2JLS with one view, whose target is the edited picture: pictures out of weights, and no network."""

    def __init__(self, encoder: INR2JLS):
        super().__init__()
        if encoder.num_views != 1:
            raise InputError(
                f"expected one view of an edited picture, got {encoder.num_views}; set latents.views=identity"
            )
        self.encoder = encoder

    @reading
    def forward(self, networks: Weights | Sequence[Weights]) -> Tensor:
        """The edited pictures, -1 black and 1 white, not clipped: (B, C, H, W)."""
        pictures: Tensor = self.encoder(networks)[:, 0]
        return pictures
