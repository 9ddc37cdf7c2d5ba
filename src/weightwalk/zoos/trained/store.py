"""A zoo of trained networks on disk: `TrainedWriter` adds shards of whole runs, `TrainedZoo` reads rows. Its files:
`manifest.py`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from weightwalk import files
from weightwalk.errors import InputError
from weightwalk.registry import unknown
from weightwalk.spec import NetworkSpec
from weightwalk.weights import Weights
from weightwalk.zoos import listing
from weightwalk.zoos.splits import SPLITS, SplitRule
from weightwalk.zoos.trained.manifest import FIGURES, NUMBERS, Run, Shard, TrainedManifest, load, packed


@dataclass(frozen=True)
class RunInfo:
    """One network's training: its number, its architecture, and what it was trained with."""

    number: int
    spec: NetworkSpec
    hyperparameters: dict[str, Any]


@dataclass(frozen=True, eq=False)
class TrainedRun:
    """A run with its checkpoints: after `epochs` (S,), increasing, parameters `params` (S, num_parameters) and
    `figures`, (S,) each.

    `figures` has the keys `FIGURES`; what is left out is not known (NaN).
    """

    number: int
    spec: NetworkSpec
    hyperparameters: Mapping[str, Any]
    epochs: NDArray[np.int64]
    params: NDArray[np.float32]
    figures: Mapping[str, NDArray[np.float32]]

    def __post_init__(self) -> None:
        rows = len(self.epochs)
        if self.number < 0 or np.any(np.diff(self.epochs) < 1) or (rows and self.epochs[0] < 0):
            raise InputError(
                f"expected a run number from 0 and increasing epochs, got run {self.number}, epochs "
                f"{self.epochs.tolist()}"
            )
        if self.params.shape != (rows, self.spec.num_parameters) or self.params.dtype != np.float32:
            raise InputError(
                f"expected params ({rows}, {self.spec.num_parameters}) float32 of run {self.number}, "
                f"got {self.params.shape} {self.params.dtype}"
            )
        strangers = set(self.figures) - set(FIGURES)
        if strangers or any(np.shape(column) != (rows,) for column in self.figures.values()):
            raise InputError(
                f"expected figures {', '.join(FIGURES)} of {rows} rows each for run {self.number}, got others"
            )
        if not np.isfinite(self.params).all():
            raise InputError(
                f"expected finite parameters in run {self.number}, got NaN or infinity; leave such checkpoints out"
            )


class TrainedWriter:
    """Adds shards of runs to a zoo. Several processes may add to one: each addition takes a lock and reads the manifest
    anew.

    Adding the shard that is there, byte for byte, does nothing; to add another result of a run that is there is an
    `InputError`.
    """

    def __init__(self, path: Path, provenance: dict[str, Any]):
        self.path = path
        self.provenance = provenance
        self._held: list[TrainedManifest] | None = None  # while it is locked: the one on disk with what was added since

    @classmethod
    def open(
        cls, path: Path, *, settings: Mapping[str, Any], provenance: Mapping[str, Any], splits: SplitRule | None = None
    ) -> TrainedWriter:
        """Create the zoo, or open the one that is there to add to it: it must have been made with equal settings.

        `splits` says which runs are train, val and test; left out, val are the runs whose number ends in 7, test those
        in 8 or 9. Shards that are missing or truncated leave the manifest, so that `done` does not count them.
        """
        path = Path(path)
        asked = TrainedManifest(
            json.loads(json.dumps(dict(settings))), splits or SplitRule(), json.loads(json.dumps(dict(provenance)))
        )
        listing.begin(path, asked, TrainedManifest.read)
        return cls(path, asked.provenance)

    def done(self) -> NDArray[np.int64]:
        """Sorted numbers of the runs that the zoo has."""
        manifest = TrainedManifest.read(self.path)
        return np.sort(
            np.concatenate([np.empty(0, np.int64), *(manifest.numbers(self.path, shard) for shard in manifest.shards)])
        )

    @contextmanager
    def together(self) -> Iterator[None]:
        """Additions within count when it ends, all at once: the manifest, which grows with the zoo, is read and written
        once.
        """
        if self._held is not None:
            yield
            return
        with listing.held(self.path, TrainedManifest.read) as self._held:
            try:
                yield
            finally:
                self._held = None

    def add(self, runs: Sequence[TrainedRun]) -> None:
        """One shard of `runs`, at least one, in the order of their numbers."""
        numbers = [run.number for run in runs]
        if not runs or numbers != sorted(set(numbers)):
            raise InputError(f"expected at least one run, in the order of their numbers, each once, got {numbers}")
        content = pack(runs)
        with self.together():
            assert self._held is not None
            manifest = self._held[0]
            shard = Shard(
                numbers[0],
                numbers[-1] + 1,
                count=len(runs),
                rows=sum(len(run.epochs) for run in runs),
                sha256=hashlib.sha256(content).hexdigest(),
                provenance=None if self.provenance == manifest.provenance else self.provenance,
            )
            if any((old.file, old.sha256) == (shard.file, shard.sha256) for old in manifest.shards):
                return
            for old in manifest.shards:
                near = old.start < shard.stop and shard.start < old.stop
                twice = np.intersect1d(numbers, manifest.numbers(self.path, old)).tolist() if near else []
                if twice:
                    raise InputError(
                        f"{self.path} already has run {twice[0]}; add only what is not in TrainedWriter.done"
                    )
            self._held[0] = replace(manifest, shards=(*manifest.shards, shard))
            files.write_bytes(self.path / shard.file, content)


