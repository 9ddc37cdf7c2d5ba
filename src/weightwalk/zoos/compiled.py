"""C++ of the package, built once per machine by its compiler, called through ctypes."""

from __future__ import annotations

import ctypes
import hashlib
import os
import platform
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from torch import Tensor

from weightwalk import files

# Contraction to fused multiply-adds is fixed by the binary; nothing here lets the compiler reorder sums.
_FLAGS = ("-std=c++17", "-O3", "-march=native", "-ffp-contract=fast", "-fno-math-errno", "-shared", "-fPIC")


def library(source: Path, headers: Sequence[Path] = ()) -> ctypes.CDLL:
    """The functions of `source`, which includes `headers`; built if this machine has not done so yet.

    Raises FileNotFoundError without a compiler, CalledProcessError where it fails, OSError where its binary can't be
    written or loaded.
    """
    commands = (shlex.split(os.environ.get("CXX") or "c++"), ["g++"], ["clang++"])  # $CXX may be "ccache g++"
    compiler = next((command for command in commands if command and shutil.which(command[0])), None)
    if compiler is None:
        raise FileNotFoundError("no C++ compiler: neither $CXX nor c++, g++ or clang++")
    name = f"{source.stem}-{_identity(compiler, [source, *headers])}.so"
    for folder in folders():
        try:
            return ctypes.CDLL(str(_built(compiler, source, folder / name)))
        except OSError as error:  # a home that cannot be written to, or one where nothing may be run
            failure = error
    raise failure


def loads(load: Callable[[], ctypes.CDLL]) -> bool:
    """Whether a `library` can be built and loaded here, found out by doing it."""
    try:
        load()
    except (OSError, subprocess.SubprocessError):
        return False
    return True


def folders() -> Iterator[Path]:
    """Where the binary may lie: the user's cache, and a folder for temporary files, which anybody could have made."""
    home = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    if os.path.isabs(home):  # a user without a home stays "~"
        yield Path(home) / "weightwalk"
    yield Path(tempfile.gettempdir()) / f"weightwalk-{os.getuid()}"


def address(tensor: Tensor) -> ctypes.c_void_p:
    """Where a contiguous tensor's numbers lie."""
    return ctypes.c_void_p(tensor.data_ptr())


def _built(compiler: Sequence[str], source: Path, path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    if path.parent.stat().st_uid != os.getuid():
        raise PermissionError(f"{path.parent} belongs to another user, whose code is not run")
    if not path.exists():
        with files.replacing(path) as scratch:
            subprocess.run([*compiler, *_FLAGS, "-o", str(scratch), str(source)], check=True, capture_output=True)
    return path


def _identity(compiler: Sequence[str], sources: Sequence[Path]) -> str:
    """What the binary depends on: sources, flags, compiler and processor, for machines may share a home."""
    version = subprocess.run([*compiler, "--version"], check=True, capture_output=True).stdout
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        processor = next((line for line in lines if line.startswith(("flags", "Features"))), "")
    except OSError:
        processor = platform.processor()
    parts = [
        *(path.read_bytes() for path in sources),
        " ".join(_FLAGS).encode(),
        version,
        f"{platform.machine()} {processor}".encode(),
    ]
    return hashlib.sha256(b"\0".join(parts)).hexdigest()[:16]
