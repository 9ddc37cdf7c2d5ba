"""The published zoos of INRs, one file per network, as they are read: shard by shard, and only what the zoo has not.

Legend: N networks of one fit of one shard's images, C channels, P pixels.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from weightwalk import config
from weightwalk.errors import InputError
from weightwalk.networks.files import read_state, to_network
from weightwalk.spec import NetworkSpec
from weightwalk.weights import Weights
from weightwalk.zoos.images import ImageSet
from weightwalk.zoos.inr.kind import FIGURES
from weightwalk.zoos.inr.pixels import PixelFormat
from weightwalk.zoos.inr.rendering import blocks
from weightwalk.zoos.manifest import Manifest
from weightwalk.zoos.published.reading import LAYOUTS, Published, Told
from weightwalk.zoos.published.trees import UNKNOWN, Shelf, read_record, recognise
from weightwalk.zoos.sources import Sources
from weightwalk.zoos.splits import PARTS, group_numbers
from weightwalk.zoos.writer import ZooWriter

SHARD = 512  # images of a shard
_CHUNK = 64  # files read between two looks at whether to go on
_MOST_CLASSES = 10_000
_CLASSES = 10  # labels with a name where nobody gives any: every published zoo has ten
_SIZES = {1: 28, 3: 32}  # pixels a side of the published data sets, by channels
_OMEGA = 30.0


class Tree(Published[Shelf]):
    """The networks of a tree of one layout.

    Source images are those of the data set (`images`), or else what the networks show at `size` x `size` (28 for one
    channel, 32 for three), rounded to uint8. PSNR is that of a network against the stored image. Labels are the tree's
    own. The split is the published one, or what is told: `bounds` (nfn) or `splits`, a file of lists (dws). Hidden
    layers compute sin(omega (W x + b)).

    InputError, naming the file, for one that is missing, damaged, of another shape than the first, not finite or not
    float32, and for one whose label is not that of its image.
    """

    takes = frozenset(("dataset", "images", "size", "omega", "bounds", "splits"))
    figures = FIGURES
    sources = True
    layout: ClassVar[str]

    def __init__(self, folder: Path, told: Told):
        if told.bounds is not None and told.splits is not None:
            raise InputError("expected bounds or splits, got both")
        self.folder, self.images = folder, told.images
        self.form, self.shelves = recognise(self.layout, folder)
        record = read_record(folder)
        if self.images and record.get("number") == "splits":
            raise InputError(
                f"expected numbers of pictures in {folder}, got an export that is numbered by splits; its pictures can "
                "only be rendered"
            )
        one = self.shelves[0]
        self.first = folder / self.form.path(one.part, one.fit, int(one.images[0]), int(one.labels[0]))
        self.spec = _siren(self.first, _OMEGA if told.omega is None else told.omega)
        dataset = self.images[0].dataset if self.images else told.dataset or str(record.get("dataset", "unknown"))
        names = (
            self.images[0].label_names if self.images else tuple(record.get("label_names") or _numbered(self.shelves))
        )
        self.shape, self.num_labels = _image_shape(self.spec, self.images, told.size), len(names)
        self.count = sum(len(shelf.images) for shelf in self.shelves)
        self.splits = self.form.split_rule(
            folder, self.shelves, dataset, told.bounds or told.splits or _recorded_bounds(record)
        )
        self.settings = {
            "kind": "inr",
            "dataset": dataset,
            "image_shape": list(self.shape),
            "image_dtype": "uint8",
            "label_names": list(names),
            "images": "data set" if self.images else "rendered",
            "spec": self.spec.to_dict(),
            "fit": {"name": f"imported, {self.layout} layout", "pixels": config.to_dict(self.form.pixels)},
            "init": "imported",
        }

    def pieces(self, writer: ZooWriter) -> list[tuple[Shelf, int]]:
        """By part, block of image indices, and fit, so that fit 0 of an image comes first."""
        found = []
        for shelf in self.shelves:
            new = np.flatnonzero(~np.isin(shelf.images, writer.done(shelf.part, shelf.fit)))
            block = shelf.images[new] // SHARD
            for rows in np.split(new, np.flatnonzero(np.diff(block)) + 1) if len(new) else []:
                found.append(Shelf(shelf.part, shelf.fit, shelf.images[rows], shelf.labels[rows]))
        found.sort(key=lambda piece: (PARTS.index(piece.part), int(piece.images[0]) // SHARD, piece.fit))
        return [(piece, len(piece.images)) for piece in found]

    def read(self, writer: ZooWriter, piece: Shelf, goes_on: Callable[[int], bool]) -> dict[str, float] | None:
        rows: list[Tensor] = []
        found: list[int] = []
        for image, label in zip(piece.images.tolist(), piece.labels.tolist(), strict=True):
            if len(rows) % _CHUNK == 0 and not goes_on(len(rows)):
                return None
            path = self.folder / self.form.path(piece.part, piece.fit, image, label)
            row, label = _read(path, self.spec, self.first, label, self.num_labels)
            rows.append(row)
            found.append(label)
        networks, labels = Weights(self.spec, torch.stack(rows)), np.array(found, np.int64)
        pixels = self.form.pixels
        outputs_NCP = torch.cat([outputs for _, outputs in blocks(pixels, networks, self.shape[1:])], dim=2)
        fresh = ~np.isin(piece.images, writer.done(piece.part, table="sources"))
        if fresh.any():
            pictures = (
                _to_bytes(pixels, outputs_NCP[fresh], self.shape)
                if self.images is None
                else self._of_data_set(piece, labels)[fresh]
            )
            writer.add_sources(piece.part, piece.images[fresh], pictures, labels[fresh])
        stored, true_labels = _stored(writer.path, piece)
        self._check(piece, labels, true_labels, "its picture in the zoo")
        psnr = pixels.psnr((outputs_NCP - pixels.targets(torch.from_numpy(stored))).square().mean(dim=(1, 2)))
        writer.add_rows(piece.part, piece.fit, piece.images, networks.flat, {"psnr": psnr})
        return {"PSNR dB": float(psnr.mean())}

    def _of_data_set(self, shelf: Shelf, labels: NDArray[np.int64]) -> NDArray[np.uint8]:
        """The data set's own pictures: of the part, or of all parts in order if the tree counts through them."""
        assert self.images is not None
        sets = [s for s in self.images if s.part in (shelf.part, "all")] or (
            list(self.images) if shelf.part == "all" else []
        )
        count = sum(map(len, sets))
        if shelf.images[-1] >= count:
            raise InputError(
                f"expected at most {count:,} {shelf.part} images, the size of {self.images[0].dataset}, "
                f"got {self._path(shelf, labels, -1)}; name the data set that {self.folder} was made of"
            )
        expected, pictures = np.empty_like(labels), np.empty((len(labels), *sets[0].image_shape), np.uint8)
        first = 0
        for images in sets:
            mine = (first <= shelf.images) & (shelf.images < first + len(images))
            within = shelf.images[mine] - first
            expected[mine], pictures[mine] = images.labels[within], images.pixels[within]
            first += len(images)
        self._check(shelf, labels, expected, f"its picture in {self.images[0].dataset}")
        return pictures

    def _check(self, shelf: Shelf, labels: NDArray[np.int64], expected: NDArray[np.int64], what: str) -> None:
        wrong = np.flatnonzero(labels != expected)
        if len(wrong):
            raise InputError(
                f"expected label {expected[wrong[0]]}, that of {what}, got {labels[wrong[0]]} in "
                f"{self._path(shelf, labels, wrong[0])}; is {self.folder} a tree of another data set?"
            )

    def _path(self, shelf: Shelf, labels: NDArray[np.int64], row: int) -> Path:
        return self.folder / self.form.path(shelf.part, shelf.fit, int(shelf.images[row]), int(labels[row]))


