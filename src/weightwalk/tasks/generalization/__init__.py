"""Predict how good trained networks are from their weights: test accuracy, from a zoo of trained networks."""
