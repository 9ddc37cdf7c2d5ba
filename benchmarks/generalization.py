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
from pathlib import Path

import torch
from common import measure

from weightwalk import config as configs
from weightwalk.recipes import RECIPES
from weightwalk.tasks.generalization.task import GeneralizationConfig
from weightwalk.zoos.store import Zoo

RESULTS = Path(__file__).parents[1] / "results" / "generalization.csv"
METHODS: dict[str, list[str]] = {
    "dng": [],
    "dng-layers": ["encoder.readout=layers"],  # ours: what every layer's nodes remember on average is read as well
    "statnn": ["encoder=statnn", "head.hidden_dim=1000"],  # the published head
    "flat": ["encoder=flat", "head.hidden_dim=256"],  # whose first layer has a weight per parameter and unit
}


def rows_of(zoo: Zoo, method: str, arguments: argparse.Namespace) -> None:
    """Train and evaluate a method with every seed and write its rows."""
    recipe = arguments.recipe or f"{zoo.kind.replace('-', '_')}_accuracy_small"
    config = configs.override(RECIPES[recipe](), [*METHODS[method], *arguments.set])
    measure(config, zoo, f"{zoo.path.name}-{method}", arguments.seeds, arguments.work, arguments.results, method)


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
        zoo = Zoo.open(path)
        for method in arguments.methods:
            rows_of(zoo, method, arguments)


if __name__ == "__main__":
    main()
