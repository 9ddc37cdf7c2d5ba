"""Predict how good trained networks are from their weights: test accuracy, from a zoo of trained networks."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from weightwalk.errors import InputError
from weightwalk.frameworks.answers import Answer, Share
from weightwalk.heads import HeadConfig
from weightwalk.report.words import shell
from weightwalk.tasks.base import Goal, Task, known, register
from weightwalk.tasks.config import RunConfig
from weightwalk.tasks.generalization import metrics
from weightwalk.tasks.stages import Rows
from weightwalk.training.stage import StageConfig
from weightwalk.zoos.store import Zoo

if TYPE_CHECKING:
    from weightwalk.tasks.pages import Evaluated, Page
    from weightwalk.tasks.runs import Evaluation

NAME = "generalization"
TARGET = "test_accuracy"


@dataclass(frozen=True)
class GeneralizationConfig(RunConfig):
    """An encoder and a head, trained together on the test accuracy of a zoo's networks.

    `kind` is that of the zoos that the recipe was made for. `checkpoints`: all of every run, or each run's last alone.
    `loss`: binary cross-entropy against the accuracy (its minimum is the accuracy's mean, as for a label of 0 or 1), or
    mean squared error.
    """

    task: ClassVar[str] = NAME
    head: HeadConfig
    kind: str
    checkpoints: Literal["all", "last"]
    loss: Literal["bce", "mse"]
    regress: StageConfig

    @property
    def reads(self) -> str:
        return self.kind


@register(NAME)
class Generalization(Task[GeneralizationConfig]):
    """From the weights of a trained network to how good it is."""

    methods: ClassVar = {GeneralizationConfig.method: GeneralizationConfig}

    def default_zoo(self, config: GeneralizationConfig) -> Path:
        """The one that `weightwalk zoo KIND` makes."""
        return Path("zoos") / f"cifar10-{config.kind}"

    def how_to_make(self, config: GeneralizationConfig, path: Path) -> str:
        return shell("zoo", config.kind, "--root", "DIR", "--out", path)

    def check_zoo(self, config: GeneralizationConfig, zoo: Zoo) -> None:
        if zoo.kind != config.kind:
            remedy = "" if zoo.kind == "inr" else f", or add --set kind={zoo.kind}"
            raise InputError(
                f"recipe {config.recipe} reads a zoo of the kind {config.kind}, got one of {zoo.kind}; "
                f"choose a recipe of that kind{remedy}"
            )

    def rows(self, config: GeneralizationConfig, zoo: Zoo, split: str) -> Rows:
        """Those whose accuracy is known: of all checkpoints, or of the last of every run for which it is."""
        rows: Rows = zoo.rows(split)
        rows = known(zoo, rows, self.target(zoo, rows))
        runs = zoo.groups[rows]
        return rows[np.append(runs[1:] != runs[:-1], True)] if config.checkpoints == "last" and len(rows) else rows

    def answer(self, zoo: Zoo, train: Rows) -> Answer:
        return Share(of="test accuracy")

    def target(self, zoo: Zoo, rows: Rows) -> Tensor:
        """The test accuracy."""
        return torch.from_numpy(zoo.column(TARGET)[rows].astype(np.float32))

    def goal(self, config: GeneralizationConfig, answer: Answer) -> Goal:
        kind = config.loss
        return Goal(lambda outputs, target: share_loss(outputs, target, kind), "val_tau", maximise=True)

    def figures(self, values: Tensor, target: Tensor) -> dict[str, float]:
        """tau, R2 and the mean absolute error."""
        return metrics.figures(values.cpu().numpy(), target.cpu().numpy())

    def details(self, zoo: Zoo, rows: Rows, values: Tensor, target: Tensor) -> dict[str, Any]:
        """tau's interval, the largest tau that ties allow, and figures group by group."""
        predicted, true = values.numpy(), target.numpy()
        return {
            "tau_interval": metrics.tau_interval(predicted, true, zoo.groups[rows]),
            "tau_max": metrics.tau_max(true) if len(true) > 1 else None,
            "groups": metrics.by_group(zoo, rows, predicted, true),
        }

    def headline(self, found: Evaluation) -> str:
        tau, r2 = (_number(found.test[name], 3) for name in ("tau", "r2"))
        return f"Kendall's tau {tau}, R2 {r2} on {found.networks['test']:,} test networks"

    def facts(self, found: Evaluation) -> dict[str, object]:
        mae = found.test["mae"]
        return {
            "Kendall's tau": _number(found.test["tau"]),
            "the largest tau that ties of the true accuracies allow": _number(found.details.get("tau_max")),
            "if other runs had been drawn": metrics.between(found.details["tau_interval"]),
            "R2": _number(found.test["r2"]),
            "mean absolute error": "" if mae is None else f"{100 * mae:.2f} points of accuracy",
            "Kendall's tau, validation": _number(found.val.get("tau")),
        }

    def page(self, evaluated: Evaluated) -> Page:
        from weightwalk.tasks.generalization.report import page  # draws, which training need not load

        return page(evaluated)


def share_loss(logits: Tensor, true: Tensor, kind: Literal["bce", "mse"]) -> Tensor:
    """Binary cross-entropy of predictions sigmoid(logits (B, 1)) against shares (B,) in [0, 1], or their mean squared
    error.
    """
    logits = logits.squeeze(1)
    return F.binary_cross_entropy_with_logits(logits, true) if kind == "bce" else F.mse_loss(logits.sigmoid(), true)


def _number(value: float | None, digits: int = 4) -> str:
    return "" if value is None else f"{value:.{digits}f}"
