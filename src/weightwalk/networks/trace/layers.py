"""Operations with parameters: linear maps, convolutions, normalisations, embeddings."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.fx import Node

from weightwalk.networks.trace.constants import per_channel, scale, shift
from weightwalk.networks.trace.formulas import NormForm, normalise
from weightwalk.networks.trace.layout import BATCH, COPIES, Factor, Unreadable, View, size, transpose
from weightwalk.networks.trace.meeting import together
from weightwalk.networks.trace.program import Parameters, Program
from weightwalk.networks.trace.reader import Reader, constant, per_axis, reads, shape_of, view_of
from weightwalk.networks.trace.viewing import pad
from weightwalk.steps import Conv, Dense, Embed, Norm


@reads("linear")
def _linear(reader: Reader, node: Node, a: dict[str, Any]) -> View:
    return contract(reader, view_of(a["input"]), constant(a["weight"], "its weight"), a["bias"])


@reads("addmm")
def _addmm(reader: Reader, node: Node, a: dict[str, Any]) -> View:
    if (a["beta"], a["alpha"]) != (1, 1):
        raise Unreadable("it has other factors than one")
    return contract(reader, view_of(a["mat1"]), constant(a["mat2"], "its matrix").T, a["self"])


def contract(reader: Reader, view: View, weight: Tensor, bias: Any = None) -> View:
    """A dense step: the last axis of a view times a weight (O, I), plus a bias (O,)."""
    program = reader.program
    reader.check_numbers(view)
    axis = view.axes[-1]
    shape = program.shapes[view.source]
    positions = math.prod(shape[1:])
    flattened = size(axis) == shape[0] * positions and positions > 1
    if not flattened:
        view = program.channels_in(view, len(view.axes) - 1)
        axis, shape = view.axes[-1], program.shapes[view.source]
    if any(f.dim in (BATCH, COPIES) for f in axis):
        raise Unreadable("it mixes examples")
    order = _places(axis, shape if flattened else shape[:1])
    in_place = bool((order == torch.arange(len(order))).all())
    laid = weight if in_place else weight[:, order.argsort().to(weight.device)]
    grid = () if flattened else shape[1:]
    step = Dense(
        shape[0], len(weight), bias=bias is not None, positions=positions if flattened else 1, sources=(view.source,)
    )
    own = None if bias is None else constant(bias, "its bias").expand(len(weight))
    value = program.emit(step, (len(weight), *grid), Parameters(laid, own, weight if in_place else None))
    return View(value, view.axes).with_axis(len(view.axes) - 1, program.view(value).axes[1])


def _places(axis: tuple[Factor, ...], shape: tuple[int, ...]) -> Tensor:
    """Per entry of an axis that runs over all of (C, *grid), its place there, row by row."""
    strides = [math.prod(shape[dim + 1 :]) for dim in range(len(shape))]
    places = torch.zeros(1, dtype=torch.int64)
    for f in axis:
        places = (places[:, None] + f.stride * strides[f.dim] * torch.arange(f.size)).flatten()
    return places


@reads("conv1d", "conv2d", "conv3d")
def _convolution(reader: Reader, node: Node, a: dict[str, Any]) -> View:
    program, view, weight = reader.program, view_of(a["input"]), constant(a["weight"], "its weight")
    reader.check_numbers(view)
    kernel = tuple(weight.shape[2:])
    dilation, padding = per_axis(a["dilation"], len(kernel)), a["padding"]
    if isinstance(padding, str):
        total = [d * (k - 1) if padding == "same" else 0 for d, k in zip(dilation, kernel, strict=True)]
        padding = [count // 2 for count in total]
        for axis, count in enumerate(total):
            if count % 2:  # torch puts the odd zero behind
                view = pad(program, program.channels_first(view), 2 + axis, count // 2, count - count // 2)
                padding[axis] = 0
    view = program.channels_first(view)
    shape = program.shapes[view.source]
    step = Conv(
        shape[0], len(weight), bias=a["bias"] is not None, kernel=kernel, stride=per_axis(a["stride"], len(kernel)),
        padding=per_axis(padding, len(kernel)), dilation=dilation, groups=a["groups"], sources=(view.source,),
    )  # fmt: skip
    return _written(program, step, node, weight.flatten(2), a["bias"])


@reads("conv_transpose1d", "conv_transpose2d", "conv_transpose3d")
def _transposed(reader: Reader, node: Node, a: dict[str, Any]) -> View:
    program, weight = reader.program, constant(a["weight"], "its weight")
    view = program.channels_first(view_of(a["input"]))
    kernel, groups = tuple(weight.shape[2:]), a["groups"]
    names = ("stride", "padding", "dilation", "output_padding")
    stride, padding, dilation, beyond = (per_axis(a[name], len(kernel)) for name in names)
    step = Conv(
        weight.shape[0], weight.shape[1] * groups, bias=a["bias"] is not None, kernel=kernel, stride=stride,
        padding=padding, dilation=dilation, groups=groups, transposed=True, output_padding=beyond,
        sources=(view.source,),
    )  # fmt: skip
    laid = weight.flatten(2).unflatten(0, [groups, -1]).transpose(1, 2).flatten(0, 1)  # (I, O / G, K) -> (O, I / G, K)
    return _written(program, step, node, laid, a["bias"])


def _written(program: Program, step: Conv, node: Node, weight: Tensor, bias: Any) -> View:
    own = None if bias is None else constant(bias, "its bias")
    return program.view(program.emit(step, shape_of(node)[1:], Parameters(weight, own)))


@reads("batch_norm")
def _batch_norm(reader: Reader, node: Node, a: dict[str, Any]) -> View:
    if a["training"] or a["running_mean"] is None:
        reason = "it normalises by the examples of a batch in evaluation mode as well (track_running_stats=False)"
        raise Unreadable(reason)
    return _running_norm(reader.program, view_of(a["input"]), a)


def _running_norm(program: Program, view: View, a: dict[str, Any]) -> View:
    """A scale and a shift: running statistics and the norm's own."""
    view = program.channels_in(view, 1)
    mean, variance = constant(a["running_mean"], "its mean"), constant(a["running_var"], "its variance")
    mean, variance = mean.double(), variance.double()
    factor = (variance + a["eps"]).rsqrt() * (1.0 if a["weight"] is None else a["weight"].double())
    offset = (0.0 if a["bias"] is None else a["bias"].double()) - mean * factor
    inverse = _places(view.axes[1], program.shapes[view.source][:1]).argsort().to(factor.device)
    return per_channel(program, view, factor[inverse], offset[inverse])


