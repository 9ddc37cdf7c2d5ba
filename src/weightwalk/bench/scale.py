"""How reading grows with the network: seconds and memory of a DNG-Encoder over large architectures."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

import torch

from weightwalk.bench.found import Found, mib
from weightwalk.bench.load import memory_mib
from weightwalk.bench.team import Team
from weightwalk.encoders import DNGEncoder
from weightwalk.graphs.dynamic import DynamicGraph
from weightwalk.networks.architectures import gpt2, resnet18
from weightwalk.progress import Progress, silent
from weightwalk.report.tables import hardware
from weightwalk.spec import NetworkSpec
from weightwalk.weights import Weights

_MAKERS: dict[str, Callable[[int], NetworkSpec]] = {"resnet18": resnet18, "gpt2": gpt2}


@dataclass(frozen=True)
class Figures:
    """One network read by one thread, without gradients.

    `cpu_seconds` are what that took of a processor, which is less than `seconds` on a busy machine. `edges` are those
    of the graph: tied weights are read twice. `peak_mib` is by how much the process's peak memory grew as it read,
    beyond the network's own `network_mib`; None where the system doesn't tell.
    """

    architecture: str
    width: int
    parameters: int
    edges: int
    seconds: float
    cpu_seconds: float
    parameters_per_second: float
    network_mib: float
    peak_mib: float | None


@dataclass(frozen=True)
class ScaleBench:
    """The widths read of each architecture, the last its own, and the encoder's size (shared maps, one pass)."""

    resnet18: tuple[int, ...] = (16, 32, 64)
    gpt2: tuple[int, ...] = (192, 384, 768)
    dim: int = 64
    num_frequencies: int = 64
    head_dim: int = 16

    def measure(self, progress: Progress = silent) -> Found:
        """Each network in a process of its own, one after another."""
        jobs = [(name, width) for name in _MAKERS for width in getattr(self, name)]
        found = []
        for number, (name, width) in enumerate(jobs):
            progress(f"reading a {name} of width {width}", number, len(jobs), {})
            with Team(1) as team:
                _, [figures] = team.run(_read, name, width, self)
            found.append(figures)
        progress("reading networks", len(jobs), len(jobs), {})
        exponents = {name: exponent([figures for figures in found if figures.architecture == name]) for name in _MAKERS}
        growth = ", ".join(f"{name} {exponent:.2f}" for name, exponent in exponents.items())
        largest = max(found, key=lambda figures: figures.parameters)
        return Found(
            {"networks": [asdict(figures) for figures in found], "exponents": exponents},
            f"{largest.parameters:,} parameters in {largest.seconds:.1f} s; CPU seconds grow with edges to the power "
            f"{growth}",
            f"Reading networks on {hardware()}: one thread, memories of {self.dim}, "
            f"{2 * self.num_frequencies} features",
            _HEADER,
            [_row(figures) for figures in found],
            (f"CPU seconds grow with edges to the power: {growth}.",),
        )


QUICK = ScaleBench(resnet18=(4, 8), gpt2=(12, 24), dim=8, num_frequencies=4, head_dim=4)


_HEADER = (
    *("architecture", "width", "parameters", "edges", "seconds", "CPU seconds", "parameters/s"),
    *("network", "growth of peak memory"),
)


def _row(found: Figures) -> list[object]:
    """What people read of one network."""
    counts = [f"{count:,.0f}" for count in (found.parameters, found.edges)]
    speed = [f"{found.seconds:.2f}", f"{found.cpu_seconds:.2f}", f"{found.parameters_per_second:,.0f}"]
    return [found.architecture, found.width, *counts, *speed, mib(found.network_mib), mib(found.peak_mib)]


def exponent(figures: Sequence[Figures]) -> float:
    """The slope of log cpu_seconds over log edges."""
    points = [(math.log(each.edges), math.log(each.cpu_seconds)) for each in figures]
    return statistics.linear_regression(*zip(*points, strict=True)).slope


def _read(_: object, name: str, width: int, much: ScaleBench) -> Figures:
    """Encode one network of random weights, whose sizes the encoder knows (`Encoder.prepare`)."""
    spec = _MAKERS[name](width)
    generator = torch.Generator().manual_seed(0)
    weights = Weights(spec, torch.randn(1, spec.num_parameters, generator=generator).mul_(0.02))
    encoder = DNGEncoder(spec, much.dim, much.num_frequencies, scale=1.0, head_dim=much.head_dim, shared=True)
    encoder.prepare([weights])
    before = memory_mib()
    began, cpu_began = time.perf_counter(), time.process_time()
    with torch.no_grad():
        encoder(weights)
    seconds, cpu_seconds = time.perf_counter() - began, time.process_time() - cpu_began
    after = memory_mib(reset=False)
    return Figures(
        name,
        width,
        spec.num_parameters,
        sum(shot.num_edges for shot in DynamicGraph.of(spec).snapshots),
        seconds,
        cpu_seconds,
        spec.num_parameters / seconds,
        4 * spec.num_parameters / 2**20,
        None if before is None or after is None else after[0] - before[0],
    )
