"""A reader: an encoder and a head, the plain module that is trained, wrapped, compiled, saved and asked."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal, Protocol

from torch import Tensor, nn

from weightwalk.lanes import reading
from weightwalk.spec import NetworkSpec
from weightwalk.weights import Weights


class Encodes(Protocol):
    """The encoder part of a reader, which is a module: an `Encoder`, or a `Pretraining` such as `INR2JLS`."""

    @property
    def encoding_shape(self) -> tuple[int, ...]:
        """Of one network's encoding."""

    @property
    def access(self) -> Literal["weights", "query"]:
        """What it takes of a network: its parameters alone, or also its answers."""

    def encode(self, networks: Weights | Sequence[Weights]) -> Tensor:
        """(B, *encoding_shape); of several batches one after another."""

    def check(self, spec: NetworkSpec) -> None:
        """InputError for networks that it does not read."""

    def prepare(self, batches: Iterable[Weights]) -> None:
        """Look at all training networks once, before training."""


class Reader(nn.Module):
    """head(encoder.encode(networks)): from networks to one output each.

    Shapes: Weights of B networks, or a sequence of such batches of any architectures that the encoder reads, one after
    another -> (B, ...), what the head makes of an encoding.
    """

    encoder: Encodes
    head: nn.Module

    def __init__(self, encoder: Encodes, head: nn.Module):
        super().__init__()
        assert isinstance(encoder, nn.Module), f"the encoder part of a reader is a module, got {type(encoder).__name__}"
        self.encoder, self.head = encoder, head

    @reading
    def forward(self, networks: Weights | Sequence[Weights]) -> Tensor:
        outputs: Tensor = self.head(self.encoder.encode(networks))
        return outputs
