"""A run of this task: trained, evaluated, asked. Its folder is that of every task (`weightwalk.tasks.runs`).

predictions.safetensors has, of every test network: predicted and true accuracy, zoo row, and run.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.numpy import save

from weightwalk.errors import InputError
from weightwalk.progress import Progress, silent
from weightwalk.spec import NetworkSpec
from weightwalk.tasks.generalization import metrics
from weightwalk.tasks.generalization.config import METHODS, GeneralizationConfig
from weightwalk.tasks.generalization.model import (
    TARGET,
    AccuracyModel,
    AccuracyObjective,
    Data,
    Rows,
    build,
    networks,
    rows_of,
)
from weightwalk.tasks.runs import RunFolder
from weightwalk.training.loop import Outcome
from weightwalk.training.loop import train as train_stage
from weightwalk.training.samplers import batches
from weightwalk.weights import Weights
from weightwalk.zoos.store import Zoo

STAGE = "regress"
_NO_NUMBER = "the weights are not finite or too large, so that the prediction is not a number; leave this network out"


@dataclass(frozen=True)
class Run(RunFolder[GeneralizationConfig]):
    """An opened run folder; its record has the settings of the zoo, and the architectures that it was made for."""

    task = GeneralizationConfig.task
    methods = METHODS
    added = ("zoo", "specs", "networks", "runs")

    @cached_property
    def specs(self) -> tuple[NetworkSpec, ...]:
        """The architectures of the zoo that it was trained on."""
        return tuple(NetworkSpec.from_dict(value) for value in self.record["specs"])

    def build(self, device: torch.device) -> AccuracyModel:
        """The model with fresh parameters."""
        return build(self.config, self.specs, device)

    def load(self, device: torch.device) -> AccuracyModel:
        """The model with the parameters that validated best, ready for use."""
        model = self.build(device)
        self.restore({STAGE: model})
        return model


def train(
    config: GeneralizationConfig,
    zoo: Zoo,
    out: Path,
    *,
    device: torch.device,
    progress: Progress = silent,
    should_stop: Callable[[], bool] = lambda: False,
) -> dict[str, Outcome]:
    """Train on the zoo's training networks, from where the run in `out` stands.

    The encoder's `prepare` sees the training networks first, in every call alike, so a resumed run is the uninterrupted
    one. InputError if `out` was made with other settings or another zoo (the differences are named), or if the zoo is
    of another kind.
    """
    if zoo.kind != config.kind:
        raise InputError(
            f"recipe {config.recipe} reads a zoo of the kind {config.kind}, got one of {zoo.kind}; "
            f"choose a recipe of that kind, or add --set kind={zoo.kind}"
        )
    data = Data(zoo, rows_of(zoo, "train", config.checkpoints), rows_of(zoo, "val", config.checkpoints), device)
    for split, rows in (("training", data.train), ("validation", data.val)):
        if not len(rows) or np.ptp(zoo.column(TARGET)[rows]) == 0:
            got = f"{len(rows)} of one accuracy" if len(rows) > 1 else len(rows)
            raise InputError(
                f"expected {split} networks of different test accuracy in {zoo.path}, got {got}; add runs to the zoo"
            )
    added = {
        "zoo": zoo.settings,
        "specs": [spec.to_dict() for spec in zoo.specs],
        "networks": {"train": len(data.train), "val": len(data.val)},
        "runs": {
            name: len(np.unique(zoo.column("group")[rows])) for name, rows in (("train", data.train), ("val", data.val))
        },
    }
    model = build(config, zoo.specs, device)
    run = Run.open_or_create(Path(out), config, added, zoo.path, device)
    model.encoder.prepare(networks(data, data.train))
    objective = AccuracyObjective(model, data, config.loss)
    outcome = train_stage(
        objective,
        config.regress,
        run.path / STAGE,
        seed=config.seed,
        label=STAGE,
        progress=progress,
        should_stop=should_stop,
    )
    return {STAGE: outcome}


@torch.no_grad()
def predict_rows(
    model: AccuracyModel, zoo: Zoo, rows: Rows, progress: Progress = silent, label: str = "reading"
) -> NDArray[Any]:
    """Predicted accuracies (n,) float32 of rows of a zoo; InputError for a network whose weights give no number."""
    device, found, done = next(model.parameters()).device, [np.empty(0, np.float32)], 0
    for part in batches(rows):
        found.append(model.head(model.encode(zoo, part, device)).sigmoid().cpu().numpy())
        done += len(part)
        progress(label, done, len(rows), {})
    predicted = np.concatenate(found)
    if not np.isfinite(predicted).all():
        raise InputError(f"{zoo.path}, {zoo.names(rows[~np.isfinite(predicted)])[0]}: {_NO_NUMBER}")
    return predicted


@torch.no_grad()
def predict(model: AccuracyModel, batch: Sequence[Weights]) -> list[float]:
    """Predicted accuracies of any networks that the model reads, one after another.

    InputError for others, and for weights that give no number.
    """
    for weights in batch:
        model.check(weights.spec)
    device = next(model.parameters()).device
    values: list[float] = model([weights.to(device) for weights in batch]).sigmoid().tolist()
    if not np.isfinite(values).all():
        raise InputError(_NO_NUMBER)
    return values


def evaluate(run: Run, zoo: Zoo, *, device: torch.device, progress: Progress = silent) -> dict[str, Any]:
    """Metrics of the trained run on the zoo's validation and test networks; kept with the run and returned.

    InputError for a zoo of networks that the run cannot read, or without test networks.
    """
    model = run.load(device)
    which = run.config.checkpoints
    val, test = (rows_of(zoo, split, which) for split in ("val", "test"))
    if len(test) < 2 or np.ptp(zoo.column(TARGET)[test]) == 0:
        raise InputError(
            f"expected test networks of different test accuracy in {zoo.path}, found {len(test)}; add runs to the zoo"
        )
    check_zoo(model, zoo)
    true = zoo.column(TARGET)
    predicted = {
        "val": predict_rows(model, zoo, val, progress, "validation split"),
        "test": predict_rows(model, zoo, test, progress, "test split"),
    }
    runs = zoo.column("group")
    evaluation = {
        "test": metrics.figures(predicted["test"], true[test]),
        "tau_interval": metrics.tau_interval(predicted["test"], true[test], runs[test]),
        "val": metrics.figures_or_none(predicted["val"], true[val]),
        "groups": metrics.by_group(zoo, test, predicted["test"], true[test]),
        "networks": {"train": run.record["networks"]["train"], "val": len(val), "test": len(test)},
        "runs": {
            "train": run.record["runs"]["train"],
            **{name: len(np.unique(runs[rows])) for name, rows in (("val", val), ("test", test))},
        },
        "architectures": len(zoo.specs),
        "access": "weights",
        "num_parameters": sum(p.numel() for p in model.parameters()),
        "seconds": {name: rows[-1]["seconds"] for name, rows in run.logs().items() if rows},
        "zoo_path": str(zoo.path.resolve()),
    }
    arrays = {"predicted": predicted["test"], "true": true[test].astype(np.float32), "rows": test, "runs": runs[test]}
    content = save({name: np.ascontiguousarray(array) for name, array in arrays.items()})
    run.keep(zoo.settings, evaluation, content)
    return evaluation


def check_zoo(model: AccuracyModel, zoo: Zoo) -> None:
    """InputError if the model cannot read one of the zoo's architectures."""
    for spec in zoo.specs:
        model.check(spec)
