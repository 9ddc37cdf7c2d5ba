"""What an encoder is: a module from `Weights` to an `Encoding`, registered by name.

To add one, write a file with a subclass of `Encoder` under `@encoders.register("name")` and import it in
`weightwalk/encoders/__init__.py`. Its first argument is the spec of the networks that it reads; the others
are options with a type and a default, and can be set from the command line (`--set encoder.dim=32`).
An option `shared` says that networks of other architectures are read as well.
Conformance tests, the command line and the tables pick it up.
"""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from weightwalk.errors import InputError
from weightwalk.lanes import reading
from weightwalk.options import Options
from weightwalk.registry import Registry
from weightwalk.spec import NetworkSpec
from weightwalk.weights import Weights


@dataclass(frozen=True, kw_only=True)
class Encoding:
    """What an encoder makes of B networks of L layers.

    - `nodes`: L + 1 tensors (B, n_l, d), the features of the nodes of the input and of every layer, or none.
    - `edges`: L tensors shaped like the layers' weights plus d features, (B, O, I[, K], d), or none.
    - `pooled`: (B, D), with D the encoder's `pooled_dim`.

    Where hidden neurons change places, nodes and edges change places with them and `pooled` stays as it is.
    """

    pooled: Tensor
    nodes: tuple[Tensor, ...] = ()
    edges: tuple[Tensor, ...] = ()


torch.export.register_dataclass(Encoding, serialized_type_name="weightwalk.Encoding")


class Encoder(nn.Module, ABC):
    """A module that reads networks of one architecture. Subclasses set `pooled_dim` and write `read`.

    What counts is the shape: a network of the same steps, widths and biases is accepted whatever its activations.
    With `shared`, others are accepted as well, as far as `check` goes.
    """

    invariant: bool = True
    """False for one whose answer depends on the order of hidden neurons, and which says so."""
    access: Literal["weights", "query"] = "weights"
    """What the encoder takes of a network: its parameters alone, or "query", also its answers, which cost forward
    passes. Rows of results say it. Options may decide, as probes do.
    """
    pooled_dim: int
    shared: bool = False

    def __init__(self, spec: NetworkSpec):
        super().__init__()
        self.spec = spec

    @property
    def encoding_shape(self) -> tuple[int, ...]:
        """Of one network's pooled encoding."""
        return (self.pooled_dim,)

    @classmethod
    def largest(cls, specs: Sequence[NetworkSpec]) -> NetworkSpec:
        """Of several architectures, the one to build a shared encoder for."""
        return max(specs, key=lambda spec: spec.num_parameters)

    @classmethod
    def covering(cls, specs: Sequence[NetworkSpec], options: Any) -> dict[str, Any]:
        """The options, beside `shared`, with which an encoder for one of several architectures reads all of them; those
        that were given are attributes of `options`.
        """
        return {}

    @classmethod
    def validate(cls, options: Any) -> None:
        """InputError if the attributes of `options`, which have the right types, make no encoder for any network."""

    def prepare(self, batches: Iterable[Weights]) -> None:
        """Look at all training networks once, before training; for an encoder that standardises what it reads."""

    def check(self, spec: NetworkSpec) -> None:
        """InputError if networks of `spec` have another shape than the encoder was made for."""
        if spec != self.spec and spec.shape != self.spec.shape:
            raise InputError(
                f"this model reads networks of the shape {self.spec}, got {spec}{_difference(self.spec, spec)}; "
                "use a model trained on such networks"
            )

    @abstractmethod
    def read(self, weights: Weights) -> Encoding:
        """Encode a batch of networks of the shape of `self.spec`."""

    def read_each(self, batches: Sequence[Weights]) -> list[Encoding]:
        """`read` of several batches, each of another architecture; for an encoder that can do it all at once."""
        return [self.read(weights) for weights in batches]

    @reading
    def forward(self, weights: Weights) -> Encoding:
        """`read`, after `check`."""
        self._expect(weights)
        return self.read(weights)

    def _expect(self, weights: Weights) -> None:
        if not isinstance(weights, Weights):
            raise InputError(
                f"expected networks as Weights, got {type(weights).__name__}; make them by Weights(spec, flat)"
            )
        self.check(weights.spec)
        own = next(self.parameters(), None)
        if own is not None and (own.dtype, own.device) != (weights.dtype, weights.device):
            raise InputError(
                f"this model is {own.dtype} on {own.device}, got networks in {weights.dtype} on {weights.device}; move "
                "one with `.to`"
            )

    @reading
    def encode(self, networks: Weights | Sequence[Weights]) -> Tensor:
        """The pooled encodings alone, (B, pooled_dim); of several batches one after another, (sum of B, pooled_dim).

        Batches of one architecture are read together; none is padded.
        """
        if isinstance(networks, Weights):
            pooled: Tensor = self(networks).pooled
            return pooled
        if not networks:
            raise InputError("expected at least one batch of networks, got none")
        places: dict[NetworkSpec, list[int]] = defaultdict(list)
        for place, batch in enumerate(networks):
            places[batch.spec].append(place)
        alike = [[networks[place] for place in of_spec] for of_spec in places.values()]
        batches = [batch[0] if len(batch) == 1 else Weights.cat(batch) for batch in alike]
        if len(batches) == 1:
            encodings = [self(batches[0])]
        else:
            for batch in batches:
                self._expect(batch)
            encodings = self.read_each(batches)
        found: dict[int, Tensor] = {}
        for of_spec, parts, encoding in zip(places.values(), alike, encodings, strict=True):
            found |= dict(zip(of_spec, encoding.pooled.split([len(part) for part in parts]), strict=True))
        return torch.cat([found[place] for place in range(len(networks))])


def _difference(own: NetworkSpec, got: NetworkSpec) -> str:
    """The first step in which two specs of the same summary differ, as the end of a sentence."""
    alike = zip(own.steps, own.shape, got.steps, got.shape, strict=False)
    first = next(((number, a, b) for number, (a, one, b, other) in enumerate(alike) if one != other), None)
    return f" (step {first[0]}: {first[1]}, got {first[2]})" if first and str(own) == str(got) else ""


encoders: Registry[type[Encoder]] = Registry("encoder")


@dataclass(frozen=True)
class EncoderConfig(Options):
    """The name of a registered encoder and, in the subclass that `named` makes for it, its options.

    Wrong types and options that make no encoder are InputErrors here, before anything is built or written.
    """

    registry: ClassVar[Registry[Any]] = encoders

    def build(self, *specs: NetworkSpec) -> Encoder:
        """The encoder itself, for networks of one spec, or of several. Left out, its option `shared` is as these need
        it.
        """
        kind, options = encoders[self.name], self.options
        if len({spec.shape for spec in specs}) <= 1:
            return kind(specs[0], **options)
        if "shared" not in options:
            able = [name for name in encoders if "shared" in inspect.signature(encoders[name].__init__).parameters]
            raise InputError(
                f"encoder {self.name!r} reads networks of one architecture, got {len(specs)}; choose one of "
                + ", ".join(able)
            )
        if options["shared"] is False:
            raise InputError(
                f"an encoder with shared=false reads networks of one architecture, got {len(specs)}; leave shared out"
            )
        encoder = kind(kind.largest(specs), **options | {"shared": True} | kind.covering(specs, self))
        for spec in specs:
            encoder.check(spec)
        return encoder
