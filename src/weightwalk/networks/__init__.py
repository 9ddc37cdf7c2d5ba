"""The networks that are read: how they start."""
