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
from dataclasses import dataclass, field, fields, make_dataclass
from functools import cache
from typing import Any

from torch import Tensor, nn

from weightwalk.errors import InputError
from weightwalk.registry import Registry, unknown
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
            raise InputError(
                f"this model reads networks of the shape {self.spec}, got {weights.spec}; use a model trained on such networks"
            )
        own = next(self.parameters(), None)
        if own is not None and (own.dtype, own.device) != (weights.dtype, weights.device):
            raise InputError(
                f"this model is {own.dtype} on {own.device}, got networks in {weights.dtype} on {weights.device}; move one with `.to`"
            )
        return self.read(weights)

    def encode(self, weights: Weights) -> Tensor:
        """The pooled encoding alone, (B, pooled_dim)."""
        pooled: Tensor = self(weights).pooled
        return pooled


encoders: Registry[type[Encoder]] = Registry("encoder")


@dataclass(frozen=True)
class EncoderConfig:
    """The name of a registered encoder and, in the subclass that `named` makes for it, its options."""

    name: str

    @staticmethod
    def named(name: str, **settings: Any) -> EncoderConfig:
        """The configuration of the encoder `name`, with the defaults of its own signature except for `settings`."""
        kind = _config_of(name)
        known = [entry.name for entry in fields(kind)[1:]]
        for key in settings:
            if key not in known:
                raise InputError(unknown(f"option of encoder {name!r}", key, known))
        return kind(name, **settings)

    def build(self, spec: NetworkSpec) -> Encoder:
        """The encoder itself, for networks of `spec`."""
        return encoders[self.name](spec, **{entry.name: getattr(self, entry.name) for entry in fields(self)[1:]})


@cache
def _config_of(name: str) -> type[EncoderConfig]:
    """A frozen dataclass whose fields are the options of an encoder's `__init__`."""
    signature, hints = inspect.signature(encoders[name].__init__), typing.get_type_hints(encoders[name].__init__)
    options = list(signature.parameters.values())[2:]
    entries = [(option.name, hints[option.name], field(default=option.default)) for option in options]
    return make_dataclass(f"{encoders[name].__name__}Config", entries, bases=(EncoderConfig,), frozen=True)
