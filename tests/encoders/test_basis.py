"""Chebyshev polynomials in place of Fourier features: the stated bound, and that it is needed."""

import pytest
import torch

from weightwalk.encoders.basis import TOLERANCE, chebyshev, degrees, expansion, slopes, stacked
from weightwalk.graphs.features import fourier


def error(frequencies, reach, count):
    """The largest error of a feature on [-reach, reach], in float64."""
    x = torch.linspace(-reach, reach, 4001, dtype=torch.float64)
    polynomials = torch.stack(list(chebyshev(x / reach, count)))
    exact = fourier(x, frequencies.double())
    return float((expansion(frequencies, reach, count) @ polynomials - exact.T).abs().max())


@pytest.mark.parametrize("reach", [0.01, 0.11, 0.7, 1.3])
@pytest.mark.parametrize("tolerance", [*TOLERANCE.values(), 1e-4])
def test_features_are_within_the_stated_bound_and_no_degree_is_spent_in_vain(reach, tolerance):
    torch.manual_seed(0)
    frequencies = 3 * torch.randn(128)
    count = degrees(frequencies, reach, tolerance)
    assert error(frequencies, reach, count) <= tolerance + 1e-13
    assert error(frequencies, reach, count - 2) > tolerance


def test_a_hidden_layer_takes_twenty():
    frequencies = torch.tensor([10.0])
    assert degrees(frequencies, 0.11, 1e-7) == 20
    assert degrees(frequencies, 0.7, 1e-7) < 70


def test_float32_is_no_worse_than_the_features_themselves():
    torch.manual_seed(0)
    frequencies, x = 3 * torch.randn(128), 1.3 * (2 * torch.rand(1000) - 1)
    count = degrees(frequencies, 1.3, TOLERANCE[torch.float32])
    exact = fourier(x.double(), frequencies.double())
    of_features = (fourier(x, frequencies) - exact).abs().max()
    for polynomials in (torch.stack(list(chebyshev(x / 1.3, count))), stacked(x / 1.3, count)):
        ours = (expansion(frequencies, 1.3, count).float() @ polynomials).T
        assert (ours - exact).abs().max() < of_features


def test_slopes_are_derivatives():
    t = torch.linspace(-1, 1, 7, dtype=torch.float64).requires_grad_()
    for polynomial, slope in zip(chebyshev(t, 9), slopes(t.detach(), 9), strict=True):
        (found,) = torch.autograd.grad((polynomial + 0 * t).sum(), t, retain_graph=True)
        assert torch.allclose(found, slope)


@pytest.mark.parametrize("count", [1, 2, 3, 8, 9, 70])
def test_both_ways_to_polynomials_agree(count):
    for size in (3, 80):
        t = torch.linspace(-1, 1, size * size, dtype=torch.float64).view(size, size)
        assert torch.allclose(stacked(t, count), torch.stack(list(chebyshev(t, count))), rtol=0, atol=1e-12)
