"""Heads: from an encoding to an answer. `HeadConfig.named("mlp", hidden_dim=64).build(in_shape, num_outputs)`."""

from weightwalk.heads.base import Head, HeadConfig, heads
from weightwalk.heads.mlp import MLPHead
from weightwalk.heads.views import LatentCNN

__all__ = ["Head", "HeadConfig", "LatentCNN", "MLPHead", "heads"]
