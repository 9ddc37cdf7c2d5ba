"""Signals as files: read back by others' readers, they are the same."""

from __future__ import annotations

import struct
import wave

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from weightwalk import InputError
from weightwalk.report import renders


def in_blocks(values, step):
    """(C, *grid) as blocks of `step` points."""
    flat = values.reshape(len(values), -1)
    total = flat.shape[1]
    for start in range(0, total, step):
        points = range(start, min(start + step, total))
        yield points, flat[:, points.start : points.stop]


def drawn(*shape, seed=0):
    return np.random.default_rng(seed).uniform(-1, 1, shape).astype(np.float32)


@given(
    channels=st.sampled_from([1, 3]),
    height=st.integers(1, 9),
    width=st.integers(1, 9),
    rows=st.integers(1, 9),
    seed=st.integers(0, 99),
)
def test_a_picture_is_what_pillow_reads(tmp_path_factory, channels, height, width, rows, seed):
    path = tmp_path_factory.mktemp("png") / "a.png"
    values = drawn(channels, height, width, seed=seed)
    assert renders.write(path, in_blocks(values, rows * width), channels, (height, width), 1) == [path]
    with Image.open(path) as picture:
        picture.load()
        pixels = np.asarray(picture)
        assert picture.mode == {1: "L", 3: "RGB"}[channels]
    expected = np.moveaxis(((values + 1) * 127.5).round().astype(np.uint8), 0, -1)
    assert np.array_equal(pixels.reshape(height, width, channels), expected)


def test_a_picture_is_clipped(tmp_path):
    values = np.array([[[-5.0, -1.0, 1.0, 9.0]]], np.float32)
    renders.write(tmp_path / "a.png", in_blocks(values, 4), 1, (1, 4), 1)
    with Image.open(tmp_path / "a.png") as picture:
        assert np.asarray(picture).tolist() == [[0, 0, 255, 255]]


@pytest.mark.parametrize("channels", [1, 2])
def test_a_sound_is_what_was_sampled(tmp_path, channels):
    samples = np.random.default_rng(0).integers(-(2**15), 2**15, (channels, 50)).astype("<i2")
    renders.write(tmp_path / "a.wav", in_blocks((samples / 2**15).astype(np.float32), 7), channels, (50,), 8000)
    with wave.open(str(tmp_path / "a.wav")) as sound:
        assert (sound.getnchannels(), sound.getsampwidth(), sound.getframerate(), sound.getnframes()) == (
            channels,
            2,
            8000,
            50,
        )
        assert np.array_equal(np.frombuffer(sound.readframes(50), "<i2").reshape(50, channels).T, samples)


def test_a_sound_is_clipped(tmp_path):
    renders.write(tmp_path / "a.wav", in_blocks(np.array([[-3.0, 1.0, 7.0]], np.float32), 3), 1, (3,), 8000)
    with wave.open(str(tmp_path / "a.wav")) as sound:
        assert struct.unpack("<3h", sound.readframes(3)) == (-(2**15), 2**15 - 1, 2**15 - 1)


@pytest.mark.parametrize("channels", [1, 2, 3])
def test_a_volume_and_the_slice_in_its_middle(tmp_path, channels):
    values = 3 * drawn(channels, 5, 3, 4)
    written = renders.write(tmp_path / "a.npy", in_blocks(values, 8), channels, (5, 3, 4), 1)
    read = np.load(tmp_path / "a.npy")
    assert read.dtype == np.float32
    assert np.array_equal(read, values if channels > 1 else values[0])
    assert [path.name for path in written] == (["a.npy"] if channels == 2 else ["a.npy", "a.png"])
    if channels != 2:
        with Image.open(tmp_path / "a.png") as picture:
            expected = ((values[:, 2].clip(-1, 1) + 1) * 127.5).round().astype(np.uint8)
            assert np.array_equal(np.asarray(picture).reshape(3, 4, channels), np.moveaxis(expected, 0, -1))


def test_a_picture_of_two_channels_is_an_array(tmp_path):
    assert renders.suffix(2, (4, 5)) == ".npy"
    values = drawn(2, 4, 5)
    assert renders.write(tmp_path / "a.npy", in_blocks(values, 5), 2, (4, 5), 1) == [tmp_path / "a.npy"]
    assert np.array_equal(np.load(tmp_path / "a.npy"), values)


@pytest.mark.parametrize(("name", "grid"), [("a.png", (4, 5)), ("a.wav", (20,)), ("a.npy", (2, 2, 5))])
def test_what_stops_in_the_middle_leaves_what_was_there(tmp_path, name, grid):
    def stops():
        yield from in_blocks(drawn(1, *grid), 10)
        raise InputError("no more")

    (tmp_path / name).write_bytes(b"old")
    with pytest.raises(InputError, match="no more"):
        renders.write(tmp_path / name, stops(), 1, grid, 8000)
    assert (tmp_path / name).read_bytes() == b"old"
    assert [path.name for path in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize(("samples", "rate"), [(5, 0), (5, -3), (2**31, 8000)])
def test_sounds_that_a_wav_cannot_hold(tmp_path, samples, rate):
    with pytest.raises(InputError, match=r"a \.wav holds"):
        renders.write(tmp_path / "a.wav", [], 1, (samples,), rate)
    assert not list(tmp_path.iterdir())
