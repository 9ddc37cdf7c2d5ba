"""Loss and gradients of a batch in lanes (`weightwalk.lanes`): what `loss(samples).backward()` does, sooner.

    loss = gradients(model, lambda batch: cross_entropy(model(batch["weights"]), batch["label"]), batch)
    optimizer.step()

A lane's backward pass follows its forward pass, so only as many lanes as there are threads are in memory, and what they
made is still in the cache. Gradients are added up in the order of lanes: with one thread or many, on an idle machine or
a busy one, the bits are the same.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable, Sequence
from functools import partial
from typing import Any, TypeVar
from weakref import WeakSet

import torch
from torch import Tensor, nn
from torch.autograd.graph import _engine_run_backward
from torch.utils import _pytree as pytree

from weightwalk import lanes
from weightwalk.errors import InputError
from weightwalk.kept import Common
from weightwalk.weights import Weights

S = TypeVar("S")


def gradients(model: nn.Module, loss: Callable[[S], Tensor], samples: S, lane: int | None = None) -> Tensor:
    """The loss of `samples`, detached (); its gradients are added to `.grad` of those parameters that want one.

    `samples` is a tensor or networks (B, ...), a list of single networks, or tuples and dictionaries of such. `loss` of
    some of them must be the mean of what each of them adds. A lane has about `lane` samples; without it, as many as
    `lanes.size` says of the networks among them; 0 is one plain backward pass. That is also for models whose answers to
    a sample depend on the others (`lanes.separable`) and for models that are not on the CPU. What lanes draw from
    torch's global generator depends on that generator's state at the call; the first time that they do, `loss` is asked
    once more for every lane. `loss` is asked in several threads at once, so it must not change the model, nor call it
    by `functional_call`, which exchanges its parameters meanwhile.

    InputError for samples of different numbers.
    """
    leaves = pytree.tree_leaves(samples, is_leaf=_is_samples)
    counts = {len(leaf) if _is_samples(leaf) else 0 for leaf in leaves}
    if len(counts) != 1 or counts == {0}:
        raise InputError(
            f"expected samples as tensors and networks of one length, got lengths {sorted(counts)}; give a tensor or "
            "networks (B, ...), or tuples or dictionaries of such"
        )
    specs = [
        network.spec
        for leaf in leaves
        for network in (leaf if isinstance(leaf, list) else [leaf])
        if isinstance(network, Weights)
    ]
    if lane is None:
        lane = lanes.size(model, specs) if specs else 0
    (total,) = counts
    key = lanes.drawn_seed() if len(cut(model, total, lane)) > 1 else 0
    return part_gradients(model, loss, samples, slice(0, total), total, lane, key)


def _is_samples(value: Any) -> bool:
    return isinstance(value, Tensor | Weights) or (
        isinstance(value, list) and bool(value) and all(isinstance(one, Weights) for one in value)
    )


def cut(model: nn.Module, num_samples: int, lane: int) -> list[slice]:
    """Slices of a batch, a lane each; one where `model` is not for lanes."""
    return lanes.cut(num_samples, lane) if _for_lanes(model, lane) else [slice(0, num_samples)]


def _for_lanes(model: nn.Module, lane: int) -> bool:
    here = all(parameter.device.type == "cpu" for parameter in model.parameters())
    return lane > 0 and here and lanes.possible() and lanes.separable(model)


def part_gradients(
    model: nn.Module, loss: Callable[[S], Tensor], samples: S, part: slice, total: int, lane: int, key: int
) -> Tensor:
    """`gradients` of a part of a batch of `total` samples, weighted by its share; what a lane draws is a function of
    `key` and of its place in the batch.
    """
    count = part.stop - part.start
    pieces = [slice(part.start + piece.start, part.start + piece.stop) for piece in cut(model, count, lane)]
    shares = [(piece.stop - piece.start) / total for piece in pieces]
    if len(pieces) == 1:

        def plain() -> Tensor:
            found: Tensor = _scalar(loss, _of(samples, part)) * shares[0]
            with torch.autocast(found.device.type, enabled=False):
                found.backward()
            return found.detach()

        return lanes.run([plain])[0] if count > 1 and _for_lanes(model, lane) else plain()
    parts = [_of(samples, piece) for piece in pieces]
    # The mode that gives every lane its random numbers takes 5 to 15 % of a small model's step: only who draws has it.
    if model not in _drawing:
        before = torch.default_generator.get_state()
        sums = _in_lanes(model, loss, parts, shares, None)
        if torch.equal(torch.default_generator.get_state(), before):
            return sums.given()
        torch.default_generator.set_state(before)
        _drawing.add(model)
    return _in_lanes(model, loss, parts, shares, [seed_at(key, piece.start) for piece in pieces]).given()


_drawing: WeakSet[nn.Module] = WeakSet()
"""Models whose losses have drawn random numbers."""


def _in_lanes(
    model: nn.Module, loss: Callable[[S], Tensor], parts: Sequence[S], shares: Sequence[float], seeds: list[int] | None
) -> _Sums:
    sums = _Sums([parameter for parameter in model.parameters() if parameter.requires_grad])

    def add(number: int) -> None:
        cached = torch.is_autocast_cache_enabled()
        torch.set_autocast_cache_enabled(False)  # or lanes would share lowered parameters, and gradients meet in those
        try:
            with sums.common.lane() as leaves:
                found = _scalar(loss, parts[number]) * shares[number]
            with torch.autocast("cpu", enabled=False):
                gradients = _grad(found, [*sums.parameters, *leaves.values()])
            own, of_common = gradients[: len(sums.parameters)], gradients[len(sums.parameters) :]
            sums.put(number, found.detach(), own, dict(zip(leaves, of_common, strict=True)))
        finally:
            torch.set_autocast_cache_enabled(cached)

    lanes.run([partial(add, number) for number in range(len(parts))], seeds)
    return sums


def seed_at(key: int, start: int) -> int:
    """Of the samples from `start` on: the key itself for a batch's first ones."""
    return lanes.seed_of(key, start) if start else key


