import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.neighbors import KNeighborsClassifier

from weightwalk import InputError
from weightwalk.report.projection import plane


def test_neighbours_stay_neighbours_and_the_map_repeats():
    digits = load_digits()
    features, labels = digits.data[:200], digits.target[:200]
    points = plane(features, seed=0)
    assert points.shape == (200, 2)
    assert points.dtype == np.float64
    assert np.array_equal(points, plane(features, seed=0))
    assert KNeighborsClassifier(5).fit(points[:150], labels[:150]).score(points[150:], labels[150:]) > 0.8


@pytest.mark.parametrize("num_points", [0, 1, 2, 3, 4, 5, 9])
@pytest.mark.parametrize("dim", [1, 2, 60])
def test_few_points(num_points, dim):
    points = plane(np.random.default_rng(0).normal(size=(num_points, dim)), seed=0)
    assert points.shape == (num_points, 2)
    assert np.isfinite(points).all()


def test_features_that_do_not_vary():
    assert np.array_equal(plane(np.full((7, 5), 3.3), seed=0), np.zeros((7, 2)))
    half = np.repeat([[0.0, 1.0, 2.0], [5.0, 1.0, 2.0]], 6, axis=0)
    assert np.isfinite(plane(half, seed=0)).all()


def test_bad_features():
    with pytest.raises(InputError, match=r"must be finite .* got 1 rows"):
        plane(np.array([[1.0, np.nan]]), seed=0)
    with pytest.raises(InputError, match=r"\(3,\)"):
        plane(np.zeros(3), seed=0)
