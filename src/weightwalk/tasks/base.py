"""What a task is: a target of networks, the loss and figures of it, and the words of its report; registered by name.

Data, stages, training, prediction, evaluation, folders and commands are written once, in `supervised`, `stages`, `runs`
and `pages`. To add a task, write a subclass under `@register("name")`, a configuration for each of its methods,
and a recipe that gives one.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypedDict, TypeVar

import numpy as np
import torch
from torch import Tensor

from weightwalk import config as configs
from weightwalk import files
from weightwalk.errors import InputError
from weightwalk.frameworks.answers import Answer
from weightwalk.frameworks.pretrained import Model
from weightwalk.frameworks.pretraining import Pretraining
from weightwalk.frameworks.reader import Reader
from weightwalk.registry import Registry, unknown
from weightwalk.report.words import shell
from weightwalk.tasks.config import DatasetConfig, RunConfig
from weightwalk.tasks.stages import Data, Rows, Stage
from weightwalk.training.stage import StageConfig
from weightwalk.weights import Weights
from weightwalk.zoos.inr.pixels import to_unit
from weightwalk.zoos.store import Zoo

if TYPE_CHECKING:
    from weightwalk.tasks.pages import Evaluated, Page
    from weightwalk.tasks.runs import Evaluation

C = TypeVar("C", bound=RunConfig)
T = TypeVar("T", bound="type[Task[Any]]")


@dataclass(frozen=True)
class Goal:
    """What a stage of training aims at: a loss of outputs and targets, and figures (of `val_...`) that choose the
    checkpoint.
    """

    loss: Callable[[Tensor, Tensor], Tensor]
    monitor: str
    maximise: bool


class Task(ABC, Generic[C]):
    """A task, for its configurations C: `methods` by the name of the method."""

    name: ClassVar[str]
    methods: ClassVar[Mapping[str, type[Any]]]
    networks: ClassVar[str] = "networks"
    """What the networks are called that it reads."""
    keeps_features: ClassVar[bool] = False
    """Whether the encodings of test networks are kept, for a map of them."""

    def of(self, settings: C | Answer) -> Task[C]:
        """The task under the settings of a configuration, or of what a model answers; itself where it has none."""
        return self

    # ---------------------------------------------------------------- which networks

    @abstractmethod
    def how_to_make(self, config: C, path: Path) -> str:
        """The command that makes a zoo at `path` which `config` can read."""

    def default_zoo(self, config: C) -> Path:
        """Where the zoo lies that `config` reads, if nobody says otherwise."""
        return Path("zoos") / config.reads

    @abstractmethod
    def check_zoo(self, config: C, zoo: Zoo) -> None:
        """InputError for a zoo that `config` is not meant to be trained on."""

    @abstractmethod
    def rows(self, config: C, zoo: Zoo, split: str) -> Rows:
        """The networks of a split that count."""

    def how_to_ask(self, run: Path, zoo: Path) -> str:
        """The command that makes use of a trained run."""
        return shell("predict", run, zoo)

    # ---------------------------------------------------------------- what is told of them

    @abstractmethod
    def answer(self, zoo: Zoo, train: Rows) -> Answer:
        """What the reader's outputs mean; `train` are the training networks."""

    @abstractmethod
    def target(self, zoo: Zoo, rows: Rows) -> Tensor:
        """What is true of networks: (n,) int64 or float32, NaN where not known; or pictures (n, C, H, W) uint8."""

    @abstractmethod
    def goal(self, config: C, answer: Answer) -> Goal:
        """What the last stage aims at."""

    @abstractmethod
    def figures(self, values: Tensor, target: Tensor) -> dict[str, float]:
        """How good `values` (`Answer.values`) are; NaN where that can't be told."""

    def details(self, zoo: Zoo, rows: Rows, values: Tensor, target: Tensor) -> dict[str, Any]:
        """What an evaluation says beside the figures, as JSON values."""
        return {}

    # ---------------------------------------------------------------- its words

    @abstractmethod
    def headline(self, found: Evaluation) -> str:
        """An evaluation in half a sentence."""

    @abstractmethod
    def facts(self, found: Evaluation) -> dict[str, object]:
        """An evaluation's figures by name, in words."""

    @abstractmethod
    def page(self, evaluated: Evaluated) -> Page:
        """What the report says that is the task's own."""

    # ---------------------------------------------------------------- stages

    def stages(self, config: C, reader: Model, answer: Answer, data: Data) -> tuple[Stage, ...]:
        """In the order of training: of a reader with a pretext task that one, then the head; else all of the reader."""
        goal, (*first, (name, last)) = self.goal(config, answer), config.stages.items()
        zoo, encoder = data.zoo, reader.encoder
        assert isinstance(reader, Reader), "a task whose models have no head has stages of its own"
        stages: list[Stage] = []
        if isinstance(encoder, Pretraining):
            stages += [pretraining(*stage, encoder, config, data) for stage in first]
        stages.append(
            Stage(
                name,
                last,
                reader,
                target=lambda rows: self.target(zoo, rows),
                loss=goal.loss,
                figures=lambda outputs, target: self.figures(answer.values(outputs.double()), target),
                monitor=goal.monitor,
                maximise=goal.maximise,
                frozen=isinstance(encoder, Pretraining),
                samples=encoder.encoding_shape[0] if getattr(reader.head, "averages", False) else 1,
            )
        )
        return tuple(stages)