def pack(runs: Sequence[TrainedRun]) -> bytes:
    """The file of a shard."""
    specs = list(dict.fromkeys(run.spec for run in runs))
    place = {spec: index for index, spec in enumerate(specs)}
    rows = [len(run.epochs) for run in runs]
    tensors: dict[str, NDArray[Any]] = {
        "spec": np.repeat(np.array([place[run.spec] for run in runs], np.int64), rows),
        "run": np.repeat(np.array([run.number for run in runs], np.int64), rows),
        "epoch": np.concatenate([np.asarray(run.epochs, np.int64) for run in runs]),
    }
    for name in FIGURES:
        tensors[name] = np.concatenate(
            [np.asarray(run.figures.get(name, np.full(len(run.epochs), np.nan)), np.float32) for run in runs]
        )
    for spec, index in place.items():
        tensors[f"params.{index}"] = np.concatenate([run.params for run in runs if run.spec == spec])
    header = [Run(run.number, place[run.spec], dict(run.hyperparameters)) for run in runs]
    return packed(header, [spec.to_dict() for spec in specs], tensors)


def unpack(path: Path) -> list[TrainedRun]:
    """The runs in a shard's file: the inverse of `pack`."""
    content = load(path)
    specs = [NetworkSpec.from_dict(spec) for spec in content.specs]
    found = []
    for run in content.runs:
        mine = content.columns["run"] == run.number
        of_spec = mine[content.columns["spec"] == run.spec]
        figures = {name: content.columns[name][mine] for name in FIGURES}
        params = content.params[run.spec][of_spec]
        found.append(
            TrainedRun(
                run.number, specs[run.spec], run.hyperparameters, content.columns["epoch"][mine], params, figures
            )
        )
    return found


