"""Products of tensors: dense steps where one is constant, attention where neither is."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.fx import Node

from weightwalk.networks.trace.constants import learned
from weightwalk.networks.trace.layers import contract
from weightwalk.networks.trace.layout import (
    BATCH,
    CHANNELS,
    COPIES,
    Axis,
    Factor,
    Unreadable,
    View,
    axis_of,
    copies,
    permute,
    reshape,
    size,
    transpose,
)
from weightwalk.networks.trace.program import Program
from weightwalk.networks.trace.reader import Reader, constant, reads
from weightwalk.networks.trace.scores import HEADS, KEYS, QUERIES, Scores, hides, seen_by
from weightwalk.steps import Affine, Attention


@reads("matmul", "mm", "bmm", "mv", "dot")
def _matmul(reader: Reader, node: Node, a: dict[str, Any]) -> View:
    one, two = a["self"], a.get("mat2", a.get("other", a.get("vec")))
    if isinstance(one, Tensor) and isinstance(two, View) and one.dim() > 2 and one.dim() == len(two.axes):
        one = _learned_queries(reader, node.all_input_nodes[0], one, two)
    return product(reader, one, two)


@reads("baddbmm")
def _baddbmm(reader: Reader, node: Node, a: dict[str, Any]) -> View:
    if a["beta"] not in (0, 1):
        raise Unreadable(f"it adds {a['beta']} times its mask")
    queries: Any = node.args[1]
    found = product(reader, _learned_queries(reader, queries, a["batch1"], a["batch2"]), a["batch2"])
    if not isinstance(found.source, Scores):
        raise Unreadable("it is no product of queries and keys")
    scores = found.source.scaled(float(a["alpha"]), 0.0)
    return View(scores.masked(seen_by(constant(a["self"], "its mask"))) if a["beta"] else scores, found.axes)


def product(reader: Reader, one: Any, two: Any) -> View:
    """The matrix product over the last axis of one tensor and the last but one of another."""
    if isinstance(two, Tensor):
        while two.dim() > 2 and two.shape[0] == 1:
            two = two[0]
        if two.dim() > 2:
            raise Unreadable("it has a matrix for each example or head")
        found = contract(reader, one, two.T if two.dim() == 2 else two[None])
        return found if two.dim() == 2 else found.with_axis(len(found.axes) - 1)
    if isinstance(one, Tensor):
        while one.dim() > 2 and one.shape[0] == 1:
            one = one[0]
        if one.dim() != 2:
            raise Unreadable("it has a matrix for each example or head")
        last = len(two.axes) - 1
        return transpose(contract(reader, transpose(two, last - 1, last), one), last - 1, last)
    if isinstance(one.source, Scores):
        return _attended(reader.program, one, two)
    if isinstance(two.source, Scores):  # v^T a^T
        axes = [len(two.axes) - 2, len(two.axes) - 1]
        return transpose(_attended(reader.program, transpose(two, *axes), transpose(one, *axes)), *axes)
    return _scores(reader.program, one, two)


@reads("einsum")
def _einsum(reader: Reader, node: Node, a: dict[str, Any]) -> View:
    operands = a["tensors"]
    inputs, written = a["equation"].replace(" ", "").split("->")
    letters = inputs.split(",")
    if len(operands) == 1:
        if sorted(letters[0]) != sorted(written):
            raise Unreadable("it sums one tensor")
        return permute(operands[0], [letters[0].index(letter) for letter in written])
    if len(operands) != 2 or "." in inputs or any(len(set(names)) != len(names) for names in letters):
        raise Unreadable(f"it is no product of two tensors: {a['equation']}")
    one, two = letters
    both = [letter for letter in one if letter in two]
    batch = [letter for letter in both if letter in written]
    summed = [letter for letter in both if letter not in written]
    alone = [[letter for letter in names if letter not in both] for names in letters]
    if not summed or any(letter not in written for letter in alone[0] + alone[1]):
        raise Unreadable(f"it sums over an axis of one tensor alone, or over none: {a['equation']}")
    groups = [[*([letter] for letter in batch), *rest] for rest in ((alone[0], summed), (summed, alone[1]))]
    sides = [_grouped(operand, names, wanted) for operand, names, wanted in zip(operands, letters, groups, strict=True)]
    sizes: dict[str, int] = {}
    for operand, names in zip(operands, letters, strict=True):
        sizes |= zip(names, operand.shape, strict=True)
    found = product(reader, *sides)
    result = [*batch, *alone[0], *alone[1]]
    return permute(reshape(found, [sizes[letter] for letter in result]), [result.index(letter) for letter in written])


def _grouped(operand: Any, names: str, wanted: list[list[str]]) -> Any:
    """The operand with its axes in the order of `wanted`, whose groups become one axis each."""
    order = [names.index(letter) for group in wanted for letter in group]
    if isinstance(operand, Tensor):
        moved = operand.permute(order)
        sizes = iter(moved.shape)
        return moved.reshape([math.prod(next(sizes) for _ in group) for group in wanted])
    view = permute(operand, order)
    axes = iter(view.axes)
    return View(view.source, tuple(tuple(f for _ in group for f in next(axes)) for group in wanted))


@reads("scaled_dot_product_attention")
def _attention(reader: Reader, node: Node, a: dict[str, Any]) -> View:
    query, key, value = (a[name] for name in ("query", "key", "value"))
    if a["dropout_p"]:
        raise Unreadable("it drops attention at random in evaluation mode as well")
    query = _learned_queries(reader, node.all_input_nodes[0], query, key)
    for view in (key, value):
        if not isinstance(view, View):
            raise Unreadable("its keys or values do not depend on the input")
    if a.get("enable_gqa"):
        key, value = (_shared(view, query) for view in (key, value))
    last = len(key.axes) - 1
    found = _scores(reader.program, query, transpose(key, last - 1, last))
    scores = found.source.scaled(query.shape[-1] ** -0.5 if a["scale"] is None else a["scale"], 0.0)
    if a["is_causal"]:
        scores = scores.masked(torch.ones(query.shape[-2], key.shape[-2], dtype=torch.bool).tril())
    if a["attn_mask"] is not None:
        scores = scores.masked(seen_by(constant(a["attn_mask"], "its mask")))
    return _attended(reader.program, View(scores.softened(), found.axes), value)


def _learned_queries(reader: Reader, node: Node, query: Any, key: Any) -> Any:
    """Queries that are parameters, the same for every example, as a view like those of the keys; others as they are."""
    if not isinstance(query, Tensor) or not isinstance(key, View) or query.dim() != len(key.axes):
        return query
    if [f.dim for f in key.axes[0]][:1] != [BATCH] or len(query) != size(key.axes[0]):
        return query
    apart = query.unflatten(0, [key.axes[0][0].size, -1])  # (N, H, ..., T, D)
    if not torch.equal(apart, apart[:1].expand_as(apart)):
        raise Unreadable("its queries differ from example to example")
    laid = apart[0].movedim(-1, 0)
    value = learned(reader.program, laid, fixed=not reader.is_learned(node), grid=tuple(laid.shape[1:]))
    examples, channels, heads, *grid = reader.program.view(value).axes
    return View(value, (examples + heads, *grid, channels))


def _shared(view: View, query: View) -> View:
    """Keys or values of fewer heads, each repeated for the queries' heads that read it."""
    times = query.shape[-3] // view.shape[-3]
    number = len(view.axes) - 3
    return view.with_axis(number, (*view.axes[number], *copies(times)))


