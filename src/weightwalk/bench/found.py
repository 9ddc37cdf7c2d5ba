"""What every benchmark answers with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Found:
    """`values` for programs; for people one sentence, a table under a title, and remarks below it."""

    values: dict[str, Any]
    sentence: str
    title: str
    header: Sequence[str]
    rows: Sequence[Sequence[object]]
    remarks: tuple[str, ...] = ()


def side_by_side(columns: Mapping[str, Mapping[str, object]]) -> tuple[list[str], list[list[object]]]:
    """Header and rows of a table with a column for each of several cases, all of which have the same labels."""
    labels = next(iter(columns.values()))
    return ["", *columns], [[label, *(column[label] for column in columns.values())] for label in labels]


def times(ratio: float | None) -> str:
    """`3.2 x`."""
    return "not reached" if ratio is None else f"{ratio:.3g} x"


def mib(value: float | None) -> str | None:
    """`12 MiB`, or nothing where the system does not tell."""
    return None if value is None else f"{value:.0f} MiB"
