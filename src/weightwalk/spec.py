"""The frozen architecture of an input network (the network that is read), as a sequence of steps.

A step is one move of the forward pass: it reads a group of nodes and writes the next one. Group 0
holds the input nodes and group s + 1 is what step s writes. Steps with parameters (dense, conv) are
the layers that `Weights` has tensors for; steps without (pooling) only pass values on, so the order
of their target nodes is tied to that of their source nodes.

This module is pure Python: describing a network never imports torch.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any, ClassVar, NamedTuple

from weightwalk.errors import InputError
from weightwalk.registry import unknown

ACTIVATIONS = ("identity", "relu", "tanh", "sine", "sigmoid", "gelu", "silu", "leaky_relu", "gaussian")


@dataclass(frozen=True)
class Layer:
    """What steps with parameters share: nodes in, nodes out, a bias, an activation.

    The step computes `activation(omega * (W x + b))`; omega is 1 except for sine and gaussian.
    """

    kind: ClassVar[str]
    fan_in: int
    fan_out: int
    activation: str = "identity"
    omega: float = 1.0
    bias: bool = True

    def __post_init__(self) -> None:
        if self.fan_in < 1 or self.fan_out < 1:
            raise InputError(f"a {self.kind} step needs at least one node on each side, got {self.fan_in} -> {self.fan_out}")
        if self.activation not in ACTIVATIONS:
            raise InputError(unknown("activation", self.activation, list(ACTIVATIONS)))
        if self.omega <= 0 or not math.isfinite(self.omega):
            raise InputError(f"omega must be a positive number, got {self.omega}")

    @property
    def weight_shape(self) -> tuple[int, ...]:
        """Shape of one network's weight: (O, I), or (O, I, K) with K kernel taps."""
        return (self.fan_out, self.fan_in)


@dataclass(frozen=True)
class Dense(Layer):
    """A fully connected step: one edge per node pair. x: (..., I) -> (..., O)."""

    kind: ClassVar[str] = "dense"


@dataclass(frozen=True)
class Conv(Layer):
    """A 2-D convolution: K = kh * kw parallel edges per node (channel) pair. x: (..., I, H, W) -> (..., O, H', W')."""

    kind: ClassVar[str] = "conv"
    kernel: tuple[int, int] = (3, 3)
    stride: int = 1
    padding: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "kernel", tuple(self.kernel))
        if len(self.kernel) != 2 or min(self.kernel) < 1 or self.stride < 1 or self.padding < 0:
            raise InputError(f"a conv step needs a kernel (kh, kw), stride >= 1 and padding >= 0, got {self}")

    @property
    def weight_shape(self) -> tuple[int, ...]:
        return (self.fan_out, self.fan_in, self.kernel[0] * self.kernel[1])


@dataclass(frozen=True)
class MeanPool:
    """Global mean over positions, without parameters. x: (..., I, H, W) -> (..., I)."""

    kind: ClassVar[str] = "mean_pool"
    fan_in: int

    @property
    def fan_out(self) -> int:
        return self.fan_in


Step = Dense | Conv | MeanPool
_STEPS: dict[str, type[Dense] | type[Conv] | type[MeanPool]] = {step.kind: step for step in (Dense, Conv, MeanPool)}


class Field(NamedTuple):
    """Where one tensor lies in a network's flat parameter vector: elements start:stop, row-major."""

    layer: int
    role: str
    shape: tuple[int, ...]
    start: int
    stop: int