@reads("masked_fill")
def _masked_fill(reader: Reader, node: Node, a: dict[str, Any]) -> View:
    view, mask, number = a["self"], constant(a["mask"], "its mask"), a["value"]
    if not isinstance(view.source, Scores):
        raise Unreadable("only the scores of an attention are masked")
    if not hides(torch.as_tensor(number)):
        raise Unreadable(f"it fills in {float(number)}, not minus infinity")
    return View(view.source.masked(~mask.bool()), view.axes)


@reads("where")
def _where(reader: Reader, node: Node, a: dict[str, Any]) -> View:
    mask = constant(a["condition"], "its condition").bool()
    view, number = (a["self"], a["other"]) if isinstance(a["self"], View) else (a["other"], a["self"])
    hidden = not isinstance(number, View) and bool(hides(torch.as_tensor(number)).all())
    if not hidden or not isinstance(view.source, Scores):
        raise Unreadable("only the scores of an attention are masked, with minus infinity")
    return View(view.source.masked(mask if view is a["self"] else ~mask), view.axes)


def _scores(program: Program, query: View, key: View) -> View:
    """The scores q k of every head, (..., T, D) times (..., D, S), as a view of `Scores`."""
    if not isinstance(query.source, int) or not isinstance(key.source, int):
        raise Unreadable("it multiplies the scores of an attention with others")
    inner, other = query.axes[-1], key.axes[-2]
    if not all(f.dim == CHANNELS for f in (*inner, *other)):
        raise Unreadable("it multiplies two values, and not queries and keys over the channels of a head")
    if any(f.dim == BATCH for f in (*query.axes[-2], *key.axes[-1])):
        reason = "it attends across examples, which are what the first axis of the input is for (batch_first=True)"
        raise Unreadable(reason)
    if not all(f.dim > CHANNELS for f in (*query.axes[-2], *key.axes[-1])):
        raise Unreadable("it multiplies two values, and not queries and keys of every pair of positions")
    count = max(len(query.axes), len(key.axes))
    batches = [_padded(view, count) for view in (query, key)]
    heads = [f for axis in batches[0] for f in axis if f.dim != BATCH]
    shared = _shared_heads(batches)
    query = program.arrange(query, [[*heads, *inner], query.axes[-2]])
    key = program.arrange(key, [[*shared, *other], key.axes[-1]])
    query_value, scale = _unscaled(program, query)
    key_value, more = _unscaled(program, key)
    depth = size(inner)
    scores = Scores(query_value, key_value, size(heads), size(shared), scale * more)
    batch = [
        tuple(Factor(HEADS, f.stride // depth, f.size) if f.dim == CHANNELS else f for f in axis)
        for axis in _padded(query, count)
    ]
    keys = tuple(Factor(KEYS, f.stride, f.size) for f in key.axes[-1])
    return View(scores, (*batch, tuple(Factor(QUERIES, f.stride, f.size) for f in query.axes[-2]), keys))


def _padded(view: View, count: int) -> tuple[Axis, ...]:
    """The axes of examples and heads of a view of `count` axes, those that it lacks being of length one."""
    return ((),) * (count - len(view.axes)) + view.axes[:-2]


def _shared_heads(batches: list[tuple[Axis, ...]]) -> list[Factor]:
    """The factors of the keys' heads, each of which serves as many of the queries' heads that follow one another."""
    found: list[Factor] = []
    ended = False
    for one, two in zip(*batches, strict=True):
        own = tuple(f for f in two if f.dim != COPIES)
        if own and len(own) < len(two) and two[-1].dim != COPIES:
            raise Unreadable("heads that share keys do not follow one another")
        if [f for f in one if f.dim == BATCH] != [f for f in own if f.dim == BATCH]:
            raise Unreadable("examples of one value meet heads or positions of another")
        heads = [f for f in own if f.dim != BATCH]
        if heads and ended:
            raise Unreadable("heads that share keys do not follow one another")
        ended = ended or size(heads) < size([f for f in one if f.dim != BATCH])
        found += heads
    return found


def _unscaled(program: Program, view: View) -> tuple[int, float]:
    """The value that a view is a positive multiple of, and the factor, which the attention can apply as well."""
    step = program.producer(view.source)
    if isinstance(step, Affine) and step.offset == 0 and step.factor > 0:
        value, factor = _unscaled(program, View(step.sources[0], view.axes))
        return value, factor * step.factor
    return view.source, 1.0


def _attended(program: Program, weights: View, value: View) -> View:
    """The attention step's values: softmax (..., T, S) times v (..., S, D)."""
    scores = weights.source
    if not isinstance(value.source, int) or not scores.soft:
        raise Unreadable("the scores of an attention are used without a softmax, or for others than values")
    if [f.dim for f in weights.axes[-1]] != [KEYS] or [f.dim for f in weights.axes[-2]] != [QUERIES]:
        raise Unreadable("the weights of an attention are not those of all queries by all keys")
    count = max(len(weights.axes), len(value.axes))
    batches = [_padded(weights, count), _padded(value, count)]
    shared = _shared_heads(batches)
    if size(shared) != scores.kv_heads or not all(f.dim > CHANNELS for f in value.axes[-2]):
        raise Unreadable("its values have other heads than its keys, or are not those of all positions")
    value = program.arrange(value, [[*shared, *value.axes[-1]], value.axes[-2]])
    depth, queries = size(value.axes[-1]), program.shapes[scores.query]
    scale = 0.0 if abs(scores.scale - (queries[0] // scores.heads) ** -0.5) < 1e-6 * scores.scale else scores.scale
    causal = scores.causal(queries[1], program.shapes[scores.key][1])
    kv_heads = 0 if scores.kv_heads == scores.heads else scores.kv_heads
    width, sources = scores.heads * depth, (scores.query, scores.key, value.source)
    step = Attention(queries[0], scores.heads, width, causal, scale, kv_heads=kv_heads, sources=sources)
    written = program.emit(step, (width, queries[1]))
    spread = [
        [Factor(CHANNELS, f.stride * depth, f.size) if f.dim == HEADS else f for f in axis] for axis in batches[0]
    ]
    batch = map(tuple, spread)
    return View(written, (*batch, axis_of(1, queries[1]), axis_of(CHANNELS, depth)))
