"""How commands show long work: bars on a terminal, now and then a line anywhere else."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import IO

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from weightwalk.report.words import listed

SECONDS_PER_LINE = 10.0
MOST_BARS = 10


class _Rate(ProgressColumn):
    def render(self, task: Task) -> Text:
        rate = task.finished_speed or task.speed
        return Text(
            "" if rate is None else f"{rate:,.0f}/s" if rate >= 10 else f"{rate:.1f}/s", style="progress.data.speed"
        )


class Bars:
    """One bar for each of the last `MOST_BARS` labels, with the rate, the time left (of finished work: the time it
    took) and the figures.
    """

    def __init__(self, console: Console):
        self._console = console
        self._live: Progress | None = None
        self._tasks: dict[str, TaskID] = {}

    def __call__(self, label: str, done: int, total: int, figures: Mapping[str, float]) -> None:
        """See `weightwalk.progress.Progress`."""
        if self._live is None:
            columns = (TextColumn("{task.description:<16}", markup=False), BarColumn(24), MofNCompleteColumn(), _Rate())
            left = (TimeRemainingColumn(elapsed_when_finished=True), TextColumn("{task.fields[figures]}", markup=False))
            self._live = Progress(*columns, *left, console=self._console)
            self._live.start()
        if label not in self._tasks:
            if len(self._tasks) == MOST_BARS:
                self._live.remove_task(self._tasks.pop(next(iter(self._tasks))))
            self._tasks[label] = self._live.add_task(label, total=total, completed=done, figures="")
        self._live.update(self._tasks[label], total=total, completed=done, figures=listed(figures))

    def close(self) -> None:
        """Leave the bars as they stand; the next call starts new ones."""
        if self._live is not None:
            self._live.stop()
        self._live, self._tasks = None, {}


class Lines:
    """A line when work begins, every ten seconds, and when it is done."""

    def __init__(self, file: IO[str]):
        self._file = file
        self._label = ""
        self._start, self._first, self._reported = 0.0, 0, 0.0

    def __call__(self, label: str, done: int, total: int, figures: Mapping[str, float]) -> None:
        """See `weightwalk.progress.Progress`."""
        now = time.monotonic()
        begins = label != self._label
        if begins:
            self._label, self._start, self._first = label, now, done
        if not begins and done < total and now - self._reported < SECONDS_PER_LINE:
            return
        self._reported = now
        rate = (done - self._first) / max(now - self._start, 1e-9)
        parts = [f"{label} {done:,}/{total:,}"]
        if rate > 0:
            parts += [
                f"{rate:,.1f}/s",
                f"{now - self._start:.0f} s" if done >= total else f"{(total - done) / rate:.0f} s left",
            ]
        print(", ".join([*parts, *filter(None, [listed(figures)])]), file=self._file, flush=True)

    def close(self) -> None:
        """Nothing is left open between lines."""
        self._label = ""
