"""INR classification on real images, from files to rows in results/: fit the zoos, train every recipe with every seed,
evaluate, write.

    python benchmarks/inr_classification.py --data DIR --work DIR [--datasets mnist fashion-mnist] [--inits shared
    independent]
        [--methods encoder inr2jls] [--seeds 0 1 2] [--train-images 12000] [--test-images 5000] [--fit-recipe fast]
        [--fits 2] [--set key=value ...]

DIR/mnist and DIR/fashion-mnist hold the published idx files. Everything is kept under the work folder and resumed
when the script is started again; several may run at once on different data sets. Rows go to
results/inr_classification.csv.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import inr_zoos
import torch
from common import Lines, measure

from weightwalk import config as configs
from weightwalk.cli.common import FITTING, keep_time
from weightwalk.recipes import RECIPES
from weightwalk.tasks.inr_classification.task import EncoderOnlyConfig, INR2JLSConfig
from weightwalk.zoos.inr.fit import fit_zoo, load_sets
from weightwalk.zoos.inr.recipe import FIT_RECIPES
from weightwalk.zoos.store import Zoo
from weightwalk.zoos.work import ENGINES

RESULTS = Path(__file__).parents[1] / "results" / "inr_classification.csv"
SHORT = {"mnist": "mnist", "fashion-mnist": "fashion"}


def fit(dataset: str, init: str, arguments: argparse.Namespace) -> Zoo:
    """The zoo of a data set and a start, fitted where it is not there yet."""
    path, recipe = arguments.work / f"{dataset}-{init}-{arguments.fit_recipe}", FIT_RECIPES[arguments.fit_recipe]
    for split, limit in (("train", arguments.train_images), ("test", arguments.test_images)):
        sets = load_sets(dataset, arguments.data / dataset, split, limit)
        outcome = fit_zoo(
            sets,
            path,
            recipe,
            init=init,
            fits=arguments.fits,
            split=split,
            workers=ENGINES["local"](None),
            progress=Lines(path.name),
        )
        keep_time(path, FITTING, outcome.seconds if outcome.fitted else 0.0)
    zoo = Zoo.open(path)
    inr_zoos.describe(zoo)
    return zoo


def rows_of(recipe: str, zoo: Zoo, arguments: argparse.Namespace) -> None:
    """Train and evaluate a recipe with every seed and write its rows."""
    base = configs.override(RECIPES[recipe](), arguments.set)
    assert isinstance(base, INR2JLSConfig | EncoderOnlyConfig)
    name = f"{recipe}-{zoo.settings['init']}-{zoo.settings['fit']['name']}"
    measure(base, zoo, name, arguments.seeds, arguments.work / "runs", RESULTS)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--datasets", nargs="+", default=["mnist", "fashion-mnist"])
    parser.add_argument("--inits", nargs="+", default=["shared", "independent"])
    parser.add_argument("--methods", nargs="+", default=["encoder", "inr2jls"])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--train-images", type=int, default=12_000)
    parser.add_argument("--test-images", type=int, default=5_000)
    parser.add_argument("--fit-recipe", default="fast")
    parser.add_argument("--fits", type=int, default=2)
    parser.add_argument("--set", nargs="*", default=[])
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    arguments.work.mkdir(parents=True, exist_ok=True)
    for dataset in arguments.datasets:
        for init in arguments.inits:
            zoo = fit(dataset, init, arguments)
            for method in arguments.methods:
                rows_of(f"{SHORT[dataset]}_{method}_small", zoo, arguments)


if __name__ == "__main__":
    main()
