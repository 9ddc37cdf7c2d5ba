"""A zoo on disk: `ZooWriter` adds shards, `Zoo` reads rows at random. Its files: `manifest.py`; whether they still are:
`hashes.py`.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.numpy import save
from torch import Tensor

from weightwalk import files
from weightwalk.errors import InputError
from weightwalk.registry import unknown
from weightwalk.spec import NetworkSpec
from weightwalk.weights import Weights
from weightwalk.zoos import listing
from weightwalk.zoos import manifest as manifests
from weightwalk.zoos.manifest import Manifest, Shard
from weightwalk.zoos.splits import PARTS, SPLITS, SplitRule

_MAX_IMAGES = 2**40
_NAME = re.compile(rf"({'|'.join(PARTS)})-(0|[1-9][0-9]{{0,11}})-f(0|[1-9][0-9]{{0,11}})")

Array = NDArray[Any] | Tensor


class ZooWriter:
    """Adds shards to a zoo. Several processes may add to one zoo: each addition takes a lock and reads the manifest
    anew.

    Adding the shard that is there, byte for byte, does nothing, so that a task may run twice; to add another result for
    the same image and fit is an `InputError`.
    """

    def __init__(self, path: Path, provenance: dict[str, Any]):
        self.path = path
        self.provenance = provenance
        self._held: list[Manifest] | None = None  # while it is locked: the one on disk with what was added since

    @classmethod
    def open(
        cls,
        path: Path,
        *,
        settings: Mapping[str, Any],
        label_names: Sequence[str],
        splits: SplitRule,
        provenance: Mapping[str, Any],
    ) -> ZooWriter:
        """Create the zoo, or open the one that is there to add to it: it must have been made with equal settings.

        Shards that are missing or truncated leave the manifest, so that `done` does not count them.
        """
        path = Path(path)
        asked = Manifest(_plain(settings), tuple(label_names), splits, _plain(provenance))
        listing.begin(path, asked, Manifest.read)
        return cls(path, asked.provenance)

    def done(self, part: str, fit: int | None = None) -> NDArray[np.int64]:
        """Sorted indices of the images of `part` that have this fit; without `fit`, of those whose pixels are
        stored.
        """
        return _done(self.path, Manifest.read(self.path), part, fit)

    def add_images(self, part: str, indices: Array, pixels: Array, labels: Array) -> None:
        """One shard of source images: `indices` (N,) within the part, increasing; `pixels` (N, C, *grid); `labels` (N,)
        int64.
        """
        self._add("images", part, None, {"pixels": pixels, "label": labels, "image": indices})

    def add_inrs(self, part: str, fit: int, indices: Array, params: Array, psnr: Array) -> None:
        """One shard of INRs of stored images: `params` (N, num_parameters) and `psnr` (N,), float32, of fit number
        `fit`.
        """
        self._add("inrs", part, fit, {"params": params, "psnr": psnr, "image": indices})

    @contextmanager
    def together(self) -> Iterator[None]:
        """Additions within count when it ends, all at once: the manifest, which grows with the zoo, is read and written
        once.
        """
        if self._held is not None:
            yield
            return
        with listing.held(self.path, Manifest.read) as self._held:
            try:
                yield
            finally:
                self._held = None

    def _add(self, kind: str, part: str, fit: int | None, columns: Mapping[str, Array]) -> None:
        with self.together():
            assert self._held is not None
            manifest = self._held[0]
            arrays = _checked(manifest, kind, part, columns)
            content = save(arrays)
            images = arrays["image"]
            shard = Shard(
                kind,
                part,
                fit,
                start=int(images[0]),
                stop=int(images[-1]) + 1,
                count=len(images),
                sha256=hashlib.sha256(content).hexdigest(),
                provenance=None if self.provenance == manifest.provenance else self.provenance,
            )
            if any((old.file, old.sha256) == (shard.file, shard.sha256) for old in manifest.shards):
                return
            within = (shard.start, shard.stop)
            twice = np.intersect1d(images, _done(self.path, manifest, part, fit, within))
            if len(twice):
                what = "the pixels" if fit is None else f"fit {fit}"
                raise InputError(
                    f"{self.path} already has {what} of {part} image {twice[0]}; add only what is not in ZooWriter.done"
                )
            if kind == "inrs":
                missing = np.setdiff1d(images, _done(self.path, manifest, part, None, within))
                if len(missing):
                    raise InputError(
                        f"{self.path} has no pixels of {part} image {missing[0]}; add them first with "
                        "ZooWriter.add_images"
                    )
            self._held[0] = replace(manifest, shards=(*manifest.shards, shard))
            files.write_bytes(self.path / shard.file, content)


class Zoo:
    """Random access to the INRs of a zoo and to their source images, out of memory maps.

    Rows are ordered by part, fit and image, however the zoo was cut into shards. In memory are only arrays over all
    rows (R,), some 70 bytes a row and 50 an image: `parts` (codes into `PARTS`), `fits` and `indices` (of the image
    within its part) int64, `labels` int64, `splits` int8 (codes into `SPLITS`), `psnr` float32, and `image_keys` int64,
    one number per source image, which later additions do not change.
    """

    def __init__(self, path: Path, manifest: Manifest):
        self.path = path
        self.settings = manifest.settings
        self.label_names = manifest.label_names
        self.provenance = manifest.provenance
        self.spec = manifest.spec
        self.image_shape: tuple[int, ...] = tuple(manifest.settings["image_shape"])
        self._images, self._inrs = (_Table(path, manifest, kind) for kind in manifests.KINDS)
        self.image_keys = self._inrs.keys
        self.parts, self.fits, self.indices = self._inrs.parts, self._inrs.fits, self._inrs.images
        self.psnr: NDArray[np.float32] = self._inrs.values
        self._picture = np.searchsorted(self._images.keys, self.image_keys)
        found = np.append(self._images.keys, -1)[self._picture] == self.image_keys
        if not found.all():
            raise InputError(
                f"expected the source image of every INR in {path}, found {np.count_nonzero(~found)} INRs without; "
                "run the same fit command again to store them"
            )
        self.labels: NDArray[np.int64] = self._images.values[self._picture]
        self.splits = np.zeros(len(self), np.int8)
        for code, part in enumerate(PARTS):
            mine = self.parts == code
            self.splits[mine] = manifest.splits.assign(part, self.indices[mine])

    @classmethod
    def open(cls, path: Path) -> Zoo:
        """Read the manifest and map every shard; a missing, truncated or foreign one is an `InputError` that names
        it.
        """
        return cls(Path(path), Manifest.read(Path(path)))

    def __len__(self) -> int:
        return len(self.image_keys)

    # Stopgap until there is one kind of zoo: the properties of that one.
    kind = "inr"

    @property
    def specs(self) -> tuple[NetworkSpec, ...]:
        return (self.spec,)

    @property
    def groups(self) -> NDArray[np.int64]:
        return self.image_keys

    @property
    def fingerprint(self) -> str:
        return hashlib.sha256((self.path / "manifest.json").read_bytes()).hexdigest()[:16]

    def column(self, name: str) -> NDArray[Any]:
        assert name == "psnr"
        return self.psnr

    def sequence(self, rows: NDArray[np.int64]) -> Weights:
        return self.weights(rows)

    def buckets(self, rows: NDArray[np.int64]) -> list[tuple[NDArray[np.int64], Weights]]:
        return [(np.arange(len(rows)), self.weights(rows))]

    def broken(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """Those of `rows` whose parameters are not finite."""
        pieces = [np.empty(0, np.int64)]
        for part in np.array_split(rows, max(1, len(rows) // 4096)):
            if len(part):
                pieces.append(part[~self._inrs.gather(part).isfinite().all(1).numpy()])
        return np.concatenate(pieces)

    def rows(
        self, split: str | None = None, members: int | None = None, max_fits: int | None = None
    ) -> NDArray[np.int64]:
        """Increasing row numbers of a split (default: all), of the fits numbered below `max_fits` (default: all)."""
        max_fits = members if max_fits is None else max_fits
        if split is not None and split not in SPLITS:
            raise InputError(unknown("split", split, list(SPLITS)))
        chosen = np.ones(len(self), bool) if split is None else self.splits == SPLITS.index(split)
        return np.flatnonzero(chosen if max_fits is None else chosen & (self.fits < max_fits))

    def weights(self, rows: NDArray[np.int64] | Tensor) -> Weights:
        """The networks of `rows` (B,), in that order; a copy, so that changing it changes nothing on disk."""
        return Weights(self.spec, self._inrs.gather(np.asarray(rows)))

    def images(self, rows: NDArray[np.int64] | Tensor) -> Tensor:
        """The source images of `rows` (B,), in that order: (B, C, *grid), uint8 or float32 as they were stored."""
        return self._images.gather(self._picture[np.asarray(rows)])

    def names(self, rows: NDArray[np.int64] | Tensor) -> list[str]:
        """What to call `rows` in front of people: part, image index and fit, as in `train-17-f0`."""
        rows = np.asarray(rows)
        columns = (column[rows].tolist() for column in (self.parts, self.indices, self.fits))
        return [f"{PARTS[part]}-{image}-f{fit}" for part, image, fit in zip(*columns, strict=True)]

    def find(self, names: Sequence[str]) -> NDArray[np.int64]:
        """The rows (B,) of `names`, in that order: the inverse of `names`. InputError for a name that the zoo does not
        have.
        """
        rows = np.full(len(names), -1, np.int64)
        places: dict[tuple[str, int], list[tuple[int, int]]] = {}  # (part, fit) -> (position in names, image)
        for position, name in enumerate(names):
            found = _NAME.fullmatch(name)
            if found:
                places.setdefault((found[1], int(found[3])), []).append((position, int(found[2])))
        for (part, fit), wanted in places.items():
            of_fit = np.flatnonzero((self.parts == PARTS.index(part)) & (self.fits == fit))  # whose images increase
            positions, images = (np.array(column) for column in zip(*wanted, strict=True))
            at = np.searchsorted(self.indices[of_fit], images)
            there = np.append(self.indices[of_fit], -1)[at] == images
            rows[positions[there]] = of_fit[at[there]]
        if (rows < 0).any():
            raise InputError(f"unknown INR {names[int((rows < 0).argmax())]!r}; {self.described()}")
        return rows

    def described(self) -> str:
        """What rows and names there are, for sentences: `ZOO has 60 INRs, rows 0 to 59, all-0-f0 to all-59-f0`."""
        if not len(self):
            return f"{self.path} has no INRs yet"
        first, last = self.names(np.array([0, len(self) - 1]))
        return f"{self.path} has {len(self):,} INRs, rows 0 to {len(self) - 1}, {first} to {last}"


class _Table:
    """All rows of the shards of one kind, ordered by (part, fit, image): small columns in memory, the big one on
    disk.
    """

    def __init__(self, folder: Path, manifest: Manifest, kind: str):
        columns = manifest.columns(kind)
        big, small, image = columns
        shards = [shard for shard in manifest.shards if shard.kind == kind]
        tensors = [manifest.tensors(folder, shard) for shard in shards]
        counts = np.array([shard.count for shard in shards], np.int64)

        def joined(name: str) -> NDArray[Any]:
            return np.concatenate([np.empty(0, columns[name][0]), *(shard[name].numpy() for shard in tensors)])

        # Per row: part, fit, shard, and the position in the shard.
        parts = np.repeat(np.array([PARTS.index(shard.part) for shard in shards], np.int64), counts)
        fits = np.repeat(np.array([-1 if shard.fit is None else shard.fit for shard in shards], np.int64), counts)
        owner = np.repeat(np.arange(len(shards)), counts)
        position = np.arange(counts.sum()) - np.repeat(counts.cumsum() - counts, counts)
        images = joined(image)
        order = np.lexsort((images, fits, parts))

        self.parts, self.fits, self.images, self.values = parts[order], fits[order], images[order], joined(small)[order]
        self.keys: NDArray[np.int64] = self.parts * _MAX_IMAGES + self.images
        self._dtype, self._shape = columns[big]
        self._row_bytes = np.dtype(self._dtype).itemsize * int(np.prod(self._shape))
        self._views = [shard[big].numpy().data.cast("B") for shard in tensors]
        self._shard, self._offset = owner[order], position[order] * self._row_bytes

    def gather(self, rows: NDArray[np.int64]) -> Tensor:
        """Copies of the big column's `rows` (B,): (B, ...).

        Joining slices of the maps takes as long at any size of shard, and less than grouping the rows by shard for
        numpy or torch to index, because a random batch has only a few rows in each.
        """
        shards, offsets = self._shard[rows].tolist(), self._offset[rows].tolist()
        views, size = self._views, self._row_bytes
        content = bytearray().join(
            [views[shard][offset : offset + size] for shard, offset in zip(shards, offsets, strict=True)]
        )
        return torch.from_numpy(np.ndarray((len(shards), *self._shape), self._dtype, buffer=content))


def _plain(value: Mapping[str, Any]) -> dict[str, Any]:
    """As JSON gives it back: lists for tuples."""
    plain: dict[str, Any] = json.loads(json.dumps(dict(value)))
    return plain


def _done(
    folder: Path, manifest: Manifest, part: str, fit: int | None, within: tuple[int, int] = (0, _MAX_IMAGES)
) -> NDArray[np.int64]:
    """Sorted image indices of the shards of (part, fit) that reach into the range `within`; opens only shards with
    gaps.
    """
    found = [np.empty(0, np.int64)]
    for shard in manifest.shards:
        if (shard.part, shard.fit) == (part, fit) and shard.start < within[1] and within[0] < shard.stop:
            dense = shard.count == shard.stop - shard.start
            found.append(
                np.arange(shard.start, shard.stop) if dense else manifest.tensors(folder, shard)["image"].numpy()
            )
    return np.sort(np.concatenate(found))


def _checked(manifest: Manifest, kind: str, part: str, columns: Mapping[str, Array]) -> dict[str, NDArray[Any]]:
    """Contiguous arrays of the dtypes and shapes of this zoo's shards, or what is wrong with them."""
    arrays = {name: np.ascontiguousarray(column) for name, column in columns.items()}
    images, labels = arrays["image"], arrays.get("label")
    for name, (dtype, shape) in manifest.columns(kind).items():
        got = arrays[name]
        if images.size == 0 or (str(got.dtype), got.shape) != (dtype, (images.size, *shape)):
            raise InputError(
                f"expected {name} {('N', *shape)} {dtype}, a row for each of N > 0 images, got {got.shape} {got.dtype}"
            )
    if images[0] < 0 or images[-1] >= _MAX_IMAGES or np.any(np.diff(images) < 1):
        raise InputError(
            f"expected strictly increasing image indices from 0, got {images}; sort them and leave duplicates out"
        )
    if kind == "images" and not np.isfinite(arrays["pixels"]).all():
        bad = images[~np.isfinite(arrays["pixels"]).reshape(len(images), -1).all(axis=1)]
        raise InputError(
            f"expected finite pixels, got NaN or infinity in {part} image {bad[0]}; mend it or leave it out"
        )
    if labels is not None and (labels.min() < 0 or labels.max() >= len(manifest.label_names)):
        raise InputError(
            f"expected labels from 0 to {len(manifest.label_names) - 1}, got {labels.min()} to {labels.max()}; name "
            "every label"
        )
    if any((shard.part == "all") != (part == "all") for shard in manifest.shards):
        raise InputError(
            f"a zoo cannot hold part 'all' beside another, got {part!r}: an image could be in two splits; choose "
            "another --out"
        )
    return arrays
