"""StatNN: seven numbers per weight and bias tensor (Unterthiner et al., Predicting Neural Network Accuracy from
Weights, 2020).

The MLP that reads them, 1000-1000-1 as published, is the head of whoever uses the encoder.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from weightwalk.encoders.base import Encoder, Encoding, encoders
from weightwalk.encoders.standard import Standardise
from weightwalk.errors import InputError
from weightwalk.spec import NetworkSpec
from weightwalk.weights import Weights

_QUANTILES = (0.0, 0.25, 0.5, 0.75, 1.0)
_COUNT = 2 + len(_QUANTILES)


def statistics(x_BN: Tensor) -> Tensor:
    """Mean, variance (of the numbers themselves, not of a larger population) and quantiles 0, .25, .5, .75, 1 of every
    row: (B, 7).
    """
    ordered = x_BN.sort(1).values
    at = torch.tensor(_QUANTILES, dtype=torch.float64, device=x_BN.device) * (x_BN.shape[1] - 1)
    low, share = at.floor().long(), at.frac().to(x_BN.dtype)
    quantiles = torch.lerp(ordered[:, low], ordered[:, at.ceil().long()], share.expand(len(x_BN), -1))
    variance = x_BN.var(1, correction=0, keepdim=True) if len(x_BN) else x_BN[:, :1]  # torch warns of an empty batch
    return torch.cat([x_BN.mean(1, keepdim=True), variance, quantiles], dim=1)


@encoders.register("statnn")
class StatNNEncoder(Encoder):
    """Statistics of every layer's weight and bias, standardised over the training networks; nothing is trained.

    A layer without a bias has zeros for its statistics. With `shared`, networks of other architectures are read whose
    layers are not more than those of `spec`: their weights' and biases' statistics are each filled up with zeros behind
    the last layer, as published. Mean and standard deviation of every feature are buffers, set by `prepare` before
    training.

    Shapes: Weights of B networks of up to L layers -> no nodes, pooled (B, 14 L): 7 per weight, then 7 per bias.
    """

    def __init__(self, spec: NetworkSpec, shared: bool | None = None):
        super().__init__(spec)
        self.shared = bool(shared)
        self.pooled_dim = 2 * _COUNT * len(spec.layers)
        self.standardise = Standardise(self.pooled_dim)

    @classmethod
    def largest(cls, specs: Sequence[NetworkSpec]) -> NetworkSpec:
        """The one of the most layers."""
        return max(specs, key=lambda spec: len(spec.layers))

    def check(self, spec: NetworkSpec) -> None:
        """InputError for more layers than the encoder was made for; without `shared`, for another shape."""
        if not self.shared:
            super().check(spec)
        elif len(spec.layers) > len(self.spec.layers):
            raise InputError(
                f"this model reads networks of at most {len(self.spec.layers)} layers, got {len(spec.layers)} in "
                f"{spec}; "
                "use a model trained on such networks"
            )

    def prepare(self, batches: Iterable[Weights]) -> None:
        """Set the mean and standard deviation of every statistic."""
        self.standardise.measure(self._features(batch) for batch in batches)

    def read(self, weights: Weights) -> Encoding:
        return Encoding(pooled=self.standardise(self._features(weights)))

    def _features(self, weights: Weights) -> Tensor:
        of_weights = [statistics(weight.flatten(1)) for weight in weights.weights]
        of_biases = [
            weight.new_zeros(len(weight), _COUNT) if bias is None else statistics(bias)
            for weight, bias in zip(weights.weights, weights.biases, strict=True)
        ]
        missing = _COUNT * (len(self.spec.layers) - len(of_weights))
        return torch.cat([F.pad(torch.cat(each, dim=1), (0, missing)) for each in (of_weights, of_biases)], dim=1)
