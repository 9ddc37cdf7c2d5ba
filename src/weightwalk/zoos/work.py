"""Work as tasks, and who does them: this process, local processes, a Ray cluster.

A task carries all that it needs and answers with plain arrays; it touches no file. So it may run anywhere, be lost with
its machine and run again: the result is the same, and only the process that asked for it writes.
"""

from __future__ import annotations

import importlib
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from itertools import islice
from typing import Any, Protocol, TypeVar

import torch

from weightwalk import devices
from weightwalk.errors import InputError
from weightwalk.registry import Registry

TRIES = 4  # of a task whose worker dies
_AHEAD = 3  # tasks per worker that are under way: enough that none waits


T_contra = TypeVar("T_contra", contravariant=True)
R_co = TypeVar("R_co", covariant=True)
T = TypeVar("T")
R = TypeVar("R")


class Doable(Protocol[T_contra, R_co]):
    """What all tasks of one piece of work share, and how one is done. It is sent with every task: keep it small."""

    def do(self, task: T_contra, /) -> R_co:
        """Do one task, in any process."""


def do(job: Doable[T, R], task: T) -> R:
    """Do one task of a job: what is sent to workers."""
    return job.do(task)


class Workers(Protocol):
    """Who does tasks."""

    def results(self, job: Doable[T, R], tasks: Iterable[T]) -> Generator[R, None, None]:
        """Every task's result, in any order. Takes tasks as it goes, so that few are in memory; may be closed early."""


class Inline:
    """This process, one task after another."""

    def results(self, job: Doable[T, R], tasks: Iterable[T]) -> Generator[R, None, None]:
        for task in tasks:
            yield job.do(task)


class Processes:
    """Local processes of one thread each; one that dies is replaced, and its tasks are done again."""

    def __init__(self, count: int | None = None):
        self.count = _checked(count) or devices.cores()

    def results(self, job: Doable[T, R], tasks: Iterable[T]) -> Generator[R, None, None]:
        waiting = iter(tasks)
        todo: list[tuple[T, int]] = []  # with how often their workers died
        while True:
            under_way: dict[Future[R], tuple[T, int]] = {}
            pool = ProcessPoolExecutor(self.count, multiprocessing.get_context("spawn"), initializer=_begin_worker)
            try:
                while True:
                    todo += [
                        (task, 0) for task in islice(waiting, max(0, _AHEAD * self.count - len(under_way) - len(todo)))
                    ]
                    while todo:
                        under_way[pool.submit(do, job, todo[0][0])] = todo[0]
                        del todo[0]  # not before: to a pool whose worker has just died nothing can be submitted
                    if not under_way:
                        return
                    for future in wait(under_way, return_when=FIRST_COMPLETED).done:
                        yield future.result()
                        del under_way[future]
            except BrokenProcessPool:
                todo += [(task, tries + 1) for task, tries in under_way.values()]
                if max(tries for _, tries in todo) >= TRIES:
                    raise InputError(
                        f"workers died {TRIES} times in a row (out of memory?); what is finished is saved: "
                        "run the same command with fewer --workers"
                    ) from None
            finally:
                busy = list(pool._processes.values()) if under_way else []
                pool.shutdown(wait=False, cancel_futures=True)
                for worker in busy:  # or this process could not end before their tasks, which nobody waits for any more
                    worker.terminate()


def _checked(count: int | None) -> int | None:
    if count is not None and count < 1:
        raise InputError(f"expected at least 1 worker, got {count}")
    return count


def _begin_worker() -> None:
    """One thread; Ctrl-C is the parent's to handle; nobody outlives a parent that was killed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    torch.set_num_threads(1)
    parent = multiprocessing.parent_process()
    assert parent is not None

    def follow() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=follow, daemon=True).start()


class Ray:
    """A Ray cluster (extra `ray`): the one at $RAY_ADDRESS, else one started here and ended with this process.

    Tasks of nodes that die run again elsewhere. Nodes share no files: the driver sends what is fitted and writes the
    zoo.
    """

    def __init__(self, count: int | None):
        try:
            ray: Any = importlib.import_module("ray")
        except ImportError:
            raise InputError(
                "expected Ray for --engine ray, found none; install it with pip install 'weightwalk[ray]'"
            ) from None
        self._ray, count = ray, _checked(count)
        address = os.environ.get("RAY_ADDRESS")
        if not ray.is_initialized():
            ray.init(address=address or "local", num_cpus=None if address else count, log_to_driver=False)
        self.count = count or max(1, int(ray.cluster_resources().get("CPU", 1)))

    def results(self, job: Doable[T, R], tasks: Iterable[T]) -> Generator[R, None, None]:
        ray, waiting = self._ray, iter(tasks)
        remote = ray.remote(num_cpus=1, max_retries=TRIES)(_in_one_thread)
        shared = ray.put(job)
        under_way: list[Any] = []
        while True:
            under_way += [remote.remote(shared, task) for task in islice(waiting, _AHEAD * self.count - len(under_way))]
            if not under_way:
                return
            done, under_way = ray.wait(under_way, num_returns=1)
            try:
                result = ray.get(done[0])
            except (
                InputError
            ) as error:  # as Ray raises it, its text is the whole trace; `cause` is what the worker raised
                raise error.cause from None  # type: ignore[attr-defined]
            yield result


def _in_one_thread(job: Doable[T, R], task: T) -> R:
    torch.set_num_threads(1)
    return job.do(task)


ENGINES: Registry[Callable[[int | None], Workers]] = Registry("engine")
ENGINES.register("local")(lambda count: Inline() if count == 1 else Processes(count))
ENGINES.register("ray")(Ray)
