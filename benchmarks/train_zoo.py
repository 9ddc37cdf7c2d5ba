"""What training the three zoos costs, as rows of results/train_zoo.csv: seconds of a core per run, for the trainer and
the ways that it is measured against, at the recipes' settings and the published ones. Minutes.

python benchmarks/train_zoo.py [--repetitions 5]
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from common import Lines

from weightwalk import config
from weightwalk.bench.training import TrainZooBench
from weightwalk.report.tables import ResultRow, append, commit, hardware
from weightwalk.zoos.trained.recipes import TRAIN_RECIPES

RESULTS = Path(__file__).parents[1] / "results" / "train_zoo.csv"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repetitions", type=int, default=5)
    began = time.monotonic()
    found = TrainZooBench(repetitions=parser.parse_args().repetitions).measure(1, Lines("train-zoo"))
    minutes = (time.monotonic() - began) / 60
    for name, figures in found.values["zoos"].items():
        label = f"{name}@{config.fingerprint(config.to_dict(TRAIN_RECIPES[name]))}"
        for way, seconds in figures["seconds"].items():
            row = ResultRow(
                task="zoo_training",
                dataset="noise of CIFAR-10's size",
                zoo=label,
                method=way,
                access="query",
                init="torch",
                fits=1,
                metric="seconds of a core per run",
                value=float(f"{seconds:.4g}"),
                std=None,
                seeds=(0,),
                recipe=label,
                commit=commit(),
                hardware=hardware(),
                minutes=round(minutes, 1),
            )
            append(RESULTS, row)
    print(found.sentence)


if __name__ == "__main__":
    main()
