import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from weightwalk import InputError, NetworkSpec, Weights
from weightwalk.testing import assert_close, random_weights
from weightwalk.zoos.inr.pixels import Fourier, PixelFormat, to_unit


def test_coordinates_are_row_major_with_the_corners():
    assert PixelFormat().coordinates((2, 3)).tolist() == [[-1, -1], [-1, 0], [-1, 1], [1, -1], [1, 0], [1, 1]]
    assert PixelFormat(axes="xy").coordinates((2, 3)).tolist() == [[-1, -1], [0, -1], [1, -1], [-1, 1], [0, 1], [1, 1]]


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
    weights = Weights.of(NetworkSpec.mlp([2, 1]), [torch.tensor([[[1.0, 0.0]]])], [torch.zeros(1, 1)])
    picture = PixelFormat(axes=axes).render(weights, 3, 5)[0, 0]
    ramp = torch.linspace(0, 1, 3)[:, None].expand(3, 5) if axes == "ij" else torch.linspace(0, 1, 5).expand(3, 5)
    assert_close(picture, ramp.contiguous(), what="ramp")


def test_rendering_undoes_targets_in_every_channel():
    weights = random_weights(NetworkSpec.mlp([2, 5, 3]), 2, seed=0, dtype=torch.float64)
    pixels = PixelFormat(-0.5, 0.5, "xy")
    pictures = pixels.render(weights, 4, 6)
    assert pictures.shape == (2, 3, 4, 6)
    outputs = weights.run(pixels.coordinates((4, 6)).double()).mT
    assert_close(pictures.flatten(2) - 0.5, outputs, what="outputs")


SINE, RELU = ("sine", None), ("relu", Fourier(3, 0.7))


@given(
    grid=st.lists(st.integers(1, 5), min_size=1, max_size=3),
    kind=st.sampled_from([SINE, RELU]),
    channels=st.integers(1, 3),
    low=st.sampled_from([-1.0, -0.5, 0.0]),
)
def test_a_network_drawn_at_its_grid_is_the_network_run_at_its_coordinates(grid, kind, channels, low):
    activation, fourier = kind
    pixels = PixelFormat(low, low + 1.5, fourier=fourier)
    weights = random_weights(
        NetworkSpec.mlp([pixels.num_inputs(len(grid)), 5, channels], activation), 2, seed=0, dtype=torch.float64
    )
    drawn = pixels.render(weights, *grid)
    assert drawn.shape == (2, channels, *grid)
    outputs = weights.run(pixels.coordinates(grid).double()).mT
    assert_close(low + 1.5 * drawn.flatten(2), outputs, what="outputs")


@given(grid=st.lists(st.integers(1, 6), min_size=1, max_size=3), data=st.data())
def test_some_points_are_rows_of_all_points(grid, data):
    pixels = PixelFormat(fourier=data.draw(st.sampled_from([None, Fourier(2, 1.0)])))
    start, stop = sorted(data.draw(st.tuples(st.integers(0, math.prod(grid)), st.integers(0, math.prod(grid)))))
    assert_close(
        pixels.coordinates(grid, points=range(start, stop)), pixels.coordinates(grid)[start:stop], what="inputs"
    )


def test_coordinates_of_sounds_and_volumes():
    assert PixelFormat().coordinates([3]).tolist() == [[-1], [0], [1]]
    volume = PixelFormat().coordinates((2, 3, 2)).reshape(2, 3, 2, 3)
    assert volume[1, 0, 1].tolist() == [1, -1, 1]
    assert volume[0, 1, 0].tolist() == [-1, 0, -1]
    with pytest.raises(InputError, match="axes 'xy' are those of pictures, got a grid of 1 axes"):
        PixelFormat(axes="xy").coordinates([3])


def test_fourier_features_are_sines_and_cosines_of_random_frequencies():
    x = torch.linspace(-1, 1, 7, dtype=torch.float64)[:, None].expand(7, 2).contiguous()
    features = Fourier(4000, 3.0, seed=5).features(x)
    assert features.shape == (7, 8000)
    assert_close(
        features[:, :4000].square() + features[:, 4000:].square(),
        torch.ones(7, 4000, dtype=torch.float64),
        what="circle",
    )
    at = Fourier(4000, 3.0, seed=5).features(torch.tensor([[1e-6, 0.0], [0.0, 1e-6]], dtype=torch.float64))[
        :, :4000
    ] / (2 * math.pi * 1e-6)
    assert [float(row.std()) for row in at] == pytest.approx([3.0, 3.0], rel=0.05)
    assert [float(row.mean()) for row in at] == pytest.approx([0.0, 0.0], abs=0.2)
    assert abs(float(torch.corrcoef(at)[0, 1])) < 0.05
    assert not torch.equal(features, Fourier(4000, 3.0, seed=6).features(x))


def test_the_frequencies_never_change():
    """Pinned: the networks of a zoo say nothing without the features that they were fitted with."""
    features = Fourier(2, 1.0).features(torch.tensor([[0.5, -1.0]]))
    assert features.tolist()[0] == pytest.approx([0.4326165, -0.8744016, 0.9015780, 0.4852030], abs=1e-6)


def test_float_signals_are_bytes_at_another_scale():
    for pixels in (PixelFormat(), PixelFormat(-0.5, 0.5)):
        every = torch.arange(256, dtype=torch.uint8).reshape(1, 1, 256)
        assert torch.equal(pixels.targets(every), pixels.targets(to_unit(every)))
        beyond = torch.tensor([[[-1.0, 0.0, 1.0, 3.0]]])
        span = pixels.high - pixels.low
        assert pixels.targets(beyond).flatten().tolist() == [pixels.low, 0.0, pixels.high, pixels.high + span]
    with pytest.raises(InputError, match=r"uint8 or float32, got torch\.float64"):
        PixelFormat().targets(torch.zeros(1, 1, 2, dtype=torch.float64))


@pytest.mark.parametrize(
    ("pixels", "grid", "words"),
    [
        (PixelFormat(), (4, 4), "a signal on 2 axes is a function of 2 inputs here, but MLP 3-4-1"),
        (PixelFormat(), (4,), "a signal on 1 axes is a function of 1 inputs here"),
        (PixelFormat(fourier=Fourier(2, 1.0)), (4, 4, 4), "a function of 4 inputs here"),
    ],
)
def test_networks_of_other_inputs_are_not_drawn(pixels, grid, words):
    with pytest.raises(InputError, match=words):
        pixels.render(random_weights(NetworkSpec.mlp([3, 4, 1]), 1, seed=0), *grid)


def test_formats_without_a_range_or_features_are_refused():
    for low, high in ((1.0, 1.0), (1.0, -1.0), (0.0, math.inf), (math.nan, 1.0)):
        with pytest.raises(InputError, match="from low to a greater high"):
            PixelFormat(low, high)
    for arguments in ((0, 1.0), (4, 0.0), (4, math.inf), (4, 1.0, -1)):
        with pytest.raises(InputError, match=r"(num|scale|seed) must be a number"):
            Fourier(*arguments)


def test_unit_range():
    assert to_unit(torch.tensor([0, 255], dtype=torch.uint8)).tolist() == [-1, 1]
    assert to_unit(torch.tensor([-1.5, 0.25])).tolist() == [-1.5, 0.25]
