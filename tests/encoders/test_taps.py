import pytest
import torch
from torch import nn

from weightwalk.encoders import film, taps
from weightwalk.graphs.features import FourierFeatures


def parts(batch=3, out=4, inputs=3, count=2, head=2, dim=5):
    torch.manual_seed(0)
    features, edge = FourierFeatures(3, 2.0).double(), nn.Linear(6, head).double()
    weights, sources = torch.randn(batch, out, inputs, count).double(), torch.randn(batch, inputs, count, head).double()
    return (
        weights,
        features,
        edge,
        sources,
        torch.randn(dim, count * head).double(),
        torch.randn(batch, inputs, dim).double(),
    )


@pytest.mark.parametrize("piece_bytes", [1, 200, 400, 2_000, 2**20])
def test_in_pieces_is_in_one(monkeypatch, piece_bytes):
    weights, features, edge, *others = parts()
    monkeypatch.setitem(film.PIECE_BYTES, "cpu", piece_bytes)
    found = {}
    for name, function in (("pieces", taps.tap_sums), ("one", taps.plain_tap_sums)):
        edge.zero_grad()
        leaves = [tensor.clone().requires_grad_() for tensor in others]
        summed = function(weights, features, edge, *leaves)
        (summed * torch.arange(summed.numel()).reshape(summed.shape)).sum().backward()
        found[name] = [
            summed.detach(),
            *(leaf.grad for leaf in leaves),
            edge.weight.grad.clone(),
            edge.bias.grad.clone(),
        ]
    for ours, plain in zip(found["pieces"], found["one"], strict=True):
        torch.testing.assert_close(ours, plain)


def test_gradients_are_those_of_differences():
    weights, features, edge, *others = parts(batch=2, out=2, inputs=2, dim=2)
    leaves = [tensor.requires_grad_() for tensor in others]
    assert torch.autograd.gradcheck(
        lambda e, b, s, m, c: taps._TapSums.apply(weights, features, e, b, s, m, c), (edge.weight, edge.bias, *leaves)
    )


def test_weights_that_want_a_gradient_get_one():
    weights, features, edge, *others = parts()
    weights.requires_grad_()
    taps.tap_sums(weights, features, edge, *others).sum().backward()
    assert weights.grad.abs().sum() > 0
