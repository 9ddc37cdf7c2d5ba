"""`weightwalk bench train-zoo`: the training engine against eager PyTorch, one network at a time, in turns, on all
cores.

Times are of the whole machine: wall time of all workers, over all their networks.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from statistics import median

import torch
from torch import Tensor, nn

from weightwalk.bench import trainers
from weightwalk.bench.peak import MATMUL, matmul
from weightwalk.bench.team import Side, Team, alternated, median_ratio
from weightwalk.networks.architectures import simple_vit, small_cnn, wild_park
from weightwalk.networks.starts import Key, classifier
from weightwalk.progress import Progress, silent
from weightwalk.spec import NetworkSpec
from weightwalk.zoos.training import Training, begin, epoch

RATE = 1e-3
EPOCH = 50_000  # images of a network-epoch, CIFAR-10's training pictures
_CLASSES = 10


@dataclass(frozen=True)
class Case:
    """What is trained: architecture, pictures, batch size, how many images per repetition."""

    spec: NetworkSpec
    shape: tuple[int, int, int]
    batch: int
    images: int
    peer: Callable[[], nn.Module]


_VIT = (32, 2, 4, 16, 64, 4)  # dim, depth, heads, dim_head, mlp, patch
_WILD = ([16, 32, 16], [3, 5, 3])
_GREY, _COLOUR = (1, 32, 32), (3, 32, 32)


def cases() -> dict[str, Case]:
    """The networks of the three zoos at their batch sizes."""
    small = partial(trainers.ConvNet, [1, 16, 16, 16], [3, 3, 3], 2, _CLASSES)
    park = wild_park(*_WILD, ["relu"] * 3, [-1] * 3)
    return {
        "Small CNN Zoo, batch 512": Case(small_cnn(), _GREY, 512, 4096, small),
        "Small CNN Zoo, batch 64": Case(small_cnn(), _GREY, 64, 4096, small),
        "CNN Wild Park 3-16-32-16, batch 512": Case(
            park, _COLOUR, 512, 1024, partial(trainers.ConvNet, [3, *_WILD[0]], _WILD[1], 1, _CLASSES)
        ),
        "ViT zoo, batch 128": Case(
            simple_vit(_COLOUR, _CLASSES, *_VIT), _COLOUR, 128, 1024, partial(trainers.ViT, _COLOUR, _CLASSES, *_VIT)
        ),
    }


@dataclass(frozen=True)
class Plan:
    """How much is measured: a share of each case's images (whole batches), so many times; `epochs` by the engine for
    one in PyTorch.

    Both sides then take about as long, or what else the machine does would weigh more on the faster one.
    """

    share: float = 1.0
    epochs: int = 4
    repetitions: int = 5
    products: int = 12  # large ones in a measurement of the peak


QUICK = Plan(share=0.0, epochs=1, repetitions=1, products=1)


@dataclass(frozen=True)
class Figures:
    """What was found for one case. Milliseconds are of the whole machine, for one network and `EPOCH` images.

    `gflops` counts sums as they are written; the engine does some convolutions with fewer products.
    """

    ratio_vs_one_at_a_time: float
    ms_per_network_epoch: float
    one_at_a_time_ms_per_network_epoch: float
    mflop_per_image: float
    gflops: float
    matmul_peak_gflops: float
    fraction_of_matmul_peak: float
    max_relative_loss_difference: float  # between the two ways' mean losses of the same epochs


def run(plan: Plan, workers: int, progress: Progress = silent) -> dict[str, Figures]:
    """Measure each case with `workers` processes of one thread."""
    found = {}
    with Team(workers) as team:
        team.give(list(range(workers)))
        for name in cases():
            found[name] = _measure(team, plan, name, partial(progress, f"measuring {name}"))
    return found


def _measure(team: Team, plan: Plan, name: str, progress: Callable[[int, int, dict[str, float]], None]) -> Figures:
    case = cases()[name]
    images = max(case.batch, int(plan.share * case.images) // case.batch * case.batch)
    sides: dict[str, Side] = {
        "eager": partial(team.run, _eager, name, images),
        "engine": partial(team.run, _engine, name, images, plan.epochs),
        "matmul": partial(team.run, matmul, plan.products),
    }
    for function in sides.values():  # once without a look at the clock: compiling, loading
        function()
    difference = 0.0
    for repetition, (seconds, answers) in enumerate(alternated(sides, plan.repetitions)):
        differences = [abs(ours / theirs - 1) for ours, theirs in zip(answers["engine"], answers["eager"], strict=True)]
        difference = max(difference, *differences)
        ratio = plan.epochs * median_ratio(seconds["eager"], seconds["engine"])
        progress(1 + repetition, plan.repetitions, {"times one at a time": ratio})
    trained, flops = len(team) * images, trainers.image_flops(case.spec, case.shape)
    work, peak_work = plan.epochs * trained * flops, 2 * MATMUL**3 * plan.products * len(team)
    return Figures(
        ratio_vs_one_at_a_time=ratio,
        ms_per_network_epoch=1e3 * EPOCH * median(seconds["engine"]) / (plan.epochs * trained),
        one_at_a_time_ms_per_network_epoch=1e3 * EPOCH * median(seconds["eager"]) / trained,
        mflop_per_image=1e-6 * flops,
        gflops=1e-9 * work / median(seconds["engine"]),
        matmul_peak_gflops=1e-9 * peak_work / median(seconds["matmul"]),
        fraction_of_matmul_peak=work / peak_work * median_ratio(seconds["matmul"], seconds["engine"]),
        max_relative_loss_difference=difference,
    )


# ---- in the workers, whose state is their number


@cache
def _pictures(shape: tuple[int, int, int], images: int) -> tuple[Tensor, Tensor, Tensor]:
    """Noise (uint8), which is learned as fast as anything else, its classes, and an order."""
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (images, *shape), dtype=torch.uint8, generator=generator)
    return (
        pixels,
        torch.randint(0, _CLASSES, (images,), generator=generator),
        torch.randperm(images, generator=generator),
    )


@cache
def _normalised(shape: tuple[int, int, int], images: int) -> Tensor:
    return _pictures(shape, images)[0] / 127.5 - 1


def _eager(worker: int, name: str, images: int) -> float:
    case = cases()[name]
    module = case.peer()
    trainers.load(module, classifier(case.spec, Key(0, 0, worker, 0)).flat[0], case.spec)
    _, labels, order = _pictures(case.shape, images)
    return trainers.one_at_a_time(module, _normalised(case.shape, images), labels, order, case.batch, RATE)


def _engine(worker: int, name: str, images: int, epochs: int) -> float:
    """The loss of the first epoch, like `_eager`'s."""
    case = cases()[name]
    state = begin(classifier(case.spec, Key(0, 0, worker, 0)).flat[0])
    given = (case.spec, state, *_pictures(case.shape, images), Training("adam", RATE, batch_size=case.batch))
    channels = case.shape[0]
    losses = [epoch(*given, scale=[1 / 127.5] * channels, offset=[-1.0] * channels)[0] for _ in range(epochs)]
    return losses[0]
