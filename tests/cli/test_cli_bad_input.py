"""Bad input at the command line: one sentence, exit code 2, no traceback, and nothing lost."""

from __future__ import annotations

import gzip
import json
import resource
import struct
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from weightwalk import config
from weightwalk.zoos.hashes import verify
from weightwalk.zoos.store import Zoo


@pytest.fixture
def refused(call):
    """Calls the command line and expects one sentence with all `words`; with --json also on stdout."""

    def refused(arguments, *words):
        result = call(*arguments)
        assert result.exit_code == 2, result.output
        errors = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
        assert len(errors) == 1
        assert result.stderr.splitlines()[-1] == errors[0]
        assert "Traceback" not in result.output
        for word in words:
            assert str(word) in errors[0], errors[0]
        answer = json.loads(call(*arguments, "--json").stdout)
        assert list(answer) == ["error"]

    return refused


def content(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def truncate(path: Path, keep: float = 0.5) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * keep)])


def shard(zoo: Path, kind: str = "rows") -> Path:
    return next((zoo / kind).glob("*.safetensors"))


# ---------------------------------------------------------------- fit


def test_fit_of_what_is_not_there(refused, tmp_path):
    out = ("--out", tmp_path / "zoo")
    refused(("fit", "mnits", *out), "unknown data set 'mnits'", "did you mean 'mnist'")
    refused(("fit", "mnist", *out), "folder of the mnist files", "nothing is downloaded")
    refused(("fit", "mnist", "--root", tmp_path, *out), tmp_path, "train-images-idx3-ubyte")
    refused(("fit", "digits", "--recipe", "fats", *out), "unknown fit recipe 'fats'", "fast")
    refused(("fit", "digits", "--init", "none.safetensors", *out), "independent, shared", "none.safetensors")
    refused(("fit", "digits", "--split", "val", *out), "train, test or all", "'val'")
    refused(("fit", "digits", "--limit", 0, *out), "--limit", "0")
    refused(("fit", "digits", "--fits", 0, *out), "at least 1 fit", "0")
    refused(("fit", "digits", "--workers", 0, *out), "at least 1 worker", "0")
    refused(("fit", "digits", "--engine", "rya", *out), "unknown engine 'rya'", "did you mean 'ray'")
    refused(("fit", "digits", "--device", "gpu", *out), "device", "'gpu'")
    assert not (tmp_path / "zoo").exists()


def test_fit_of_damaged_files(refused, tmp_path):
    root = tmp_path / "mnist"
    root.mkdir()
    pixels = struct.pack(">IIII", 0x803, 20, 5, 5) + bytes(500)
    for name in ("train", "t10k"):
        (root / f"{name}-labels-idx1-ubyte").write_bytes(struct.pack(">II", 0x801, 20) + bytes(range(10)) * 2)
        (root / f"{name}-images-idx3-ubyte").write_bytes(pixels[:-7])
    out = tmp_path / "zoo"
    refused(("fit", "mnist", "--root", root, "--out", out), "train-images-idx3-ubyte")
    (root / "train-images-idx3-ubyte").unlink()
    (root / "train-images-idx3-ubyte.gz").write_bytes(gzip.compress(pixels)[:-9])
    refused(("fit", "mnist", "--root", root, "--out", out), "train-images-idx3-ubyte.gz")
    (root / "data_batch_1.bin").write_bytes(bytes(3073 * 2 - 1))
    refused(("fit", "cifar10", "--root", root, "--out", out), root)
    assert not out.exists()


def test_fit_of_pictures_of_two_sizes(refused, tmp_path):
    for number, size in enumerate((8, 8, 9)):
        path = tmp_path / "pictures" / "cat" / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.zeros((size, size), np.uint8)).save(path)
    refused(("fit", "folder", "--root", tmp_path / "pictures", "--out", tmp_path / "zoo"), "2.png", "8", "9")


