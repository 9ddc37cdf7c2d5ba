"""What is kept is what would be made: whatever happens to the tensors that it is made of."""

import pytest
import torch
from torch import nn
from torch.func import functional_call, grad, vmap

from weightwalk.kept import Common, kept
from weightwalk.training.gradients import gradients


class Squares(nn.Module):
    def __init__(self):
        super().__init__()
        self.w, self.made = nn.Parameter(torch.arange(3.0)), 0

    def make(self):
        self.made += 1
        return self.w * self.w

    def forward(self):
        return kept(self, "squares", (self.w,), self.make)


def test_it_is_made_once_for_the_same_tensors():
    module = Squares()
    with torch.no_grad():
        assert torch.equal(module(), module())
    assert module.made == 1


@pytest.mark.parametrize(
    "change",
    [
        lambda module: module.w.add_(1),
        lambda module: module.w.data.add_(1),  # does not tell the version
        lambda module: setattr(module, "w", nn.Parameter(torch.ones(3))),
        lambda module: module.load_state_dict({"w": torch.full((3,), 7.0)}),
        lambda module: module.double(),
    ],
    ids=["in place", "data", "another", "loaded", "double"],
)
@torch.no_grad()
def test_a_change_is_seen(change):
    module = Squares()
    module()
    change(module)
    assert torch.equal(module(), module.w * module.w)


def test_gradients_flow_and_training_leaves_nothing_behind():
    module = Squares()
    with torch.no_grad():
        module()
    module().sum().backward()
    assert torch.equal(module.w.grad, 2 * module.w)
    with torch.no_grad():
        module()
    assert module.made == 3


def test_transforms_of_the_tensors_see_no_kept_numbers():
    module = Squares()
    with torch.no_grad():
        module()
        of_sum = grad(lambda w: functional_call(module, {"w": w}, ()).sum())
        assert torch.equal(of_sum(torch.ones(3)), torch.full((3,), 2.0))
        each = vmap(lambda w: functional_call(module, {"w": w}, ()))(torch.ones(2, 3))
        assert torch.equal(each, torch.ones(2, 3))
        assert torch.equal(vmap(lambda x: x + module())(torch.zeros(2, 3)), module().expand(2, 3))
    assert torch.equal(module(), module.w * module.w)


def test_the_wrong_twin_that_looks_at_places_alone_is_caught(monkeypatch):
    monkeypatch.setattr("weightwalk.kept._state", lambda x: x.data_ptr())
    with pytest.raises(AssertionError):
        test_a_change_is_seen(lambda module: module.w.add_(1))


def test_lanes_make_it_once_and_its_gradient_comes_back_from_all_of_them():
    module, plain = Squares(), Squares()
    samples = torch.arange(12.0).view(4, 3)
    loss = gradients(module, lambda x: (module() * x).sum(1).mean(), samples, lane=1)
    assert module.made == 1
    expected = (plain.make() * samples).sum(1).mean()
    expected.backward()
    assert torch.equal(loss, expected.detach())
    assert torch.equal(module.w.grad, plain.w.grad)


def test_the_wrong_twin_without_the_way_back_has_no_gradient(monkeypatch):
    monkeypatch.setattr(Common, "backward", lambda self, gradients: None)
    module = Squares()
    gradients(module, lambda x: (module() * x).sum(1).mean(), torch.ones(4, 3), lane=1)
    assert module.w.grad is None


def test_what_inference_mode_made_is_not_kept_for_gradients():
    module = Squares().requires_grad_(False)
    with torch.inference_mode():
        module()
    x = torch.ones(3, requires_grad=True)
    (x * module()).sum().backward()
    assert torch.equal(x.grad, module.w * module.w)
