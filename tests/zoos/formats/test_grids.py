"""Folders of .npy: bits, bytes and floats are what was saved, nothing is unpickled, and every other file is named."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from weightwalk import InputError
from weightwalk.zoos import images

SHAPE = (2, 3, 4)
RNG = np.random.default_rng(0)


def save(path: Path, grid: np.ndarray, **options) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    np.save(path, grid, **options)
    return path


def load(root: Path) -> images.ImageSet:
    return images.load("grids", root, "all")


@given(
    data=st.data(),
    dtype=st.sampled_from([bool, np.uint8, np.float16, np.dtype(">f4"), np.float64]),
    shape=arrays.array_shapes(min_dims=3, max_dims=4, max_side=3),
    column_major=st.booleans(),
)
def test_what_is_saved_is_read(tmp_path_factory, data, dtype, shape, column_major):
    finite = {} if np.dtype(dtype).kind != "f" else {"elements": st.floats(-1000, 1000, width=16)}
    saved = [data.draw(arrays.arrays(dtype, shape, **finite)) for _ in range(2)]
    root = tmp_path_factory.mktemp("grids")
    for number, grid in enumerate(saved):
        save(root / "class" / f"{number}.npy", np.asfortranarray(grid) if column_major else grid)
    loaded = load(root)
    assert loaded.image_shape == (shape if len(shape) == 4 else (1, *shape))
    assert loaded.image_dtype == ("float32" if np.dtype(dtype).kind == "f" else "uint8")
    whole = np.stack(saved).reshape(len(saved), *loaded.image_shape)
    occupancy = whole.dtype != loaded.pixels.dtype or whole.max() <= 1
    np.testing.assert_array_equal(
        loaded.pixels[:], whole * np.uint8(255) if loaded.image_dtype == "uint8" and occupancy else whole
    )


def test_bytes_are_occupancy_only_where_none_is_greater_than_one(tmp_path):
    zeros_and_ones = RNG.integers(0, 2, SHAPE, dtype=np.uint8)
    save(tmp_path / "a" / "1.npy", zeros_and_ones)
    path = save(tmp_path / "b" / "1.npy", np.zeros(SHAPE, np.uint8))
    np.testing.assert_array_equal(load(tmp_path).pixels[:][0, 0], zeros_and_ones * 255)
    np.testing.assert_array_equal(load(tmp_path).first(1).pixels[:][0, 0], zeros_and_ones * 255)
    save(path, np.full(SHAPE, 2, np.uint8))
    np.testing.assert_array_equal(load(tmp_path).pixels[:][:, 0], [zeros_and_ones, np.full(SHAPE, 2)])


@pytest.mark.parametrize(
    "odd",
    [np.zeros((2, 3, 5)), np.zeros((1, *SHAPE)), np.zeros(SHAPE, np.float32), np.zeros(SHAPE, bool)],
    ids=lambda a: f"{a.shape} {a.dtype}",
)
def test_grids_that_are_not_alike(tmp_path, odd):
    save(tmp_path / "a" / "1.npy", np.zeros(SHAPE))
    path = save(tmp_path / "a" / "2.npy", odd)
    with pytest.raises(InputError, match=f"grids that are alike, got {path} with .* but .* with 2 x 3 x 4 float64"):
        load(tmp_path)


@pytest.mark.parametrize(
    "wrong", [np.zeros((2, 3)), np.zeros(SHAPE, np.int32), np.zeros(SHAPE, complex), np.zeros((2, 0, 3))], ids=str
)
def test_other_arrays_are_refused(tmp_path, wrong):
    path = save(tmp_path / "a" / "1.npy", wrong)
    with pytest.raises(
        InputError,
        match=rf"expected a grid \(D, H, W\) or .* in {path}, got \({wrong.shape[0]}, .*{wrong.dtype}; convert it",
    ):
        load(tmp_path)


def test_nothing_is_unpickled(tmp_path):
    path = save(tmp_path / "a" / "1.npy", np.array([[["an object", None]]], object), allow_pickle=True)
    with pytest.raises(InputError, match=f"{path}, got a file that cannot be read .*Python objects"):
        load(tmp_path)


def test_every_truncation_is_named(tmp_path):
    path = save(tmp_path / "a" / "1.npy", RNG.random(SHAPE))
    whole = path.read_bytes()
    for size in range(len(whole)):
        path.write_bytes(whole[:size])
        with pytest.raises(InputError, match=str(path)):
            load(tmp_path).pixels[:]


@pytest.mark.parametrize("value", [np.nan, -np.inf, 1e39])
def test_floats_are_finite(tmp_path, value):
    grid = np.zeros(SHAPE)
    save(tmp_path / "a" / "1.npy", grid)
    grid[1, 2, 3] = value
    path = save(tmp_path / "a" / "2.npy", grid)
    loaded = load(tmp_path)
    assert loaded.pixels[:1].max() == 0
    with pytest.raises(InputError, match=f"finite numbers in {path}"):
        loaded.pixels[1:]
