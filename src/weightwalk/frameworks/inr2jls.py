"""INR2JLS: from the weights of an INR to a latent space that it shares with its picture (Dynamic Neural Graphs, TMLR
2026, section 5).

Axes: B networks, V views, C channels, h x w latent grid.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from torch import Tensor, nn

from weightwalk.config import bounded
from weightwalk.encoders.base import Encoder
from weightwalk.errors import InputError
from weightwalk.frameworks import views
from weightwalk.heads.latents import ConvDecoder, LatentGenerator, num_doublings
from weightwalk.lanes import reading
from weightwalk.spec import NetworkSpec
from weightwalk.weights import Weights


@dataclass(frozen=True)
class LatentSizes:
    """Views and sizes of INR2JLS behind its encoder; the defaults are the paper's."""

    views: tuple[str, ...] = views.PAPER_VIEWS
    theta_dim: int = 512
    generator_dim: int = 1024
    latent_dim: int = 128
    decoder_dim: int = 256
    latent_stride: int = 4

    def __post_init__(self) -> None:
        bounded(self, "theta_dim generator_dim latent_dim decoder_dim latent_stride", 1)
        for view in self.views:
            views.VIEWS[view]  # which says if nobody knows it
        if not self.views or len(set(self.views)) < len(self.views):
            raise InputError(f"views must be different names, at least one, got {', '.join(self.views) or 'none'}")

    def build(self, encoder: Encoder, image_shape: Sequence[int]) -> INR2JLS:
        """The framework for networks of pictures of that shape; InputError for other signals and unknown views."""
        shape = views.check(self.views, image_shape)
        sizes = {name: value for name, value in vars(self).items() if name != "views"}
        return INR2JLS(encoder, shape, num_views=len(self.views), **sizes)


class INR2JLS(nn.Module):
    """Encoder, latent generator and decoder: weights -> encoding -> V latent maps -> V pictures.

    Self-supervised: the target is the picture that the INR was fitted to, under each of V views (see `views`), and the
    loss is the mean squared error in [-1, 1]. The input network is never evaluated. The decoder works on every view
    alone. Trained so, it is the encoder part of a `Reader`: its encoding is the latents, one feature map per view.
    `theta_dim` is the width of the latent generator's learned vectors (the paper: the encoder's memory width).
    """

    def __init__(
        self,
        encoder: Encoder,
        image_shape: tuple[int, int, int],
        num_views: int = 6,
        theta_dim: int = 512,
        generator_dim: int = 1024,
        latent_dim: int = 128,
        decoder_dim: int = 256,
        latent_stride: int = 4,
    ):
        super().__init__()
        stride = max(latent_stride, 1)  # a grid as large as the image is refused in the next line
        self.grid = (image_shape[1] // stride, image_shape[2] // stride)
        doublings = num_doublings(image_shape, self.grid)
        self.num_views = num_views
        self.encoder = encoder
        self.generator = LatentGenerator(
            num_views * self.grid[0] * self.grid[1], theta_dim, encoder.pooled_dim, generator_dim, latent_dim
        )
        self.decoder = ConvDecoder(latent_dim, decoder_dim, image_shape[0], doublings)

    @property
    def access(self) -> Literal["weights", "query"]:
        """What its encoder takes of a network."""
        return self.encoder.access

    @property
    def encoding_shape(self) -> tuple[int, ...]:
        """(V, latent_dim, h, w)."""
        return (self.num_views, self.generator.project.out_features, *self.grid)

    def check(self, spec: NetworkSpec) -> None:
        self.encoder.check(spec)

    def prepare(self, batches: Iterable[Weights]) -> None:
        self.encoder.prepare(batches)

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

    @reading
    def forward(self, networks: Weights | Sequence[Weights]) -> Tensor:
        """The pictures in [-1, 1], one per view, (B, V, C, H, W)."""
        maps = self.encode(networks)
        pictures: Tensor = self.decoder(maps.flatten(0, 1)).unflatten(0, maps.shape[:2])
        return pictures
