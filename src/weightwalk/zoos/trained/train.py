"""From pictures to a zoo of trained networks: the runs that are not there yet are done, and become shards.

A run is a function of (recipe, pictures, seed, number) alone, and a shard of its own, written within seconds: only the
runs under way are lost when a process is killed, and the zoo's bytes are those of an undisturbed one.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

import weightwalk
from weightwalk import config
from weightwalk.errors import InputError
from weightwalk.networks.starts import Key, classifier, uniform
from weightwalk.progress import Progress, silent
from weightwalk.spec import NetworkSpec
from weightwalk.zoos.blocks import Blocks
from weightwalk.zoos.images import ImageSet
from weightwalk.zoos.shards import Group
from weightwalk.zoos.trained import trainer
from weightwalk.zoos.trained.draws import DROPS, SHIFTS, STARTS, Drawn
from weightwalk.zoos.trained.pictures import Pictures, mapped
from weightwalk.zoos.trained.recipes import TrainRecipe, order
from weightwalk.zoos.work import Inline, Workers
from weightwalk.zoos.writer import ZooWriter

FIGURES = ("train_loss", "train_accuracy", "test_loss", "test_accuracy")
"""What is known of every checkpoint: mean cross-entropy and the share of pictures that were told right."""

COLUMNS = {"epoch": "int64", **dict.fromkeys(FIGURES, "float32")}
"""The figures of a zoo of trained networks, and their dtypes; `epoch` is how many epochs a checkpoint was trained."""

_FARTHEST = 4  # pixels that a picture is shifted by at most


@dataclass(frozen=True)
class TrainJob:
    """What all runs of one zoo share; `folder` has the pictures (see `Pictures.save`)."""

    recipe: TrainRecipe
    classes: int
    seed: int
    folder: str
    mode: trainer.Mode = "auto"

    def do(self, run: int, /) -> Group:
        """One run; it ends with its last good checkpoint where its parameters or loss are no longer finite."""
        recipe, pictures = self.recipe, mapped(self.folder)
        drawn = recipe.drawn(pictures.image_shape, self.classes, self.seed, run)
        state = trainer.begin(begin(drawn, self.seed, run))
        descent = trainer.Training(
            drawn.optimizer, drawn.learning_rate, drawn.weight_decay, drawn.dropout, recipe.batch_size
        )
        samples = _samples(recipe, pictures.train, pictures.train_labels)
        rows: list[tuple[int, NDArray[np.float32], dict[str, float]]] = []
        for epoch in range(drawn.checkpoints[-1] + 1):
            if epoch:
                numbers = order(drawn, recipe, len(samples), self.seed, run, epoch)
                trainer.epoch(
                    drawn.spec,
                    state,
                    samples,
                    torch.from_numpy(numbers),
                    descent,
                    seed=int(uniform(Key(self.seed, DROPS, run, epoch), 1)[0] * 2**53),
                    shifts=_shifts(Key(self.seed, SHIFTS, run, epoch), len(numbers)) if recipe.augment else None,
                    mode=self.mode,
                )
            if not state.params.isfinite().all():
                break
            if epoch in drawn.checkpoints:
                figures = score(recipe, drawn.spec, state.params, pictures, self.mode)
                if not np.isfinite(figures).all():
                    break
                rows.append((epoch, state.params.numpy().copy(), dict(zip(FIGURES, figures, strict=True))))
        return checkpoints(run, drawn.spec, drawn.hyperparameters, rows)


def checkpoints(
    number: int,
    spec: NetworkSpec,
    hyperparameters: Mapping[str, Any],
    rows: Sequence[tuple[int, Any, Mapping[str, float]]],
) -> Group:
    """A run out of (epochs, parameters (P,), figures) in any order, without those whose parameters are not finite."""
    rows = sorted((row for row in rows if np.isfinite(row[1]).all()), key=lambda row: row[0])
    epochs = np.array([epoch for epoch, _, _ in rows], np.int64)
    if np.any(np.diff(epochs) < 1) or np.any(epochs < 0):
        raise InputError(f"expected checkpoints of different epochs from 0, got {epochs.tolist()} of run {number}")
    for epoch, _, figures in rows:
        for name, value in figures.items():
            if name.endswith("accuracy") and not (np.isnan(value) or 0 <= value <= 1):
                raise InputError(
                    f"expected {name} as a share from 0 to 1, got {value} after {epoch} epochs of run {number}"
                )
    columns = {name: np.array([figures.get(name, np.nan) for _, _, figures in rows], np.float32) for name in FIGURES}
    params = np.array([params for _, params, _ in rows], np.float32).reshape(len(rows), spec.num_parameters)
    return Group(number, spec, params, {"epoch": epochs, **columns}, hyperparameters)


def begin(drawn: Drawn, seed: int, run: int) -> Tensor:
    """The parameters (P,) that a run starts from."""
    return classifier(drawn.spec, Key(seed, STARTS, run, 0), drawn.scheme, drawn.std).flat[0]


def score(
    recipe: TrainRecipe, spec: NetworkSpec, params: Tensor, pictures: Pictures, mode: trainer.Mode = "auto"
) -> list[float]:
    """`FIGURES` of one network, `params` (P,): loss and accuracy on training pictures, then on test pictures."""
    some = slice(recipe.scored_images)
    parts = ((pictures.train[some], pictures.train_labels[some]), (pictures.test, pictures.test_labels))
    return [figure for part in parts for figure in trainer.score(spec, params, _samples(recipe, *part), mode=mode)]


def _samples(recipe: TrainRecipe, pixels: NDArray[np.uint8], labels: NDArray[np.int64]) -> trainer.Samples:
    return trainer.Samples(torch.from_numpy(pixels), torch.from_numpy(labels), *recipe.normalisation(pixels.shape[1]))


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
    # What cannot be built is refused before anything is written.
    first = recipe.drawn(pictures.image_shape, sets[0].num_classes, seed, 0)
    recipe.normalisation(pictures.image_shape[0])
    chosen = trainer.choose(first.spec, mode, begin(first, seed, 0), torch.from_numpy(pictures.train))
    writer = ZooWriter.open(
        out,
        figures=COLUMNS,
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
    todo = np.setdiff1d(np.arange(runs), writer.done()).tolist()
    shards: Blocks[int, Group] = Blocks(writer, dict.fromkeys(todo, 1), lambda run, groups: writer.add_groups(groups))
    accuracies: list[float] = []  # of the last checkpoints of all runs that did not diverge
    done = 0

    def tell() -> None:
        accuracy = {"test accuracy": float(np.mean(accuracies))} if accuracies else {}
        progress("training", done, len(todo), accuracy)

    with tempfile.TemporaryDirectory() as folder:
        pictures.save(Path(folder))
        results = (workers or Inline()).results(TrainJob(recipe, sets[0].num_classes, seed, folder, mode), todo)
        if todo:
            tell()
        try:
            while done < len(todo) and not should_stop():
                run = next(results)
                accuracies += run.figures["test_accuracy"][-1:].tolist()
                shards.add(run.index, run)
                shards.settle()
                done += 1
                tell()
        finally:
            results.close()
            shards.write()
    return TrainOutcome(done, runs - len(todo), done - len(accuracies), done == len(todo), time.monotonic() - began)
