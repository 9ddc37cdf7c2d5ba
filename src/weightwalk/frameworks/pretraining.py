"""Pretext tasks: what an encoder is trained on before it sees a label, registered by name.

A `Pretext` is plain values, which configurations and files of models hold; it builds a `Pretraining` around an encoder,
which is trained to say what the pretext wants (mean squared error). Then it is the encoder part of a `Reader`: its
`encode` is frozen, and a head is trained on labels.

To add one: a subclass of both, the pretext under `@PRETEXTS.register("mine")`, in a file that
`weightwalk/frameworks/__init__.py` imports; a task has it as a method by a configuration with a field of that type.

Axes: B networks, V views, C channels, H rows, W columns.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, Self

from torch import Tensor, nn

from weightwalk.encoders.base import Encoder
from weightwalk.errors import InputError
from weightwalk.heads.latents import LatentGenerator, num_doublings
from weightwalk.lanes import reading
from weightwalk.registry import Registry
from weightwalk.spec import NetworkSpec
from weightwalk.weights import Weights

PRETEXTS: Registry[type[Pretext]] = Registry("pretext task")


class Shown(Protocol):
    """Networks and what they show, each looked up when it is asked for."""

    def networks(self) -> Weights | Sequence[Weights]:
        """B networks."""

    def pictures(self) -> Tensor:
        """The pictures that they were fitted to, (B, C, H, W) in [-1, 1]."""


@dataclass(frozen=True)
class Pretext(ABC):
    """A pretext task and its sizes. Subclasses are frozen dataclasses of plain values with defaults."""

    name: str = field(default="inr2jls", kw_only=True)  # which files do not say that are older than the others

    @classmethod
    def named(cls, name: str, **settings: Any) -> Self:
        """The pretext task of that name; InputError if it is not of this class, which a method's field asks for."""
        kind = PRETEXTS[name]
        if not issubclass(kind, cls):
            own = next(known for known, other in PRETEXTS.items() if issubclass(other, cls))
            raise InputError(
                f"expected the pretext task {own}, which makes this method, got {name}; choose a recipe of the method "
                f"{name}, such as digits_{name}"
            )
        return kind(name=name, **settings)

    @property
    def views(self) -> tuple[str, ...]:
        """Of what pictures are decoded, in the order in which they come; none where no picture is."""
        return ()

    @abstractmethod
    def build(self, encoder: Encoder, image_shape: Sequence[int]) -> Pretraining:
        """The module for networks of pictures of that shape; InputError for other signals, and encoders that won't
        do.
        """

    @abstractmethod
    def wanted(self, model: Any, shown: Shown, training: bool) -> Tensor:
        """What `model`, which was built so, should say of networks. In training it may draw from torch's global
        generator.
        """


class Pretraining(nn.Module, ABC):
    """An encoder, and what is made of its encodings: `encode` to be read later, `forward` to be trained by.

    Subclasses set `encoder` and write `encoding_shape`, `encode` and `forward`.
    """

    encoder: Encoder

    @property
    @abstractmethod
    def encoding_shape(self) -> tuple[int, ...]:
        """Of what `encode` says of one network."""

    @abstractmethod
    def encode(self, networks: Weights | Sequence[Weights]) -> Tensor:
        """(B, *encoding_shape)."""

    @property
    def access(self) -> Literal["weights", "query"]:
        """What its encoder takes of a network."""
        return self.encoder.access

    def check(self, spec: NetworkSpec) -> None:
        self.encoder.check(spec)

    def prepare(self, batches: Iterable[Weights]) -> None:
        self.encoder.prepare(batches)


class LatentMaps(Pretraining):
    """A `Pretraining` with a latent generator: encoding -> V maps of latents, in a grid `latent_stride` times smaller
    than the picture. `theta_dim` is the width of the generator's learned vectors (the paper: the encoder's memory
    width).
    """

    def __init__(
        self,
        encoder: Encoder,
        image_shape: tuple[int, int, int],
        num_views: int,
        theta_dim: int,
        generator_dim: int,
        latent_dim: int,
        latent_stride: int,
    ):
        super().__init__()
        stride = max(latent_stride, 1)  # a grid as large as the image is refused in the line after next
        self.grid = (image_shape[1] // stride, image_shape[2] // stride)
        self.num_doublings = num_doublings(image_shape, self.grid)
        self.num_views = num_views
        self.encoder = encoder
        self.generator = LatentGenerator(
            num_views * self.grid[0] * self.grid[1], theta_dim, encoder.pooled_dim, generator_dim, latent_dim
        )

    @property
    def encoding_shape(self) -> tuple[int, ...]:
        """(V, latent_dim, h, w)."""
        return (self.num_views, self.generator.project.out_features, *self.grid)

    @reading
    def latents(self, networks: Weights | Sequence[Weights]) -> Tensor:
        """(B, V h w, latent_dim), ordered by view, then row, then column."""
        latents: Tensor = self.generator(self.encoder.encode(networks))
        return latents

    @reading
    def encode(self, networks: Weights | Sequence[Weights]) -> Tensor:
        """The latents as one feature map per view, (B, V, latent_dim, h, w)."""
        latents = self.latents(networks)
        return latents.reshape(len(latents), self.num_views, *self.grid, -1).movedim(-1, 2)
