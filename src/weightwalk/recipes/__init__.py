"""Recipes: complete runs as typed Python, one function per cell of a published table, looked up by name."""

from weightwalk.recipes import inr_classification
from weightwalk.recipes.registry import RECIPES

__all__ = ["RECIPES", "inr_classification"]
