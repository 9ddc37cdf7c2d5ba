"""What every command answers, to people and to programs."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

import weightwalk
from weightwalk.zoos.hashes import verify
from weightwalk.zoos.store import Zoo

COMMANDS = ("demo", "fit", "inspect", "recipes", "train", "evaluate", "predict", "report")
HEAVY = ("torch", "numpy", "sklearn", "matplotlib", "safetensors", "PIL")


@pytest.mark.parametrize("arguments", [("--help",), ("fit", "--help"), ("train", "--help"), ("--version",)])
def test_help_imports_nothing_heavy(arguments):
    code = (
        "import sys, weightwalk.cli\n"
        f"sys.argv = ['weightwalk', *{arguments!r}]\n"
        "try:\n    weightwalk.cli.main()\nexcept SystemExit as end:\n    assert not end.code\n"
        f"print('HEAVY', *(name for name in {HEAVY!r} if name in sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1].split() == ["HEAVY"]


def test_help_is_there_at_once():
    def seconds() -> float:
        began = time.perf_counter()
        subprocess.run(
            [sys.executable, "-c", "import weightwalk.cli; weightwalk.cli.main()", "--help"],
            capture_output=True,
            check=True,
        )
        return time.perf_counter() - began

    assert min(seconds() for _ in range(4)) < 0.6  # 0.2 s where nothing else runs


def test_help_names_every_command(call):
    text = call("--help").stdout
    assert all(command in text for command in COMMANDS)
    for command in COMMANDS:
        assert all(option in call(command, "--help").stdout for option in ("--json", "--quiet")), command


def test_version(call):
    assert call("--version").stdout.strip() == weightwalk.__version__


@pytest.mark.parametrize(
    "arguments",
    [("fti",), ("fit",), ("fit", "digits", "--limit", "few"), ("train", "digits_inr2jls", "--resume", "no")],
)
def test_a_wrong_usage_is_code_2(call, arguments):
    assert call(*arguments).exit_code == 2


def test_fit_adds_what_is_not_there(call, tmp_path):
    zoo = tmp_path / "zoo"
    arguments = ("fit", "digits", "--out", zoo, "--recipe", "tiny", "--json")
    first = json.loads(call(*arguments, "--limit", 20).stdout)
    assert first["networks"] == {"train": 14, "val": 2, "test": 4}
    assert (first["fitted"], first["already_there"], first["finished"]) == (20, 0, True)
    again = json.loads(call(*arguments, "--limit", 30).stdout)
    assert (again["fitted"], again["already_there"]) == (10, 20)
    more = json.loads(call(*arguments, "--limit", 30, "--fits", 2).stdout)
    assert more["networks"]["train"] == 2 * 21
    assert len(Zoo.open(zoo)) == 51
    assert not verify(zoo).problems


def test_fit_tells_people_what_comes_next(call, tmp_path):
    result = call("fit", "digits", "--out", tmp_path / "zoo", "--limit", 10, "--recipe", "tiny", "--split", "test")
    assert result.exit_code == 0
    assert "2 INRs of digits, PSNR 36.0 dB (2 new, 0 were there)" in result.stdout
    assert "weightwalk inspect" in result.stdout
    assert "fitting 2/2" in result.stderr


def test_fits_without_a_compiler_are_remarked_upon(call, tmp_path, monkeypatch):
    monkeypatch.setattr("weightwalk.zoos.inr.kernel.available", lambda: False)
    result = call("fit", "digits", "--out", tmp_path / "zoo", "--limit", 3, "--recipe", "tiny")
    assert result.exit_code == 0
    assert "no C++ compiler works here, so fitting takes about 30 times as long; install g++" in result.stderr


def test_fit_by_default_into_zoos(call, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert call("fit", "digits", "--limit", 10, "--recipe", "tiny", "-q").exit_code == 0
    assert len(Zoo.open(Path("zoos/digits"))) == 10


def test_inspect(call, zoo):
    result = call("inspect", zoo, "--verify")
    assert result.exit_code == 0
    for words in ("MLP 2-32-32-1", "+V v^1 (32)", "NFN MNIST", "0.2868", "all as they were written", "shared"):
        assert words in result.stdout
    assert not list(zoo.parent.rglob("*.png"))  # nothing is written that nobody asked for

    sheet = zoo.parent / "elsewhere.png"
    values = json.loads(call("inspect", zoo, "--sheet", sheet, "--json").stdout)
    assert sheet.read_bytes().startswith(b"\x89PNG")
    assert values["networks"] == {"train": 42, "val": 6, "test": 12}
    assert values["psnr"]["train"]["min"] <= values["psnr"]["train"]["50 %"] <= values["psnr"]["train"]["max"]
    assert len(values["stds"]["rows"]) == 6


def test_recipes(call):
    every = json.loads(call("recipes", "--json").stdout)
    assert {"digits_inr2jls", "mnist_inr2jls", "cifar100_classify_small"} <= set(every)
    of_digits = ("inr2jls", "classify", "inr_inr", "no_generator", "dilate", "dilate_decode")
    found = json.loads(call("recipes", "--dataset", "digits", "--json").stdout)
    assert set(found) == {f"digits_{name}" for name in of_digits}
    text = call("recipes", "mnist_inr2jls").stdout
    assert "pretrain.steps" in text
    assert "400000" in text
    assert "mnist_inr2jls" in call("recipes", "--quiet").stdout


def test_what_recipes_shows_is_what_set_takes(call, zoo, tmp_path):
    from weightwalk import config
    from weightwalk.cli.recipes import _written
    from weightwalk.recipes import RECIPES

    for make in RECIPES.values():
        value = make()
        assert (
            config.override(value, [f"{key}={_written(setting)}" for key, setting in config.keys(value).items()])
            == value
        )


@pytest.mark.parametrize("recipe", ["digits_inr2jls", "digits_classify"])
def test_train_evaluate_report(call, shared_zoo, tmp_path, train_arguments, recipe):
    out = tmp_path / "run"
    trained = call(*train_arguments(shared_zoo, out, recipe), "--seed", 3)
    assert trained.exit_code == 0
    assert "weightwalk evaluate" in trained.stdout
    assert "classify 6/6" in trained.stderr
    assert json.loads((out / "run.json").read_text())["config"]["seed"] == 3

    evaluated = json.loads(call("evaluate", out, "--json").stdout)
    assert 0 <= evaluated["test"]["accuracy"] <= 1
    assert evaluated["networks"]["test"] == 12
    assert evaluated["access"] == "weights"

    assert call("report", out).exit_code == 0
    page = (out / "report.html").read_text()
    assert ("decoded, as it is" in page) == (recipe == "digits_inr2jls")


def test_train_again_changes_nothing(call, shared_zoo, run, train_arguments):
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    result = call(*train_arguments(shared_zoo, run), "--json")
    assert result.exit_code == 0
    assert json.loads(result.stdout)["stages"]["classify"]["finished"]
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before


def test_predict_a_zoo(call, shared_run, shared_zoo):
    values = json.loads(call("predict", shared_run, shared_zoo, "--json").stdout)
    assert len(values["networks"]) == 60
    first = values["networks"][0]
    assert (first["network"], first["true"], first["split"]) == (f"{shared_zoo}/all-0-f0", "0", "train")
    assert 0 <= first["runner_up_probability"] <= first["probability"] <= 1
    accuracy = json.loads(call("evaluate", shared_run, "--json").stdout)["test"]["accuracy"]
    assert values["agreement"][str(shared_zoo)]["test"] == {"networks": 12, "accuracy": pytest.approx(accuracy)}
    text = call("predict", shared_run, shared_zoo).stdout
    assert "60 networks, the first 40" in text
    assert "all-39-f0" in text
    assert "all-40-f0" not in text


def test_predict_files_of_every_kind(call, shared_run, shared_zoo, tmp_path):
    from safetensors.torch import save_file

    state = Zoo.open(shared_zoo).weights([5]).to_state_dict()
    save_file(state, tmp_path / "a.safetensors")
    torch.save(state, tmp_path / "b.pt")
    torch.save(
        {"state_dict": {f"net.{name}": tensor.double() for name, tensor in state.items()}, "label": 5},
        tmp_path / "c[1].pth",
    )
    files = [tmp_path / name for name in ("a.safetensors", "b.pt", "c[1].pth")]
    for model in (shared_run, shared_run / "model.safetensors"):
        answers = json.loads(call("predict", model, *files, "--json").stdout)["networks"]
        of_zoo = json.loads(call("predict", model, shared_zoo, "--json").stdout)["networks"][5]
        assert [answer["network"] for answer in answers] == [str(path) for path in files]
        for answer in answers:
            assert answer["class"] == of_zoo["class"]
            assert answer["probability"] == pytest.approx(of_zoo["probability"], abs=1e-5)
    assert "c[1].pth" in call("predict", shared_run, files[2]).stdout


def test_quiet_leaves_one_line(call, shared_run, shared_zoo, tmp_path, train_arguments):
    for arguments in (
        ("fit", "digits", "--out", tmp_path / "zoo", "--limit", 10, "--recipe", "tiny"),
        ("inspect", shared_zoo, "--sheet", tmp_path / "sheet.png"),
        ("recipes",),
        train_arguments(shared_zoo, tmp_path / "run", "digits_classify"),
        ("evaluate", shared_run),
        ("predict", shared_run, shared_zoo),
        ("report", shared_run, "--out", tmp_path / "report.html"),
    ):
        result = call(*arguments, "--quiet")
        assert result.exit_code == 0, arguments
        assert len(result.stdout.splitlines()) == 1, arguments
        assert result.stderr == "", arguments


def test_demo_reuses_what_is_finished(call, tmp_path, monkeypatch, small_settings):
    """With 60 digits and a short recipe; `make demo` is the real one."""
    from weightwalk import config
    from weightwalk.cli import demo
    from weightwalk.recipes import RECIPES
    from weightwalk.zoos.inr import fit

    short, load_sets = config.override(RECIPES[demo.RECIPE](), small_settings), fit.load_sets
    monkeypatch.setitem(RECIPES._entries, demo.RECIPE, lambda: short)
    monkeypatch.setattr(fit, "load_sets", lambda dataset, root: load_sets(dataset, root, limit=60))
    out = tmp_path / "demo"
    first = json.loads(call("demo", "--out", out, "--json").stdout)
    assert 0 <= first["test_accuracy"] <= 1
    assert "fit the INRs" in (out / "report.html").read_text()
    kept = {
        path: path.stat().st_mtime_ns for path in out.rglob("*.safetensors") if path.name != "predictions.safetensors"
    }
    again = call("demo", "--out", out)
    assert again.exit_code == 0
    assert "held-out accuracy" in again.stdout
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    assert first["seconds"] == json.loads(call("demo", "--out", out, "--json").stdout)["seconds"]


def test_the_next_steps_after_a_fit_are_ones_that_work(call, tmp_path):
    digits = call("fit", "digits", "--out", tmp_path / "digits", "--limit", 4).stdout
    assert "weightwalk recipes --dataset digits" in digits
    (tmp_path / "grids" / "box").mkdir(parents=True)
    np.save(tmp_path / "grids" / "box" / "0.npy", np.ones((4, 4, 4), bool))
    zoo = tmp_path / "volumes"
    boxes = call("fit", "grids", "--root", tmp_path / "grids", "--out", zoo, "--set", "descent.steps=5").stdout
    assert "recipes" not in boxes  # none reads volumes
    for step in (f"inspect {zoo}", f"render {zoo} 0:1", f"verify {zoo}"):
        assert f"weightwalk {step}" in boxes
        assert call(*step.split()).exit_code == 0
