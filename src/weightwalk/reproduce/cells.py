"""Tables of trained methods: `weightwalk reproduce table1` and its like run what is missing and lay ours beside theirs.

Everything lies in one folder, so that whatever a table needs is made once, also if other tables need it too:

    WORK/zoos/NAME                       what `zoos.plan` says
    WORK/steps/RECIPE-ID.json            the seconds of steps, where --minutes was asked (see `minutes`)
    WORK/runs/RECIPE-ZOO-ID-sSEED        a run: its configuration's ID, and its seed
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from fnmatch import fnmatch
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import torch

from weightwalk import config as configs
from weightwalk.errors import InputError
from weightwalk.progress import Progress, silent
from weightwalk.recipes.editing_tables import editing
from weightwalk.recipes.tables import CELLS as TRAINED
from weightwalk.recipes.tables import Cell
from weightwalk.report import tables
from weightwalk.reproduce import beside, measuring, minutes, published, zoos
from weightwalk.reproduce.beside import Place
from weightwalk.reproduce.measuring import Measured
from weightwalk.reproduce.registry import TABLES, Reproduction, Request
from weightwalk.tasks.config import RunConfig
from weightwalk.zoos.store import Zoo

CELLS = {**TRAINED, "editing": editing}
"""By the name of the table: the cells at a scale."""
SEEDS = {"tiny": (0,), "small": (0, 1, 2), "full": (0, 1, 2)}

_SCALES = {
    "tiny": "Scale tiny only shows that every cell runs: INRs of 8 x 8 digits that share a start, networks trained "
    "on them, minutes of training. Its numbers stand beside no published one.",
    "small": "Scale small: 12,000 training images with 2 fits (published: 45,000 to 55,000 with 11) by 400 steps of "
    "the recipe fast (published: 5,000), narrower networks, a hundredth of the steps. A lower number than the "
    "published one says little of the method; compare methods with one another.",
    "full": "Scale full: the published sizes, steps and fits. Validation images are every 10th or 12th of the training "
    "file, not its last ones.",
}
_TAGS = (
    "Published numbers were measured by others, on their machines; read: in the paper's text or a repository, second "
    "hand: as transcribed by others, recalled: from memory and not verified, suspect: see below. {sources}."
)


@dataclass
class _State:
    """What is known of every cell so far."""

    found: dict[Place, Measured] = field(default_factory=dict)
    refused: dict[Place, str] = field(default_factory=dict)
    finished: bool = True


@dataclass(frozen=True)
class Cells:
    """A table of `CELLS`, and what is asked of it."""

    resumes: ClassVar[bool] = True
    table: str
    request: Request

    @property
    def amounts(self) -> dict[str, Any]:
        asked = {name: str(value) if isinstance(value, Path) else value for name, value in asdict(self.request).items()}
        return {**asked, "seeds": self.seeds}

    @property
    def seeds(self) -> tuple[int, ...]:
        """Those that are asked for, else three, of the scale tiny one."""
        return self.request.seeds or SEEDS[self.request.scale]

    def cells(self) -> list[Cell]:
        """Those that are asked for; InputError for a pattern that fits none."""
        cells = CELLS[self.table](self.request.scale)
        if not self.request.only:
            return list(cells)
        chosen = [[cell for cell in cells if _fits(cell, pattern)] for pattern in self.request.only]
        for pattern, some in zip(self.request.only, chosen, strict=True):
            if not some:
                raise InputError(
                    f"expected ROW, ROW/COLUMN or /COLUMN of {self.table} with --only, got {pattern!r}; rows: "
                    f"{'; '.join(dict.fromkeys(c.row for c in cells))}; columns: "
                    f"{'; '.join(dict.fromkeys(c.column for c in cells))}"
                )
        return [cell for cell in cells if any(cell in some for some in chosen)]

    def measure(self, progress: Progress = silent, should_stop: Callable[[], bool] = lambda: False) -> Reproduction:
        """Cell by cell: its zoo, its steps, every seed's run and evaluation, its rows.

        A cell that can't be is refused, and the others go on; InputError where none can be for want of data.
        """
        state, cells = _State(), self.cells()
        if self.request.scale != "tiny":
            zoos.demand_root(self.request.root)
        for number, cell in enumerate(cells, 1):
            place, told = (cell.row, cell.column), f"{number}/{len(cells)} {cell.row}, {cell.column}"
            try:
                found = self._measured(cell, measuring.progress_of(told, progress), should_stop)
            except InputError as error:
                state.refused[place] = str(error)
                continue
            if found is None:
                state.finished = False
                break
            state.found[place] = found
            if self.request.rows is not None:
                for row in found.rows(cell.method or cell.row):
                    tables.append(self.request.rows, row)
        return self._answer(state, cells)

    def _measured(self, cell: Cell, progress: Progress, should_stop: Callable[[], bool]) -> Measured | None:
        asked, work = self.request, self.request.work
        config = configs.override(cell.make(), asked.settings)
        wanted = zoos.plan(config.reads, asked.scale, column=cell.column, fit=cell.fit, init=cell.init)
        zoo = zoos.made(wanted, work / "zoos", asked.root, asked.device, progress, should_stop)
        if zoo is None:
            return None
        device = torch.device(asked.device)
        if asked.minutes is not None:
            timed = minutes.steps_for(
                *(config, zoo, asked.minutes),
                kept=work / "steps",
                device=device,
                progress=progress,
                should_stop=should_stop,
            )
            if timed is None:
                return None
            config = timed
        return measuring.measure(
            *(config, zoo, self.seeds, partial(_folder, work / "runs", zoo)),
            device=device,
            progress=progress,
            should_stop=should_stop,
        )

    def _answer(self, state: _State, cells: Sequence[Cell]) -> Reproduction:
        theirs, asked = published.TABLES.get(self.table, ()), self.request
        places = [(cell.row, cell.column) for cell in cells]
        texts = dict.fromkeys(state.refused, "refused")
        texts |= {place: beside.in_words(one) for place, one in state.found.items()}
        ours = {place: texts.get(place, "not yet") for place in places}
        title = f"{published.TITLES[self.table]}, scale {asked.scale}"
        equal = f", each trained for {asked.minutes:g} minutes of a core" if asked.minutes else ""
        access = {place: one.found[0].access for place, one in state.found.items()}
        done = f"{len(state.found)} of {len(cells)} cells of {self.table} measured at scale {asked.scale}{equal}"
        refused = tuple(f"{row}, {column}: {sentence}" for (row, column), sentence in state.refused.items())
        if refused:
            done += f"; {len(refused)} refused"
        return Reproduction(
            {
                "cells": [
                    beside.values(place, state.found.get(place), state.refused.get(place), theirs) for place in places
                ]
            },
            done,
            title,
            (beside.part(title, ours, theirs, access), *beside.conditions(state.found)),
            tuple(self._remarks(state, theirs, refused)),
            refused,
            state.finished,
        )

    def _remarks(self, state: _State, theirs: Sequence[published.Cell], refused: Sequence[str]) -> list[str]:
        remarks = [f"Refused: {sentence}" for sentence in refused]
        remarks += [f"Here: {tables.hardware()}. {_SCALES[self.request.scale]}"]
        if self.request.minutes is not None:
            remarks.append(
                f"Equal time: {self.request.minutes:g} minutes of a core (on CUDA: of the clock) per seed, turned into "
                "steps by a probe of one thread; the steps are in the table, and what the clock said afterwards, which "
                "other work on the machine lengthens."
            )
        if theirs:
            remarks.append(_TAGS.format(sources=_sources(theirs)))
        return remarks + [f"Trap: {trap}" for trap, about in published.TRAPS.items() if self.table in about]


def _fits(cell: Cell, pattern: str) -> bool:
    """Whether a cell is meant by ROW, ROW/COLUMN or /COLUMN, in which * stands for anything; case does not count."""
    row, _, column = pattern.lower().partition("/")
    return fnmatch(cell.row.lower(), row or "*") and fnmatch(cell.column.lower(), column or "*")


def _sources(cells: Sequence[published.Cell]) -> str:
    """Where published numbers are from; the rows of each, if there are several."""
    rows: dict[tuple[str, str], dict[str, None]] = {}
    for cell in cells:
        rows.setdefault((cell.source, cell.tag), {})[cell.row.replace(", ", " ")] = None
    return "; ".join(
        f"{source} ({tag})" + (f": {', '.join(names)}" if len(rows) > 1 else "")
        for (source, tag), names in rows.items()
    )


def _folder(runs: Path, zoo: Zoo, config: RunConfig) -> Path:
    return runs / f"{config.recipe}-{zoo.path.name}-{measuring.name_of(config)}-s{config.seed}"


for _table in CELLS:
    TABLES.register(_table)(partial(Cells, _table))
