"""INR2JLS: from the weights of an INR to a latent space that it shares with its picture (Dynamic Neural Graphs, TMLR
2026, section 5).

Axes: B networks, V views, C channels, h x w latent grid.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from weightwalk.config import bounded
from weightwalk.encoders.base import Encoder
from weightwalk.errors import InputError
from weightwalk.frameworks import views
from weightwalk.frameworks.pretraining import PRETEXTS, LatentMaps, Pretext, Shown
from weightwalk.heads.latents import ConvDecoder
from weightwalk.lanes import reading
from weightwalk.weights import Weights


@PRETEXTS.register("inr2jls")
@dataclass(frozen=True)
class LatentSizes(Pretext):
    """Views and sizes of INR2JLS behind its encoder; the defaults are the paper's.

    With `noise`, in training the picture becomes clamp(picture + noise * n), n from N(0, 1) anew for every pixel and
    step, before it is turned (Table 4; with one view there). The paper does not say how large its noise is.
    """

    name: str = field(default="inr2jls", kw_only=True)
    views: tuple[str, ...] = views.PAPER_VIEWS
    theta_dim: int = 512
    generator_dim: int = 1024
    latent_dim: int = 128
    decoder_dim: int = 256
    latent_stride: int = 4
    noise: float = 0.0

    def __post_init__(self) -> None:
        bounded(self, "theta_dim generator_dim latent_dim decoder_dim latent_stride", 1)
        bounded(self, "noise", 0)
        for view in self.views:
            views.VIEWS[view]  # which says if nobody knows it
        if not self.views or len(set(self.views)) < len(self.views):
            raise InputError(f"views must be different names, at least one, got {', '.join(self.views) or 'none'}")

    def build(self, encoder: Encoder, image_shape: Sequence[int]) -> INR2JLS:
        """The framework for networks of pictures of that shape; InputError for other signals and unknown views."""
        return INR2JLS(
            encoder,
            views.check(self.views, image_shape),
            len(self.views),
            self.theta_dim,
            self.generator_dim,
            self.latent_dim,
            self.decoder_dim,
            self.latent_stride,
        )

    def wanted(self, model: Any, shown: Shown, training: bool) -> Tensor:
        """The pictures under every view, (B, V, C, H, W)."""
        pictures = shown.pictures()
        if self.noise and training:
            pictures = (pictures + self.noise * torch.randn(pictures.shape).to(pictures)).clamp(-1, 1)
        return views.transform(pictures, self.views)


class INR2JLS(LatentMaps):
    """Encoder, latent generator and decoder: weights -> encoding -> V latent maps -> V pictures.

    Self-supervised: the target is the picture that the INR was fitted to, under each of V views (see `views`), and the
    loss is the mean squared error in [-1, 1]. The input network is never evaluated, unless its encoder does. The
    decoder works on every view alone. Trained so, it is the encoder part of a `Reader`: its encoding is the latents,
    one feature map per view.
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
        super().__init__(encoder, image_shape, num_views, theta_dim, generator_dim, latent_dim, latent_stride)
        self.decoder = ConvDecoder(latent_dim, decoder_dim, image_shape[0], self.num_doublings)

    @reading
    def forward(self, networks: Weights | Sequence[Weights]) -> Tensor:
        """The pictures in [-1, 1], one per view, (B, V, C, H, W)."""
        maps = self.encode(networks)
        pictures: Tensor = self.decoder(maps.flatten(0, 1)).unflatten(0, maps.shape[:2])
        return pictures
