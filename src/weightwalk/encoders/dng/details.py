"""Where the authors' release differs from its paper, by name: so that its parameters load, and its results can be had
again.
"""

from __future__ import annotations

from dataclasses import dataclass

from weightwalk.registry import Registry


@dataclass(frozen=True)
class Details:
    """What the DNG-Encoder does where the paper's equations are not followed; all False is "paper"."""

    padded_taps: bool = False
    """A layer of fewer taps than the encoder has heads fills them with features of zero, on which the edge map's bias
    still acts; otherwise they are empty.
    """
    plain_residuals: bool = False
    """An addition sends the older memories as they are, not through a map W_r."""
    heads_by_place: bool = False
    """Attention maps a head's neurons by their place in it (appendix F.2), so that another order of them gives another
    encoding. Otherwise it is `maps.PairedHeads`, ours and equivariant.
    """
    silent_unbiased: bool = False
    """In a layer without biases the messages are the new memories, without an update; otherwise b = 0."""
    one_activation: bool = False
    """The embedding of the first layer's activation is that of all layers, not each its own."""


DETAILS: Registry[Details] = Registry("preset")
DETAILS.register("paper")(Details())
DETAILS.register("release-cnn-zoo")(Details(padded_taps=True, one_activation=True))
DETAILS.register("release-vit")(Details(plain_residuals=True, heads_by_place=True, silent_unbiased=True))
