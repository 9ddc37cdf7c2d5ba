"""Which INRs, on what grid, and the laws of their values."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from weightwalk import InputError, NetworkSpec
from weightwalk.testing import assert_close, random_weights
from weightwalk.zoos.inr import overview, rendering
from weightwalk.zoos.inr.pixels import Fourier, PixelFormat
from weightwalk.zoos.inr.rendering import blocks, chosen, parsed_size, pixel_format, signal, to_values


@pytest.fixture(scope="module")
def zoo(draw_zoo, tmp_path_factory):
    return draw_zoo(tmp_path_factory.mktemp("rendering") / "zoo", channels=3, pixels=PixelFormat(-0.5, 0.5, "xy"))


def whole(zoo, row, grid):
    """(C, *grid), and the ranges that it came in."""
    parts = list(signal(zoo, row, grid))
    return torch.from_numpy(np.concatenate([values for _, values in parts], axis=1).reshape(-1, *grid)), [
        points for points, _ in parts
    ]


def small_blocks(monkeypatch, points, width=6):
    monkeypatch.setattr(rendering, "BLOCK_VALUES", points * width)


# Values.


def test_at_the_source_size_it_is_the_overview(zoo, monkeypatch):
    small_blocks(monkeypatch, 7)
    for row in (0, 5, len(zoo) - 1):
        assert_close(whole(zoo, row, (4, 5))[0], overview.render(zoo, np.array([row]))[0], what="a render")


def test_its_error_is_the_stored_psnr(zoo):
    for row in range(len(zoo)):
        error = (whole(zoo, row, (4, 5))[0] - (zoo.images(np.array([row]))[0] / 127.5 - 1)).square().mean()
        assert float(10 * torch.log10(4 / error)) == pytest.approx(float(zoo.column("psnr")[row]), abs=1e-3)


@given(height=st.integers(2, 9), width=st.integers(2, 9), factor=st.integers(1, 4))
def test_a_finer_grid_goes_through_the_points_of_a_coarse_one(zoo, height, width, factor):
    fine, _ = whole(zoo, 3, (factor * (height - 1) + 1, factor * (width - 1) + 1))
    assert_close(
        fine[:, ::factor, ::factor].contiguous(), whole(zoo, 3, (height, width))[0], what="the common points", atol=2e-5
    )


def test_twice_the_size_is_what_the_network_says_there(zoo):
    fine, _ = whole(zoo, 7, (8, 10))
    points = [
        (-1 + 2 * column / 9, -1 + 2 * row / 7) for row in range(8) for column in range(10)
    ]  # xy: the column first
    outputs = zoo.weights(np.array([7])).run(torch.tensor(points))[0].T
    assert_close(fine.flatten(1), 2 * outputs, what="values", atol=2e-5)


@given(
    grid=st.lists(st.integers(1, 7), min_size=1, max_size=4).map(tuple),
    points=st.integers(1, 60),
    networks=st.integers(1, 3),
    fourier=st.sampled_from([None, Fourier(3, 1.0)]),
)
def test_blocks_are_the_whole(grid, points, networks, fourier):
    pixels = PixelFormat(-0.5, 1.5, fourier=fourier)
    weights = random_weights(NetworkSpec.mlp([pixels.num_inputs(len(grid)), 6, 2]), networks, seed=1)
    with pytest.MonkeyPatch.context() as patch:
        small_blocks(patch, points)
        parts = list(blocks(pixels, weights, grid))
    assert [point for part, _ in parts for point in part] == list(range(int(np.prod(grid))))
    line = grid[-1] if len(grid) > 1 else 1
    assert all(len(part) % line == 0 and len(part) <= max(points // networks, line) for part, _ in parts)
    together = torch.cat([to_values(pixels, outputs) for _, outputs in parts], dim=2).reshape(networks, 2, *grid)
    assert_close(together, pixels.render(weights, *grid) * 2 - 1, what="blocks", atol=2e-5)


@given(grid=st.lists(st.integers(1, 6), min_size=2, max_size=2).map(tuple), data=st.data())
def test_coordinates_of_some_points_are_those_of_all(grid, data):
    total = int(np.prod(grid))
    start = data.draw(st.integers(0, total))
    stop = data.draw(st.integers(start, total))
    for pixels in (PixelFormat(), PixelFormat(axes="xy")):
        assert torch.equal(pixels.coordinates(grid, points=range(start, stop)), pixels.coordinates(grid)[start:stop])


def test_to_values_undoes_targets(zoo):
    pixels = PixelFormat(-0.25, 2.0)
    values = torch.linspace(-1, 1, 12).reshape(2, 1, 6)
    assert_close(to_values(pixels, pixels.targets(values)), values, what="values")


def test_values_that_are_not_finite_are_refused(draw_zoo, tmp_path, rewrite):
    path = draw_zoo(tmp_path / "zoo").path
    rewrite(
        path, "rows/test-m0-000000-000005.safetensors", lambda tensors: tensors["params.0"].__setitem__((2, 0), np.nan)
    )
    broken = type(draw_zoo(tmp_path / "other")).open(path)
    [row] = broken.find(["test-2-f0"])
    with pytest.raises(InputError, match=r"finite values of test-2-f0 .* weightwalk verify"):
        list(signal(broken, row, (4, 5)))


def test_a_zoo_that_does_not_say_what_outputs_mean(zoo, monkeypatch):
    monkeypatch.setitem(zoo.settings, "fit", None)
    with pytest.raises(InputError, match=r"fit\.pixels"):
        pixel_format(zoo)


# Ids.


def test_ids_of_every_kind_and_each_row_once(zoo):
    names = zoo.names(zoo.rows())
    assert chosen(zoo, names).tolist() == list(range(29))
    assert chosen(zoo, [names[7], "3", "2:5", "7", "27:", ":1"]).tolist() == [7, 3, 2, 4, 27, 28, 0]
    assert chosen(zoo, [":"]).tolist() == list(range(29))


@given(st.lists(st.integers(0, 28), unique=True, min_size=1), st.data())
def test_rows_their_names_and_ranges_of_one_are_the_same(zoo, rows, data):
    names = zoo.names(np.array(rows))
    forms = [
        data.draw(st.sampled_from([str(row), name, f"{row}:{row + 1}"])) for row, name in zip(rows, names, strict=True)
    ]
    assert chosen(zoo, forms).tolist() == rows


@pytest.mark.parametrize(
    ("ids", "words"),
    [
        (["29"], "expected a row, got 29"),
        (["3", "5:5"], "START below STOP, got 5:5"),
        (["4:2"], "got 4:2"),
        (["0:30"], "got 0:30"),
        (["40:"], "got 40:"),
        (["train-12-f0"], "unknown INR 'train-12-f0'"),
        (["0", "train-0-f2"], "unknown INR 'train-0-f2'"),
        (["all-0-f0"], "unknown INR 'all-0-f0'"),
        (["train-00-f0"], "unknown INR 'train-00-f0'"),
        (["-1"], "unknown INR '-1'"),
        (["1.5"], "unknown INR '1.5'"),
        ([""], "unknown INR ''"),
    ],
)
def test_ids_that_are_not_there(zoo, ids, words):
    with pytest.raises(InputError) as error:
        chosen(zoo, ids)
    assert words in str(error.value)
    assert str(error.value).endswith("zoo has 29 INRs, rows 0 to 28, train-0-f0 to test-4-f0")


# Sizes.


@pytest.mark.parametrize(
    ("text", "source", "grid"),
    [
        (None, (28, 28), (512, 512)),
        (None, (10, 20), (256, 512)),
        (None, (16_000,), (16_000,)),
        (None, (16, 8, 8), (16, 8, 8)),
        ("64", (20, 10), (64, 32)),
        ("3", (1, 100), (1, 3)),
        ("32", (16, 8, 4), (32, 16, 8)),
        ("100", (50,), (100,)),
        ("512x384", (28, 28), (384, 512)),
        ("4x5x6", (2, 2, 2), (4, 5, 6)),
    ],
)
def test_sizes(text, source, grid):
    assert parsed_size(text, source) == grid


@pytest.mark.parametrize("text", ["", "0", "x", "512x", "512x0", "1x2x3", "-4", "5.5", "512 x 384", "９"])
def test_sizes_that_are_none(text):
    with pytest.raises(InputError, match="expected --size of one number"):
        parsed_size(text, (28, 28))
