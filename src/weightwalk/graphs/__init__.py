"""Graphs of input networks, built from their specs and never inside encoders."""
