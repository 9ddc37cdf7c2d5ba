"""The one training loop. Stopped or killed at any step and started again, it ends bitwise the same (CPU).

Two rules make that true. Every step is a function of the state and of (seed, step): its samples come from a stateless
sampler, and torch's generators are seeded anew before it. And `last.safetensors` is the whole state, down to the log's
rows and the running loss; it is written first, and the folder's other files follow from it:

    last.safetensors      model, optimizer, step, running loss, rows, settings: what a crash would lose
    best.safetensors      the model of the best row, written after `last` has that row
    log.jsonl, log.csv    the rows: step, train_loss (mean since the row before), figures, learning_rate, seconds
"""

from __future__ import annotations

import csv
import io
import json
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from weightwalk import lanes
from weightwalk.config import differences, to_dict
from weightwalk.errors import InputError
from weightwalk.files import write_bytes
from weightwalk.progress import Progress, silent
from weightwalk.registry import unknown
from weightwalk.training import checkpoint
from weightwalk.training.distributed import team
from weightwalk.training.samplers import batch_indices, check_sampling, step_seed
from weightwalk.training.stage import StageConfig
from weightwalk.training.step import Objective, Step

__all__ = ["Objective", "Outcome", "StageConfig", "read_log", "train"]

_OPTIMIZERS: dict[str, Callable[..., torch.optim.Adam]] = {
    "adam": torch.optim.Adam,
    "adamw": torch.optim.AdamW,
    "amsgrad": partial(torch.optim.AdamW, amsgrad=True),
}
_SECONDS_PER_REPORT = 0.15
_COLUMNS = ("step", "train_loss", "learning_rate", "seconds")


@dataclass(frozen=True)
class Outcome:
    """How a call of `train` ended: `finished` is False if it was stopped; `best_step` 0 before any validation."""

    steps: int
    finished: bool
    best_step: int
    best: dict[str, float]
    seconds: float


def train(
    objective: Objective,
    config: StageConfig,
    folder: Path,
    *,
    seed: int,
    label: str = "training",
    progress: Progress = silent,
    should_stop: Callable[[], bool] = lambda: False,
    log: Callable[[Mapping[str, float]], None] = lambda row: None,
) -> Outcome:
    """Train to the end of the stage, from `folder`'s last checkpoint where there is one.

    Every `eval_every` steps and at the end the model is validated, everything saved, and `log` gets the row. When
    `should_stop` answers True, the state is saved at that step and the call returns. A finished stage is not trained
    again. After the end the model holds its best parameters and is in evaluation mode. The model's device is used;
    torch's generators are left as found.

    Processes of a team (`distributed`) each take a share of every batch that may be cut, and do the same work on those
    that may not be; the leader alone writes, and calls `log`.

    Raises InputError for a checkpoint that is damaged, of another model or of other settings, for a batch that is to be
    cut and may not be, and for a loss or a monitored figure that is not finite: then the last good checkpoint stays.
    """
    run = _Run(objective, config, Path(folder), seed, label)
    run.resume()
    objective.model.train()
    run.steps.check(run.step)
    reported = -math.inf
    with torch.random.fork_rng(run.steps.cuda_devices):
        while run.step < config.steps:
            if run.team.any(should_stop()):
                run.save()
                return run.outcome(finished=False)
            run.advance()
            if run.step % config.eval_every == 0 or run.step == config.steps:
                run.evaluate()
                if run.team.leads:
                    log(run.rows[-1])
            if time.monotonic() - reported >= _SECONDS_PER_REPORT or run.step == config.steps:
                progress(label, run.step, config.steps, run.figures())
                reported = time.monotonic()
    run.team.wait()  # until the leader has written it
    checkpoint.load(run.best_path).restore(objective.model)
    objective.model.eval()
    return run.outcome(finished=True)


