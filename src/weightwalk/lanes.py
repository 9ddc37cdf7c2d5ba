"""Lanes: parts of a batch of networks side by side, each in a thread of its own in which torch has one thread.

A reader's products are small, so threads inside each of them mostly wait for one another, and one that has to share its
core makes all the others wait. Lanes wait for nobody, and there are more of them than threads, so a core that has other
work costs its share and no more. A batch that is not worth cutting is one lane; a single network, which may be large,
has torch's threads for itself.

How a batch is cut depends on the batch and on the model alone, never on threads or timing, so answers are bitwise the
same with one thread or many. Lanes are for the CPU. Inside a lane, and where something looks on (`watched`), the whole
batch is one plain call.
"""

from __future__ import annotations

import functools
import math
import os
import re
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from itertools import pairwise
from queue import SimpleQueue
from typing import Any, TypeVar

import numpy as np
import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm, _NormBase
from torch.overrides import TorchFunctionMode
from torch.utils import _pytree as pytree

from weightwalk.errors import InputError
from weightwalk.spec import NetworkSpec
from weightwalk.watched import watched
from weightwalk.weights import Weights

T = TypeVar("T")
Method = TypeVar("Method", bound=Callable[..., Any])

_ROWS = 750  # nodes in a lane, so that adding up its gradients is small beside what makes them
_PRODUCTS = 400_000_000  # multiplications in a lane, about: some milliseconds, so that Python's share is small
_LARGE = 100_000  # parameters of a network that is read alone

# ---------------------------------------------------------------- how a batch is cut


def size(model: nn.Module, specs: Iterable[NetworkSpec] = ()) -> int:
    """How many networks of such architectures, or samples if there are none, are worth a lane: so many that their nodes
    fill `model`'s products.
    """
    nodes = [max(1, sum(layer.fan_out for layer in spec.layers)) for spec in specs] or [1]
    mean, parameters = sum(nodes) / len(nodes), sum(parameter.numel() for parameter in model.parameters())
    return math.ceil(max(_ROWS, _PRODUCTS / max(1, parameters)) / mean)


