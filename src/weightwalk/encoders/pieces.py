"""Sums over the edges of a layer, a piece of the edges at a time: nothing is kept per edge, forward or backward.

A layer has B networks, O target nodes and I source nodes. What an encoder computes for every edge is a hundred times
larger than the network itself; a piece of it stays in the cache of a core.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

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
    """

    function: Callable[..., tuple[Tensor, ...]]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    per_pair: int
    """How many numbers `function` makes of a pair of nodes."""
    pull: Callable[[Sequence[bool], Sequence[Any], Sequence[Tensor]], tuple[Tensor, ...]] | None = None
    """`function`'s derivative by hand: (wanted, operands, gradients) -> gradients of the operands that are wanted."""

    def __call__(self, *operands: Tensor | None) -> tuple[Tensor, ...]:
        if torch.compiler.is_exporting():  # a program has no loop over pieces, whose number depends on the batch
            return self.function(*operands)
        wanted = torch.is_grad_enabled() and any(x is not None and x.requires_grad for x in operands)
        if torch.compiler.is_compiling() and not wanted:  # where Dynamo would pass `forward` a context
            return _EdgeSum.forward(self, *operands)
        answers: tuple[Tensor, ...] = _EdgeSum.apply(self, *operands)  # type: ignore[no-untyped-call]
        return answers

    def derivative(self, wanted: Sequence[bool]) -> EdgeSum:
        """From the operands and the gradients of the answers, the gradients of the operands that are wanted."""

        def function(*tensors: Any) -> tuple[Tensor, ...]:
            operands, gradients = tensors[: len(wanted)], tensors[len(wanted) :]
            if self.pull is not None:
                return self.pull(wanted, operands, gradients)
            return vjp(self.function, wanted, operands)[1](gradients)

        outputs = tuple(axes for axes, one in zip(self.inputs, wanted, strict=True) if one)
        return EdgeSum(function, self.inputs + self.outputs, outputs, self.per_pair)


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
        answers: list[Tensor] = []
        for piece in pieces(edges, total.per_pair):
            places = {axes: tuple(piece[axis] for axis in axes) for axes in {*total.inputs, *total.outputs}}
            found = total.function(
                *(
                    x[places[axes]] if axes and x is not None else x
                    for x, axes in zip(operands, total.inputs, strict=True)
                )
            )
            if not answers:
                answers = [
                    x.new_zeros(*(sizes[axis] for axis in axes), *x.shape[len(axes) :])
                    for x, axes in zip(found, total.outputs, strict=True)
                ]
            for answer, x, axes in zip(answers, found, total.outputs, strict=True):
                answer[places[axes]].add_(x)
        return tuple(answers)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        ctx.total = inputs[0]
        device = inputs[1].device.type
        ctx.precision = {
            "device_type": device,
            "dtype": torch.get_autocast_dtype(device),
            "enabled": torch.is_autocast_enabled(device),
        }
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
            together = [
                x if x is None or axes[:1] != "b" else (x.expand(size, *x.shape) if dim is None else x).flatten(0, 1)
                for x, axes, dim in zip(apart, total.inputs, dims, strict=True)
            ]
            answers = tuple(x.unflatten(0, (size, -1)) for x in total(*together))
        else:
            each = [
                total(*(x if x is None or dim is None else x[copy] for x, dim in zip(apart, dims, strict=True)))
                for copy in range(size)
            ]
            answers = tuple(torch.stack(copies) for copies in zip(*each, strict=True))
        return answers, (0,) * len(answers)


def pieces(edges: Tensor, per_pair: int) -> Iterator[dict[str, slice]]:
    """Slices of the networks, targets and sources of `edges` (B, O, I, ...), of about PIECE_BYTES at `per_pair` numbers
    a pair.

    Whole networks where one takes less than that, else targets of one network, else sources of one target. Where there
    is no edge, one empty piece.
    """
    num_networks, num_targets, num_sources = edges.shape[:3]
    budget = PIECE_BYTES["cuda" if edges.is_cuda else "cpu"] // max(1, per_pair * edges.element_size())  # pairs
    sources = max(1, min(num_sources, budget))
    targets = max(1, min(num_targets, budget // sources)) if sources == num_sources else 1
    networks = max(1, budget // (sources * targets)) if targets == num_targets else 1
    for b in range(0, max(1, num_networks), networks):
        for o in range(0, max(1, num_targets), targets):
            for i in range(0, max(1, num_sources), sources):
                yield {"b": slice(b, b + networks), "o": slice(o, o + targets), "i": slice(i, i + sources)}
