"""Where the tables are found by name, and what each of them answers with."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from weightwalk.progress import Progress
from weightwalk.registry import Registry


@dataclass(frozen=True)
class Part:
    """One table as people read it."""

    title: str
    header: Sequence[str]
    rows: Sequence[Sequence[object]]


@dataclass(frozen=True)
class Reproduction:
    """`values` for programs; for people one sentence, tables, and remarks below them."""

    values: dict[str, Any]
    sentence: str
    title: str
    parts: tuple[Part, ...]
    remarks: tuple[str, ...]


class Reproduces(Protocol):
    """How much is done for a table, a frozen dataclass of `amounts`."""

    @property
    def amounts(self) -> dict[str, Any]:
        """Its fields, as JSON values."""
        ...

    def measure(self, progress: Progress) -> Reproduction:
        """Do it."""
        ...


TABLES: Registry[Callable[[bool], Reproduces]] = Registry("table")
"""By name: whether it shall only be seen to run (`quick`) -> what does it."""
