import pytest
import torch

from weightwalk import NetworkSpec
from weightwalk.bench import trainers, training
from weightwalk.networks.architectures import simple_vit
from weightwalk.networks.starts import Key, classifier
from weightwalk.spec import Dense, MeanPool
from weightwalk.steps import Conv
from weightwalk.testing import assert_close


@pytest.mark.parametrize("name", training.cases())
def test_both_sides_train_the_same_network(name):
    case = training.cases()[name]
    weights, module = classifier(case.spec, Key(0, 0, 3, 0)), case.peer()
    trainers.load(module, weights.flat[0], case.spec)
    x = torch.randn(5, *case.shape)
    assert_close(module(x).detach(), weights.run(x)[0], what="outputs", atol=1e-4, rtol=1e-4)


def test_both_sides_learn_the_same():
    name = "Small CNN Zoo, batch 64"
    assert training._engine(1, name, 128, 2) == pytest.approx(training._eager(1, name, 128), rel=1e-4)
    assert training._engine(1, name, 128, 2) != training._engine(0, name, 128, 1)


def test_arithmetic_by_hand():
    spec = NetworkSpec((Conv(2, 4, stride=2), Conv(4, 3, groups=1, padding=1), MeanPool(3), Dense(3, 5)))
    first, second, head = 4 * 2 * 9 * 5 * 7, 3 * 4 * 9 * 5 * 7, 15  # 11 x 15 becomes 5 x 7
    assert trainers.image_flops(spec, (2, 11, 15)) == 2 * (2 * first + 3 * second + 3 * head)
    vit = simple_vit((3, 8, 8), 10, dim=8, depth=1, heads=2, dim_head=3, mlp=5, patch=4)
    tokens = 4
    dense = tokens * (48 * 8 + 8 * 18 + 6 * 8 + 8 * 5 + 5 * 8)
    assert trainers.image_flops(vit, (3, 8, 8)) == 2 * 3 * (dense + 2 * 6 * tokens**2 + 80)


def test_a_module_of_another_shape_cannot_be_loaded():
    case = training.cases()["Small CNN Zoo, batch 64"]
    with pytest.raises((ValueError, RuntimeError)):
        trainers.load(trainers.ConvNet([1, 8, 8], [3, 3], 2, 10), torch.zeros(case.spec.num_parameters), case.spec)
