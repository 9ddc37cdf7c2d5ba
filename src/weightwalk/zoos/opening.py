"""Stopgap until there is one kind of zoo: open any."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from weightwalk.zoos.listing import holds_trained
from weightwalk.zoos.store import Zoo
from weightwalk.zoos.trained.store import TrainedZoo


def open_zoo(path: Path) -> Any:
    """A zoo of INRs or of trained networks, whichever it is."""
    return TrainedZoo.open(path) if holds_trained(path) else Zoo.open(path)
