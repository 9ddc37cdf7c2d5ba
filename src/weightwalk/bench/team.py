"""Processes that do the same thing at once, so that a measurement is of the whole machine."""

from __future__ import annotations

import multiprocessing
import signal
import statistics
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from multiprocessing.connection import Connection
from types import TracebackType
from typing import Any, Concatenate, ParamSpec, TypeVar

import torch
from torch import Tensor

P = ParamSpec("P")
R = TypeVar("R")
Side = Callable[[], tuple[float, list[Any]]]
"""One of several ways to the same result, as `Team.run` answers: seconds, and what every worker answered."""

MATMUL = 1024  # rows and columns of the square products whose speed is called a core's peak


@cache
def _square() -> Tensor:
    return torch.randn(MATMUL, MATMUL, generator=torch.Generator().manual_seed(0))


def matmul(state: object, repeats: int) -> None:
    """Large products, for a `Team`, whatever its state."""
    for _ in range(repeats):
        torch.mm(_square(), _square())


class Team:
    """`size` worker processes of one torch thread each. `run` calls a function in all of them and waits for the last.

    A worker keeps the state that `give` hands it, which is what the functions get first. They are named by their
    module, and what goes to and fro is pickled, so both should be small: only the answers' way back is timed.
    """

    def __init__(self, size: int):
        context = multiprocessing.get_context("spawn")  # a fork would inherit torch's threads in an unknown state
        self._members = []
        for _ in range(size):
            ours, theirs = context.Pipe()
            process = context.Process(target=_serve, args=(theirs,), daemon=True)
            process.start()
            theirs.close()  # so that a worker that dies ends the conversation
            self._members.append((process, ours))

    def __enter__(self) -> Team:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for process, connection in self._members:
            connection.close()
            if kind is not None:
                process.terminate()
            process.join()

    def __len__(self) -> int:
        return len(self._members)

    def give(self, states: Sequence[object]) -> None:
        """Replace the state of each worker."""
        for (_, connection), state in zip(self._members, states, strict=True):
            connection.send((None, (state,), {}))
        self._answers()

    def run(
        self, function: Callable[Concatenate[Any, P], R], *args: P.args, **kwargs: P.kwargs
    ) -> tuple[float, list[R]]:
        """Seconds until the last worker was done with `function(state, *args, **kwargs)`, and what each answered."""
        began = time.perf_counter()
        for _, connection in self._members:
            connection.send((function, args, kwargs))
        answers = self._answers()
        return time.perf_counter() - began, answers

    def _answers(self) -> list[Any]:
        found, failures = [], []
        for process, connection in self._members:  # all of them, so that no answer is left for the next question
            try:
                answer, failure = connection.recv()
            except EOFError:
                process.join()
                raise RuntimeError(f"a worker of the benchmark ended with code {process.exitcode}") from None
            found.append(answer)
            failures += [failure] if failure else []
        if failures:
            raise RuntimeError(f"a worker of the benchmark failed:\n{failures[0]}")
        return found


def _serve(connection: Connection) -> None:
    """A worker's life: answers calls until the other end is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent gets it too, and ends its workers
    torch.set_num_threads(1)
    state: object = None
    while True:
        try:
            function, args, kwargs = connection.recv()
        except EOFError:
            return
        try:
            if function is None:
                (state,) = args
                answer = None
            else:
                answer = function(state, *args, **kwargs)
        except Exception:  # goes to the parent, which raises it
            connection.send((None, traceback.format_exc()))
        else:
            connection.send((answer, None))


def alternated(
    sides: Mapping[str, Side], repetitions: int
) -> Iterator[tuple[dict[str, list[float]], dict[str, list[Any]]]]:
    """Every side once, `repetitions` times over: all sides' seconds so far, and what they answered this time.

    Sides take turns, so what slows the machine down for a while meets them all.
    """
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(repetitions):
        answers = {}
        for name, side in sides.items():
            took, answers[name] = side()
            seconds[name].append(took)
        yield seconds, answers


def median_ratio(above: Sequence[float], below: Sequence[float]) -> float:
    """The median of the ratios of neighbours in time: what slows both of a pair down for a while does not count."""
    return statistics.median(a / b for a, b in zip(above, below, strict=True))
