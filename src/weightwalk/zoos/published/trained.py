"""What readers of published zoos of trained networks have in common."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from weightwalk.errors import InputError
from weightwalk.spec import NetworkSpec
from weightwalk.state_dicts import unreadable
from weightwalk.zoos.blocks import blocks
from weightwalk.zoos.published.reading import Published, Told
from weightwalk.zoos.shards import Group
from weightwalk.zoos.splits import SplitRule
from weightwalk.zoos.trained.train import COLUMNS
from weightwalk.zoos.writer import ZooWriter

SHARD = 128  # runs of a shard


class Runs(Published[NDArray[np.int64]]):
    """Runs 0 ... `count` - 1 of one kind, ordered by split if the release has one; a subclass gives `run(number)`."""

    takes = frozenset(("dataset", "splits"))
    figures = COLUMNS
    sources = False

    def __init__(self, told: Told, kind: str, dataset: str, count: int, splits: SplitRule):
        self.settings = {"kind": kind, "dataset": told.dataset or dataset, "runs": count}
        self.count, self.splits = count, splits

    @abstractmethod
    def run(self, number: int) -> Group:
        """Read one run."""

    def pieces(self, writer: ZooWriter) -> list[tuple[NDArray[np.int64], int]]:
        return [(block, len(block)) for block in blocks(np.setdiff1d(np.arange(self.count), writer.done()), SHARD)]

    def read(
        self, writer: ZooWriter, piece: NDArray[np.int64], goes_on: Callable[[int], bool]
    ) -> dict[str, float] | None:
        groups: list[Group] = []
        for number in piece.tolist():
            if not goes_on(len(groups)):
                return None
            groups.append(self.run(number))
        writer.add_groups(groups)
        return {}


def by_split(train: int, val: int, test: int) -> SplitRule:
    """The rule of runs that are numbered train, val, test."""
    if not train:
        raise InputError(
            "expected a published split with runs to train on, got none; leave it out to split by the last digit of "
            "runs"
        )
    return SplitRule(bounds=(train, train + val)) if val + test else SplitRule(bounds=(train, train))


def flattened(
    spec: NetworkSpec, tensors: Mapping[tuple[int, str], Tensor], what: str
) -> np.ndarray[Any, np.dtype[np.float32]]:
    """One network's parameters (P,) out of its tensors by (layer, role), kernels as torch keeps them."""
    parts = []
    for field in spec.fields:
        tensor = tensors[field.layer, field.role]
        if not isinstance(tensor, Tensor) or (reason := unreadable(tensor)):
            got = reason if isinstance(tensor, Tensor) else f"got {type(tensor).__name__}"
            raise InputError(f"expected real numbers in the {field.role} of layer {field.layer} in {what}, {got}")
        shape = tuple(tensor.shape)
        taken = tensor.flatten(2) if tensor.dim() > 2 else tensor
        if tuple(taken.shape) != field.shape:
            raise InputError(
                f"expected the {field.role} of layer {field.layer} of {spec} as {field.shape} in {what}, got {shape}"
            )
        parts.append(taken.to(torch.float32).reshape(-1))
    flat: np.ndarray[Any, np.dtype[np.float32]] = torch.cat(parts).numpy()
    return flat
