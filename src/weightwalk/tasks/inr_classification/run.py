"""A run of this task: trained, evaluated, asked. Its folder is that of every task (`weightwalk.tasks.runs`).

predictions.safetensors has, of every test network: probabilities, label, zoo row, features.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save
from torch import Tensor

from weightwalk.errors import InputError
from weightwalk.progress import Progress, silent
from weightwalk.spec import NetworkSpec
from weightwalk.tasks.inr_classification.config import METHODS, Common, RunConfig
from weightwalk.tasks.inr_classification.methods import Data, Method, build
from weightwalk.tasks.runs import RunFolder
from weightwalk.training.loop import Outcome
from weightwalk.training.loop import train as train_stage
from weightwalk.training.samplers import batches
from weightwalk.weights import Weights
from weightwalk.zoos.store import Zoo


@dataclass(frozen=True)
class Run(RunFolder[RunConfig]):
    """An opened run folder."""

    task = Common.task
    methods = METHODS
    added = ("zoo", "label_names")

    @property
    def spec(self) -> NetworkSpec:
        """Of the networks that it reads."""
        return NetworkSpec.from_dict(self.record["zoo"]["spec"])

    @property
    def image_shape(self) -> tuple[int, ...]:
        """(C, *grid) of what its networks were fitted to."""
        return tuple(self.record["zoo"]["image_shape"])

    @property
    def label_names(self) -> tuple[str, ...]:
        return tuple(self.record["label_names"])

    def build(self, device: torch.device) -> Method:
        """The method with fresh parameters."""
        return build(self.config, self.spec, self.image_shape, len(self.label_names), device)

    def load(self, device: torch.device) -> Method:
        """The method with the best parameters of every stage, ready for use."""
        method = self.build(device)
        self.restore(method.modules)
        return method


def train(
    config: RunConfig,
    zoo: Zoo,
    out: Path,
    *,
    device: torch.device,
    progress: Progress = silent,
    should_stop: Callable[[], bool] = lambda: False,
) -> dict[str, Outcome]:
    """Train every stage of `config` on `zoo`, from where the run in `out` stands; the outcomes by stage, fewer if it
    was stopped.

    InputError if `out` was made with other settings or another zoo (the differences are named), or if the zoo is of
    another data set.
    """
    if zoo.settings["dataset"] != config.dataset:
        raise InputError(
            f"recipe {config.recipe} reads a zoo of {config.dataset}, got one of {zoo.settings['dataset']}; "
            f"choose a recipe of that data set, or add --set dataset={zoo.settings['dataset']}"
        )
    data = Data(zoo, zoo.rows("train", config.fits), zoo.rows("val", 1), device)
    if not len(data.train) or not len(data.val):
        raise InputError(
            f"expected training and validation networks in {zoo.path}, got {len(data.train)} and {len(data.val)}; "
            "fit more with --split train"
        )
    added = {
        "zoo": zoo.settings,
        "label_names": list(zoo.label_names),
        "networks": {"train": len(data.train), "val": len(data.val)},
    }
    run = Run.open_or_create(Path(out), config, added, zoo.path, device)
    method = run.build(device)
    outcomes = {}
    for stage in method.stages:
        objective = stage.objective(data)
        outcome = train_stage(
            objective,
            stage.config,
            run.path / stage.name,
            seed=config.seed,
            label=stage.name,
            progress=progress,
            should_stop=should_stop,
        )
        outcomes[stage.name] = outcome
        if not outcome.finished:
            break
    return outcomes


@torch.no_grad()
def predict(
    method: Method, data: Data, rows: NDArray[np.int64], progress: Progress = silent, label: str = "evaluating"
) -> dict[str, Tensor]:
    """Probabilities (n, K) and features (n, D) of rows of a zoo, on the CPU."""
    probabilities, features, done = [], [], 0
    for part in batches(rows):
        weights = data.weights(part)
        probabilities.append(method.logits(weights).softmax(1).cpu())
        features.append(method.features(weights).cpu())
        done += len(part)
        progress(label, done, len(rows), {})
    return {"probabilities": torch.cat(probabilities), "features": torch.cat(features)}


def evaluate(run: Run, zoo: Zoo, *, device: torch.device, progress: Progress = silent) -> dict[str, Any]:
    """Metrics of the trained run on the zoo's validation and test networks; kept with the run and returned.

    One network per image (fit 0). InputError for a zoo of other networks than the run reads, or without test networks.
    """
    check_zoo(run, zoo)
    method = run.load(device)
    data = Data(zoo, zoo.rows("train", run.config.fits), zoo.rows("val", 1), device)
    test = zoo.rows("test", 1)
    if not len(test):
        raise InputError(
            f"expected test networks in {zoo.path}, found none; add them with `weightwalk fit ... --split test`"
        )
    val_answer = predict(method, data, data.val, progress, "validation split")
    answer = predict(method, data, test, progress, "test split")
    labels, predicted = zoo.labels[test], answer["probabilities"].argmax(1).numpy()
    num_classes = len(run.label_names)
    confusion = np.zeros((num_classes, num_classes), np.int64)
    np.add.at(confusion, (labels, predicted), 1)
    evaluation = {
        "test_accuracy": float((predicted == labels).mean()),
        "val_accuracy": float((val_answer["probabilities"].argmax(1).numpy() == zoo.labels[data.val]).mean()),
        "networks": {"train": len(data.train), "val": len(data.val), "test": len(test)},
        "access": "weights",
        "init": zoo.settings["init"],
        "num_parameters": {
            name: sum(p.numel() for p in module.parameters()) for name, module in method.modules.items()
        },
        "seconds": {name: rows[-1]["seconds"] for name, rows in run.logs().items() if rows},
        "confusion": confusion.tolist(),
        "zoo_path": str(zoo.path.resolve()),
    }
    tensors = {**answer, "labels": torch.from_numpy(labels.copy()), "rows": torch.from_numpy(test)}
    run.keep(zoo.settings, evaluation, save({name: tensor.contiguous() for name, tensor in tensors.items()}))
    return evaluation


def check_zoo(run: Run, zoo: Zoo) -> None:
    """InputError if the zoo's networks or labels are not what the run was trained on; other starts or recipes of
    fitting are allowed.
    """
    if zoo.spec != run.spec:
        raise InputError(
            f"the run {run.path} reads networks {run.spec}, got a zoo of {zoo.spec} at {zoo.path}; use a zoo of that "
            "shape"
        )
    if tuple(zoo.label_names) != run.label_names:
        raise InputError(
            f"the run {run.path} knows the classes {', '.join(run.label_names)}, the zoo {zoo.path} has "
            f"{', '.join(zoo.label_names)}; "
            "use a zoo of the same data set"
        )


@torch.no_grad()
def classify(run: Run, weights: Weights, device: torch.device) -> Tensor:
    """Class probabilities (B, K) of any networks of the run's architecture, on the CPU."""
    method = run.load(device)
    rows = np.arange(len(weights))
    return torch.cat([method.logits(weights[part.tolist()].to(device)).softmax(1).cpu() for part in batches(rows)])
