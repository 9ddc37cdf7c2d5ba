"""Published trees become zoos: their networks bit for bit, their labels, their splits, their pictures."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from published import (
    LABELS,
    SIDE,
    SPEC,
    after,
    content,
    flat,
    import_tree,
    make_dws,
    make_nfn,
    sets,
    spread,
)

from weightwalk.errors import InputError
from weightwalk.zoos.check import check
from weightwalk.zoos.images import ImageSet
from weightwalk.zoos.inr.fit import fit_zoo
from weightwalk.zoos.inr.recipe import FIT_RECIPES
from weightwalk.zoos.inr.rendering import pixel_format
from weightwalk.zoos.manifest import Manifest
from weightwalk.zoos.published import inrs as reading
from weightwalk.zoos.store import Zoo
from weightwalk.zoos.writer import ZooWriter


def test_an_nfn_tree_becomes_a_zoo(tmp_path: Path) -> None:
    nets = make_nfn(tmp_path / "tree", fits=3)
    (tmp_path / "tree/randinit_smaller_3s/._net0.pth").write_bytes(b"what macOS leaves")
    (tmp_path / "tree/readme.txt").write_text("words")
    outcome = import_tree(tmp_path / "tree", "nfn", tmp_path / "zoo", size=SIDE, split=(4, 5))
    zoo = Zoo.open(tmp_path / "zoo")
    assert (outcome.read, outcome.already_there, outcome.finished, zoo.settings["images"]) == (14, 0, True, "rendered")
    assert zoo.spec == SPEC
    assert {layer.omega for layer in zoo.spec.layers[:-1]} == {30.0}
    names = [f"all-{image}-f{fit}" for fit in range(3) for image in range(4 if fit else 6)]
    assert zoo.names(zoo.rows()) == names
    expected = torch.stack([flat(nets[image, fit]) for fit in range(3) for image in range(4 if fit else 6)])
    assert torch.equal(zoo.weights(zoo.rows()).flat, expected)
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
        image, fit = int(zoo.indices[row]), int(zoo.members[row])
        expected = (shown[image, 0] * 255).round().clamp(0, 255)
        assert (picture - expected).abs().max() <= 1
        error = (shown[image, fit] - picture / 255).square().mean()
        assert zoo.column("psnr")[row] == pytest.approx(-10 * np.log10(float(error)), abs=1e-2)
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
    assert torch.equal(zoo.weights(rows).flat, torch.stack([flat(net) for net in nets.values()]))
    assert zoo.labels.tolist() == [0, 1, 2, 0, 1, 2, 0, 1]
    assert zoo.splits.tolist() == ([0, 0, 0, 0, 0, 0, 2, 2] if form == "mnist" else [0, 1, 0, 0, 1, 0, 2, 2])
    with torch.no_grad():
        shown = torch.stack([net.picture(SIDE) for net in nets.values()])
    assert (zoo.images(rows) - (shown * 255).round().clamp(0, 255)).abs().max() <= 1
    assert (pixel_format(zoo).low, pixel_format(zoo).axes) == (-0.5, "xy")


def test_the_published_splits(tmp_path: Path) -> None:
    make_nfn(tmp_path / "tree")
    numbers = np.array([0, 44_999, 45_000, 49_999, 50_000, 54_999, 55_000, 59_999, 60_000, 69_999])
    for dataset, expected in (
        (None, [0, 0, 1, 1, 2, 2, 2, 2, 2, 2]),
        ("fashion-mnist", [0, 0, 0, 0, 0, 0, 1, 1, 2, 2]),
    ):
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
    lists.write_text(
        json.dumps({split: {"path": of, "label": []} for split, of in paths.items()} if with_labels else paths)
    )
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


@pytest.mark.parametrize("train", [2, 4])
def test_nfn_numbers_count_through_train_and_test(tmp_path: Path, train: int) -> None:
    make_nfn(tmp_path / "tree", fits=2)
    parts = sets(LABELS[:train], LABELS[train:])
    import_tree(tmp_path / "tree", "nfn", tmp_path / "zoo", images=parts)
    zoo = Zoo.open(tmp_path / "zoo")
    assert Zoo.open(tmp_path / "zoo").settings["images"] == "data set"
    assert np.array_equal(zoo.images(zoo.rows(members=1)), np.concatenate([s.pixels for s in parts]))
    assert (zoo.settings["dataset"], zoo.settings["images"], zoo.label_names) == ("toys", "data set", tuple("abcd"))
    shown = pixel_format(zoo).render(zoo.weights(zoo.rows()), SIDE, SIDE)
    error = (shown - zoo.images(zoo.rows()) / 255).square().mean(dim=(1, 2, 3))
    assert zoo.column("psnr") == pytest.approx(-10 * torch.log10(error).numpy(), abs=1e-3)


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
        InputError,
        match=r"label 1, that of its picture in toys, got 3 in "
        r"\S*/randinit_smaller_3s/net0.pth; is .* another data set",
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
    assert torch.equal(zoo.weights(zoo.rows()).flat[-4:], torch.stack([flat(nets[image, 1]) for image in range(4)]))
    assert len(zoo) == 11


def test_memory_is_that_of_a_shard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spread(tmp_path / "tree")
    sizes: list[int] = []
    add = ZooWriter.add_rows
    monkeypatch.setattr(
        ZooWriter,
        "add_rows",
        lambda self, part, fit, images, *rest: [sizes.append(len(images)), add(self, part, fit, images, *rest)][1],
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
