import pytest
import torch

from weightwalk import NetworkSpec
from weightwalk.bench import trainers, training
from weightwalk.networks.architectures import simple_vit
from weightwalk.networks.starts import Key, classifier
from weightwalk.spec import Dense, MeanPool
from weightwalk.steps import Conv
from weightwalk.testing import assert_close


@pytest.mark.parametrize(("name", "run"), [("cnn", 1), ("vit", 0), *(("wild-park", run) for run in range(8))])
def test_the_eager_module_is_the_recipe_s_network(name, run):
    spec = training.drawn_of(name, run).spec
    weights = classifier(spec, Key(0, 0, run, 0))
    x = torch.randn(5, *training.shape_of(training.TRAIN_RECIPES[name]))
    module = trainers.Eager(spec, weights.flat[0])
    assert_close(module(x).detach(), weights.run(x)[0], what="outputs", atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(("name", "run"), [("cnn", 0), ("wild-park", 1)])
def test_every_way_learns_the_same(name, run):
    losses = [training._measured(0, name, run, 64, way)[2] for way in training.SETTINGS[name].ways]
    assert losses == pytest.approx([losses[0]] * len(losses), rel=1e-4)
    assert training._measured(1, name, run, 64, training.TRAINER)[2] != losses[0]


def test_arithmetic_by_hand():
    spec = NetworkSpec((Conv(2, 4, stride=2), Conv(4, 3, groups=1, padding=1), MeanPool(3), Dense(3, 5)))
    first, second, head = 4 * 2 * 9 * 5 * 7, 3 * 4 * 9 * 5 * 7, 15  # 11 x 15 becomes 5 x 7
    assert trainers.image_flops(spec, (2, 11, 15)) == 2 * (2 * first + 3 * second + 3 * head)
    vit = simple_vit((3, 8, 8), 10, dim=8, depth=1, heads=2, dim_head=3, mlp=5, patch=4)
    tokens = 4
    dense = tokens * (48 * 8 + 8 * 18 + 6 * 8 + 8 * 5 + 5 * 8)
    assert trainers.image_flops(vit, (3, 8, 8)) == 2 * 3 * (dense + 2 * 6 * tokens**2 + 80)
