"""What readers of published zoos have in common, and how what they read becomes a zoo."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

import weightwalk
from weightwalk.errors import InputError
from weightwalk.progress import Progress, silent
from weightwalk.registry import Registry
from weightwalk.spec import NetworkSpec
from weightwalk.zoos.splits import SplitRule
from weightwalk.zoos.trained.store import TrainedRun, TrainedWriter

SHARD_RUNS = 128


@dataclass(frozen=True, eq=False)
class Published:
    """A published zoo: what it is, and `read(number)` for each of its runs 0 ... count - 1, which are ordered by split
    if it has one.
    """

    kind: str
    dataset: str
    count: int
    read: Callable[[int], TrainedRun]
    splits: SplitRule = SplitRule()  # noqa: RUF009 (frozen)


LAYOUTS: Registry[Callable[[Path, Path | None], Published]] = Registry("layout of trained networks")
"""Readers: an unpacked download, and a file that tells its split where that is not among it."""


def by_split(train: int, val: int, test: int) -> SplitRule:
    """The rule of runs that are numbered train, val, test."""
    if not train:
        raise InputError(
            "expected a published split with runs to train on, got none; leave it out to split by the last digit of "
            "runs"
        )
    return SplitRule(bounds=(train, train + val)) if val + test else SplitRule(bounds=(train, train))


def flattened(
    spec: NetworkSpec, tensors: Mapping[tuple[int, str], Tensor], what: str
) -> np.ndarray[Any, np.dtype[np.float32]]:
    """One network's parameters (P,) out of its tensors by (layer, role), kernels as torch keeps them."""
    parts = []
    for field in spec.fields:
        tensor = tensors[field.layer, field.role]
        shape = tuple(tensor.shape)
        taken = tensor.flatten(2) if tensor.dim() > 2 else tensor
        if tuple(taken.shape) != field.shape:
            raise InputError(
                f"expected the {field.role} of layer {field.layer} of {spec} as {field.shape} in {what}, got {shape}"
            )
        parts.append(taken.to(torch.float32).reshape(-1))
    flat: np.ndarray[Any, np.dtype[np.float32]] = torch.cat(parts).numpy()
    return flat


def checkpoints(
    number: int,
    spec: NetworkSpec,
    hyperparameters: Mapping[str, Any],
    rows: Sequence[tuple[int, Any, Mapping[str, float]]],
) -> TrainedRun:
    """A run out of (epochs, parameters (P,), figures) in any order, without those whose parameters are not finite."""
    rows = sorted((row for row in rows if np.isfinite(row[1]).all()), key=lambda row: row[0])
    for epoch, _, figures in rows:
        for name, value in figures.items():
            if name.endswith("accuracy") and not (np.isnan(value) or 0 <= value <= 1):
                raise InputError(
                    f"expected {name} as a share from 0 to 1, got {value} after {epoch} epochs of run {number}"
                )
    names = {name for _, _, figures in rows for name in figures}
    return TrainedRun(
        number,
        spec,
        hyperparameters,
        np.array([epochs for epochs, _, _ in rows], np.int64),
        np.array([params for _, params, _ in rows], np.float32).reshape(len(rows), spec.num_parameters),
        {name: np.array([figures.get(name, np.nan) for _, _, figures in rows], np.float32) for name in names},
    )


@dataclass(frozen=True)
class ImportOutcome:
    """What a call of `import_published` did: `read` runs were added."""

    read: int
    already_there: int
    finished: bool
    seconds: float


def import_published(
    layout: str,
    folder: Path,
    out: Path,
    *,
    split: Path | None = None,
    dataset: str | None = None,
    progress: Progress = silent,
    should_stop: Callable[[], bool] = lambda: False,
) -> ImportOutcome:
    """Read what the zoo `out` does not have yet of a published zoo. No code in its files is run."""
    began = time.monotonic()
    if not folder.is_dir():
        raise InputError(
            f"expected the folder of an unpacked download, found {'a file' if folder.exists() else 'nothing'} at "
            f"{folder}"
        )
    published = LAYOUTS[layout](folder, split)
    published = replace(published, dataset=dataset or published.dataset)
    writer = TrainedWriter.open(
        out,
        settings={"kind": published.kind, "dataset": published.dataset, "layout": layout, "runs": published.count},
        provenance={"weightwalk": weightwalk.__version__},
        splits=published.splits,
    )
    todo = np.setdiff1d(np.arange(published.count), writer.done())
    done = 0
    for block in np.unique(todo // SHARD_RUNS):
        runs = []
        for number in todo[todo // SHARD_RUNS == block].tolist():
            if should_stop():
                return ImportOutcome(done, published.count - len(todo), False, time.monotonic() - began)
            runs.append(published.read(number))
            progress("reading", done + len(runs), len(todo), {})
        writer.add(runs)
        done += len(runs)
    return ImportOutcome(done, published.count - len(todo), True, time.monotonic() - began)
