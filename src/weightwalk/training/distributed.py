"""The processes that train together: those that torchrun started, or this one alone.

    torchrun --nproc-per-node 2 -m weightwalk train digits_classify

Every process takes its share of a batch's samples, gradients are summed, and all make the same update, so their models
stay the same to the bit. One of them, the leader, writes files and answers. All read the same folders.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from torch import Tensor, distributed

_KEY = "weightwalk/failed"


@dataclass(frozen=True)
class Team:
    """`size` processes, of which this is number `rank`, on `device`."""

    rank: int = 0
    size: int = 1
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    @property
    def leads(self) -> bool:
        """Whether this process is the one that writes and answers."""
        return self.rank == 0

    def share(self, count: int) -> slice:
        """This process's samples of so many."""
        return slice(count * self.rank // self.size, count * (self.rank + 1) // self.size)

    def any(self, flag: bool) -> bool:
        """Whether it is so in any process."""
        if self.size == 1:
            return flag
        found = torch.tensor(float(flag), device=self.device)
        distributed.all_reduce(found)
        return bool(found)

    def sum(self, tensors: Sequence[Tensor]) -> None:
        """Replace tensors by their sums over all processes, in one message."""
        if self.size == 1:
            return
        joined = torch.cat([tensor.flatten() for tensor in tensors])
        distributed.all_reduce(joined)
        for tensor, summed in zip(tensors, joined.split([tensor.numel() for tensor in tensors]), strict=True):
            tensor.copy_(summed.view_as(tensor))

    def read(self, count: int, read: Callable[[slice], Tensor], size: int) -> Tensor:
        """What `read` says of `count` samples (count, ...), at most `size` at once, each process reading its share."""
        mine = self.share(count) if count >= self.size else slice(0, count)
        starts = range(mine.start, mine.stop, size)
        found = torch.cat([read(slice(start, min(start + size, mine.stop))) for start in starts])
        if len(found) == count:
            return found
        whole = found.new_zeros(count, *found.shape[1:])
        whole[mine] = found
        self.sum([whole])
        return whole

    @torch.no_grad()
    def sum_gradients(self, loss: Tensor, parameters: Sequence[Tensor]) -> Tensor:
        """The loss and `.grad` of all processes' shares together; None stays where no process has a gradient."""
        if self.size == 1:
            return loss
        has = torch.tensor([parameter.grad is not None for parameter in parameters], device=loss.device).to(loss.dtype)
        for parameter in parameters:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
        loss = loss.clone()
        self.sum([loss, has, *(parameter.grad for parameter in parameters if parameter.grad is not None)])
        for parameter, one in zip(parameters, has.tolist(), strict=True):
            if not one:
                parameter.grad = None
        return loss

    def wait(self) -> None:
        """Until all processes are here."""
        self.any(False)

    def agrees(self, number: int) -> bool:
        """Whether all processes have the same number."""
        return not self.any(self.of_leader(number) != number)

    def of_leader(self, number: int) -> int:
        """The leader's number."""
        if self.size == 1:
            return number
        found = torch.tensor(number, device=self.device)
        distributed.broadcast(found, 0)
        return int(found)

    def fails_first(self) -> bool:
        """Whether no other process failed before: those that fail next do so because this one is gone."""
        store = distributed.distributed_c10d._get_default_store()
        return self.size == 1 or store.add(_KEY, 1) == 1


_ALONE = Team()
_team = _ALONE


def team() -> Team:
    """That of this process."""
    return _team


def started() -> bool:
    """Whether torchrun started this process, as one of several."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1 and "LOCAL_RANK" in os.environ


@contextmanager
def joined(device: torch.device) -> Iterator[Team]:
    """Be one of torchrun's processes (by Accelerate: gloo on the CPU, NCCL on GPUs), or alone without it.

    Of several processes that fail, the first one raises; the others end in silence.
    """
    global _team
    if not started():
        yield Team(device=device)
        return
    # Its functions take the group of the moment of their import as a default. Imported later (torch._dynamo does it),
    # they keep the group, and gloo's threads, which ask for the interpreter's lock, would abort it at its end.
    importlib.import_module("torch.distributed.nn")
    from accelerate import PartialState  # a third of a second

    state = PartialState(cpu=device.type == "cpu")
    _team = Team(state.process_index, state.num_processes, state.device)
    try:
        yield _team
        _team.wait()
    except Exception:
        if not _team.fails_first():
            raise SystemExit(0) from None
        raise
    else:
        state.destroy_process_group()
    finally:
        _team = _ALONE
