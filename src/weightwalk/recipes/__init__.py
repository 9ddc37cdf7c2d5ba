"""Recipes: complete runs as typed Python, one function per cell of a published table, looked up by name."""

from weightwalk.recipes import generalization, inr_classification, inr_editing
from weightwalk.recipes.registry import RECIPES

__all__ = ["RECIPES", "generalization", "inr_classification", "inr_editing"]
