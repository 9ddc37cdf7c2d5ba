"""A folder of sounds, one subfolder per class: ROOT/class/name.wav, PCM of 8, 16, 24 or 32 bits.

Channels stay channels: mono is C = 1, stereo C = 2. All sounds have one length, rate and number of channels.
"""

from __future__ import annotations

import wave
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from weightwalk.errors import InputError
from weightwalk.zoos.formats import Signals, classes, opened


def load(root: Path) -> Signals:
    """Sounds (N, C, T), float32: full scale is -1 ... 1."""
    return classes.load(root, "sounds", (".wav",), _header, _read)


def _header(path: Path) -> classes.Header:
    with _opened(path) as sound:
        channels, samples, rate = sound.getnchannels(), sound.getnframes(), sound.getframerate()
    if not samples:
        raise InputError(f"expected at least one sample in {path}, got none; remove the file")
    return classes.Header(
        f"{samples:,} samples at {rate:,} Hz, {channels} channel{'s'[: channels > 1]}", (channels, samples), "float32"
    )


def _read(path: Path) -> NDArray[np.float32]:
    with _opened(path) as sound:
        channels, samples, width = sound.getnchannels(), sound.getnframes(), sound.getsampwidth()
        content = np.frombuffer(sound.readframes(samples), np.uint8)
    if content.size != samples * channels * width:
        raise InputError(
            f"expected {samples:,} samples in {path}, got {content.size // (channels * width):,}; get a whole copy of "
            "the file"
        )
    # Two's complement, little-endian (only 8 bits are offset by half instead), moved to the top of 32 bits.
    wide = np.zeros((samples * channels, 4), np.uint8)
    wide[:, 4 - width :] = content.reshape(-1, width) ^ (0x80 if width == 1 else 0)
    return (wide.view("<i4").reshape(samples, channels).T / 2**31).astype(np.float32)


@contextmanager
def _opened(path: Path) -> Iterator[wave.Wave_read]:
    try:
        with opened(path) as file, wave.open(file) as sound:
            yield sound
    except (wave.Error, EOFError, RuntimeError) as error:  # what the module raises for other and for damaged files
        raise InputError(
            f"expected a PCM .wav at {path}, got one that cannot be read ({str(error) or 'it is too short'}); replace "
            "or convert it"
        ) from None
