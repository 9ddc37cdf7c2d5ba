"""Reading INRs with INR2JLS at the paper's sizes, ours and the plain form of its equations, as rows of
results/encode.csv: ratios and milliseconds per INR of `weightwalk bench encode` and `bench train`. Minutes.

python benchmarks/encode.py [--shapes cifar10 mnist] [--threads 1 2]
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

from common import Lines

from weightwalk import config
from weightwalk.bench.encode import EncodeBench
from weightwalk.bench.sides import RECIPE, SHAPES
from weightwalk.bench.train import TrainBench
from weightwalk.devices import cores
from weightwalk.report.tables import ResultRow, append, commit, hardware

RESULTS = Path(__file__).parents[1] / "results" / "encode.csv"


def measured(shape: str, threads: int) -> dict[str, float]:
    """Every figure by its words."""
    found: dict[str, float] = {}
    benches: dict[str, EncodeBench | TrainBench] = {"encode": EncodeBench(), "train": TrainBench()}
    for task, bench in benches.items():
        values: dict[str, Any] = bench.measure(shape, threads, Lines(f"{task}-{shape}-{threads}")).values
        found |= {key: values[key] for key in values if key.endswith(("_ratio", "_share")) and values[key] is not None}
        found |= {f"{task}, ms of {side}": ms for side, ms in values["ms"].items()}
        found |= {f"{task}, MiB of {side}": mib for side, mib in values.get("peak_mib", {}).items() if mib is not None}
        found |= {"bf16_agreement": values["bf16_agreement"]} if task == "encode" else {}
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shapes", nargs="+", default=list(SHAPES))
    parser.add_argument("--threads", nargs="+", type=int, default=sorted({1, cores()}))
    arguments = parser.parse_args()
    for shape in arguments.shapes:
        for threads in arguments.threads:
            began = time.monotonic()
            found = measured(shape, threads)
            for metric, value in found.items():
                row = ResultRow(
                    task="reading_speed",
                    dataset=f"pictures of {shape}'s size",
                    zoo=f"{RECIPE.name}@{config.fingerprint(config.to_dict(RECIPE))}",
                    method=f"dng+inr2jls, {threads} threads",
                    access="weights",
                    init="independent",
                    fits=1,
                    metric=metric,
                    value=float(f"{value:.4g}"),
                    std=None,
                    seeds=(0,),
                    recipe=f"{shape}_inr2jls",
                    commit=commit(),
                    hardware=hardware(),
                    minutes=round((time.monotonic() - began) / 60, 1),
                )
                append(RESULTS, row)


if __name__ == "__main__":
    main()
