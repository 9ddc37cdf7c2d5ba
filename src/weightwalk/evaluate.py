"""Evaluate a batch of input networks of one spec at once.

Axes: B networks, N examples, C channels (I read, O written), K taps, P positions; a value is (B, N, C, *grid).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial, reduce

import torch
import torch.nn.functional as F
from torch import Tensor

from weightwalk import steps as kinds
from weightwalk.errors import InputError
from weightwalk.spec import NetworkSpec, Scheduled
from weightwalk.steps import LEAK, Layer, Step

FUNCTIONS: dict[str, Callable[..., Tensor]] = {
    "identity": lambda z: z,
    "relu": torch.relu,
    "tanh": torch.tanh,
    "sine": torch.sin,
    "sigmoid": torch.sigmoid,
    "gelu": F.gelu,
    "silu": F.silu,
    "leaky_relu": F.leaky_relu,
    "gaussian": lambda z: torch.exp(-0.5 * z * z),
    "gelu_tanh": partial(F.gelu, approximate="tanh"),
    "relu6": F.relu6,
    "elu": F.elu,
    "selu": F.selu,
    "softplus": F.softplus,
    "mish": F.mish,
    "hardtanh": F.hardtanh,
    "hardswish": F.hardswish,
    "hardsigmoid": F.hardsigmoid,
}
"""The activations of `weightwalk.steps.ACTIVATIONS`; leaky_relu takes its slope as well."""


def _over(axes: int, name: str) -> Callable[..., Tensor]:
    """torch's function of a name for grids of one to three axes: `conv2d` is "conv" over two."""
    function: Callable[..., Tensor] = getattr(F, f"{name}{axes}d")
    return function


def activate(activation: str, omega: float, z: Tensor, slope: float = LEAK) -> Tensor:
    """a(omega z); `slope` is that of leaky_relu below zero."""
    scaled = z if omega == 1.0 else omega * z
    return F.leaky_relu(scaled, slope) if activation == "leaky_relu" else FUNCTIONS[activation](scaled)


def run(
    spec: NetworkSpec,
    weights: Sequence[Tensor],
    biases: Sequence[Tensor | None],
    x: Tensor,
    change: Callable[[int, Tensor], Tensor] | None = None,
) -> Tensor:
    """The output of every network on `x`, (B, N, *output).

    `x` (N, *example) is shared by all networks, (B, N, *example) is one set each. An example has `spec.input_axes`
    axes, channels first: (n_0,) for dense networks, (C, H, W) for convolutional ones, (T,) for tokens. `change(s,
    value)` may put another value in the place of the one that step s wrote, such as one with dropout.
    """
    axes, num_networks = spec.input_axes, weights[0].shape[0]
    first = spec.first
    tokens, last = isinstance(first, kinds.Embed), isinstance(first, kinds.Move) and not first.last
    channels = None if tokens else x.shape[-1 if last else -axes] if x.dim() >= axes else None
    if x.dim() not in (axes + 1, axes + 2) or (not tokens and channels != spec.widths[0]):
        shapes = {1: f"(P, {spec.widths[0]})", 2: f"(N, {spec.widths[0]}, T)", 3: f"(N, {spec.widths[0]}, H, W)"}
        plain = shapes.get(axes, f"with {axes} axes after N")
        wanted = "(N, T) of tokens" if tokens else f"(N, *grid, {spec.widths[0]})" if last else plain
        raise InputError(f"expected inputs {wanted}, or the same with a leading axis of networks, got {tuple(x.shape)}")
    if not tokens and x.dtype != weights[0].dtype:
        raise InputError(
            f"expected inputs in {weights[0].dtype} like the networks, got {x.dtype}; convert one with `.to`"
        )
    if x.dim() == axes + 1:
        x = x.expand(num_networks, *x.shape)
    elif x.shape[0] != num_networks:
        raise InputError(
            f"expected inputs for {num_networks} networks, got {x.shape[0]}; "
            "leave the first axis out to share one input"
        )

    def visit(at: Scheduled, read: list[Tensor]) -> Tensor:
        step = at.step
        try:
            if isinstance(step, Layer):
                assert at.layer is not None
                z = _layer(step, weights[at.layer], biases[at.layer], read[0])
                y = activate(step.activation, step.omega, z, step.slope)
            else:
                y = _pass(step, read)
        except (RuntimeError, ValueError, IndexError) as error:
            if isinstance(error, InputError | torch.OutOfMemoryError) or "allocate" in str(error):
                raise
            of = " and ".join(str(tuple(value.shape[2:])) for value in read)
            raise InputError(
                f"step {at.value - 1} ({step.kind}) can't read values of the shape {of} "
                f"({str(error).partition(chr(10))[0]}); give inputs of the size that the network was made for"
            ) from error
        return y if change is None else change(at.value, y)

    return spec.walk(x, visit)


