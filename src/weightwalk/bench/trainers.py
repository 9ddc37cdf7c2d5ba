"""The way of training small networks that the engine is measured against, and the arithmetic that either has to do.

Axes: N images, C channels, T tokens, D numbers of a token.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from weightwalk import evaluate
from weightwalk.spec import NetworkSpec
from weightwalk.steps import Attention, Layer, Norm
from weightwalk.weights import Weights


class ConvNet(nn.Module):
    """Convolutions with relu, the mean over positions, a dense layer. x: (N, C, H, W) -> (N, classes)."""

    def __init__(self, widths: Sequence[int], kernels: Sequence[int], stride: int, classes: int):
        super().__init__()
        padding = [kernel // 2 if stride == 1 else 0 for kernel in kernels]
        sizes = zip(widths[:-1], widths[1:], kernels, padding, strict=True)
        self.convolutions = nn.ModuleList(nn.Conv2d(i, o, kernel, stride, around) for i, o, kernel, around in sizes)
        self.head = nn.Linear(widths[-1], classes)

    def forward(self, x: Tensor) -> Tensor:
        for convolution in self.convolutions:
            x = F.relu(convolution(x))
        out: Tensor = self.head(x.mean(dim=(2, 3)))
        return out


class Block(nn.Module):
    """A block of `SimpleViT`: attention and a feed-forward part, each after a norm and beside a residual. (N, T, D) ->
    the same.
    """

    def __init__(self, dim: int, heads: int, dim_head: int, mlp: int):
        super().__init__()
        self.heads, inner = heads, heads * dim_head
        self.norm, self.qkv, self.out = (
            nn.LayerNorm(dim),
            nn.Linear(dim, 3 * inner, bias=False),
            nn.Linear(inner, dim, bias=False),
        )
        self.forward_part = nn.Sequential(nn.LayerNorm(dim), nn.Linear(dim, mlp), nn.GELU(), nn.Linear(mlp, dim))

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (
            part.unflatten(2, [self.heads, -1]).transpose(1, 2) for part in self.qkv(self.norm(x)).chunk(3, dim=2)
        )
        x = x + self.out(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))
        out: Tensor = x + self.forward_part(x)
        return out


class ViT(nn.Module):
    """`SimpleViT` (Beyer et al. 2022) with learned positions. x: (N, C, H, W) -> (N, classes)."""

    def __init__(
        self, shape: Sequence[int], classes: int, dim: int, depth: int, heads: int, dim_head: int, mlp: int, patch: int
    ):
        super().__init__()
        channels, height, width = shape
        self.patch, numbers = patch, channels * patch**2
        self.embed = nn.Sequential(nn.LayerNorm(numbers), nn.Linear(numbers, dim), nn.LayerNorm(dim))
        self.positions = nn.Parameter(torch.zeros(dim, height * width // patch**2))
        self.blocks = nn.Sequential(*(Block(dim, heads, dim_head, mlp) for _ in range(depth)))
        self.norm, self.head = nn.LayerNorm(dim), nn.Linear(dim, classes)

    def forward(self, x: Tensor) -> Tensor:
        patches = (
            x.unflatten(3, [-1, self.patch]).unflatten(2, [-1, self.patch]).permute(0, 2, 4, 3, 5, 1)
        )  # (N, rows, columns, h, w, C)
        x = self.blocks(self.embed(patches.flatten(3).flatten(1, 2)) + self.positions.T)
        out: Tensor = self.head(self.norm(x).mean(dim=1))
        return out


def load(module: nn.Module, params: Tensor, spec: NetworkSpec) -> None:
    """Set a module's tensors to `params` (P,); those of `spec` are its own, in the same order but for a table of
    positions.
    """
    tensors = Weights(spec, params[None]).to_state_dict()
    own = dict(module.named_parameters())
    table = own.pop("positions", None)
    if table is not None:
        (name,) = (name for name, tensor in tensors.items() if tensor.shape == (table.shape[0], 1, table.shape[1]))
        table.data.copy_(tensors.pop(name)[:, 0])
    for parameter, tensor in zip(own.values(), tensors.values(), strict=True):
        parameter.data.copy_(tensor.view(parameter.shape))


def one_at_a_time(module: nn.Module, images: Tensor, labels: Tensor, order: Tensor, batch: int, rate: float) -> float:
    """An epoch in eager PyTorch: `torch.optim.Adam` with its defaults, mini-batches by index. Gives the mean loss."""
    optimizer = torch.optim.Adam(module.parameters(), lr=rate)
    total = torch.zeros(())
    for rows in order.split(batch):
        optimizer.zero_grad()
        loss = F.cross_entropy(module(images[rows]), labels[rows])
        loss.backward()
        optimizer.step()
        total += loss.detach() * len(rows)
    return float(total) / len(order)


def image_flops(spec: NetworkSpec, shape: Sequence[int]) -> int:
    """Floating-point operations of products per image (C, H, W) of an epoch of training, were every sum worked out as
    it is written.

    Forward, and as many again for the gradient of the weights and for that of the values, which the network's own input
    does not need.
    """
    positions: dict[int, int] = {}

    def note(value: int, x: Tensor) -> Tensor:
        positions[value] = math.prod(x.shape[3:])
        return x

    weights = Weights(spec, torch.zeros(1, spec.num_parameters))
    evaluate.run(spec, weights.weights, weights.biases, torch.zeros(1, *shape), note)
    products = 0
    for value, step in enumerate(spec.steps, start=1):
        if isinstance(step, Attention):
            products += 3 * (step.fan_in + step.values) * positions[value] ** 2
        elif isinstance(step, Layer) and not isinstance(step, Norm) and step.kind in ("dense", "conv"):
            products += (2 if spec.sources(value) == (0,) else 3) * math.prod(step.weight_shape) * positions[value]
    return 2 * products
