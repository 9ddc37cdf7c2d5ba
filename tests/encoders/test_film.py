import pytest
import torch
from torch import nn

from weightwalk.encoders import film
from weightwalk.graphs.features import FourierFeatures


def parts(batch=5, out=7, inputs=3, dim=6):
    torch.manual_seed(0)
    features = FourierFeatures(4, 2.0).double()
    return (
        torch.randn(batch, out, inputs).double(),
        features,
        nn.Linear(8, dim).double(),
        torch.randn(batch, inputs, dim).double(),
    )


@pytest.mark.parametrize(
    "piece_bytes", [1, 100, 250, 2_500, 2**20]
)  # sources, targets, networks at a time, all at once
def test_in_pieces_is_in_one(monkeypatch, piece_bytes):
    weights, features, edge, sources = parts()
    monkeypatch.setitem(film.PIECE_BYTES, "cpu", piece_bytes)
    found = {}
    for name, function in (("pieces", film.messages), ("one", film.plain_messages)):
        edge.zero_grad()
        leaf = sources.clone().requires_grad_()
        summed = function(weights, features, edge, leaf)
        (summed * torch.arange(summed.numel()).reshape(summed.shape)).sum().backward()
        found[name] = [summed.detach(), leaf.grad, edge.weight.grad.clone(), edge.bias.grad.clone()]
    for ours, plain in zip(found["pieces"], found["one"], strict=True):
        torch.testing.assert_close(ours, plain)


def test_gradients_are_those_of_differences():
    weights, features, edge, sources = parts(batch=2, out=2, inputs=2, dim=2)
    sources.requires_grad_()
    assert torch.autograd.gradcheck(
        lambda s, w, b: film._Messages.apply(weights, features, w, b, s), (sources, edge.weight, edge.bias)
    )


def test_weights_that_want_a_gradient_get_one():
    weights, features, edge, sources = parts()
    weights.requires_grad_()
    film.messages(weights, features, edge, sources).sum().backward()
    assert weights.grad.abs().sum() > 0


@pytest.mark.parametrize("pairs", [1, 2, 3, 6, 7, 20, 21, 22, 50, 1000])
def test_pieces_cover_every_pair_once_and_are_as_large_as_they_may(monkeypatch, pairs):
    monkeypatch.setitem(film.PIECE_BYTES, "cpu", pairs * 4 * 10)
    counts = torch.zeros(5, 7, 3)
    for piece in film.pieces(counts, 10):
        assert counts[piece].numel() <= max(pairs, 1)
        counts[piece] += 1
    assert (counts == 1).all()
    assert not list(film.pieces(torch.zeros(0, 7, 3), 10))
