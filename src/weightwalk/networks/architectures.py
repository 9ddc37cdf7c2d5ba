"""Architectures of the published zoos of classifiers, and two large ones, as specs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

from weightwalk.errors import InputError
from weightwalk.spec import NetworkSpec
from weightwalk.steps import (
    Activate,
    Add,
    Attention,
    Conv,
    Dense,
    Embed,
    Learned,
    MeanPool,
    Move,
    Norm,
    Pad,
    Patches,
    Pool,
    Slice,
    Step,
)


def small_cnn(
    channels: int = 1, classes: int = 10, activation: str = "relu", width: int = 16, depth: int = 3
) -> NetworkSpec:
    """The network of the Small CNN Zoo (Unterthiner et al. 2020): 3 x 3 convolutions of stride 2, mean, dense.

    >>> small_cnn().num_parameters
    4970
    """
    widths = [channels, *[width] * depth]
    convolutions = [Conv(i, o, activation, stride=2) for i, o in pairwise(widths)]
    return NetworkSpec((*convolutions, MeanPool(widths[-1]), Dense(widths[-1], classes)))


def wild_park(
    widths: Sequence[int],
    kernels: Sequence[int],
    activations: Sequence[str],
    residual: Sequence[int],
    channels: int = 3,
    classes: int = 10,
) -> NetworkSpec:
    """A network of the CNN Wild Park (Kofinas et al. 2024): convolutions of stride 1 that keep the size, mean, dense.

    Per convolution i its channels, its odd kernel, its activation, and `residual[i]`: -1, or an earlier convolution
    (not the one before it) whose values, after its activation, are added before i's. Of unequally many channels the
    first that both have are added.
    """
    depth = len(widths)
    if not depth or {len(kernels), len(activations), len(residual)} != {depth}:
        raise InputError(f"expected a kernel, an activation and a residual source for each of {depth} convolutions")
    if any(kernel < 1 or kernel % 2 == 0 for kernel in kernels):
        raise InputError(f"expected odd kernels, got {list(kernels)}: an even one would change the size of the values")
    steps: list[Step] = []
    written: list[int] = []  # the value after each convolution's activation
    for i, (width, kernel, activation, source) in enumerate(zip(widths, kernels, activations, residual, strict=True)):
        if not (source == -1 or 0 <= source < i - 1):
            raise InputError(
                f"expected residual source -1, or an earlier convolution not just before it, got {source} of "
                f"convolution {i}"
            )
        fan_in, alone = widths[i - 1] if i else channels, source == -1
        sources = (written[-1],) if i else ()
        own_activation = activation if alone else "identity"
        steps.append(Conv(fan_in, width, own_activation, kernel=(kernel, kernel), padding=kernel // 2, sources=sources))
        if not alone:
            own, read, common = len(steps), written[source], min(width, widths[source])
            if common < widths[source]:
                steps.append(Slice(widths[source], common, sources=(read,)))
                read = len(steps)
            if common < width:
                steps.append(Pad(common, width, sources=(read,)))
                read = len(steps)
            steps += [Add(width, sources=(own, read)), Activate(width, activation)]
        written.append(len(steps))
    return NetworkSpec((*steps, MeanPool(widths[-1]), Dense(widths[-1], classes)))


def _block(
    x: int, width: int, heads: int, inner: int, mlp: int, activation: str, *, bias: bool, causal: bool = False
) -> list[Step]:
    """A transformer's block on value `x`: x + dense(attention(q, k, v of norm(x))), then x + dense(a(dense(norm(x)))).

    q, k and v have `inner` channels each; their dense step and the one behind the attention may have a `bias`.
    """
    return [
        Norm(width, width),
        Dense(width, 3 * inner, bias=bias),
        *(Slice(3 * inner, inner, start=part * inner, sources=(x + 2,)) for part in range(3)),
        Attention(inner, heads=heads, causal=causal, sources=(x + 3, x + 4, x + 5)),
        Dense(inner, width, bias=bias),
        Add(width, sources=(x, x + 7)),
        Norm(width, width),
        Dense(width, mlp, activation),
        Dense(mlp, width),
        Add(width, sources=(x + 8, x + 11)),
    ]


def simple_vit(
    image_shape: Sequence[int] = (3, 32, 32),
    classes: int = 10,
    dim: int = 32,
    depth: int = 2,
    heads: int = 4,
    dim_head: int = 16,
    mlp: int = 64,
    patch: int = 4,
) -> NetworkSpec:
    """A `SimpleViT` (Beyer et al. 2022): patches, norm, dense, norm, plus positions; blocks; norm, mean, dense.

    Positions are a table, a `Learned` step that is `fixed`: it lies among the parameters, so that permuted networks
    take it along, but is not trained (`networks.starts.sincos`).
    """
    channels, height, width = image_shape
    if height % patch or width % patch or height != width:
        raise InputError(f"expected square pictures that {patch} x {patch} patches divide, got {height} x {width}")
    inputs, tokens, inner = channels * patch * patch, math.prod((height // patch, width // patch)), heads * dim_head
    steps: list[Step] = [
        Patches(channels, inputs, size=(patch, patch)),
        Norm(inputs, inputs),
        Dense(inputs, dim),
        Norm(dim, dim),
        Learned(1, dim, bias=False, grid=(tokens,), fixed=True, sources=(0,)),
        Add(dim, sources=(4, 5)),
    ]
    for _ in range(depth):
        steps += _block(len(steps), dim, heads, inner, mlp, "gelu", bias=False)
    return NetworkSpec((*steps, Norm(dim, dim), MeanPool(dim), Dense(dim, classes)))


def resnet18(width: int = 64, classes: int = 1000) -> NetworkSpec:
    """A ResNet-18 (He et al. 2016) of colour pictures: stages of two blocks with 1, 2, 4 and 8 times `width` channels.

    >>> resnet18().num_parameters
    11689512
    """
    steps: list[Step] = [
        Conv(3, width, kernel=(7, 7), stride=2, padding=3, bias=False),
        Norm(width, width, "relu", norm="batch"),
        Pool(width, kernel=(3, 3), stride=(2, 2), padding=(1, 1)),
    ]
    fan_in = width
    for stage in range(4):
        fan_out = width * 2**stage
        for stride in (2 if stage else 1, 1):
            skip = len(steps)
            steps += [
                Conv(fan_in, fan_out, stride=stride, padding=1, bias=False),
                Norm(fan_out, fan_out, "relu", norm="batch"),
                Conv(fan_out, fan_out, padding=1, bias=False),
                Norm(fan_out, fan_out, norm="batch"),
            ]
            own = len(steps)
            if fan_in != fan_out:
                steps.append(Conv(fan_in, fan_out, bias=False, kernel=(1, 1), stride=stride, sources=(skip,)))
                steps.append(Norm(fan_out, fan_out, norm="batch"))
                skip = len(steps)
            steps += [Add(fan_out, sources=(own, skip)), Activate(fan_out)]
            fan_in = fan_out
    return NetworkSpec((*steps, MeanPool(fan_in), Dense(fan_in, classes)))


def gpt2(
    width: int = 768, depth: int = 12, heads: int = 12, vocabulary: int = 50257, context: int = 1024
) -> NetworkSpec:
    """A GPT-2 (Radford et al. 2019): tokens and learned positions, pre-norm blocks, the embedding as the head as well.

    >>> gpt2().num_parameters
    124439808
    """
    steps: list[Step] = [
        Embed(vocabulary, width, bias=False),
        Learned(1, width, bias=False, grid=(context,), sources=(0,)),
        Add(width, sources=(1, 2)),
    ]
    for _ in range(depth):
        steps += _block(len(steps), width, heads, width, 4 * width, "gelu_tanh", bias=True, causal=True)
    return NetworkSpec((*steps, Norm(width, width), Dense(width, vocabulary, bias=False, ties=0), Move(vocabulary)))
