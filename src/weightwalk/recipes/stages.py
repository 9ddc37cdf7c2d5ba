"""The stage that small recipes train in: a short warm-up, then a cosine down to the end."""

from __future__ import annotations

from typing import Any

from weightwalk.training.stage import StageConfig


def short(steps: int, batch_size: int = 64, **settings: Any) -> StageConfig:
    """So many steps on two cores, validated ten times; `settings` are a `StageConfig`'s own."""
    return StageConfig(
        steps=steps,
        batch_size=batch_size,
        learning_rate=2e-3,
        warmup_start=0.1,
        warmup_steps=100,
        schedule="cosine",
        clip=1.0,
        eval_every=max(1, steps // 10),
        **settings,
    )