def _layer(step: Layer, w: Tensor, b_BO: Tensor | None, x: Tensor) -> Tensor:
    match step:
        case kinds.Dense():
            return _dense(step, w, b_BO, x)
        case kinds.Conv():
            return _conv(step, w, b_BO, x)
        case kinds.Norm():
            return _norm(step, w, b_BO, x)
        case kinds.Embed():
            if x.is_floating_point() or (x.numel() and not (int(x.min()) >= 0 and int(x.max()) < step.fan_in)):
                raise InputError(
                    f"expected tokens, whole numbers from 0 to {step.fan_in - 1}, got {x.dtype} {tuple(x.shape)}"
                )
            networks = torch.arange(len(w), device=w.device).view(-1, 1, 1)
            y = w.transpose(1, 2)[networks, x].movedim(-1, 2)
            return y if b_BO is None else y + _beside(b_BO, y)
        case kinds.Learned():
            return w.reshape(len(w), 1, step.fan_out, *step.grid).expand(-1, x.shape[1], *([-1] * (1 + len(step.grid))))
    raise AssertionError(f"no evaluation for {step}")


def _beside(p_BC: Tensor, x: Tensor) -> Tensor:
    """A number per network and channel, shaped to meet a value (B, N, C, *grid)."""
    return p_BC.reshape(p_BC.shape[0], 1, p_BC.shape[1], *([1] * (x.dim() - 3)))


def _dense(step: kinds.Dense, w: Tensor, b_BO: Tensor | None, x: Tensor) -> Tensor:
    if step.positions > 1:
        w_BIO, x_BNI, grid = w.flatten(2).transpose(1, 2), x.flatten(2), []
    else:
        w_BIO, grid = w.transpose(1, 2), list(x.shape[3:])
        x_BNI = x.movedim(2, -1).flatten(1, -2) if grid else x
    if w_BIO.shape[1] != x_BNI.shape[-1]:
        raise InputError(
            f"the dense step {step.fan_in} -> {step.fan_out} expects {step.positions} positions, got a grid of "
            f"{tuple(x.shape[3:])}; give inputs of the size that the network was made for"
        )
    y = torch.bmm(x_BNI, w_BIO) if b_BO is None else torch.baddbmm(b_BO[:, None, :], x_BNI, w_BIO)
    return y.unflatten(1, [x.shape[1], *grid]).movedim(-1, 2) if grid else y


