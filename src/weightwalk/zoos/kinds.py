"""The kinds of zoos: what is known of their rows, how they are spoken of, and how a sample of them is checked.

A kind is a subclass of `Kind`, registered in `KINDS` under the name that a manifest has; those of this package are in
`zoos/inr/kind.py` and `zoos/trained/kind.py`.
"""

from __future__ import annotations

import importlib
import re
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from weightwalk.errors import InputError
from weightwalk.progress import Progress
from weightwalk.registry import Registry
from weightwalk.zoos.splits import PARTS, SPLITS, Part, group_numbers, indices_of, parts_of

if TYPE_CHECKING:
    from weightwalk.zoos.images import ImageSet
    from weightwalk.zoos.store import Zoo


@dataclass(frozen=True)
class Sampled:
    """What looking at some rows found: how many were looked at, what those that pass are off by at most, and
    the others, each with what is wrong with it. `why_not` says why none was looked at.
    """

    rows: int = 0
    worst: float = 0.0
    wrong: dict[int, str] = field(default_factory=dict)
    why_not: str = ""


@dataclass(frozen=True)
class Description:
    """What there is to say of a zoo: in a line, as named facts, as tables (title, header, rows), and as JSON values."""

    line: str
    facts: dict[str, object]
    tables: list[tuple[str, list[str], list[list[object]]]]
    values: dict[str, Any]


class Kind(ABC):
    """How zoos of one kind are spoken of and checked."""

    networks: ClassVar[str]
    """What rows are, in the plural."""
    group: ClassVar[str]
    member: ClassVar[str]
    words: ClassVar[Mapping[str, Part]]
    """What names of rows begin with, and the part that it stands for."""
    number: ClassVar[str]
    """The column whose number tells the members of a group apart in names, behind `letter`."""
    letter: ClassVar[str]
    figures: ClassVar[Mapping[str, str]]
    """What is known of every row, by the name of its column, and its dtype."""
    sample: ClassVar[int]
    """How many rows `verify` looks at."""

    def names(self, zoo: Zoo, rows: NDArray[np.int64]) -> list[str]:
        """See `Zoo.names`."""
        of_part = {PARTS.index(part): word for word, part in self.words.items()}
        columns = (parts_of(zoo.groups[rows]), indices_of(zoo.groups[rows]), zoo.column(self.number)[rows])
        return [
            f"{of_part.get(part, PARTS[part])}-{index}-{self.letter}{number}"
            for part, index, number in zip(*(column.tolist() for column in columns), strict=True)
        ]

    def find(self, zoo: Zoo, names: Sequence[str]) -> NDArray[np.int64]:
        """See `Zoo.find`."""
        name_of = re.compile(rf"({'|'.join(self.words)})-(0|[1-9][0-9]{{0,11}})-{self.letter}(0|[1-9][0-9]{{0,11}})")
        numbers = zoo.column(self.number)
        order = np.argsort(zoo.groups, kind="stable")
        groups = zoo.groups[order]
        rows = np.full(len(names), -1, np.int64)
        for place, name in enumerate(names):
            if found := name_of.fullmatch(name):
                [group] = group_numbers(self.words[found[1]], np.array([int(found[2])]))
                mine = order[np.searchsorted(groups, group, "left") : np.searchsorted(groups, group, "right")]
                hits = mine[numbers[mine] == int(found[3])]
                rows[place] = hits[0] if len(hits) else -1
        if (rows < 0).any():
            one = self.networks.removesuffix("s")
            raise InputError(f"unknown {one} {names[int((rows < 0).argmax())]!r}; {zoo.described()}")
        return rows

    @abstractmethod
    def dataset_to_look(self, path: Path, settings: Mapping[str, Any]) -> str:
        """The data set that `look` needs of a zoo with these settings; InputError if it has no use for one."""

    @abstractmethod
    def describe(self, zoo: Zoo) -> Description:
        """What a zoo with at least one row is like."""

    @abstractmethod
    def doubtful(self, name: str, column: NDArray[Any]) -> NDArray[np.bool_]:
        """Which values of a figure cannot be."""

    @abstractmethod
    def look(self, zoo: Zoo, rows: NDArray[np.int64], sets: Sequence[ImageSet] | None, progress: Progress) -> Sampled:
        """Evaluate networks `rows` and compare with what the zoo says; `sets` are the data set's parts, if told."""


def described(zoo: Zoo) -> Description:
    """What a zoo is like, in the words of its kind; InputError if nothing is in it yet."""
    kind = of(zoo.kind)
    if not len(zoo):
        raise InputError(
            f"expected {kind.networks} in the zoo {zoo.path}, found none yet; run the command that began it again"
        )
    found = kind.describe(zoo)
    sizes = sorted({spec.num_parameters for spec in zoo.specs})
    facts = {
        "data set": zoo.settings["dataset"],
        "networks": zoo.specs[0] if len(zoo.specs) == 1 else f"{len(zoo.specs):,} architectures",
        "parameters": f"{sizes[0]:,}" + (f" to {sizes[-1]:,}" if len(sizes) > 1 else ""),
        **found.facts,
        "read from": zoo.settings.get("layout"),
        "seed": zoo.settings.get("seed"),
    }
    values = {
        "zoo": str(zoo.path),
        "kind": zoo.kind,
        "networks": {name: len(zoo.rows(name)) for name in SPLITS},
        "architectures": len(zoo.specs),
        **found.values,
        "settings": zoo.settings,
        "provenance": zoo.provenance,
    }
    facts = {name: fact for name, fact in facts.items() if fact is not None}
    return Description(f"{zoo.path}: {found.line}", facts, found.tables, values)


KINDS: Registry[Kind] = Registry("kind of zoo")


def of(name: str) -> Kind:
    """The kind that a manifest names."""
    for room in ("inr", "trained"):
        importlib.import_module(f"weightwalk.zoos.{room}.kind")
    return KINDS[name]
