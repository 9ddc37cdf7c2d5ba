"""What is made of parameters alone, kept between calls while they stay as they are and no gradient is wanted."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import TypeVar
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

T = TypeVar("T")

_KEPT: WeakKeyDictionary[nn.Module, dict[Hashable, tuple[Hashable, object]]] = WeakKeyDictionary()


def kept(owner: nn.Module, name: Hashable, of: Sequence[Tensor], make: Callable[[], T]) -> T:
    """`make()`, a function of the tensors `of` and nothing else, or what it answered for the same tensors before.

    They are the same if neither place, version nor the numbers at their ends have changed (writing through `.data`
    leaves the version). Where a gradient may be wanted, under a compiler or in a transform of these tensors, it is made
    anew, and nothing is kept.
    """
    if torch.compiler.is_compiling() or any(map(torch._C._functorch.is_functorch_wrapped_tensor, of)):
        return make()
    store = _KEPT.setdefault(owner, {})
    if any(not x.is_cpu or x.is_inference() or (torch.is_grad_enabled() and x.requires_grad) for x in of):
        store.pop(name, None)
        return make()
    state = (torch.is_autocast_enabled("cpu"), *map(_state, of))
    found = store.get(name)
    if found is None or found[0] != state:
        with torch._C._DisableFuncTorch():  # what is kept must not belong to a transform that ends
            store[name] = found = (state, make())
    answer: T = found[1]  # type: ignore[assignment]
    return answer


def _state(x: Tensor) -> Hashable:
    ends = x.detach().reshape(-1)[:: max(1, x.numel() - 1)]
    return x.data_ptr(), x._version, x.shape, x.dtype, *ends.tolist()