def _conv(step: kinds.Conv, w: Tensor, b_BO: Tensor | None, x: Tensor) -> Tensor:
    """All networks in one grouped convolution: network b owns channels b*I ... (b+1)*I."""
    num_networks, num_examples = x.shape[:2]
    axes = len(step.kernel)
    if x.dim() != 3 + axes:
        raise InputError(
            f"a convolution over {axes} axes got a value on a grid of {x.dim() - 3}; check the shape of the input"
        )
    folded = x.transpose(0, 1).flatten(1, 2)
    bias = None if b_BO is None else b_BO.flatten()
    stride, padding, dilation = (step.per_axis(name) for name in ("stride", "padding", "dilation"))
    if step.transposed:
        blocks = num_networks * step.groups
        of_blocks = w.reshape(blocks, -1, *w.shape[2:]).transpose(1, 2)
        weight, beyond = (
            of_blocks.reshape(num_networks * step.fan_in, -1, *step.kernel),
            step.per_axis("output_padding"),
        )
        y = _over(axes, "conv_transpose")(folded, weight, bias, stride, padding, beyond, blocks, dilation)
    else:
        weight = w.reshape(num_networks * step.fan_out, step.fan_in // step.groups, *step.kernel)
        y = _over(axes, "conv")(folded, weight, bias, stride, padding, dilation, num_networks * step.groups)
    return y.reshape(num_examples, num_networks, step.fan_out, *y.shape[2:]).transpose(0, 1)


def _norm(step: kinds.Norm, w_BC: Tensor, b_BC: Tensor | None, x: Tensor) -> Tensor:
    if step.norm == "layer":
        x = (x - x.mean(2, keepdim=True)) * (x.var(2, correction=0, keepdim=True) + step.eps).rsqrt()
    elif step.norm == "rms":
        x = x * (x.square().mean(2, keepdim=True) + step.eps).rsqrt()
    elif step.norm == "group":
        blocks = x.unflatten(2, [step.groups, -1]).flatten(3)
        mean, variance = blocks.mean(3, keepdim=True), blocks.var(3, correction=0, keepdim=True)
        x = ((blocks - mean) * (variance + step.eps).rsqrt()).reshape(x.shape)
    y = x * _beside(w_BC, x)
    return y if b_BC is None else y + _beside(b_BC, x)


def _pass(step: Step, read: list[Tensor]) -> Tensor:
    x = read[0]
    match step:
        case kinds.Activate():
            return activate(step.activation, step.omega, x, step.slope)
        case kinds.Affine():
            return step.factor * x + step.offset
        case kinds.MeanPool():
            return x.mean(dim=tuple(range(3, x.dim()))) if x.dim() > 3 else x
        case kinds.Pool() | kinds.Upsample() | kinds.Resize():
            y = _resample(step, x.flatten(0, 1))
            return y.reshape(*x.shape[:2], *y.shape[1:])
        case kinds.Add() | kinds.Multiply():
            grid_axes = max(value.dim() for value in read)
            padded = [value.reshape(*value.shape, *([1] * (grid_axes - value.dim()))) for value in read]
            return reduce(torch.add if isinstance(step, kinds.Add) else torch.mul, padded)
        case kinds.Concat():
            return torch.cat(read, dim=2)
        case kinds.Append():
            return torch.cat([value.unsqueeze(-1) if value.dim() == 3 else value for value in read], dim=3)
        case kinds.Slice():
            return x[:, :, step.start : step.start + step.fan_out]
        case kinds.Pad():
            behind = step.fan_out - step.fan_in - step.before
            grid = [*[0] * (2 * (x.dim() - 3) - len(step.grid)), *step.grid]
            pairs = [(step.before, behind), *zip(grid[::2], grid[1::2], strict=True)]  # channels, then each grid axis
            return F.pad(x, [count for pair in reversed(pairs) for count in pair])  # which begins with the last axis
        case kinds.Crop():
            for axis, (start, stop, stride) in enumerate(zip(step.start, step.stop, step.stride, strict=True), start=3):
                x = x.narrow(axis, start, stop - start)[(slice(None),) * axis + (slice(None, None, stride),)]
            return x
        case kinds.Pick():
            return x[..., step.position]
        case kinds.Reshape():
            return x.reshape(*x.shape[:3], *step.grid)
        case kinds.Patches():
            height, width = step.size
            rows, columns = x.shape[3] // height, x.shape[4] // width
            cut = x.reshape(*x.shape[:3], rows, height, columns, width)
            return cut.permute(0, 1, 4, 6, 2, 3, 5).reshape(*x.shape[:2], step.fan_out, rows * columns)
        case kinds.Rearrange():
            seen = x.reshape(*x.shape[:2], *step.sizes).permute(0, 1, *(2 + axis for axis in step.order))
            return seen.reshape(*x.shape[:2], step.fan_out, *step.grid)
        case kinds.Softmax():
            return F.log_softmax(x, dim=2) if step.log else F.softmax(x, dim=2)
        case kinds.Move():
            return x.movedim(2, -1) if step.last else x.movedim(-1, 2)
        case kinds.Attention():
            return _attention(step, *read)
    raise AssertionError(f"no evaluation for {step}")


def _resample(step: kinds.Pool | kinds.Upsample | kinds.Resize, x: Tensor) -> Tensor:
    if isinstance(step, kinds.Pool):
        windows, axes = (x, step.kernel, step.stride, step.padding), len(step.kernel)
        if step.op == "max":
            return _over(axes, "max_pool")(*windows, ceil_mode=step.ceil)
        return _over(axes, "avg_pool")(*windows, step.ceil, step.counts_padding)
    if step.mode in ("mean", "max"):
        assert isinstance(step, kinds.Resize)
        return _over(len(step.size), f"adaptive_{'avg' if step.mode == 'mean' else 'max'}_pool")(x, step.size)
    size = step.size if isinstance(step, kinds.Resize) else None
    factors = None if isinstance(step, kinds.Resize) else [float(factor) for factor in step.factor]
    linear = ("linear", "bilinear", "trilinear")[len(size or factors or ()) - 1]
    mode, corners = ("nearest", None) if step.mode == "nearest" else (linear, step.align_corners)
    return F.interpolate(x, size, factors, mode, corners)


def _attention(step: kinds.Attention, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    kv_heads = step.kv_heads or step.heads
    q, k, v = (
        value.unflatten(2, [count, -1]).transpose(-1, -2)  # (B, N, H, T, D)
        for value, count in ((q, step.heads), (k, kv_heads), (v, kv_heads))
    )
    if kv_heads != step.heads:
        k, v = (value.repeat_interleave(step.heads // kv_heads, dim=2) for value in (k, v))
    y = F.scaled_dot_product_attention(q, k, v, is_causal=step.causal, scale=step.scale or None)
    return y.transpose(-1, -2).flatten(2, 3)
