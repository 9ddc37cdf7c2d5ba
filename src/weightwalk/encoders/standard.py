"""Standardisation by the training networks, which encoders without parameters read through."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeVar

import torch
from torch import Tensor, nn

from weightwalk.weights import Weights

B = TypeVar("B")

CONSTANT = 1e-6  # a feature that varies less among the training networks is only centred


class Standardise(nn.Module):
    """(x - mean) / std per feature. Shapes: (B, D) -> (B, D).

    `mean` and `std` are buffers: saved with the model, never trained. They are 0 and 1 until `measure` has seen the
    training networks.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, dim: int):
        super().__init__()
        self.register_buffer("mean", torch.zeros(dim))
        self.register_buffer("std", torch.ones(dim))

    def measure(self, batches: Iterable[Tensor]) -> None:
        """Take the mean and standard deviation over the rows of all batches (B, D), summed in float64."""
        moments = ((len(x), x.double().sum(0), x.double().square().sum(0)) for x in batches)
        self._set((torch.full_like(total, count), total, squares) for count, total, squares in moments)

    def measure_tensors(self, batches: Iterable[Sequence[Tensor | None]]) -> None:
        """The same where the numbers of feature f are those of tensor f of every batch, whatever their shape; of a
        feature without numbers, None, the mean stays 0 and the deviation 1.
        """
        self._set(_moments(batch, self.mean) for batch in batches)

    def measure_layers(self, batches: Iterable[Weights]) -> None:
        """`measure_tensors` of the layers' parameters: feature 2 l is layer l's weight, 2 l + 1 its bias."""
        self.measure_tensors(
            [x for pair in zip(batch.weights, batch.biases, strict=True) for x in pair] for batch in batches
        )

    def passing(self, batches: Iterable[B], tensors: Callable[[B], Sequence[Tensor | None]]) -> Iterator[B]:
        """The batches, for somebody else to look at; when the last has passed, it is as after `measure_tensors` of
        theirs.
        """
        moments = []
        for batch in batches:
            moments.append(_moments(tensors(batch), self.mean))
            yield batch
        self._set(moments)

    @torch.no_grad()
    def _set(self, batches: Iterable[tuple[Tensor, Tensor, Tensor]]) -> None:
        """From how many numbers there are of every feature, their sum and the sum of their squares, per batch."""
        count, total, squares = (torch.zeros_like(self.mean, dtype=torch.float64) for _ in range(3))
        for numbers, of_batch, of_squares in batches:
            count, total, squares = count + numbers, total + of_batch, squares + of_squares
        mean = total / count.clamp(min=1)
        std = (squares / count.clamp(min=1) - mean.square()).clamp(min=0).sqrt()
        self.mean.copy_(mean)
        self.std.copy_(std.where(std > CONSTANT, 1.0))

    def forward(self, x: Tensor) -> Tensor:
        return (x - self.mean) / self.std

    def feature(self, x: Tensor, number: int) -> Tensor:
        """The same of numbers of one feature, in any shape."""
        return (x - self.mean[number]) / self.std[number]


def _moments(batch: Sequence[Tensor | None], like: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    rows = [
        [0.0, 0.0, 0.0] if x is None else [float(x.numel()), float(x.double().sum()), float(x.double().square().sum())]
        for x in batch
    ]
    count, total, squares = torch.tensor(rows, dtype=torch.float64, device=like.device).T
    return count, total, squares
