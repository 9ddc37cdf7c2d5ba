"""What a zoo of trained networks is on disk: immutable safetensors shards of whole runs, and a manifest that is
replaced as a whole.

    ZOO/manifest.json                          contents, schema, settings, split rule, provenance, shards
    ZOO/runs/<start>-<stop>.safetensors        rows of the runs start <= number < stop, ordered by run and epoch

A *run* is the training of one network, a row one of its checkpoints. A shard of N rows and S specs has the tensors

    params.0 ... params.S-1    (N_s, parameters of spec s) float32, the rows of that spec in their order
    spec, run, epoch           (N,) int64: which of the shard's specs, whose run, trained for how many epochs
    train_loss ...             (N,) float32, one tensor per figure; NaN where a published file does not say

and in its header, as JSON, the specs and each run's number, spec and hyperparameters. A run without rows diverged
before its first checkpoint. Nothing holds a time or a host name, so equal work gives equal bytes.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from weightwalk.errors import InputError
from weightwalk.files import write_bytes
from weightwalk.spec import NetworkSpec
from weightwalk.zoos import listing
from weightwalk.zoos.splits import SplitRule

SCHEMA_VERSION = 1
FIGURES = ("train_loss", "train_accuracy", "test_loss", "test_accuracy")
"""What is known of every checkpoint: mean cross-entropy and the share of pictures that were told right."""

NUMBERS = ("spec", "run", "epoch")
REMEDY = f"delete it and {listing.REMAKE}"
_HEADER = "runs"  # the one key of a shard's metadata: several would be in no fixed order


@dataclass(frozen=True)
class Shard:
    """One file of `count` runs, and `rows` checkpoints; `provenance` is set where it differs from the manifest's."""

    start: int
    stop: int
    count: int
    rows: int
    sha256: str
    provenance: dict[str, Any] | None = None

    def __post_init__(self) -> None:
        if not (0 <= self.start < self.stop and 1 <= self.count <= self.stop - self.start and self.rows >= 0):
            raise InputError(f"expected a shard of runs start <= number < stop, got {self}")

    @property
    def file(self) -> str:
        """Its path within the zoo."""
        return f"runs/{self.start:06d}-{self.stop:06d}.safetensors"


@dataclass(frozen=True)
class Run:
    """What a shard's header says of a run; `spec` is the position of its spec there."""

    number: int
    spec: int
    hyperparameters: dict[str, Any]


@dataclass(frozen=True, eq=False)
class Content:
    """A shard that was read: its header, its columns (N,), and per spec the parameters of its rows, as lazy memory
    maps.
    """

    runs: tuple[Run, ...]
    specs: tuple[dict[str, Any], ...]
    columns: dict[str, NDArray[Any]]
    params: tuple[NDArray[np.float32], ...]


def packed(runs: Sequence[Run], specs: Sequence[Mapping[str, Any]], tensors: Mapping[str, NDArray[Any]]) -> bytes:
    """A shard's file."""
    header = {"specs": list(specs), "runs": [[run.number, run.spec, run.hyperparameters] for run in runs]}
    return bytes(
        save({name: np.ascontiguousarray(tensor) for name, tensor in tensors.items()}, {_HEADER: json.dumps(header)})
    )


