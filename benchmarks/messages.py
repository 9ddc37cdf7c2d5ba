"""The DNG-Encoder's message sum in pieces against the same in one piece, side by side in one process, one thread.

Times are processor seconds, each the least of several rounds; ratios are plain / pieces, the medians of rounds. Peak
memory is that of a process of its own, beyond what it took before the sum.

python benchmarks/messages.py [--json] [--rounds 5]
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import subprocess
import sys
import time
from collections.abc import Callable

import torch
from torch import Tensor

from weightwalk.bench.load import memory_mib
from weightwalk.encoders.edges import EdgeMap, FourierMap
from weightwalk.encoders.messages import messages
from weightwalk.graphs.features import FourierFeatures
from weightwalk.testing.plain import messages as plain_messages

SIZES = {"small": (32, 128), "encoder": (128, 128), "paper": (128, 512)}  # frequencies, memory width
MODES = ("forward", "backward", "backward to the weights too")
Form = Callable[[Tensor, EdgeMap, Tensor], Tensor]


def plain(values: Tensor, edge: EdgeMap, sources: Tensor) -> Tensor:
    """m_i = sum_j e(v_ij) * s_j with all edges at once."""
    return plain_messages(edge(values), sources)


FORMS: dict[str, Form] = {"plain": plain, "pieces": messages}


def problem(size: str) -> tuple[Tensor, EdgeMap, Tensor]:
    """64 networks, 32 nodes to 32 nodes."""
    torch.manual_seed(0)
    frequencies, dim = SIZES[size]
    edge = FourierMap(1, FourierFeatures(frequencies, 3.0), dim)
    return 0.02 * torch.randn(64, 32, 32, 1), edge, torch.randn(64, 32, dim, requires_grad=True)


def once(form: Form, mode: str, values: Tensor, edge: EdgeMap, sources: Tensor) -> float:
    """Processor seconds of one sum."""
    values = values.detach().requires_grad_(mode == MODES[2])
    start = time.process_time()
    with torch.set_grad_enabled(mode != MODES[0]):
        summed = form(values, edge, sources)
    if mode != MODES[0]:
        summed.sum().backward()
    return time.process_time() - start


def peak_mib(size: str, mode: str, form: str) -> float:
    """What a process that does one sum takes beyond the tensors that it is given."""
    done = subprocess.run([sys.executable, __file__, "--peak", size, mode, form], capture_output=True, check=True)
    return float(done.stdout)


def peak_here(size: str, mode: str, form: str) -> None:
    """The other side of `peak_mib`: prints it."""
    values, edge, sources = problem(size)
    once(FORMS[form], mode, values[:1], edge, sources[:1].detach().requires_grad_())  # what torch loads once
    before = memory_mib()
    once(FORMS[form], mode, values, edge, sources)
    after = memory_mib(reset=False)
    print(after[0] - before[0] if before and after else math.nan)


def measure(size: str, mode: str, rounds: int) -> dict[str, str | float]:
    """Both forms in turn."""
    given = problem(size)
    found: dict[str, list[float]] = {name: [] for name in FORMS}
    for _ in range(rounds + 1):
        for name, form in FORMS.items():
            found[name].append(once(form, mode, *given))
    found = {name: seconds[1:] for name, seconds in found.items()}  # the first round warms up
    peaks = {name: round(peak_mib(size, mode, name), 1) for name in FORMS}
    ratio = statistics.median(one / other for one, other in zip(found["plain"], found["pieces"], strict=True))
    frequencies, dim = SIZES[size]
    return {
        **{"networks": 64, "nodes": "32 -> 32", "frequencies": frequencies, "dim": dim, "mode": mode},
        **{f"{name}_ms": round(1e3 * min(seconds), 1) for name, seconds in found.items()},
        **{"ratio": round(ratio, 2)},
        **{f"{name}_peak_mib": peak for name, peak in peaks.items()},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--peak", nargs=3, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if arguments.peak:
        peak_here(*arguments.peak)
        return
    found = [measure(size, mode, arguments.rounds) for size in SIZES for mode in MODES]
    print(json.dumps(found) if arguments.json else "\n".join(map(str, found)))


if __name__ == "__main__":
    main()
