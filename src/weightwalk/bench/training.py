"""`weightwalk bench train-zoo`: the trainer against batched torch and eager PyTorch, in turns, by one thread each.

What is measured are runs of the recipes of the three zoos, with their architectures, optimisers and batch sizes, on
pictures of noise. Nothing is dropped or shifted: torch would draw both in other ways, and neither is what takes time.
Seconds are of a core (CPU time), the least of several repetitions: others who use the machine do not count.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import cache, partial
from itertools import product
from operator import mul
from statistics import mean
from typing import Any

import torch
from torch import Tensor

from weightwalk.bench.found import Found, side_by_side, times
from weightwalk.bench.team import MATMUL, Team, matmul
from weightwalk.bench.trainers import Eager, image_flops
from weightwalk.networks.starts import Key, classifier
from weightwalk.progress import Progress, silent
from weightwalk.report.tables import hardware
from weightwalk.report.words import percent
from weightwalk.zoos.trained.draws import Drawn
from weightwalk.zoos.trained.recipes import TRAIN_RECIPES, TrainRecipe
from weightwalk.zoos.trained.trainer import Samples, Training, begin, native, score_many, train_many
from weightwalk.zoos.work import Processes

RATE = 1e-3
CLASSES = 10
TRAIN_IMAGES, TEST_IMAGES = 50_000, 10_000  # of CIFAR-10

TRAINER = "trainer"
PLAIN = "trainer, plain sums"
EAGER = "eager PyTorch"


def batched(count: int) -> str:
    """The name of `train_many` with so many networks."""
    return f"batched torch, {count}"


@dataclass(frozen=True)
class Setting:
    """Which `runs` of a recipe are measured, by how many pictures, and how many networks batched torch does at once."""

    runs: tuple[int, ...]
    images: int
    together: tuple[int, ...]

    @property
    def ways(self) -> list[str]:
        return [TRAINER, PLAIN, *map(batched, self.together), EAGER]


# 496 of the first 500 runs of the Wild Park are architectures of their own, so only networks of a batch of one are what
# a zoo needs; 4 says what it would be worth if they were alike.
_CNN, _WILD, _VIT = ((0, 1), 1024, (1, 4)), (tuple(range(12)), 256, (1, 4)), ((4,), 128, (1, 4))
SETTINGS = {
    "cnn": Setting(*_CNN),
    "cnn-published": Setting(*_CNN),
    "wild-park": Setting(*_WILD),
    "wild-park-published": Setting(_WILD[0][:6], 512, (1,)),
    "vit": Setting(*_VIT),
    "vit-published": Setting(*_VIT),
}
UNLIKE = ("wild-park", "wild-park-published")


@dataclass(frozen=True)
class Figures:
    """One recipe: `seconds` of a core per run and way, end to end: its epochs, and the scores of its checkpoints.

    The ratios are of such seconds. `mflop_per_image` counts products as if each sum were worked out as it is written;
    transforms need fewer.
    """

    seconds: dict[str, float]
    ratio_vs_batched_torch: float  # the best number of networks at once that the zoo has
    ratio_vs_eager: float
    mflop_per_image: float
    gflops: float  # of the trainer's epochs
    matmul_peak_gflops: float
    fraction_of_matmul_peak: float
    max_relative_loss_difference: float  # between all ways, of the same epochs


@dataclass(frozen=True)
class TrainZooBench:
    """How much is measured: the first `runs` of each setting, by all its pictures or by `images`."""

    repetitions: int = 5
    runs: int | None = None
    images: int | None = None
    products: int = 4  # large ones in a measurement of the peak

    def measure(self, workers: int = 1, progress: Progress = silent) -> Found:
        """Every recipe; `workers` processes do the same at once, and the slowest of them counts."""
        with Team(Processes(workers).count) as team:
            team.give(list(range(workers)))
            found = {name: self._figures(team, name, progress) for name in SETTINGS}
        header, rows = side_by_side({name: _column(figures) for name, figures in found.items()})
        return Found(
            {
                **asdict(next(iter(found.values()))),
                "zoos": {name: asdict(figures) for name, figures in found.items()},
                "workers": workers,
            },
            "; ".join(f"{name}: {times(f.ratio_vs_batched_torch)} batched torch" for name, f in found.items()),
            f"Training on {hardware()}: seconds of a core per run, the least of {self.repetitions}",
            header,
            rows,
        )

    def _figures(self, team: Team, name: str, progress: Progress) -> Figures:
        setting, recipe = SETTINGS[name], TRAIN_RECIPES[name]
        runs = setting.runs[: self.runs]
        images = self.images or setting.images
        best: dict[tuple[int, str], tuple[float, ...]] = {}
        peak, worst = float("inf"), 0.0
        for repetition in range(self.repetitions + 1):  # the first one warms up
            losses: dict[int, list[float]] = {run: [] for run in runs}
            for run, way in product(runs, setting.ways):
                _, answers = team.run(_measured, name, run, images, way)
                losses[run].append(answers[0][2])
                if repetition or not self.repetitions:
                    slowest = [max(answer[part] for answer in answers) for part in (0, 1)]  # an epoch, a score
                    best[run, way] = tuple(map(min, slowest, best.get((run, way), slowest)))
            peak = min(peak, max(team.run(_peak, self.products)[1]) / self.products)
            worst = max(worst, *(abs(loss / each[0] - 1) for each in losses.values() for loss in each))
            progress(f"measuring {name}", repetition, self.repetitions, {})
        work = {run: _work(recipe, run) for run in runs}
        seconds = {way: mean(sum(map(mul, work[run], best[run, way])) / images for run in runs) for way in setting.ways}
        flops = {run: image_flops(drawn_of(name, run).spec, shape_of(recipe)) for run in runs}
        speed = images * sum(flops.values()) / sum(best[run, TRAINER][0] for run in runs)
        side = [batched(count) for count in setting.together if count == 1 or name not in UNLIKE]
        return Figures(
            seconds=seconds,
            ratio_vs_batched_torch=min(seconds[way] for way in side) / seconds[TRAINER],
            ratio_vs_eager=seconds[EAGER] / seconds[TRAINER],
            mflop_per_image=1e-6 * mean(flops.values()),
            gflops=1e-9 * speed,
            matmul_peak_gflops=1e-9 * 2 * MATMUL**3 / peak,
            fraction_of_matmul_peak=speed * peak / (2 * MATMUL**3),
            max_relative_loss_difference=worst,
        )


QUICK = TrainZooBench(repetitions=0, runs=1, images=32, products=1)


def _column(found: Figures) -> dict[str, object]:
    """What people read of one recipe; all recipes have the same labels."""
    ways = dict.fromkeys(way for setting in SETTINGS.values() for way in setting.ways)
    seconds = {way: None if way not in found.seconds else f"{found.seconds[way]:.3g} s" for way in ways}
    return {
        **seconds,
        "batched torch / trainer": times(found.ratio_vs_batched_torch),
        "eager PyTorch / trainer": times(found.ratio_vs_eager),
        "largest relative difference of losses": f"{found.max_relative_loss_difference:.1e}",
        "arithmetic of an image": f"{found.mflop_per_image:.2f} MFLOP",
        "trainer's speed": f"{found.gflops:.0f} GFLOP/s",
        "its share of large matrix products'": percent(found.fraction_of_matmul_peak),
    }


def shape_of(recipe: TrainRecipe) -> tuple[int, int, int]:
    """The pictures, of CIFAR-10's size."""
    return (1 if recipe.grey else 3, 32, 32)


