"""The layout of the NFN zoos (Zhou et al. 2023, Permutation Equivariant Neural Functionals;
github.com/AllanYangZhou/nfn).

    randinit_smaller_{label}s/net{index}.pth            an INR of every image
    randinit_smaller_aug{k}_{label}s/net{index}.pth     fit k + 1 of training images

`index` counts through the training images and then the test images. Their `SirenDataset` finds files by
`{prefix}_*/*.pth`, reads `net(\\d+)\\.pth` and `_(\\d)s` out of the whole path, and wants every index from 0 on.
"""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from weightwalk.errors import InputError
from weightwalk.zoos.inr.recipe import FIT_RECIPES
from weightwalk.zoos.published.trees import TREES, Layout, Shelf, folders, numbers, shelved
from weightwalk.zoos.splits import Part, SplitRule

_FOLDER = re.compile(r"randinit_smaller(?:_aug(\d+))?_(\d+)s")
_FILE = re.compile(r"net(\d+)\.pth")
_BOUNDS = (45_000, 50_000)
_FASHION_BOUNDS = (55_000, 60_000)


class Nfn(Layout):
    """See the module."""

    example = "randinit_smaller_0s/net0.pth"
    pixels = FIT_RECIPES["nfn"].pixels
    counts_through = True

    def scan(self, folder: Path) -> list[Shelf]:
        fits: defaultdict[int, list[tuple[int, int]]] = defaultdict(list)
        for name in folders(folder):
            if found := _FOLDER.fullmatch(name):
                *copy, label = numbers(found, f"{folder}/{name}")
                for inside in os.listdir(folder / name):
                    if file := _FILE.fullmatch(inside):
                        [image] = numbers(file, f"{folder}/{name}/{inside}")
                        fits[copy[0] + 1 if copy else 0].append((image, label))
        return [shelved(self, folder, "all", fit, fits[fit]) for fit in sorted(fits)]

    def path(self, part: Part, fit: int, image: int, label: int) -> str:
        copy = f"_aug{fit - 1}" if fit else ""
        return f"randinit_smaller{copy}_{label}s/net{image}.pth"

    def key(self, layer: int, num_layers: int) -> str:
        return f"net.{layer}.linear" if layer < num_layers - 1 else f"net.{layer}"

    def split_rule(
        self, folder: Path, shelves: Sequence[Shelf], dataset: str, given: tuple[int, int] | Path | None
    ) -> SplitRule:
        """By index: 45,000 and 50,000, for Fashion-MNIST 55,000 and 60,000 (as DNG and INR2JLS split it), unless bounds
        are given.

        The test part of MNIST then has 20,000 images, half of them out of MNIST's training file.
        """
        if isinstance(given, Path):
            raise InputError(f"the nfn layout is split by index: expected --bounds, got --splits {given}")
        return SplitRule(bounds=given or (_FASHION_BOUNDS if dataset == "fashion-mnist" else _BOUNDS))


TREES.register("nfn")((Nfn(),))
