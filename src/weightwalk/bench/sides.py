"""The two sides of `bench encode` and `bench train`: INR2JLS as it is, and its plain form (`testing/plain.py`).

Both have the same parameters, read the same INRs of pictures and may use all threads. They take turns in one process of
a `Team`, whose state is a `Sides`.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from copy import deepcopy
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from weightwalk.bench import pictures
from weightwalk.bench.costs import flops
from weightwalk.bench.found import times
from weightwalk.bench.team import Side, Team, alternated
from weightwalk.config import bounded
from weightwalk.devices import cores
from weightwalk.encoders import DNGEncoder
from weightwalk.errors import InputError
from weightwalk.frameworks import views
from weightwalk.frameworks.inr2jls import INR2JLS, LatentSizes
from weightwalk.networks.starts import Key, initialise
from weightwalk.progress import Progress
from weightwalk.registry import unknown
from weightwalk.weights import Weights
from weightwalk.zoos.inr import engine
from weightwalk.zoos.inr.recipe import FIT_RECIPES

SHAPES = {"cifar10": (3, 32, 32), "mnist": (1, 28, 28)}
PLAIN, OURS, HALF = "plain", "ours", "ours in bfloat16"
LOADED = ", loaded"
MOST = 1e-4
"""How far the two sides may differ, in relation to the size of what they answer, if they are to be measured."""
PRODUCT, PRODUCTS = 2048, 2  # rows and columns of the square products that tell what bfloat16 is worth; in a turn
RECIPE = FIT_RECIPES["fast"]


@dataclass(frozen=True)
class Sizes:
    """Networks in a batch, steps that each was fitted for, and the widths of the model: by default the paper's."""

    batch: int = 64
    fit_steps: int = RECIPE.descent.steps
    dim: int = 512
    num_frequencies: int = 128
    latents: LatentSizes = field(default_factory=LatentSizes)


PAPER = Sizes()
TINY = Sizes(4, 20, 8, 4, LatentSizes(theta_dim=8, generator_dim=8, latent_dim=8, decoder_dim=8))


