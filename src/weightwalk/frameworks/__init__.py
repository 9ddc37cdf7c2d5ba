"""Frameworks: an encoder, its heads and the training objective of a paper, as one module."""
