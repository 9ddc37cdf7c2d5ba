"""Trees that are not what they should be: one sentence that names the file, and nothing is lost."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from published import (
    SIDE,
    NfnSiren,
    import_tree,
    make_dws,
    make_nfn,
    spread,
)
from torch import nn

from weightwalk.errors import InputError
from weightwalk.zoos.check import check
from weightwalk.zoos.store import Zoo


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
            r"PATH is not a network of the shape of \S*randinit_smaller_1s/net0.pth: net.1.linear.weight must be \(3, "
            r"4\).*got \(5, 4\)",
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
        InputError,
        match=r"one network of image 2, got \S*randinit_smaller_3s/net2.pth and \S*randinit_smaller_7s/net2.pth",
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
