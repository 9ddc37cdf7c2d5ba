"""What the networks of a zoo show, read at random out of memory maps."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from weightwalk.errors import InputError
from weightwalk.zoos import shards
from weightwalk.zoos.manifest import Manifest
from weightwalk.zoos.splits import PARTS, group_numbers, indices_of, parts_of


class Sources:
    """What the networks of a zoo show: an image, and its label, per row.

    `labels` (N,) are indices into `label_names`; `groups` and `group_labels` (G,) are those of all sources, also of
    those without networks yet.
    """

    def __init__(self, path: Path, manifest: Manifest, groups: NDArray[np.int64]):
        self.image_shape: tuple[int, ...] = tuple(manifest.settings["image_shape"])
        self.label_names: tuple[str, ...] = tuple(manifest.settings["label_names"])
        table = [shard for shard in manifest.in_order if shard.table == "sources"]
        found = [shards.open_sources(path, manifest, shard) for shard in table]
        empty = [np.empty(0, np.int64)]
        numbers = [group_numbers(s.part, t["group"].numpy()) for s, t in zip(table, found, strict=True)]
        keys = np.concatenate(empty + numbers)
        order = np.argsort(keys, kind="stable")
        self._dtype = np.dtype(manifest.settings["image_dtype"])
        self._size = self._dtype.itemsize * int(np.prod(self.image_shape))
        self._views = [t["pixels"].numpy().reshape(-1).view(np.uint8).data for t in found]
        view = np.repeat(np.arange(len(found)), [len(n) for n in numbers]) if found else empty[0]
        at = np.concatenate(empty + [np.arange(len(n)) * self._size for n in numbers])
        self.groups: NDArray[np.int64] = keys[order]
        self.group_labels: NDArray[np.int64] = np.concatenate(empty + [t["label"].numpy() for t in found])[order]
        self._view, self._at = view[order], at[order]
        self._source = np.searchsorted(self.groups, groups).astype(np.int32)
        lacking = np.append(self.groups, -1)[self._source] != groups
        if lacking.any():
            first = int(groups[lacking][0])
            named = f"{PARTS[int(parts_of(np.array([first]))[0])]} image {int(indices_of(np.array([first]))[0])}"
            raise InputError(
                f"expected the source image of every INR in {path}, found none of {np.count_nonzero(lacking)} INRs, "
                f"the first of {named}; run the command that made the zoo again to store them"
            )
        self.labels: NDArray[np.int64] = self.group_labels[self._source]

    def images(self, rows: NDArray[np.int64]) -> Tensor:
        """(B, C, *grid) of `rows` (B,) of the zoo, in that order; copies."""
        chosen = self._source[rows]
        content = bytearray().join(
            [
                self._views[view][start : start + self._size]
                for view, start in zip(self._view[chosen].tolist(), self._at[chosen].tolist(), strict=True)
            ]
        )
        return torch.from_numpy(np.ndarray((len(chosen), *self.image_shape), self._dtype, buffer=content))
