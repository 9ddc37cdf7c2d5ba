"""What is made of parameters alone: kept between calls while they stay as they are and no gradient is wanted, or made
once for all lanes of a training step.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

T = TypeVar("T")

_KEPT: WeakKeyDictionary[nn.Module, dict[Hashable, tuple[Hashable, object]]] = WeakKeyDictionary()


def kept(owner: nn.Module, name: Hashable, of: Sequence[Tensor], make: Callable[[], T]) -> T:
    """`make()`, a function of the tensors `of` and nothing else, or what it answered for the same tensors before.

    They are the same if neither place, version nor the numbers at their ends have changed (writing through `.data`
    leaves the version). Where a gradient may be wanted it is made anew, or in a lane (`Common`) once for all of them;
    under a compiler, in a transform of these tensors and of parameters on a device it is made anew as well. Then
    nothing is kept. In a lane `owner` and `name` alone say what it is, so one step must not use them for two things,
    and it is one tensor or None.
    """
    if torch.compiler.is_compiling() or any(map(torch._C._functorch.is_functorch_wrapped_tensor, of)):
        return make()
    store = _KEPT.setdefault(owner, {})
    wanted = torch.is_grad_enabled() and any(x.requires_grad for x in of)
    if wanted or any(x.is_inference() or (isinstance(x, nn.Parameter) and not x.is_cpu) for x in of):
        store.pop(name, None)
        lane = getattr(_thread, "lane", None)
        return make() if lane is None or not wanted else lane((owner, name), make)
    state = (*_modes(), *map(_state, of))
    found = store.get(name)
    if found is None or found[0] != state:
        with torch._C._DisableFuncTorch():  # what is kept must not belong to a transform that ends
            store[name] = found = (state, make())
    answer: T = found[1]  # type: ignore[assignment]
    return answer


_thread = threading.local()


class Common:
    """What the lanes of one step make of the same parameters, made once.

    A lane gets a leaf of its own in its place, so that its backward pass ends there. When the gradients of the lanes'
    leaves are added up, one `backward` takes them to the parameters.
    """

    def __init__(self) -> None:
        self._made: dict[Hashable, object] = {}
        self._lock = threading.RLock()

    @contextmanager
    def lane(self) -> Iterator[dict[Hashable, Tensor]]:
        """In this thread, `kept` answers with leaves: those that were asked for."""
        leaves: dict[Hashable, Tensor] = {}

        def leaf(key: Hashable, make: Callable[[], T]) -> T:
            with self._lock:
                if key not in self._made:
                    _thread.lane = None  # what this is made of leads to the parameters, not to leaves
                    try:
                        self._made[key] = make()
                    finally:
                        _thread.lane = leaf
            made = self._made[key]
            if isinstance(made, Tensor) and made.requires_grad:
                made = leaves.setdefault(key, made.detach().requires_grad_())
            return made  # type: ignore[return-value]

        outer, _thread.lane = getattr(_thread, "lane", None), leaf
        try:
            yield leaves
        finally:
            _thread.lane = outer

    def backward(self, gradients: dict[Hashable, Tensor]) -> None:
        """From the gradients of the leaves to the parameters' `.grad`."""
        made = [self._made[key] for key in gradients]
        torch.autograd.backward(made, [*gradients.values()])  # type: ignore[arg-type]


def _modes() -> Iterator[Hashable]:
    """The modes that what is made depends on: tensors of inference mode can't be saved for a gradient."""
    yield torch.is_inference_mode_enabled()
    yield torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else None


def _state(x: Tensor) -> Hashable:
    ends = x.detach().reshape(-1)[:: max(1, x.numel() - 1)].tolist() if x.is_cpu else ()  # a device would be waited for
    return x.data_ptr(), x._version, x.shape, x.dtype, x.device, *ends
