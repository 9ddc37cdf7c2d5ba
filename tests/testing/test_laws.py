import pytest
import torch
from torch import nn

from weightwalk import NetworkSpec
from weightwalk.encoders import DNGEncoder, Encoding
from weightwalk.testing import (
    assert_close,
    assert_equivariant,
    assert_invariant,
    assert_save_load,
    random_weights,
    tiny_specs,
    tiny_zoo,
)
from weightwalk.zoos.hashes import verify

SPEC = NetworkSpec.mlp([2, 6, 5, 1])


def test_close_names_the_largest_difference_and_where_it_is():
    expected = torch.zeros(2, 3)
    actual = torch.tensor([[0.0, 1e-6, 0.5], [0.0, -2.0, 0.0]])
    with pytest.raises(
        AssertionError, match=r"thing: 2 of 6 numbers differ in torch.float32; the largest difference is 2 at \(1, 1\)"
    ):
        assert_close(actual, expected, what="thing")
    assert_close(expected + 1e-6, expected, what="thing")


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_close_does_not_pass_over_what_is_no_number(value):
    with pytest.raises(AssertionError, match=r"at \(1,\)"):
        assert_close(torch.tensor([0.0, value]), torch.zeros(2), what="thing", atol=1e9)


def test_close_compares_shapes_and_dtypes():
    for other in (torch.zeros(2, 1), torch.zeros(2, dtype=torch.float64)):
        with pytest.raises(AssertionError, match=r"thing: expected \(2,\) torch.float32, got"):
            assert_close(other, torch.zeros(2), what="thing")


def test_laws_leave_the_module_as_it_was():
    encoder = DNGEncoder(SPEC, dim=4, num_frequencies=2, dropout=0.5)
    weights = random_weights(SPEC, 2, seed=0)
    assert_invariant(encoder, weights)
    assert_invariant(encoder.encode, weights)
    assert_equivariant(encoder, weights)
    assert encoder.training
    assert encoder.input_memory.dtype == torch.float32


def edges(weights, twist=lambda w: w):
    """An encoding whose edges are the weights and their squares."""
    found = tuple(torch.stack([twist(w), w.square()], dim=-1) for w in weights.weights)
    return Encoding(pooled=weights.flat.sum(1, keepdim=True), edges=found)


@pytest.mark.parametrize("spec", tiny_specs().values(), ids=list(tiny_specs()))
def test_edges_move_with_the_neurons(spec):
    assert_equivariant(edges, random_weights(spec, 2, seed=0))


@pytest.mark.parametrize("axis", [1, 2])
def test_edges_that_stay_where_they_are_are_found(axis):
    def wrong(weights):
        return edges(weights, lambda w: w + torch.arange(w.shape[axis]).reshape((-1, 1) if axis == 1 else (1, -1)))

    with pytest.raises(AssertionError, match=r"edges of layer [01] is not equivariant"):
        assert_equivariant(wrong, random_weights(SPEC, 2, seed=0))


def test_save_load_needs_modules_that_differ_at_first():
    counter = iter(range(9))

    class Reader(nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("kept", torch.tensor(float(next(counter))))

        def forward(self, weights):
            return weights.flat * self.kept

    assert_save_load(Reader, random_weights(SPEC, 2, seed=0))


@pytest.mark.parametrize("spec", tiny_specs().values(), ids=list(tiny_specs()))
def test_random_weights_are_the_same_networks_in_every_dtype(spec):
    single, double = (random_weights(spec, 3, seed=5, dtype=dtype) for dtype in (torch.float32, torch.float64))
    assert torch.equal(single.flat, double.flat.float())
    assert not torch.equal(single.flat, random_weights(spec, 3, seed=6).flat)


def test_a_tiny_zoo_is_a_valid_one(tmp_path):
    zoo = tiny_zoo(tmp_path / "zoo", fits=2, num_classes=3)
    assert not verify(tmp_path / "zoo").problems
    assert [len(zoo.rows(split)) for split in ("train", "val", "test")] == [42, 3, 6]
    assert set(zoo.labels[zoo.rows("test")]) == {0, 1, 2}
    assert zoo.settings["dataset"] == "tiny"
    assert zoo.images(zoo.rows()).shape == (51, 1, 8, 8)