def test_fit_into_a_zoo_with_other_settings(refused, zoo):
    before = content(zoo)
    arguments = ("fit", "digits", "--out", zoo, "--limit", 60, "--recipe", "tiny")
    refused(
        (*arguments, "--init", "independent"), "other settings", "init was shared, now independent", "another --out"
    )
    refused((*arguments, "--init", "shared", "--seed", 1), "seed was 0, now 1")
    refused(
        ("fit", "digits", "--out", zoo, "--init", "shared", "--recipe", "fast"),
        "fit.name was tiny, now fast",
        "fit.descent.steps was 30, now 400",
    )
    assert content(zoo) == before


def test_fit_into_something_else(refused, tmp_path):
    (tmp_path / "thesis.txt").write_text("words")
    refused(("fit", "digits", "--out", tmp_path), "found something else", "another --out")
    refused(("fit", "digits", "--out", tmp_path / "thesis.txt" / "zoo"), "thesis.txt", "another path")
    assert (tmp_path / "thesis.txt").read_text() == "words"


def test_a_folder_without_classes_says_what_to_do(refused, tmp_path):
    (tmp_path / "sounds").mkdir()
    (tmp_path / "sounds" / "a.wav").write_bytes(b"words, not a sound")
    arguments = ("fit", "audio", "--root", tmp_path / "sounds", "--out", tmp_path / "zoo")
    refused(arguments, "sounds/class/name.wav", "give each class a folder")
    (tmp_path / "sounds" / "notes").mkdir()
    (tmp_path / "sounds" / "a.wav").rename(tmp_path / "sounds" / "notes" / "a.wav")
    refused(arguments, "PCM .wav", "notes/a.wav")
    assert not (tmp_path / "zoo").exists()


@contextmanager
def files_of_at_most(size: int):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_full_disk_loses_nothing(call, tmp_path):
    out = tmp_path / "zoo"
    arguments = ("fit", "digits", "--out", out, "--limit", 60, "--recipe", "tiny")
    with files_of_at_most(100_000):
        result = call(*arguments)
    assert result.exit_code == 2
    assert "error: no room left to write" in result.stderr
    assert call(*arguments, "--quiet").exit_code == 0
    assert not verify(out).problems


# ---------------------------------------------------------------- zoos and runs that are not whole


def test_a_zoo_of_a_newer_schema(refused, zoo, shared_run):
    manifest = json.loads((zoo / "manifest.json").read_text())
    (zoo / "manifest.json").write_text(json.dumps({**manifest, "schema_version": 99}))
    for arguments in (("inspect", zoo), ("predict", shared_run, zoo), ("evaluate", shared_run, "--zoo", zoo)):
        refused(arguments, "schema", "99", "upgrade weightwalk")
    refused(("fit", "digits", "--out", zoo), "schema", "99")


def test_a_truncated_manifest(refused, zoo, tmp_path, train_arguments):
    truncate(zoo / "manifest.json")
    refused(("inspect", zoo), "manifest.json", "not JSON")
    refused(train_arguments(zoo, tmp_path / "run"), "manifest.json", "not JSON")


@pytest.mark.parametrize("kind", ["sources", "rows"])
def test_a_truncated_shard(call, refused, zoo, tmp_path, train_arguments, kind):
    truncate(shard(zoo, kind))
    refused(("inspect", zoo), shard(zoo, kind), "truncated or corrupt", "run the command that made the zoo")
    refused(train_arguments(zoo, tmp_path / "run"), shard(zoo, kind))
    assert not (tmp_path / "run").exists()
    shard(zoo, kind).unlink()  # the remedy of the sentence
    assert call("fit", "digits", "--out", zoo, "--limit", 60, "--recipe", "tiny", "--init", "shared").exit_code == 0
    assert not verify(zoo).problems


def test_a_changed_shard_is_found_by_verify(call, refused, zoo):
    data = bytearray(shard(zoo).read_bytes())
    data[-1] ^= 1
    shard(zoo).write_bytes(data)
    assert call("inspect", zoo).exit_code == 0
    refused(("inspect", zoo, "--verify"), "1 file is not as", shard(zoo))