class TrainedZoo:
    """Random access to the checkpoints of a zoo of trained networks, out of memory maps.

    Rows are ordered by run and epoch, however the zoo was cut into shards. `specs` are the architectures that occur, in
    the order of the first run of each; `spec_codes` (N,) says which one a row has.
    """

    def __init__(self, path: Path, manifest: TrainedManifest):
        self.path = path
        self.settings = manifest.settings
        self.provenance = manifest.provenance
        self.kind: str = manifest.settings["kind"]
        shards = [manifest.shard(path, shard) for shard in manifest.in_order]
        codes: dict[str, int] = {}
        specs: list[NetworkSpec] = []
        columns: dict[str, list[NDArray[Any]]] = {
            name: [np.empty(0, np.int64)] for name in ("spec", "view", "at", "run", "epoch")
        }
        columns |= {name: [np.empty(0, np.float32)] for name in FIGURES}
        self._views: list[NDArray[np.float32]] = []
        self._runs: dict[int, tuple[int, dict[str, Any]]] = {}
        for shard in shards:
            of_shard = []
            for value in shard.specs:
                text = json.dumps(value, sort_keys=True)
                if text not in codes:
                    codes[text] = len(specs)
                    specs.append(NetworkSpec.from_dict(value))
                of_shard.append(codes[text])
            local = shard.columns["spec"]
            at = np.zeros(len(local), np.int64)
            for index in range(len(of_shard)):
                at[local == index] = np.arange(np.count_nonzero(local == index))
            columns["spec"].append(np.array(of_shard, np.int64)[local])
            columns["view"].append(len(self._views) + local)
            columns["at"].append(at)
            for name in (*NUMBERS[1:], *FIGURES):
                columns[name].append(shard.columns[name])
            self._views += shard.params
            self._runs |= {run.number: (of_shard[run.spec], run.hyperparameters) for run in shard.runs}
        joined = {name: np.concatenate(pieces) for name, pieces in columns.items()}
        order = np.lexsort((joined["epoch"], joined["run"]))
        self._columns = {name: column[order] for name, column in joined.items()}
        self.spec_codes: NDArray[np.int64] = self._columns["spec"]
        self.specs = tuple(specs)
        self.splits: NDArray[np.int8] = manifest.splits.assign("all", self._columns["run"])

    @classmethod
    def open(cls, path: Path) -> TrainedZoo:
        """Read the manifest and map every shard; a missing, truncated or foreign one is an `InputError` that names
        it.
        """
        return cls(Path(path), TrainedManifest.read(Path(path)))

    def __len__(self) -> int:
        return len(self.spec_codes)

    @property
    def runs(self) -> tuple[int, ...]:
        """The numbers of all runs, also of those that diverged before their first checkpoint."""
        return tuple(sorted(self._runs))

    # Stopgap until there is one kind of zoo: the properties of that one.
    @property
    def groups(self) -> NDArray[np.int64]:
        return self._columns["run"]

    @property
    def fingerprint(self) -> str:
        return hashlib.sha256((self.path / "manifest.json").read_bytes()).hexdigest()[:16]

    @property
    def sources(self) -> None:
        return None

    def sequence(self, rows: NDArray[np.int64]) -> Weights | list[Weights]:
        found = self.buckets(rows)
        if len(found) == 1:
            return found[0][1]
        places = {int(at): weights[place] for positions, weights in found for place, at in enumerate(positions)}
        return [places[at] for at in range(len(rows))]

    def broken(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """Those of `rows` whose parameters are not finite."""
        good = [np.isfinite(self._views[self._columns["view"][row]][self._columns["at"][row]]).all() for row in rows]
        found: NDArray[np.int64] = rows[~np.array(good, bool)]
        return found

    def rows(self, split: str | None = None, members: str | None = None) -> NDArray[np.int64]:
        """`members` "last" is the last of every run."""
        found = self._rows(split)
        return final_rows(self, found) if members == "last" else found

    def _rows(self, split: str | None = None) -> NDArray[np.int64]:
        """Increasing row numbers of a split (default: all). All checkpoints of a run are in one split."""
        if split is not None and split not in SPLITS:
            raise InputError(unknown("split", split, list(SPLITS)))
        return np.arange(len(self)) if split is None else np.flatnonzero(self.splits == SPLITS.index(split))

    def column(self, name: str) -> NDArray[Any]:
        """A value per row (N,): `run`, `epoch` (int64), or one of `FIGURES` (float32)."""
        known = [*NUMBERS[1:], *FIGURES]
        if name not in known:
            raise InputError(unknown("column", name, known))
        return self._columns[name]

    def run(self, row: int) -> RunInfo:
        """Whose checkpoint a row is."""
        return self.info(int(self._columns["run"][row]))

    def info(self, number: int) -> RunInfo:
        """The run of this number."""
        if number not in self._runs:
            raise InputError(f"{self.path} has no run {number}; it has {len(self._runs):,}")
        code, hyperparameters = self._runs[number]
        return RunInfo(number, self.specs[code], hyperparameters)

    def buckets(self, rows: NDArray[np.int64] | Sequence[int] | Tensor) -> list[tuple[NDArray[np.int64], Weights]]:
        """The networks of `rows` (B,), those of one spec together: positions into `rows`, increasing, and the networks
        at them.

        Copies, so that changing them changes nothing on disk. The buckets come in the order of `specs`.
        """
        rows = np.asarray(rows, np.int64)
        found = []
        for code in np.unique(self.spec_codes[rows]).tolist():
            positions = np.flatnonzero(self.spec_codes[rows] == code)
            chosen = rows[positions]
            places = zip(self._columns["view"][chosen].tolist(), self._columns["at"][chosen].tolist(), strict=True)
            flat = np.stack([self._views[view][at] for view, at in places])
            found.append((positions, Weights(self.specs[code], torch.from_numpy(flat))))
        return found

    def weights(self, rows: NDArray[np.int64] | Sequence[int] | Tensor) -> Weights:
        """The networks of `rows` (B,), in that order, where all have one spec."""
        found = self.buckets(rows)
        if len(found) != 1:
            raise InputError(
                f"expected networks of one architecture, got {len(found)} architectures; take them from "
                "TrainedZoo.buckets"
            )
        return found[0][1]

    def names(self, rows: NDArray[np.int64] | Sequence[int] | Tensor) -> list[str]:
        """What to call `rows` in front of people: run and epoch, as in `run-17-e5`."""
        rows = np.asarray(rows, np.int64)
        return [
            f"run-{run}-e{epoch}"
            for run, epoch in zip(
                self._columns["run"][rows].tolist(), self._columns["epoch"][rows].tolist(), strict=True
            )
        ]


def final_rows(zoo: TrainedZoo, rows: NDArray[np.int64] | None = None) -> NDArray[np.int64]:
    """Of increasing `rows` (default: all) the last one of every run."""
    rows = zoo.rows() if rows is None else rows
    numbers = zoo.column("run")[rows]
    last: NDArray[np.int64] = rows[np.append(numbers[1:] != numbers[:-1], True)] if len(rows) else rows
    return last
