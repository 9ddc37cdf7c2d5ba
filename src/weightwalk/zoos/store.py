"""A zoo on disk: immutable safetensors shards, and a manifest that is replaced as a whole after every shard.

    ZOO/manifest.json                                        schema, settings, label names, split rule, provenance, shards
    ZOO/images/<part>-<start>-<stop>.safetensors             pixels (N, C, H, W) uint8, label (N,) int64, image (N,) int64
    ZOO/inrs/<part>-f<fit>-<start>-<stop>.safetensors        params (N, num_parameters) float32, psnr (N,) float32, image (N,) int64

`image` is an image's index within its part, strictly increasing in a shard; `start` is the first one and `stop` one
past the last. `params` is the layout of `Weights.flat`. A shard counts once the manifest lists it: what a crash left
beside it is overwritten by the next run. Nothing holds a time or a host name, so equal work gives equal bytes.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save
from torch import Tensor

from weightwalk import config, files
from weightwalk.errors import InputError
from weightwalk.registry import unknown
from weightwalk.spec import NetworkSpec
from weightwalk.weights import Weights
from weightwalk.zoos.splits import PARTS, SPLITS, SplitRule

SCHEMA_VERSION = 1
_MANIFEST = "manifest.json"
_REMEDY = "delete it and run the same fit command again to re-make it"
_MAX_IMAGES = 2**40

Columns = Mapping[str, NDArray[Any] | Tensor]


@dataclass(frozen=True)
class Shard:
    """One file of the zoo, as the manifest lists it; `fit` is None for images.

    `provenance` is set where it differs from the manifest's, for shards that another version added.
    """

    file: str
    kind: str
    part: str
    fit: int | None
    start: int
    stop: int
    count: int
    sha256: str
    provenance: dict[str, Any] | None = None


@dataclass(frozen=True)
class Manifest:
    """What a zoo is; `settings` decide its identity and hold at least `spec` (a dictionary) and `image_shape` (C, H, W)."""

    settings: dict[str, Any]
    label_names: tuple[str, ...]
    splits: SplitRule
    provenance: dict[str, Any]
    shards: tuple[Shard, ...] = ()

    def identity(self) -> dict[str, Any]:
        """What has to be equal for more to be added."""
        return {**self.settings, "label_names": list(self.label_names), "splits": config.to_dict(self.splits)}

    def columns(self, kind: str) -> dict[str, tuple[str, tuple[int, ...]]]:
        """Per tensor of a shard of this kind: dtype and the shape of one row. The first one is the big one."""
        if kind == "images":
            return {"pixels": ("uint8", tuple(self.settings["image_shape"])), "label": ("int64", ()), "image": ("int64", ())}
        num_parameters = NetworkSpec.from_dict(self.settings["spec"]).num_parameters
        return {"params": ("float32", (num_parameters,)), "psnr": ("float32", ()), "image": ("int64", ())}

    def content(self) -> bytes:
        """The file: JSON with a checksum of itself, the shards in the order of their names."""
        shards = [asdict(shard) for shard in sorted(self.shards, key=lambda shard: shard.file)]
        value = {"schema_version": SCHEMA_VERSION, **asdict(self), "shards": shards}
        return (json.dumps({**value, "checksum": config.fingerprint(value)}, indent=2) + "\n").encode()

    def write(self, folder: Path) -> None:
        files.write_bytes(folder / _MANIFEST, self.content())

    @classmethod
    def read(cls, folder: Path) -> Manifest:
        """The manifest of the zoo in `folder`; a missing, broken or newer one is an `InputError`."""
        path = folder / _MANIFEST
        if not folder.is_dir():
            raise InputError(
                f"expected the folder of a zoo, found {'a file' if folder.exists() else 'nothing'} at {folder}; check the path"
            )
        value = files.read_json(path, "a zoo's manifest")
        version = value.get("schema_version") if isinstance(value, dict) else None
        if isinstance(version, int) and version > SCHEMA_VERSION:
            raise InputError(
                f"{path} was written by a newer weightwalk: expected manifest schema {SCHEMA_VERSION}, got {version}; upgrade weightwalk"
            )
        try:
            manifest = cls(
                settings=dict(value["settings"]),
                label_names=tuple(value["label_names"]),
                splits=config.from_dict(SplitRule, value["splits"]),
                provenance=dict(value["provenance"]),
                shards=tuple(Shard(**entry) for entry in value["shards"]),
            )
            for kind in {"images", "inrs", *(shard.kind for shard in manifest.shards)}:
                manifest.columns(kind)
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(
                f"expected a zoo's manifest of schema {SCHEMA_VERSION} at {path}, got other JSON ({error}); restore it, or fit into another folder"
            ) from None
        return manifest


class ZooWriter:
    """Adds shards to a zoo. Several processes may add to one zoo: each addition holds a lock and reads the manifest anew.

    Adding what is there already, byte for byte, does nothing; another result for the same image and fit is an `InputError`.
    """

    def __init__(self, path: Path, provenance: dict[str, Any]):
        self.path = path
        self.provenance = provenance

    @classmethod
    def open(
        cls, path: Path, *, settings: Mapping[str, Any], label_names: Sequence[str], splits: SplitRule, provenance: Mapping[str, Any]
    ) -> ZooWriter:
        """Create the zoo, or open the one that is there to add to it; it must have been made with equal settings.

        Shards that are missing or truncated leave the manifest, so that `done` does not count them.
        """
        path = Path(path)
        asked = Manifest(_plain(settings), tuple(label_names), splits, _plain(provenance))
        exists = (path / _MANIFEST).exists()
        if path.exists() and not exists and (not path.is_dir() or any(not entry.name.startswith(".") for entry in path.iterdir())):
            raise InputError(f"expected a zoo, an empty folder or nothing at {path}, found something else; choose another --out")
        path.mkdir(parents=True, exist_ok=True)
        with _locked(path):
            for leftover in path.rglob(".*.partial"):
                leftover.unlink()
            if not exists:
                asked.write(path)
                return cls(path, asked.provenance)
            manifest = Manifest.read(path)
            changed = config.differences(manifest.identity(), asked.identity())
            if changed:
                raise InputError(
                    f"{path} is a zoo that was made with other settings ({'; '.join(changed)}); choose another --out, or its settings"
                )
            whole = tuple(shard for shard in manifest.shards if _is_whole(path, manifest, shard))
            if whole != manifest.shards:
                replace(manifest, shards=whole).write(path)
        return cls(path, asked.provenance)

    def done(self, part: str, fit: int | None = None) -> NDArray[np.int64]:
        """Sorted indices of the images of `part` that have this fit; without `fit`, of those whose pixels are stored."""
        return _done(self.path, Manifest.read(self.path), part, fit)

    def add_images(self, part: str, indices: NDArray[Any] | Tensor, pixels: NDArray[Any] | Tensor, labels: NDArray[Any] | Tensor) -> None:
        """One shard of source images: `indices` (N,) within the part, increasing; `pixels` (N, C, H, W) uint8; `labels` (N,) int64."""
        self._add("images", part, None, {"pixels": pixels, "label": labels, "image": indices})

    def add_inrs(
        self, part: str, fit: int, indices: NDArray[Any] | Tensor, params: NDArray[Any] | Tensor, psnr: NDArray[Any] | Tensor
    ) -> None:
        """One shard of INRs of stored images: `params` (N, num_parameters) and `psnr` (N,) float32 of fit number `fit`."""
        self._add("inrs", part, fit, {"params": params, "psnr": psnr, "image": indices})

    def _add(self, kind: str, part: str, fit: int | None, columns: Columns) -> None:
        with _locked(self.path):
            manifest = Manifest.read(self.path)
            arrays = _checked(manifest, kind, columns)
            images = arrays["image"]
            _check_place(self.path, manifest, kind, part, images, arrays.get("label"))
            start, stop = int(images[0]), int(images[-1]) + 1
            name = part if fit is None else f"{part}-f{fit}"
            content = save(arrays)
            shard = Shard(
                file=f"{kind}/{name}-{start:06d}-{stop:06d}.safetensors",
                kind=kind,
                part=part,
                fit=fit,
                start=start,
                stop=stop,
                count=len(images),
                sha256=hashlib.sha256(content).hexdigest(),
                provenance=None if self.provenance == manifest.provenance else self.provenance,
            )
            if any((old.file, old.sha256) == (shard.file, shard.sha256) for old in manifest.shards):
                return
            twice = np.intersect1d(images, _done(self.path, manifest, part, fit, (start, stop)))
            if len(twice):
                what = "pixels" if fit is None else f"fit {fit}"
                raise InputError(
                    f"{self.path} already has {what} of {len(twice)} of these {part} images ({twice[0]}, ...); leave out what is done"
                )
            files.write_bytes(self.path / shard.file, content)
            replace(manifest, shards=(*manifest.shards, shard)).write(self.path)


class Zoo:
    """Random access to the INRs of a zoo and to their source images, out of memory maps.

    Rows are ordered by part, fit and image, however the zoo was cut into shards. In memory are only these arrays over
    all rows (R,), about 60 bytes a row: `labels` int64, `fits` int64, `splits` int8 (codes into `SPLITS`), `psnr`
    float32, and `image_keys` int64, which is one number per source image that later additions do not change.
    """

    def __init__(self, path: Path, manifest: Manifest):
        self.path = path
        self.settings = manifest.settings
        self.label_names = manifest.label_names
        self.provenance = manifest.provenance
        self.spec = NetworkSpec.from_dict(manifest.settings["spec"])
        self.image_shape: tuple[int, ...] = tuple(manifest.settings["image_shape"])
        self._images, self._inrs = (_Table(path, manifest, kind) for kind in ("images", "inrs"))
        self.image_keys = self._inrs.keys
        self.fits = self._inrs.fits
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
            mine = self._inrs.parts == code
            self.splits[mine] = manifest.splits.assign(part, self._inrs.images[mine])

    @classmethod
    def open(cls, path: Path) -> Zoo:
        """Read the manifest and map every shard; a missing, truncated or foreign one is an `InputError` that names it."""
        return cls(Path(path), Manifest.read(Path(path)))

    def __len__(self) -> int:
        return len(self.image_keys)

    def rows(self, split: str | None = None, max_fits: int | None = None) -> NDArray[np.int64]:
        """Increasing row numbers of a split (default: all), of the fits numbered below `max_fits` only (default: all)."""
        if split is not None and split not in SPLITS:
            raise InputError(unknown("split", split, list(SPLITS)))
        chosen = np.ones(len(self), bool) if split is None else self.splits == SPLITS.index(split)
        return np.flatnonzero(chosen if max_fits is None else chosen & (self.fits < max_fits))

    def weights(self, rows: NDArray[np.int64] | Tensor) -> Weights:
        """The networks of `rows` (B,), in that order; a copy, so that changing it changes nothing on disk."""
        return Weights.from_flat(self.spec, self._inrs.gather(np.asarray(rows)))

    def images(self, rows: NDArray[np.int64] | Tensor) -> Tensor:
        """The source images of `rows` (B,), in that order: (B, C, H, W) uint8."""
        return self._images.gather(self._picture[np.asarray(rows)])

    def names(self, rows: NDArray[np.int64] | Tensor) -> list[str]:
        """What to call `rows` in front of people: part, image index, fit, as in `train-17-f0`."""
        table, rows = self._inrs, np.asarray(rows)
        columns = (column[rows].tolist() for column in (table.parts, table.images, table.fits))
        return [f"{PARTS[part]}-{image}-f{fit}" for part, image, fit in zip(*columns, strict=True)]

    def verify(self) -> list[str]:
        """See the function `verify`."""
        return verify(self.path)


def verify(path: Path) -> list[str]:
    """Hash every file of the zoo at `path`: one sentence per file that is not what the manifest says, none if all is well."""
    path = Path(path)
    manifest = Manifest.read(path)
    found = []
    if (path / _MANIFEST).read_bytes() != manifest.content():
        found.append(f"{path / _MANIFEST} does not have the content that was written; restore it, or fit into another folder")
    for shard in manifest.shards:
        file = path / shard.file
        if not file.is_file():
            found.append(f"{file} is missing; run the same fit command again to re-make it")
        elif files.sha256(file) != shard.sha256:
            found.append(f"{file} does not have the content that was written; {_REMEDY}")
    listed = {path / shard.file for shard in manifest.shards}
    strangers = sorted(set(path.rglob("*.safetensors")) - listed)
    return found + [
        f"{file} is not in the manifest, as after an interrupted run; finish that run, or delete the file" for file in strangers
    ]


class _Table:
    """All rows of the shards of one kind, ordered by (part, fit, image): small columns in memory, the big one on disk."""

    def __init__(self, folder: Path, manifest: Manifest, kind: str):
        self._big, small, _ = columns = manifest.columns(kind)
        self._dtype, self._shape = columns[self._big]
        shards = [shard for shard in manifest.shards if shard.kind == kind]
        tensors = [_read(folder, manifest, shard) for shard in shards]
        counts = [shard.count for shard in shards]

        def per_row(values: list[int]) -> NDArray[np.int64]:
            return np.repeat(np.array(values, np.int64), counts)

        def joined(name: str) -> NDArray[Any]:
            return np.concatenate([np.empty(0, columns[name][0]), *(tensor[name].numpy() for tensor in tensors)])

        parts, fits = (
            per_row([PARTS.index(shard.part) for shard in shards]),
            per_row([-1 if shard.fit is None else shard.fit for shard in shards]),
        )
        images = joined("image")
        order = np.lexsort((images, fits, parts))
        self.parts, self.fits, self.images, self.values = parts[order], fits[order], images[order], joined(small)[order]
        self.keys: NDArray[np.int64] = self.parts * _MAX_IMAGES + self.images

        self._views = [memoryview(tensor[self._big].numpy()).cast("B") for tensor in tensors]
        self._row_bytes = np.dtype(self._dtype).itemsize * int(np.prod(self._shape))
        self._shard = per_row(list(range(len(shards))))[order]
        position = np.arange(len(order)) - per_row([sum(counts[:index]) for index in range(len(counts))])
        self._offset = position[order] * self._row_bytes

    def gather(self, rows: NDArray[np.int64]) -> Tensor:
        """Copies of the big column's rows (B, ...).

        Joining slices of the maps beats grouping the rows by shard for numpy or torch to index (at any size of shard, for
        rows of a few kB), because a random batch has only a few rows in each shard.
        """
        views, size = self._views, self._row_bytes
        places = zip(self._shard[rows].tolist(), self._offset[rows].tolist(), strict=True)
        content = bytearray().join([views[shard][offset : offset + size] for shard, offset in places])
        return torch.from_numpy(np.ndarray((len(rows), *self._shape), self._dtype, buffer=content))


def _plain(value: Mapping[str, Any]) -> dict[str, Any]:
    """As JSON gives it back: lists for tuples."""
    plain: dict[str, Any] = json.loads(json.dumps(dict(value)))
    return plain


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """One writer at a time; the lock goes with its process."""
    with open(folder / ".lock", "wb") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def _read(folder: Path, manifest: Manifest, shard: Shard) -> dict[str, Tensor]:
    """A shard's tensors, as lazy memory maps, once its header says what the manifest does."""
    path = folder / shard.file
    columns = manifest.columns(shard.kind)
    try:
        with safe_open(path, "pt") as handle:
            tensors = {name: handle.get_tensor(name) for name in columns}
    except FileNotFoundError:
        raise InputError(
            f"expected a shard of the zoo at {path}, found no such file; run the same fit command again to re-make it"
        ) from None
    except (SafetensorError, OSError) as error:
        raise InputError(f"expected a whole shard at {path}, got a truncated or corrupt file ({error}); {_REMEDY}") from None
    for name, (dtype, shape) in columns.items():
        expected, got = (dtype, (shard.count, *shape)), (str(tensors[name].dtype).removeprefix("torch."), tuple(tensors[name].shape))
        if got != expected:
            raise InputError(f"expected {name} {expected[1]} {expected[0]} in the shard {path}, got {got[1]} {got[0]}; {_REMEDY}")
    return tensors