def _siren(path: Path, omega: float) -> NetworkSpec:
    """The architecture of the network in `path`: sine on all layers but the last, widths as its weights have them."""
    state = read_state(path)
    shapes = [
        tuple(value.shape) for name, value in state.items() if name.endswith("weight") and isinstance(value, Tensor)
    ]
    chained = all(len(shape) == 2 for shape in shapes) and all(
        after[1] == before[0] for before, after in pairwise(shapes)
    )
    if len(shapes) < 2 or not chained or shapes[0][1] != 2:
        raise InputError(
            f"expected a SIREN of 2 coordinates in {path}, got the weights {shapes or 'of no layer'}; check the path"
        )
    spec = NetworkSpec.mlp([2, *(shape[0] for shape in shapes)], activation="sine", omega=omega)
    to_network(state, spec, str(path))
    return spec


def _read(path: Path, spec: NetworkSpec, first: Path, label: int, num_labels: int) -> tuple[Tensor, int]:
    """The parameters in one file, as one row, and its label."""
    state = read_state(path)
    network = to_network(state, spec, str(path), f"the shape of {first}")
    kinds = {value.dtype for value in state.values() if isinstance(value, Tensor) and value.is_floating_point()}
    if kinds != {torch.float32}:
        got = ", ".join(sorted(str(kind).removeprefix("torch.") for kind in kinds))
        raise InputError(f"expected float32 weights in {path}, got {got}; convert the file first")
    if label == UNKNOWN:
        value = state.get("label")
        value = value.item() if isinstance(value, Tensor) and value.numel() == 1 else value
        if not isinstance(value, int):
            raise InputError(
                f"expected the label of its picture beside the weights in {path}, got {value!r}; restore the file"
            )
        label = value
    if not 0 <= label < num_labels:
        raise InputError(
            f"expected a label from 0 to {num_labels - 1}, got {label} in {path}; name the data set with --dataset and "
            "--root"
        )
    return network.flat[0], label