@dataclass(frozen=True)
class NetworkSpec:
    """A frozen architecture: its steps, in the order of inference.

    >>> NetworkSpec.mlp([2, 32, 32, 1], activation="sine", omega=30.0).num_parameters
    1185
    """

    steps: tuple[Step, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "steps", tuple(self.steps))
        if not self.layers:
            raise InputError("a network needs at least one step with parameters, got none")
        if self.steps[0].kind == "mean_pool":
            raise InputError("a network begins with a step that has parameters, got mean_pool")
        for index, (before, after) in enumerate(pairwise(self.steps)):
            if (before.kind == "conv") == (after.kind == "dense"):
                raise InputError(
                    f"step {index} ({before.kind}) cannot feed step {index + 1} ({after.kind}); "
                    "conv steps come first, then one mean_pool, then dense steps"
                )
            if before.fan_out != after.fan_in:
                raise InputError(
                    f"step {index} ({before.kind}) writes {before.fan_out} nodes but step {index + 1} ({after.kind}) "
                    f"reads {after.fan_in}; make the two widths equal"
                )

    @classmethod
    def mlp(cls, widths: Sequence[int], activation: str = "sine", omega: float = 30.0, bias: bool = True) -> NetworkSpec:
        """A fully connected network: `activation` (scaled by `omega` if it is sine or gaussian) on every hidden layer, none on the last."""
        if len(widths) < 2:
            raise InputError(f"an MLP needs at least an input and an output width, got {list(widths)}")
        hidden_omega = omega if activation in ("sine", "gaussian") else 1.0
        pairs = list(pairwise(widths))
        return cls(
            tuple(
                Dense(int(i), int(o), activation, hidden_omega, bias) if index < len(pairs) - 1 else Dense(int(i), int(o), bias=bias)
                for index, (i, o) in enumerate(pairs)
            )
        )

    @property
    def layers(self) -> tuple[Layer, ...]:
        """The steps that have parameters; `Weights.weights[l]` belongs to `layers[l]`."""
        return tuple(step for step in self.steps if isinstance(step, Layer))

    @property
    def widths(self) -> tuple[int, ...]:
        """Nodes per group of the layers: n_0 ... n_L."""
        return (self.layers[0].fan_in, *(layer.fan_out for layer in self.layers))

    @property
    def hidden_widths(self) -> tuple[int, ...]:
        """Nodes per exchangeable group: n_1 ... n_{L-1}."""
        return self.widths[1:-1]

    @property
    def fields(self) -> tuple[Field, ...]:
        """The flat layout of one network's parameters: per layer its weight, then its bias."""
        fields: list[Field] = []
        start = 0
        for index, layer in enumerate(self.layers):
            shapes = [("weight", layer.weight_shape)] + ([("bias", (layer.fan_out,))] if layer.bias else [])
            for role, shape in shapes:
                stop = start + math.prod(shape)
                fields.append(Field(index, role, shape, start, stop))
                start = stop
        return tuple(fields)

    @property
    def shape(self) -> tuple[tuple[Any, ...], ...]:
        """What two specs have in common whose parameters can be exchanged: kinds, widths, taps and biases of the steps."""
        return tuple((s.kind, s.weight_shape, s.bias) if isinstance(s, Layer) else (s.kind, s.fan_in) for s in self.steps)

    @property
    def num_parameters(self) -> int:
        return self.fields[-1].stop

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values; `from_dict` is its inverse."""
        return {"steps": [{"kind": step.kind, **asdict(step)} for step in self.steps]}

    @classmethod
    def from_dict(cls, value: dict[str, Any]) -> NetworkSpec:
        try:
            entries = [dict(entry) for entry in value["steps"]]
            return cls(tuple(_STEPS[entry.pop("kind")](**entry) for entry in entries))
        except (KeyError, TypeError) as error:
            raise InputError(f"expected a network spec with steps of the kinds {', '.join(_STEPS)}, got {value!r} ({error!r})") from None

    def __str__(self) -> str:
        if all(isinstance(step, Dense) for step in self.steps):
            hidden = self.layers[0].activation if len(self.layers) > 1 else "linear"
            return f"MLP {'-'.join(map(str, self.widths))} ({hidden})"
        return " > ".join(f"{step.kind} {step.fan_in}-{step.fan_out}" for step in self.steps)
