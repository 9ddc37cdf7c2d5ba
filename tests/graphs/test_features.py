import math

import torch

from weightwalk.graphs.features import FourierFeatures
from weightwalk.testing import assert_close


def test_features_are_sines_then_cosines():
    features = FourierFeatures(3, scale=2.0).double()
    x = torch.randn(4, 5, dtype=torch.float64)
    phi = features(x)
    assert phi.shape == (4, 5, 6) == (*x.shape, features.dim)
    for k, frequency in enumerate(features.frequencies.tolist()):
        angle = 2 * math.pi * frequency * x
        assert_close(phi[..., k], angle.sin(), what="sine")
        assert_close(phi[..., 3 + k], angle.cos(), what="cosine")


def test_zero_is_a_point_like_any_other():
    assert FourierFeatures(2, scale=1.0)(torch.zeros(1)).tolist() == [[0, 0, 1, 1]]


def test_frequencies_are_normal_with_the_scale_and_belong_to_the_state():
    features = FourierFeatures(50_000, scale=3.0)
    assert abs(float(features.frequencies.std()) - 3.0) < 0.05
    assert abs(float(features.frequencies.mean())) < 0.05
    assert list(features.state_dict()) == ["frequencies"]
    assert list(features.parameters()) == []
