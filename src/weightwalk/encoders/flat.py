"""The plain baseline: a network's parameters as one vector, in the order in which they are stored."""

from __future__ import annotations

from collections.abc import Iterable

import torch.nn.functional as F
from torch import Tensor

from weightwalk.encoders.base import Encoder, Encoding, encoders
from weightwalk.encoders.standard import Standardise
from weightwalk.errors import InputError
from weightwalk.spec import NetworkSpec
from weightwalk.weights import Weights


@encoders.register("flat")
class FlatEncoder(Encoder):
    """The flat parameters, standardised one by one over the training networks; nothing is trained, and an MLP head
    reads them.

    Not invariant: the same function with its hidden neurons in another order has another encoding. With `shared`,
    networks of other architectures are read that have no more parameters than `spec`, filled up with zeros at the end:
    position k then means another parameter in every architecture. Mean and standard deviation of every position are
    buffers, set by `prepare` before training.

    Shapes: Weights of B networks of up to P parameters -> no nodes, pooled (B, P).
    """

    invariant = False

    def __init__(self, spec: NetworkSpec, shared: bool | None = None):
        super().__init__(spec)
        self.shared = bool(shared)
        self.pooled_dim = spec.num_parameters
        self.standardise = Standardise(self.pooled_dim)

    def check(self, spec: NetworkSpec) -> None:
        """InputError for more parameters than the encoder was made for; without `shared`, for another shape."""
        if not self.shared:
            super().check(spec)
        elif spec.num_parameters > self.pooled_dim:
            raise InputError(
                f"this model reads networks of at most {self.pooled_dim:,} parameters, got {spec.num_parameters:,} in "
                f"{spec}; "
                "use a model trained on such networks"
            )

    def prepare(self, batches: Iterable[Weights]) -> None:
        """Set the mean and standard deviation of every position."""
        self.standardise.measure(self._padded(batch) for batch in batches)

    def read(self, weights: Weights) -> Encoding:
        return Encoding(pooled=self.standardise(self._padded(weights)))

    def _padded(self, weights: Weights) -> Tensor:
        flat = weights.flat
        return F.pad(flat, (0, self.pooled_dim - flat.shape[1]))