class _Run:
    """One stage while it is trained: model, optimizer, step and log, and the steps that change them."""

    def __init__(self, objective: Objective, config: StageConfig, folder: Path, seed: int, label: str):
        check_sampling(objective.num_samples, config.batch_size, seed)
        self.objective, self.config, self.seed, self.label, self.team = objective, config, seed, label, team()
        self.folder, self.last_path, self.best_path = folder, folder / "last.safetensors", folder / "best.safetensors"
        self.parameters = [parameter for parameter in objective.model.parameters() if parameter.requires_grad]
        if not self.parameters:
            raise InputError(
                f"{label}: expected a model with parameters to train, got none that requires gradients; unfreeze some"
            )
        self.optimizer = _OPTIMIZERS[config.optimizer](
            self.parameters,
            lr=config.learning_rate,
            weight_decay=config.weight_decay,
            fused=all(parameter.device.type == "cpu" for parameter in self.parameters),  # a quarter of the time there
        )
        self.steps = Step(objective, config, label, self.parameters)
        self.settings: dict[str, Any] = {
            **to_dict(config),
            "seed": seed,
            "num_samples": objective.num_samples,
            "monitor": objective.monitor,
            "maximise": objective.maximise,
        }
        self.step = 0
        self.rows: list[dict[str, float]] = []
        self.loss_sum = 0.0  # of the steps since the last row, without those whose losses are pending
        self.pending: list[Tensor] = []  # losses that were not read yet: reading one makes the CPU wait for the GPU
        self.mean_loss = math.nan
        self.seconds, self.clock = 0.0, time.monotonic()  # spent by all calls together until the clock was read last

    @property
    def best_row(self) -> dict[str, float] | None:
        """The row with the best monitored figure; of equals the earliest."""
        choose = max if self.objective.maximise else min
        return choose(self.rows, key=lambda row: row[self.objective.monitor]) if self.rows else None

    def advance(self) -> None:
        """One update."""
        step, key = self.step, step_seed(self.seed, self.step)
        for group in self.optimizer.param_groups:
            group["lr"] = self.config.rate(step)
        self.optimizer.zero_grad()
        loss = self.steps.gradients(
            batch_indices(self.objective.num_samples, self.config.batch_size, step, self.seed), key
        )
        lanes.run([self.update])
        self.pending.append(loss)
        self.step += 1

    def update(self) -> None:
        """What the optimiser does with the gradients."""
        if self.config.clip is not None:
            nn.utils.clip_grad_norm_(self.parameters, self.config.clip)
        self.optimizer.step()

    def evaluate(self) -> None:
        """Validate, add a row, and write everything."""
        self.read_losses()
        self.objective.model.eval()
        with torch.no_grad():
            figures = {name: float(figure) for name, figure in self.objective.validate().items()}
        assert not set(figures) & set(_COLUMNS), f"validate() must not use the names {_COLUMNS}"
        monitor = self.objective.monitor
        if monitor not in figures:
            raise InputError(unknown("figure to monitor", monitor, list(figures)))
        self.demand_finite(f"the monitored figure {monitor}", figures[monitor], self.step)
        self.rows.append(
            {
                "step": self.step,
                "train_loss": self.loss_sum / (self.step - self.last_row_step),
                **figures,
                "learning_rate": self.config.rate(self.step - 1),
                "seconds": round(self.read_clock(), 3),
            }
        )
        self.loss_sum = 0.0
        self.save()
        self.write_best()
        self.write_log()
        self.objective.model.train()

    @property
    def last_row_step(self) -> int:
        return int(self.rows[-1]["step"]) if self.rows else 0

    def read_losses(self) -> None:
        """Add the pending losses to the sum, one by one: when they are read must not change the sum's last bit."""
        if not self.pending:
            return
        losses = torch.stack(self.pending).tolist()
        for step, loss in enumerate(losses, start=self.step - len(losses) + 1):
            self.demand_finite("the training loss", loss, step)
            self.loss_sum += loss
        self.mean_loss = sum(losses) / len(losses)
        self.pending = []

    def demand_finite(self, what: str, value: float, step: int) -> None:
        if not math.isfinite(value):
            kept = (
                f"the last good state is kept in {self.last_path}"
                if self.last_path.exists()
                else "nothing was saved yet"
            )
            raise InputError(
                f"{self.label}: {what} became {value} in step {step}; {kept}; train again, in another folder, with a "
                f"smaller learning_rate (now {self.config.learning_rate:g}) or a smaller clip (now {self.config.clip})"
            )

    def figures(self) -> dict[str, float]:
        """What progress shows: the mean loss since it was last read, and the monitored figure of the last row."""
        self.read_losses()
        monitor = self.objective.monitor
        return {"loss": self.mean_loss} | ({monitor: self.rows[-1][monitor]} if self.rows else {})

    def read_clock(self) -> float:
        now = time.monotonic()
        self.seconds, self.clock = self.seconds + now - self.clock, now
        return self.seconds

    def save(self) -> None:
        """Write `last.safetensors`."""
        self.read_losses()
        if not self.team.leads:
            return
        state = {"step": self.step, "loss_sum": self.loss_sum, "seconds": self.read_clock(), "rows": self.rows}
        checkpoint.save(self.last_path, {"settings": self.settings, **state}, self.objective.model, self.optimizer)

    def write_best(self) -> None:
        """Write `best.safetensors` when the present model is the best; after `save`, so that the state knows of it."""
        best = self.best_row
        if self.team.leads and best is not None and best["step"] == self.step:
            figures = {name: value for name, value in best.items() if name != "seconds"}
            checkpoint.save(self.best_path, {"settings": self.settings, **figures}, self.objective.model)

    def write_log(self) -> None:
        """Write the rows as JSON lines and as CSV, where they are not there yet."""
        if not self.team.leads:
            return
        lines = "".join(json.dumps(row) + "\n" for row in self.rows)
        table = io.StringIO()
        names = list(dict.fromkeys(name for row in self.rows for name in row))
        writer = csv.DictWriter(table, names, lineterminator="\n")
        writer.writeheader()
        writer.writerows(self.rows)
        for path, content in (
            (self.folder / "log.jsonl", lines.encode()),
            (self.folder / "log.csv", table.getvalue().encode()),
        ):
            if not path.exists() or path.read_bytes() != content:
                write_bytes(path, content)

    def resume(self) -> None:
        """Take up the state of `last.safetensors`, if there is one, and write what a kill kept from following it."""
        if not self.last_path.exists():
            return
        saved = checkpoint.load(self.last_path)
        if "rows" not in saved.metadata:
            raise InputError(
                f"expected the state of a training at {self.last_path}, got a model alone; delete it to train anew"
            )
        settings = saved.metadata["settings"]
        # settings that a version before this one did not have are as they are if nobody sets them
        unset = {one.name: one.default for one in fields(StageConfig) if one.name not in settings}
        changes = differences({**settings, **unset}, self.settings)
        if changes:
            raise InputError(
                f"{self.last_path} was made with other settings: {'; '.join(changes)}; "
                "go back to those, choose another folder, or delete this one to train anew"
            )
        saved.restore(self.objective.model, self.optimizer)
        self.step, self.rows, self.loss_sum = saved.metadata["step"], saved.metadata["rows"], saved.metadata["loss_sum"]
        self.seconds = saved.metadata["seconds"]
        if self.best_row is None or not self.team.leads:
            return
        self.write_log()
        if not self.has_best():
            self.write_best()
            if not self.has_best():
                raise InputError(
                    f"expected the model of step {self.best_row['step']} at {self.best_path}, found none or another; "
                    f"restore it from a copy, or delete {self.last_path} as well to train anew"
                )

    def has_best(self) -> bool:
        """Whether `best.safetensors` is there, whole, and of the best row."""
        assert self.best_row is not None
        return self.best_path.exists() and checkpoint.load(self.best_path).metadata.get("step") == self.best_row["step"]

    def outcome(self, finished: bool) -> Outcome:
        best = self.best_row or {"step": 0}
        figures = {name: value for name, value in best.items() if name not in _COLUMNS}
        return Outcome(self.step, finished, int(best["step"]), figures, self.seconds)


def read_log(folder: Path) -> list[dict[str, float]]:
    """The rows of a stage so far, in order of steps; none before its first validation."""
    path = Path(folder) / "log.jsonl"
    try:
        return [json.loads(line) for line in path.read_text().splitlines()]
    except FileNotFoundError:
        return []
    except ValueError as error:
        raise InputError(
            f"expected a training log at {path}, got lines that are not JSON ({error}); resume the training to mend it"
        ) from None
