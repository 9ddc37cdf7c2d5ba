"""What an encoder is: a module from `Weights` to an `Encoding`, registered by name.

To add one, write a file with a subclass of `Encoder` under `@encoders.register("name")` and import it in
`weightwalk/encoders/__init__.py`. Its first argument is the spec of the networks that it reads; the others
are options with a type and a default, and can be set from the command line (`--set encoder.dim=32`).
Conformance tests, the command line and the tables pick it up.
"""

from __future__ import annotations

import inspect
import typing
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from weightwalk.errors import InputError
from weightwalk.registry import Registry
from weightwalk.spec import NetworkSpec
from weightwalk.weights import Weights


@dataclass(frozen=True)
class Encoding:
    """What an encoder makes of B networks.

    `nodes[l]` (B, n_l, d) are the features of node group l, equivariant to the order of hidden neurons;
    `pooled` (B, D) is invariant to it, with D the encoder's `pooled_dim`.
    """

    nodes: tuple[Tensor, ...]
    pooled: Tensor


class Encoder(nn.Module, ABC):
    """A module that reads networks of one architecture. Subclasses set `pooled_dim` and write `read`.

    What counts is the shape: a network of the same steps, widths and biases is accepted whatever its activations.
    """

    pooled_dim: int

    def __init__(self, spec: NetworkSpec):
        super().__init__()
        self.spec = spec

    @abstractmethod
    def read(self, weights: Weights) -> Encoding:
        """Encode a batch of networks of the shape of `self.spec`."""

    def forward(self, weights: Weights) -> Encoding:
        """`read`, after a look at the shape: InputError if the networks have another one than the encoder was made for."""
        if weights.spec != self.spec and weights.spec.shape != self.spec.shape:
            raise InputError(f"this model reads networks of the shape {self.spec}, got {weights.spec}; use a model trained on such networks")
        return self.read(weights)

    def encode(self, weights: Weights) -> Tensor:
        """The pooled encoding alone, (B, pooled_dim)."""
        pooled: Tensor = self(weights).pooled
        return pooled


encoders: Registry[type[Encoder]] = Registry("encoder")


def options(name: str) -> dict[str, Any]:
    """The options of a registered encoder with their defaults."""
    parameters = list(inspect.signature(encoders[name].__init__).parameters.values())[2:]
    return {parameter.name: parameter.default for parameter in parameters}


def option_types(name: str) -> dict[str, Any]:
    """The options of a registered encoder with their types."""
    hints = typing.get_type_hints(encoders[name].__init__)
    return {option: hints[option] for option in options(name)}


def build(name: str, spec: NetworkSpec, settings: Mapping[str, Any]) -> Encoder:
    """Make the encoder `name` for `spec`; an unknown setting lists the known ones."""
    known = options(name)
    for key in settings:
        if key not in known:
            raise InputError(f"unknown option {key!r} of encoder {name!r}; known: {', '.join(known)}")
    return encoders[name](spec, **settings)
