"""INR-INR: INR2JLS without pictures, an ablation (Dynamic Neural Graphs, TMLR 2026, Table 3).

Axes: B networks, P parameters, C latent channels, h x w latent grid.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from weightwalk.config import bounded
from weightwalk.encoders.base import Encoder
from weightwalk.encoders.standard import Standardise
from weightwalk.frameworks import views
from weightwalk.frameworks.pretraining import PRETEXTS, LatentMaps, Pretext, Shown
from weightwalk.heads.mlp import MLPHead
from weightwalk.lanes import reading
from weightwalk.weights import Weights


@PRETEXTS.register("inr_inr")
@dataclass(frozen=True)
class WeightSizes(Pretext):
    """Sizes of INR-INR behind its encoder: those of INR2JLS, and of the two MLPs that stand for its decoder."""

    name: str = field(default="inr_inr", kw_only=True)
    theta_dim: int = 512
    generator_dim: int = 1024
    latent_dim: int = 128
    decoder_dim: int = 512
    latent_stride: int = 4

    def __post_init__(self) -> None:
        bounded(self, "theta_dim generator_dim latent_dim decoder_dim latent_stride", 1)

    def build(self, encoder: Encoder, image_shape: Sequence[int]) -> INRINR:
        """The framework for networks of pictures of that shape; InputError for other signals."""
        shape = views.check(("identity",), image_shape)
        sizes = {name: value for name, value in vars(self).items() if name != "name"}
        return INRINR(encoder, shape, **sizes)

    def wanted(self, model: INRINR, shown: Shown, training: bool) -> Tensor:
        """The standardised parameters, (B, P)."""
        return model.standard(shown.networks())


class INRINR(LatentMaps):
    """Encoder and latent generator as in INR2JLS; the latents are decoded into the weights and biases by two MLPs.

        weights = MLP_w(latents),  biases = MLP_b(latents),  both [C h w -> 512 -> 512 -> ...] on all latents together

    The loss is the mean squared error of all parameters, as they lie in `Weights.flat`, after every tensor was
    standardised by its mean and deviation over the training networks (`prepare`). The paper says "MSE in weight space"
    and no more: without this the first layer, whose weights are 15 times as large as the second's, would be all that
    counts. It doesn't say how many latents there are; here they are one map, as of INR2JLS with one view, so that the
    same head can read them. The target depends on the order of hidden neurons and the encoding does not, so the loss
    has a floor, which is part of what the ablation shows.
    """

    def __init__(
        self,
        encoder: Encoder,
        image_shape: tuple[int, int, int],
        theta_dim: int = 512,
        generator_dim: int = 1024,
        latent_dim: int = 128,
        decoder_dim: int = 512,
        latent_stride: int = 4,
    ):
        super().__init__(encoder, image_shape, 1, theta_dim, generator_dim, latent_dim, latent_stride)
        fields = encoder.spec.fields
        of_field = [number for number, one in enumerate(fields) for _ in range(one.start, one.stop)]
        is_bias = [fields[number].role == "bias" for number in of_field]
        parts = sorted(range(len(of_field)), key=is_bias.__getitem__)  # weights, then biases
        places = {place: number for number, place in enumerate(parts)}
        self.register_buffer("of_field", torch.tensor(of_field), persistent=False)
        self.register_buffer("order", torch.tensor([places[place] for place in range(len(parts))]), persistent=False)
        self.standardise = Standardise(len(fields))
        counts = is_bias.count(False), is_bias.count(True)
        self.decoders = nn.ModuleList(
            MLPHead(self.encoding_shape, count, decoder_dim, num_hidden=2) for count in counts if count
        )

    of_field: Tensor
    order: Tensor

    def prepare(self, batches: Iterable[Weights]) -> None:
        """Also the mean and deviation of every weight and bias tensor."""
        passing = self.standardise.passing(
            batches, lambda batch: [batch.flat[:, one.start : one.stop] for one in batch.spec.fields]
        )
        self.encoder.prepare(passing)
        deque(passing, maxlen=0)  # what the encoder did not look at

    def standard(self, networks: Weights | Sequence[Weights]) -> Tensor:
        """The parameters as the loss sees them, (B, P)."""
        batch = networks if isinstance(networks, Weights) else Weights.cat(networks)
        self.check(batch.spec)
        return (batch.flat - self.standardise.mean[self.of_field]) / self.standardise.std[self.of_field]

    @reading
    def forward(self, networks: Weights | Sequence[Weights]) -> Tensor:
        """The standardised parameters, (B, P)."""
        latents = self.encode(networks)
        return torch.cat([decoder(latents) for decoder in self.decoders], dim=1)[:, self.order]
