"""What runs draw: within the ranges, the same for the same run, and what is published."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from weightwalk import InputError
from weightwalk.zoos.trained.draws import Draw
from weightwalk.zoos.trained.recipes import TRAIN_RECIPES, order, recipe

SHAPES = {"cnn": (1, 32, 32), "wild-park": (3, 32, 32), "vit": (3, 32, 32)}


def plans(name: str, count: int, seed: int = 0):
    chosen = TRAIN_RECIPES[name]
    return [chosen.drawn(SHAPES[chosen.kind], 10, seed, run) for run in range(count)]


def test_the_small_cnn_zoo_draws_what_the_paper_does():
    drawn = plans("cnn-published", 600)
    assert {plan.spec.num_parameters for plan in drawn} == {4970}
    assert {plan.checkpoints for plan in drawn} == {(0, 1, 2, 3, 20, 40, 60, 80, 86)}
    for options, values in [
        ({"adam", "sgd", "rmsprop"}, [plan.optimizer for plan in drawn]),
        ({"glorot", "he", "orthogonal", "normal", "truncated"}, [plan.scheme for plan in drawn]),
        ({0.1, 0.25, 0.5, 1.0}, [plan.train_fraction for plan in drawn]),
        ({"relu", "tanh"}, [plan.spec.layers[0].activation for plan in drawn]),
    ]:
        counts = Counter(values)
        assert set(counts) == options
        assert min(counts.values()) > 0.7 * 600 / len(options)
    for (low, high), values in [
        ((5e-4, 5e-2), [plan.learning_rate for plan in drawn]),
        ((1e-8, 1e-2), [plan.weight_decay / 2 for plan in drawn]),
        ((1e-3, 0.5), [plan.std for plan in drawn]),
    ]:
        logs = (np.log(values) - np.log(low)) / (np.log(high) - np.log(low))
        assert ((logs >= 0) & (logs <= 1)).all()
        assert abs(np.mean(logs) - 0.5) < 0.05
        assert abs(np.std(logs) - 12**-0.5) < 0.03
    assert 0 <= min(plan.dropout for plan in drawn) < 0.05 < 0.6 < max(plan.dropout for plan in drawn) <= 0.7


def test_the_wild_park_draws_every_option():
    drawn = plans("wild-park", 400)
    assert {len(plan.spec.layers) - 1 for plan in drawn} == {2, 3, 4, 5}
    convolutions = [layer for plan in drawn for layer in plan.spec.layers[:-1]]
    assert {layer.fan_out for layer in convolutions} == {4, 8, 16, 32}
    assert {layer.kernel for layer in convolutions} == {(3, 3), (5, 5), (7, 7)}
    steps = Counter(step.kind for plan in drawn for step in plan.spec.steps)
    assert {"add", "slice", "pad", "activate"} <= set(steps)
    residual = [plan for plan in drawn if not plan.spec.is_chain]
    assert 0.45 < len(residual) / 400 < 0.7  # of 3, 4, 5 layers 1/2, 5/6... have none
    assert {(plan.optimizer, plan.learning_rate, plan.weight_decay) for plan in drawn} == {("adamw", 1e-3, 0.0)}


def test_vits_stop_one_after_another():
    drawn = plans("vit-published", 18)
    assert [plan.checkpoints for plan in drawn[:9]] == [(1,), (2,), (3,), (4,), (6,), (11,), (14,), (19,), (24,)]
    assert [plan.checkpoints for plan in drawn[9:]] == [plan.checkpoints for plan in drawn[:9]]
    short = recipe("vit", None, ["epochs=5", "checkpoints=0,2"])
    assert [short.drawn((3, 32, 32), 10, 0, run).checkpoints for run in (0, 2, 8)] == [(0, 1), (0, 2, 3), (0, 2, 5)]


@pytest.mark.parametrize("name", TRAIN_RECIPES)
def test_a_run_draws_the_same_whatever_else_is_drawn(name):
    assert plans(name, 3)[2] == plans(name, 9)[2]
    first, other = plans(name, 8), plans(name, 8, seed=1)
    assert (first != other) == (TRAIN_RECIPES[name].kind != "vit")
    assert all(isinstance(plan.hyperparameters["learning_rate"], float) for plan in first)


def test_numbers_do_not_depend_on_how_they_are_used():
    one, two = Draw(3, 5), Draw(3, 5)
    one.log_between((1e-3, 1.0))
    two.one_of("abc")
    assert one.between((0.0, 1.0)) == two.between((0.0, 1.0))


def test_an_epoch_sees_its_fraction_once():
    chosen = TRAIN_RECIPES["cnn-published"]
    plan = replace(chosen.drawn((1, 32, 32), 10, 0, 0), train_fraction=0.25)
    one, two = (order(plan, chosen, 8000, 0, 0, epoch) for epoch in (1, 2))
    assert len(one) == 1536  # three whole batches of 2,000 pictures
    assert one.dtype == np.int32
    assert len(set(one.tolist())) == 1536
    assert max(one) < 2000
    assert not np.array_equal(one, two)
    assert len(order(plan, chosen, 100, 0, 0, 1)) == 25  # fewer than a batch: all of them
    assert len(order(plan, replace(chosen, drop_last=False), 8000, 0, 0, 1)) == 2000


def test_recipes_can_be_changed():
    changed = recipe("cnn", None, ["epochs=3", "optimizers=sgd", "learning_rate=0.1,0.1", "checkpoints=1"])
    assert (changed.name, changed.kept) == ("cnn (changed)", (1, 3))
    assert all(changed.drawn((1, 28, 28), 10, 0, run).learning_rate == pytest.approx(0.1) for run in range(4))
    assert recipe("vit", "vit-published", []).name == "vit-published"
    assert recipe("wild-park", None, ["mean=0.5", "std=0.25"]).normalisation(3) == ([4 / 255] * 3, [-2.0] * 3)


@pytest.mark.parametrize(
    ("kind", "name", "settings", "match"),
    [
        ("gan", None, [], "unknown kind of zoo 'gan'"),
        ("cnn", "vit", [], "expected a recipe of cnn networks"),
        ("cnn", "small", [], "unknown recipe of trained networks"),
        ("cnn", None, ["epochs=0"], "epochs must be a number of at least 1"),
        ("cnn", None, ["checkpoints=3,1"], "increasing numbers"),
        ("cnn", None, ["train_images=0"], "train_images must be a number of at least 1"),
        ("cnn", None, ["optimizers=lamb"], "unknown optimizer 'lamb'"),
        ("cnn", None, ["inits=zero"], "unknown init 'zero'"),
        ("cnn", None, ["activations="], "at least one activation"),
        ("cnn", None, ["learning_rate=0.1"], "learning_rate as two numbers"),
        ("cnn", None, ["dropout=0,1"], "dropout must be a number of at least 0 and below 1"),
        ("cnn", None, ["train_fractions=2"], "train_fractions must be a number above 0"),
        ("wild-park", None, ["kernels=4"], "odd kernels"),
        ("wild-park", None, ["layers=40"], "layers must be a number of at least 1 and of at most 12"),
        ("vit", None, ["stops="], "stops"),
        ("vit", None, ["std=0"], "std must be a number above 0"),
        ("cnn", None, ["steps=3"], "unknown setting 'steps'"),
    ],
)
def test_what_cannot_be_is_refused(kind, name, settings, match):
    with pytest.raises(InputError, match=match):
        recipe(kind, name, settings)


def test_pictures_that_do_not_fit_are_refused():
    with pytest.raises(InputError, match="at least 15 x 15"):
        TRAIN_RECIPES["cnn"].drawn((1, 8, 8), 10, 0, 0)
    with pytest.raises(InputError, match="one for each of 1 channels"):
        TRAIN_RECIPES["wild-park"].normalisation(1)
