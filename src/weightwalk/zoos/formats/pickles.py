"""Pickled dictionaries of numbers, texts and numpy arrays, read without running anything that they bring.

A pickle is a program that may call any function it can name. Here it can name what arrays need, and
gets stand-ins that only keep what they are given: a hostile file reaches neither other code nor
numpy's own unpickling.
"""

from __future__ import annotations

import io
import pickle
import re
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from weightwalk.errors import InputError
from weightwalk.zoos.formats import read_bytes


def load_dict(path: Path) -> dict[str, Any]:
    """The dictionary in a pickle: keys as str, arrays as `np.ndarray`; texts of Python 2 stay bytes."""
    content = read_bytes(path)
    try:
        value = _Unpickler(content, path).load()
        return {_text(key): entry.array if isinstance(entry, _Array) else entry for key, entry in value.items()}
    except InputError:
        raise
    except Exception as error:  # what a damaged pickle raises depends on the damage
        raise InputError(
            f"expected a whole pickled dictionary in {path}, got {len(content):,} bytes that do not unpickle "
            f"({type(error).__name__}: {error}); get a fresh copy of the file"
        ) from None


def _text(value: str | bytes) -> str:
    return value.decode("latin1") if isinstance(value, bytes) else value


class _Dtype:
    """Stands in for `numpy.dtype` of plain numbers: a code such as u1 and a byte order."""

    def __init__(self, code: str | bytes, *flags: object):
        self.code = _text(code)
        self.order = "|"

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.order = _text(state[1])

    def resolve(self) -> np.dtype[Any]:
        if not re.fullmatch(r"[<>=|][biuf]\d", self.order + self.code):
            raise ValueError(f"an array of plain numbers was expected, not of {self.order}{self.code}")
        return np.dtype(self.order + self.code)


class _Array:
    """Stands in for `numpy.ndarray`: made empty, then told its shape, type and bytes."""

    array: NDArray[Any]

    def __init__(self, *prototype: object):
        pass

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _, shape, dtype, column_major, raw = state
        self.array = np.frombuffer(raw, dtype.resolve()).reshape(shape, order="F" if column_major else "C").copy()


_GLOBALS: dict[str, Any] = {
    "numpy.core.multiarray._reconstruct": _Array,
    "numpy._core.multiarray._reconstruct": _Array,
    "numpy.ndarray": _Array,
    "numpy.dtype": _Dtype,
    "_codecs.encode": str.encode,
}


class _Unpickler(pickle.Unpickler):
    def __init__(self, content: bytes, path: Path):
        super().__init__(io.BytesIO(content), encoding="bytes")
        self._path = path

    def find_class(self, module: str, name: str) -> Any:
        try:
            return _GLOBALS[f"{module}.{name}"]
        except KeyError:
            raise InputError(
                f"expected numpy arrays and nothing else in {self._path}, got a pickle that asks for {module}.{name}; "
                "it was not run: get the file from a source that you trust"
            ) from None
