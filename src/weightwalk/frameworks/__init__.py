"""Frameworks: an encoder, its heads and the training objective of a paper, as one module; importing this registers all
pretext tasks.
"""

from weightwalk.frameworks import inr2jls, inr_inr, no_generator

__all__ = ["inr2jls", "inr_inr", "no_generator"]
