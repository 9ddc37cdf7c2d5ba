"""A published tree -> a zoo: shard by shard, and only what the zoo has not read yet.

Legend: N networks of one fit of one shard's images, C channels, P pixels.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

import weightwalk
from weightwalk import config
from weightwalk.errors import InputError
from weightwalk.networks.files import read_state, to_network
from weightwalk.progress import Progress, silent
from weightwalk.spec import NetworkSpec
from weightwalk.weights import Weights
from weightwalk.zoos.fit import SHARD_IMAGES
from weightwalk.zoos.images import ImageSet
from weightwalk.zoos.manifest import Manifest
from weightwalk.zoos.pixels import PixelFormat
from weightwalk.zoos.rendering import blocks
from weightwalk.zoos.splits import PARTS
from weightwalk.zoos.store import Zoo, ZooWriter
from weightwalk.zoos.trees.layout import UNKNOWN, Layout, Shelf, read_record, recognise

_CHUNK = 64  # files read between two looks at `should_stop`
_CLASSES = 10  # labels with a name where nobody gives any: every published zoo has ten
_SIZES = {1: 28, 3: 32}  # pixels a side of the published data sets, by channels


@dataclass(frozen=True)
class ImportOutcome:
    """What a call of `import_tree` did; `pictures` is "data set" or "rendered", `mean_psnr` is None if it was stopped
    at once.
    """

    read: int
    already_there: int
    finished: bool
    pictures: str
    mean_psnr: float | None
    seconds: float


def import_tree(
    folder: Path,
    layout: str,
    out: Path,
    *,
    images: Sequence[ImageSet] | None = None,
    dataset: str | None = None,
    size: int | None = None,
    omega: float = 30.0,
    split: tuple[int, int] | Path | None = None,
    progress: Progress = silent,
    should_stop: Callable[[], bool] = lambda: False,
) -> ImportOutcome:
    """Read the networks of a published tree (a name in `LAYOUTS`) into the zoo `out`, which may have some of them
    already.

    Source images are those of the data set (`images`: its parts, in order), or else what the networks show at `size` x
    `size` (28 for one channel, 32 for three), rounded to uint8. PSNR is that of a network against the stored image.
    Labels are the tree's own. The split is the published one, or `split`: the indices at which validation and test
    begin (nfn), or a file of lists (dws). Hidden layers compute sin(omega (W x + b)). `dataset` names the data set
    where `images` are not given.

    InputError, naming the file, for one that is missing, damaged, of another shape than the first, not finite or not
    float32, and for one whose label is not that of its image; what was read before is in the zoo.
    """
    began, folder = time.monotonic(), Path(folder)
    form, shelves = recognise(layout, folder)
    record = read_record(folder)
    if images and record.get("number") == "splits":
        raise InputError(
            f"expected numbers of pictures in {folder}, got an export that is numbered by splits; its pictures can "
            "only be rendered"
        )
    first = folder / form.path(shelves[0].part, shelves[0].fit, int(shelves[0].images[0]), int(shelves[0].labels[0]))
    spec = _siren(first, omega)
    dataset = images[0].dataset if images else dataset or str(record.get("dataset", "unknown"))
    names = images[0].label_names if images else tuple(record.get("label_names") or _numbered(shelves))
    writer = ZooWriter.open(
        out,
        settings={
            "dataset": dataset,
            "image_shape": list(_image_shape(spec, images, size)),
            "image_dtype": "uint8",
            "images": "data set" if images else "rendered",
            "spec": spec.to_dict(),
            "fit": {"name": f"imported, {layout} layout", "pixels": config.to_dict(form.pixels)},
            "init": "imported",
            "seed": None,
        },
        label_names=names,
        splits=form.split_rule(folder, shelves, dataset, split or _recorded_bounds(record)),
        provenance={"weightwalk": weightwalk.__version__, "torch": torch.__version__},
    )
    todo = _todo(writer, shelves)
    total, asked = sum(len(shelf.images) for shelf in todo), sum(len(shelf.images) for shelf in shelves)
    shard = _ShardWriter(writer, form, folder, images)
    read, psnr_sum = 0, 0.0

    def tell(done: int) -> None:
        progress("reading", done, total, {"PSNR dB": psnr_sum / read} if read else {})

    def outcome(finished: bool) -> ImportOutcome:
        mean = psnr_sum / read if read else None if total else float(Zoo.open(out).psnr.mean())
        return ImportOutcome(
            read, asked - total, finished, "data set" if images else "rendered", mean, time.monotonic() - began
        )

    for shelf in todo:
        rows: list[Tensor] = []
        labels: list[int] = []
        for image, label in zip(shelf.images.tolist(), shelf.labels.tolist(), strict=True):
            if len(rows) % _CHUNK == 0:
                if should_stop():
                    return outcome(False)
                tell(read + len(rows))
            row, label = _read(folder / form.path(shelf.part, shelf.fit, image, label), spec, first, label, len(names))
            rows.append(row)
            labels.append(label)
        psnr_sum += shard.add(shelf, Weights(spec, torch.stack(rows)), np.array(labels, np.int64))
        read += len(rows)
    tell(read)
    return outcome(True)


def _todo(writer: ZooWriter, shelves: Sequence[Shelf]) -> list[Shelf]:
    """What the zoo lacks, in shards' worth: by part, block of image indices, and fit, so that fit 0 of an image comes
    first.
    """
    found = []
    for shelf in shelves:
        new = np.flatnonzero(~np.isin(shelf.images, writer.done(shelf.part, shelf.fit)))
        blocks = shelf.images[new] // SHARD_IMAGES
        for rows in np.split(new, np.flatnonzero(np.diff(blocks)) + 1) if len(new) else []:
            found.append(Shelf(shelf.part, shelf.fit, shelf.images[rows], shelf.labels[rows]))
    return sorted(found, key=lambda piece: (PARTS.index(piece.part), int(piece.images[0]) // SHARD_IMAGES, piece.fit))


@dataclass(frozen=True, eq=False)
class _ShardWriter:
    """Adds networks and their pictures to a zoo."""

    writer: ZooWriter
    form: Layout
    folder: Path
    images: Sequence[ImageSet] | None

    def add(self, shelf: Shelf, networks: Weights, labels: NDArray[np.int64]) -> float:
        """One shard of networks, after the pictures that are not there yet; the sum of their PSNR."""
        pixels, shape = self.form.pixels, tuple(Manifest.read(self.writer.path).settings["image_shape"])
        outputs_NCP = torch.cat([outputs for _, outputs in blocks(pixels, networks, shape[1:])], dim=2)
        fresh = ~np.isin(shelf.images, self.writer.done(shelf.part))
        if fresh.any():
            new = shelf.images[fresh]
            pictures = (
                _to_bytes(pixels, outputs_NCP[fresh], shape)
                if self.images is None
                else self._of_data_set(shelf, labels)[fresh]
            )
            self.writer.add_images(shelf.part, new, pictures, labels[fresh])
        stored, true_labels = _stored(self.writer.path, shelf)
        self._check(shelf, labels, true_labels, "its picture in the zoo")
        psnr = pixels.psnr((outputs_NCP - pixels.targets(torch.from_numpy(stored))).square().mean(dim=(1, 2)))
        self.writer.add_inrs(shelf.part, shelf.fit, shelf.images, networks.flat, psnr)
        return float(psnr.sum())

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
                f"{self._path(shelf, labels, wrong[0])}; "
                f"is {self.folder} a tree of another data set?"
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
    return tuple(map(str, range(max(_CLASSES, *(int(shelf.labels.max()) + 1 for shelf in shelves)))))


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
    """The pictures (N, C, H, W) and labels (N,) in the zoo at `folder`."""
    manifest = Manifest.read(folder)
    pictures = np.empty((len(shelf.images), *manifest.settings["image_shape"]), np.uint8)
    labels = np.full(len(shelf.images), UNKNOWN)
    for shard in manifest.shards:
        if (
            (shard.kind, shard.part) == ("images", shelf.part)
            and shard.start <= shelf.images[-1]
            and shelf.images[0] < shard.stop
        ):
            tensors = {name: tensor.numpy() for name, tensor in manifest.tensors(folder, shard).items()}
            _, here, there = np.intersect1d(shelf.images, tensors["image"], assume_unique=True, return_indices=True)
            pictures[here], labels[here] = tensors["pixels"][there], tensors["label"][there]
    assert (labels != UNKNOWN).all()
    return pictures, labels
