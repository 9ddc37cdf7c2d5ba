"""Files that are either whole or absent: everything is written beside its name and renamed."""

from __future__ import annotations

import errno
import hashlib
import json
import math
import os
import secrets
import shutil
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from weightwalk.errors import InputError


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a scratch path beside `path`; on success flush it to disk and rename it over `path`.

    A link is followed: what it points to is replaced. On failure the scratch file is removed and `path` stays as it
    was. InputError: there is no room on the disk, or something else than a file at `path`, such as a device.
    """
    path = _followed(Path(path)) if Path(path).is_symlink() else Path(path)
    if path.exists() and not path.is_file():
        raise InputError(f"expected a file or nothing at {path}, found {_kind(path)}; choose another path")
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


def output(path: Path, *suffixes: str, option: str = "--out") -> Path:
    """`path`, which a user named as an output file under `option`, once it can be written and harms nothing.

    InputError: it is something else than a file, has none of the `suffixes`, lies in a folder that can't be written, in
    a zoo, or in a run under a name that may be the run's own (a page, picture or program never is). Links are followed.
    """
    path = Path(path)
    if path.suffix.lower() not in suffixes:
        raise InputError(f"expected a {' or '.join(suffixes)} as {option}, got {path}; change its ending")
    real = _followed(path)
    if real.exists() and not real.is_file():
        raise InputError(f"expected a file or nothing as {option} {path}, found {_kind(real)}; choose another path")
    _check_place(real, path, option, in_runs=real.suffix.lower() in (".html", ".png", ".onnx", ".pt2"))
    return path


def output_folder(path: Path, *, holds: str | None = None, option: str = "--out") -> Path:
    """`path`, which a user named as a folder to write to or to go on with.

    It is a zoo or a run only if its own file is `holds` (`manifest.json`, `run.json`). InputError: it is a file, lies
    in a zoo or a run, or can't be written.
    """
    path = Path(path)
    real = _followed(path)
    if real.exists() and not real.is_dir():
        raise InputError(f"expected a folder or nothing as {option} {path}, found {_kind(real)}; choose another path")
    for name, what in _OWNERS.items():
        if name != holds and _owns(real / name):
            raise InputError(f"{option} {path} is {what}, which keeps its files for itself; choose another path")
    _check_place(real, path, option)
    return path


def check_room(path: Path, num_bytes: float, what: str, remedy: str) -> None:
    """InputError if `what`, the user's words for it, takes more bytes than are free where `path` is to be."""
    there = next(folder for folder in Path(os.path.realpath(path), "_").parents if folder.is_dir())
    free = shutil.disk_usage(there).free
    if num_bytes > free:
        raise InputError(f"{what} takes {in_units(num_bytes)} of disk, but {in_units(free)} are free; {remedy}")


_OWNERS = {"manifest.json": "a zoo", "run.json": "a run"}
"""The file by which a folder is one, and what it then is."""


def _check_place(real: Path, path: Path, option: str, in_runs: bool = False) -> None:
    for folder in real.parents:
        for name, what in _OWNERS.items():
            if not (in_runs and name == "run.json") and _owns(folder / name):
                raise InputError(
                    f"{option} {path} lies in {what}, {folder}, whose files stay as they are; choose another path"
                )
    there = next(folder for folder in real.parents if os.path.lexists(folder))
    if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
        raise InputError(f"cannot write {option} {path}: {there} is no folder that can be written; choose another path")


def _owns(path: Path) -> bool:
    """Whether a file makes its folder a zoo or a run: ours say their schema; what is empty or can't be read may be."""
    try:
        content = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:
        return True
    return not content or b'"schema_version"' in content


def _followed(path: Path) -> Path:
    """Where a path leads, links followed."""
    real = Path(os.path.realpath(path))
    if real.is_symlink():
        raise InputError(f"expected a file, a folder or nothing at {path}, found links in a circle")
    return real


def _kind(path: Path) -> str:
    return "a folder" if path.is_dir() else "a device, a pipe or a socket" if not path.is_file() else "a file"


def check_encodable(path: Path) -> None:
    """InputError for a path that is not UTF-8, which safetensors cannot open: the file is not damaged."""
    if not str(path).isascii():
        try:
            str(path).encode()
        except UnicodeEncodeError:
            raise InputError(
                f"expected a path in UTF-8, got {str(path)!r}; rename its folders, or link to them"
            ) from None


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
        if stat.S_ISCHR(os.stat(path).st_mode):
            raise InputError(f"expected {what} at {path}, found a device; check the path")
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


def in_units(num_bytes: float) -> str:
    """A number of bytes for people: 3.2 GB."""
    for unit in ("bytes", "kB", "MB", "GB", "TB"):
        if num_bytes < 1000:
            return f"{num_bytes:.0f} {unit}" if unit == "bytes" or num_bytes >= 100 else f"{num_bytes:.1f} {unit}"
        num_bytes /= 1000
    return f"{num_bytes:,.0f} PB" if num_bytes < 1e6 else "more than 1,000,000 PB"


def sha256(path: Path) -> str:
    """Hex digest of a file's content."""
    with open(path, "rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()