@dataclass(eq=False)
class Sides:
    """The networks of a worker, and what it makes of them when it is first asked."""

    sizes: Sizes
    threads: int
    pixels: NDArray[np.uint8]
    flat: NDArray[np.float32]
    trained: dict[str, tuple[Any, torch.optim.Adam]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        bounded(self, "threads", 1)

    @classmethod
    def of(cls, shape: str, sizes: Sizes, threads: int | None) -> Sides:
        """INRs of digits or photographs, fitted here; None: a thread per core. InputError for an unknown shape."""
        if shape not in SHAPES:
            raise InputError(unknown("shape", shape, list(SHAPES)))
        (pixels,) = (one for one in pictures.by_size(sizes.batch).values() if one.shape[1:] == SHAPES[shape])
        return cls(sizes, cores() if threads is None else threads, pixels, fitted(pixels, sizes.fit_steps).flat.numpy())

    @cached_property
    def networks(self) -> Weights:
        torch.set_num_threads(self.threads)
        return Weights(RECIPE.spec(2, self.pixels.shape[1]), torch.from_numpy(self.flat))

    @cached_property
    def targets(self) -> Tensor:
        """The pictures in [-1, 1] under every view, (B, V, C, H, W)."""
        return views.transform(torch.from_numpy(self.pixels) / 127.5 - 1, self.sizes.latents.views)

    @cached_property
    def model(self) -> INR2JLS:
        torch.manual_seed(0)
        encoder = DNGEncoder(self.networks.spec, self.sizes.dim, self.sizes.num_frequencies)
        encoder.prepare([self.networks])
        return self.sizes.latents.build(encoder, self.pixels.shape[1:])

    def precision(self, side: str) -> torch.autocast:
        """bfloat16 where torch's autocast has it, for `HALF` alone."""
        return torch.autocast("cpu", torch.bfloat16, enabled=side.startswith(HALF))

    def training(self, side: str, model: nn.Module) -> tuple[Any, torch.optim.Adam]:
        """A side's own copy of a model, and its optimiser."""
        if side not in self.trained:
            own = deepcopy(model)
            self.trained[side] = own, torch.optim.Adam(own.parameters(), lr=1e-4)
        return self.trained[side]


def fitted(pixels: NDArray[np.uint8], steps: int) -> Weights:
    """An INR per picture, by the recipe `fast` in so many steps."""
    keys = [Key(0, 0, image, 0) for image in range(len(pixels))]
    start = initialise(RECIPE.spec(2, pixels.shape[1]), keys, RECIPE.scheme)
    descent = replace(RECIPE.descent, steps=steps)
    coordinates, targets = RECIPE.pixels.coordinates(pixels.shape[2:]), RECIPE.pixels.targets(torch.from_numpy(pixels))
    return engine.fit(start, coordinates, targets, descent)[0]


def difference(ours: Tensor, expected: Tensor) -> float:
    """max |ours - expected| / max |expected|."""
    return float((ours - expected).abs().max() / expected.abs().max())


def demand_same(differences: Mapping[str, float]) -> None:
    """RuntimeError if the sides do not answer the same: then there is nothing to compare."""
    for what, found in differences.items():
        if not found <= MOST:
            raise RuntimeError(
                f"expected the same {what} of both sides, at most {MOST:g} apart in relation to its size, got "
                f"{found:.3g}; one of them is wrong (tests/testing/test_plain.py)"
            )


def gflop(function: Callable[[], Any]) -> float:
    """Of the matrix products and convolutions in a call, by torch's counter."""
    return 1e-9 * flops(function)


def products(team: Team) -> dict[str, Side]:
    """Large products of both types, in turns."""
    return {str(dtype): partial(team.run, _product, dtype) for dtype in (torch.float32, torch.bfloat16)}


def _product(sides: Sides, dtype: torch.dtype) -> None:
    torch.set_num_threads(sides.threads)
    square = torch.ones(PRODUCT, PRODUCT, dtype=dtype)
    for _ in range(PRODUCTS):
        torch.mm(square, square)


@contextmanager
def busy(number: int) -> Iterator[None]:
    """So many processes that do nothing but count, one on each core where the system lets us choose."""
    script = "import os; parent = os.getppid()\nwhile os.getppid() == parent: pass"  # ends with its parent, however
    pin = getattr(os, "sched_setaffinity", None)
    allowed = sorted(os.sched_getaffinity(0)) if pin else []
    with ExitStack() as stack:
        for place in range(number):
            process = subprocess.Popen([sys.executable, "-S", "-E", "-c", script])
            stack.callback(process.wait)
            stack.callback(process.kill)
            if pin:
                pin(process.pid, {allowed[place % len(allowed)]})
        yield


@dataclass(frozen=True)
class Line:
    """Two sides and their ratio `key`, `above` / `below`; `number` INRs (or whatever `label` says) are in a turn."""

    key: str
    label: str
    above: str
    below: str
    number: int


HEADER = ("of one INR", "plain form", "ours", "ratio", "in single turns")
TYPES = (str(torch.float32), str(torch.bfloat16))
PRODUCTS_LINE = Line("bf16_matmul_ratio", f"a product of {PRODUCT:,}: float32, bfloat16", *TYPES, PRODUCTS)
PRODUCTS_GFLOP = dict.fromkeys(TYPES, 2e-9 * PRODUCT**3)


class Turns:
    """Seconds of sides that take turns, `total` turns in all; those beside busy processes have LOADED behind their
    name.
    """

    def __init__(self, total: int, progress: Progress):
        self.total, self.progress, self.done = total, progress, 0
        self.seconds: dict[str, list[float]] = {}

    def take(self, calls: Mapping[str, Side], repetitions: int, suffix: str = "") -> None:
        """All sides in turns, once without a look at the clock."""
        for side in calls.values():
            side()
        for seconds, _ in alternated(calls, repetitions):
            self.seconds |= {side + suffix: found for side, found in seconds.items()}
            self.done += 1
            self.progress("taking turns", self.done, self.total, {})

    def loaded(self, calls: Mapping[str, Side], repetitions: int) -> None:
        """`take`, with a busy process on every core."""
        with busy(cores()):
            self.take(calls, repetitions, LOADED)

    def told(self, lines: Sequence[Line], gflop: Mapping[str, float]) -> tuple[dict[str, Any], list[list[object]]]:
        """Values, and rows of a table. `gflop` is the arithmetic of one, for sides whose speed is to be told."""
        values: dict[str, Any] = {name: {} for name in ("ms", "gflops", "ratios_in_single_turns")}
        rows: list[list[object]] = []
        for line in lines:
            ratios = [a / b for a, b in zip(self.seconds[line.above], self.seconds[line.below], strict=True)]
            values[line.key] = statistics.median(ratios)
            values["ratios_in_single_turns"][line.key] = ratios
            cells = []
            for side in (line.above, line.below):
                ms = values["ms"][side] = 1e3 * statistics.median(self.seconds[side]) / line.number
                speed = values["gflops"][side] = 1e3 * gflop[side.removesuffix(LOADED)] / ms
                cells.append(f"{ms:.3g} ms, {speed:.0f} GFLOP/s")
            rows.append([line.label, *cells, times(values[line.key]), f"{min(ratios):.3g} to {max(ratios):.3g}"])
        return values | {"gflop": dict(gflop)}, rows
