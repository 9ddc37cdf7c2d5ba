"""The page that `report` writes."""

from __future__ import annotations

import re
import shutil

import pytest

from weightwalk import config
from weightwalk.tasks import pages
from weightwalk.tasks.runs import Run
from weightwalk.zoos.store import Zoo


@pytest.fixture(scope="module")
def page(shared_run, shared_zoo, tmp_path_factory):
    path = pages.write(
        Run.open(shared_run),
        Zoo.open(shared_zoo),
        tmp_path_factory.mktemp("page") / "report.html",
        {"fit the INRs": 120.0},
    )
    return path.read_text()


def test_it_says_what_was_run(page, shared_run, shared_zoo):
    run = Run.open(shared_run)
    for words in (
        "digits_inr2jls",
        config.fingerprint(run.record.config),
        "held-out accuracy",
        "weights: they are never evaluated",
        "shared",
        str(shared_zoo),
        run.record.made["commit"],
        "fit.descent.learning_rate".removeprefix("fit."),
        "2 min 0 s",
        *config.keys(run.config),
    ):
        assert words in page, words


def test_it_shows_everything_and_fetches_nothing(page):
    pictures = re.findall(r'<img src="([^"]{22})', page)
    assert pictures == ["data:image/png;base64,"] * 6  # what it sees, two stages, confusion, map, the wrong ones
    for title in (
        "What it reads, and what it sees",
        "Training",
        "Right and wrong",
        "The wrong ones",
        "What was run",
        "How long it took",
    ):
        assert f">{title}</h2>" in page
    assert not re.search(r"<script|<link|https?://", page)


def test_it_writes_the_same_page_twice(page, shared_run, shared_zoo, tmp_path):
    again = pages.write(Run.open(shared_run), Zoo.open(shared_zoo), tmp_path / "again.html", {"fit the INRs": 120.0})
    assert again.read_text() == page


def test_a_run_without_mistakes_has_none_to_show(run, shared_zoo, tmp_path):
    from safetensors.torch import load_file, save_file
    from torch.nn.functional import one_hot

    answers = load_file(run / "predictions.safetensors")
    answers["values"] = one_hot(answers["true"], 10).float()
    save_file(answers, run / "predictions.safetensors")
    assert "None." in pages.write(Run.open(run), Zoo.open(shared_zoo), tmp_path / "report.html").read_text()


def test_the_zoo_may_have_moved(call, run, shared_zoo, tmp_path):
    moved = shutil.copytree(shared_zoo, tmp_path / "moved")
    assert call("report", run, "--zoo", moved, "--out", tmp_path / "report.html").exit_code == 0