def _is_whole(folder: Path, manifest: Manifest, shard: Shard) -> bool:
    try:
        _read(folder, manifest, shard)
    except InputError:
        return False
    return True


def _done(folder: Path, manifest: Manifest, part: str, fit: int | None, within: tuple[int, int] = (0, _MAX_IMAGES)) -> NDArray[np.int64]:
    """Sorted image indices of the shards of (part, fit) that reach into the range `within`; reads files only where a range has gaps."""
    found = [np.empty(0, np.int64)]
    for shard in manifest.shards:
        if (shard.part, shard.fit) == (part, fit) and shard.start < within[1] and within[0] < shard.stop:
            dense = shard.count == shard.stop - shard.start
            found.append(np.arange(shard.start, shard.stop) if dense else _read(folder, manifest, shard)["image"].numpy())
    return np.sort(np.concatenate(found))


def _checked(manifest: Manifest, kind: str, columns: Columns) -> dict[str, NDArray[Any]]:
    """Contiguous arrays of the dtypes and shapes that this zoo's shards have."""
    arrays = {name: np.ascontiguousarray(column) for name, column in columns.items()}
    count = arrays["image"].size
    for name, (dtype, shape) in manifest.columns(kind).items():
        got = arrays[name]
        if count == 0 or (str(got.dtype), got.shape) != (dtype, (count, *shape)):
            raise InputError(f"expected {name} {('N', *shape)} {dtype} with one row for each of N > 0 images, got {got.shape} {got.dtype}")
    return arrays


