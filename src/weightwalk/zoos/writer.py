"""Adding to a zoo. Several processes may add to one: each addition takes a lock and reads the manifest anew.

Adding the shard that is there, byte for byte, does nothing, so that a task may run twice; to add another result for
what is there is an `InputError`.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from weightwalk import config, files
from weightwalk.errors import InputError
from weightwalk.registry import unknown
from weightwalk.zoos import shards
from weightwalk.zoos.manifest import FILE, Manifest, Shard, Table
from weightwalk.zoos.shards import Group
from weightwalk.zoos.splits import MAX_INDEX, PARTS, Part, SplitRule

Array = NDArray[Any] | Tensor

_TOLD = 8  # differences between settings that a sentence lists


class ZooWriter:
    """Adds shards to a zoo; see `open`."""

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
        figures: Mapping[str, str],
        splits: SplitRule | None = None,
        provenance: Mapping[str, Any],
        sources: bool = False,
    ) -> ZooWriter:
        """Create the zoo, or open the one that is there to add to it: it must have been made with equal settings.

        See `Manifest` for what these are. Shards that are missing or truncated leave the manifest, so that `done` does
        not count them.
        """
        path = Path(path)
        asked = Manifest(_plain(settings), dict(figures), splits or SplitRule(), _plain(provenance), sources)  # type: ignore[arg-type]
        _begin(path, asked)
        return cls(path, asked.provenance)

    def done(self, part: Part = "all", member: int | None = None, table: Table = "rows") -> NDArray[np.int64]:
        """Sorted indices of the groups of `part` that the zoo has: with this `member`, or wholly; or their sources."""
        return _done(self.path, Manifest.read(self.path), table, part, member)

    def add_sources(self, part: Part, indices: Array, pixels: Array, labels: Array) -> None:
        """One shard of sources: `indices` (N,), increasing; `pixels` (N, C, *grid); `labels` (N,) int64."""
        with self._manifest() as manifest:
            columns = {"pixels": pixels, "label": labels, "group": indices}
            arrays = _checked(columns, _formats(manifest, "sources"))
            groups, names = arrays["group"], manifest.settings["label_names"]
            bad = ~np.isfinite(arrays["pixels"]).reshape(len(groups), -1).all(axis=1)
            if bad.any():
                raise InputError(
                    f"expected finite pixels, got NaN or infinity in {part} image {groups[bad][0]}; mend it or leave "
                    "it out"
                )
            low, high = arrays["label"].min(), arrays["label"].max()
            if low < 0 or high >= len(names):
                raise InputError(f"expected labels from 0 to {len(names) - 1}, got {low} to {high}; name every label")
            self._add("sources", part, None, groups, len(groups), shards.pack(arrays))

    def add_rows(self, part: Part, member: int, indices: Array, params: Array, figures: Mapping[str, Array]) -> None:
        """One shard of networks of the zoo's spec, `params` (N, num_parameters) float32: member number `member` of the
        groups `indices` (N,), increasing. Where the zoo has sources, theirs are there already.
        """
        with self._manifest() as manifest:
            arrays = _checked({"group": indices, "params.0": params, **figures}, _formats(manifest, "rows"))
            groups = arrays["group"]
            arrays |= {"member": np.full_like(groups, member), "spec": np.zeros_like(groups)}
            if manifest.sources:
                there = _done(self.path, manifest, "sources", part, None, (int(groups[0]), int(groups[-1]) + 1))
                missing = np.setdiff1d(groups, there)
                if len(missing):
                    raise InputError(
                        f"{self.path} has no source of {part} image {missing[0]}; add it first with "
                        "ZooWriter.add_sources"
                    )
            self._add("rows", part, member, groups, len(groups), shards.pack(arrays))

    def add_groups(self, groups: Sequence[Group]) -> None:
        """One shard of whole groups, at least one, in the order of their indices."""
        indices = np.array([group.index for group in groups], np.int64)
        if not len(groups):
            raise InputError("expected at least one group to add, got none")
        _increasing(indices)
        with self._manifest() as manifest:
            strangers = {name for group in groups for name in group.figures} - set(manifest.figures)
            if strangers:
                raise InputError(
                    f"expected the figures {', '.join(manifest.figures)}, got also {', '.join(sorted(strangers))}"
                )
            rows = sum(len(group.params) for group in groups)
            self._add("rows", "all", None, indices, rows, shards.pack_groups(groups, manifest.figures))

    @contextmanager
    def together(self) -> Iterator[None]:
        """Additions within count at its end, all at once: the manifest, which grows, is read and written once."""
        if self._held is not None:
            yield
            return
        with _locked(self.path):
            before = Manifest.read(self.path)
            self._held = [before]
            try:
                yield
                if self._held[0] is not before:
                    self._held[0].write(self.path)
            except InputError:
                # No room, say: leave nothing behind, unless all was written and only a folder's flush failed.
                listed = {shard.file for shard in Manifest.read(self.path).shards}
                for file in {shard.file for shard in self._held[0].shards} - listed:
                    (self.path / file).unlink(missing_ok=True)
                raise
            finally:
                self._held = None

    @contextmanager
    def _manifest(self) -> Iterator[Manifest]:
        with self.together():
            assert self._held is not None
            yield self._held[0]

    def _add(
        self, table: Table, part: Part, member: int | None, groups: NDArray[np.int64], rows: int, content: bytes
    ) -> None:
        assert self._held is not None
        manifest = self._held[0]
        if part not in PARTS:
            raise InputError(unknown("part", part, list(PARTS)))
        shard = Shard(
            table,
            part,
            member,
            start=int(groups[0]),
            stop=int(groups[-1]) + 1,
            groups=len(groups),
            rows=rows,
            sha256=hashlib.sha256(content).hexdigest(),
            provenance=None if self.provenance == manifest.provenance else self.provenance,
        )
        if replace(shard, provenance=None) in (
            replace(old, provenance=None) for old in manifest.shards if old.sha256 == shard.sha256
        ):
            return
        other = next((old for old in manifest.shards if (old.part == "all") != (part == "all")), None)
        if other is not None:
            raise InputError(
                f"a zoo cannot hold part 'all' beside another, got {part!r} beside {other.part!r}: a group could be in "
                "two splits; choose another --out"
            )
        if any(old.table == table and (old.member is None) != (member is None) for old in manifest.shards):
            raise InputError(f"{self.path} has shards of single members or of whole groups; add the same, got others")
        twice = np.intersect1d(groups, _done(self.path, manifest, table, part, member, (shard.start, shard.stop)))
        if len(twice):
            what = "the source" if table == "sources" else "" if member is None else f"member {member}"
            raise InputError(
                f"{self.path} already has {what}{' of ' * bool(what)}group {twice[0]} of part {part}; add only what is "
                "not in ZooWriter.done"
            )
        self._held[0] = replace(manifest, shards=(*manifest.shards, shard))
        files.write_bytes(self.path / shard.file, content)


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """One writer at a time; the lock goes with its process."""
    with open(folder / ".lock", "wb") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def _begin(path: Path, asked: Manifest) -> None:
    """Create the zoo that `asked` describes, or check that the one that is there was made with equal settings."""
    strange = path.exists() and (not path.is_dir() or any(not entry.name.startswith(".") for entry in path.iterdir()))
    if strange and not (path / FILE).exists():  # asked afterwards: another command may have begun the zoo meanwhile
        raise InputError(
            f"expected a zoo, an empty folder or nothing at {path}, found something else; choose another --out"
        )
    path.mkdir(parents=True, exist_ok=True)
    with _locked(path):
        for leftover in path.rglob(".*.partial"):
            leftover.unlink()
        if not (path / FILE).exists():
            asked.write(path)
        manifest = Manifest.read(path)
        changed = config.differences(manifest.identity, asked.identity)
        if changed and not manifest.shards:  # nothing was ever added: it may still become another zoo
            manifest = asked
            asked.write(path)
        elif changed:
            told = "; ".join(changed[:_TOLD]) + (f"; and {len(changed) - _TOLD} more" if len(changed) > _TOLD else "")
            raise InputError(f"{path} is a zoo that was made with other settings ({told}); choose another --out")
        whole = tuple(shard for shard in manifest.shards if shards.is_whole(path, manifest, shard))
        if whole != manifest.shards:
            replace(manifest, shards=whole).write(path)


def _plain(value: Mapping[str, Any]) -> dict[str, Any]:
    """As JSON gives it back: lists for tuples."""
    plain: dict[str, Any] = json.loads(json.dumps(dict(value)))
    return plain


def _done(
    folder: Path,
    manifest: Manifest,
    table: Table,
    part: Part,
    member: int | None,
    within: tuple[int, int] = (0, MAX_INDEX),
) -> NDArray[np.int64]:
    """Sorted indices of the groups in the shards of a table, part and member that reach into the range `within`."""
    found = [np.empty(0, np.int64)]
    for shard in manifest.shards:
        mine = (shard.table, shard.part, shard.member) == (table, part, member)
        if mine and shard.start < within[1] and within[0] < shard.stop:
            found.append(shards.indices(folder, manifest, shard))
    return np.sort(np.concatenate(found))


def _formats(manifest: Manifest, table: Table) -> dict[str, tuple[str, tuple[int, ...]]]:
    """Dtype, and shape of one row, of the tensors that are to be given for a shard."""
    if table == "sources":
        shape = tuple(manifest.settings["image_shape"])
        return {"pixels": (manifest.settings["image_dtype"], shape), "label": ("int64", ()), "group": ("int64", ())}
    if manifest.spec is None:
        raise InputError("expected a zoo whose settings name the spec of all networks; add whole groups otherwise")
    figures = {name: (dtype, ()) for name, dtype in manifest.figures.items()}
    return {"group": ("int64", ()), "params.0": ("float32", (manifest.spec.num_parameters,)), **figures}


def _checked(
    columns: Mapping[str, Array], formats: Mapping[str, tuple[str, tuple[int, ...]]]
) -> dict[str, NDArray[Any]]:
    """Contiguous arrays of these dtypes and shapes, of one row per group, or what is wrong with them."""
    arrays = {name: np.ascontiguousarray(column) for name, column in columns.items()}
    if arrays.keys() != formats.keys():
        raise InputError(f"expected {', '.join(formats)}, got {', '.join(arrays)}")
    rows = arrays["group"].size
    for name, (dtype, shape) in formats.items():
        got = arrays[name]
        if not rows or (str(got.dtype), got.shape) != (dtype, (rows, *shape)):
            raise InputError(
                f"expected {name.removesuffix('.0')} {('N', *shape)} {dtype}, a row for each of N > 0 groups, got "
                f"{got.shape} {got.dtype}"
            )
    _increasing(arrays["group"])
    return arrays


def _increasing(indices: NDArray[np.int64]) -> None:
    if indices[0] < 0 or indices[-1] >= MAX_INDEX or np.any(np.diff(indices) < 1):
        raise InputError(
            f"expected strictly increasing indices from 0, got {indices}; sort them and leave duplicates out"
        )
