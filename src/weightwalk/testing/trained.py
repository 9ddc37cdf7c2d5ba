"""A zoo of trained networks that nobody trained, made in a moment, for those who try what reads such zoos."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from weightwalk.spec import NetworkSpec
from weightwalk.steps import Conv, Dense, MeanPool
from weightwalk.zoos.shards import Group
from weightwalk.zoos.store import Zoo
from weightwalk.zoos.trained.train import COLUMNS
from weightwalk.zoos.writer import ZooWriter

EPOCHS = (1, 2, 4)


def tiny_trained_zoo(
    path: Path, *, num_runs: int = 100, mixed: bool = False, inputs: int = 1, seed: int = 0, kind: str = "cnn"
) -> Zoo:
    """CNNs of random weights at `path`, three checkpoints each; their size decides their "test accuracy".

    Layer l of a run starts at the scale s_l, log-uniform in 0.3 ... 3, its weights being N(0, s_l^2 / fan-in); from
    checkpoint to checkpoint they grow by 10 %. With m the mean of log s_l over the layers, test accuracy is 0.1 + 0.8 /
    (1 + exp(-2 m)). Runs are relu and tanh networks by turns, of two convolutions; `mixed`: of 1 to 3, each with its
    own width and kernel.
    """
    settings = {"kind": kind, "dataset": "tiny", "seed": seed}
    writer = ZooWriter.open(Path(path), settings=settings, figures=COLUMNS, provenance={"weightwalk": "tests"})
    chances = [np.random.default_rng([seed, number]) for number in range(num_runs)]
    writer.add_groups([_run(number, chance, mixed, inputs) for number, chance in enumerate(chances)])
    return Zoo.open(path)


def _run(number: int, chance: np.random.Generator, mixed: bool, inputs: int) -> Group:
    activation = ("relu", "tanh")[number % 2]
    sizes = [(4, 3), (5, 3)]
    if mixed:
        sizes = [(int(chance.integers(3, 7)), int(chance.choice([3, 5]))) for _ in range(chance.integers(1, 4))]
    widths = [inputs, *(width for width, _ in sizes)]
    convs = [Conv(i, o, activation, kernel=(k, k), padding=k // 2) for i, (o, k) in zip(widths, sizes, strict=False)]
    spec = NetworkSpec((*convs, MeanPool(widths[-1]), Dense(widths[-1], 3)))
    scales = np.exp(chance.uniform(np.log(0.3), np.log(3), len(spec.layers)))
    one = chance.standard_normal(spec.num_parameters)
    for field in spec.fields:
        fan_in = np.prod(spec.layers[field.layer].weight_shape[1:])
        one[field.start : field.stop] *= scales[field.layer] / np.sqrt(fan_in)
    growth = 1.1 ** np.arange(len(EPOCHS))
    accuracy = 0.1 + 0.8 / (1 + np.exp(-2 * (np.log(scales).mean() + np.log(growth))))
    hyperparameters = {"optimizer": ("adam", "sgd")[number // 2 % 2], "learning_rate": float(chance.random())}
    figures = {"epoch": np.array(EPOCHS), "test_accuracy": accuracy.astype(np.float32)}
    return Group(number, spec, (growth[:, None] * one).astype(np.float32), figures, hyperparameters)