@reads("layer_norm", "rms_norm")
def _layer_norm(reader: Reader, node: Node, a: dict[str, Any]) -> View:
    view, axes = view_of(a["input"]), tuple(range(-len(a["normalized_shape"]), 0))
    kind = "rms" if "rms" in str(node.target) else "layer"
    eps = torch.finfo(node.meta["val"].dtype).eps if a["eps"] is None else a["eps"]
    view = normalise(reader.program, view, NormForm(kind, axes, eps))
    return _scaled(reader, view, a.get("weight"), a.get("bias"))


@reads("group_norm", "instance_norm")
def _group_norm(reader: Reader, node: Node, a: dict[str, Any]) -> View:
    program = reader.program
    if a.get("running_mean") is not None and not a["use_input_stats"]:
        return _running_norm(program, view_of(a["input"]), a)
    view = program.channels_first(view_of(a["input"]))
    shape = program.shapes[view.source]
    groups = a.get("num_groups", shape[0])
    step = Norm(shape[0], shape[0], bias=False, norm="group", eps=a["eps"], groups=groups, sources=(view.source,))
    view = View(program.emit(step, shape, Parameters(torch.ones(shape[0], dtype=torch.float64), None)), view.axes)
    spread = [-1] + [1] * (len(view.axes) - 2)
    return _scaled(reader, view, *(None if p is None else p.reshape(spread) for p in (a["weight"], a["bias"])))


def _scaled(reader: Reader, view: View, weight: Tensor | None, bias: Tensor | None) -> View:
    if weight is not None:
        view = scale(reader.program, view, constant(weight, "its scale"), is_learned=True)
    return view if bias is None else shift(reader.program, view, constant(bias, "its shift"), is_learned=True)


@reads("cos")
def _cosine(reader: Reader, node: Node, a: dict[str, Any]) -> View:
    view = view_of(a["self"])
    reader.check_numbers(view)
    return reader.program.activate(reader.program.affine(view, 1.0, math.pi / 2), "sine")


@reads("dropout", "feature_dropout", "alpha_dropout", "feature_alpha_dropout", "native_dropout")
def _dropout(reader: Reader, node: Node, a: dict[str, Any]) -> View:
    raise Unreadable("it drops numbers at random in evaluation mode as well; pass training=self.training")


@reads("prelu")
def _prelu(reader: Reader, node: Node, a: dict[str, Any]) -> View:
    program, view = reader.program, view_of(a["self"])
    weight = constant(a["weight"], "its slope")
    spread = weight.reshape([-1] + [1] * (len(view.axes) - 2)) if len(view.axes) > 1 else weight
    below = scale(program, program.activate(program.affine(view, -1.0, 0.0), "relu"), -spread, is_learned=True)
    return together(program, program.activate(view, "relu"), below, "add", shape_of(node))


@reads("embedding")
def _embedding(reader: Reader, node: Node, a: dict[str, Any]) -> View:
    view = a["indices"]
    if not isinstance(view, View) or not isinstance(a["weight"], Tensor):
        raise Unreadable("its table depends on the input")
    if not reader.tokens or view.source != 0:
        raise Unreadable("its tokens are computed; an embedding reads the module's input")
    if len(view.axes) != 2 or len(reader.program.shapes[0]) != 2:
        raise Unreadable(f"tokens come as (N, T), got {view.shape}")
    table = a["weight"]
    step = Embed(len(table), table.shape[1], bias=False, sources=(0,))
    value = reader.program.emit(step, (table.shape[1], view.shape[1]), Parameters(table.T, None, table))
    return transpose(reader.program.view(value), 1, 2)
