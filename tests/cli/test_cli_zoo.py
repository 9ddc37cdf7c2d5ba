"""`weightwalk zoo`, and what inspect, verify and import do with zoos of trained networks."""

import json
import shutil
import sys
from pathlib import Path

import pytest

from weightwalk.zoos.store import Zoo

sys.path.insert(0, str(Path(__file__).parents[1] / "zoos" / "published"))
import released as tiny

QUICK = [
    "epochs=2",
    "checkpoints=1",
    "batch_size=32",
    "layers=2",
    "channels=4",
    "kernels=3",
    "train_images=64",
    "test_images=64",
]
QUICK = ["--set=mean=0.5", "--set=std=0.5", *(f"--set={setting}" for setting in QUICK)]


@pytest.fixture(scope="module")
def shared(call, tmp_path_factory):
    path = tmp_path_factory.mktemp("trained") / "zoo"
    assert (
        call(
            "zoo", "wild-park", "--dataset", "digits", "--out", path, "--runs", 5, "--workers", 1, "-q", *QUICK
        ).exit_code
        == 0
    )
    return path


@pytest.fixture
def zoo(shared, tmp_path):
    return Path(shutil.copytree(shared, tmp_path / "zoo"))


def refused(call, arguments, *parts):
    result = call(*arguments)
    assert result.exit_code == 2
    assert "error: " in result.stderr
    for part in parts:
        assert part in result.stderr


def test_training_goes_on_where_it_was(call, zoo):
    arguments = ("zoo", "wild-park", "--dataset", "digits", "--out", zoo, "--workers", 1, *QUICK)
    values = json.loads(call(*arguments, "--runs", 7, "--json", "-q").stdout)
    assert (values["trained"], values["already_there"], values["runs"], values["checkpoints"]) == (2, 5, 7, 14)
    assert values["splits"]["train"] == {"runs": 7, "checkpoints": 14}
    shown = call(*arguments, "--runs", 7)
    assert "0 runs new, 7 were there" in shown.stdout
    assert "last of each run" in shown.stdout
    assert f"weightwalk verify {zoo}" in shown.stdout
    assert f"weightwalk train wild_park_accuracy_small --zoo {zoo}" in shown.stdout
    assert len(Zoo.open(zoo)) == 14


def test_progress_is_told(call, zoo):
    result = call("zoo", "wild-park", "--dataset", "digits", "--out", zoo, "--workers", 1, "--runs", 6, *QUICK)
    assert "training 1/1" in result.stderr
    assert "test accuracy" in result.stderr


def test_inspect(call, zoo):
    values = json.loads(call("inspect", zoo, "--verify", "--json").stdout)
    assert (values["kind"], values["runs"], values["architectures"] >= 2, values["verified"]) == (
        "wild-park",
        5,
        True,
        True,
    )
    assert set(values["test_accuracy_by_epoch"]) == {"1", "2"}
    assert "architectures" in call("inspect", zoo).stdout
    refused(call, ("inspect", zoo, "--sheet", zoo.parent / "a.png"), "leave --sheet out")


def test_verify(call, zoo, tmp_path):
    assert "10 networks of 5 runs in 6 files; 10 evaluated anew" in call("verify", zoo, "-q").stdout
    assert "none was evaluated" in call("verify", zoo, "-q", "--sample", 0).stdout
    refused(call, ("verify", zoo, "--root", tmp_path), "expected no folder of digits", "leave --root out")
    values = json.loads(call("verify", zoo, "--sample", 3, "--json").stdout)
    assert (values["ok"], values["looked_at"], values["rows"]) == (True, 3, 10)
    path = next((zoo / "rows").iterdir())
    content = path.read_bytes()
    path.write_bytes(content[:-2] + b"!!")
    refused(call, ("verify", zoo), str(path), "run the command that made the zoo again")
    refused(call, ("inspect", zoo, "--verify"), "1 file is not as they should be")


def test_zoos_of_another_kind_are_told_apart(call, zoo, shared_zoo):
    refused(call, ("render", zoo, "0"), "expected a zoo of INRs, got one of wild-park networks")
    refused(call, ("verify", shared_zoo, "--root", "."), "--root is for zoos of trained networks")
    refused(call, ("zoo", "cnn", "--dataset", "digits", "--out", shared_zoo), "at least 15 x 15")
    refused(
        call, ("zoo", "wild-park", "--dataset", "digits", "--out", shared_zoo, *QUICK), "kind was inr, now wild-park"
    )


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        (("gan",), "unknown kind of zoo 'gan'"),
        (("cnn", "--dataset", "cifar11"), "did you mean 'cifar10'"),
        (("cnn",), "name it with --root"),
        (("vit", "--dataset", "digits", "--recipe", "cnn"), "expected a recipe of vit networks"),
        (("vit", "--dataset", "digits", "--set", "width=3"), "unknown setting 'width'"),
        (("vit", "--dataset", "digits", "--runs", "0"), "at least 1 run"),
        (("vit", "--dataset", "digits", "--seed", "-1"), "a seed from 0"),
        (("vit", "--dataset", "digits", "--workers", "0"), "at least 1 worker"),
        (("wild-park", "--dataset", "digits"), "one for each of 1 channels"),
    ],
)
def test_bad_input(call, tmp_path, arguments, match):
    refused(call, ("zoo", *arguments, "--out", tmp_path / "zoo"), match)
    assert not (tmp_path / "zoo").exists()


def test_import(call, tmp_path):
    tiny.vit_zoo(tmp_path / "vits")
    values = json.loads(call("import", "vit-zoo", tmp_path / "vits", "--out", tmp_path / "zoo", "--json", "-q").stdout)
    assert (values["read"], values["runs"], values["splits"]["test"]) == (10, 10, {"runs": 2, "checkpoints": 2})
    assert "10 were there" in call("import", "vit-zoo", tmp_path / "vits", "--out", tmp_path / "zoo").stdout
    assert "all well" in call("verify", tmp_path / "zoo", "-q").stdout
    refused(call, ("verify", tmp_path / "zoo", "--root", tmp_path), "was imported")
    refused(
        call, ("import", "vit-zoo", tmp_path / "vits", "--size", 3), "expected nothing but dataset, splits", "got size"
    )
    refused(call, ("import", "vit-zoo", tmp_path / "absent", "--out", tmp_path / "other"), "found nothing")
    refused(call, ("import", "vit-zoo", tmp_path / "vits", "--omega", 10), "got omega")
    refused(call, ("import", "vit-zoo", tmp_path / "vits", "--dataset", "cifar11"), "did you mean 'cifar10'")
    refused(call, ("import", "vitzoo", tmp_path / "vits"), "nfn, dws, small-cnn-zoo", "did you mean 'vit-zoo'")
