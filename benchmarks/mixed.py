"""Steps of training on the Wild Park, where nearly every network of a batch has an architecture of its own: a batch
read together against each network alone, side by side in one process, one thread.

With `--against TREE`, the folder of another state of this repository, its steps are measured as well, in a process of
its own, in turn with ours. Times are processor seconds, the least of several rounds; ratios are other / together.

python benchmarks/mixed.py [--json] [--rounds 10] [--recipe wild_park_accuracy_small] [--against TREE]
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from weightwalk.encoders.base import Encoder
from weightwalk.frameworks.reader import Reader
from weightwalk.networks.starts import Key, classifier
from weightwalk.recipes import RECIPES
from weightwalk.tasks.generalization.task import GeneralizationConfig
from weightwalk.weights import Weights
from weightwalk.zoos.trained.recipes import TRAIN_RECIPES

PICTURES, CLASSES = (3, 32, 32), 10


class Steps:
    """Losses and gradients of a recipe's reader on one batch of the Wild Park, each network with its own start."""

    def __init__(self, recipe: str):
        config = RECIPES[recipe]()
        assert isinstance(config, GeneralizationConfig)
        size = config.regress.batch_size
        drawn = [TRAIN_RECIPES["wild-park"].drawn(PICTURES, CLASSES, 0, run) for run in range(size)]
        self.networks = [classifier(each.spec, Key(0, 0, run, 0)) for run, each in enumerate(drawn)]
        torch.manual_seed(0)
        self.encoder: Encoder = config.encoder.build(*(networks.spec for networks in self.networks))
        self.encoder.prepare(self.networks)
        self.reader = Reader(self.encoder, config.head.build(self.encoder.encoding_shape, 1))
        self.target = torch.rand(size, 1)

    def once(self, encode: Callable[[list[Weights]], Tensor]) -> float:
        """Processor seconds of a step."""
        start = time.process_time()
        self.reader.zero_grad()
        answers = self.reader.head(encode(self.networks))
        torch.nn.functional.binary_cross_entropy_with_logits(answers, self.target).backward()
        return time.process_time() - start

    def together(self) -> float:
        """As it is trained."""
        return self.once(self.encoder.encode)

    def alone(self) -> float:
        """Network by network."""
        return self.once(lambda networks: torch.cat([self.encoder.encode(each) for each in networks]))


def served(recipe: str) -> None:
    """Do a step for every line that comes in, and say what it took."""
    steps = Steps(recipe)
    for _ in sys.stdin:
        print(steps.together(), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--recipe", default="wild_park_accuracy_small")
    parser.add_argument("--against", type=Path)
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.serve:
        return served(options.recipe)
    steps = Steps(options.recipe)
    sides: dict[str, Callable[[], float]] = {"together": steps.together, "alone": steps.alone}
    other = None
    if options.against is not None:
        command = [sys.executable, __file__, "--serve", "--recipe", options.recipe]
        environment = os.environ | {"PYTHONPATH": str(options.against / "src")}
        other = subprocess.Popen(command, stdin=-1, stdout=-1, text=True, bufsize=1, env=environment)
        incoming, outgoing = other.stdin, other.stdout
        assert incoming is not None
        assert outgoing is not None

        def asked() -> float:
            incoming.write("\n")
            return float(outgoing.readline())

        sides["against"] = asked
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(options.rounds + 1):
        for name, side in sides.items():
            seconds[name].append(side())
    if other is not None:
        other.communicate()
    least = {name: min(times[1:]) for name, times in seconds.items()}
    values = {"recipe": options.recipe, "architectures": len({each.spec for each in steps.networks}), "seconds": least}
    ratios = {"mixed_train_ratio": least["alone"] / least["together"]}
    if other is not None:
        ratios["mixed_train_ratio_against"] = least["against"] / least["together"]
    if options.json:
        print(json.dumps(values | ratios))
    else:
        print(f"{values['recipe']}, {values['architectures']} architectures in a batch of {len(steps.networks)}")
        for name, least_seconds in least.items():
            print(f"{name:9} {least_seconds:.3f} s a step, {least_seconds / least['together']:.2f} x together")


if __name__ == "__main__":
    main()
