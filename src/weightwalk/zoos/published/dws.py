"""The two forms of the DWS zoos (Navon et al. 2023, Equivariant Architectures for Learning in Deep Weight Spaces;
github.com/AvivNavon/DWSNets).

    mnist_png_{training,testing}_{label}_{id}/checkpoints/model_final.pth        MNIST
    {train,test}/model_{id}.pth, splits.json                                     Fashion-MNIST; the label is in the file

`id` counts the images of the part. Their `INRDataset`, and that of Neural Graphs, read lists of paths and labels by
split:
`mnist_splits.json`, which their script makes at random, and `fmnist_splits.json`, made of `splits.json`, the authors'
own split.
"""

from __future__ import annotations

import os
import re
from abc import abstractmethod
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, ClassVar

import numpy as np

from weightwalk import files
from weightwalk.errors import InputError
from weightwalk.zoos.inr.recipe import FIT_RECIPES
from weightwalk.zoos.published.trees import TREES, UNKNOWN, Layout, Listed, Shelf, folders, numbers, shelved
from weightwalk.zoos.splits import SPLITS, Part, SplitRule

_FOLDER = re.compile(r"mnist_png_(training|testing)_(\d+)_(\d+)")
_FILE = re.compile(r"model_(\d+)\.pth")
_PARTS: dict[Part, str] = {"train": "training", "test": "testing"}


class _Dws(Layout):
    """What the two forms have in common."""

    pixels = FIT_RECIPES["dws"].pixels
    max_fits = 1
    list_names: ClassVar[tuple[str, ...]]
    """Files of lists, the ones written and looked for."""

    @abstractmethod
    def parse(self, path: str) -> tuple[str, int] | None:
        """The part and image that a listed path means; its first folders are those of another machine."""

    def key(self, layer: int, num_layers: int) -> str:
        return f"seq.{layer}"

    def split_rule(
        self, folder: Path, shelves: Sequence[Shelf], dataset: str, given: tuple[int, int] | Path | None
    ) -> SplitRule:
        """The lists given, or those beside the networks; without any, every 12th training image validates."""
        if isinstance(given, tuple):
            raise InputError(f"the dws layout is split by lists: expected --splits, got --bounds {given[0]} {given[1]}")
        path = given or next((folder / name for name in self.list_names if (folder / name).exists()), None)
        if path is None:
            return SplitRule(val_every=12)
        found: dict[tuple[str, str], list[int]] = defaultdict(list)  # images by split and part
        for split, entries in _read_lists(path):
            for entry in entries:
                part, image = self.parse(entry) or ("", 0)
                if part != ("test" if split == "test" else "train"):
                    raise InputError(
                        f"expected paths like {self.example} in {path}, got {entry!r} under {split}; name another file"
                    )
                found[split, part].append(image)
        for shelf in shelves:
            known = [image for split in SPLITS for image in found[split, shelf.part]]
            stray = np.flatnonzero(~np.isin(shelf.images, known))
            if len(stray):
                at = folder / self.path(shelf.part, shelf.fit, int(shelf.images[stray[0]]), int(shelf.labels[stray[0]]))
                raise InputError(
                    f"expected a split of every network in {path}, got none of {at}; make it again ({len(stray)} are "
                    "not listed)"
                )
        return SplitRule(val_every=12, val_images=tuple(sorted(found["val", "train"])))


class DwsFolders(_Dws):
    """MNIST's form: a folder per network."""

    example = "mnist_png_training_5_0/checkpoints/model_final.pth"
    datasets = ("mnist",)
    list_names = ("mnist_splits.json",)

    def scan(self, folder: Path) -> list[Shelf]:
        parts: defaultdict[str, list[tuple[int, int]]] = defaultdict(list)
        for name in folders(folder):
            if found := _FOLDER.fullmatch(name):
                label, image = numbers(found, f"{folder}/{name}")
                parts[found[1]].append((image, label))
        return [shelved(self, folder, part, 0, parts[word]) for part, word in _PARTS.items() if word in parts]

    def path(self, part: Part, fit: int, image: int, label: int) -> str:
        return f"mnist_png_{_PARTS[part]}_{label}_{image}/checkpoints/model_final.pth"

    def parse(self, path: str) -> tuple[str, int] | None:
        for name in PurePosixPath(path).parts[-3:-2]:
            if found := _FOLDER.fullmatch(name):
                return "train" if found[1] == "training" else "test", int(found[3])
        return None

    def lists(self, folder: Path, listed: Listed) -> dict[str, Any]:
        """`mnist_splits.json`: paths that hold on this machine, as `generate_data_splits.py` writes them."""
        return {self.list_names[0]: _with_labels(folder, listed)}


class DwsFiles(_Dws):
    """Fashion-MNIST's form, for other data sets too: a file per network, with its label inside."""

    example = "train/model_0.pth"
    datasets = ("fashion-mnist",)
    list_names = ("splits.json", "fmnist_splits.json")

    def scan(self, folder: Path) -> list[Shelf]:
        parts: dict[Part, list[tuple[int, int]]] = {part: [] for part in _PARTS if (folder / part).is_dir()}
        for part, networks in parts.items():
            for name in os.listdir(folder / part):
                if found := _FILE.fullmatch(name):
                    networks.append((numbers(found, f"{folder}/{part}/{name}")[0], UNKNOWN))
        return [shelved(self, folder, part, 0, networks) for part, networks in parts.items() if networks]

    def path(self, part: Part, fit: int, image: int, label: int) -> str:
        return f"{part}/model_{image}.pth"

    def extra(self, label: int) -> dict[str, int]:
        return {"label": label}

    def parse(self, path: str) -> tuple[str, int] | None:
        *_, part, name = ("", "", *PurePosixPath(path).parts)
        found = _FILE.fullmatch(name)
        return (part, int(found[1])) if found and part in _PARTS else None

    def lists(self, folder: Path, listed: Listed) -> dict[str, Any]:
        """`splits.json`, paths alone, and `fmnist_splits.json`, with labels, as Neural Graphs' script makes it."""
        with_labels = _with_labels(folder, listed)
        return {
            self.list_names[0]: {split: entries["path"] for split, entries in with_labels.items()},
            self.list_names[1]: with_labels,
        }


def _with_labels(folder: Path, listed: Listed) -> dict[str, dict[str, list[Any]]]:
    root = folder.resolve().as_posix()
    return {
        split: {"path": [f"{root}/{path}" for path, _ in entries], "label": [str(label) for _, label in entries]}
        for split, entries in listed.items()
    }


def _read_lists(path: Path) -> Iterator[tuple[str, list[str]]]:
    """Every split and its paths: lists, or {"path": [...], "label": [...]}."""
    value = files.read_json(path, "the lists of a zoo's splits")
    for split in SPLITS:
        entries = value.get(split) if isinstance(value, dict) else None
        entries = entries.get("path") if isinstance(entries, dict) else entries
        if not isinstance(entries, list) or not all(isinstance(entry, str) for entry in entries):
            raise InputError(
                f"expected lists of paths under train, val and test in {path}, got none under {split}; name another "
                "file"
            )
        yield split, entries


TREES.register("dws")((DwsFolders(), DwsFiles()))
