"""What every step has in common, and the names that steps choose from."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

from weightwalk import config
from weightwalk.errors import InputError

ACTIVATIONS = (
    *("identity", "relu", "tanh", "sine", "sigmoid", "gelu", "silu", "leaky_relu", "gaussian"),
    *("gelu_tanh", "relu6", "elu", "selu", "softplus", "mish", "hardtanh", "hardswish", "hardsigmoid"),
)
NORMS = ("batch", "layer", "group", "rms")
LEAK = 0.01
"""leaky_relu's slope below zero, unless told otherwise."""


@dataclass(frozen=True)
class Step:
    """One move of the forward pass. Steps without parameters pass values on: the order of their nodes is tied to that
    of their sources'.
    """

    kind: ClassVar[str]
    num_sources: ClassVar[tuple[int, int]] = (1, 1)  # at least, at most
    fan_in: int
    sources: tuple[int, ...] = field(default=(), kw_only=True)

    def __post_init__(self) -> None:
        object.__setattr__(self, "sources", tuple(self.sources))
        if self.fan_in < 1 or self.fan_out < 1:
            raise InputError(
                f"a {self.kind} step needs at least one node on each side, got {self.fan_in} -> {self.fan_out}"
            )
        low, high = self.num_sources
        if self.sources and not low <= len(self.sources) <= high:
            raise InputError(
                f"a {self.kind} step reads {low if low == high else f'{low} or more'} values, got sources "
                f"{self.sources}"
            )

    if TYPE_CHECKING:

        @property
        def fan_out(self) -> int:
            """Channels written."""

    @property
    def reads(self) -> tuple[int, ...]:
        """Channels expected of each source."""
        return (self.fan_in,) * max(1, len(self.sources))

    @property
    def input_axes(self) -> int | None:
        """Axes of one example that the step reads, where the step alone decides that."""
        return None

    def to_dict(self) -> dict[str, Any]:
        return {"kind": self.kind, **config.to_dict(self)}


@dataclass(frozen=True)
class Sized(Step):
    """A step that writes another number of channels than it reads."""

    fan_out: int


@dataclass(frozen=True)
class Passing(Step):
    """A step that writes the channels that it reads."""

    @property
    def fan_out(self) -> int:
        return self.fan_in
