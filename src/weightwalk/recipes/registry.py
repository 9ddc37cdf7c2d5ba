"""Where recipes are found by name."""

from __future__ import annotations

from collections.abc import Callable

from weightwalk.registry import Registry
from weightwalk.tasks.config import RunConfig

RECIPES: Registry[Callable[[], RunConfig]] = Registry("recipe")