def _of(samples: S, part: slice) -> S:
    found: S = pytree.tree_map(lambda leaf: leaf[part], samples, is_leaf=_is_samples)
    return found


def _scalar(loss: Callable[[S], Tensor], samples: S) -> Tensor:
    found = loss(samples)
    assert found.shape == (), f"a loss must be a scalar, got {tuple(found.shape)}"
    return found


def _grad(found: Tensor, parameters: Sequence[Tensor]) -> tuple[Tensor | None, ...]:
    """`torch.autograd.grad(found, parameters, allow_unused=True)`; that function itself would hide from a lane's mode
    what the backward pass draws.
    """
    gradients: tuple[Tensor | None, ...] = _engine_run_backward(
        (found,),
        (torch.ones_like(found),),
        False,
        False,
        tuple(parameters),
        allow_unreachable=True,
        accumulate_grad=False,
    )
    return gradients


class _Sums:
    """Losses and gradients of lanes, added up in the order of their numbers, whatever the order in which they come."""

    def __init__(self, parameters: Sequence[Tensor]):
        self.parameters = parameters
        self.loss: Tensor | None = None
        self.common = Common()
        self.gradients: list[Tensor | None] = [None] * len(parameters)
        self.of_common: dict[Hashable, Tensor] = {}
        self._early: dict[int, tuple[Tensor, tuple[Tensor | None, ...], dict[Hashable, Tensor | None]]] = {}
        self._turn, self._adding, self._lock = 0, False, threading.Lock()

    def put(
        self,
        number: int,
        loss: Tensor,
        found: tuple[Tensor | None, ...],
        of_common: dict[Hashable, Tensor | None],
    ) -> None:
        """Add a lane as soon as those before it are in: whoever comes then adds it."""
        with self._lock:
            self._early[number] = (loss, found, of_common)
            if self._adding:
                return
            self._adding = True
        while True:
            with self._lock:
                ready = self._early.pop(self._turn, None)
                if ready is None:
                    self._adding = False
                    return
                self._turn += 1
            self._add(*ready)

    @torch.no_grad()
    def _add(self, loss: Tensor, found: tuple[Tensor | None, ...], of_common: dict[Hashable, Tensor | None]) -> None:
        for key, gradient in of_common.items():
            if gradient is not None:
                self.of_common[key] = gradient if key not in self.of_common else self.of_common[key] + gradient
        self.loss = loss if self.loss is None else self.loss + loss
        old: list[Tensor] = []
        new: list[Tensor] = []
        for place, (parameter, gradient) in enumerate(zip(self.parameters, found, strict=True)):
            if gradient is None:
                continue
            summed = self.gradients[place]
            if summed is None:  # a copy: a gradient may share its memory with another one
                self.gradients[place] = torch.empty_like(parameter).copy_(gradient)
            else:
                old.append(summed)
                new.append(gradient)
        if old:
            torch._foreach_add_(old, new)

    def given(self) -> Tensor:
        """The loss; the parameters have the gradients."""
        assert self.loss is not None
        for parameter, gradient in zip(self.parameters, self.gradients, strict=True):
            if gradient is not None:
                parameter.grad = gradient if parameter.grad is None else parameter.grad.add_(gradient)
        if self.of_common:
            lanes.run([partial(self.common.backward, self.of_common)])
        return self.loss
