"""Networks of any architectures read in lockstep: each as if it were alone, with gradients, and in few sums."""

import random

import pytest
import torch

from weightwalk import NetworkSpec, Weights
from weightwalk.encoders import DNGEncoder, EncoderConfig, pieces
from weightwalk.encoders.dng import gathering
from weightwalk.steps import Add, Attention, Concat, Conv, Dense, MeanPool, Norm, Pad, Slice
from weightwalk.testing import assert_close, random_weights

EXACT = {"atol": 1e-11, "rtol": 1e-12}


def drawn(seed: int) -> NetworkSpec:
    """A network of 2 inputs and 3 outputs: convolutions, some of them grouped or without biases, norms, residuals of
    equal and of unequal widths, concatenations, sometimes an attention.
    """
    draw = random.Random(seed)
    steps, widths = [], [2]
    for _ in range(draw.randint(1, 4)):
        before, width, groups = widths[-1], draw.choice([2, 4, 6]), draw.choice([1, 1, 2])
        kernel, bias = draw.choice([(1,), (3,), (2, 2), (3, 3)]), draw.random() < 0.8
        groups = 1 if before % groups or width % groups else groups
        activation = draw.choice(["relu", "tanh", "identity"])
        steps.append(Conv(before, width, activation, kernel=kernel, bias=bias, groups=groups))
        widths.append(width)
        if draw.random() < 0.3:
            steps.append(Norm(width, width))
            widths.append(width)
        if draw.random() < 0.5:
            other = draw.randrange(len(widths) - 1)
            read, common = other, min(widths[other], width)
            new = len(steps)
            if common < widths[other]:
                steps.append(Slice(widths[other], common, sources=(read,)))
                widths.append(common)
                read = len(steps)
            if common < width:
                steps.append(Pad(common, width, sources=(read,)))
                widths.append(width)
                read = len(steps)
            steps.append(Add(width, sources=(read, new)))
            widths.append(width)
        if draw.random() < 0.2:
            both = (draw.randrange(len(widths)), len(widths) - 1)
            joint = tuple(widths[value] for value in both)
            steps.append(Concat(sum(joint), widths=joint, sources=both))
            widths.append(sum(joint))
    if draw.random() < 0.2 and widths[-1] % 2 == 0:
        here = len(steps)
        steps += [Dense(widths[-1], 4, sources=(here,)) for _ in range(3)]
        steps.append(Attention(4, heads=2, sources=(here + 1, here + 2, here + 3)))
        widths += [4] * 4
    return NetworkSpec((*steps, MeanPool(widths[-1]), Dense(widths[-1], 3)))


def mixture(first: int, count: int = 6) -> list[Weights]:
    specs = [drawn(seed) for seed in range(first, first + count)]
    return [random_weights(spec, 1 + number % 2, seed=number, dtype=torch.float64) for number, spec in enumerate(specs)]


def reader(batches: list[Weights], reach: float = 1.0, **options) -> DNGEncoder:
    """In float64, for all of them, which may have values that its polynomials don't cover."""
    torch.manual_seed(0)
    config = EncoderConfig.named("dng", dim=6, num_frequencies=40, scale=0.2, head_dim=3, shared=True, **options)
    encoder = config.build(*(batch.spec for batch in batches)).double()
    assert isinstance(encoder, DNGEncoder)
    encoder.prepare(batches)
    assert encoder.passes[0].kinds["message"].edge.on_basis() is not None
    for name, buffer in encoder.named_buffers():
        if name.endswith("reach"):
            buffer.mul_(reach)
    return encoder


def both(encoder: DNGEncoder, batches: list[Weights]) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    """The encodings, and gradients of a loss on all of them, together and each alone."""
    parameters = [*encoder.parameters()]
    found = []
    for encodings in (encoder.encode(batches), torch.cat([encoder(batch).pooled for batch in batches])):
        gradients = torch.autograd.grad(encodings.sin().sum(), parameters, materialize_grads=True)
        found.append([encodings.detach(), *gradients])
    return found[0], found[1]


