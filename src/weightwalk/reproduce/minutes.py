"""Equal time for every method: how many steps a configuration makes in so many minutes of a core of this machine.

Schedules are in steps, so time is turned into steps once, by a short probe, and what is trained is a configuration with
those steps: from there on a run is as deterministic, and goes on after a stop as exactly, as any other.
"""

from __future__ import annotations

import dataclasses
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from statistics import median

import torch

from weightwalk import config as configs
from weightwalk import files
from weightwalk.errors import InputError
from weightwalk.progress import Progress, silent
from weightwalk.tasks import supervised
from weightwalk.tasks.config import RunConfig
from weightwalk.training.stage import StageConfig
from weightwalk.zoos.store import Zoo

PROBES = (3, 12, 60, 400)
"""Steps before the probe's validation: as few as last `ENOUGH` seconds in every stage."""
ENOUGH = 1.0
VALIDATIONS = 20
"""A run of a given time validates so often at most: it costs time that is not trained in."""


@dataclass(frozen=True)
class Pace:
    """Seconds of one stage: what comes before its first step, a step, a validation (checkpoint included)."""

    before: float
    step: float
    validation: float

    @classmethod
    def of(cls, began: float, clocks: Sequence[float], count: int) -> Pace:
        """Of a stage that began at a clock, whose `clocks` are those before every step, and which validates after
        `count` steps and the last.
        """
        took = [after - clock for clock, after in pairwise(clocks)]
        step = median(took[:count] + took[count + 1 :])
        return cls(max(clocks[0] - began + took[0] - step, 0.0), step, max(took[count - 1] - step, 0.0))


def probed(
    config: RunConfig,
    zoo: Zoo,
    device: torch.device,
    progress: Progress = silent,
    should_stop: Callable[[], bool] = lambda: False,
) -> dict[str, Pace] | None:
    """The pace of every stage, by runs of a few steps that are thrown away; None if that was stopped.

    On the CPU seconds are those of a core, of one thread of torch, which other work on the machine lengthens little; on
    CUDA they are the clock's.
    """
    clock = time.process_time if device.type == "cpu" else time.monotonic
    paces: dict[str, Pace] = {}
    todo = list(config.stages)
    for count in PROBES:
        short = {
            name: dataclasses.replace(stage, steps=count + 3 if name in todo else 1, eval_every=count)
            for name, stage in config.stages.items()
        }
        clocks: list[float] = []

        def noted(clocks: list[float] = clocks) -> bool:
            """The training loop asks before every step."""
            clocks.append(clock())
            return should_stop()

        began = clock()
        with tempfile.TemporaryDirectory() as folder, _one_thread():
            probe = dataclasses.replace(config, **short)  # type: ignore[arg-type]
            outcomes = supervised.train(
                probe, zoo, Path(folder) / "probe", device=device, progress=progress, should_stop=noted
            )
        if not all(outcome.finished for outcome in outcomes.values()):
            return None
        for name, stage in short.items():
            of_stage, clocks = clocks[: stage.steps], clocks[stage.steps :]
            if name in todo:
                paces[name] = Pace.of(began, of_stage, count)
            began = of_stage[-1]
        todo = [name for name in todo if count * paces[name].step < ENOUGH]
        if not todo:
            break
    return paces


@contextmanager
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def scaled(config: RunConfig, paces: Mapping[str, Pace], minutes: float) -> RunConfig:
    """`config` with the steps that take so many minutes, all stages by one factor, so that they share the time as the
    recipe says; a warm-up and the steps between validations shrink or grow by it too.

    InputError where the time is over before the first step.
    """
    stages = config.stages
    counts = {name: min(VALIDATIONS, -(-stage.steps // stage.eval_every)) for name, stage in stages.items()}
    fixed = sum(pace.before + counts[name] * pace.validation for name, pace in paces.items())
    moving = sum(stages[name].steps * pace.step for name, pace in paces.items())
    factor = (60 * minutes - fixed) / moving
    if min(stage.steps for stage in stages.values()) * factor < 1:
        raise InputError(
            f"expected more than {fixed / 60:.2g} minutes of a core, which {config.recipe} spends before its first "
            f"steps and on validations here, got --minutes {minutes:g}; give more"
        )

    def longer(name: str, stage: StageConfig) -> StageConfig:
        steps = max(1, round(factor * stage.steps))
        warmup = round(min(1.0, factor) * stage.warmup_steps)
        return dataclasses.replace(stage, steps=steps, warmup_steps=warmup, eval_every=-(-steps // counts[name]))

    changes = {name: longer(name, stage) for name, stage in stages.items()}
    return dataclasses.replace(config, **changes)  # type: ignore[arg-type]


def steps_for(
    config: RunConfig,
    zoo: Zoo,
    minutes: float,
    *,
    kept: Path,
    device: torch.device,
    progress: Progress = silent,
    should_stop: Callable[[], bool] = lambda: False,
) -> RunConfig | None:
    """`config` with as many steps as fit into `minutes` of a core (CUDA: of the clock); None if the probe was stopped.

    The probe's seconds are kept in the folder `kept` under what they are of (configuration without its seed, zoo), so
    that the same question has the same answer, whatever the machine does meanwhile: seeds have equal steps, and a run
    that is gone on with has those that it began with.
    """
    of = configs.fingerprint({"config": configs.to_dict(dataclasses.replace(config, seed=0)), "zoo": zoo.settings})
    path = kept / f"{config.recipe}-{of}.json"
    if path.exists():
        value = files.read_json(path, "the time that steps took")
        paces = {name: configs.from_dict(Pace, pace, f"{path}: {name}") for name, pace in value.items()}
    else:
        found = probed(config, zoo, device, progress, should_stop)
        if found is None:
            return None
        paces = found
        files.write_json(path, {name: dataclasses.asdict(pace) for name, pace in paces.items()})
    return scaled(config, paces, minutes)