def _recorded_bounds(record: Mapping[str, Any]) -> tuple[int, int] | None:
    """Where validation and test begin in an export that says so."""
    bounds = record.get("bounds")
    return None if bounds is None else (int(bounds[0]), int(bounds[1]))


def _numbered(shelves: Sequence[Shelf]) -> tuple[str, ...]:
    highest = max(int(shelf.labels.max()) for shelf in shelves)
    if highest >= _MOST_CLASSES:
        raise InputError(f"expected labels below {_MOST_CLASSES:,}, got {highest}; name the data set that has them")
    return tuple(map(str, range(max(_CLASSES, highest + 1))))


def _image_shape(spec: NetworkSpec, images: Sequence[ImageSet] | None, size: int | None) -> tuple[int, ...]:
    """(C, H, W) of the pictures that the networks hold."""
    channels = spec.widths[-1]
    if images is None:
        side = _SIZES.get(channels) if size is None else size
        if side is None or side < 1:
            raise InputError(
                f"expected the size of the pictures (--size), at least 1, got {size} for networks of {channels} outputs"
            )
        return channels, side, side
    shape = images[0].image_shape
    if len(shape) != 3 or images[0].image_dtype != "uint8" or shape[0] != channels or size not in (None, *shape[1:]):
        raise InputError(
            f"expected uint8 pictures of {channels} channels, as the networks have "
            f"outputs{f', of {size} pixels a side' if size else ''}, "
            f"got {images[0].image_dtype} {shape} from {images[0].dataset}; name the data set that the tree was made of"
        )
    return shape


def _to_bytes(pixels: PixelFormat, outputs_NCP: Tensor, shape: Sequence[int]) -> NDArray[np.uint8]:
    """Outputs as pictures (N, C, H, W)."""
    units_NCP = (outputs_NCP - pixels.low) / (pixels.high - pixels.low)
    return (units_NCP * 255).round().clamp(0, 255).to(torch.uint8).reshape(-1, *shape).numpy()


def _stored(folder: Path, shelf: Shelf) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """The pictures (N, C, H, W) and labels (N,) in the zoo at `folder`, of which only the shards near are opened."""
    manifest, first, last = Manifest.read(folder), shelf.images[0], shelf.images[-1]
    near = tuple(s for s in manifest.shards if s.part == shelf.part and s.start <= last and first < s.stop)
    sources = Sources(folder, replace(manifest, shards=near), group_numbers(shelf.part, shelf.images))
    return sources.images(np.arange(len(shelf.images))).numpy(), sources.labels


@LAYOUTS.register("nfn")
class Nfn(Tree):
    """See `nfn.py`."""

    layout = "nfn"


@LAYOUTS.register("dws")
class Dws(Tree):
    """See `dws.py`."""

    layout = "dws"
