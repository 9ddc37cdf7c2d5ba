"""Where the tables are found by name, what is asked of them, and what each of them answers with."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, ClassVar, Literal, Protocol

from weightwalk.errors import InputError
from weightwalk.progress import Progress
from weightwalk.registry import Registry

Scale = Literal["tiny", "small", "full"]
"""`tiny`: only see that it runs, in minutes, without data. `small`: for two cores. `full`: as published."""


@dataclass(frozen=True)
class Request:
    """What a user asks of a table. `root` is the folder of the data sets' files, `work` that of zoos and runs, which
    are gone on with; `minutes` of a core are for every cell's training; `only` are ROW, ROW/COLUMN or /COLUMN;
    `settings` change every recipe, KEY=VALUE; result rows are added to the file `rows`.
    """

    scale: Scale = "small"
    root: Path | None = None
    work: Path = Path("runs/reproduce")
    seeds: tuple[int, ...] = ()
    minutes: float | None = None
    only: tuple[str, ...] = ()
    settings: tuple[str, ...] = ()
    rows: Path | None = None
    device: str = "cpu"

    def __post_init__(self) -> None:
        if self.minutes is not None and not 0 < self.minutes < 1e6:
            raise InputError(f"expected --minutes above 0 and below a million, got {self.minutes}")
        if any(seed < 0 for seed in self.seeds) or len(set(self.seeds)) < len(self.seeds):
            raise InputError(f"expected --seeds as different numbers from 0, such as 0,1,2, got {self.seeds}")

    def demand_unset(self, table: str, *names: str) -> None:
        """InputError if one of the fields `names` is asked for of a table that has no use for it."""
        defaults = {field.name: field.default for field in fields(self)}
        for name in names:
            if getattr(self, name) != defaults[name]:
                raise InputError(f"{table} has no --{name}; leave it out")


@dataclass(frozen=True)
class Part:
    """One table as people read it."""

    title: str
    header: Sequence[str]
    rows: Sequence[Sequence[object]]


@dataclass(frozen=True)
class Reproduction:
    """`values` for programs; for people one sentence, tables, and remarks below them.

    `refused` are sentences about what could not be done; `finished` is False where work was stopped, and kept.
    """

    values: dict[str, Any]
    sentence: str
    title: str
    parts: tuple[Part, ...]
    remarks: tuple[str, ...]
    refused: tuple[str, ...] = ()
    finished: bool = True


class Reproduces(Protocol):
    """How much is done for a table, a frozen dataclass of `amounts`."""

    resumes: ClassVar[bool]
    """Whether work that is stopped is kept, and gone on with."""

    @property
    def amounts(self) -> dict[str, Any]:
        """Its fields, as JSON values."""
        ...

    def measure(self, progress: Progress, should_stop: Callable[[], bool] = lambda: False) -> Reproduction:
        """Do it."""
        ...


TABLES: Registry[Callable[[Request], Reproduces]] = Registry("table")
"""By name: what is asked -> what does it."""
