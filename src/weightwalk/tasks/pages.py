"""A run as one page: what the reports of all tasks have, around the sections that are a task's own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from weightwalk import config as configs
from weightwalk.report import html, plots
from weightwalk.report.words import duration
from weightwalk.tasks.base import TASKS
from weightwalk.tasks.runs import Answers, Evaluation, Run
from weightwalk.zoos.store import Zoo

_ACCESS = {"weights": "they are never evaluated", "query": "they are evaluated on points of the encoder's choice"}


def access(found: Evaluation) -> str:
    """What was taken of the networks, in words."""
    return f"{found.access}: {_ACCESS[found.access]}"


def counts(of: Mapping[str, int]) -> str:
    """`84 train, 6 val, 12 test`."""
    return ", ".join(f"{count:,} {name}" for name, count in of.items())


@dataclass(frozen=True)
class Evaluated:
    """A run, the zoo that it was evaluated on, and its answers about the test networks."""

    run: Run
    zoo: Zoo
    found: Evaluation
    answers: Answers

    @classmethod
    def of(cls, run: Run, zoo: Zoo) -> Evaluated:
        """InputError for a run that was not evaluated, or not on this zoo."""
        task = TASKS[run.config.task].of(run.config)
        found, answers = run.evaluation(zoo), run.answers(zoo, lambda rows: task.target(zoo, rows).numpy())
        figures = task.figures(torch.from_numpy(answers.values), torch.from_numpy(answers.true))
        return cls(run, zoo, replace(found, test=dict(figures)), answers)  # of what is shown, not of what a file says

    @cached_property
    def values(self) -> Tensor:
        """What was said of every test network: (n, ...)."""
        return torch.from_numpy(self.answers.values)

    @cached_property
    def target(self) -> Tensor:
        """What is true of them: (n,)."""
        return torch.from_numpy(self.answers.true)


@dataclass(frozen=True)
class Page:
    """What a task says: the title, what it is about, figures to begin with, sections, and what its stages do, in
    words.
    """

    title: str
    lead: str
    key_figures: Mapping[str, str]
    sections: Mapping[str, list[html.Block]]
    stages: Mapping[str, str]


def write(run: Run, zoo: Zoo, path: Path, extra_times: Mapping[str, float] | None = None) -> Path:
    """The report of an evaluated run, as one HTML file at `path`; `extra_times` are seconds of work outside the run, by
    name.

    InputError for a run that was not evaluated, or not on this zoo.
    """
    evaluated, path, task = Evaluated.of(run, zoo), Path(path), TASKS[run.config.task]
    found, page = evaluated.found, task.page(evaluated)
    times = {**(extra_times or {}), **{f"train: {stage}": seconds for stage, seconds in found.seconds.items()}}
    key = {
        **page.key_figures,
        "trained parameters": f"{sum(found.num_parameters.values()):,}",
        "in all" if extra_times else "training": f"{sum(times.values()) / 60:.1f} min",
    }
    html.write(
        path,
        page.title,
        page.lead,
        [
            html.Section("", [html.KeyFigures(key)]),
            *(html.Section(title, blocks) for title, blocks in page.sections.items()),
            html.Section("Training", curves(run, page.stages)),
            html.Section("What was run", conditions(evaluated)),
            html.Section("How long it took", [durations(run, times)]),
        ],
    )
    return path


def curves(run: Run, titles: Mapping[str, str]) -> list[html.Block]:
    """Per stage a picture of its log; `titles` say in words what a stage does."""
    blocks: list[html.Block] = []
    for stage, log in run.logs().items():
        quantities = [key for key in (log[0] if log else {}) if key not in ("step", "learning_rate", "seconds")]
        if quantities:
            title = titles.get(stage, stage)
            blocks.append(
                html.Picture(
                    plots.curves(log, y=quantities), f"{title}.", f"Curves of {', '.join(quantities)} over steps."
                )
            )
    return blocks


def conditions(evaluated: Evaluated) -> list[html.Block]:
    """What was run: recipe, networks, versions; every setting; and those that the networks were made with."""
    run, zoo, found, task = evaluated.run, evaluated.zoo, evaluated.found, TASKS[evaluated.run.config.task]
    made = run.record.made
    facts: dict[str, object] = {
        "recipe": run.config.recipe,
        "fingerprint of its settings": configs.fingerprint(configs.to_dict(run.config)),
        "seed": run.config.seed,
        f"access to the {task.networks}": access(found),
        task.networks: counts(found.networks),
        "of groups (pictures, runs), none in two splits": counts(found.groups),
        "architectures": found.architectures,
        "parameters": counts(found.num_parameters),
        **{f"{name}, validation": "" if value is None else f"{value:.4f}" for name, value in found.val.items()},
        "zoo": zoo.path,
        "commit": made.get("commit", ""),
        "versions": f"weightwalk {made.get('weightwalk', '')}, torch {made.get('torch', '')}",
        "hardware": f"{made.get('hardware', '')}, trained on {made.get('device', '')}",
    }
    settings = [[key, _plain(value)] for key, value in configs.keys(run.config).items()]
    of_networks = [[key, _plain(value)] for key, value in _flat(zoo.settings).items() if not key.startswith("spec")]
    return [
        html.Table(["what", "value"], list(facts.items())),
        html.Table(["setting", "value"], settings, "Every setting of the run."),
        html.Table(["setting", "value"], of_networks, f"How the {task.networks} were made."),
    ]


def durations(run: Run, times: Mapping[str, float]) -> html.Block:
    """Seconds of work by name, stages of training with their steps, and the sum."""
    steps = {f"train: {stage}": int(log[-1]["step"]) for stage, log in run.logs().items() if log}
    rows: list[list[object]] = [[name, steps.get(name), duration(seconds)] for name, seconds in times.items()]
    return html.Table(["work", "steps", "time"], [*rows, ["in all", None, duration(sum(times.values()))]])


def _flat(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in settings.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {prefix + key: value}
    return flat


def _plain(value: object) -> str:
    return (
        ", ".join(map(str, value))
        if isinstance(value, tuple | list)
        else f"{value}".lower()
        if value is None
        else f"{value}"
    )
