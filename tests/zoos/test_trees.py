"""Published trees: what their code writes becomes a zoo, and what we write is what their code reads."""

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
import pytest
import torch
from torch import Tensor, nn

from weightwalk import NetworkSpec
from weightwalk.errors import InputError
from weightwalk.testing.tiny import random_weights, tiny_zoo
from weightwalk.weights import Weights
from weightwalk.zoos.check import check
from weightwalk.zoos.fit import fit_zoo
from weightwalk.zoos.images import ImageSet
from weightwalk.zoos.manifest import Manifest
from weightwalk.zoos.recipe import FIT_RECIPES
from weightwalk.zoos.rendering import pixel_format
from weightwalk.zoos.splits import SplitRule
from weightwalk.zoos.store import Zoo, ZooWriter
from weightwalk.zoos.trees import export_tree, import_tree, reading, writing

SIDE = 5
WIDTHS = (2, 4, 3, 1)
SPEC = NetworkSpec.mlp(WIDTHS)


@pytest.fixture(autouse=True)
def no_fsync(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test here takes the power away, and the disk is slow."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


# ---------------------------------------------------------------- what the published code does, written from its description


class Sine(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.sin(30 * x)


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


def make_nfn(folder: Path, numbers: dict[int, int] | None = None, fits: int = 1, seed: int = 0) -> dict[tuple[int, int], NfnSiren]:
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
        paths = {split: [f"/home/author/fmnist_inrs/{parts[split]}/model_{image}.pth" for image in of] for split, of in splits.items()}
        (folder / "splits.json").write_text(json.dumps(paths))
    return nets


def flat(net: nn.Module) -> Tensor:
    return torch.cat([tensor.flatten() for tensor in net.state_dict().values()])


def content(path: Path) -> dict[str, bytes]:
    return {str(file.relative_to(path)): file.read_bytes() for file in sorted(path.rglob("*")) if file.is_file()}


def make_zoo(path: Path, dataset: str = "mnist", parts: dict[str, int] | None = None, fits: int = 2, recipe: str = "nfn") -> Zoo:
    """Random networks in the place of fitted ones; extra fits of training images, of which every third validates."""
    pixels, rule = FIT_RECIPES[recipe].pixels, SplitRule(val_every=3)
    settings = {"dataset": dataset, "image_shape": [1, SIDE, SIDE], "spec": SPEC.to_dict(), "fit": {"name": recipe, "pixels": vars(pixels)}}
    writer = ZooWriter.open(path, settings=settings, label_names="abcd", splits=rule, provenance={})
    for part, count in (parts or {"train": 6, "test": 3}).items():
        images = np.arange(count)
        writer.add_images(part, images, np.zeros((count, 1, SIDE, SIDE), np.uint8), images % 4)
        for fit in range(fits):
            some = images if fit == 0 else images[rule.assign(part, images) == 0]
            if len(some):
                networks = random_weights(SPEC, len(some), seed=len(part) * 10 + fit)
                writer.add_inrs(part, fit, some, networks.flat(), np.zeros(len(some), np.float32))
    return Zoo.open(path)


# ---------------------------------------------------------------- reading


def test_an_nfn_tree_becomes_a_zoo(tmp_path: Path) -> None:
    nets = make_nfn(tmp_path / "tree", fits=3)
    (tmp_path / "tree/randinit_smaller_3s/._net0.pth").write_bytes(b"what macOS leaves")
    (tmp_path / "tree/readme.txt").write_text("words")
    outcome = import_tree(tmp_path / "tree", "nfn", tmp_path / "zoo", size=SIDE, split=(4, 5))
    zoo = Zoo.open(tmp_path / "zoo")
    assert (outcome.read, outcome.already_there, outcome.finished, outcome.pictures) == (14, 0, True, "rendered")
    assert zoo.spec == SPEC
    assert {layer.omega for layer in zoo.spec.layers[:-1]} == {30.0}
    names = [f"all-{image}-f{fit}" for fit in range(3) for image in range(4 if fit else 6)]
    assert zoo.names(zoo.rows()) == names
    expected = torch.stack([flat(nets[image, fit]) for fit in range(3) for image in range(4 if fit else 6)])
    assert torch.equal(zoo.weights(zoo.rows()).flat(), expected)
    assert zoo.labels[:6].tolist() == [3, 0, 3, 1, 2, 0]
    assert zoo.splits[:6].tolist() == [0, 0, 0, 0, 1, 2]
    assert check(tmp_path / "zoo").problems == ()


def test_pictures_are_what_the_base_networks_show(tmp_path: Path) -> None:
    nets = make_nfn(tmp_path / "tree", fits=2)
    import_tree(tmp_path / "tree", "nfn", tmp_path / "zoo", size=SIDE)
    zoo = Zoo.open(tmp_path / "zoo")
    rows = zoo.rows()
    with torch.no_grad():
        shown = {key: net.picture(SIDE) for key, net in nets.items()}
    for row, picture in zip(rows.tolist(), zoo.images(rows), strict=True):
        image, fit = int(zoo.indices[row]), int(zoo.fits[row])
        expected = (shown[image, 0] * 255).round().clamp(0, 255)
        assert (picture - expected).abs().max() <= 1
        error = (shown[image, fit] - picture / 255).square().mean()
        assert zoo.psnr[row] == pytest.approx(-10 * np.log10(float(error)), abs=1e-2)
    assert zoo.settings["images"] == "rendered"


@pytest.mark.parametrize("form", ["mnist", "fashion"])
def test_a_dws_tree_becomes_a_zoo(tmp_path: Path, form: str) -> None:
    nets = make_dws(tmp_path / "tree", form)
    if form == "mnist":  # the archive holds others too
        torch.save({}, (tmp_path / "tree/mnist_png_training_0_0/statistics.pth"))
        (tmp_path / "tree/cifar10_png_train_airplane_0001/checkpoints").mkdir(parents=True)
    import_tree(tmp_path / "tree", "dws", tmp_path / "zoo", size=SIDE)
    zoo = Zoo.open(tmp_path / "zoo")
    rows = zoo.rows()
    assert torch.equal(zoo.weights(rows).flat(), torch.stack([flat(net) for net in nets.values()]))
    assert zoo.labels.tolist() == [0, 1, 2, 0, 1, 2, 0, 1]
    assert zoo.splits.tolist() == ([0, 0, 0, 0, 0, 0, 2, 2] if form == "mnist" else [0, 1, 0, 0, 1, 0, 2, 2])
    with torch.no_grad():
        shown = torch.stack([net.picture(SIDE) for net in nets.values()])
    assert (zoo.images(rows) - (shown * 255).round().clamp(0, 255)).abs().max() <= 1
    assert (pixel_format(zoo).low, pixel_format(zoo).axes) == (-0.5, "xy")


def test_the_published_splits(tmp_path: Path) -> None:
    make_nfn(tmp_path / "tree")
    numbers = np.array([0, 44_999, 45_000, 49_999, 50_000, 54_999, 55_000, 59_999, 60_000, 69_999])
    for dataset, expected in ((None, [0, 0, 1, 1, 2, 2, 2, 2, 2, 2]), ("fashion-mnist", [0, 0, 0, 0, 0, 0, 1, 1, 2, 2])):
        out = tmp_path / str(dataset)
        import_tree(tmp_path / "tree", "nfn", out, size=SIDE, dataset=dataset)
        assert Manifest.read(out).splits.assign("all", numbers).tolist() == expected


@pytest.mark.parametrize("with_labels", [True, False])
def test_dws_lists_of_another_machine(tmp_path: Path, with_labels: bool) -> None:
    make_dws(tmp_path / "tree", "mnist")
    paths = {s: [f"/else/where/{p}/checkpoints/model_final.pth" for p in of] for s, of in {
        "train": [f"mnist_png_training_{i % 3}_{i}" for i in (0, 1, 2, 4)],
        "val": [f"mnist_png_training_{i % 3}_{i}" for i in (5, 3)],
        "test": [f"mnist_png_testing_{i % 3}_{i}" for i in (0, 1)],
    }.items()}  # fmt: skip
    lists = tmp_path / "mnist_splits.json"
    lists.write_text(json.dumps({split: {"path": of, "label": []} for split, of in paths.items()} if with_labels else paths))
    import_tree(tmp_path / "tree", "dws", tmp_path / "zoo", size=SIDE, split=lists)
    assert Zoo.open(tmp_path / "zoo").splits.tolist() == [0, 0, 0, 1, 0, 1, 2, 2]

    paths["val"] += paths["test"][:1]
    lists.write_text(json.dumps(paths))
    with pytest.raises(InputError, match=r"got '.*mnist_png_testing_0_0.*' under val"):
        import_tree(tmp_path / "tree", "dws", tmp_path / "zoo2", split=lists)
    lists.write_text(json.dumps({**paths, "val": []}))
    with pytest.raises(InputError, match=r"split of every network.*mnist_png_training_0_3.*2 are not listed"):
        import_tree(tmp_path / "tree", "dws", tmp_path / "zoo2", split=lists)
    lists.write_text(json.dumps([1, 2]))
    with pytest.raises(InputError, match="lists of paths under train, val and test"):
        import_tree(tmp_path / "tree", "dws", tmp_path / "zoo2", split=lists)
    assert not (tmp_path / "zoo2").exists()


def test_a_split_of_the_other_kind(tmp_path: Path) -> None:
    make_nfn(tmp_path / "nfn")
    make_dws(tmp_path / "dws", "mnist")
    with pytest.raises(InputError, match="expected --bounds, got --splits"):
        import_tree(tmp_path / "nfn", "nfn", tmp_path / "zoo", split=tmp_path / "splits.json")
    with pytest.raises(InputError, match="expected --splits, got --bounds 4 5"):
        import_tree(tmp_path / "dws", "dws", tmp_path / "zoo", split=(4, 5))
    with pytest.raises(InputError, match="0 < a <= b"):
        import_tree(tmp_path / "nfn", "nfn", tmp_path / "zoo", split=(5, 4))


# ---------------------------------------------------------------- the data set's own pictures


LABELS = [3, 0, 3, 1, 2, 0]
"""Those of `make_nfn`."""


def sets(train: list[int] = LABELS[:4], test: list[int] = LABELS[4:]) -> list[ImageSet]:
    """A data set of noise with these labels."""
    rng = np.random.default_rng(0)
    return [
        ImageSet.from_arrays(
            rng.integers(0, 256, (len(of), SIDE, SIDE), np.uint8), of, dataset="toys", part=part, label_names=tuple("abcd")
        )
        for part, of in (("train", train), ("test", test))
        if of
    ]


@pytest.mark.parametrize("train", [2, 4])
def test_nfn_numbers_count_through_train_and_test(tmp_path: Path, train: int) -> None:
    make_nfn(tmp_path / "tree", fits=2)
    parts = sets(LABELS[:train], LABELS[train:])
    outcome = import_tree(tmp_path / "tree", "nfn", tmp_path / "zoo", images=parts)
    zoo = Zoo.open(tmp_path / "zoo")
    assert outcome.pictures == "data set"
    assert np.array_equal(zoo.images(zoo.rows(max_fits=1)), np.concatenate([s.pixels for s in parts]))
    assert (zoo.settings["dataset"], zoo.settings["images"], zoo.label_names) == ("toys", "data set", tuple("abcd"))
    shown = pixel_format(zoo).render(zoo.weights(zoo.rows()), SIDE, SIDE)
    error = (shown - zoo.images(zoo.rows()) / 255).square().mean(dim=(1, 2, 3))
    assert zoo.psnr == pytest.approx(-10 * torch.log10(error).numpy(), abs=1e-3)


def test_dws_images_are_those_of_their_part(tmp_path: Path) -> None:
    make_dws(tmp_path / "tree", "fashion")
    parts = sets(train=[0, 1, 2, 0, 1, 2], test=[0, 1])
    import_tree(tmp_path / "tree", "dws", tmp_path / "zoo", images=parts)
    zoo = Zoo.open(tmp_path / "zoo")
    assert np.array_equal(zoo.images(zoo.rows()), np.concatenate([s.pixels for s in parts]))


def test_pictures_of_another_data_set(tmp_path: Path) -> None:
    make_nfn(tmp_path / "tree")
    make_dws(tmp_path / "dws", "mnist")
    with pytest.raises(
        InputError, match=r"label 1, that of its picture in toys, got 3 in \S*/randinit_smaller_3s/net0.pth; is .* another data set"
    ):
        import_tree(tmp_path / "tree", "nfn", tmp_path / "a", images=sets(train=[1, 0, 3, 1], test=[2, 0]))
    with pytest.raises(InputError, match=r"at most 5 all images.*randinit_smaller_0s/net5.pth"):
        import_tree(tmp_path / "tree", "nfn", tmp_path / "b", images=sets(train=[3, 0, 3, 1], test=[2]))
    with pytest.raises(InputError, match=r"at most 0 test images"):
        import_tree(tmp_path / "dws", "dws", tmp_path / "c", images=sets([0, 1, 2, 0, 1, 2], []))
    colour = ImageSet.from_arrays(np.zeros((6, 3, SIDE, SIDE), np.uint8), np.zeros(6, int), part="train")
    with pytest.raises(InputError, match=r"1 channels, as the networks have outputs.*\(3, 5, 5\)"):
        import_tree(tmp_path / "tree", "nfn", tmp_path / "d", images=[colour])
    with pytest.raises(InputError, match="of 28 pixels a side"):
        import_tree(tmp_path / "tree", "nfn", tmp_path / "d", images=sets(), size=28)


# ---------------------------------------------------------------- going on


def after(calls: int) -> Callable[[], bool]:
    """A `should_stop` that says yes once it was asked so often."""
    answers = iter([False] * calls)
    return lambda: next(answers, True)


def spread(tree: Path) -> None:
    """A tree over three shards, with two fits in the first."""
    make_nfn(tree, {**dict.fromkeys([0, 1, 2, 3], 1), **dict.fromkeys([510, 511, 512, 513], 2), 5000: 3}, fits=2)


def test_an_import_that_was_stopped_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spread(tmp_path / "tree")
    import_tree(tmp_path / "tree", "nfn", tmp_path / "straight", size=SIDE)
    read = reading.read_state
    paths: list[Path] = []
    monkeypatch.setattr(reading, "read_state", lambda path: [paths.append(path), read(path)][1])
    monkeypatch.setattr(reading, "_CHUNK", 3)
    for calls in (0, 1, 3, 5):
        outcome = import_tree(tmp_path / "tree", "nfn", tmp_path / "zoo", size=SIDE, should_stop=after(calls))
        assert not outcome.finished or calls == 5
    assert import_tree(tmp_path / "tree", "nfn", tmp_path / "zoo", size=SIDE).finished
    assert content(tmp_path / "zoo") == content(tmp_path / "straight")

    paths.clear()
    outcome = import_tree(tmp_path / "tree", "nfn", tmp_path / "zoo", size=SIDE)
    assert (outcome.read, outcome.already_there, outcome.finished) == (0, 13, True)
    assert len(paths) == 1  # the first, for the architecture


def test_networks_that_come_later(tmp_path: Path) -> None:
    make_nfn(tmp_path / "tree")
    import_tree(tmp_path / "tree", "nfn", tmp_path / "zoo", size=SIDE)
    nets = make_nfn(tmp_path / "tree", {0: 3, 1: 0, 2: 3, 3: 1, 4: 2, 5: 0, 6: 1}, fits=2)
    outcome = import_tree(tmp_path / "tree", "nfn", tmp_path / "zoo", size=SIDE)
    assert (outcome.read, outcome.already_there) == (5, 6)
    zoo = Zoo.open(tmp_path / "zoo")
    assert torch.equal(zoo.weights(zoo.rows()).flat()[-4:], torch.stack([flat(nets[image, 1]) for image in range(4)]))
    assert len(zoo) == 11


def test_memory_is_that_of_a_shard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spread(tmp_path / "tree")
    sizes: list[int] = []
    add = ZooWriter.add_inrs
    monkeypatch.setattr(
        ZooWriter, "add_inrs", lambda self, part, fit, images, *rest: [sizes.append(len(images)), add(self, part, fit, images, *rest)][1]
    )
    import_tree(tmp_path / "tree", "nfn", tmp_path / "zoo", size=SIDE)
    assert sizes == [6, 4, 2, 1]


def test_an_imported_zoo_is_not_a_fitted_one(tmp_path: Path) -> None:
    make_nfn(tmp_path / "tree")
    import_tree(tmp_path / "tree", "nfn", tmp_path / "zoo", images=sets(), split=(4, 5))
    before = content(tmp_path / "zoo")
    with pytest.raises(InputError, match=r"made with other settings.*fit.name was imported, nfn layout, now nfn"):
        fit_zoo(sets(), tmp_path / "zoo", FIT_RECIPES["nfn"])
    with pytest.raises(InputError, match=r"images was data set, now rendered"):
        import_tree(tmp_path / "tree", "nfn", tmp_path / "zoo", size=SIDE, dataset="toys", split=(4, 5))
    assert content(tmp_path / "zoo") == before


# ---------------------------------------------------------------- files that are not what they should be


def spoilt(state: dict[str, Any], how: str) -> Any:
    name = "net.1.linear.weight"
    return {
        "nan": {**state, name: torch.full_like(state[name], torch.nan)},
        "wider": NfnSiren((2, 4, 5, 1)).state_dict(),
        "deeper": NfnSiren((2, 4, 3, 3, 1)).state_dict(),
        "float64": {key: tensor.double() for key, tensor in state.items()},
        "no bias": {key: tensor for key, tensor in state.items() if key != "net.0.linear.bias"},
        "a list": [1, 2],
        "code": {**state, "hook": print},
    }[how]


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ("nan", r"finite weights in PATH, but net.1.linear.weight"),
        (
            "wider",
            r"PATH is not a network of the shape of \S*randinit_smaller_1s/net0.pth: net.1.linear.weight must be \(3, 4\).*got \(5, 4\)",
        ),
        ("deeper", r"PATH is not a network of the shape of \S*net0.pth: expected 3 weights .* got 4"),
        ("float64", r"float32 weights in PATH, got float64"),
        ("no bias", r"PATH is not a network of the shape of \S*net0.pth: .*net.0.linear.bias"),
        ("a list", r"state dict in PATH, got list"),
        ("code", r"tensors alone in PATH, got a pickle that would call .*print"),
        ("truncated", r"one network's parameters at PATH, got a file that torch.load cannot read"),
        ("empty", r"one network's parameters at PATH, got a file that torch.load cannot read"),
    ],
)
def test_a_bad_file_is_named_and_nothing_is_lost(tmp_path: Path, how: str, words: str) -> None:
    spread(tmp_path / "tree")
    path = tmp_path / "tree/randinit_smaller_2s/net513.pth"
    good = path.read_bytes()
    if how in ("truncated", "empty"):
        path.write_bytes(good[: len(good) // 2 if how == "truncated" else 0])
    else:
        torch.save(spoilt(torch.load(path, weights_only=True), how), path)
    with pytest.raises(InputError, match=words.replace("PATH", re.escape(str(path)))):
        import_tree(tmp_path / "tree", "nfn", tmp_path / "zoo", size=SIDE)
    assert len(Zoo.open(tmp_path / "zoo")) == 10
    path.write_bytes(good)
    outcome = import_tree(tmp_path / "tree", "nfn", tmp_path / "zoo", size=SIDE)
    assert (outcome.read, outcome.already_there) == (3, 10)
    assert check(tmp_path / "zoo").problems == ()


def test_the_first_file_has_to_be_a_siren(tmp_path: Path) -> None:
    make_nfn(tmp_path / "tree")
    path = tmp_path / "tree/randinit_smaller_3s/net0.pth"
    for state in ({}, {"weight": torch.zeros(3, 2)}, nn.Conv2d(1, 1, 3).state_dict(), NfnSiren((3, 4, 1)).state_dict()):
        torch.save(state, path)
        with pytest.raises(InputError, match=f"SIREN of 2 coordinates in {re.escape(str(path))}"):
            import_tree(tmp_path / "tree", "nfn", tmp_path / "zoo")
    assert not (tmp_path / "zoo").exists()


@pytest.mark.parametrize("label", [None, "three", 11, torch.tensor([1, 2])])
def test_labels_in_files(tmp_path: Path, label: Any) -> None:
    make_dws(tmp_path / "tree", "fashion")
    path = tmp_path / "tree/train/model_3.pth"
    state = torch.load(path, weights_only=True)
    torch.save({**state, "label": torch.tensor(0)}, path)
    import_tree(tmp_path / "tree", "dws", tmp_path / "good", size=SIDE)
    torch.save({**state, "label": label}, path)
    with pytest.raises(InputError, match=rf"label .*{re.escape(str(path))}"):
        import_tree(tmp_path / "tree", "dws", tmp_path / "zoo", size=SIDE)


def test_a_file_that_went_while_reading(tmp_path: Path) -> None:
    make_dws(tmp_path / "tree", "mnist")
    path = tmp_path / "tree/mnist_png_training_2_2/checkpoints/model_final.pth"
    path.unlink()
    with pytest.raises(InputError, match=f"parameters at {re.escape(str(path))}, found no such file"):
        import_tree(tmp_path / "tree", "dws", tmp_path / "zoo", size=SIDE)


def test_two_networks_for_one_place(tmp_path: Path) -> None:
    make_nfn(tmp_path / "tree")
    make_nfn(tmp_path / "tree", {2: 7})
    with pytest.raises(
        InputError, match=r"one network of image 2, got \S*randinit_smaller_3s/net2.pth and \S*randinit_smaller_7s/net2.pth"
    ):
        import_tree(tmp_path / "tree", "nfn", tmp_path / "zoo")


def test_fits_of_one_image_have_one_label(tmp_path: Path) -> None:
    make_nfn(tmp_path / "tree", fits=2)
    (tmp_path / "tree/randinit_smaller_aug0_7s").mkdir()
    (tmp_path / "tree/randinit_smaller_aug0_1s/net3.pth").rename(tmp_path / "tree/randinit_smaller_aug0_7s/net3.pth")
    with pytest.raises(InputError, match=r"label 1, that of its picture in the zoo, got 7 in \S*aug0_7s/net3.pth"):
        import_tree(tmp_path / "tree", "nfn", tmp_path / "zoo", size=SIDE)


def test_leading_zeros(tmp_path: Path) -> None:
    make_nfn(tmp_path / "tree")
    (tmp_path / "tree/randinit_smaller_3s/net2.pth").rename(tmp_path / "tree/randinit_smaller_3s/net02.pth")
    with pytest.raises(InputError, match=r"without leading zeros, got \S*net02.pth"):
        import_tree(tmp_path / "tree", "nfn", tmp_path / "zoo")


def test_a_folder_of_something_else(tmp_path: Path) -> None:
    make_nfn(tmp_path / "a/siren_mnist_wts")
    make_dws(tmp_path / "b/mnist-inrs", "mnist")
    (tmp_path / "empty").mkdir()
    for folder, layout, words in [
        (tmp_path / "a", "nfn", f"did you mean {tmp_path}/a/siren_mnist_wts"),
        (tmp_path / "a/siren_mnist_wts", "dws", "it looks like a tree of the layout nfn"),
        (tmp_path / "b/mnist-inrs", "nfn", "it looks like a tree of the layout dws"),
        (tmp_path / "empty", "nfn", r"files like randinit_smaller_0s/net0.pth in .*found none; check the path"),
        (tmp_path / "nowhere", "nfn", "found nothing at"),
        (tmp_path / "empty", "nnf", "unknown layout 'nnf'; known: nfn, dws|unknown layout 'nnf'; known: dws, nfn"),
    ]:
        with pytest.raises(InputError, match=words):
            import_tree(folder, layout, tmp_path / "zoo")
    assert not (tmp_path / "zoo").exists()


# ---------------------------------------------------------------- writing


@pytest.mark.parametrize("recipe", ["nfn", "dws"])
@pytest.mark.parametrize(("layout", "dataset"), [("nfn", "mnist"), ("dws", "mnist"), ("dws", "fashion-mnist"), ("dws", "toys")])
def test_zoo_to_tree_to_zoo_to_tree(tmp_path: Path, layout: str, dataset: str, recipe: str) -> None:
    zoo = make_zoo(tmp_path / "zoo", dataset, recipe=recipe)
    outcome = export_tree(zoo, layout, tmp_path / "tree")
    assert (outcome.written, outcome.already_there, outcome.finished) == (len(zoo) - outcome.left_out, 0, True)
    assert outcome.left_out == (0 if layout == "nfn" else int((zoo.fits > 0).sum()))
    import_tree(tmp_path / "tree", layout, tmp_path / "again", size=SIDE)
    again = Zoo.open(tmp_path / "again")
    rows = zoo.rows(max_fits=None if layout == "nfn" else 1)
    if layout == "nfn":  # fits of train, then of test, became fits of all
        rows = rows[np.lexsort((zoo.indices[rows], zoo.parts[rows], zoo.fits[rows]))]
    assert np.array_equal(again.labels, zoo.labels[rows])
    assert (again.settings["dataset"], again.label_names) == (dataset, zoo.label_names)
    if layout == "dws":
        assert np.array_equal(again.splits, zoo.splits[rows])
    if layout == recipe:
        assert torch.equal(again.weights(again.rows()).flat(), zoo.weights(rows).flat())
    export_tree(again, layout, tmp_path / "tree2", number="images")
    networks = {name: data for name, data in content(tmp_path / "tree").items() if name.endswith(".pth")}
    assert networks == {name: data for name, data in content(tmp_path / "tree2").items() if name.endswith(".pth")}


def test_what_nfn_code_reads(tmp_path: Path) -> None:
    zoo = make_zoo(tmp_path / "zoo", "toys")
    export_tree(zoo, "nfn", tmp_path / "tree")
    rows = zoo.rows(max_fits=1)
    read = nfn_dataset(tmp_path / "tree")
    assert [label for _, label in read] == zoo.labels[rows].tolist()
    for (state, _), expected in zip(read, zoo.weights(rows).flat(), strict=True):
        NfnSiren().load_state_dict(state, strict=True)
        assert list(state) == list(NfnSiren().state_dict())
        assert torch.equal(torch.cat([tensor.flatten() for tensor in nfn_tensors(state)]), expected)
        assert {tensor.dtype for tensor in state.values()} == {torch.float32}
        assert all(tensor.untyped_storage().nbytes() == tensor.nbytes for tensor in state.values())


def test_numbers_without_gaps(tmp_path: Path) -> None:
    zoo = make_zoo(tmp_path / "zoo", "mnist")
    assert export_tree(zoo, "nfn", tmp_path / "by image").gaps == (60_003 - 9) + (5 - 4)
    with pytest.raises(KeyError):
        nfn_dataset(tmp_path / "by image")
    outcome = export_tree(zoo, "nfn", tmp_path / "tree", number="splits")
    assert (outcome.gaps, outcome.bounds) == (0, (4, 6))
    for split, rows in [(split, zoo.rows(split, max_fits=1)) for split in ("train", "val", "test")]:
        read = nfn_dataset(tmp_path / "tree", split=split, points=(4, 6))
        assert [label for _, label in read] == zoo.labels[rows].tolist()
        found = torch.stack([torch.cat([tensor.flatten() for tensor in nfn_tensors(state)]) for state, _ in read])
        # theirs takes whichever of base and aug folders comes last, so only fit 0 is compared where there is no other
        assert split == "train" or torch.equal(found, zoo.weights(rows).flat())
    extra = nfn_dataset(tmp_path / "tree", prefix="randinit_smaller_aug0", split="train", points=(4, 6))
    found = torch.stack([torch.cat([tensor.flatten() for tensor in nfn_tensors(state)]) for state, _ in extra])
    assert torch.equal(found, zoo.weights(zoo.rows()[zoo.fits == 1]).flat())
    import_tree(tmp_path / "tree", "nfn", tmp_path / "again", size=SIDE)
    assert Zoo.open(tmp_path / "again").splits[:9].tolist() == [0, 0, 0, 0, 1, 1, 2, 2, 2]
    with pytest.raises(InputError, match="unknown numbering 'split'; known: images, splits"):
        export_tree(zoo, "nfn", tmp_path / "else", number="split")


def test_test_images_come_after_all_training_images(tmp_path: Path) -> None:
    export_tree(make_zoo(tmp_path / "cifar", "cifar10", {"train": 2, "test": 2}), "nfn", tmp_path / "tree")
    assert sorted(path.name for path in (tmp_path / "tree").glob("randinit_smaller_[0-9]s/*")) == [
        "net0.pth",
        "net1.pth",
        "net50000.pth",
        "net50001.pth",
    ]


@pytest.mark.parametrize("dataset", ["mnist", "fashion-mnist", "toys"])
def test_what_dws_code_reads(tmp_path: Path, dataset: str) -> None:
    zoo = make_zoo(tmp_path / "zoo", dataset, fits=1)
    export_tree(zoo, "dws", tmp_path / "tree")
    lists = tmp_path / "tree" / ("mnist_splits.json" if dataset == "mnist" else "fmnist_splits.json")
    shown = pixel_format(zoo).render(zoo.weights(zoo.rows()), SIDE, SIDE)
    for split in ("train", "val", "test"):
        rows = zoo.rows(split)
        read = dws_dataset(lists, split)
        assert [label for *_, label in read] == zoo.labels[rows].tolist()
        for row, (weights, biases, _) in zip(rows.tolist(), read, strict=True):
            net = DwsInr()
            names = list(net.state_dict())
            net.load_state_dict(dict(zip(names, (t for pair in zip(weights, biases, strict=True) for t in pair), strict=True)))
            with torch.no_grad():
                torch.testing.assert_close(net.picture(SIDE), shown[row], atol=1e-5, rtol=1e-5)
    if dataset == "mnist":
        found = dws_mnist_lists(tmp_path / "tree")
        assert (len(found["train"]["path"]), sorted(found["test"]["label"])) == (6, ["0", "1", "2"])
    else:
        plain = json.loads((tmp_path / "tree/splits.json").read_text())
        assert plain == {split: of["path"] for split, of in json.loads(lists.read_text()).items()}
        assert torch.load(plain["val"][0], weights_only=True)["label"] == zoo.labels[zoo.rows("val")[0]]


def test_a_part_that_is_all_is_split(tmp_path: Path) -> None:
    zoo = tiny_zoo(tmp_path / "zoo", num_images=20, steps=1)
    export_tree(zoo, "dws", tmp_path / "tree")
    assert sorted(int(path.stem[6:]) for path in (tmp_path / "tree/test").iterdir()) == [8, 9, 18, 19]
    import_tree(tmp_path / "tree", "dws", tmp_path / "again", size=8)
    again = Zoo.open(tmp_path / "again")
    assert [len(again.rows(split)) for split in ("train", "val", "test")] == [14, 2, 4]


def test_conventions_are_converted_exactly(tmp_path: Path) -> None:
    nfn, dws = FIT_RECIPES["nfn"].pixels, FIT_RECIPES["dws"].pixels
    networks = random_weights(SPEC, 3, seed=0)
    there = writing.convert(networks, nfn, dws)
    torch.testing.assert_close(dws.render(there, 7, 4), nfn.render(networks, 7, 4))
    assert not torch.allclose(dws.render(networks, 7, 4), nfn.render(networks, 7, 4))
    assert torch.equal(writing.convert(there, dws, nfn).flat(), networks.flat())
    assert torch.equal(writing.convert(networks, nfn, nfn).flat(), networks.flat())


def test_an_export_goes_on(tmp_path: Path) -> None:
    zoo = make_zoo(tmp_path / "zoo", "toys")
    export_tree(zoo, "nfn", tmp_path / "straight")
    monkey = pytest.MonkeyPatch()
    with monkey.context() as patch:
        patch.setattr(writing, "_CHUNK", 4)
        outcome = export_tree(zoo, "nfn", tmp_path / "tree", should_stop=after(1))
        assert (outcome.written, outcome.finished) == (4, False)
    kept = next((tmp_path / "tree").rglob("net0.pth"))
    before = kept.stat().st_mtime_ns
    outcome = export_tree(zoo, "nfn", tmp_path / "tree")
    assert (outcome.written, outcome.already_there, outcome.finished) == (len(zoo) - 4, 4, True)
    assert kept.stat().st_mtime_ns == before
    assert content(tmp_path / "tree") == content(tmp_path / "straight")


def test_an_export_into_something_else(tmp_path: Path) -> None:
    zoo = make_zoo(tmp_path / "zoo", "toys")
    other = make_zoo(tmp_path / "other", "mnist")
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis/chapter.txt").write_text("words")
    with pytest.raises(InputError, match="found something else; choose another folder"):
        export_tree(zoo, "nfn", tmp_path / "thesis")
    export_tree(zoo, "nfn", tmp_path / "tree")
    before = content(tmp_path / "tree")
    for again, layout, number, words in [
        (other, "nfn", "images", "dataset was toys, now mnist"),
        (zoo, "dws", "images", "layout was nfn, now dws"),
        (zoo, "nfn", "splits", "number was images, now splits"),
    ]:
        with pytest.raises(InputError, match=words):
            export_tree(again, layout, tmp_path / "tree", number=number)
    assert content(tmp_path / "tree") == before
    (tmp_path / "tree/weightwalk.json").write_text("[]")
    with pytest.raises(InputError, match=r"record of an export in \S*weightwalk.json, got other JSON"):
        import_tree(tmp_path / "tree", "nfn", tmp_path / "again")


@pytest.mark.parametrize(
    "spec",
    [
        NetworkSpec.mlp(WIDTHS, activation="relu"),
        NetworkSpec.mlp(WIDTHS, omega=10.0),
        NetworkSpec.mlp(WIDTHS, bias=False),
        NetworkSpec.mlp([2, 1]),
        NetworkSpec.mlp([3, 4, 1]),
    ],
)
def test_networks_that_the_published_code_cannot_evaluate(tmp_path: Path, spec: NetworkSpec) -> None:
    settings = {
        "dataset": "toys",
        "image_shape": [1, SIDE, SIDE],
        "spec": spec.to_dict(),
        "fit": {"pixels": vars(FIT_RECIPES["nfn"].pixels)},
    }
    writer = ZooWriter.open(tmp_path / "zoo", settings=settings, label_names="a", splits=SplitRule(), provenance={})
    writer.add_images("all", np.arange(2), np.zeros((2, 1, SIDE, SIDE), np.uint8), np.zeros(2, np.int64))
    writer.add_inrs("all", 0, np.arange(2), random_weights(spec, 2, seed=0).flat(), np.zeros(2, np.float32))
    with pytest.raises(InputError, match="SIRENs of 2 coordinates with omega 30"):
        export_tree(Zoo.open(tmp_path / "zoo"), "nfn", tmp_path / "tree")
    assert not (tmp_path / "tree").exists()


def test_the_flat_order_is_that_of_a_state_dict() -> None:
    """What the tests above compare by."""
    net = NfnSiren()
    assert torch.equal(Weights.from_state_dicts(SPEC, [net.state_dict()]).flat()[0], flat(net))
