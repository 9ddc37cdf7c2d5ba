"""`weightwalk bench train`: training steps of INR2JLS, ours and the plain form; with other work on the machine, in
bfloat16, in memory; of the encoder alone as the recipes `*_classify_small` have it; and of NG-GNN and NG-T.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from weightwalk import config as configs
from weightwalk.bench import graphs
from weightwalk.bench.found import Found, mib, times
from weightwalk.bench.graphs import GraphSizes
from weightwalk.bench.load import memory_mib
from weightwalk.bench.sides import (
    HALF,
    HEADER,
    LOADED,
    OURS,
    PAPER,
    PLAIN,
    PRODUCTS_GFLOP,
    PRODUCTS_LINE,
    TINY,
    Line,
    Sides,
    Sizes,
    Turns,
    demand_same,
    gflop,
    products,
)
from weightwalk.bench.team import Side, Team
from weightwalk.frameworks.reader import Reader
from weightwalk.progress import Progress, silent
from weightwalk.recipes import RECIPES
from weightwalk.report.tables import hardware
from weightwalk.report.words import percent
from weightwalk.tasks.inr_classification.task import EncoderOnlyConfig
from weightwalk.testing import plain
from weightwalk.training.gradients import gradients

SMALL = ", encoder alone"
CLASSES = 10


@dataclass(frozen=True)
class TrainBench:
    """How much is measured; `small` are settings that the recipe `*_classify_small` has otherwise."""

    sizes: Sizes = PAPER
    repetitions: int = 5
    small_steps: int = 5  # in a turn
    small: tuple[str, ...] = ()
    graphs: GraphSizes = field(default_factory=GraphSizes)

    def measure(self, shape: str = "cifar10", threads: int | None = None, progress: Progress = silent) -> Found:
        """Measure with so many threads for each side (None: one per core)."""
        state, batch = Sides.of(shape, self.sizes, threads), self.sizes.batch
        recipe = f"{shape}_classify_small"
        turns = Turns(2 * self.repetitions, progress)
        with Team(1) as team:
            team.give([state])
            _, [(compared, arithmetic)] = team.run(_compared, recipe, self.small)
            demand_same(compared)
            _, [(of_graphs, arithmetic_of_graphs)] = team.run(_compared_graphs, self.graphs)
            demand_same(of_graphs)
            calls: dict[str, Side] = {side: partial(team.run, _step, side) for side in (PLAIN, OURS)}
            more: dict[str, Side] = {HALF: partial(team.run, _step, HALF)}
            more |= {
                side + SMALL: partial(team.run, _small_step, side, recipe, self.small, self.small_steps)
                for side in (PLAIN, OURS)
            }
            more |= {told: partial(team.run, _graph_step, *who, self.graphs) for told, who in graphs.sides().items()}
            turns.take({**calls, **more, **products(team)}, self.repetitions)
            turns.loaded(calls, self.repetitions)
        peaks = {side: _peak_of(state, side) for side in (PLAIN, OURS)}
        ours, other = peaks[OURS], peaks[PLAIN]
        memory = None if ours is None or other is None else ours / other
        lines = [
            Line("train_fp32_ratio", f"training step, {batch} INRs", PLAIN, OURS, batch),
            Line("train_loaded_ratio", "beside a busy process per core", PLAIN + LOADED, OURS + LOADED, batch),
            Line("train_bf16_ratio", "ours in bfloat16", PLAIN, HALF, batch),
            Line("small_train_ratio", f"{recipe}, step", PLAIN + SMALL, OURS + SMALL, batch * self.small_steps),
            *graphs.lines("train", self.graphs),
            PRODUCTS_LINE,
        ]
        values, rows = turns.told(lines, arithmetic | arithmetic_of_graphs | PRODUCTS_GFLOP)
        rows.append(["peak memory of a step", mib(peaks[PLAIN]), mib(peaks[OURS]), times(memory), ""])
        share = values["train_loaded_ratio"] / values["train_fp32_ratio"]
        return Found(
            {
                **values,
                **{"train_loaded_share": share, "train_peak_memory_ratio": memory, "peak_mib": peaks},
                "max_relative_difference": max(compared.values()),
                **{"shape": shape, "threads": state.threads},
            },
            f"{times(values['train_fp32_ratio'])} the plain form's speed, {times(values['train_loaded_ratio'])} under "
            f"load, {times(values['train_bf16_ratio'])} in bfloat16; {times(memory)} its memory",
            f"Training, INRs of {shape}, on {hardware()}: {state.threads} threads, medians of {self.repetitions} turns",
            HEADER,
            rows,
            (
                f"Both sides' losses and gradients differ by {max(compared.values()):.1e} of their length.",
                f"Under load {percent(share)} of the idle ratio is left.",
                "Memory: ours / plain, of what a process takes for its first steps beyond what it had before, so with "
                "gradients and Adam's averages, and without parameters and networks.",
            ),
        )


QUICK = TrainBench(
    TINY,
    repetitions=2,
    small_steps=1,
    small=("encoder.dim=8", "encoder.num_frequencies=4", "head.hidden_dim=8"),
    graphs=graphs.TINY,
)


# ---- in the worker


def _loss(model: Any, side: str, samples: tuple[Any, Tensor]) -> Tensor:
    networks, targets = samples
    return F.mse_loss(plain.pictures(model, networks) if side == PLAIN else model(networks), targets)


def _small_loss(reader: Any, side: str, samples: tuple[Any, Tensor]) -> Tensor:
    networks, labels = samples
    encodings = plain.pooled(reader.encoder, networks) if side == PLAIN else reader.encoder.encode(networks)
    return F.cross_entropy(reader.head(encodings), labels)


def _gradients(model: nn.Module, loss: Callable[..., Tensor], sides: Sides, side: str, samples: Any) -> Tensor:
    """The loss of a batch, whose gradients are the only ones afterwards."""
    model.zero_grad()  # to None, so that what was found before stays
    with sides.precision(side):
        if side != PLAIN:
            return gradients(model, partial(loss, model, side), samples)
        found = loss(model, side, samples)
    found.backward()
    return found.detach()


def _step(sides: Sides, side: str, count: int | None = None) -> None:
    model, optimizer = sides.training(side, sides.model)
    _gradients(model, _loss, sides, side, (sides.networks[:count], sides.targets[:count]))
    optimizer.step()


def _labels(sides: Sides) -> Tensor:
    return torch.arange(sides.sizes.batch) % CLASSES


def _small_model(sides: Sides, recipe: str, settings: tuple[str, ...]) -> Reader:
    config = configs.override(RECIPES[recipe](), settings)
    assert isinstance(config, EncoderOnlyConfig)
    torch.manual_seed(0)
    encoder = config.encoder.build(sides.networks.spec)
    encoder.prepare([sides.networks])
    return Reader(encoder, config.head.build(encoder.encoding_shape, CLASSES))


def _small_step(sides: Sides, side: str, recipe: str, settings: tuple[str, ...], steps: int) -> None:
    name = side + SMALL
    known = name in sides.trained
    model, optimizer = sides.training(name, sides.model if known else _small_model(sides, recipe, settings))
    for _ in range(steps):
        _gradients(model, _small_loss, sides, side, (sides.networks, _labels(sides)))
        optimizer.step()


def _graph_step(sides: Sides, side: str, name: str, sizes: GraphSizes) -> None:
    torch.set_num_threads(sides.threads)
    model, optimizer = sides.training(f"{side}, {name}", graphs.reader(name, sizes))
    _gradients(model, graphs.loss, sides, side, graphs.samples(sizes))
    optimizer.step()


def _compared_graphs(sides: Sides, sizes: GraphSizes) -> tuple[dict[str, float], dict[str, float]]:
    """How far losses and gradients of both sides are apart, in evaluation mode, and GFLOP of a step per INR."""
    apart: dict[str, float] = {}
    calls = {
        told: partial(_gradients, graphs.reader(name, sizes), graphs.loss, sides, side, graphs.samples(sizes))
        for told, (side, name) in graphs.sides().items()
    }
    for name, told in graphs.NAMES.items():
        model, answers = graphs.reader(name, sizes).eval(), {}
        for side in (PLAIN, OURS):
            total = calls[f"{side}, {told}"]()
            answers[side] = {"loss": total.flatten(), **_slopes(model)}
        for what, expected in answers[PLAIN].items():
            apart[f"{what} of {told}"] = float((answers[OURS][what] - expected).norm() / expected.norm())
    arithmetic = {told: gflop(call) / sizes.batch for told, call in calls.items()}
    for name in graphs.NAMES:
        graphs.reader(name, sizes).train().zero_grad()
    return apart, arithmetic


def _compared(sides: Sides, recipe: str, settings: tuple[str, ...]) -> tuple[dict[str, float], dict[str, float]]:
    """How far ours is from the plain form, in evaluation mode; GFLOP of a step of both, per INR."""
    found: dict[str, float] = {}
    arithmetic: dict[str, float] = {}
    cases = {
        "": (sides.model, _loss, sides.targets),
        SMALL: (_small_model(sides, recipe, settings), _small_loss, _labels(sides)),
    }
    for name, (model, loss, targets) in cases.items():
        model.eval()
        samples, answers = (sides.networks, targets), {}
        for side in (PLAIN, OURS):
            arithmetic[side + name] = gflop(partial(_gradients, model, loss, sides, side, samples)) / len(targets)
            total = _gradients(model, loss, sides, side, samples)
            answers[side] = {"loss": total.flatten(), **_slopes(model)}
        for what, expected in answers[PLAIN].items():
            found[what + name] = float((answers[OURS][what] - expected).norm() / expected.norm())
        model.zero_grad()
        model.train()
    return found, arithmetic | {HALF: arithmetic[OURS]}


def _slopes(model: nn.Module) -> dict[str, Tensor]:
    """The gradient of every part of the model as one vector: its single numbers depend on whether a ReLU whose input is
    a rounding error passes it on.
    """
    return {
        f"gradient of the {name}": torch.cat([p.grad.flatten() for p in part.parameters() if p.grad is not None])
        for name, part in model.named_children()
    }


def _peak_of(state: Sides, side: str) -> float | None:
    with Team(1) as team:
        team.give([state])
        return team.run(_peak, side)[1][0]


def _peak(sides: Sides, side: str) -> float | None:
    """By how many MiB the process's peak memory grows in its first two steps."""
    model, _ = sides.training(side, sides.model)
    samples = sides.networks[:1], sides.targets[:1]
    _gradients(model, _loss, sides, side, samples)  # what torch loads once
    model.zero_grad()
    before = memory_mib()
    _step(sides, side)
    _step(sides, side)
    after = memory_mib(reset=False)
    return None if before is None or after is None else after[0] - before[0]
