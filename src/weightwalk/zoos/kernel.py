"""The fitting engine's compiled part, `kernel.cpp`: built once per machine by its C++ compiler, called through ctypes."""

from __future__ import annotations

import ctypes
import hashlib
import os
import platform
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path

import torch
from torch import Tensor

from weightwalk import files
from weightwalk.weights import Weights

ACTIVATIONS = ("sine", "relu", "tanh", "gaussian")  # in the order of the kernel's table

_SOURCE = Path(__file__).with_name("kernel.cpp")
# Contraction to fused multiply-adds is fixed by the binary; nothing here lets the compiler reorder sums.
_FLAGS = ("-std=c++17", "-O3", "-march=native", "-ffp-contract=fast", "-fno-math-errno", "-shared", "-fPIC")


def fit(
    start: Weights, coordinates_PI: Tensor, targets_BCP: Tensor, table_S3: Tensor, betas: tuple[float, float], stop_loss: float
) -> tuple[Weights, Tensor]:
    """Networks fitted one after another, each alone: `engine.fit` with the rates and Adam's corrections of all steps (S, 3)."""
    layers, count = start.spec.layers, len(start)
    parameters = start.flat().detach().to(torch.float32, copy=True).contiguous()
    inputs, targets, table = (t.to("cpu", torch.float32).contiguous() for t in (coordinates_PI, targets_BCP, table_S3))
    errors = torch.empty(count)
    _library().weightwalk_fit(
        len(layers),
        (ctypes.c_int * (len(layers) + 1))(*start.spec.widths),
        (ctypes.c_int * len(layers))(*(ACTIVATIONS.index(layer.activation) for layer in layers[:-1])),
        (ctypes.c_float * len(layers))(*(layer.omega for layer in layers)),
        len(inputs),
        _address(inputs),
        count,
        _address(parameters),
        _address(targets),
        len(table),
        _address(table),
        (ctypes.c_float * 2)(*betas),
        ctypes.c_float(stop_loss),
        _address(errors),
    )
    return Weights.from_flat(start.spec, parameters), errors


@cache
def available() -> bool:
    """Whether the kernel can be built and loaded here, found out by doing it."""
    try:
        _library()
    except (OSError, subprocess.SubprocessError):
        return False
    return True


@cache
def _library() -> ctypes.CDLL:
    commands = (shlex.split(os.environ.get("CXX") or "c++"), ["g++"], ["clang++"])  # $CXX may be "ccache g++"
    compiler = next((command for command in commands if command and shutil.which(command[0])), None)
    if compiler is None:
        raise FileNotFoundError("no C++ compiler: neither $CXX nor c++, g++ or clang++")
    name = f"kernel-{_identity(compiler)}.so"
    for folder in _folders():
        try:
            return ctypes.CDLL(str(_built(compiler, folder / name)))
        except OSError as error:  # a home that cannot be written to, or one where nothing may be run
            failure = error
    raise failure


def _folders() -> Iterator[Path]:
    """Where the binary may lie: the user's cache, and a folder for temporary files, which anybody could have made."""
    home = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    if os.path.isabs(home):  # a user without a home stays "~"
        yield Path(home) / "weightwalk"
    yield Path(tempfile.gettempdir()) / f"weightwalk-{os.getuid()}"


def _built(compiler: Sequence[str], path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    if path.parent.stat().st_uid != os.getuid():
        raise PermissionError(f"{path.parent} belongs to another user, whose code is not run")
    if not path.exists():
        with files.replacing(path) as scratch:
            subprocess.run([*compiler, *_FLAGS, "-o", str(scratch), str(_SOURCE)], check=True, capture_output=True)
    return path


def _identity(compiler: Sequence[str]) -> str:
    """What the binary depends on: source, flags, compiler, and the processor, since a home may be shared by different machines."""
    version = subprocess.run([*compiler, "--version"], check=True, capture_output=True).stdout
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        processor = next((line for line in lines if line.startswith(("flags", "Features"))), "")
    except OSError:
        processor = platform.processor()
    parts = [_SOURCE.read_bytes(), " ".join(_FLAGS).encode(), version, f"{platform.machine()} {processor}".encode()]
    return hashlib.sha256(b"\0".join(parts)).hexdigest()[:16]


def _address(tensor: Tensor) -> ctypes.c_void_p:
    return ctypes.c_void_p(tensor.data_ptr())
