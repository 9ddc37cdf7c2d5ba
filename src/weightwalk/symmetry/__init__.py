"""Symmetries of input networks: what can be done to the weights without changing the function."""

from weightwalk.symmetry.permutations import compose, inverse, random_permutations

__all__ = ["compose", "inverse", "random_permutations"]
