"""The published zoos' architectures compute what the modules compute that they were published as."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from weightwalk import InputError, Weights
from weightwalk.networks.architectures import simple_vit, small_cnn, wild_park
from weightwalk.networks.starts import Key, classifier
from weightwalk.symmetry import random_permutations
from weightwalk.testing import assert_close, random_weights

X = torch.randn(3, 3, 32, 32, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def kernel(weights: Weights, layer: int, size: int) -> torch.Tensor:
    return weights.weights[layer][0].unflatten(-1, (size, size))


def test_the_small_cnn_is_the_published_one():
    spec = small_cnn(activation="tanh")
    assert spec.num_parameters == 160 + 2 * 2320 + 170
    w = random_weights(spec, 1, seed=0, dtype=torch.float64)
    x = X[:, :1]
    for layer in range(3):
        x = torch.tanh(F.conv2d(x, kernel(w, layer, 3), w.biases[layer][0], stride=2))
    assert x.shape[2:] == (3, 3)
    assert_close(w.run(X[:, :1])[0], x.mean((2, 3)) @ w.weights[3][0].T + w.biases[3][0], what="outputs")
    assert w.run(X[:, :1, :28, :28]).shape == (1, 3, 10)  # MNIST as it is


def test_the_wild_park_adds_the_channels_that_both_have():
    widths, kernels, residual = (8, 4, 16, 8, 8), (3, 5, 7, 3, 3), (-1, -1, 0, 1, 2)
    names = ("relu", "gelu", "tanh", "sigmoid", "leaky_relu")
    spec = wild_park(widths, kernels, names, residual)
    w = random_weights(spec, 1, seed=0, dtype=torch.float64)
    functions = (torch.relu, F.gelu, torch.tanh, torch.sigmoid, F.leaky_relu)
    x, kept = X, []
    for i, (size, function, source) in enumerate(zip(kernels, functions, residual, strict=True)):
        x = F.conv2d(x, kernel(w, i, size), w.biases[i][0], padding=size // 2)
        if source >= 0:
            common = min(x.shape[1], kept[source].shape[1])
            x = x.clone()
            x[:, :common] += kept[source][:, :common]
        x = function(x)
        kept.append(x)
    assert_close(w.run(X)[0], x.mean((2, 3)) @ w.weights[5][0].T + w.biases[5][0], what="outputs")
    assert wild_park((4, 4), (3, 3), ("relu", "relu"), (-1, -1)).is_chain


class Block(nn.Module):
    def __init__(self, dim, heads, inner, mlp):
        super().__init__()
        self.heads = heads
        self.norm, self.qkv, self.out = (
            nn.LayerNorm(dim),
            nn.Linear(dim, 3 * inner, bias=False),
            nn.Linear(inner, dim, bias=False),
        )
        self.net = nn.Sequential(nn.LayerNorm(dim), nn.Linear(dim, mlp), nn.GELU(), nn.Linear(mlp, dim))

    def forward(self, x):
        q, k, v = (part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in self.qkv(self.norm(x)).chunk(3, -1))
        scores = (q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1])).softmax(-1)
        x = x + self.out((scores @ v).transpose(1, 2).flatten(2))
        return x + self.net(x)


class Reference(nn.Module):
    """Tokens row by row, pixels of a token row by row with their channels last."""

    def __init__(self):
        super().__init__()
        self.norm_in, self.embed, self.norm = nn.LayerNorm(48), nn.Linear(48, 32), nn.LayerNorm(32)
        self.blocks = nn.Sequential(Block(32, 4, 64, 64), Block(32, 4, 64, 64))
        self.last, self.head = nn.LayerNorm(32), nn.Linear(32, 10)

    def forward(self, x, table):
        x = x.unfold(2, 4, 4).unfold(3, 4, 4).permute(0, 2, 3, 4, 5, 1).flatten(3).flatten(1, 2)
        x = self.norm(self.embed(self.norm_in(x))) + table
        return self.head(self.last(self.blocks(x)).mean(1))


def test_the_vit_is_a_simple_vit():
    spec = simple_vit()
    module = Reference().double()
    start = classifier(spec, Key(0, 0, 0, 0)).to(torch.float64)
    table = start.weights[3][0, :, 0].T
    y, x = torch.meshgrid(torch.arange(8.0), torch.arange(8.0), indexing="ij")
    w = 10000 ** -(torch.arange(8.0, dtype=torch.float64) / 7)
    wanted = torch.cat([f(axis.flatten()[:, None] * w) for axis in (x, y) for f in (torch.sin, torch.cos)], 1)
    torch.testing.assert_close(table, wanted, atol=1e-6, rtol=0)
    for tensor in module.parameters():
        nn.init.normal_(tensor, std=0.3, generator=None)
    found = iter(module.parameters())
    flat = torch.cat(
        [(start.weights[3] if field.layer == 3 else next(found)).detach().flatten() for field in spec.fields]
    )
    weights = Weights(spec, flat[None])
    assert_close(weights.run(X)[0], module(X, table).detach(), what="outputs")
    permuted = weights.permute(random_permutations(spec, 1, generator=torch.Generator().manual_seed(1)))
    assert not torch.equal(permuted.weights[3], weights.weights[3])  # the table moves with its channels
    assert_close(permuted.run(X), weights.run(X), what="outputs")


def test_what_cannot_be_built_is_refused():
    for arguments in [
        ((4, 4), (3, 3), ("relu", "relu"), (-1, 0)),  # the one just before it
        ((4, 4), (3, 4), ("relu", "relu"), (-1, -1)),
        ((4, 4), (3,), ("relu", "relu"), (-1, -1)),
    ]:
        with pytest.raises(InputError):
            wild_park(*arguments)
    with pytest.raises(InputError, match="patches divide"):
        simple_vit((3, 30, 30))
