"""`weightwalk bench fit`: our engine against the way the published zoos were made, in turns, on all cores.

Times are of the whole machine: wall time of all workers, over all their INRs. Axes: B networks, P pixels.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from math import ceil
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from weightwalk.bench import peers, pictures
from weightwalk.bench.found import Found, side_by_side, times
from weightwalk.bench.team import MATMUL, Side, Team, alternated, matmul, median_ratio
from weightwalk.networks.starts import Key, initialise
from weightwalk.progress import Progress, silent
from weightwalk.report.tables import hardware
from weightwalk.report.words import duration, percent
from weightwalk.spec import NetworkSpec
from weightwalk.weights import Weights
from weightwalk.zoos.inr import engine
from weightwalk.zoos.inr.recipe import FIT_RECIPES, FitRecipe
from weightwalk.zoos.work import Processes

GROWTH = 1.15  # of the steps of `fast`, until it is as good as `nfn`


@dataclass(frozen=True)
class Figures:
    """What was found at one size of picture. Microseconds are per INR and step, of the whole machine."""

    ratio_vs_loop: float
    us_per_inr_step: float
    loop_us_per_inr_step: float
    vmap_us_per_inr_step: float
    mflop_per_inr_step: float
    gflops: float
    matmul_peak_gflops: float
    fraction_of_matmul_peak: float
    max_relative_loss_difference: float  # after `FitBench.steps` steps from the same starts, over all INRs
    ratio_to_equal_psnr: float | None  # None: `fast` did not get there in as many steps as `nfn` has
    steps_to_equal_psnr: int | None  # of `fast`: its own, or how many it takes to be as good as `nfn`
    nfn_steps: int
    nfn_psnr: float
    fast_psnr: float  # of the recipe as it is
    equal_psnr: float  # with steps_to_equal_psnr
    fast_ms_per_inr: float  # with steps_to_equal_psnr
    loop_ms_per_inr: float  # nfn_steps steps, extrapolated from FitBench.steps
    warmup_s: float  # the engine's first fit: compiling, loading


@dataclass(frozen=True)
class FitBench:
    """How much is measured."""

    images: int = 24  # per worker
    steps: int = 100  # per side and repetition
    repetitions: int = 5
    nfn_steps: int = FIT_RECIPES["nfn"].descent.steps
    products: int = 12  # large ones in a measurement of the peak

    def measure(
        self,
        workers: int | None = None,
        dataset: str | None = None,
        root: Path | None = None,
        progress: Progress = silent,
    ) -> Found:
        """Measure at each size of picture, with `workers` processes (None: one per core) of one thread."""
        workers, found = Processes(workers).count, {}
        sets = pictures.by_size(self.images * workers, dataset, root)
        with Team(workers) as team:
            for name, pixels in sets.items():
                parts = np.split(pixels, workers)
                team.give([_Task(part, self.images * worker) for worker, part in enumerate(parts)])
                found[name] = _figures(team, self, pixels.shape, partial(progress, f"measuring {name}"))
        values = {name: asdict(figures) for name, figures in found.items()}
        header, rows = side_by_side({name: _column(figures) for name, figures in found.items()})
        return Found(
            {**next(iter(values.values())), "sizes": values, "workers": workers},
            "; ".join(
                f"{name}: {times(f.ratio_vs_loop)} the published way's speed, {times(f.ratio_to_equal_psnr)} to equal "
                "PSNR"
                for name, f in found.items()
            ),
            f"Fitting on {hardware()}: {workers} processes of one thread, {self.images * workers} INRs, medians of "
            f"{self.repetitions}",
            header,
            rows,
        )


QUICK = FitBench(images=4, steps=20, repetitions=2, nfn_steps=60, products=2)


def _figures(
    team: Team, much: FitBench, shape: tuple[int, ...], progress: Callable[[int, int, dict[str, float]], None]
) -> Figures:
    """Figures of the pictures (N, C, *grid) that the team was given."""
    nfn, fast = _with_steps(FIT_RECIPES["nfn"], much.nfn_steps), FIT_RECIPES["fast"]
    inrs, pixels, spec = shape[0], int(np.prod(shape[2:])), _spec(nfn, shape)
    same = _with_steps(nfn, much.steps)
    sides: dict[str, Side] = {
        "loop": partial(team.run, _published, same),
        "engine": partial(team.run, _fitted, same),
        "vmap": partial(team.run, _vmapped, same),
        "matmul": partial(team.run, matmul, much.products),
    }
    stages = much.repetitions + 3
    progress(0, stages, {})

    # Everything once without a look at the clock, but for what a user waits for once.
    warmup = sum(team.run(_fitted, _with_steps(recipe, 1))[0] for recipe in (nfn, fast))
    for function in (_published, _vmapped):
        team.run(function, _with_steps(nfn, 2))
    sides["matmul"]()
    progress(1, stages, {})

    nfn_psnr = _psnr(team, nfn)
    progress(2, stages, {"nfn dB": nfn_psnr})
    fast_psnr = equal_psnr = _psnr(team, fast)
    equal, limit = fast, max(much.nfn_steps, fast.descent.steps)
    while equal_psnr < nfn_psnr and equal.descent.steps < limit:
        equal = _with_steps(fast, min(limit, ceil(GROWTH * equal.descent.steps)))
        equal_psnr = _psnr(team, equal)
    reached = equal_psnr >= nfn_psnr
    sides["fast"] = partial(team.run, _fitted, equal)
    progress(3, stages, {"nfn dB": nfn_psnr, "fast dB": equal_psnr})

    difference = 0.0
    for repetition, (seconds, answers) in enumerate(alternated(sides, much.repetitions)):
        losses, expected = (np.concatenate(answers[name]) for name in ("engine", "loop"))
        difference = max(difference, float(np.abs(losses / expected - 1).max()))
        ratio = median_ratio(seconds["loop"], seconds["engine"])
        progress(4 + repetition, stages, {"times the published way": ratio})

    us = {name: 1e6 * median(seconds[name]) / (inrs * much.steps) for name in ("loop", "engine", "vmap")}
    work, peak_work = peers.step_flops(spec, pixels) * inrs * much.steps, 2 * MATMUL**3 * much.products * len(team)
    to_equal = much.nfn_steps / much.steps * median_ratio(seconds["loop"], seconds["fast"])
    return Figures(
        ratio_vs_loop=ratio,
        us_per_inr_step=us["engine"],
        loop_us_per_inr_step=us["loop"],
        vmap_us_per_inr_step=us["vmap"],
        mflop_per_inr_step=1e-6 * peers.step_flops(spec, pixels),
        gflops=1e-9 * work / median(seconds["engine"]),
        matmul_peak_gflops=1e-9 * peak_work / median(seconds["matmul"]),
        fraction_of_matmul_peak=work / peak_work * median_ratio(seconds["matmul"], seconds["engine"]),
        max_relative_loss_difference=difference,
        ratio_to_equal_psnr=to_equal if reached else None,
        steps_to_equal_psnr=equal.descent.steps if reached else None,
        nfn_steps=much.nfn_steps,
        nfn_psnr=nfn_psnr,
        fast_psnr=fast_psnr,
        equal_psnr=equal_psnr,
        fast_ms_per_inr=1e3 * median(seconds["fast"]) / inrs,
        loop_ms_per_inr=1e-3 * us["loop"] * much.nfn_steps,
        warmup_s=warmup,
    )


def _column(found: Figures) -> dict[str, object]:
    """What people read of one size of picture."""
    reached = found.steps_to_equal_psnr is not None
    return {
        "published way, one INR and step": f"{found.loop_us_per_inr_step:.0f} us",
        "vmap(grad)": f"{found.vmap_us_per_inr_step:.0f} us",
        "this engine": f"{found.us_per_inr_step:.1f} us",
        "published way / this engine": times(found.ratio_vs_loop),
        "largest relative difference of their losses": f"{found.max_relative_loss_difference:.1e}",
        "arithmetic of a step": f"{found.mflop_per_inr_step:.2f} MFLOP",
        "this engine's speed": f"{found.gflops:.0f} GFLOP/s",
        "speed of large matrix products": f"{found.matmul_peak_gflops:.0f} GFLOP/s",
        "this engine's share of that": percent(found.fraction_of_matmul_peak),
        "recipe nfn": f"{found.nfn_psnr:.2f} dB, {found.nfn_steps:,} steps",
        "recipe fast": f"{found.fast_psnr:.2f} dB",
        "its steps to be as good": f"{found.steps_to_equal_psnr:,} ({found.equal_psnr:.2f} dB)"
        if reached
        else "not reached",
        "published way, nfn, one INR (extrapolated)": f"{found.loop_ms_per_inr:.0f} ms",
        "this engine, fast, one INR, as good": f"{found.fast_ms_per_inr:.1f} ms" if reached else "not reached",
        "published way / this engine, to equal PSNR": times(found.ratio_to_equal_psnr),
        "first fit (compiling)": duration(found.warmup_s),
    }


def _psnr(team: Team, recipe: FitRecipe) -> float:
    """Mean PSNR in dB of all workers' pictures, fitted with `recipe`."""
    errors = np.concatenate(team.run(_fitted, recipe)[1])
    return float(recipe.pixels.psnr(torch.from_numpy(errors)).mean())


