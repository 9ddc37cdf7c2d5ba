"""How much memory there is, and the sentences for users who ask for more."""

from __future__ import annotations

import re
from pathlib import Path

from weightwalk.errors import InputError
from weightwalk.files import in_units

_CGROUPS = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))
_SIGNS = re.compile(
    "can(?:'|no)t allocate memory|not enough memory|out of memory|unable to allocate|bad_alloc|array is too big|"
    "storage size calculation|integer multiplication overflow|overflow when unpacking|maximum allowed dimension",
    re.IGNORECASE,
)
"""What torch, numpy and C++ say when memory is short, or when a tensor would have more elements than can be counted."""


def total() -> int | None:
    """Bytes that this process may ever have: the machine's, or its container's if that is less; None if nobody says."""
    found = [number * 1024 for number in _meminfo("MemTotal")]
    for path in _CGROUPS:
        text = path.read_text().strip() if path.exists() else "max"
        found += [int(text)] if text.isdigit() else []
    return min(found, default=None)


def available() -> int | None:
    """Bytes that are free for a process now, of `total`; None if nobody says."""
    free, most = [number * 1024 for number in _meminfo("MemAvailable")], total()
    return min([*free, *([] if most is None else [most])], default=None)


def check(num_bytes: float, what: str, remedy: str) -> None:
    """InputError if `what`, the user's words for it, takes more bytes than there are; `remedy` says what to do."""
    limit = available()
    if limit is not None and num_bytes > limit:
        raise InputError(f"{what} takes {in_units(num_bytes)} of memory, but {in_units(limit)} are free; {remedy}")


def told(error: BaseException) -> str | None:
    """The sentence for an exception that means too little memory, or a tensor of impossible size; None for others."""
    short = isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError"
    kinds = RuntimeError | ValueError | OverflowError | TypeError
    if not short and not (isinstance(error, kinds) and _SIGNS.search(str(error))):
        return None
    asked, limit = re.search(r"allocate ([0-9.]+ \w+)", str(error)), available()
    told = [f"{_readable(asked.group(1))} at once"] if asked else []
    told += [] if limit is None else [f"with {in_units(limit)} free"]
    got = " ".join(told) if asked else " ".join(["more than there is", *told])
    return f"expected work that fits in memory, got {got}; choose smaller sizes, smaller batches or fewer workers"


def _readable(size: str) -> str:
    number, unit = size.split()
    return in_units(float(number)) if unit == "bytes" else size


def _meminfo(name: str) -> list[int]:
    """The value of one line of /proc/meminfo in kB, where there is such a file."""
    path = Path("/proc/meminfo")
    return [int(kb) for kb in re.findall(rf"^{name}: +(\d+) kB", path.read_text() if path.exists() else "", re.M)]
