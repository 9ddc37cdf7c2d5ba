"""From an encoding to a joint latent space, and from there to pictures (Dynamic Neural Graphs, TMLR 2026, Fig 4).

Axes: B networks, V views, T = V h w latents, D memory, E encoding, C latent channels.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import pairwise
from typing import Any, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from weightwalk import lanes
from weightwalk.errors import InputError
from weightwalk.heads import by_hand, doubling
from weightwalk.kept import kept

T = TypeVar("T")


class LatentGenerator(nn.Module):
    """T learned vectors theta_t, each fused with the encoding e: latent_t = W_2 relu(W_1 [theta_t ; e] + b_1) + b_2.

    W_1 acts on theta_t and on e by columns of its own, so the theta part is computed once and the encoding part once
    per network, and not once per network and latent: the same function. On a CPU the hidden layer is computed for one
    network at a time, in its cache, and again for the gradient. Shapes: encoding (B, E) -> (B, T, C).
    """

    def __init__(self, num_latents: int, memory_dim: int, encoding_dim: int, hidden_dim: int, latent_dim: int):
        super().__init__()
        self.theta = nn.Parameter(torch.randn(num_latents, memory_dim))
        self.fuse = nn.Linear(memory_dim + encoding_dim, hidden_dim)
        self.project = nn.Linear(hidden_dim, latent_dim)

    def forward(self, encoding_BE: Tensor) -> Tensor:
        of_theta, of_encoding = self.fuse.weight.split([self.theta.shape[1], encoding_BE.shape[1]], dim=1)
        of = self.theta, self.fuse.weight, self.fuse.bias
        by_theta = kept(self, "theta", of, lambda: F.linear(self.theta, of_theta, self.fuse.bias))
        by_encoding = F.linear(encoding_BE, of_encoding)
        operands = by_theta, by_encoding, self.project.weight, self.project.bias
        if by_hand.dtype_of(by_theta) == torch.bfloat16 or not by_hand.possible(*operands):
            return _project(*operands)  # in bfloat16 sums over networks must be float32, which costs what is spared
        latents: Tensor = _Project.apply(*operands)  # type: ignore[no-untyped-call]
        return latents


def _project(by_theta_TK: Tensor, by_encoding_BK: Tensor, weight_CK: Tensor, bias_C: Tensor) -> Tensor:
    return F.linear(torch.relu(by_theta_TK + by_encoding_BK[:, None, :]), weight_CK, bias_C)


class _Project(torch.autograd.Function):
    """`_project`, with a hidden layer of one network at a time: groups of them side by side where torch has threads."""

    @staticmethod
    def forward(ctx: Any, by_theta_TK: Tensor, by_encoding_BK: Tensor, weight_CK: Tensor, bias_C: Tensor) -> Tensor:
        latents = by_theta_TK.new_empty(len(by_encoding_BK), len(by_theta_TK), len(bias_C))

        def project(by_encoding: Tensor, answers: Tensor) -> None:
            hidden = torch.empty_like(by_theta_TK)
            for encoding, answer in zip(by_encoding, answers, strict=True):
                torch.add(by_theta_TK, encoding, out=hidden).relu_()
                torch.addmm(bias_C, hidden, weight_CK.T, out=answer)

        _in_groups(project, by_encoding_BK, latents)
        ctx.save_for_backward(by_theta_TK, by_encoding_BK, weight_CK, bias_C)
        return latents

    @staticmethod
    def backward(ctx: Any, gradient_BTC: Tensor) -> tuple[Tensor | None, ...]:
        operands = by_theta_TK, by_encoding_BK, weight_CK, _ = ctx.saved_tensors
        if torch.is_grad_enabled():
            return by_hand.gradients(_project, operands, gradient_BTC)
        of_encoding = torch.empty_like(by_encoding_BK)

        def pull(by_encoding: Tensor, of_encodings: Tensor, gradients: Tensor) -> tuple[Tensor, Tensor]:
            hidden, of_hidden = torch.empty_like(by_theta_TK), torch.empty_like(by_theta_TK)
            of_theta, of_weight = torch.zeros_like(by_theta_TK), torch.zeros_like(weight_CK)
            for encoding, of_one, gradient in zip(by_encoding, of_encodings, gradients, strict=True):
                torch.add(by_theta_TK, encoding, out=hidden).relu_()
                of_weight.addmm_(gradient.T, hidden)
                torch.mm(gradient, weight_CK, out=of_hidden)
                torch.ops.aten.threshold_backward.grad_input(of_hidden, hidden, 0, grad_input=of_hidden)
                of_theta += of_hidden
                torch.sum(of_hidden, 0, out=of_one)
            return of_theta, of_weight

        groups = _in_groups(pull, by_encoding_BK, of_encoding, gradient_BTC)
        of_theta, of_weight = (sum(parts[1:], parts[0]) for parts in zip(*groups, strict=True))
        return of_theta, of_encoding, of_weight, gradient_BTC.sum((0, 1))


def _in_groups(work: Callable[..., T], *of_networks: Tensor) -> list[T]:
    """What `work` answers on eight networks at a time."""
    groups = zip(*(x.split(8) for x in of_networks), strict=True)
    return lanes.run([partial(work, *group) for group in groups])


class ConvDecoder(nn.Module):
    """Transposed convolutions (kernel 4, stride 2, padding 1), each doubling the size, with ReLU between them.

    Shapes: (N, C, h, w) -> (N, image channels, 2^n h, 2^n w) with n = `num_doublings` (the paper has 2, hidden 256).
    """

    def __init__(self, latent_dim: int, hidden_dim: int, image_channels: int, num_doublings: int = 2):
        super().__init__()
        channels = [latent_dim, *[hidden_dim] * (num_doublings - 1), image_channels]
        layers: list[nn.Module] = []
        for before, after in pairwise(channels):
            layers += [nn.ConvTranspose2d(before, after, kernel_size=4, stride=2, padding=1), nn.ReLU()]
        self.layers = nn.Sequential(*layers[:-1])

    def forward(self, maps: Tensor) -> Tensor:
        parameters = tuple(self.layers.parameters())
        if doubling.takes(maps, *parameters):
            return doubling.decode(maps, *parameters)
        pictures: Tensor = self.layers(maps)
        return pictures


def num_doublings(image_shape: tuple[int, int, int], grid: tuple[int, int]) -> int:
    """How often a latent grid must double to reach the image's height and width; InputError if it never does."""
    height, width = image_shape[1:]
    factor = height // grid[0] if grid[0] > 0 else 0
    if factor < 2 or factor & (factor - 1) or (grid[0] * factor, grid[1] * factor) != (height, width):
        raise InputError(
            f"a latent grid must be the image's size ({height} x {width}) divided by 2, 4, 8, ..., got {grid[0]} x "
            f"{grid[1]}; set latent_stride to a power of two that divides both sides"
        )
    return factor.bit_length() - 1
