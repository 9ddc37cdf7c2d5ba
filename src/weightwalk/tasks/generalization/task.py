"""Predicting test accuracy as the command line sees it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from weightwalk.progress import Progress
from weightwalk.report.words import shell
from weightwalk.tasks.base import TASKS, Summary, Task
from weightwalk.tasks.generalization import run as runs
from weightwalk.tasks.generalization.config import GeneralizationConfig
from weightwalk.tasks.generalization.metrics import between
from weightwalk.training.loop import Outcome
from weightwalk.zoos.store import Zoo


class Generalization(Task[GeneralizationConfig, Zoo, runs.Run]):
    """From the weights of a trained network to how good it is."""

    name = GeneralizationConfig.task
    run_class = runs.Run

    def default_zoo(self, config: GeneralizationConfig) -> Path:
        """The one that `weightwalk zoo KIND` makes."""
        return Path("zoos") / f"cifar10-{config.kind}"

    def how_to_make(self, config: GeneralizationConfig, path: Path) -> str:
        return shell("zoo", config.kind, "--root", "DIR", "--out", path)

    def open_zoo(self, path: Path) -> Zoo:
        return Zoo.open(path)

    def train(
        self,
        config: GeneralizationConfig,
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
        test, val = found["test"], found["val"]
        return Summary(
            f"{run.path}: Kendall's tau {test['tau']:.3f}, R2 {test['r2']:.3f} on {found['networks']['test']:,} test "
            "networks",
            {
                "Kendall's tau": f"{test['tau']:.4f}",
                "if other runs had been drawn": between(found),
                "R2": f"{test['r2']:.4f}",
                "mean absolute error": f"{100 * test['mae']:.2f} points of accuracy",
                "Kendall's tau, validation": "" if val["tau"] is None else f"{val['tau']:.4f}",
                "networks": ", ".join(f"{count:,} {split}" for split, count in found["networks"].items()),
                "of runs": ", ".join(f"{count:,} {split}" for split, count in found["runs"].items()),
                "architectures": f"{found['architectures']:,}",
                "encoder": run.config.encoder.name,
                "access to the networks": f"{found['access']} (they are never evaluated)",
                "parameters": f"{found['num_parameters']:,}",
            },
            (shell("predict-accuracy", run.path, zoo.path),),
        )

    def report(self, run: runs.Run, zoo: Zoo, path: Path, extra_times: Mapping[str, float]) -> Path:
        from weightwalk.tasks.generalization import report  # draws, which training need not load

        return report.write(run, zoo, path, extra_times)


TASKS.register(GeneralizationConfig.task)(Generalization())
