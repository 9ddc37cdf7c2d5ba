"""What the published code does, written from its description, and trees as its authors made them."""

from __future__ import annotations

import glob
import json
import os
import re
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from weightwalk import NetworkSpec
from weightwalk.testing.tiny import random_weights
from weightwalk.zoos.images import ImageSet
from weightwalk.zoos.inr.recipe import FIT_RECIPES
from weightwalk.zoos.published import ImportOutcome, Told, import_zoo
from weightwalk.zoos.splits import SplitRule
from weightwalk.zoos.store import Zoo
from weightwalk.zoos.writer import ZooWriter

SIDE = 5
WIDTHS = (2, 4, 3, 1)
SPEC = NetworkSpec.mlp(WIDTHS)


# ---------------------------------------------------------------- what the published code does, written from its
# description


class NfnLayer(nn.Module):
    def __init__(self, fan_in: int, fan_out: int):
        super().__init__()
        self.linear = nn.Linear(fan_in, fan_out)

    def forward(self, x: Tensor) -> Tensor:
        return torch.sin(30 * self.linear(x))


class NfnSiren(nn.Module):
    """Keys net.0.linear.weight, net.0.linear.bias, ..., net.L.weight, net.L.bias."""

    def __init__(self, widths: tuple[int, ...] = WIDTHS):
        super().__init__()
        hidden = [NfnLayer(i, o) for i, o in pairwise(widths[:-1])]
        self.net = nn.Sequential(*hidden, nn.Linear(widths[-2], widths[-1]))

    def picture(self, side: int) -> Tensor:
        """(C, side, side) with black 0 and white 1; coordinate 0 is the row."""
        line = torch.linspace(-1, 1, side)
        grid = torch.stack(torch.meshgrid(line, line, indexing="ij"), -1).reshape(-1, 2)
        return ((self.net(grid) + 1) / 2).T.reshape(-1, side, side)


class DwsLayer(nn.Linear):
    def forward(self, x: Tensor) -> Tensor:
        return torch.sin(30 * super().forward(x))


class DwsInr(nn.Module):
    """Keys seq.0.weight, seq.0.bias, ...; the output is offset by a half."""

    def __init__(self, widths: tuple[int, ...] = WIDTHS):
        super().__init__()
        hidden = [DwsLayer(i, o) for i, o in pairwise(widths[:-1])]
        self.seq = nn.Sequential(*hidden, nn.Linear(widths[-2], widths[-1]))

    def picture(self, side: int) -> Tensor:
        """(C, side, side) with black 0 and white 1; coordinate 0 is the column, as numpy's meshgrid has it."""
        x, y = np.meshgrid(np.linspace(-1, 1, side), np.linspace(-1, 1, side))
        grid = torch.from_numpy(np.stack([x.flatten(), y.flatten()]).T).float()
        return (self.seq(grid) + 0.5).T.reshape(-1, side, side)


def nfn_dataset(
    folder: Path, prefix: str = "randinit_smaller", split: str = "all", points: tuple[int, int] = (0, 0)
) -> list[tuple[Any, int]]:
    """(state dict, label) in the order of their data set; like theirs, a KeyError where a number is missing."""
    paths, labels = {}, {}
    for path in glob.glob(os.path.join(folder, f"{prefix}_*/*.pth")):
        found = re.search(r"net(\d+)\.pth", path)
        label = re.search(r"_(\d)s/", path)
        assert found is not None
        assert label is not None
        paths[int(found[1])], labels[int(found[1])] = path, int(label[1])
    ends = {"all": (0, len(paths)), "train": (0, points[0]), "val": points, "test": (points[1], len(paths))}
    return [(torch.load(paths[i], weights_only=True), labels[i]) for i in range(*ends[split])]


def nfn_tensors(state: dict[str, Tensor]) -> list[Tensor]:
    """Tensors as their `state_dict_to_tensors` takes them: by position, weight and bias in turn."""
    names = list(state)
    assert all(name.endswith("weight") for name in names[::2])
    assert all(name.endswith("bias") for name in names[1::2])
    return [state[name] for name in names]


def dws_mnist_lists(folder: Path) -> dict[str, dict[str, list[str]]]:
    """What their script finds in MNIST's form, before it splits off the validation part."""
    lists: dict[str, dict[str, list[str]]] = {split: {"path": [], "label": []} for split in ("train", "test")}
    for path in folder.glob("mnist_png_*/**/*.pth"):
        entry = lists["train" if "train" in str(path.relative_to(folder)) else "test"]
        entry["path"].append(path.as_posix())
        entry["label"].append(path.parent.parent.stem.split("_")[-2])
    return lists


def dws_dataset(lists: Path, split: str) -> list[tuple[list[Tensor], list[Tensor], int]]:
    """(weights, biases, label) in the order of their data set."""
    entries = json.loads(lists.read_text())[split]
    states = [torch.load(path, weights_only=True) for path in entries["path"]]
    return [
        ([t for n, t in s.items() if "weight" in n], [t for n, t in s.items() if "bias" in n], int(label))
        for s, label in zip(states, entries["label"], strict=True)
    ]


# ---------------------------------------------------------------- trees as their authors made them