def _check_place(
    folder: Path, manifest: Manifest, kind: str, part: str, images: NDArray[np.int64], labels: NDArray[np.int64] | None
) -> None:
    """Refuse what would make a zoo that cannot be read: unknown parts, labels or images, images out of order, an image under two names."""
    if part not in PARTS:
        raise InputError(unknown("part", part, list(PARTS)))
    if images[0] < 0 or images[-1] >= _MAX_IMAGES or np.any(np.diff(images) < 1):
        raise InputError(f"expected strictly increasing image indices from 0, got {images}; sort them and leave duplicates out")
    if any((shard.part == "all") != (part == "all") for shard in manifest.shards):
        raise InputError(f"{folder} cannot hold part 'all' beside 'train' or 'test': an image could be in two splits; choose another --out")
    if labels is not None and (labels.min() < 0 or labels.max() >= len(manifest.label_names)):
        raise InputError(
            f"expected labels from 0 to {len(manifest.label_names) - 1}, got {labels.min()} to {labels.max()}; name every label"
        )
    if kind == "inrs":
        missing = np.setdiff1d(images, _done(folder, manifest, part, None, (int(images[0]), int(images[-1]) + 1)))
        if len(missing):
            raise InputError(f"{folder} has no pixels of {len(missing)} of these {part} images ({missing[0]}, ...); call add_images first")