def test_a_run_that_is_not_one(refused, run, zoo, tmp_path):
    for command in ("evaluate", "report"):
        refused((command, tmp_path / "nothing"), "run.json", "no such file")
        refused((command, zoo), "run.json", "no such file")
    refused(("predict", tmp_path / "nothing", zoo), "no such file")
    refused(("predict", zoo, zoo), "expected the folder of a trained run", "found no model.safetensors")
    record = json.loads((run / "run.json").read_text())
    (run / "run.json").write_text(json.dumps({**record, "schema_version": 99}))
    refused(("evaluate", run), "schema", "99", "upgrade weightwalk")
    truncate(run / "run.json")
    refused(("evaluate", run), "run.json", "not JSON")


def test_a_truncated_model(refused, run, shared_zoo):
    truncate(run / "model.safetensors")
    refused(("evaluate", run), run / "model.safetensors", "damaged")
    refused(("predict", run, shared_zoo), run / "model.safetensors", "damaged")


@pytest.mark.parametrize("stage", ["pretrain", "classify"])
def test_a_truncated_checkpoint(refused, run, shared_zoo, train_arguments, stage):
    truncate(run / stage / "last.safetensors")
    before = content(run)
    refused(train_arguments(shared_zoo, run), run / stage / "last.safetensors", "damaged")
    assert content(run) == before


def test_a_run_before_its_time(refused, run):
    (run / "evaluation.json").unlink()
    refused(("report", run), "evaluation.json", "weightwalk evaluate")
    (run / "model.safetensors").unlink()
    refused(("evaluate", run), "expected a finished run", "run the train command again")
    refused(("predict", run, run), "found no model.safetensors")


def test_a_report_of_damaged_or_foreign_predictions(refused, run, zoo):
    manifest = json.loads((zoo / "manifest.json").read_text())
    manifest["shards"] = [entry for entry in manifest["shards"] if entry["table"] == "sources"]
    del manifest["checksum"]
    (zoo / "manifest.json").write_text(json.dumps({**manifest, "checksum": config.fingerprint(manifest)}))
    refused(("report", run, "--zoo", zoo), "expected the evaluation of a run on this zoo")
    truncate(run / "predictions.safetensors")
    refused(("report", run), "predictions.safetensors", "truncated or corrupt")


# ---------------------------------------------------------------- train


def test_train_settings(refused, shared_zoo, tmp_path, train_arguments):
    out = tmp_path / "run"
    refused(
        train_arguments(shared_zoo, out, "digit_inr2jls"),
        "unknown recipe 'digit_inr2jls'",
        "did you mean 'digits_inr2jls'",
    )
    base = ("train", "digits_inr2jls", "--zoo", shared_zoo, "--out", out)
    refused((*base, "--set", "pretrain.step=3"), "unknown setting 'pretrain.step'", "known: pretrain.steps, ")
    refused((*base, "--set", "pretrain.steps=many"), "pretrain.steps must be a whole number", "'many'")
    refused((*base, "--set", "pretrain.steps"), "KEY=VALUE")
    refused((*base, "--set", "encoder=dgn"), "unknown encoder 'dgn'", "dng")
    refused((*base, "--set", "pretrain.steps=0"), "at least 1")
    refused((*base, "--resume", "must"), "expected a run to resume", out)
    assert not out.exists()


