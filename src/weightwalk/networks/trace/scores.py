"""The scores of an attention: products of queries and keys on their way to the softmax and to the values."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from weightwalk.networks.trace.layout import Unreadable

HEADS, QUERIES, KEYS = 0, 1, 2
"""Dims of the factors of a view of scores, besides BATCH and COPIES."""

_FAR = -1e4  # scores below this have no weight left after the softmax


@dataclass(frozen=True)
class Scores:
    """scale q k for `heads` heads of the values `query` and `key`; `mask` (T, S) are the keys that are seen."""

    query: int
    key: int
    heads: int
    kv_heads: int
    scale: float = 1.0
    mask: Tensor | None = None
    soft: bool = False  # after the softmax

    def scaled(self, factor: float, offset: float) -> Scores:
        """factor scores + offset."""
        if self.soft or offset or factor <= 0:
            raise Unreadable("it changes the scores of an attention by more than a scale before the softmax")
        return replace(self, scale=self.scale * factor)

    def masked(self, seen: Tensor) -> Scores:
        """Only where `seen`, (..., T, S) and the same for all heads and examples, have scores weight."""
        while seen.dim() > 2:
            if not bool((seen == seen[:1]).all()):
                raise Unreadable("its mask differs between heads or examples")
            seen = seen[0]
        if self.soft:
            raise Unreadable("it masks an attention after the softmax")
        return replace(self, mask=seen if self.mask is None else self.mask & seen)

    def softened(self) -> Scores:
        """After the softmax over the keys."""
        if self.soft:
            raise Unreadable("it takes two softmaxes of the scores of an attention")
        return replace(self, soft=True)

    def causal(self, queries: int, keys: int) -> bool:
        """Whether position t sees positions up to t; False if it sees all. Unreadable: another mask."""
        if self.mask is None:
            return False
        seen = self.mask.cpu().expand(queries, keys)
        if bool(seen.all()):
            return False
        if queries == keys and torch.equal(seen, torch.ones(queries, keys, dtype=torch.bool).tril()):
            return True
        raise Unreadable("its mask is neither causal nor empty")


def seen_by(mask: Tensor) -> Tensor:
    """Which keys a mask that is added to the scores leaves: 0 does, minus infinity (or nearly) does not."""
    if mask.dtype == torch.bool:
        return mask
    seen = mask == 0
    if not bool((seen | hides(mask)).all()):
        reason = "it adds numbers to the scores of an attention that depend on the positions (a learned or fixed bias)"
        raise Unreadable(reason)
    return seen


def hides(score: Tensor) -> Tensor:
    """Where scores are so low that they have no weight after the softmax."""
    return score <= _FAR
