"""A zoo that is read: `Zoo`, a table of networks whose rows are taken at random out of memory maps.

Its files: `manifest.py`, `shards.py`; adding to it: `writer.py`; whether it can be trusted: `check.py`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, Self, SupportsIndex

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from weightwalk.errors import InputError
from weightwalk.registry import unknown
from weightwalk.spec import NetworkSpec
from weightwalk.weights import Weights
from weightwalk.zoos import kinds, shards
from weightwalk.zoos.manifest import Manifest
from weightwalk.zoos.rows import Rows, numbers_of
from weightwalk.zoos.samples import Batch, Sample, Samples, joined
from weightwalk.zoos.sources import Sources
from weightwalk.zoos.splits import SPLITS, group_numbers, indices_of, parts_of


class Zoo(Dataset[Sample]):
    """Random access to the networks of a zoo, and to what they show, where it has that (`sources`).

    Rows are ordered by part, then, where shards are of one member each (INRs), by member and group, else (trained
    networks) by group and member, however the zoo was cut into shards. In memory are only arrays over all rows (N,),
    some 60 bytes a row: `groups` (the number of the image or run, see `splits.py`), `members` (the fit or checkpoint),
    `spec_codes` (positions in `specs`, the architectures in the order of their first shards), `splits` (codes into
    `SPLITS`), and the figures, `column(name)`.

    A sample `zoo[row]` is a dictionary of `weights` (one network), `row`, `group`, `member`, the figures, and `label`
    where there are sources. `DataLoader(zoo, batch_size=64, shuffle=True)` and `batches` join them, networks of several
    architectures as a list. A zoo is pickled and copied as its path and manifest; the copy maps the files anew.
    """

    def __init__(self, path: Path, manifest: Manifest):
        self.path = Path(path)
        self.manifest = manifest
        self.settings, self.provenance, self.kind = manifest.settings, manifest.provenance, manifest.kind
        self.columns: tuple[str, ...] = tuple(manifest.figures)
        table = [shard for shard in manifest.in_order if shard.table == "rows"]
        codes: dict[NetworkSpec, int] = {} if manifest.spec is None else {manifest.spec: 0}
        columns: dict[str, list[NDArray[Any]]] = {
            name: [np.empty(0, np.int64)] for name in ("group", "member", "spec", "order", "view", "at")
        }
        columns |= {name: [np.empty(0, dtype)] for name, dtype in manifest.figures.items()}
        self._views: list[memoryview] = []
        self._told: dict[int, tuple[int, dict[str, Any]]] = {}  # by group: its spec, and what is kept of it
        listed = [np.empty(0, np.int64)]
        for shard in table:
            found = shards.open_rows(self.path, manifest, shard)
            local = found.columns["spec"]
            at = np.zeros(len(local), np.int64)
            for code, spec in enumerate(found.specs):
                codes.setdefault(spec, len(codes))
                mine = local == code
                at[mine] = np.arange(np.count_nonzero(mine)) * (4 * spec.num_parameters)
            columns["group"].append(group_numbers(shard.part, found.columns["group"]))
            columns["member"].append(found.columns["member"])
            columns["spec"].append(np.array([codes[spec] for spec in found.specs], np.int64)[local])
            columns["order"].append(np.full(len(local), -1 if shard.member is None else shard.member))
            columns["view"].append(len(self._views) + local)
            columns["at"].append(at)
            for name in manifest.figures:
                columns[name].append(found.columns[name])
            self._views += [params.reshape(-1).view(np.uint8).data for params in found.params]
            numbers = group_numbers(shard.part, found.indices)
            listed.append(numbers)
            if found.header:
                told = ((codes[found.specs[code]], info) for _, code, info in found.header)
                self._told |= dict(zip(numbers.tolist(), told, strict=True))
        joined = {name: np.concatenate(pieces) for name, pieces in columns.items()}
        order = np.lexsort((joined["member"], joined["group"], joined["order"], parts_of(joined["group"])))
        of_row = {name: column[order] for name, column in joined.items()}
        self.specs: tuple[NetworkSpec, ...] = tuple(codes)
        self.groups: NDArray[np.int64] = of_row["group"]
        self.members: NDArray[np.int64] = of_row["member"]
        self.spec_codes: NDArray[np.int64] = of_row["spec"]
        self.splits: NDArray[np.int8] = manifest.splits.of_groups(self.groups)
        self.group_numbers: NDArray[np.int64] = np.unique(np.concatenate(listed))
        """All groups, also those without rows, as a run is that diverged before its first checkpoint."""
        self._figures = {name: of_row[name] for name in manifest.figures}
        self._view, self._at = of_row["view"].astype(np.int32), of_row["at"]
        self.sources = Sources(self.path, manifest, self.groups) if manifest.sources else None

    @classmethod
    def open(cls, path: Path | str) -> Self:
        """Read the manifest and map every shard; InputError naming one that is missing, changed or foreign."""
        return cls(Path(path), Manifest.read(Path(path)))

    def __reduce__(self) -> tuple[type[Self], tuple[Path, Manifest]]:
        return type(self), (self.path, self.manifest)

    def __len__(self) -> int:
        return len(self.groups)

    @property
    def fingerprint(self) -> str:
        """Names what is in the zoo: another one where a row was added or changed."""
        return self.manifest.fingerprint

    @property
    def spec(self) -> NetworkSpec:
        """The only architecture."""
        if len(self.specs) != 1:
            raise InputError(
                f"expected networks of one architecture in {self.path}, got {len(self.specs)}; read them by Zoo.buckets"
            )
        return self.specs[0]

    @property
    def parts(self) -> NDArray[np.int64]:
        """Codes into `PARTS` (N,)."""
        return parts_of(self.groups)

    @property
    def indices(self) -> NDArray[np.int64]:
        """The index (N,) of each row's group within its part."""
        return indices_of(self.groups)

    def rows(self, split: str | None = None, members: int | Literal["last"] | None = None) -> NDArray[np.int64]:
        """Increasing rows of a split (None: all), of members numbered below `members` or each group's last member."""
        if split is not None and split not in SPLITS:
            raise InputError(unknown("split", split, list(SPLITS)))
        chosen = np.ones(len(self), bool) if split is None else self.splits == SPLITS.index(split)
        if isinstance(members, int):
            chosen &= self.members < members
        rows = np.flatnonzero(chosen)
        if members == "last" and len(rows):
            rows = rows[np.lexsort((self.members[rows], self.groups[rows]))]
            rows = np.sort(rows[np.append(np.diff(self.groups[rows]) != 0, True)])
        return rows

    def column(self, name: str) -> NDArray[Any]:
        """A value per row (N,): `group`, `member` (int64), or one of the figures, `columns`."""
        known = {"group": self.groups, "member": self.members, **self._figures}
        if name not in known:
            raise InputError(unknown("column", name, list(known)))
        return known[name]

    def info(self, group: int) -> dict[str, Any]:
        """What is kept of a group: a run's hyperparameters; nothing of an image."""
        return dict(self._group(group)[1])

    def spec_of(self, group: int) -> NetworkSpec:
        """The architecture of a group's networks."""
        return self.specs[self._group(group)[0]]

    def _group(self, group: int) -> tuple[int, dict[str, Any]]:
        at = np.searchsorted(self.group_numbers, group)
        if at == len(self.group_numbers) or self.group_numbers[at] != group:
            word = kinds.of(self.kind).group
            raise InputError(f"{self.path} has no {word} {group}; it has {len(self.group_numbers):,}")
        return self._told.get(int(group), (0, {}))

    def buckets(self, rows: Rows) -> list[tuple[NDArray[np.int64], Weights]]:
        """The networks of `rows` (B,), by spec: increasing positions in `rows`, and the networks at them.

        Copies, so that changing them changes nothing on disk. The buckets come in the order of `specs`.
        """
        rows = self._numbers(rows)
        codes = self.spec_codes[rows]
        positions = [(int(code), np.flatnonzero(codes == code)) for code in np.unique(codes)]
        return [(at, Weights(self.specs[code], self._flat(code, rows[at]))) for code, at in positions]

    def weights(self, rows: Rows) -> Weights:
        """The networks of `rows` (B,), in that order, where all have one spec."""
        rows = self._numbers(rows)
        if len(self.specs) > 1 and len(np.unique(self.spec_codes[rows])) != 1:
            raise InputError(
                f"expected rows of one architecture, got {len(np.unique(self.spec_codes[rows]))} architectures; take "
                "them from Zoo.buckets"
            )
        code = int(self.spec_codes[rows[0]]) if len(rows) and len(self.specs) > 1 else 0
        return Weights(self.specs[code], self._flat(code, rows))

    def sequence(self, rows: Rows) -> Weights | list[Weights]:
        """The networks of `rows` (B,), in that order: as one batch where all have one spec, else each as its own."""
        rows = self._numbers(rows)
        codes = self.spec_codes[rows].tolist()
        if len(set(codes)) == 1:
            return Weights(self.specs[codes[0]], self._flat(codes[0], rows))
        specs = [self.specs[code] for code in codes]
        widths = [spec.num_parameters for spec in specs]
        return [
            Weights(spec, flat[None]) for spec, flat in zip(specs, self._read(rows, widths).split(widths), strict=True)
        ]

    def _flat(self, code: int, rows: NDArray[np.int64]) -> Tensor:
        """Parameters (B, P) of `rows`, which have the spec number `code`."""
        width = self.specs[code].num_parameters
        return self._read(rows, [width] * len(rows)).view(len(rows), width)

    def _read(self, rows: NDArray[np.int64], widths: Sequence[int]) -> Tensor:
        """The parameters of `rows`, so many of each, one after another.

        Joining slices of the maps takes as long at any size of shard, and less than grouping the rows by shard for
        numpy or torch to index, because a random batch has only a few rows in each.
        """
        views = self._views
        places = zip(self._view[rows].tolist(), self._at[rows].tolist(), widths, strict=True)
        content = bytearray().join([views[view][start : start + 4 * width] for view, start, width in places])
        return torch.from_numpy(np.ndarray(sum(widths), np.float32, buffer=content))

    def _numbers(self, rows: Rows) -> NDArray[np.int64]:
        return numbers_of(rows, len(self), self.described)

    def broken(self, rows: Rows) -> NDArray[np.int64]:
        """Those of `rows`, in their order, whose parameters are not all finite."""
        rows = self._numbers(rows)
        whole = np.ones(len(rows), bool)
        for first in range(0, len(rows), _CHUNK):
            for at, networks in self.buckets(rows[first : first + _CHUNK]):
                whole[first + at] = networks.flat.isfinite().all(dim=1).numpy()
        return rows[~whole]

    # ---- names

    def names(self, rows: Rows) -> list[str]:
        """What people call `rows`: `train-17-f0` is fit 0 of an image, `run-17-e5` a run's checkpoint of epoch 5."""
        return kinds.of(self.kind).names(self, self._numbers(rows))

    def find(self, names: Sequence[str]) -> NDArray[np.int64]:
        """The rows (B,) of `names`, in that order: the inverse of `names`. InputError for an unknown name."""
        return kinds.of(self.kind).find(self, names)

    def described(self) -> str:
        """What rows and names there are, for sentences: `ZOO has 60 INRs, rows 0 to 59, all-0-f0 to all-59-f0`."""
        networks = kinds.of(self.kind).networks
        if not len(self):
            return f"{self.path} has no {networks} yet"
        first, last = self.names(np.array([0, len(self) - 1]))
        return f"{self.path} has {len(self):,} {networks}, rows 0 to {len(self) - 1}, {first} to {last}"

    # ---- samples

    def __getitem__(self, row: int) -> Sample:
        if not isinstance(row, SupportsIndex):
            raise InputError(
                f"expected the number of one row, got {row!r}; zoo.weights(rows) and zoo.batches take more"
            )
        if not -len(self) <= row < len(self):
            raise IndexError(f"row {row} of {len(self)}")
        return self.__getitems__([row])[0]

    def __getitems__(self, rows: Rows) -> Samples:
        """The samples of several rows, out of one read: what a DataLoader asks for."""
        numbers = self._numbers(rows)
        return Samples(self.sequence(numbers), self._of(numbers), self.columns)

    def _of(self, rows: NDArray[np.int64]) -> dict[str, Tensor]:
        """The columns (B,) of samples."""
        columns = {"group": self.groups, "member": self.members, **self._figures}
        if self.sources is not None:
            columns["label"] = self.sources.labels
        return {"row": torch.from_numpy(rows), **{k: torch.from_numpy(v[rows]) for k, v in columns.items()}}

    def collate(self, samples: Sequence[dict[str, Any]]) -> Batch:
        """Samples as one batch: `weights` as one `Weights` where all have one spec, else as a list of networks."""
        return joined(samples)

    def batches(self, rows: Rows | str, batch_size: int, generator: torch.Generator | None = None) -> Iterator[Batch]:
        """Batches of `rows` or of a split, as a DataLoader with `collate` has them; shuffled by a `generator`.

        A batch of B rows costs one read and a tensor per column; columns are tensors (B,).
        """
        if batch_size < 1:
            raise InputError(f"expected a batch size of at least 1, got {batch_size}")
        numbers = self.rows(rows) if isinstance(rows, str) else self._numbers(rows)
        if generator is not None:
            numbers = numbers[torch.randperm(len(numbers), generator=generator).numpy()]
        for first in range(0, len(numbers), batch_size):
            yield self.__getitems__(numbers[first : first + batch_size]).batch()

    # ---- what the networks show

    @property
    def labels(self) -> NDArray[np.int64]:
        """The label (N,) of what each row shows."""
        return self._shown().labels

    @property
    def label_names(self) -> tuple[str, ...]:
        """What the labels are called."""
        return self._shown().label_names

    @property
    def image_shape(self) -> tuple[int, ...]:
        """(C, *grid) of what the networks show."""
        return self._shown().image_shape

    def images(self, rows: Rows) -> Tensor:
        """What the networks of `rows` (B,) show, in that order: (B, C, *grid), uint8 or float32 as it was stored."""
        return self._shown().images(self._numbers(rows))

    def _shown(self) -> Sources:
        if self.sources is None:
            raise InputError(
                f"expected a zoo of INRs, got one of {self.kind} networks at {self.path}, which show nothing"
            )
        return self.sources


_CHUNK = 4096  # rows that are looked at together