def make_nfn(
    folder: Path, numbers: dict[int, int] | None = None, fits: int = 1, seed: int = 0
) -> dict[tuple[int, int], NfnSiren]:
    """Networks by (number, fit); `numbers` are image -> label, the first four of which train."""
    numbers = {0: 3, 1: 0, 2: 3, 3: 1, 4: 2, 5: 0} if numbers is None else numbers
    nets = {}
    for image, label in numbers.items():
        for fit in range(fits if image < 4 else 1):
            torch.manual_seed(1000 * seed + 10 * image + fit)
            name = "randinit_smaller" + (f"_aug{fit - 1}" if fit else "")
            path = folder / f"{name}_{label}s" / f"net{image}.pth"
            path.parent.mkdir(parents=True, exist_ok=True)
            nets[image, fit] = NfnSiren()
            torch.save(nets[image, fit].state_dict(), path)
    return nets


def make_dws(folder: Path, form: str, train: int = 6, test: int = 2) -> dict[tuple[str, int], DwsInr]:
    """Networks by (part, image); the label of an image is image mod 3."""
    nets = {}
    for part, count in (("train", train), ("test", test)):
        for image in range(count):
            torch.manual_seed(image + 100 * (part == "test"))
            net = nets[part, image] = DwsInr()
            if form == "mnist":
                path = folder / f"mnist_png_{part}ing_{image % 3}_{image}" / "checkpoints" / "model_final.pth"
                state: dict[str, Any] = net.state_dict()
            else:
                path = folder / part / f"model_{image}.pth"
                state = {**net.state_dict(), "label": image % 3}
            path.parent.mkdir(parents=True, exist_ok=True)
            torch.save(state, path)
    if form == "fashion":
        splits = {"train": [0, 2, 3, 5], "val": [4, 1], "test": range(test)}
        parts = {"train": "train", "val": "train", "test": "test"}
        paths = {
            split: [f"/home/author/fmnist_inrs/{parts[split]}/model_{image}.pth" for image in of]
            for split, of in splits.items()
        }
        (folder / "splits.json").write_text(json.dumps(paths))
    return nets


def flat(net: nn.Module) -> Tensor:
    return torch.cat([tensor.flatten() for tensor in net.state_dict().values()])


def content(path: Path) -> dict[str, bytes]:
    return {str(file.relative_to(path)): file.read_bytes() for file in sorted(path.rglob("*")) if file.is_file()}


def make_zoo(
    path: Path, dataset: str = "mnist", parts: dict[str, int] | None = None, fits: int = 2, recipe: str = "nfn"
) -> Zoo:
    """Random networks in the place of fitted ones; extra fits of training images, of which every third validates."""
    pixels, rule = FIT_RECIPES[recipe].pixels, SplitRule(val_every=3)
    settings = {
        "kind": "inr",
        "dataset": dataset,
        "image_shape": [1, SIDE, SIDE],
        "image_dtype": "uint8",
        "label_names": list("abcd"),
        "spec": SPEC.to_dict(),
        "fit": {"name": recipe, "pixels": vars(pixels)},
    }
    writer = ZooWriter.open(
        path, settings=settings, figures={"psnr": "float32"}, splits=rule, provenance={}, sources=True
    )
    for part, count in (parts or {"train": 6, "test": 3}).items():
        images = np.arange(count)
        writer.add_sources(part, images, np.zeros((count, 1, SIDE, SIDE), np.uint8), images % 4)
        for fit in range(fits):
            some = images if fit == 0 else images[rule.assign(part, images) == 0]
            if len(some):
                networks = random_weights(SPEC, len(some), seed=len(part) * 10 + fit)
                writer.add_rows(part, fit, some, networks.flat, {"psnr": np.zeros(len(some), np.float32)})
    return Zoo.open(path)


def spread(tree: Path) -> None:
    """A tree over three shards, with two fits in the first."""
    make_nfn(tree, {**dict.fromkeys([0, 1, 2, 3], 1), **dict.fromkeys([510, 511, 512, 513], 2), 5000: 3}, fits=2)


LABELS = [3, 0, 3, 1, 2, 0]
"""Those of `make_nfn`."""


def sets(train: list[int] = LABELS[:4], test: list[int] = LABELS[4:]) -> list[ImageSet]:
    """A data set of noise with these labels."""
    rng = np.random.default_rng(0)
    return [
        ImageSet.from_arrays(
            rng.integers(0, 256, (len(of), SIDE, SIDE), np.uint8),
            of,
            dataset="toys",
            part=part,
            label_names=tuple("abcd"),
        )
        for part, of in (("train", train), ("test", test))
        if of
    ]


def after(calls: int) -> Callable[[], bool]:
    """A `should_stop` that says yes once it was asked so often."""
    answers = iter([False] * calls)
    return lambda: next(answers, True)


def import_tree(
    folder: Path,
    layout: str,
    out: Path,
    *,
    split: tuple[int, int] | Path | None = None,
    should_stop: Callable[[], bool] = lambda: False,
    **told: Any,
) -> ImportOutcome:
    """`import_zoo` with what is told as keywords; `split` is bounds or a file."""
    if split is not None:
        told["splits" if isinstance(split, Path) else "bounds"] = split
    return import_zoo(layout, folder, out, Told(**told), should_stop=should_stop)