def _with_steps(recipe: FitRecipe, steps: int) -> FitRecipe:
    return replace(recipe, descent=replace(recipe.descent, steps=steps))


def _spec(recipe: FitRecipe, shape: tuple[int, ...]) -> NetworkSpec:
    _, channels, *grid = shape
    return recipe.spec(len(grid), channels)


# ---- in the workers


@dataclass(eq=False)
class _Task:
    """A worker's pictures, the number of the first, and what fitting begins with, made once per recipe."""

    pixels: NDArray[Any]
    first: int
    begun: dict[str, tuple[Weights, Tensor, Tensor]] = field(default_factory=dict)

    def begin(self, recipe: FitRecipe) -> tuple[Weights, Tensor, Tensor]:
        """Starts, coordinates, targets."""
        if recipe.name not in self.begun:
            keys = [Key(0, 0, self.first + index, 0) for index in range(len(self.pixels))]
            self.begun[recipe.name] = (
                initialise(_spec(recipe, self.pixels.shape), keys, recipe.scheme),
                recipe.pixels.coordinates(self.pixels.shape[2:]),
                recipe.pixels.targets(torch.from_numpy(self.pixels)),
            )
        return self.begun[recipe.name]


def _published(task: _Task, recipe: FitRecipe) -> NDArray[np.float32]:
    return peers.one_at_a_time(*task.begin(recipe), recipe.descent.steps, recipe.descent.learning_rate).numpy()


def _vmapped(task: _Task, recipe: FitRecipe) -> NDArray[np.float32]:
    return peers.vmapped(*task.begin(recipe), recipe.descent.steps, recipe.descent.learning_rate).numpy()


def _fitted(task: _Task, recipe: FitRecipe) -> NDArray[np.float32]:
    return engine.fit(*task.begin(recipe), recipe.descent)[1].numpy()
