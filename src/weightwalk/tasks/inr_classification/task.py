"""INR classification as the command line sees it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from weightwalk.progress import Progress
from weightwalk.report.words import percent, shell
from weightwalk.tasks.base import TASKS, Summary, Task
from weightwalk.tasks.inr_classification import run as runs
from weightwalk.tasks.inr_classification.config import Common, RunConfig
from weightwalk.training.loop import Outcome
from weightwalk.zoos.store import Zoo


class INRClassification(Task[RunConfig, Zoo, runs.Run]):
    """From the weights of a network that holds a picture to what the picture shows."""

    name = Common.task
    run_class = runs.Run

    def how_to_make(self, config: RunConfig, path: Path) -> str:
        root = [] if config.dataset == "digits" else ["--root", "DIR"]
        return shell("fit", config.dataset, *root, "--out", path)

    def open_zoo(self, path: Path) -> Zoo:
        return Zoo.open(path)

    def train(
        self,
        config: RunConfig,
        zoo: Zoo,
        out: Path,
        *,
        device: torch.device,
        progress: Progress,
        should_stop: Callable[[], bool],
    ) -> dict[str, Outcome]:
        return runs.train(config, zoo, out, device=device, progress=progress, should_stop=should_stop)

    def evaluate(self, run: runs.Run, zoo: Zoo, *, device: torch.device, progress: Progress) -> dict[str, Any]:
        return runs.evaluate(run, zoo, device=device, progress=progress)

    def summary(self, run: runs.Run, zoo: Zoo, found: Mapping[str, Any]) -> Summary:
        return Summary(
            f"{run.path}: {percent(found['test_accuracy'])} of {found['networks']['test']:,} test INRs right",
            {
                "test accuracy": percent(found["test_accuracy"]),
                "validation accuracy": percent(found["val_accuracy"]),
                "INRs": ", ".join(f"{count:,} {split}" for split, count in found["networks"].items()),
                "init of the INRs": found["init"],
                "access to the INRs": f"{found['access']} (they are never evaluated)",
                "parameters": ", ".join(f"{count:,} {name}" for name, count in found["num_parameters"].items()),
            },
            (shell("classify", run.path, zoo.path),),
        )

    def report(self, run: runs.Run, zoo: Zoo, path: Path, extra_times: Mapping[str, float]) -> Path:
        from weightwalk.tasks.inr_classification import report  # draws, which training need not load

        return report.write(run, zoo, path, extra_times)


TASKS.register(Common.task)(INRClassification())