def test_train_without_a_zoo_says_how_to_make_it(refused, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    refused(("train", "digits_inr2jls"), "`weightwalk fit digits --out zoos/digits`")
    refused(("train", "mnist_classify"), "`weightwalk fit mnist --root DIR --out zoos/mnist`")
    assert not list(tmp_path.iterdir())


def test_train_on_a_zoo_of_other_pictures(refused, shared_zoo, tmp_path, train_arguments):
    refused(
        ("train", "mnist_classify", "--zoo", shared_zoo, "--out", tmp_path / "run"), "reads a zoo of mnist", "digits"
    )


def test_train_into_a_run_with_other_settings(refused, run, shared_zoo, train_arguments):
    before = content(run)
    changed = {"classify.batch_size": 5, "seed": 4}
    refused(
        train_arguments(shared_zoo, run, **changed),
        "config.classify.batch_size was 128, now 5",
        "config.seed was 0, now 4",
    )
    refused([*train_arguments(shared_zoo, run), "--resume", "never"], "expected no run", run)
    assert content(run) == before


# ---------------------------------------------------------------- predict


class Evil:
    def __reduce__(self):
        return (Path.touch, (Path("owned"),))


@pytest.fixture
def state(shared_zoo):
    return Zoo.open(shared_zoo).weights([0]).to_state_dict()


def test_predict_files_that_are_no_networks(call, refused, shared_run, state, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    good = tmp_path / "good.pt"
    torch.save(state, good)
    several = call("predict", shared_run, "none.pt", good, "--json")  # one bad file does not stop the others
    assert several.exit_code == 2
    assert list(json.loads(several.stdout)["unread"]) == ["none.pt"]
    assert json.loads(several.stdout)["networks"][0]["network"] == str(good)
    refused(("predict", shared_run, "none.safetensors"), "none.safetensors", "no such file")
    (tmp_path / "notes.txt").write_text("words")
    refused(("predict", shared_run, "notes.txt"), "notes.txt", ".safetensors, .pt, .pth")
    for name in ("broken.pt", "broken.safetensors"):
        (tmp_path / name).write_bytes(b"\x00words, not weights")
        refused(("predict", shared_run, name), name)
    truncate(good)
    refused(("predict", shared_run, good), good, "cannot read")
    torch.save([1, 2], tmp_path / "list.pt")
    refused(("predict", shared_run, "list.pt"), "state dict", "list")


def test_code_in_a_pickle_is_not_run(refused, shared_run, state, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({**state, "extra": Evil()}, "evil.pt")
    refused(("predict", shared_run, "evil.pt"), "evil.pt", "would call", "was not run")
    assert not Path("owned").exists()


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_predict_a_network_of_another_shape(refused, shared_run, state, tmp_path, suffix):
    path = tmp_path / f"other{suffix}"
    save = torch.save if suffix == ".pt" else save_file
    save({**state, "layers.1.weight": torch.zeros(16, 32)}, path)
    refused(("predict", shared_run, path), path, "layers.1.weight must be (32, 32)", "got (16, 32)")
    save({name: tensor for name, tensor in state.items() if not name.startswith("layers.2")}, path)
    refused(("predict", shared_run, path), path, "expected 3 weights", "got 2")
    save({**state, "layers.2.bias": torch.tensor([float("nan")])}, path)
    refused(("predict", shared_run, path), path, "layers.2.bias holds NaN")


def test_predict_a_zoo_with_nan(refused, shared_run, zoo):
    tensors = load_file(shard(zoo))
    tensors["params.0"][7, 100] = float("nan")
    save_file(tensors, shard(zoo))
    refused(("predict", shared_run, zoo), zoo, "NaN or infinity in all-7-f0")


def test_a_zoo_of_another_shape(refused, shared_run, tmp_path):
    from weightwalk.zoos.inr.engine import Descent
    from weightwalk.zoos.inr.fit import fit_zoo, load_sets
    from weightwalk.zoos.inr.recipe import FitRecipe

    zoo = tmp_path / "narrow"
    fit_zoo(load_sets("digits", None, limit=20), zoo, FitRecipe("narrow", hidden=(8,), descent=Descent(2, 1e-3)))
    for arguments in (
        ("predict", shared_run, zoo),
        ("evaluate", shared_run, "--zoo", zoo),
    ):
        refused(arguments, "MLP 2-32-32-1", "MLP 2-8-1", zoo)
    refused(("report", shared_run, "--zoo", zoo), "expected the evaluation of a run on this zoo")


def test_a_bug_of_ours_keeps_its_traceback(call, shared_zoo, monkeypatch):
    monkeypatch.setattr(Zoo, "open", lambda path: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        call("inspect", shared_zoo)
