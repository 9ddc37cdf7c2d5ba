"""Heads: what turns an encoding into an answer."""
