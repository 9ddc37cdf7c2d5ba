"""What a computation costs, by counting: operations in matrix products, and the bytes that it takes at once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode


@dataclass(frozen=True)
class Counted:
    """`flops`: torch's own count of matrix products, convolutions and attention, 2 per multiply-add; sums, sines and
    gates are not counted. `peak_bytes`: the most that tensors took at once which the computation made, or had kept from
    the time before; without what was there before that, and without what a kernel takes for itself.
    """

    flops: int
    peak_bytes: int


def counted(call: Callable[[], Any], there: Iterable[Tensor]) -> Counted:
    """What `call()` costs the second time; the tensors `there` were there before the first. Only this thread's work is
    seen.
    """
    with PeakBytes(there) as memory:
        call()
        memory.restart()
        count = flops(call)
    return Counted(count, memory.peak)


def flops(call: Callable[[], Any]) -> int:
    """Torch's own count for `call()`, as in `Counted`."""
    with FlopCounterMode(display=False) as counter:
        call()
    return int(counter.get_total_flops())


def tensors_of(module: nn.Module) -> list[Tensor]:
    """Its parameters and buffers."""
    return [*module.parameters(), *module.buffers()]


def bytes_of(tensors: Iterable[Tensor]) -> int:
    """What tensors take, those that share memory once."""
    storages = {tensor.untyped_storage().data_ptr(): tensor.untyped_storage().nbytes() for tensor in tensors}
    return sum(storages.values())


class PeakBytes(TorchDispatchMode):
    """Within it, `peak` is the most bytes that new tensors have taken at once; those of `there` are not new.

    Every result of an operation is held by a weak reference to its storage, so views count once, and a tensor counts
    until nobody, autograd included, holds it.
    """

    def __init__(self, there: Iterable[Tensor] = ()):
        super().__init__()  # type: ignore[no-untyped-call]
        self.peak = 0
        self._there = {StorageWeakRef(tensor.untyped_storage()) for tensor in there}
        self._alive: dict[StorageWeakRef, int] = {}
        self._most = 0  # of what is alive, with what may have gone since it was looked at

    def restart(self) -> None:
        """From now on: `peak` is what is alive now, or comes to be alive at once later."""
        self._look()
        self.peak = self._most

    def __torch_dispatch__(
        self, func: Any, types: Sequence[type], args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        found = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(found):
            if isinstance(tensor, Tensor):
                self._see(tensor)
        return found

    def _see(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        reference = StorageWeakRef(storage)
        if reference in self._there or reference in self._alive:
            return
        self._alive[reference] = storage.nbytes()
        self._most += storage.nbytes()
        if self._most > self.peak:
            self._look()
            self.peak = max(self.peak, self._most)

    def _look(self) -> None:
        self._alive = {each: size for each, size in self._alive.items() if not each.expired()}
        self._most = sum(self._alive.values())
