"""`weightwalk reproduce efficiency`: Tables 5 and 8 of Dynamic Neural Graphs (TMLR 2026), what reading a network costs.

Ours are measured in one process of one thread, all ways in turns; published cells are of another machine.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, fields, replace
from functools import cached_property
from pathlib import Path
from statistics import median
from typing import Any, ClassVar

import torch

import weightwalk
from weightwalk import config as configs
from weightwalk.bench.costs import Counted, bytes_of, counted, flops, tensors_of
from weightwalk.bench.load import memory_mib
from weightwalk.bench.team import Team
from weightwalk.progress import Progress, silent
from weightwalk.report import tables
from weightwalk.reproduce import published, readings
from weightwalk.reproduce.readings import Networks, Way
from weightwalk.reproduce.registry import TABLES, Part, Reproduction, Request

PREPARED = 16  # networks that an encoder is prepared on; the first is read
RESULTS = Path(weightwalk.__file__).parents[2] / "results" / "generalization.csv"
"""Our own taus, in a checkout of the repository."""
_MB = 1e6


@dataclass(frozen=True)
class Row:
    """One reader. `source`: "published" (on the authors' machine) or "here".

    `ms` (of a core, where they were measured here) and `gflops` are per network. `mb` is the memory of parameters and
    buffers, `parameters_mb`, and the most that intermediate tensors take at once; of a training step all that it takes
    beside parameters, None where the system does not tell. `tau` is Kendall's of the predicted test accuracy, `tau_of`
    the recipe that it was measured with.
    """

    table: str
    reader: str
    source: str
    ms: float
    mb: float | None
    gflops: float
    parameters_mb: float | None = None
    recipe: str | None = None
    batch: int = 1
    networks: str | None = None
    does: str | None = None
    access: str | None = None
    tau: float | None = None
    tau_of: str | None = None


@dataclass(frozen=True)
class Efficiency:
    """How much is measured: every reading and training step so many times, and the networks of a training step."""

    resumes: ClassVar[bool] = False
    repetitions: int = 15
    steps: int = 3
    batch: int = 64
    inrs: tuple[str, ...] = ("mnist", "cifar10")
    results: Path | None = RESULTS if RESULTS.exists() else None

    @property
    def amounts(self) -> dict[str, Any]:
        return {"repetitions": self.repetitions, "steps": self.steps, "batch": self.batch, "inrs": self.inrs}

    def measure(self, progress: Progress = silent, should_stop: Callable[[], bool] = lambda: False) -> Reproduction:
        """All ways in turns in one process of one thread."""
        with Team(1) as team:
            team.give([_Measured(self.batch if self.steps else 0, self.inrs)])
            _, [ours] = team.run(_count)
            seconds: list[list[float]] = [[] for _ in ours]
            for repetition in range(self.repetitions):
                progress("measuring", repetition, self.repetitions, {})
                for number, row in enumerate(ours):
                    if row.batch == 1 or repetition < self.steps:
                        seconds[number] += team.run(_time, number)[1]
            progress("measuring", self.repetitions, self.repetitions, {})
        for number, row in enumerate(ours):
            if row.does == "training step":
                with Team(1) as team:
                    team.give([_Measured(self.batch, self.inrs)])
                    _, [grown] = team.run(_grown, number)
                ours[number] = replace(row, mb=grown)
        taus = _taus(self.results)
        rows = [*_published(), *(_finished(row, times, taus) for row, times in zip(ours, seconds, strict=True))]
        paper, joint, plain = (
            next(row for row in rows if (row.table, row.reader, row.source) == (_TABLE_5, reader, source))
            for reader, source in (("INR2JLS", _PUBLISHED), ("INR2JLS", _HERE), ("INR2JLS, plain form", _HERE))
        )
        return Reproduction(
            {"rows": [asdict(row) for row in rows]},
            f"INR2JLS reads one MNIST INR in {joint.ms:.2g} ms, {joint.gflops:.2g} GFLOPs and {joint.mb:.3g} MB on one "
            f"core, its plain form in {plain.ms:.2g} ms, {plain.gflops:.3g} GFLOPs and {plain.mb:.3g} MB (published, "
            f"another machine: {paper.ms:.2g} ms, {paper.gflops:.3g} GFLOPs, {paper.mb:.3g} MB)",
            f"What reading a network costs, on {tables.hardware()}",
            tuple(
                _part(title, [row for row in rows if row.table == title])
                for title in dict.fromkeys(r.table for r in rows)
            ),
            (f"Here: {tables.hardware()}.", _MEANING, *_conditions(taus)),
        )


QUICK = Efficiency(repetitions=1, steps=0, inrs=("mnist",))


@TABLES.register("efficiency")
def _efficiency(request: Request) -> Efficiency:
    request.demand_unset("efficiency", *(field.name for field in fields(request) if field.name != "scale"))
    return QUICK if request.scale == "tiny" else Efficiency()


_TABLE_5, _TABLE_8 = "Table 5: one MNIST INR, inference", "Table 8: one ViT of the ViT zoo, inference"
_STEPS = {
    "mnist": "Training step on MNIST INRs, per INR (not published)",
    "cifar10": "Training step on CIFAR-10 INRs, per INR (not published)",
}
_TITLES = {"mnist": _TABLE_5, "vit": _TABLE_8, "cifar10": "One CIFAR-10 INR, inference (not published)"}
_PUBLISHED, _HERE = "published", "here"

_MEANING = """\
Published cells were measured on the authors' machine and count what they count: no ratio of a published time to one of
ours says anything. Ours: milliseconds of a core (CPU time of one thread, which other work lengthens little), medians of
all ways in turns, INRs fitted by the recipe fast, untrained ViTs. The plain form: the paper's equations as they stand.
GFLOPs are torch's own count (torch.utils.flop_counter), 2 per multiply-add of a matrix product or convolution; sines,
gates and sums that are not products are left out, so two forms of one equation may differ, and of what is compiled (the
decoder) the convolutions that it stands for are counted. MB (10^6 bytes) are parameters and the most that intermediate
tensors take at once; what is made of parameters alone and kept between readings is memory, and no work. MB of a
training step are parameters and the growth of a fresh process, for the whole batch, gradients and Adam's moments
included. Readings go from weights to what the head answers, unless they end at the latents."""


def _published() -> list[Row]:
    rows = [Row(_TABLE_5, name, _PUBLISHED, *cost) for name, cost in published.TABLE_5.items()]
    return rows + [Row(_TABLE_8, name, _PUBLISHED, *cost, tau=tau) for name, (cost, tau) in published.TABLE_8.items()]


def _part(title: str, rows: Sequence[Row]) -> Part:
    """A table of rows as people read it, without columns in which nothing stands."""
    columns: dict[str, list[object]] = {
        "reader": [row.reader for row in rows],
        "measured": ["elsewhere (published)" if row.source == _PUBLISHED else row.source for row in rows],
        "networks": [row.batch if row.batch > 1 else None for row in rows],
        "Kendall's tau": [None if row.tau is None else f"{row.tau:.3f}" for row in rows],
        "ms": [f"{row.ms:.3g}" for row in rows],
        "GFLOPs": [f"{row.gflops:.3g}" for row in rows],
        "MB": [None if row.mb is None else f"{row.mb:.3g}" for row in rows],
        "of these parameters": [None if row.parameters_mb is None else f"{row.parameters_mb:.3g}" for row in rows],
    }
    shown = {name: column for name, column in columns.items() if any(value is not None for value in column)}
    return Part(title, [*shown], [list(line) for line in zip(*shown.values(), strict=True)])


def _taus(path: Path | None) -> dict[str, tables.ResultRow]:
    """Our own Kendall's tau on test networks of a ViT zoo, by method: the best of a method's rows."""
    rows = [] if path is None else tables.read(path)
    ours = [row for row in rows if row.metric == "kendall_tau test" and row.recipe.startswith("vit_accuracy")]
    best = {row.method: row for row in sorted(ours, key=lambda row: row.value)}
    return dict(reversed(best.items()))


def _conditions(taus: dict[str, tables.ResultRow]) -> Iterable[str]:
    if taus:
        told = "; ".join(
            f"{method} {row.value:.3f} ({row.zoo}, {row.recipe}, seeds {' '.join(map(str, row.seeds))})"
            for method, row in taus.items()
        )
        yield (
            "Tau of ours is that of results/generalization.csv, of smaller recipes on a zoo of 120 runs (published: "
            f"1,000), so not to be compared with the published one: {told}."
        )


def _finished(row: Row, seconds: Sequence[float], taus: dict[str, tables.ResultRow]) -> Row:
    """A counted row with its time and, of ViTs, its tau."""
    measured = taus.get(row.tau_of or "")
    told = {"tau": measured.value, "tau_of": measured.recipe} if measured else {"tau_of": None}
    return Row(**{**asdict(row), **told, "ms": 1e3 * median(seconds) / row.batch})


# ---- in the process that measures


class _Measured:
    """All ways and what they read, built once. A way that trains comes with its `batch`; 0: there is none."""

    def __init__(self, batch: int, inrs: Sequence[str]):
        self.batch, self.inrs = batch, inrs

    @cached_property
    def ways(self) -> list[tuple[str, Way, Networks]]:
        """The table, the way, the networks."""
        cases = [(_TITLES[kind], kind, False) for kind in _TITLES if kind == "vit" or kind in self.inrs]
        if self.batch:
            cases += [(_STEPS[kind], kind, True) for kind in self.inrs]
        return [
            (title, way, readings.networks(kind, self.batch if step else PREPARED))
            for title, kind, step in cases
            for way in readings.ways(kind, step)
        ]

    @cached_property
    def built(self) -> list[Any]:
        """Per way its module and its call."""
        return [way.build(given) for _, way, given in self.ways]


def _count(state: _Measured) -> list[Row]:
    """Rows without times; every way has run once."""
    rows = []
    for (title, way, given), (module, call) in zip(state.ways, state.built, strict=True):
        own = tensors_of(module)
        if way.trains:  # their memory is another process's
            costs, batch = Counted(flops(call), 0), len(given.weights)
        else:
            with torch.no_grad():
                costs, batch = counted(call, [*own, given.weights.flat]), 1
        parameters = bytes_of(own)
        rows.append(
            Row(
                *(title, way.reader, _HERE, 0.0, (parameters + costs.peak_bytes) / _MB, costs.flops / 1e9 / batch),
                parameters_mb=parameters / _MB,
                recipe=f"{way.recipe}@{configs.fingerprint(configs.to_dict(way.config))}",
                batch=batch,
                tau_of=way.method if way.kind == "vit" else None,
                networks=way.kind,
                does="training step" if way.trains else "inference",
                access=way.config.encoder.build(given.weights.spec).access,
            )
        )
    return rows


def _time(state: _Measured, number: int) -> float:
    """Seconds of a core that a way takes once."""
    (_, way, _), (_, call) = state.ways[number], state.built[number]
    with torch.set_grad_enabled(way.trains):
        began = time.process_time()
        call()
        return time.process_time() - began


def _grown(state: _Measured, number: int) -> float | None:
    """MB of a way's parameters, and by how much this process's peak memory grows in its first training step."""
    _, way, given = state.ways[number]
    module, call = way.build(given)
    before = memory_mib()
    call()
    after = memory_mib(reset=False)
    if before is None or after is None:
        return None
    return (bytes_of(tensors_of(module)) + (after[0] - before[0]) * 2**20) / _MB
