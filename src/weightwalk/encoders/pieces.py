"""Sums over the edges of a layer, a piece of the edges at a time: nothing is kept per edge, forward or backward.

A layer has B networks, O target nodes and I source nodes. What an encoder computes for every edge is a hundred times
larger than the network itself; a piece of it stays in the cache of a core.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice, product
from typing import Any, Literal

import torch
from torch import Tensor

# Of one piece's numbers: what stays in a core's cache on a CPU, what hides the launches on a GPU.
PIECE_BYTES = {"cpu": 2**20, "cuda": 2**28}

Gradients = Callable[..., tuple[Tensor, ...]]


@dataclass(frozen=True)
class EdgeSum:
    """answers = sum over all pieces of `function(a piece of every operand)`: each in its place, or added to the others.

    `inputs` and `outputs` say with which of the axes "b", "o" and "i" a tensor begins: "boi" the values of edges (which
    are the first operand), "bi" what sources send, "bo" messages, "" parameters. What a piece answers is put where its
    axes say and summed over the axes that it lacks. `function` is pure. So the derivative is such a sum again, of any
    order, under autograd and under torch.func, and what is kept between the two are the operands.

    With `rows`, (B,), entry b of the axis "b" hears entry rows[b] of the axis "n" of what has one, which `function` is
    given as "b". So networks of unequally many targets are one sum, a target to an entry of "b". Of "*ni" the axes
    are a tensor's last, not its first.
    """

    function: Callable[..., tuple[Tensor, ...]]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    per_pair: int
    """How many numbers `function` makes of a pair of nodes."""
    pull: Callable[[Sequence[bool], Sequence[Any], Sequence[Tensor]], tuple[Tensor, ...]] | None = None
    """`function`'s derivative by hand: (wanted, operands, gradients) -> gradients of the operands that are wanted."""
    rows: Tensor | None = None
    whole: Literal["", "i"] = ""
    """"i" where `function` has to see all sources of a target at once, as a softmax over them has."""

    def __call__(self, *operands: Tensor | None) -> tuple[Tensor, ...]:
        return together([(self, operands)])[0]

    def derivative(self, wanted: Sequence[bool]) -> EdgeSum:
        """From the operands and the gradients of the answers, the gradients of the operands that are wanted."""

        def function(*tensors: Any) -> tuple[Tensor, ...]:
            operands, gradients = tensors[: len(wanted)], tensors[len(wanted) :]
            if self.pull is not None:
                return self.pull(wanted, operands, gradients)
            return vjp(self.function, wanted, operands)[1](gradients)

        outputs = tuple(axes for axes, one in zip(self.inputs, wanted, strict=True) if one)
        return EdgeSum(function, self.inputs + self.outputs, outputs, self.per_pair, rows=self.rows, whole=self.whole)


Operands = tuple[Tensor | None, ...]


def together(sums: Sequence[tuple[EdgeSum, Operands]]) -> list[tuple[Tensor, ...]]:
    """The answers of several sums, one entry of autograd's graph for all of them."""
    if torch.compiler.is_exporting():  # a program has no loop over pieces, whose number depends on the batch
        return [total.function(*operands) for total, operands in sums]
    wanted = torch.is_grad_enabled() and any(x is not None and x.requires_grad for _, given in sums for x in given)
    if torch.compiler.is_compiling() and not wanted:  # where Dynamo would pass `forward` a context
        return [_EdgeSum.forward(total, *operands) for total, operands in sums]
    if torch.compiler.is_compiling() or torch._C._are_functorch_transforms_active():
        return [_EdgeSum.apply(total, *operands) for total, operands in sums]  # type: ignore[no-untyped-call]
    totals = tuple(total for total, _ in sums)
    flat = iter(_EdgeSums.apply(totals, *chain(*(operands for _, operands in sums))))  # type: ignore[no-untyped-call]
    return [tuple(islice(flat, len(total.outputs))) for total in totals]


def vjp(function: Callable[..., Any], wanted: Sequence[bool], operands: Sequence[Any]) -> tuple[Any, Gradients]:
    """A function's answer, and the map from the gradient of the answer to those of the operands that are wanted."""

    def of_wanted(*given: Tensor) -> Any:
        one = iter(given)
        return function(*(next(one) if want else operand for want, operand in zip(wanted, operands, strict=True)))

    chosen = (operand for want, operand in zip(wanted, operands, strict=True) if want)
    answer, pull = torch.func.vjp(of_wanted, *chosen)[:2]
    return answer, pull


