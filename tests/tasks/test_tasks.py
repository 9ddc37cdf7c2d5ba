"""Every task says of itself what the command line asks for; metrics are what they say."""

import subprocess
import sys

import numpy as np
import pytest
from scipy.stats import kendalltau

from weightwalk.recipes import RECIPES
from weightwalk.tasks import TASKS
from weightwalk.tasks.base import Task
from weightwalk.tasks.generalization import metrics
from weightwalk.testing import tiny_specs
from weightwalk.testing.trained import tiny_trained_zoo


def test_every_recipe_is_of_a_task():
    assert {"inr_classification", "inr_editing", "generalization"} <= set(TASKS)
    for name, task in TASKS.items():
        assert isinstance(task, Task)
        assert task.name == name
    for make in RECIPES.values():
        config = make()
        command = TASKS[config.task].how_to_make(config, "ZOO")
        assert command.startswith("weightwalk ")
        assert config.reads in command
        assert TASKS[config.task].methods[config.method] is type(config)
        assert list(config.stages)[-1] in ("classify", "regress", "edit")


def test_figures():
    true = np.array([0.1, 0.5, 0.3, 0.9])
    assert metrics.figures(true, true) == {"tau": 1.0, "r2": 1.0, "mae": 0.0}
    assert metrics.figures(-true, true)["tau"] == -1.0
    mean = metrics.figures(np.full(4, true.mean()), true)
    assert (mean["tau"], mean["r2"]) == (0.0, pytest.approx(0.0))
    predicted = np.array([0.2, 0.2, 0.4, 0.3])
    found = metrics.figures(predicted, true)
    assert found["tau"] == kendalltau(predicted, true).statistic
    assert found["mae"] == pytest.approx((0.1 + 0.3 + 0.1 + 0.6) / 4)


def test_no_order_without_ties_has_a_greater_tau_than_the_ties_of_truth_allow():
    true = np.array([0.1, 0.1, 0.1, 0.4, 0.5, 0.5, 0.9, 0.2])
    at_most = metrics.tau_max(true)
    assert at_most == pytest.approx(metrics.figures(true + 1e-6 * np.arange(8), true)["tau"])
    assert at_most < 1 == metrics.tau_max(np.arange(8) / 8) == metrics.figures(true, true)["tau"]
    chance = np.random.default_rng(0)
    assert all(metrics.figures(chance.random(8), true)["tau"] <= at_most for _ in range(50))
    assert np.isnan(metrics.tau_max(true[:1]))


def test_groups_are_of_few_values(tmp_path):
    zoo = tiny_trained_zoo(tmp_path / "zoo", num_runs=20, mixed=True)
    rows = zoo.rows("train")
    groups = metrics.groups(zoo, rows)
    assert set(groups) == {"activation", "layers", "epoch", "optimizer"}
    for values in groups.values():
        assert sorted(np.concatenate(list(values.values())).tolist()) == list(range(len(rows)))
    found = metrics.by_group(zoo, rows, np.zeros(len(rows)), zoo.column("test_accuracy")[rows])
    assert all(row["tau"] in (0.0, None) for rows in found.values() for row in rows)


def test_activations_of_a_network():
    assert tiny_specs()["mixed"].activations == ("gelu", "gaussian", "sigmoid")
    assert tiny_specs()["no hidden layer"].activations == ("identity",)


def test_what_no_two_runs_share_is_no_group(tmp_path):
    """However few they are: a learning rate that is drawn anew for every run."""
    zoo = tiny_trained_zoo(tmp_path, num_runs=5)
    assert set(metrics.groups(zoo, zoo.rows())) == {"activation", "epoch", "optimizer"}


def test_the_interval_of_tau_is_over_runs():
    chance = np.random.default_rng(0)
    runs = np.repeat(np.arange(40), 5)
    true = chance.random(40)[runs] + 0.01 * chance.random(200)  # checkpoints of a run are much alike
    predicted = true + 0.3 * chance.standard_normal(40)[runs]
    low, high = metrics.tau_interval(predicted, true, runs)
    assert low < metrics.figures(predicted, true)["tau"] < high
    alone = metrics.tau_interval(predicted, true, np.arange(200))
    assert alone[1] - alone[0] < 0.7 * (high - low)  # as if they were independent: too sure
    assert metrics.tau_interval(predicted, true, runs) == [low, high]
    assert metrics.tau_interval(predicted, true, np.zeros(200)) is None
    assert "unknown" in metrics.between(None)


def test_whatever_is_imported_first_knows_all_tasks():
    code = "import weightwalk.tasks.runs; from weightwalk.tasks.base import TASKS; print(*TASKS)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["generalization", "inr_classification", "inr_editing"]
