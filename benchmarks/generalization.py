"""Predicting test accuracy from weights: train each method on a zoo of trained networks with every seed, evaluate,
write rows in results/.

    python benchmarks/generalization.py --zoo ZOO [ZOO ...] --work DIR [--methods dng dng-layers statnn flat] [--seeds 0
    1 2]
        [--recipe cnn_accuracy_small] [--set key=value ...] [--results FILE]

Runs are kept under the work folder and resumed when the script is started again; several may run at once on different
zoos or methods. The recipe follows from the zoo's kind. Rows go to results/generalization.csv: Kendall's tau and R2 on
the test networks, which are read once, when validation has chosen the checkpoint.
"""

from __future__ import annotations

import argparse
import dataclasses
import statistics
from pathlib import Path

import torch
from common import Lines, name_of
from weightwalk.tasks.generalization.config import GeneralizationConfig

from weightwalk import config as configs
from weightwalk.recipes import RECIPES
from weightwalk.report.tables import ResultRow, append
from weightwalk.tasks.generalization import run as runs
from weightwalk.zoos.trained.store import TrainedZoo

RESULTS = Path(__file__).parents[1] / "results" / "generalization.csv"
CPU = torch.device("cpu")
METHODS: dict[str, list[str]] = {
    "dng": [],
    "dng-layers": ["encoder.readout=layers"],  # ours: what every layer's nodes remember on average is read as well
    "statnn": ["encoder=statnn", "head_dim=1000"],  # the published head
    "flat": ["encoder=flat", "head_dim=256"],  # whose first layer has a weight per parameter and unit
}
METRICS = {
    "kendall_tau test": ("test", "tau"),
    "R2 test": ("test", "r2"),
    "MAE test": ("test", "mae"),
    "kendall_tau val": ("val", "tau"),
}


def measure(zoo: TrainedZoo, method: str, arguments: argparse.Namespace) -> None:
    """Train and evaluate a method with every seed and write its rows."""
    recipe = arguments.recipe or f"{zoo.kind.replace('-', '_')}_accuracy_small"
    base = configs.override(RECIPES[recipe](), [*METHODS[method], *arguments.set])
    assert isinstance(base, GeneralizationConfig)
    evaluations = []
    for seed in arguments.seeds:
        out = arguments.work / f"{zoo.path.name}-{method}-{name_of(base)}-s{seed}"
        runs.train(dataclasses.replace(base, seed=seed), zoo, out, device=CPU, progress=Lines(out.name))
        run = runs.Run.open(out)
        done = (run.answers(zoo.settings) / "evaluation.json").exists()
        evaluations.append(run.evaluation(zoo.settings) if done else runs.evaluate(run, zoo, device=CPU))
        print(out.name, evaluations[-1]["test"], evaluations[-1]["seconds"], flush=True)
    made = run.record["made"]
    for metric, (split, name) in METRICS.items():
        values = [evaluation[split][name] for evaluation in evaluations]
        row = ResultRow(
            task="generalization",
            dataset=zoo.settings["dataset"],
            zoo=f"{zoo.kind}@{configs.fingerprint(zoo.settings)}",
            method=method,
            access=evaluations[0]["access"],
            init="independent",
            fits=1,
            metric=metric,
            value=round(statistics.mean(values), 4),
            std=round(statistics.stdev(values), 4) if len(values) > 1 else None,
            seeds=tuple(arguments.seeds),
            recipe=f"{recipe}@{name_of(base)}",
            commit=made["commit"],
            hardware=made["hardware"],
            minutes=round(statistics.mean(sum(evaluation["seconds"].values()) for evaluation in evaluations) / 60, 1),
        )
        append(arguments.results, row)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--zoo", type=Path, nargs="+", required=True)
    parser.add_argument("--work", type=Path, default=Path("runs/generalization"))
    parser.add_argument("--methods", nargs="+", choices=list(METHODS), default=list(METHODS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument(
        "--recipe", choices=[name for name, make in RECIPES.items() if isinstance(make(), GeneralizationConfig)]
    )
    parser.add_argument("--set", nargs="*", default=[])
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    for path in arguments.zoo:
        zoo = TrainedZoo.open(path)
        for method in arguments.methods:
            measure(zoo, method, arguments)


if __name__ == "__main__":
    main()
