"""Figures as people read them, in the terminal and on pages."""

from __future__ import annotations

import shlex
from collections.abc import Mapping


def percent(share: float) -> str:
    """`94.7 %`."""
    return f"{100 * share:.1f} %"


def duration(seconds: float) -> str:
    """`0.4 s`, `12 s`, `3 min 5 s`, `2 h 4 min`."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes >= 60:
        return f"{minutes // 60} h {minutes % 60} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def listed(figures: Mapping[str, float]) -> str:
    """`loss 0.1235, accuracy 0.9`."""
    return ", ".join(f"{name} {value:.4g}" for name, value in figures.items())


def shell(*words: object) -> str:
    """The command `weightwalk` and `words` as a shell takes it, quoted where it must be."""
    return shlex.join(["weightwalk", *map(str, words)])