@dataclass(frozen=True)
class _Shown:
    """Rows of a zoo, as pretext tasks ask about them."""

    data: Data
    rows: Rows

    def networks(self) -> Weights | list[Weights]:
        return self.data.networks(self.rows)

    def pictures(self) -> Tensor:
        return to_unit(self.data.zoo.images(self.rows).to(self.data.device))


def pretraining(name: str, stage: StageConfig, model: Pretraining, config: RunConfig, data: Data) -> Stage:
    """Say what the pretext task wants of every network, INR2JLS for example the picture behind it under every view; the
    loss is the mean squared error.
    """
    pretext = config.pretext
    assert pretext is not None

    def wanted(rows: Rows, training: bool) -> Tensor:
        return pretext.wanted(model, _Shown(data, rows), training)

    return Stage(
        name,
        stage,
        model,
        target=partial(wanted, training=False),
        trained_target=partial(wanted, training=True),
        loss=torch.nn.functional.mse_loss,
    )


class INRTask(Task[C]):
    """A task about INRs."""

    networks = "INRs"

    def how_to_make(self, config: C, path: Path) -> str:
        return shell("fit", config.reads, *([] if config.reads == "digits" else ["--root", "DIR"]), "--out", path)

    def check_zoo(self, config: C, zoo: Zoo) -> None:
        if zoo.kind != "inr" or zoo.settings["dataset"] != config.reads:
            got = zoo.settings["dataset"] if zoo.kind == "inr" else f"networks of the kind {zoo.kind}"
            remedy = f", or add --set dataset={got}" if zoo.kind == "inr" else ""
            raise InputError(
                f"recipe {config.recipe} reads a zoo of {config.reads}, got one of {got}; choose a recipe of that data "
                f"set{remedy}"
            )

    def rows(self, config: C, zoo: Zoo, split: str) -> Rows:
        """Of the training images as many fits as the configuration says, of the others one."""
        assert isinstance(config, DatasetConfig)
        rows: Rows = zoo.rows(split, config.fits if split == "train" else 1)
        return rows


TASKS: Registry[Task[Any]] = Registry("task")


def register(name: str) -> Callable[[T], T]:
    """Makes a task of a subclass of `Task`, of that name: `@register("mine")`."""

    def add(kind: T) -> T:
        kind.name = name
        TASKS.register(name)(kind())
        return kind

    return add


def known(zoo: Zoo, rows: Rows, target: Tensor) -> Rows:
    """Those of `rows` whose target is known."""
    found: Rows = rows[np.isfinite(target.numpy())]
    return found


class Described(TypedDict):
    """A configuration in a file: `weightwalk recipes NAME --json` writes one, and every run.json holds one."""

    task: str
    method: str
    config: dict[str, Any]


def described(config: RunConfig) -> Described:
    """A configuration as a file holds it."""
    return {"task": config.task, "method": config.method, "config": configs.to_dict(config)}


def parse_config(value: Any, where: str) -> RunConfig:
    """The configuration in JSON values; InputError, which begins with `where`, if it is none, or one of values that
    cannot be.
    """
    told = configs.typed(Described, value, where)
    try:
        methods = TASKS[told["task"]].methods
        if told["method"] not in methods:
            raise InputError(unknown("method", told["method"], list(methods)))
        config: RunConfig = configs.from_dict(methods[told["method"]], told["config"])
    except InputError as error:
        raise InputError(f"{where}: {error}") from None
    return config


def read_config(path: Path) -> RunConfig:
    """The configuration in a file."""
    return parse_config(files.read_json(path, "a configuration"), str(path))
