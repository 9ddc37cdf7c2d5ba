"""Folders of .wav: what is written is what is read, in every width, and one sentence for every file that is not alike
or whole.
"""

import struct
import wave
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from weightwalk import InputError
from weightwalk.zoos import images

RAMP = np.arange(-6, 6).reshape(2, 6)  # (C, T)


def write(path: Path, samples: np.ndarray, width: int = 2, rate: int = 8000) -> Path:
    """Integers (C, T) of `width` bytes, as the format has them: little-endian, 8 bits offset by half."""
    path.parent.mkdir(parents=True, exist_ok=True)
    values = samples.T.astype("<i8") + (128 if width == 1 else 0)
    with wave.open(str(path), "wb") as file:
        file.setparams((len(samples), width, rate, 0, "NONE", ""))
        file.writeframes(np.ascontiguousarray(values)[..., None].view(np.uint8)[..., :width].tobytes())
    return path


def load(root: Path) -> images.ImageSet:
    return images.load("audio", root, "all")


@given(data=st.data(), width=st.integers(1, 4), channels=st.integers(1, 3), length=st.integers(1, 20))
def test_what_is_written_is_read(tmp_path_factory, data, width, channels, length):
    full = 2 ** (8 * width - 1)
    whole = arrays.arrays(np.int64, (channels, length), elements=st.integers(-full, full - 1))
    sounds = [data.draw(whole) for _ in range(2)]
    root = tmp_path_factory.mktemp("sounds")
    for number, sound in enumerate(sounds):
        write(root / "class" / f"{number}.wav", sound, width)
    loaded = load(root)
    assert (loaded.image_shape, loaded.image_dtype, loaded.part) == ((channels, length), "float32", "all")
    np.testing.assert_array_equal(loaded.pixels[:], (np.stack(sounds) / full).astype(np.float32))


def test_subfolders_are_classes(tmp_path):
    for number, name in enumerate(("yes/2.wav", "yes/1.WAV", "no/1.wav")):
        write(tmp_path / name, RAMP[:1] + number)
    (tmp_path / "yes" / "notes.txt").write_text("not a sound")
    loaded = load(tmp_path)
    assert (loaded.label_names, loaded.labels.tolist()) == (("no", "yes"), [0, 1, 1])
    np.testing.assert_array_equal(loaded.pixels[:][:, 0, 0] * 2**15, [-4, -5, -6])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"samples": RAMP[:, :5]}, "5 samples at 8,000 Hz, 2 channels but .* with 6 samples at 8,000 Hz, 2 channels"),
        ({"samples": RAMP[:1]}, "6 samples at 8,000 Hz, 1 channel but"),
        ({"rate": 44100}, "6 samples at 44,100 Hz"),
    ],
)
def test_sounds_that_are_not_alike(tmp_path, change, words):
    write(tmp_path / "a" / "1.wav", RAMP)
    odd = write(tmp_path / "a" / "2.wav", **{"samples": RAMP, **change})
    with pytest.raises(InputError, match=f"sounds that are alike, got {odd} with {words}"):
        load(tmp_path)


def test_widths_may_differ(tmp_path):
    write(tmp_path / "a" / "1.wav", RAMP, width=1)
    write(tmp_path / "a" / "2.wav", RAMP * 2**16, width=3)
    one, two = load(tmp_path).pixels[:]
    np.testing.assert_array_equal(one, two)


def test_every_truncation_is_named(tmp_path):
    path = write(tmp_path / "a" / "1.wav", RAMP, width=3)
    whole = path.read_bytes()
    for size in range(len(whole)):
        path.write_bytes(whole[:size])
        with pytest.raises(InputError, match=str(path)):
            load(tmp_path).pixels[:]


def test_floats_and_other_files_are_told_apart(tmp_path):
    path = write(tmp_path / "a" / "1.wav", RAMP)
    whole = bytearray(path.read_bytes())
    struct.pack_into("<H", whole, 20, 3)  # IEEE floats
    for content, words in ((bytes(whole), "unknown format: 3"), (b"ID3 no RIFF" * 9, "RIFF"), (b"", "too short")):
        path.write_bytes(content)
        with pytest.raises(InputError, match=f"PCM .wav at {path}.*{words}.*replace or convert it"):
            load(tmp_path)
    write(path, RAMP[:, :0])
    with pytest.raises(InputError, match=f"at least one sample in {path}"):
        load(tmp_path)
