"""Our cells and the published ones as one table: rows and columns as the paper prints them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from weightwalk.reproduce import measuring
from weightwalk.reproduce.measuring import Measured
from weightwalk.reproduce.published import Cell
from weightwalk.reproduce.registry import Part

Place = tuple[str, str]
"""Row and column."""

_SHORT = {"second hand": "", "read": "", "recalled": " (recalled)", "suspect": " (suspect)"}
"""What stands behind a published number; that most are second hand is said below the table."""


def part(title: str, ours: Mapping[Place, str], published: Sequence[Cell], access: Mapping[Place, str]) -> Part:
    """A row for every method, for every column ours and the published number, where there are any; `access` is that of
    our cells that were measured.
    """
    theirs = {(key(cell.row), key(cell.column)): cell for cell in published}
    rows = _union([row for row, _ in ours], [cell.row for cell in published])
    columns = _union([column for _, column in ours], [cell.column for cell in published])
    own = {(key(row), key(column)): text for (row, column), text in ours.items()}
    header, body = ["method", "access"], [[row, _access(row, access, published)] for row in rows]
    for column in columns:
        for name, texts in (("here", own), ("published", {place: shown(cell) for place, cell in theirs.items()})):
            found = [texts.get((key(row), key(column)), "") for row in rows]
            if any(found):
                header.append(f"{column}, {name}")
                for line, text in zip(body, found, strict=True):
                    line.append(text)
    return Part(title, header, body)


def _access(row: str, ours: Mapping[Place, str], published: Sequence[Cell]) -> str:
    """What a method takes of a network, here and as published, in a word where that is the same."""
    here = {access for (name, _), access in ours.items() if key(name) == key(row)}
    theirs = {cell.access for cell in published if key(cell.row) == key(row)}
    if here and theirs and here != theirs:
        return f"{', '.join(sorted(here))} (published: {', '.join(sorted(theirs))})"
    return ", ".join(sorted(here | theirs))


def shown(cell: Cell) -> str:
    """A published number as it is printed, with its deviation, and what is doubtful about it."""
    std = "" if cell.std is None else f" ± {cell.std:g}"
    return f"{number(cell.value)}{std}{_SHORT[cell.tag]}"


def number(value: float) -> str:
    """A percentage or error to one digit at least, a share or tau to three, more where there are more."""
    text, least = f"{value:g}", 1 if abs(value) >= 1 else 3
    return text if len(text.partition(".")[2]) > least else f"{value:.{least}f}"


def in_words(found: Measured) -> str:
    """The metric of a cell, mean and deviation over its seeds; beside tau the largest that ties allow, beside an edit's
    error that of doing nothing.
    """
    values = found.values(found.headline)
    digits = 1 if found.headline.endswith("%") else 4
    std = measuring.std_of(values)
    text = f"{measuring.mean_of(values):.{digits}f}" + ("" if std is None else f" ± {std:.{digits}f}")
    for word, metric in (("at most", "kendall_tau_max test"), ("unedited", f"{found.headline[:-5]} of doing nothing")):
        if metric in found.metrics:
            text += f" ({word} {measuring.mean_of(found.values(metric)):.{digits}f})"
    return text


def conditions(found: Mapping[Place, Measured]) -> tuple[Part, Part]:
    """What was spent on every cell, and which networks were read."""
    spent: list[list[object]] = []
    read: list[list[object]] = []
    for place, one in found.items():
        told = one.rows()[0]
        steps = " + ".join(f"{steps:,}" for steps in one.steps.values())
        figures = [one.headline, in_words(one), " ".join(map(str, one.seeds))]
        spent.append([*place, *figures, f"{one.num_parameters:,}", steps, f"{one.minutes:.1f}"])
        read.append([*place, told.access, told.zoo, told.init, told.fits, told.recipe])
    return (
        Part(
            "What was measured here, and what was spent on it",
            ["method", "column", "metric", "here", "seeds", "parameters", "steps", "minutes a seed"],
            spent,
        ),
        Part(
            "What was read, and by which recipe", ["method", "column", "access", "zoo", "init", "fits", "recipe"], read
        ),
    )


def values(place: Place, found: Measured | None, refused: str | None, published: Sequence[Cell]) -> dict[str, Any]:
    """A cell for programs."""
    row, column = place
    theirs = next((c for c in published if (key(c.row), key(c.column)) == (key(row), key(column))), None)
    told: dict[str, Any] = {"row": row, "column": column, "refused": refused, "value": None}
    if theirs is not None:
        told["published"] = {name: getattr(theirs, name) for name in ("value", "std", "source", "tag", "access")}
    if found is not None:
        line, spread = found.rows()[0], found.values(found.headline)
        told |= {"metric": found.headline, "value": measuring.mean_of(spread), "std": measuring.std_of(spread)}
        told |= {"seeds": found.seeds, "steps": found.steps, "parameters": found.num_parameters}
        told |= {"minutes": found.minutes, "runs": [str(run.path) for run in found.runs], "access": line.access}
        told |= {"zoo": line.zoo, "init": line.init, "fits": line.fits, "recipe": line.recipe}
    return told


def key(name: str) -> str:
    """What two spellings of a name have in common: letters and digits, in lower case."""
    return re.sub(r"[^a-z0-9]+", "", name.lower())


def _union(first: Sequence[str], second: Sequence[str]) -> list[str]:
    """The names of both, each once: the second's, as printed, then those that the first has beside."""
    return list({key(name): name for name in (*second, *first, *second)}.values())
