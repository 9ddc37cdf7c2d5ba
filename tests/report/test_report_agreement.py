"""Predicted against true values."""

import io

import numpy as np
import pytest
from PIL import Image

from weightwalk import InputError
from weightwalk.report.agreement import agreement


def pixels(png: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB"))


def test_points_and_groups_are_drawn():
    true = np.random.default_rng(0).random(60)
    one = pixels(agreement(true, true))
    groups = {"relu": np.arange(20), "tanh": np.arange(20, 50)}
    two = pixels(agreement(true, true**2, groups, "test accuracy"))
    assert one.shape != two.shape  # room for the legend
    assert (one != 255).any()


def test_one_point_or_equal_ones_can_be_drawn():
    assert agreement(np.array([0.5]), np.array([0.5]))
    assert agreement(np.full(3, 0.5), np.full(3, 0.5))


@pytest.mark.parametrize(
    ("true", "predicted"),
    [(np.zeros(3), np.zeros(2)), (np.zeros(0), np.zeros(0)), (np.array([0.0, np.nan]), np.zeros(2))],
)
def test_what_cannot_be_drawn_is_refused(true, predicted):
    with pytest.raises(InputError, match="two equally long rows of finite numbers"):
        agreement(true, predicted)


def test_more_groups_than_colours_are_refused():
    with pytest.raises(InputError, match="at most 10 groups"):
        agreement(np.zeros(3), np.zeros(3), {str(k): np.arange(1) for k in range(11)})
