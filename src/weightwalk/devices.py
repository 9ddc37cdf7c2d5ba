"""Where work runs."""

from __future__ import annotations

import os

import torch

from weightwalk.errors import InputError
from weightwalk.registry import unknown


def pick(name: str) -> torch.device:
    """`auto` is CUDA where there is one, else the CPU; InputError for a device that this machine lacks."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name.startswith("cuda") and not torch.cuda.is_available():
        raise InputError(f"expected a device that this machine has, got {name!r} without CUDA; use --device cpu")
    try:
        return torch.device(name)
    except RuntimeError:
        raise InputError(unknown("device", name, ["auto", "cpu", "cuda"])) from None


def cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
