"""`import` and `export`: published trees to zoos and back, as people and programs see it."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import numpy as np
import pytest
import torch

from weightwalk.testing.tiny import tiny_zoo
from weightwalk.zoos.store import Zoo


@pytest.fixture(autouse=True)
def _no_fsync(monkeypatch):
    """No test here takes the power away, and the disk is slow."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


@pytest.fixture
def tree(call, shared_zoo, tmp_path) -> Path:
    """The zoo of 60 digits in NFN's layout, numbered without gaps."""
    path = tmp_path / "siren_digits_wts"
    result = call("export", shared_zoo, "nfn", path, "--number", "splits")
    assert result.exit_code == 0
    assert f"{path}: 60 files (60 new), split points [42, 48]" in result.stdout
    assert "writing 60/60" in result.stderr
    return path


def test_there_and_back(call, shared_zoo, tree, tmp_path):
    result = call("import", "nfn", tree, "--out", tmp_path / "zoo", "--size", 8)
    assert result.exit_code == 0
    assert "60 INRs of digits, PSNR 43.9 dB (60 new, 0 were there)" in result.stdout
    assert "rendered from the INRs" in result.stdout
    assert "weightwalk inspect" in result.stdout
    assert "reading 60/60" in result.stderr
    zoo, old = Zoo.open(tmp_path / "zoo"), Zoo.open(shared_zoo)
    order = np.concatenate([old.rows(split) for split in ("train", "val", "test")])
    assert torch.equal(zoo.weights(zoo.rows()).flat, old.weights(order).flat)
    assert zoo.splits.tolist() == sorted(old.splits.tolist())
    again = json.loads(call("import", "nfn", tree, "--out", tmp_path / "zoo", "--size", 8, "--json").stdout)
    assert (again["read"], again["already_there"], again["finished"]) == (0, 60, True)
    assert again["networks"] == {"train": 42, "val": 6, "test": 12}
    assert call("inspect", tmp_path / "zoo", "--verify", "--sheet", tmp_path / "sheet.png").exit_code == 0


def test_with_the_pictures_of_the_data_set(call, shared_zoo, tmp_path):
    assert call("export", shared_zoo, "dws", tmp_path / "tree", "--quiet").exit_code == 0
    answer = json.loads(
        call("import", "dws", tmp_path / "tree", "--dataset", "digits", "--out", tmp_path / "zoo", "--json").stdout
    )
    zoo, old = Zoo.open(tmp_path / "zoo"), Zoo.open(shared_zoo)
    assert answer["settings"]["images"] == "data set"
    assert answer["networks"] == {split: len(old.rows(split)) for split in ("train", "val", "test")}
    order = np.lexsort((old.indices, old.splits == 2))
    assert torch.equal(zoo.images(zoo.rows()), old.images(order))
    assert zoo.column("psnr") == pytest.approx(old.column("psnr")[order], abs=1e-3)


def test_a_zoo_that_was_imported_can_be_trained_on(call, tree, tmp_path, train_arguments):
    assert call("import", "nfn", tree, "--out", tmp_path / "zoo", "--size", 8, "--quiet").exit_code == 0
    assert call(*train_arguments(tmp_path / "zoo", tmp_path / "run"), "--quiet").exit_code == 0
    assert call("evaluate", tmp_path / "run", "--quiet").exit_code == 0


def test_remarks_of_an_export(call, tmp_path):
    tiny_zoo(tmp_path / "ten", num_images=10, fits=2, steps=1)
    result = call("export", tmp_path / "ten", "dws", tmp_path / "dws")
    assert "7 extra fits have no place in the layout dws" in result.stderr
    result = call("export", tmp_path / "ten", "nfn", tmp_path / "nfn")
    assert "no file" not in result.stderr  # 0 to 9, and fit 1 of 0 to 6
    tiny_zoo(tmp_path / "eighteen", num_images=18, fits=2, steps=1)
    result = call("export", tmp_path / "eighteen", "nfn", tmp_path / "nfn18")
    assert "3 numbers have no file" in result.stderr
    assert "--number splits" in result.stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("command", ["import", "export"])
