"""Folders of signals, a file for each and a subfolder for each class: ROOT/class/name.suffix."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from weightwalk.errors import InputError
from weightwalk.zoos.formats import Signals
from weightwalk.zoos.formats.lazy import Lazy


class Header(NamedTuple):
    """What a file says of its signal before it is decoded: in words, and the shape (C, *grid) and dtype to come."""

    words: str
    shape: tuple[int, ...]
    dtype: str


def load(
    root: Path,
    what: str,
    suffixes: tuple[str, ...],
    header: Callable[[Path], Header],
    read: Callable[[Path], NDArray[Any]],
) -> Signals:
    """Signals of equal headers, decoded when they are asked for. `what` they are, in the sentence that a wrong one
    gets.

    Classes and, within them, files come in the order of their names; hidden entries and files of other kinds are passed
    over.
    """
    folders = _visible(root) if root.is_dir() else []
    classes = {
        folder.name: [path for path in _visible(folder) if path.suffix.lower() in suffixes and path.is_file()]
        for folder in folders
        if folder.is_dir()
    }
    if not classes:
        raise InputError(
            f"expected one folder per class in {root} ({root}/class/name{suffixes[0]}), found none; give each class a "
            "folder, if only one"
        )
    for name, paths in classes.items():
        if not name.isprintable():  # a newline, say, or bytes that are no UTF-8
            raise InputError(
                f"expected names of classes that can be printed, got the folder {name!r} in {root}; rename it"
            )
        if not paths:
            raise InputError(
                f"expected {what} ({', '.join(suffixes)}) in {root / name}, found none; add some or remove the folder"
            )

    paths = [path for paths in classes.values() for path in paths]
    first = header(paths[0])

    def row(number: int) -> NDArray[Any]:
        signal = read(paths[number])
        if signal.shape != first.shape:
            raise InputError(
                f"expected {first.shape} in {paths[number]}, got {signal.shape}: it has changed; run the command again"
            )
        return signal

    for path in paths[1:]:
        if header(path) != first:
            raise InputError(
                f"expected {what} that are alike, got {path} with {header(path).words} but {paths[0]} with "
                f"{first.words}; make them alike or remove the odd ones"
            )
    labels = np.repeat(np.arange(len(classes)), [len(paths) for paths in classes.values()]).astype(np.int64)
    return Lazy((len(paths), *first.shape), np.dtype(first.dtype), row), labels, tuple(classes)


def _visible(folder: Path) -> list[Path]:
    return sorted((path for path in folder.iterdir() if not path.name.startswith(".")), key=lambda path: path.name)
