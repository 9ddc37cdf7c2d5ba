"""The steps that a forward pass is made of: what they read, what they write, which parameters they have.

A value is an array (C, *grid) per example: C channels, the nodes of the graph, on a grid of positions, `()` for a plain
vector, (T,) for tokens, (H, W) for pictures. Value 0 is the network's input and value s what step s writes, counted
from 1. A step reads the values `sources`; left out, it reads the one before it.

Steps with parameters are layers. A layer has a weight, `weight_shape` per network, and may have a bias (O,).
Pure Python: describing a network never imports torch.
"""

from __future__ import annotations

from weightwalk.steps.activations import ACTIVATIONS, FITTED, LEAK, SCALED, TRAINED
from weightwalk.steps.base import Link, Step
from weightwalk.steps.layers import Conv, Dense, Embed, Layer, Learned, Norm
from weightwalk.steps.passing import (
    Activate,
    Add,
    Affine,
    Attention,
    Concat,
    Move,
    Multiply,
    Pad,
    Patches,
    Rearrange,
    Slice,
    Softmax,
)
from weightwalk.steps.positions import Append, Crop, MeanPool, Pick, Pool, Reshape, Resize, Upsample

_KINDS: tuple[type[Step], ...] = (
    *(Dense, Conv, Norm, Embed, Learned, Activate, Affine, MeanPool, Pool, Upsample, Resize, Add, Multiply, Concat),
    *(Append, Slice, Pad, Crop, Pick, Reshape, Patches, Rearrange, Softmax, Move, Attention),
)
STEPS: dict[str, type[Step]] = {step.kind: step for step in _KINDS}
"""Every kind of step by its name."""

__all__ = [
    "ACTIVATIONS", "FITTED", "LEAK", "SCALED", "STEPS", "TRAINED",
    "Activate", "Add", "Affine", "Append", "Attention", "Concat", "Conv", "Crop", "Dense", "Embed", "Layer", "Learned",
    "Link", "MeanPool", "Move", "Multiply", "Norm", "Pad", "Patches", "Pick", "Pool", "Rearrange", "Reshape", "Resize",
    "Slice", "Softmax", "Step", "Upsample",
]  # fmt: skip
