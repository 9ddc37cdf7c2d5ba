"""Trackers that get the rows of a training beside its CSV: TensorBoard, and whatever else Accelerate knows."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from weightwalk.errors import InputError
from weightwalk.registry import unknown
from weightwalk.training.distributed import team

Log = Callable[[str, Mapping[str, float]], None]
"""Gets a stage's name and a row of its log."""


def check(names: Sequence[str]) -> None:
    """InputError for trackers that nobody knows, or whose package is missing."""
    if not names:
        return
    from accelerate import tracking

    there = {str(kind) for kind in tracking.get_available_trackers()}
    for name in names:
        if name not in tracking.LOGGER_TYPE_TO_CLASS:
            raise InputError(unknown("tracker", name, sorted(tracking.LOGGER_TYPE_TO_CLASS)))
        if name not in there:
            package = "'weightwalk[track]'" if name == "tensorboard" else name.replace("_", "-")
            raise InputError(f"expected {name} for --track {name}, found none; install it with pip install {package}")


@contextmanager
def tracked(names: Sequence[str], run: Path, settings: Mapping[str, Any], begun: bool) -> Iterator[Log]:
    """What gives rows to the trackers `names`, as STAGE/NAME at the row's step; in the leader of a team alone.

    A tracker that writes files gets RUN/NAME, and goes on there; `settings` are told unless the run has `begun`.
    """
    if not names or not team().leads:
        yield lambda stage, row: None
        return
    from accelerate import PartialState
    from accelerate.tracking import LOGGER_TYPE_TO_CLASS

    PartialState(cpu=True)  # which trackers ask who leads; it stays as a team has made it
    trackers = []
    for name in names:
        kind = LOGGER_TYPE_TO_CLASS[name]
        tracker = kind(name, logging_dir=run) if kind.requires_logging_directory else kind("weightwalk")
        tracker.start()
        trackers.append(tracker)
    flat = {
        name: value if isinstance(value, bool | int | float | str) else str(value) for name, value in _flat(settings)
    }
    for tracker in trackers if not begun else []:
        tracker.store_init_configuration(flat)

    def log(stage: str, row: Mapping[str, float]) -> None:
        values = {f"{stage}/{name}": value for name, value in row.items() if name != "step"}
        for tracker in trackers:
            tracker.log(values, step=int(row["step"]))

    try:
        yield log
    finally:
        for tracker in trackers:
            tracker.finish()


def _flat(settings: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in settings.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value
