"""INR2JLS: from the weights of an INR to a latent space that it shares with its picture (Dynamic Neural Graphs, TMLR
2026, section 5).

Axes: B networks, V views, C channels, h x w latent grid.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from weightwalk.encoders.base import Encoder
from weightwalk.heads.latents import ConvDecoder, LatentGenerator, num_doublings
from weightwalk.weights import Weights


class INR2JLS(nn.Module):
    """Encoder, latent generator and decoder: weights -> encoding -> V latent maps -> V pictures.

    Self-supervised: the target is the picture that the INR was fitted to, under each of V views (see `views`), and the
    loss is the mean squared error in [-1, 1]. The input network is never evaluated. The decoder works on every view
    alone.
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

    def encode(self, weights: Weights) -> Tensor:
        """The encoder's pooled encoding, (B, E)."""
        return self.encoder.encode(weights)

    def latents(self, weights: Weights) -> Tensor:
        """(B, V h w, latent_dim), ordered by view, then row, then column."""
        latents: Tensor = self.generator(self.encode(weights))
        return latents

    def maps(self, weights: Weights) -> Tensor:
        """The latents as one feature map per view, (B, V, latent_dim, h, w)."""
        latents = self.latents(weights)
        return latents.reshape(len(latents), self.num_views, *self.grid, -1).movedim(-1, 2)

    def decode(self, weights: Weights) -> Tensor:
        """The pictures in [-1, 1], one per view, (B, V, C, H, W)."""
        maps = self.maps(weights)
        pictures: Tensor = self.decoder(maps.flatten(0, 1)).unflatten(0, maps.shape[:2])
        return pictures

    def forward(self, weights: Weights) -> Tensor:
        """`decode`."""
        return self.decode(weights)

    def loss(self, weights: Weights, targets_BVCHW: Tensor) -> Tensor:
        """Mean squared error between the decoded pictures and the pictures under each view."""
        return F.mse_loss(self.decode(weights), targets_BVCHW)
