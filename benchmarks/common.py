"""What the scripts that train share: progress, and names of configurations."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping
from typing import Any

from weightwalk import config as configs


class Lines:
    """Progress as a line now and then."""

    def __init__(self, name: str, seconds: float = 30.0):
        self.name, self.seconds, self.last = name, seconds, 0.0

    def __call__(self, label: str, done: int, total: int, figures: Mapping[str, float]) -> None:
        if time.monotonic() - self.last > self.seconds or done == total:
            self.last = time.monotonic()
            print(
                self.name,
                label,
                f"{done}/{total}",
                {name: round(value, 4) for name, value in figures.items()},
                flush=True,
            )


def name_of(config: Any) -> str:
    """The fingerprint of a run's configuration whatever its seed."""
    return configs.fingerprint(configs.to_dict(dataclasses.replace(config, seed=0)))
