"""A task of one's own, in one file: how bright the picture behind an INR is, from recipe to report to prediction."""

import json
from dataclasses import dataclass, replace
from typing import ClassVar

import pytest
import torch
import torch.nn.functional as F

import weightwalk
from weightwalk.encoders import EncoderConfig
from weightwalk.frameworks.answers import Number
from weightwalk.heads import HeadConfig
from weightwalk.recipes import RECIPES
from weightwalk.report import agreement, html
from weightwalk.tasks.base import TASKS, Goal, INRTask, register
from weightwalk.tasks.config import INRConfig
from weightwalk.tasks.pages import Page
from weightwalk.training.stage import StageConfig
from weightwalk.zoos.store import Zoo


@dataclass(frozen=True)
class BrightnessConfig(INRConfig):
    task: ClassVar[str] = "brightness"
    regress: StageConfig


class Brightness(INRTask[BrightnessConfig]):
    methods: ClassVar = {"encoder": BrightnessConfig}

    def target(self, zoo, rows):
        return zoo.images(rows).float().flatten(1).mean(1) / 255

    def answer(self, zoo, train):
        return Number.of_targets("mean brightness", "of white", self.target(zoo, train))

    def goal(self, config, answer):
        return Goal(lambda outputs, target: F.mse_loss(outputs, answer.standard(target)), "val_error", maximise=False)

    def figures(self, values, target):
        return {"error": float((values - target).abs().mean()), "spread": float(target.std())}

    def headline(self, found):
        return f"off by {found.test['error']:.3f}, where brightness spreads over {found.test['spread']:.3f}"

    def facts(self, found):
        return {"mean absolute error": found.test["error"]}

    def page(self, evaluated):
        points = agreement.agreement(evaluated.answers.true, evaluated.answers.values, what="brightness")
        shown = [html.Picture(points, "Predicted and true brightness.", "Scatter plot.")]
        return Page("Brightness", "Light out of weights.", {}, {"Predicted and true": shown}, {})


@pytest.fixture
def registered(monkeypatch):
    monkeypatch.setattr(TASKS, "_entries", dict(TASKS))
    monkeypatch.setattr(RECIPES, "_entries", dict(RECIPES))
    register("brightness")(Brightness)
    stage = StageConfig(steps=300, batch_size=16, learning_rate=5e-3, schedule="cosine", eval_every=100)
    encoder, head = EncoderConfig.named("statnn"), HeadConfig.named("mlp", hidden_dim=32)
    recipe = BrightnessConfig("digits_brightness", encoder, head, 0, "digits", None, stage)
    RECIPES.register("digits_brightness")(lambda: replace(recipe))


def test_a_stranger_s_task_goes_from_recipe_to_report(call, shared_zoo, tmp_path, registered):
    run = tmp_path / "run"
    assert call("train", "digits_brightness", "--zoo", shared_zoo, "--out", run).exit_code == 0
    found = json.loads(call("evaluate", run, "--json").stdout)
    assert found["test"]["error"] < found["test"]["spread"]
    assert "Light out of weights." in (call("report", run), (run / "report.html").read_text())[1]
    told = json.loads(call("predict", run, shared_zoo, "--json").stdout)
    assert told["agreement"][str(shared_zoo)]["test"]["mean_absolute_error"] == pytest.approx(found["test"]["error"])
    zoo = Zoo.open(shared_zoo)
    (answer,) = weightwalk.load(run).predict(zoo.weights([5]).to_state_dict())
    told = {one["network"]: one["predicted"] for one in told["networks"]}
    assert answer["predicted"] == pytest.approx(told[f"{shared_zoo}/all-5-f0"], abs=1e-5)
    assert torch.isfinite(weightwalk.load(run)(zoo.weights([5, 6]))).all()