def test_stopped_and_gone_on_with(call, shared_zoo, tree, tmp_path, monkeypatch, command, number):
    from weightwalk.zoos.published import inrs, writing

    arguments = ("import", "nfn", tree, "--out", tmp_path / "out", "--size", 8)
    module, name, step = inrs, "read_state", ("_CHUNK", 16)
    if command == "export":
        arguments, module, name = ("export", shared_zoo, "nfn", tmp_path / "out"), writing, "convert"
    original, calls = getattr(module, name), []

    def interrupted(*given):
        calls.append(given)
        if len(calls) == 2:
            signal.raise_signal(number)
        return original(*given)

    before = signal.signal(number, signal.default_int_handler)
    try:
        with monkeypatch.context() as patch:
            patch.setattr(module, *step)
            patch.setattr(module, name, interrupted)
            result = call(*arguments)
    finally:
        signal.signal(number, before)
    assert result.exit_code == 128 + number
    assert "the same command goes on from there" in result.stderr
    answer = json.loads(call(*arguments, "--json").stdout)
    assert answer["finished"]
    assert answer["already_there"] + answer["read" if command == "import" else "written"] == 60


def test_what_cannot_be_imported(call, shared_zoo, tree, tmp_path):
    out = ("--out", tmp_path / "zoo")
    for arguments, words in [
        (("import", "nfn", tmp_path / "nowhere", *out), ("found nothing at", "check the path")),
        (("import", "nfn", tmp_path, *out), ("randinit_smaller_0s/net0.pth", f"did you mean {tree}?")),
        (("import", "dws", tree, *out), ("it looks like a tree of the layout nfn",)),
        (("import", "nft", tree, *out), ("unknown layout 'nft'", "nfn", "dws")),
        (("import", "nfn", tree, *out, "--size", 0), ("--size",)),
        (("import", "nfn", tree, *out, "--bounds", 9, 5), ("0 < a <= b",)),
        (("import", "nfn", tree, *out, "--bounds", 4, 5, "--splits", tree / "a"), ("bounds or splits",)),
        (("import", "nfn", tree, *out, "--root", tree), ("--dataset with --root",)),
        (("import", "nfn", tree, *out, "--dataset", "mnits"), ("did you mean 'mnist'",)),
        (("import", "nfn", tree, *out, "--omega", -1), ("omega",)),
        (("import", "nfn", tree, *out, "--dataset", "digits"), ("numbered by splits", "rendered")),
        (
            ("import", "nfn", tree, "--out", shared_zoo, "--size", 8),
            ("made with other settings", "fit.name was tiny, now imported"),
        ),
        (("export", tmp_path / "nowhere", "nfn", tmp_path / "tree"), ("folder of a zoo", "found nothing")),
        (("export", shared_zoo, "nft", tmp_path / "tree"), ("unknown layout 'nft'",)),
        (("export", shared_zoo, "nfn", shared_zoo), ("is a zoo, which keeps its files for itself",)),
        (("export", shared_zoo, "nfn", tree), ("number was splits, now images",)),
        (("export", shared_zoo, "nfn", tmp_path / "tree", "--number", "rows"), ("unknown numbering 'rows'",)),
    ]:
        result = call(*arguments)
        assert result.exit_code == 2, arguments
        error = result.stderr.splitlines()[-1]
        assert error.startswith("error: ")
        assert all(word in error for word in words), error
        assert list(json.loads(call(*arguments, "--json").stdout)) == ["error"]
    assert not (tmp_path / "zoo").exists()
    assert not (tmp_path / "tree").exists()


def test_a_damaged_file_is_named(call, tree, tmp_path):
    path = next((tree / "randinit_smaller_3s").iterdir())
    path.write_bytes(path.read_bytes()[:1000])
    result = call("import", "nfn", tree, "--out", tmp_path / "zoo", "--size", 8)
    assert result.exit_code == 2
    assert str(path) in result.stderr.splitlines()[-1]