@pytest.mark.parametrize("first", range(0, 60, 6))
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"activation_embedding": True, "preset": "release-cnn-zoo", "reach": 0.3},
        {"num_passes": 2, "readout": "layers", "preset": "release-vit"},
    ],
    ids=str,
)
def test_any_architectures_together_are_each_alone(first, options):
    if options.get("preset") == "release-vit":
        options = options | {"max_taps": 12}
        batches = [batch for batch in mixture(first) if not any(isinstance(s, Attention) for s in batch.spec.steps)]
    else:
        batches = mixture(first)
    for one, other in zip(*both(reader(batches, **options), batches), strict=True):
        assert_close(one, other, what="encodings and gradients", **EXACT)


def test_no_networks_at_all_have_no_encodings():
    spec = NetworkSpec((Conv(2, 4, kernel=(3,)), MeanPool(4), Dense(4, 3)))
    batch = random_weights(spec, 1, seed=0, dtype=torch.float64)
    assert reader([batch])(batch[:0]).pooled.shape == (0, 3 * 6)


def test_networks_without_kernels_are_read_together_too():
    batches = [
        random_weights(NetworkSpec.mlp([2, *hidden, 3], "relu"), 2, seed=seed, dtype=torch.float64)
        for seed, hidden in enumerate([(4,), (5, 4), (4, 4), (4, 5, 3)])
    ]
    for one, other in zip(*both(reader(batches), batches), strict=True):
        assert_close(one, other, what="encodings and gradients", **EXACT)


def test_gradients_of_gradients_and_of_weights():
    batches = mixture(0)
    encoder = reader(batches)
    parameters = [*encoder.parameters()]

    def second(read) -> list[torch.Tensor]:
        flat = [batch.flat.clone().requires_grad_() for batch in batches]
        given = [Weights(batch.spec, one) for batch, one in zip(batches, flat, strict=True)]
        loss = read(batches).sin().sum() + read(given).cos().sum()
        first = torch.autograd.grad(loss, [*parameters, *flat], create_graph=True, materialize_grads=True)
        total = sum((one.square().sum() for one in first), torch.zeros((), dtype=torch.float64))
        return [*first, *torch.autograd.grad(total, parameters, materialize_grads=True)]

    together = second(encoder.encode)
    alone = second(lambda given: torch.cat([encoder(batch).pooled for batch in given]))
    for one, other in zip(together, alone, strict=True):
        assert_close(one, other, what="gradients", atol=1e-9, rtol=1e-9)


@pytest.mark.parametrize("numbers", [40, 400])
def test_small_pieces_give_the_same(monkeypatch, numbers):
    batches = mixture(6)
    encoder = reader(batches)
    expected = both(encoder, batches)[0]
    monkeypatch.setitem(pieces.PIECE_BYTES, "cpu", 8 * numbers)
    for one, other in zip(both(encoder, batches)[0], expected, strict=True):
        assert_close(one, other, what="encodings and gradients", **EXACT)


def test_a_mixture_is_few_sums(monkeypatch):
    """One for every layer of the deepest network and number of taps and sources, not one per network."""
    spec = NetworkSpec((Conv(2, 4), Conv(4, 6), MeanPool(6), Dense(6, 3)))
    specs = [NetworkSpec((Conv(2, 4), Conv(4, width), MeanPool(width), Dense(width, 3))) for width in range(2, 12)]
    batches = [random_weights(spec, 1, seed=0, dtype=torch.float64) for spec in (spec, *specs)]
    encoder, made = reader(batches), []
    original = gathering.heard
    monkeypatch.setattr(gathering, "heard", lambda sets, *rest: made.append(len(sets)) or original(sets, *rest))
    encoder.encode(batches)
    assert made == [1, 1, 10]


def test_targets_that_hear_another_network_are_found_out(monkeypatch):
    batches = mixture(0)
    encoder = reader(batches)
    alone, blocks = both(encoder, batches)[1], gathering._blocks
    monkeypatch.setattr(gathering, "_blocks", lambda layer: blocks(layer) * 0)
    with pytest.raises(AssertionError):
        assert_close(both(encoder, batches)[0][0], alone[0], what="encodings", **EXACT)


def test_dropout_is_of_every_node():
    batches = mixture(0)
    encoder = reader(batches, dropout=0.5)
    assert not torch.equal(encoder.encode(batches), encoder.encode(batches))
    encoder.eval()
    assert torch.equal(encoder.encode(batches), encoder.encode(batches))
