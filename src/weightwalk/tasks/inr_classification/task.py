"""Classify INRs: from the weights of a network that holds a picture to what the picture shows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from weightwalk.errors import InputError
from weightwalk.frameworks.answers import Answer, Classes
from weightwalk.frameworks.inr2jls import LatentSizes
from weightwalk.frameworks.inr_inr import WeightSizes
from weightwalk.frameworks.no_generator import ChannelSizes
from weightwalk.frameworks.pretraining import Pretext
from weightwalk.report.words import percent
from weightwalk.tasks.base import Goal, INRTask, register
from weightwalk.tasks.config import INRConfig
from weightwalk.tasks.stages import Rows
from weightwalk.training.stage import StageConfig
from weightwalk.zoos.store import Zoo

if TYPE_CHECKING:
    from weightwalk.tasks.pages import Evaluated, Page
    from weightwalk.tasks.runs import Evaluation

NAME = "inr_classification"


@dataclass(frozen=True)
class EncoderOnlyConfig(INRConfig):
    """An encoder and a head, trained together on labels."""

    task: ClassVar[str] = NAME
    classify: StageConfig


@dataclass(frozen=True)
class PretextConfig(INRConfig):
    """An encoder is trained on a pretext task, with what the task puts behind it; then a head on what is frozen."""

    task: ClassVar[str] = NAME
    latents: Pretext
    pretrain: StageConfig
    classify: StageConfig


@dataclass(frozen=True)
class INR2JLSConfig(PretextConfig):
    """INR2JLS: pre-train encoder, latent generator and decoder on pictures; then a head on the frozen latents."""

    method: ClassVar[str] = "inr2jls"
    latents: LatentSizes


@dataclass(frozen=True)
class INRINRConfig(PretextConfig):
    """INR-INR: pre-train on the weights instead of pictures; then a head on the frozen latents."""

    method: ClassVar[str] = "inr_inr"
    latents: WeightSizes


@dataclass(frozen=True)
class NoGeneratorConfig(PretextConfig):
    """Without the latent generator: pre-train on pictures; then a head on the frozen encoding."""

    method: ClassVar[str] = "no_generator"
    latents: ChannelSizes


@register(NAME)
class INRClassification(INRTask[INRConfig]):
    """Which class the picture behind an INR is of."""

    methods: ClassVar = {
        config.method: config for config in (INR2JLSConfig, EncoderOnlyConfig, INRINRConfig, NoGeneratorConfig)
    }
    keeps_features = True

    def answer(self, zoo: Zoo, train: Rows) -> Answer:
        if not zoo.label_names:
            raise InputError(f"expected a zoo of labelled signals, got {zoo.path} without classes; fit labelled ones")
        return Classes(labels=tuple(zoo.label_names))

    def target(self, zoo: Zoo, rows: Rows) -> Tensor:
        """The number of the class."""
        return torch.from_numpy(zoo.labels[rows])

    def goal(self, config: INRConfig, answer: Answer) -> Goal:
        return Goal(F.cross_entropy, "val_accuracy", maximise=True)

    def figures(self, values: Tensor, target: Tensor) -> dict[str, float]:
        """The accuracy."""
        return {"accuracy": float((values.argmax(1) == target).double().mean())}

    def details(self, zoo: Zoo, rows: Rows, values: Tensor, target: Tensor) -> dict[str, Any]:
        """Counts by true class and predicted class, and how the INRs started."""
        return {"confusion": confusion(values, target).tolist(), "init": zoo.settings.get("init")}

    def headline(self, found: Evaluation) -> str:
        return f"{percent(found.test['accuracy'] or 0.0)} of {found.networks['test']:,} test INRs right"

    def facts(self, found: Evaluation) -> dict[str, object]:
        val = found.val.get("accuracy")
        return {
            "test accuracy": percent(found.test["accuracy"] or 0.0),
            "validation accuracy": "" if val is None else percent(val),
            "init of the INRs": found.details["init"],
        }

    def page(self, evaluated: Evaluated) -> Page:
        from weightwalk.tasks.inr_classification.report import page  # draws, which training need not load

        return page(evaluated)


def confusion(values: Tensor, target: Tensor) -> Tensor:
    """(K, K) counts of networks by true and predicted class."""
    num_classes = values.shape[1]
    pairs = target * num_classes + values.argmax(1)
    return torch.bincount(pairs, minlength=num_classes**2).reshape(num_classes, num_classes)
