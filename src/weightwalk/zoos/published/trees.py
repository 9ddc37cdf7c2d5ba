"""Published layouts: where each network lies in a folder, what its tensors are called, what its outputs mean."""

from __future__ import annotations

import os
import re
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from weightwalk import files
from weightwalk.errors import InputError
from weightwalk.registry import Registry
from weightwalk.zoos.inr.pixels import PixelFormat
from weightwalk.zoos.splits import Part, SplitRule

UNKNOWN = -1
"""The label of a network whose file alone says what it is."""


RECORD = "weightwalk.json"
"""The one file in an export that is not of its layout."""


@dataclass(frozen=True, eq=False)
class Shelf:
    """The networks of one part and fit: `images` (N,), increasing; `labels` (N,), `UNKNOWN` if only the file says."""

    part: Part
    fit: int
    images: NDArray[np.int64]
    labels: NDArray[np.int64]


Listed = dict[str, list[tuple[str, int]]]
"""What an export has written: (path within the folder, label) of each network, by split."""


class Layout(ABC):
    """One way in which networks lie in a folder, one file each.

    A file holds a state dict, float32, in the order weight, bias, weight, bias, ...; all hidden layers compute sin(30
    (W x + b)).
    """

    example: ClassVar[str]
    """A path within the folder, for sentences."""
    pixels: ClassVar[PixelFormat]
    counts_through: ClassVar[bool] = False
    """Whether one number counts the images of all parts; part `all` then."""
    max_fits: ClassVar[int | None] = None
    """How many networks of one image there may be; None: any number."""
    datasets: ClassVar[tuple[str, ...]] = ()
    """Data sets that are published in this form; others use the last form of their layout."""

    @abstractmethod
    def scan(self, folder: Path) -> list[Shelf]:
        """What lies in `folder`, without opening a file; nothing if it is of another layout."""

    @abstractmethod
    def path(self, part: Part, fit: int, image: int, label: int) -> str:
        """Where a network lies within the folder."""

    @abstractmethod
    def key(self, layer: int, num_layers: int) -> str:
        """What a layer is called in a state dict, before `.weight` and `.bias`."""

    @abstractmethod
    def split_rule(
        self, folder: Path, shelves: Sequence[Shelf], dataset: str, given: tuple[int, int] | Path | None
    ) -> SplitRule:
        """The published split, or the one `given`: by index, or by a file of lists."""

    def extra(self, label: int) -> dict[str, int]:
        """What a file holds besides tensors."""
        return {}

    def lists(self, folder: Path, listed: Listed) -> dict[str, Any]:
        """The JSON files, by name, that tell the published code which networks there are."""
        return {}


TREES: Registry[tuple[Layout, ...]] = Registry("layout")
"""The forms of each layout of trees; `recognise` finds out which one a folder has."""


def recognise(name: str, folder: Path) -> tuple[Layout, list[Shelf]]:
    """The form of layout `name` that `folder` has, and what is in it; else an InputError says what may be meant."""
    forms = TREES[name]
    if not folder.is_dir():
        got = "a file" if folder.exists() else "nothing"
        raise InputError(f"expected the folder of a tree of the layout {name}, found {got} at {folder}; check the path")
    for form in forms:
        if shelves := form.scan(folder):
            return form, shelves
    remedy = "check the path"
    for other, others in TREES.items():
        if any(form.scan(folder) for form in others):
            remedy = f"it looks like a tree of the layout {other}"
    inside = folders(folder)
    if len(inside) < 20:  # unpacked archives hold one or two
        remedy = next(
            (f"did you mean {folder / sub}?" for sub in inside if any(form.scan(folder / sub) for form in forms)),
            remedy,
        )
    raise InputError(
        f"expected files like {' or '.join(form.example for form in forms)} in {folder}, found none; {remedy}"
    )


def folders(folder: Path) -> list[str]:
    """The names of the folders in a folder, sorted."""
    with os.scandir(folder) as entries:
        return sorted(entry.name for entry in entries if entry.is_dir())


def shelved(layout: Layout, folder: Path, part: Part, fit: int, found: list[tuple[int, int]]) -> Shelf:
    """The shelf of the networks (image, label) that were `found`; InputError if an image has two of them."""
    images, labels = np.array(sorted(found), np.int64).T
    twice = np.flatnonzero(np.diff(images) == 0)
    if len(twice):
        one, two = (folder / layout.path(part, fit, int(images[i]), int(labels[i])) for i in (twice[0], twice[0] + 1))
        raise InputError(
            f"expected one network of image {images[twice[0]]}, got {one} and {two}; remove the one that is wrong"
        )
    return Shelf(part, fit, images, labels)


def read_record(folder: Path) -> dict[str, Any]:
    """What `export_tree` noted in `folder`: its zoo and its numbering; empty for the published trees."""
    if not (folder / RECORD).exists():
        return {}
    record = files.read_json(folder / RECORD, "the record of an export")
    if not isinstance(record, dict) or not isinstance(record.get("label_names"), list):
        raise InputError(f"expected the record of an export in {folder / RECORD}, got other JSON; remove it")
    return record


def numbers(match: re.Match[str], path: str) -> list[int]:
    """The numbers in a name, each written without leading zeros, so that it can be made of them again."""
    found = [group for group in match.groups() if group is not None and group.isdigit()]
    if any(group != str(int(group)) for group in found):
        raise InputError(f"expected numbers without leading zeros, got {path}; rename it")
    return list(map(int, found))
