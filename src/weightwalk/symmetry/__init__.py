"""Symmetries of input networks: what can be done to the weights without changing the function."""

from weightwalk.symmetry.axes import axes, hidden_widths
from weightwalk.symmetry.permutations import compose, inverse, permuted, permuted_nodes, random_permutations

__all__ = ["axes", "compose", "hidden_widths", "inverse", "permuted", "permuted_nodes", "random_permutations"]