def drawn_of(name: str, run: int) -> Drawn:
    """What a run of a recipe does."""
    recipe = TRAIN_RECIPES[name]
    return recipe.drawn(shape_of(recipe), CLASSES, 0, run)


def _work(recipe: TrainRecipe, run: int) -> tuple[float, float]:
    """How many pictures a run on CIFAR-10 is trained by, and how many it is scored by."""
    plan = recipe.drawn(shape_of(recipe), CLASSES, 0, run)
    train = min(TRAIN_IMAGES, recipe.train_images or TRAIN_IMAGES)
    scored = min(train, recipe.scored_images or train) + min(TEST_IMAGES, recipe.test_images or TEST_IMAGES)
    return plan.checkpoints[-1] * plan.train_fraction * train, len(plan.checkpoints) * scored


# ---- in the workers, whose state is their number


@cache
def _pictures(shape: tuple[int, int, int], images: int) -> tuple[Tensor, Tensor, Tensor]:
    """Noise (uint8), which is learned as fast as anything else, its classes, and an order."""
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (images, *shape), dtype=torch.uint8, generator=generator)
    classes = torch.randint(0, CLASSES, (images,), generator=generator)
    return pixels, classes, torch.randperm(images, generator=generator)


def _measured(worker: int, name: str, run: int, images: int, way: str) -> tuple[float, float, float]:
    """Seconds of an epoch and of a score of `images` pictures per network, and the epoch's mean loss."""
    recipe, plan = TRAIN_RECIPES[name], drawn_of(name, run)
    pixels, labels, order = _pictures(shape_of(recipe), images)
    samples = Samples(pixels, labels, *recipe.normalisation(pixels.shape[1]))
    training = Training(plan.optimizer, RATE, plan.weight_decay, batch_size=recipe.batch_size)
    start = classifier(plan.spec, Key(0, worker, run, 0)).flat
    count, state = 1, begin(start[0])
    epoch: Callable[[], tuple[Any, Any]]
    score: Callable[[], object]
    if way in (TRAINER, PLAIN):
        epoch = partial(native.epoch, plan.spec, state, samples, order, training, 0, None, way == TRAINER)
        score = partial(native.score, plan.spec, state.params, samples, way == TRAINER)
    elif way == EAGER:
        module = Eager(plan.spec, start[0])
        factors, offsets = (torch.tensor(v).view(1, -1, 1, 1) for v in (samples.scale, samples.offset))
        normalised = pixels * factors + offsets
        epoch = partial(module.epoch, normalised, labels, order, training)
        score = partial(module.score, normalised, labels)
    else:
        count = int(way.rpartition(" ")[2])
        state, orders, alike = begin(start.repeat(count, 1)), order.repeat(count, 1), [training] * count
        epoch = partial(train_many, plan.spec, state, samples, orders, alike)
        score = partial(score_many, plan.spec, state.params, samples)
    began = time.process_time()
    losses = epoch()[0]
    between = time.process_time()
    score()
    ended = time.process_time()
    return (between - began) / count, (ended - between) / count, float(torch.as_tensor(losses).flatten()[0])


def _peak(worker: int, products: int) -> float:
    """Seconds of `products` large products."""
    began = time.process_time()
    matmul(worker, products)
    return time.process_time() - began
