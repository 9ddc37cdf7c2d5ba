"""From pictures to a zoo of trained networks: the runs that are not there yet are done, and become shards.

A run is a function of (recipe, pictures, seed, number) alone. A finished run waits in a hidden file until its shard is
complete, so that only the runs under way are lost when a process is killed; the zoo's bytes are those of an undisturbed
one.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

import weightwalk
from weightwalk import config, files
from weightwalk.errors import InputError
from weightwalk.networks.starts import Key, classifier, uniform
from weightwalk.progress import Progress, silent
from weightwalk.spec import NetworkSpec
from weightwalk.steps import Learned
from weightwalk.zoos.images import ImageSet
from weightwalk.zoos.trained import trainer
from weightwalk.zoos.trained.manifest import FIGURES
from weightwalk.zoos.trained.pictures import Pictures, mapped
from weightwalk.zoos.trained.recipes import DROPS, SHIFTS, STARTS, Plan, TrainRecipe, order
from weightwalk.zoos.trained.store import TrainedRun, TrainedWriter, pack, unpack
from weightwalk.zoos.work import Inline, Workers

SHARD_RUNS = 16
_FARTHEST = 4  # pixels that a picture is shifted by at most


@dataclass(frozen=True)
class TrainJob:
    """What all runs of one zoo share; `folder` has the pictures (see `Pictures.save`)."""

    recipe: TrainRecipe
    classes: int
    seed: int
    folder: str
    mode: trainer.Mode = "auto"

    def do(self, run: int, /) -> TrainedRun:
        """One run. It ends early if its parameters or its loss are no longer finite: then what is left of it are
        earlier checkpoints.
        """
        recipe, pictures = self.recipe, mapped(self.folder)
        plan = recipe.plan(pictures.image_shape, self.classes, self.seed, run)
        state = trainer.begin(begin(plan, self.seed, run))
        descent = trainer.Training(
            plan.optimizer, plan.learning_rate, plan.weight_decay, plan.dropout, recipe.batch_size
        )
        given = [number for number, layer in enumerate(plan.spec.layers) if isinstance(layer, Learned) and layer.fixed]
        pixels, labels = torch.from_numpy(pictures.train), torch.from_numpy(pictures.train_labels)
        scale, offset = recipe.normalisation(pixels.shape[1])
        rows: list[tuple[int, NDArray[np.float32], list[float]]] = []
        for epoch in range(plan.checkpoints[-1] + 1):
            if epoch:
                numbers = order(plan, recipe, len(pixels), self.seed, run, epoch)
                trainer.epoch(
                    plan.spec,
                    state,
                    pixels,
                    labels,
                    torch.from_numpy(numbers),
                    descent,
                    scale=scale,
                    offset=offset,
                    seed=int(uniform(Key(self.seed, DROPS, run, epoch), 1)[0] * 2**53),
                    shifts=_shifts(Key(self.seed, SHIFTS, run, epoch), len(numbers)) if recipe.augment else None,
                    frozen=given,
                    mode=self.mode,
                )
            if not state.params.isfinite().all():
                break
            if epoch in plan.checkpoints:
                figures = score(recipe, plan.spec, state.params, pictures, self.mode)
                if not np.isfinite(figures).all():
                    break
                rows.append((epoch, state.params.numpy().copy(), figures))
        return TrainedRun(
            run,
            plan.spec,
            plan.hyperparameters,
            np.array([epoch for epoch, _, _ in rows], np.int64),
            np.array([params for _, params, _ in rows], np.float32).reshape(len(rows), plan.spec.num_parameters),
            {name: np.array([figures[k] for _, _, figures in rows], np.float32) for k, name in enumerate(FIGURES)},
        )


def begin(plan: Plan, seed: int, run: int) -> Tensor:
    """The parameters (P,) that a run starts from."""
    return classifier(plan.spec, Key(seed, STARTS, run, 0), plan.scheme, plan.std).flat[0]


def score(
    recipe: TrainRecipe, spec: NetworkSpec, params: Tensor, pictures: Pictures, mode: trainer.Mode = "auto"
) -> list[float]:
    """`FIGURES` of one network, `params` (P,): loss and accuracy on training pictures, then on test pictures."""
    limit, (scale, offset) = recipe.scored_images, recipe.normalisation(pictures.test.shape[1])
    parts = ((pictures.train[:limit], pictures.train_labels[:limit]), (pictures.test, pictures.test_labels))
    tensors = [(torch.from_numpy(pixels), torch.from_numpy(labels)) for pixels, labels in parts]
    return [
        figure
        for part in tensors
        for figure in trainer.score(spec, params, *part, scale=scale, offset=offset, mode=mode)
    ]


def _shifts(key: Key, count: int) -> Tensor:
    """Per picture (count, 3) int8: whether it is mirrored, and by how many rows and columns it is shifted."""
    u = uniform(key, 3 * count).reshape(count, 3)
    moved = np.floor(u[:, 1:] * (2 * _FARTHEST + 1)) - _FARTHEST
    return torch.from_numpy(np.concatenate([u[:, :1] < 0.5, moved], axis=1).astype(np.int8))


@dataclass(frozen=True)
class TrainOutcome:
    """What a call of `train_zoo` did: `trained` runs were added, `diverged` of them without a checkpoint."""

    trained: int
    already_there: int
    diverged: int
    finished: bool
    seconds: float


def train_zoo(
    sets: Sequence[ImageSet],
    out: Path,
    recipe: TrainRecipe,
    *,
    runs: int,
    seed: int = 0,
    mode: trainer.Mode = "auto",
    workers: Workers | None = None,
    progress: Progress = silent,
    should_stop: Callable[[], bool] = lambda: False,
) -> TrainOutcome:
    """Train the runs 0 ... runs - 1 that the zoo `out` does not have yet, on the parts of a data set.

    Raises InputError if `out` was made with other settings.
    """
    if runs < 1:
        raise InputError(f"expected at least 1 run, got {runs}")
    if not 0 <= seed < 2**63:
        raise InputError(f"expected a seed from 0 to 2^63 - 1, got {seed}")
    began = time.monotonic()
    pictures = Pictures.of(sets, recipe)
    first = recipe.plan(
        pictures.image_shape, sets[0].num_classes, seed, 0
    )  # what cannot be built is refused before anything is written
    recipe.normalisation(pictures.image_shape[0])
    chosen = trainer.choose(first.spec, mode, begin(first, seed, 0), torch.from_numpy(pictures.train))
    writer = TrainedWriter.open(
        out,
        settings={
            "kind": recipe.kind,
            "dataset": sets[0].dataset,
            "image_shape": list(pictures.image_shape),
            "label_names": list(sets[0].label_names),
            "train_images": len(pictures.train),
            "test_images": len(pictures.test),
            "recipe": config.to_dict(recipe),
            "seed": seed,
        },
        provenance={"weightwalk": weightwalk.__version__, "torch": torch.__version__, "mode": chosen},
    )
    todo = np.setdiff1d(np.arange(runs), writer.done())
    shards = _Shards(writer, todo)
    missing = [run for run in todo.tolist() if run not in shards.waiting]
    ready, done = len(todo) - len(missing), 0

    def tell() -> None:
        accuracy = {"test accuracy": shards.mean_accuracy} if shards.runs else {}
        progress("training", ready + done, len(todo), accuracy)

    with tempfile.TemporaryDirectory() as folder:
        pictures.save(Path(folder))
        results = (workers or Inline()).results(TrainJob(recipe, sets[0].num_classes, seed, folder, mode), missing)
        if len(todo):
            tell()
        while done < len(missing) and not should_stop():
            shards.add(next(results))
            done += 1
            tell()
        results.close()
    return TrainOutcome(ready + done, runs - len(todo), shards.diverged, done == len(missing), time.monotonic() - began)


class _Shards:
    """Keeps finished runs in hidden files, and makes a shard of those whose numbers share a multiple of SHARD_RUNS once
    all are there.
    """

    def __init__(self, writer: TrainedWriter, todo: NDArray[np.int64]):
        self._writer = writer
        self._folder = writer.path / f".waiting-{config.fingerprint(writer.provenance)}"
        self._blocks = {
            block: todo[todo // SHARD_RUNS == block].tolist() for block in np.unique(todo // SHARD_RUNS).tolist()
        }
        self.waiting: set[int] = set()
        self.diverged, self.runs, self._accuracy = 0, 0, 0.0
        wanted, there = set(todo.tolist()), set(writer.done().tolist())
        for path in sorted(self._folder.glob("*.safetensors")):
            number = int(path.stem)
            if number in there:
                path.unlink()  # its shard was written before this file could be removed
            elif number in wanted:
                self._count(*unpack(path))
                self.waiting.add(number)
        for block in list(self._blocks):
            self._finish(block)

    @property
    def mean_accuracy(self) -> float:
        """Of the last checkpoints of all runs that were added."""
        return self._accuracy / max(1, self.runs)

    def _count(self, run: TrainedRun) -> None:
        self.diverged += not len(run.epochs)
        if len(run.epochs):
            self.runs += 1
            self._accuracy += float(run.figures["test_accuracy"][-1])

    def add(self, run: TrainedRun) -> None:
        if run.number in self.waiting:
            return  # its worker died when it was done, and another did it again
        self._count(run)
        files.write_bytes(self._path(run.number), pack([run]))
        self.waiting.add(run.number)
        self._finish(run.number // SHARD_RUNS)

    def _path(self, number: int) -> Path:
        return self._folder / f"{number}.safetensors"

    def _finish(self, block: int) -> None:
        numbers = self._blocks[block]
        if self.waiting.issuperset(numbers):
            self._writer.add([run for number in numbers for run in unpack(self._path(number))])
            for number in numbers:
                self._path(number).unlink()
            if not any(self._folder.iterdir()):
                self._folder.rmdir()
