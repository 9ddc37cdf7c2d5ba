"""Sums over pairs with several edges by products of polynomials, against the formula."""

import pytest
import torch

from weightwalk import NetworkSpec
from weightwalk.encoders import DNGEncoder, pieces
from weightwalk.encoders.basis import chebyshev
from weightwalk.encoders.taps import Pairs, conversion, doubled, heard
from weightwalk.steps import Conv, Dense, MeanPool
from weightwalk.testing import assert_close, random_weights


@pytest.mark.parametrize("count", [1, 2, 3, 8, 19, 33])
def test_the_products_span_chebyshevs_polynomials(count):
    t = torch.linspace(-1, 1, 200, dtype=torch.float64)
    expected = torch.stack([*chebyshev(t, count)])
    assert_close(conversion(count) @ doubled(t, count), expected, what="polynomials", atol=1e-12, rtol=0.0)
    assert conversion(count).abs().sum(1).max() <= max(1, count - 1)
    if count > 2:
        with pytest.raises(AssertionError):
            assert_close(doubled(t, count), expected, what="polynomials", atol=1e-12, rtol=0.0)


def problem(offset: bool) -> tuple[list[Pairs], list[torch.Tensor], list[torch.Tensor]]:
    """Two sets of pairs: 5 targets of 2 blocks of 3 sources with 4 taps, and 2 targets of a block of 2 with one."""
    torch.manual_seed(0)
    coefficients, constant = torch.randn(3, 6), torch.randn(4)
    sets, operands = [], [coefficients, constant]
    for rows, sources, taps in (([1, 0, 0, 1, 1], 3, 4), ([0, 0], 2, 1)):
        blocks = max(rows) + 1
        values = torch.rand(len(rows), sources, taps) * 2 - 1
        own = [torch.randn(3 * taps, blocks * sources), torch.randn(4, 3 * taps), torch.randn(4, blocks * sources)]
        own = [x.double() for x in own]
        operands += own if offset else own[:2]
        sets.append(Pairs(values.double(), own[0], torch.tensor(rows), own[1], own[2] if offset else None))
    operands[:2] = coefficients.double(), constant.double()
    return sets, operands[:2], [x.requires_grad_() for x in operands]


def plain(sets: list[Pairs], coefficients: torch.Tensor, constant: torch.Tensor) -> list[torch.Tensor]:
    found = []
    for values, sources, rows, mix, offset in sets:
        targets = []
        for target, block in enumerate(rows.tolist()):
            total = torch.zeros(4, dtype=torch.float64)
            for j in range(values.shape[1]):
                place = block * values.shape[1] + j
                edge = coefficients @ doubled(values[target, j], 6)
                hidden = mix @ (edge.flatten() * sources[:, place]) + constant
                total = total + (hidden if offset is None else hidden + offset[:, place]).relu()
            targets.append(total)
        found.append(torch.stack(targets))
    return found


@pytest.mark.parametrize("offset", [False, True])
@pytest.mark.parametrize("numbers", [None, 30, 1])
def test_they_are_the_formula_to_second_order(monkeypatch, offset, numbers):
    """With pieces of everything, of some targets, and of one source."""
    if numbers is not None:
        monkeypatch.setitem(pieces.PIECE_BYTES, "cpu", 8 * numbers)
    sets, shared, operands = problem(offset)
    answers = []
    for form in (heard, plain):
        found = form(sets, *shared)
        loss = sum((x.sin().sum() for x in found), torch.zeros((), dtype=torch.float64))
        first = torch.autograd.grad(loss, operands, create_graph=True)
        total = sum((x.square().sum() for x in first), torch.zeros((), dtype=torch.float64))
        answers.append([*found, *first, *torch.autograd.grad(total, operands)])
    for one, other in zip(*answers, strict=True):
        assert_close(one, other, what="sums and gradients", atol=1e-10, rtol=1e-10)


def test_what_is_kept_are_the_operands():
    sets, shared, _ = problem(False)
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda x: kept.append(x) or x, lambda x: x):
        heard(sets, *shared)
    own = [*shared, *(x for pairs in sets for x in pairs if x is not None)]
    assert {x.untyped_storage().data_ptr() for x in kept} <= {x.untyped_storage().data_ptr() for x in own}


def test_autocast_does_not_reach_them():

    spec = NetworkSpec((Conv(2, 4), Conv(4, 6), MeanPool(6), Dense(6, 3)))
    encoder, weights = DNGEncoder(spec, dim=8, scale=0.3), random_weights(spec, 2, seed=0)
    expected = encoder.encode(weights)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        encoded = encoder.encode(weights)
        encoded.float().square().sum().backward()
    assert_close(encoded.float(), expected, what="encodings", atol=0.1, rtol=0.05)
    assert all(parameter.grad is not None and parameter.grad.isfinite().all() for parameter in encoder.parameters())


def test_what_is_cached_outlives_inference_mode():
    conversion.cache_clear()
    with torch.inference_mode():
        conversion(5)
    assert not conversion(5).is_inference()
