"""How long work tells what it is doing, without knowing who listens."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol


class Progress(Protocol):
    """Called now and then with a label of the work, how much of it is done, and figures worth showing."""

    def __call__(self, label: str, done: int, total: int, figures: Mapping[str, float]) -> None: ...


def silent(label: str, done: int, total: int, figures: Mapping[str, float]) -> None:
    """The progress of those who do not want to see it."""


def in_units(done: int, total: int, unit: int) -> tuple[int, int]:
    """`done` and `total` in whole units of so many; only what is finished is as much as the total."""
    return done // unit if done < total else -(-total // unit), -(-total // unit)