class _EdgeSum(torch.autograd.Function):
    @staticmethod
    def forward(total: EdgeSum, *operands: Tensor | None) -> tuple[Tensor, ...]:
        edges = operands[0]
        assert edges is not None
        sizes = dict(zip("boi", edges.shape, strict=False))
        for x, axes in zip(operands, total.inputs, strict=True):
            if "n" in axes and x is not None:
                sizes["n"] = x.shape[_first(x, axes)]
        answers: list[Tensor] = []
        for piece in pieces(edges, total.per_pair, total.whole):
            cut = {axis: part for axis, part in piece.items() if part.stop - part.start < sizes[axis]}
            rows = total.rows if total.rows is None or "b" not in cut else total.rows[cut["b"]]
            found = total.function(
                *(
                    _part(x, axes, cut, rows) if axes and x is not None else x
                    for x, axes in zip(operands, total.inputs, strict=True)
                )
            )
            if not answers:
                answers = [x.new_zeros(_shape(x, a, sizes)) for x, a in zip(found, total.outputs, strict=True)]
            for answer, x, axes in zip(answers, found, total.outputs, strict=True):
                place = _of_piece(answer, axes, cut)
                if "n" in axes:
                    assert rows is not None
                    place.index_add_(_first(x, axes), rows, x)
                else:
                    place.add_(x)
        return tuple(answers)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        ctx.total = inputs[0]
        ctx.precision = _precision(inputs[1].device.type)
        ctx.save_for_backward(*inputs[1:])

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        wanted = ctx.needs_input_grad[1:]
        with torch.autocast(**ctx.precision):
            found = iter(ctx.total.derivative(wanted)(*ctx.saved_tensors, *gradients))
        return None, *(next(found) if one else None for one in wanted)

    @staticmethod
    def vmap(
        info: Any, in_dims: tuple[int | None, ...], total: EdgeSum, *operands: Tensor | None
    ) -> tuple[tuple[Tensor, ...], tuple[int, ...]]:
        """Networks of all copies as one batch; where a copy has parameters of its own, a copy at a time."""
        size, dims = info.batch_size, in_dims[1:]
        apart = [x if dim is None or x is None else x.movedim(dim, 0) for x, dim in zip(operands, dims, strict=True)]
        if all(axes[:1] == "b" for axes, dim in zip(total.inputs, dims, strict=True) if dim is not None) and all(
            axes[:1] == "b" for axes in total.outputs
        ):
            joint = [
                x if x is None or axes[:1] != "b" else (x.expand(size, *x.shape) if dim is None else x).flatten(0, 1)
                for x, axes, dim in zip(apart, total.inputs, dims, strict=True)
            ]
            answers = tuple(x.unflatten(0, (size, -1)) for x in total(*joint))
        else:
            each = [
                total(*(x if x is None or dim is None else x[copy] for x, dim in zip(apart, dims, strict=True)))
                for copy in range(size)
            ]
            answers = tuple(torch.stack(copies) for copies in zip(*each, strict=True))
        return answers, (0,) * len(answers)


class _EdgeSums(torch.autograd.Function):
    """Several sums, without what torch.func needs, which costs as much as a small sum."""

    @staticmethod
    def forward(ctx: Any, totals: tuple[EdgeSum, ...], *operands: Any) -> tuple[Tensor, ...]:
        ctx.totals = totals
        ctx.precision = _precision(operands[0].device.type)
        ctx.save_for_backward(*operands)
        given = iter(operands)
        return tuple(chain(*(_EdgeSum.forward(total, *islice(given, len(total.inputs))) for total in totals)))

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        wanted, given, of_answers = iter(ctx.needs_input_grad[1:]), iter(ctx.saved_tensors), iter(gradients)
        places: list[list[bool]] = []
        sums: list[tuple[EdgeSum, Operands]] = []
        for total in ctx.totals:
            own = list(islice(wanted, len(total.inputs)))
            operands = (*islice(given, len(total.inputs)), *islice(of_answers, len(total.outputs)))
            places.append(own)
            sums.append((total.derivative(own), operands))
        with torch.autocast(**ctx.precision):
            found = chain(*together(sums))
        return None, *(next(found) if one else None for one in chain(*places))


def _precision(device: str) -> dict[str, Any]:
    """The present autocast, which a backward pass has not by itself."""
    return {
        "device_type": device,
        "dtype": torch.get_autocast_dtype(device),
        "enabled": torch.is_autocast_enabled(device),
    }


def _first(x: Tensor, axes: str) -> int:
    """Which dimension of a tensor is the first of the named axes."""
    return x.dim() - len(axes) + 1 if axes[:1] == "*" else 0


def _shape(part: Tensor, axes: str, sizes: dict[str, int]) -> list[int]:
    """Of the whole, from a part."""
    shape, first = list(part.shape), _first(part, axes)
    for place, axis in enumerate(axes.lstrip("*"), start=first):
        shape[place] = sizes[axis]
    return shape


def _of_piece(x: Tensor, axes: str, cut: dict[str, slice]) -> Tensor:
    """The view of a piece, which is `cut` along some axes and whole along the others."""
    for place, axis in enumerate(axes.lstrip("*"), start=_first(x, axes)) if cut else ():
        if axis in cut:
            x = x.narrow(place, cut[axis].start, cut[axis].stop - cut[axis].start)
    return x


def _part(x: Tensor, axes: str, cut: dict[str, slice], rows: Tensor | None) -> Tensor:
    """What a piece is given of an operand."""
    part = _of_piece(x, axes, cut)
    return part.index_select(_first(x, axes), rows) if "n" in axes and rows is not None else part


def pieces(edges: Tensor, per_pair: int, whole: str = "") -> Iterator[dict[str, slice]]:
    """Slices of the networks, targets and sources of `edges` (B, O, I, ...), of about PIECE_BYTES at `per_pair` numbers
    a pair.

    Whole networks where one takes less than that, else targets of one network, else sources of one target unless they
    are `whole`. Where there is no edge, one empty piece.
    """
    num_networks, num_targets, num_sources = edges.shape[:3]
    budget = PIECE_BYTES["cuda" if edges.is_cuda else "cpu"] // max(1, per_pair * edges.element_size())  # pairs
    sources = num_sources if whole else max(1, min(num_sources, budget))
    targets = max(1, min(num_targets, budget // max(1, sources))) if sources == num_sources else 1
    networks = max(1, budget // max(1, sources * targets)) if targets == num_targets else 1
    steps = {"b": (num_networks, networks), "o": (num_targets, targets), "i": (num_sources, sources)}
    parts = ([slice(x, min(x + step, size)) for x in range(0, max(1, size), step)] for size, step in steps.values())
    for piece in product(*parts):
        yield dict(zip(steps, piece, strict=True))
