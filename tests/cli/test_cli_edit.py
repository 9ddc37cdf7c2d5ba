"""Editing from recipe to report, under both formulations; what cannot be edited is one sentence."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

import weightwalk
from weightwalk.tasks.inr_editing import edited, ops
from weightwalk.zoos.store import Zoo

TINY = {
    "digits_dilate": {"encoder.dim": 8, "encoder.num_frequencies": 4, "edit.steps": 12, "edit.eval_every": 6},
    "digits_dilate_decode": {
        **{"encoder.dim": 8, "encoder.num_frequencies": 4, "edit.steps": 12, "edit.eval_every": 6},
        **{f"latents.{name}_dim": 8 for name in ("theta", "generator", "latent", "decoder")},
    },
}


@pytest.fixture(scope="module", params=TINY)
def run(request, call, shared_zoo, tmp_path_factory):
    path = tmp_path_factory.mktemp("edit") / "run"
    sets = [f"--set={key}={value}" for key, value in TINY[request.param].items()]
    assert call("train", request.param, "--zoo", shared_zoo, "--out", path, "--quiet", *sets).exit_code == 0
    return path


def test_from_a_run_to_edited_inrs_and_a_report(call, shared_zoo, run, tmp_path):
    found = json.loads(call("evaluate", run, "--json").stdout)
    assert found["test"]["mse_unit"] == found["test"]["mse"] / 4 < found["details"]["unedited"]["mse_unit"]
    assert call("report", run).exit_code == 0
    page = (run / "report.html").read_text()
    assert "Before, wanted, after" in page
    assert "other weights" in page or "no network is edited" in page
    zoo, model, out = Zoo.open(shared_zoo), weightwalk.load(run), tmp_path / "out"
    told = json.loads(call("edit", run, shared_zoo, "--op", "dilate", "--out", out, "--json").stdout)
    assert (told["edited"], told["already_there"]) == (60, 0)
    again = json.loads(call("edit", run, shared_zoo, "--out", out, "--json").stdout)
    assert (again["edited"], again["already_there"], again["errors"]) == (0, 60, None)
    wanted = ops.OPS["dilate"](zoo.images(zoo.rows()).numpy())
    if "decode" in json.loads((run / "run.json").read_text())["method"]:
        [shown] = model.values(zoo.weights([7]))
        bytes_of = ((shown[0].numpy().clip(-1, 1) + 1) * 127.5).round()
        with Image.open(out / "all-7-f0.png") as picture:
            assert np.array_equal(np.asarray(picture), bytes_of)
        refused = call("edit", run, tmp_path / "nothing", "--out", out)
        assert refused.exit_code == 2
        return
    made = Zoo.open(out)
    assert torch.equal(made.weights(made.rows()).flat, model.edit(zoo.weights(zoo.rows())).flat)
    assert np.array_equal(made.images(made.rows()), wanted)
    assert made.names(made.rows()) == zoo.names(zoo.rows())
    assert np.array_equal(made.splits, zoo.splits)
    assert np.array_equal(made.labels, zoo.labels)
    assert made.settings["edit"]["of"] == zoo.fingerprint
    assert call("verify", out, "--quiet").exit_code == 0
    assert "dilate by digits_dilate" in call("inspect", out).stdout
    assert call("render", out, "0", "--size", 32, "--out", tmp_path / "first.png", "--quiet").exit_code == 0
    with Image.open(tmp_path / "first.png") as picture:
        assert picture.size == (32, 32)
    # what is made of something else, or of nothing that is read, is refused
    sentences = {
        ("edit", run, shared_zoo, "--op", "erode"): f"trained on --op erode, but {run} does dilate",
        ("edit", run, shared_zoo, "--op", "smear"): "unknown operation 'smear'",
        ("predict", run, shared_zoo): "makes pictures 1x8x8 after dilate; use `weightwalk edit`",
        ("train", "digits_dilate", "--zoo", out): "reads a zoo of digits, got one of digits-dilate",
    }
    for arguments, sentence in sentences.items():
        refused = call(*arguments)
        assert (refused.exit_code, sentence in refused.stderr) == (2, True), refused.stderr
    assert not (tmp_path / "runs").exists()


def test_it_goes_on_where_it_was_stopped(shared_zoo, run, tmp_path, monkeypatch):
    monkeypatch.setattr(edited, "_BLOCK", 16)
    zoo, model = Zoo.open(shared_zoo), weightwalk.load(run)
    once, twice = tmp_path / "once", tmp_path / "twice"
    assert edited.edit_zoo(model, zoo, once, run).finished
    answers = iter([False, True])
    assert edited.edit_zoo(model, zoo, twice, run, should_stop=lambda: next(answers)).edited == 16
    assert edited.edit_zoo(model, zoo, twice, run).already_there == 16
    files = {path.relative_to(once): path.read_bytes() for path in once.rglob("*") if path.is_file()}
    assert {path.relative_to(twice): path.read_bytes() for path in twice.rglob("*") if path.is_file()} == files


@pytest.mark.parametrize(
    ("setting", "sentence"),
    [
        ("encoder=statnn", "the encoder 'statnn' gives none; choose one with the option edges: dng"),
        ("op=dilat", "unknown operation 'dilat'"),
        ("head=mlp", "head must be none, got 'mlp'"),
        ("offsets.num_hidden=-1", "num_hidden must be a number of at least 0"),
    ],
)
def test_settings_that_make_no_editor_are_one_sentence(call, setting, sentence):
    refused = call("train", "digits_dilate", "--set", setting)
    assert (refused.exit_code, sentence in refused.stderr) == (2, True), refused.stderr


def test_a_run_that_classifies_does_not_edit(call, shared_zoo, shared_run, tmp_path):
    refused = call("edit", shared_run, shared_zoo, "--out", tmp_path / "out")
    assert refused.exit_code == 2
    assert "expected a run that edits INRs, got one that tells the classes 0, 1" in refused.stderr
    assert not (tmp_path / "out").exists()


def test_the_zoo_is_of_the_kind_that_was_trained_on(call, run, tmp_path):
    sounds = tmp_path / "sounds"
    weightwalk.fit(weightwalk.ImageSet.from_arrays(np.zeros((10, 16), np.float32), keep_floats=True), sounds, "audio")
    refused = call("train", "digits_dilate", "--set", "dataset=arrays", "--zoo", sounds, "--out", tmp_path / "run")
    assert refused.exit_code == 2
    assert "the operation 'dilate' is one of grey or RGB pictures, got signals of the shape (1, 16)" in refused.stderr
    dws = tmp_path / "dws"
    weightwalk.fit("digits", dws, "dws", limit=2, init="shared")
    if weightwalk.load(run).description.offsets is not None:
        refused = call("edit", run, dws, "--out", tmp_path / "out")
        assert refused.exit_code == 2
        assert "of outputs from -1 to 1 at points in the order ij, those of" in refused.stderr
        assert "are of outputs from -0.5 to 0.5 at points in the order xy" in refused.stderr
    assert not (tmp_path / "run").exists()
