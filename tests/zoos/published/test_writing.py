"""What we write is what the published code reads, and comes back as it was."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from published import (
    SIDE,
    SPEC,
    WIDTHS,
    DwsInr,
    NfnSiren,
    after,
    content,
    dws_dataset,
    dws_mnist_lists,
    flat,
    import_tree,
    make_zoo,
    nfn_dataset,
    nfn_tensors,
)

from weightwalk import NetworkSpec
from weightwalk.errors import InputError
from weightwalk.testing.tiny import random_weights, tiny_zoo
from weightwalk.weights import Weights
from weightwalk.zoos.inr.recipe import FIT_RECIPES
from weightwalk.zoos.inr.rendering import pixel_format
from weightwalk.zoos.published import export_tree, writing
from weightwalk.zoos.store import Zoo
from weightwalk.zoos.writer import ZooWriter


@pytest.mark.parametrize("recipe", ["nfn", "dws"])
@pytest.mark.parametrize(
    ("layout", "dataset"), [("nfn", "mnist"), ("dws", "mnist"), ("dws", "fashion-mnist"), ("dws", "toys")]
)
def test_zoo_to_tree_to_zoo_to_tree(tmp_path: Path, layout: str, dataset: str, recipe: str) -> None:
    zoo = make_zoo(tmp_path / "zoo", dataset, recipe=recipe)
    outcome = export_tree(zoo, layout, tmp_path / "tree")
    assert (outcome.written, outcome.already_there, outcome.finished) == (len(zoo) - outcome.left_out, 0, True)
    assert outcome.left_out == (0 if layout == "nfn" else int((zoo.members > 0).sum()))
    import_tree(tmp_path / "tree", layout, tmp_path / "again", size=SIDE)
    again = Zoo.open(tmp_path / "again")
    rows = zoo.rows(members=None if layout == "nfn" else 1)
    if layout == "nfn":  # fits of train, then of test, became fits of all
        rows = rows[np.lexsort((zoo.indices[rows], zoo.parts[rows], zoo.members[rows]))]
    assert np.array_equal(again.labels, zoo.labels[rows])
    assert (again.settings["dataset"], again.label_names) == (dataset, zoo.label_names)
    if layout == "dws":
        assert np.array_equal(again.splits, zoo.splits[rows])
    if layout == recipe:
        assert torch.equal(again.weights(again.rows()).flat, zoo.weights(rows).flat)
    export_tree(again, layout, tmp_path / "tree2", number="images")
    networks = {name: data for name, data in content(tmp_path / "tree").items() if name.endswith(".pth")}
    assert networks == {name: data for name, data in content(tmp_path / "tree2").items() if name.endswith(".pth")}


def test_what_nfn_code_reads(tmp_path: Path) -> None:
    zoo = make_zoo(tmp_path / "zoo", "toys")
    export_tree(zoo, "nfn", tmp_path / "tree")
    rows = zoo.rows(members=1)
    read = nfn_dataset(tmp_path / "tree")
    assert [label for _, label in read] == zoo.labels[rows].tolist()
    for (state, _), expected in zip(read, zoo.weights(rows).flat, strict=True):
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
    for split, rows in [(split, zoo.rows(split, members=1)) for split in ("train", "val", "test")]:
        read = nfn_dataset(tmp_path / "tree", split=split, points=(4, 6))
        assert [label for _, label in read] == zoo.labels[rows].tolist()
        found = torch.stack([torch.cat([tensor.flatten() for tensor in nfn_tensors(state)]) for state, _ in read])
        # theirs takes whichever of base and aug folders comes last, so only fit 0 is compared where there is no other
        assert split == "train" or torch.equal(found, zoo.weights(rows).flat)
    extra = nfn_dataset(tmp_path / "tree", prefix="randinit_smaller_aug0", split="train", points=(4, 6))
    found = torch.stack([torch.cat([tensor.flatten() for tensor in nfn_tensors(state)]) for state, _ in extra])
    assert torch.equal(found, zoo.weights(zoo.rows()[zoo.members == 1]).flat)
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
            net.load_state_dict(
                dict(zip(names, (t for pair in zip(weights, biases, strict=True) for t in pair), strict=True))
            )
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
    assert torch.equal(writing.convert(there, dws, nfn).flat, networks.flat)
    assert torch.equal(writing.convert(networks, nfn, nfn).flat, networks.flat)


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
        "kind": "inr",
        "dataset": "toys",
        "image_shape": [1, SIDE, SIDE],
        "image_dtype": "uint8",
        "label_names": ["a"],
        "spec": spec.to_dict(),
        "fit": {"pixels": vars(FIT_RECIPES["nfn"].pixels)},
    }
    writer = ZooWriter.open(
        tmp_path / "zoo", settings=settings, figures={"psnr": "float32"}, provenance={}, sources=True
    )
    writer.add_sources("all", np.arange(2), np.zeros((2, 1, SIDE, SIDE), np.uint8), np.zeros(2, np.int64))
    writer.add_rows("all", 0, np.arange(2), random_weights(spec, 2, seed=0).flat, {"psnr": np.zeros(2, np.float32)})
    with pytest.raises(InputError, match="SIRENs of 2 coordinates with omega 30"):
        export_tree(Zoo.open(tmp_path / "zoo"), "nfn", tmp_path / "tree")
    assert not (tmp_path / "tree").exists()


def test_networks_that_are_not_finite_are_named(tmp_path: Path) -> None:
    settings = {
        **{"kind": "inr", "dataset": "toys", "image_shape": [1, SIDE, SIDE], "image_dtype": "uint8"},
        **{"label_names": ["a"], "spec": SPEC.to_dict(), "fit": {"pixels": vars(FIT_RECIPES["nfn"].pixels)}},
    }
    figures = {"psnr": "float32"}
    writer = ZooWriter.open(tmp_path / "zoo", settings=settings, figures=figures, provenance={}, sources=True)
    writer.add_sources("all", np.arange(3), np.zeros((3, 1, SIDE, SIDE), np.uint8), np.zeros(3, np.int64))
    params = random_weights(SPEC, 3, seed=0).flat.numpy()
    params[1, 4] = np.nan
    writer.add_rows("all", 0, np.arange(3), params, {"psnr": np.zeros(3, np.float32)})
    with pytest.raises(InputError, match="NaN or infinity in 1 INRs, the first is all-1-f0"):
        export_tree(Zoo.open(tmp_path / "zoo"), "nfn", tmp_path / "tree")
    assert not (tmp_path / "tree").exists()


def test_the_flat_order_is_that_of_a_state_dict() -> None:
    """What the tests above compare by."""
    net = NfnSiren()
    assert torch.equal(Weights.from_state_dicts(SPEC, [net.state_dict()]).flat[0], flat(net))
