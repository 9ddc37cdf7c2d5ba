import math

import pytest
import torch

from weightwalk import InputError, NetworkSpec, Weights
from weightwalk.testing import assert_close, random_weights
from weightwalk.zoos.pixels import PixelFormat, to_unit


def test_coordinates_are_row_major_with_the_corners():
    assert PixelFormat().coordinates(2, 3).tolist() == [[-1, -1], [-1, 0], [-1, 1], [1, -1], [1, 0], [1, 1]]
    assert PixelFormat(axes="xy").coordinates(2, 3).tolist() == [[-1, -1], [0, -1], [1, -1], [-1, 1], [0, 1], [1, 1]]


@pytest.mark.parametrize("pixels", [PixelFormat(), PixelFormat(-0.5, 0.5, "xy"), PixelFormat(0.0, 1.0)], ids=str)
def test_black_is_low_and_white_is_high(pixels):
    picture = torch.tensor([[[[0, 255], [51, 204]]]], dtype=torch.uint8)
    span = pixels.high - pixels.low
    expected = torch.tensor([[[pixels.low, pixels.high, pixels.low + 0.2 * span, pixels.low + 0.8 * span]]])
    assert_close(pixels.targets(picture), expected, what="targets")


def test_psnr_is_in_units_of_the_range():
    error = torch.tensor([0.04, 0.0])
    assert PixelFormat().psnr(error)[0] == pytest.approx(20.0)  # (0.2 / 2)^2
    assert PixelFormat(0.0, 1.0).psnr(error)[0] == pytest.approx(-10 * math.log10(0.04))
    assert PixelFormat().psnr(error).isfinite().all()


@pytest.mark.parametrize("axes", ["ij", "xy"])
def test_a_linear_network_renders_a_ramp(axes):
    """output = coordinate 0: the row, or the column."""
    weights = Weights(NetworkSpec.mlp([2, 1]), [torch.tensor([[[1.0, 0.0]]])], [torch.zeros(1, 1)])
    picture = PixelFormat(axes=axes).render(weights, 3, 5)[0, 0]
    ramp = torch.linspace(0, 1, 3)[:, None].expand(3, 5) if axes == "ij" else torch.linspace(0, 1, 5).expand(3, 5)
    assert_close(picture, ramp.contiguous(), what="ramp")


def test_rendering_undoes_targets_in_every_channel():
    weights = random_weights(NetworkSpec.mlp([2, 5, 3]), 2, seed=0, dtype=torch.float64)
    pixels = PixelFormat(-0.5, 0.5, "xy")
    pictures = pixels.render(weights, 4, 6)
    assert pictures.shape == (2, 3, 4, 6)
    outputs = weights.run(pixels.coordinates(4, 6).double()).mT
    assert_close(pictures.flatten(2) - 0.5, outputs, what="outputs")


def test_only_functions_of_two_coordinates_are_pictures():
    with pytest.raises(InputError, match="a function of 2 coordinates, but MLP 3-4-1"):
        PixelFormat().render(random_weights(NetworkSpec.mlp([3, 4, 1]), 1, seed=0), 4, 4)


def test_unit_range():
    assert to_unit(torch.tensor([0, 255], dtype=torch.uint8)).tolist() == [-1, 1]
