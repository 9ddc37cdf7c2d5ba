"""`weightwalk bench encode`: from INRs to their latents, ours and the plain form; with other work on the machine, in
bfloat16, and one at a time; and what NG-GNN and NG-T take.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial

import torch
from torch import Tensor

from weightwalk.bench import graphs
from weightwalk.bench.found import Found, times
from weightwalk.bench.graphs import GraphSizes
from weightwalk.bench.precision import Agreement
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
    difference,
    gflop,
    products,
)
from weightwalk.bench.team import Side, Team
from weightwalk.progress import Progress, silent
from weightwalk.report.tables import hardware
from weightwalk.report.words import percent
from weightwalk.testing import plain

ONE = ", one INR"


@dataclass(frozen=True)
class EncodeBench:
    """How much is measured."""

    sizes: Sizes = PAPER
    repetitions: int = 7
    singles: int = 20  # calls for one INR in a turn
    graphs: GraphSizes = field(default_factory=GraphSizes)
    agreement: Agreement = field(default_factory=Agreement)

    def measure(self, shape: str = "cifar10", threads: int | None = None, progress: Progress = silent) -> Found:
        """Measure with so many threads for each side (None: one per core)."""
        state, batch = Sides.of(shape, self.sizes, threads), self.sizes.batch
        turns = Turns(2 * self.repetitions, progress)
        with Team(1) as team:
            team.give([state])
            _, [(compared, arithmetic)] = team.run(_compared)
            demand_same({"latents": compared["max_relative_difference"]})
            _, [(of_graphs, arithmetic_of_graphs)] = team.run(_compared_graphs, self.graphs)
            demand_same(of_graphs)
            calls: dict[str, Side] = {side: partial(team.run, _encode, side) for side in (PLAIN, OURS)}
            more: dict[str, Side] = {HALF: partial(team.run, _encode, HALF)}
            more |= {side + ONE: partial(team.run, _encode, side, 1, self.singles) for side in (PLAIN, OURS)}
            more |= {told: partial(team.run, _read, *who, self.graphs) for told, who in graphs.sides().items()}
            turns.take({**calls, **more, **products(team)}, self.repetitions)
            turns.loaded(calls, self.repetitions)
        with Team(1) as team:
            _, [agreement] = team.run(_agreement, self.agreement)
        lines = [
            Line("encode_fp32_ratio", f"encode + latents, {batch} INRs", PLAIN, OURS, batch),
            Line("encode_loaded_ratio", "beside a busy process per core", PLAIN + LOADED, OURS + LOADED, batch),
            Line("encode_bf16_ratio", "ours in bfloat16", PLAIN, HALF, batch),
            Line("batch1_ratio", "one INR, alone", PLAIN + ONE, OURS + ONE, self.singles),
            *graphs.lines("encode", self.graphs),
            PRODUCTS_LINE,
        ]
        values, rows = turns.told(lines, arithmetic | arithmetic_of_graphs | PRODUCTS_GFLOP)
        share = values["encode_loaded_ratio"] / values["encode_fp32_ratio"]
        return Found(
            {**values, "encode_loaded_share": share, **compared, **agreement, "shape": shape, "threads": state.threads},
            f"{times(values['encode_fp32_ratio'])} the plain form's speed, {times(values['encode_loaded_ratio'])} "
            f"under load, {times(values['encode_bf16_ratio'])} in bfloat16",
            f"Encoding INRs of {shape} on {hardware()}: {state.threads} threads, medians of {self.repetitions} turns",
            HEADER,
            rows,
            (
                f"Both sides' latents differ by {compared['max_relative_difference']:.1e} of the largest.",
                f"Under load {percent(share)} of the idle ratio is left.",
                f"Of {self.agreement.classified:,} INRs {percent(agreement['bf16_agreement'])} are classified in "
                "bfloat16 as in float32.",
            ),
        )


QUICK = EncodeBench(
    TINY, repetitions=2, singles=2, agreement=Agreement(classified=1700, steps=5, dim=4), graphs=graphs.TINY
)


# ---- in the worker


@torch.no_grad()
def _encode(sides: Sides, side: str, count: int | None = None, repeats: int = 1) -> None:
    """Read the first `count` networks."""
    for _ in range(repeats):
        _latents(sides, side, count)


def _latents(sides: Sides, side: str, count: int | None = None) -> Tensor:
    networks = sides.networks if count is None else sides.networks[:count]
    with sides.precision(side):
        return plain.encode(sides.model, networks) if side == PLAIN else sides.model.latents(networks)


@torch.no_grad()
def _compared(sides: Sides) -> tuple[dict[str, float], dict[str, float]]:
    """How far ours is from the plain form, in both precisions; GFLOP of both per INR."""
    expected, ours, half = (_latents(sides, side) for side in (PLAIN, OURS, HALF))
    each = len(sides.networks)
    with torch.enable_grad():  # without, torch's counter stumbles over modules
        arithmetic = {side: gflop(partial(_latents, sides, side)) / each for side in (PLAIN, OURS)}
    compared = {
        "max_relative_difference": difference(ours, expected),
        "bf16_max_relative_difference": difference(half.float(), expected),
    }
    return compared, {**arithmetic, **{side + ONE: gflop for side, gflop in arithmetic.items()}, HALF: arithmetic[OURS]}


@torch.no_grad()
def _read(sides: Sides, side: str, name: str, sizes: GraphSizes) -> Tensor:
    """Read networks with an encoder of static graphs."""
    torch.set_num_threads(sides.threads)
    return graphs.encodings(graphs.reader(name, sizes).eval(), side, graphs.networks(sizes.batch))


def _compared_graphs(sides: Sides, sizes: GraphSizes) -> tuple[dict[str, float], dict[str, float]]:
    """How far both sides' encodings are apart, and GFLOP per INR."""
    apart: dict[str, float] = {}
    for name in graphs.NAMES:
        expected, ours = (_read(sides, side, name, sizes) for side in (PLAIN, OURS))
        apart[f"encodings of {name}"] = difference(ours, expected)
    calls = {
        told: partial(graphs.encodings, graphs.reader(name, sizes), side, graphs.networks(sizes.batch))
        for told, (side, name) in graphs.sides().items()
    }
    return apart, {told: gflop(call) / sizes.batch for told, call in calls.items()}


def _agreement(_: object, amounts: Agreement) -> dict[str, float]:
    return amounts.measure()
