"""What a task is to the command line: open a zoo, train on it, evaluate, report. One object per task, under its name.

A run's folder and a recipe both say which task they are of, so `train`, `evaluate` and `report` ask `TASKS` and know no
task.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Generic, Protocol, TypedDict, TypeVar

import torch

from weightwalk import config as configs
from weightwalk import files
from weightwalk.encoders import EncoderConfig
from weightwalk.errors import InputError
from weightwalk.progress import Progress
from weightwalk.registry import Registry, unknown
from weightwalk.tasks.runs import RunFolder
from weightwalk.training.loop import Outcome

C = TypeVar("C", bound="RunConfig")
R = TypeVar("R", bound=RunFolder[Any])
Z = TypeVar("Z", bound="AnyZoo")


class RunConfig(Protocol):
    """What the configurations of all tasks have: a frozen dataclass."""

    task: ClassVar[str]
    method: ClassVar[str]

    @property
    def recipe(self) -> str: ...
    @property
    def encoder(self) -> EncoderConfig: ...
    @property
    def seed(self) -> int: ...
    @property
    def reads(self) -> str:
        """Which zoos, in a word: a data set, or a kind of trained networks."""
        ...


class AnyZoo(Protocol):
    """What the zoos of all tasks have."""

    path: Path


@dataclass(frozen=True)
class Summary:
    """An evaluation in words: one line, a few facts by name, and what to type next, beside `report`."""

    line: str
    facts: Mapping[str, object]
    next_steps: tuple[str, ...]


class Task(ABC, Generic[C, Z, R]):
    """A task, for its configuration C, zoo Z and run R. `run_class` opens its runs."""

    name: ClassVar[str]
    run_class: type[R]

    def default_zoo(self, config: C) -> Path:
        """Where the zoo lies that `config` reads, if nobody says otherwise."""
        return Path("zoos") / config.reads

    @abstractmethod
    def how_to_make(self, config: C, path: Path) -> str:
        """The command that makes a zoo at `path` which `config` can read."""

    @abstractmethod
    def open_zoo(self, path: Path) -> Z:
        """The zoo at `path`; InputError if it is none of this task's."""

    @abstractmethod
    def train(
        self, config: C, zoo: Z, out: Path, *, device: torch.device, progress: Progress, should_stop: Callable[[], bool]
    ) -> dict[str, Outcome]:
        """Train every stage, from where the run in `out` stands; the outcomes by stage."""

    @abstractmethod
    def evaluate(self, run: R, zoo: Z, *, device: torch.device, progress: Progress) -> dict[str, Any]:
        """Metrics on networks that were never trained on, kept with the run."""

    @abstractmethod
    def summary(self, run: R, zoo: Z, found: Mapping[str, Any]) -> Summary:
        """What `evaluate` found, for people."""

    @abstractmethod
    def report(self, run: R, zoo: Z, path: Path, extra_times: Mapping[str, float]) -> Path:
        """The run as one HTML file; `extra_times` are seconds of work outside the run, by name."""


TASKS: Registry[Task[Any, Any, Any]] = Registry("task")


class Described(TypedDict):
    """A configuration in a file: `weightwalk recipes NAME --json` writes one, and every run.json holds one."""

    task: str
    method: str
    config: dict[str, Any]


def described(config: RunConfig) -> Described:
    """A configuration as a file holds it."""
    return {"task": config.task, "method": config.method, "config": configs.to_dict(config)}


def read_config(path: Path) -> RunConfig:
    """The configuration in a file; InputError if it is none, or one of values that cannot be."""
    value: Described = configs.typed(Described, files.read_json(path, "a configuration"), str(path))
    methods = TASKS[value["task"]].run_class.methods
    if value["method"] not in methods:
        raise InputError(f"{path}: {unknown('method', value['method'], list(methods))}")
    try:
        config: RunConfig = configs.from_dict(methods[value["method"]], value["config"])
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    return config


def task_of(run: Path) -> Task[Any, Any, Any]:
    """The task of the run in a folder; InputError if it is none."""
    record = files.read_json(Path(run) / "run.json", "a run's description")
    name = record.get("task") if isinstance(record, dict) else None
    if not isinstance(name, str) or name not in TASKS:
        raise InputError(
            f"expected a run of one of the tasks {', '.join(TASKS)} at {run}, got another description; check the path"
        )
    return TASKS[name]
