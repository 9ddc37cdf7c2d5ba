"""Zoos: where images and trained networks come from, and how they are kept on disk."""