def cut(num_samples: int, lane: int) -> list[slice]:
    """Slices of about `lane` samples; an even number of them, unless it is one."""
    count = max(2, 2 * round(num_samples / lane / 2)) if num_samples >= max(2, lane) else 1
    ends = [num_samples * number // count for number in range(count + 1)]
    return [slice(start, stop) for start, stop in pairwise(ends)]


def separable(model: nn.Module) -> bool:
    """Whether a sample's answer is its own: not where normalisation looks at the batch (or a module says that it
    `sees_batch`), or keeps what it saw.
    """
    if any(getattr(module, "sees_batch", False) for module in model.modules()):
        return False
    norms = (module for module in model.modules() if isinstance(module, _NormBase))
    return not any(norm.training and (norm.track_running_stats or isinstance(norm, _BatchNorm)) for norm in norms)


def possible() -> bool:
    """Whether a call here and now may be cut."""
    return not (watched() or getattr(_thread, "busy", False) or torch._C._len_torch_function_stack())


def reading(method: Method) -> Method:
    """Makes a module's method of networks read a batch in lanes, where gradients are off; the answers, a pytree of
    tensors (B, ...), are joined.
    """

    @functools.wraps(method)
    def read(module: nn.Module, networks: Any) -> Any:
        if torch.is_grad_enabled() or not isinstance(networks, Weights) or not possible():
            return method(module, networks)
        if networks.flat.dim() != 2 or not len(networks) or networks.device.type != "cpu" or not separable(module):
            return method(module, networks)
        if len(networks) == 1 and networks.spec.num_parameters > _LARGE:  # whose products are worth threads
            return method(module, networks)
        # twice as many as in training, where what a lane keeps has to be paid for as well
        parts = cut(len(networks), 2 * size(module, [networks.spec]))
        key = drawn_seed() if module.training and len(parts) > 1 else None
        seeds = None if key is None else [seed_of(key, part.start) for part in parts]
        answers = run([functools.partial(method, module, networks[part]) for part in parts], seeds)
        if len(answers) == 1:
            return answers[0]
        return run([lambda: pytree.tree_map(lambda *pieces: torch.cat(pieces), *answers)])[0]

    return read  # type: ignore[return-value]


# ---------------------------------------------------------------- threads

_thread = threading.local()


def run(tasks: Sequence[Callable[[], T]], seeds: Sequence[int] | None = None) -> list[T]:
    """What each task answers, in their order; as many at a time as `torch.get_num_threads()` says, begun in order.

    Tasks have the caller's gradient mode, inference mode and autocast. With `seeds`, what a task draws from torch's
    global generator on the CPU is a function of its seed, and that generator stays as it was. If tasks raise, no more
    are begun, and the first one's exception is raised here when those under way have ended.

    A single task is done by this thread, which has one torch thread meanwhile, as would threads that begin meanwhile.
    """
    most = torch.get_num_threads()
    count = min(most, len(tasks))
    job = _Job(tasks, [None] * len(tasks) if seeds is None else seeds, workers=count)
    if getattr(_thread, "busy", False):
        job.work()
    elif count < 2:
        torch.set_num_threads(1)
        try:
            job.work()
        finally:
            torch.set_num_threads(most)
    else:
        _start(count)
        enter = _modes()
        for _ in range(count):
            _waiting.put((job, enter))
        try:
            job.ended.wait()
        except BaseException:  # Ctrl-C; what runs uses the caller's tensors, so it is waited for
            job.stopped = True
            job.ended.wait()
            raise
    if job.errors:
        raise job.errors[min(job.errors)]
    return job.answers


class _Job:
    """Tasks, and how far its workers have come with them."""

    def __init__(self, tasks: Sequence[Callable[[], Any]], seeds: Sequence[int | None], workers: int):
        self.tasks, self.seeds, self.workers = tasks, seeds, workers
        self.answers: list[Any] = [None] * len(tasks)
        self.errors: dict[int, BaseException] = {}
        self.begun, self.stopped = 0, False
        self.lock, self.ended = threading.Lock(), threading.Event()

    def work(self) -> None:
        """Do tasks until none is left."""
        outer, _thread.busy = getattr(_thread, "busy", False), True
        try:
            while (number := self._begin()) is not None:
                try:
                    seed = self.seeds[number]
                    with nullcontext() if seed is None else _Draws(seed):
                        self.answers[number] = self.tasks[number]()
                except BaseException as error:
                    self.errors[number], self.stopped = error, True
        finally:  # Ctrl-C may come between two tasks as well
            _thread.busy = outer
            with self.lock:
                self.workers -= 1
                if self.workers <= 0:
                    self.ended.set()

    def _begin(self) -> int | None:
        with self.lock:
            if self.stopped or self.begun == len(self.tasks):
                return None
            self.begun += 1
            return self.begun - 1


_waiting: SimpleQueue[tuple[_Job, Callable[[], AbstractContextManager[None]]]] = SimpleQueue()
_workers: list[threading.Thread] = []
_starting = threading.Lock()


def _start(count: int) -> None:
    """See to it that there are so many workers."""
    with _starting:
        ready, missing = threading.Semaphore(0), range(len(_workers), count)
        for number in missing:
            worker = threading.Thread(target=_serve, args=(ready,), name=f"lane-{number}", daemon=True)
            _workers.append(worker)
            worker.start()
        for _ in missing:
            ready.acquire()
        if missing:  # each worker has set its own number of threads, which later threads of the process would follow
            torch.set_num_threads(torch.get_num_threads())


def _serve(ready: threading.Semaphore) -> None:
    torch.get_num_threads()  # the first call in a thread sets the process's number
    torch.set_num_threads(1)
    ready.release()
    while True:
        job, enter = _waiting.get()
        with enter():
            job.work()
        del job, enter  # or what was answered would be kept until the next one


def _forget() -> None:
    """In a child of `fork` there are no threads."""
    global _waiting, _starting, _draws
    _waiting, _starting, _draws = SimpleQueue(), threading.Lock(), threading.RLock()
    _workers.clear()
    _thread.busy = False


os.register_at_fork(after_in_child=_forget)


def _modes() -> Callable[[], AbstractContextManager[None]]:
    """Enters, in another thread, the modes of this one that torch keeps for each thread."""
    grad, inference = torch.is_grad_enabled(), torch.is_inference_mode_enabled()
    lowers, dtype, cached = (
        torch.is_autocast_enabled("cpu"),
        torch.get_autocast_dtype("cpu"),
        torch.is_autocast_cache_enabled(),
    )

    @contextmanager
    def enter() -> Iterator[None]:
        torch.set_autocast_enabled("cpu", lowers)
        torch.set_autocast_dtype("cpu", dtype)
        torch.set_autocast_cache_enabled(cached)
        with torch.inference_mode(inference), torch.set_grad_enabled(grad):
            yield

    return enter


# ---------------------------------------------------------------- random numbers

_draws = threading.RLock()
_DRAWING = re.compile(
    "drop|rand|normal_|bernoulli|multinomial|poisson|binomial|uniform|exponential|geometric|cauchy|gumbel|rrelu|gamma|"
    "dirichlet|fractional|attention|^normal$|^lstm$|^gru$|^rnn_"
)


@functools.cache
def _draws_numbers(name: str) -> bool:
    return _DRAWING.search(name) is not None


class _Draws(TorchFunctionMode):
    """In this thread, functions that draw from torch's global generator find it as `seed` and the draws before left it.

    torch has one generator for all threads, so it is lent to one function at a time.
    """

    def __init__(self, seed: int):
        super().__init__()
        self.state = torch.Generator().manual_seed(seed).get_state()

    def __torch_function__(
        self, function: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if not _draws_numbers(function.__name__):
            return function(*args, **(kwargs or {}))
        if torch._C._current_graph_task_id() != -1:
            raise InputError(
                f"expected no random numbers in the backward pass of a lane, got {function.__name__} (in "
                "torch.utils.checkpoint?), which would draw others than the forward pass did; leave it out, or train "
                "without lanes (lane=0)"
            )
        generator = torch.default_generator
        with _draws:
            before = generator.get_state()
            generator.set_state(self.state)
            try:
                return function(*args, **(kwargs or {}))
            finally:
                self.state = generator.get_state()
                generator.set_state(before)


def seed_of(*key: int) -> int:
    """A seed of 63 bits that is a function of the key."""
    return int(np.random.SeedSequence(key).generate_state(1, np.uint64)[0] >> np.uint64(1))


def drawn_seed() -> int:
    """A key out of torch's global generator."""
    return int(torch.randint(2**62, ()))
