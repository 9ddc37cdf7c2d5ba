"""Files that are either whole or absent: everything is written beside its name and renamed."""

from __future__ import annotations

import errno
import hashlib
import json
import math
import os
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from weightwalk.errors import InputError


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a scratch path beside `path`; on success flush it to disk and rename it over `path`.

    On any failure the scratch file is removed and `path` stays as it was. A disk without room is the
    user's to fix, so it becomes an `InputError`.
    """
    path = Path(path)
    scratch = path.with_name(f".{path.name}.{secrets.token_hex(4)}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield scratch
        with open(scratch, "rb") as handle:
            os.fsync(handle.fileno())
        os.replace(scratch, path)
        _sync_folder(path.parent)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise InputError(
                f"no room left to write {path} ({error.strerror}); nothing that was finished is lost: "
                "free some space and run the same command again"
            ) from error
        raise
    finally:
        scratch.unlink(missing_ok=True)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_bytes(path: Path, content: bytes) -> None:
    """Write `content` to `path`, whole or not at all."""
    with replacing(path) as scratch:
        scratch.write_bytes(content)


def write_json(path: Path, value: Any) -> None:
    """Write `value` as indented JSON, whole or not at all."""
    write_bytes(path, (to_json(value, indent=2) + "\n").encode())


def to_json(value: Any, indent: int | None = None) -> str:
    """JSON of anything: other things than JSON has become text, and numbers that are not finite null."""
    return json.dumps(_finite(value), indent=indent, default=str, allow_nan=False)


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: _finite(entry) for key, entry in value.items()}
    return [_finite(entry) for entry in value] if isinstance(value, list | tuple) else value


def read_json(path: Path, what: str) -> Any:
    """Read JSON; `what` names the file in the sentence that a missing or broken one gets."""
    try:
        content = Path(path).read_bytes()
    except FileNotFoundError:
        raise InputError(f"expected {what} at {path}, found no such file; check the path") from None
    return parse_json(content, f"{what} at {path}")


def parse_json(content: bytes | str, what: str) -> Any:
    """The value of a JSON text in UTF-8; `what` names it in the InputError that any other text gets.

    Refused beside what is no JSON: a key that an object has twice, NaN and numbers beyond the range of float64, whole
    numbers of more than 64 bits, more than 64 levels of nesting.
    """
    try:
        text = content.decode() if isinstance(content, bytes) else content
        value = json.loads(
            text, parse_constant=_refused, parse_float=_number, parse_int=_whole, object_pairs_hook=_distinct
        )
        level = [value]
        for _ in range(_LEVELS):
            nested = [entry for entry in level if isinstance(entry, dict | list)]
            level = [inner for entry in nested for inner in (entry.values() if isinstance(entry, dict) else entry)]
        if level:
            raise RecursionError
        return value
    except RecursionError:
        told = f"values in more than {_LEVELS} levels"
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        told = f"a file that is not JSON ({error})"
    except _OtherJsonError as error:
        told = str(error)
    raise InputError(f"expected {what}, got {told}; restore or re-make it")


_LEVELS = 64


class _OtherJsonError(Exception):
    """JSON that says something which we never write."""


def _refused(text: str) -> float:
    raise _OtherJsonError(f"the number {text[:40]}, which is not finite or too large")


def _number(text: str) -> float:
    number = float(text)
    return number if math.isfinite(number) else _refused(text)


def _whole(text: str) -> float:
    return int(text) if len(text) <= 20 and -(2**63) <= int(text) < 2**64 else _refused(text)


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) < len(pairs):
        names = [name for name, _ in pairs]
        raise _OtherJsonError(f"the key {next(name for name in names if names.count(name) > 1)!r} twice")
    return value


def sha256(path: Path) -> str:
    """Hex digest of a file's content."""
    with open(path, "rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()
