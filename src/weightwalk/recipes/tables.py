"""STUB until branch objectives is merged."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from weightwalk.config import override
from weightwalk.recipes.registry import RECIPES
from weightwalk.tasks.config import RunConfig

Scale = Literal["tiny", "small", "full"]


@dataclass(frozen=True)
class Cell:
    """One cell."""

    row: str
    column: str
    recipe: str
    settings: tuple[str, ...] = ()
    fit: str | None = None
    init: str | None = None
    method: str | None = None

    def make(self) -> RunConfig:
        return override(RECIPES[self.recipe](), self.settings)


def _table3(scale: Scale) -> tuple[Cell, ...]:
    if scale == "tiny":
        return (
            Cell("DNG-Encoder only", "digits", "digits_classify"),
            Cell("INR2JLS", "digits", "digits_inr2jls"),
            Cell("StatNN", "digits", "digits_classify", ("encoder=statnn",)),
        )
    return ()


def _table2(scale: Scale) -> tuple[Cell, ...]:
    return tuple(
        Cell(n, c, r, (f"encoder={e}",))
        for c, r in (("CIFAR-10-GS", "cnn_accuracy_small"), ("Wild Park", "wild_park_accuracy_small"))
        for n, e in (("StatNN", "statnn"), ("flat", "flat"))
    )


CELLS: dict[str, Callable[[Scale], tuple[Cell, ...]]] = {"table3": _table3, "table2": _table2}
