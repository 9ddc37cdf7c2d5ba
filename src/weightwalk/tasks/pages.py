"""What the report pages of all tasks have: settings, curves, durations."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from weightwalk import config as configs
from weightwalk.report import html, plots
from weightwalk.report.words import duration
from weightwalk.tasks.runs import RunFolder


def curves(run: RunFolder[Any], titles: Mapping[str, str]) -> list[html.Block]:
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


def conditions(run: RunFolder[Any], own: Mapping[str, object], made: Mapping[str, Any], words: str) -> list[html.Block]:
    """What was run: recipe, the task's `own` facts, versions; every setting; and those by which the networks were
    `made`, under `words`.
    """
    record = run.record["made"]
    facts: dict[str, object] = {
        "recipe": run.config.recipe,
        "fingerprint of its settings": configs.fingerprint(configs.to_dict(run.config)),
        "seed": run.config.seed,
        **own,
        "commit": record["commit"],
        "versions": f"weightwalk {record['weightwalk']}, torch {record['torch']}",
        "hardware": f"{record['hardware']}, trained on {record['device']}",
    }
    settings = [[key, _plain(value)] for key, value in configs.keys(run.config).items()]
    of_networks = [[key, _plain(value)] for key, value in _flat(made).items()]
    return [
        html.Table(["what", "value"], list(facts.items())),
        html.Table(["setting", "value"], settings, "Every setting of the run."),
        *([html.Table(["setting", "value"], of_networks, words)] if of_networks else []),
    ]


def durations(run: RunFolder[Any], times: Mapping[str, float]) -> html.Block:
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