@dataclass(frozen=True)
class TrainedManifest:
    """What a zoo of trained networks holds; `settings` decide its identity, and have at least `kind` and `dataset`."""

    settings: dict[str, Any]
    splits: SplitRule
    provenance: dict[str, Any]
    shards: tuple[Shard, ...] = ()

    def __post_init__(self) -> None:
        absent = {"kind", "dataset"} - set(self.settings)
        if absent:
            raise InputError(
                f"expected settings with the keys kind and dataset, got none for {' and '.join(sorted(absent))}"
            )

    @property
    def identity(self) -> dict[str, Any]:
        return {**self.settings, "splits": self.splits.to_dict()}

    def content(self) -> bytes:
        """JSON with a checksum of its values, the shards in the order of their runs."""
        shards = [{"file": shard.file, **asdict(shard)} for shard in self.in_order]
        value = {"schema_version": SCHEMA_VERSION, "contents": listing.TRAINED, "settings": self.settings}
        return listing.sealed(
            {**value, "splits": self.splits.to_dict(), "provenance": self.provenance, "shards": shards}
        )

    @cached_property
    def in_order(self) -> tuple[Shard, ...]:
        """The shards by their first runs."""
        return tuple(sorted(self.shards, key=lambda shard: (shard.start, shard.stop)))

    def write(self, folder: Path) -> None:
        write_bytes(folder / listing.FILE, self.content())

    @classmethod
    def read(cls, folder: Path) -> TrainedManifest:
        """The manifest of the zoo in `folder`; a missing, broken or newer one is an `InputError`, and so is one of
        another kind of zoo.
        """
        value = listing.read_sealed(folder, SCHEMA_VERSION)
        if isinstance(value, dict) and "contents" not in value and "label_names" in value:
            raise InputError(
                f"expected a zoo of trained networks, found one of INRs at {folder}; make one with weightwalk zoo"
            )
        try:
            if value["contents"] != listing.TRAINED:
                raise InputError(f"expected contents {listing.TRAINED!r}, got {value['contents']!r}")
            entries = [{key: entry[key] for key in entry if key != "file"} for entry in value["shards"]]
            shards = tuple(Shard(**entry) for entry in entries)
            return cls(dict(value["settings"]), SplitRule.from_dict(value["splits"]), dict(value["provenance"]), shards)
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(
                f"expected the manifest of a zoo of trained networks at {folder / listing.FILE}, got other JSON "
                f"({type(error).__name__}: {error}); restore it, or choose another folder"
            ) from None

    def shard(self, folder: Path, shard: Shard) -> Content:
        """What is in a shard, once it holds what this manifest says."""
        content = load(folder / shard.file)
        numbers = [run.number for run in content.runs]
        if (len(numbers), numbers[0], numbers[-1] + 1, len(content.columns["run"])) != (
            shard.count,
            shard.start,
            shard.stop,
            shard.rows,
        ):
            raise InputError(
                f"expected {shard.rows} rows of the runs {shard.start} to {shard.stop - 1} in {folder / shard.file}, "
                f"got others; {REMEDY}"
            )
        return content

    def numbers(self, folder: Path, shard: Shard) -> NDArray[np.int64]:
        """The numbers of a shard's runs; opens it only if there are gaps."""
        if shard.count == shard.stop - shard.start:
            return np.arange(shard.start, shard.stop)
        return np.array([run.number for run in self.shard(folder, shard).runs], np.int64)

    def is_whole(self, folder: Path, shard: Shard) -> bool:
        try:
            self.shard(folder, shard)
        except InputError:
            return False
        return True

    def where(self, folder: Path, shard: Shard) -> str:
        return "" if self.is_whole(folder, shard) else ": it is truncated, or its header or columns are others"


def load(path: Path) -> Content:
    """What is in a shard's file; one that is missing, damaged or not of this kind is an `InputError`."""
    with _opened(path) as handle:
        try:
            header = json.loads((handle.metadata() or {})[_HEADER])
            runs = tuple(Run(*entry) for entry in header["runs"])
            specs = tuple(header["specs"])
            widths = [NetworkSpec.from_dict(spec).num_parameters for spec in specs]
            columns = {name: handle.get_tensor(name).numpy() for name in (*NUMBERS, *FIGURES)}
            params = tuple(handle.get_tensor(f"params.{index}").numpy() for index in range(len(specs)))
            _check(runs, columns, params, widths)
        except (KeyError, TypeError, ValueError, IndexError, SafetensorError) as error:
            raise InputError(
                f"expected a shard of trained networks at {path}, got another file ({error!r}); {REMEDY}"
            ) from None
    return Content(runs, specs, columns, params)


def _check(
    runs: Sequence[Run], columns: Mapping[str, NDArray[Any]], params: Sequence[NDArray[Any]], widths: Sequence[int]
) -> None:
    """Whether a shard's parts fit together."""
    numbers = [run.number for run in runs]
    if not numbers or numbers != sorted(set(numbers)) or any(run.spec >= len(widths) for run in runs):
        raise ValueError("runs are missing or out of order")
    rows = len(columns["run"])
    for name, column in columns.items():
        if column.shape != (rows,) or column.dtype != (np.int64 if name in NUMBERS else np.float32):
            raise ValueError(f"{name} is {column.dtype} {column.shape}")
    for index, (array, width) in enumerate(zip(params, widths, strict=True)):
        if array.dtype != np.float32 or array.shape != (int((columns["spec"] == index).sum()), width):
            raise ValueError(f"params.{index} is {array.dtype} {array.shape}")
    of_run = {run.number: run.spec for run in runs}
    if [of_run[run] for run in columns["run"].tolist()] != columns["spec"].tolist():
        raise ValueError("rows are of other specs than their runs")
    keys = list(zip(columns["run"].tolist(), columns["epoch"].tolist(), strict=True))
    if keys != sorted(set(keys)):
        raise ValueError("rows are out of order")


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    try:
        with safe_open(path, "pt") as handle:
            yield handle
    except FileNotFoundError:
        raise InputError(f"expected a shard of the zoo at {path}, found no such file; {listing.REMAKE}") from None
    except SafetensorError as error:
        raise InputError(
            f"expected a whole shard at {path}, got a truncated or corrupt file ({error}); {REMEDY}"
        ) from None
