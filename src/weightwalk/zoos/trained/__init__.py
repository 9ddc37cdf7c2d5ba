"""Zoos of trained networks: what is on disk, how they are made, and readers of published ones."""
