"""From images to a zoo of INRs: what is not there yet is cut into tasks, and their results become shards."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

import weightwalk
from weightwalk import config, files
from weightwalk.errors import InputError
from weightwalk.networks.files import load_network
from weightwalk.progress import Progress, silent
from weightwalk.spec import NetworkSpec
from weightwalk.zoos import engine, images
from weightwalk.zoos.images import ImageSet
from weightwalk.zoos.recipe import FitRecipe
from weightwalk.zoos.splits import SPLITS, SplitRule
from weightwalk.zoos.store import Zoo, ZooWriter
from weightwalk.zoos.work import Inline, Job, Result, Task, Workers

SHARD_IMAGES = 512
WAITING = 24  # shards that may wait in memory to be written together

Block = tuple[ImageSet, int, NDArray[np.int64]]
"""What becomes one shard: images of a set, the number of the fit, and which images."""


@dataclass(frozen=True)
class FitOutcome:
    """What a call of `fit_zoo` did: `fitted` INRs were added.

    `mean_psnr` is that of what it fitted, else of the whole zoo; None if that is empty.
    """

    fitted: int
    already_there: int
    finished: bool
    mean_psnr: float | None
    seconds: float


def load_sets(dataset: str, root: Path | None, split: str = "all", limit: int | None = None) -> list[ImageSet]:
    """The parts of a data set with images of `split` (train, which includes validation; test; all), at most `limit`
    images of each.
    """
    if split not in ("train", "test", "all"):
        raise InputError(f"expected --split train, test or all, got {split!r}")
    if limit is not None and limit < 1:
        raise InputError(f"expected --limit of at least 1 image, got {limit}; leave it out to take all")
    wanted = [part for part in images.parts(dataset) if "all" in (part, split) or part == split]
    return [images.load(dataset, root, part).first(limit) for part in wanted]


def split_rule(dataset: str) -> SplitRule:
    """Every 12th training image of MNIST and Fashion-MNIST validates (55,000 / 5,000), every 10th of others (CIFAR:
    45,000 / 5,000).

    Deviation: the published zoos take the last images of the training file, which a zoo with a limit would not have.
    """
    return SplitRule(val_every=12 if dataset in ("mnist", "fashion-mnist") else 10)


def fit_zoo(
    sets: Sequence[ImageSet],
    out: Path,
    recipe: FitRecipe,
    *,
    init: str = "independent",
    fits: int = 1,
    seed: int = 0,
    split: str = "all",
    device: str = "cpu",
    mode: engine.Mode = "auto",
    workers: Workers | None = None,
    progress: Progress = silent,
    should_stop: Callable[[], bool] = lambda: False,
) -> FitOutcome:
    """Fit every image that `out` does not have yet: `fits` INRs per training image, one per validation or test image.

    `init` is `independent` (every INR has a random start of its own: the papers' protocol), `shared` (all INRs of fit k
    start from the k-th draw) or the path of a file with one network's parameters (one fit only).
    The INR of (seed, part, image, fit) is the same whatever else is fitted and whoever the `workers` are (this process
    by default). Raises InputError if `out` was made with other settings.
    """
    if not sets or len({(s.image_shape, s.image_dtype, s.label_names) for s in sets}) > 1:
        raise InputError(
            f"expected sets of images of one size with the same labels, got {[(s.part, s.image_shape) for s in sets]}"
        )
    if not 0 <= seed < 2**63:
        raise InputError(f"expected a seed from 0 to 2^63 - 1, got {seed}")
    if fits < 1:
        raise InputError(f"expected at least 1 fit per image, got {fits}")
    channels, *grid = sets[0].image_shape
    spec = recipe.spec(len(grid), channels)
    start, init_name = _start(spec, init, fits)
    chosen = engine.choose(mode, torch.device(device))
    rule = split_rule(sets[0].dataset)
    writer = ZooWriter.open(
        out,
        settings={
            "dataset": sets[0].dataset,
            "image_shape": list(sets[0].image_shape),
            "image_dtype": sets[0].image_dtype,
            "spec": spec.to_dict(),
            "fit": config.to_dict(recipe),
            "init": init_name,
            "seed": seed,
        },
        label_names=sets[0].label_names,
        splits=rule,
        provenance={"weightwalk": weightwalk.__version__, "torch": torch.__version__, "device": device, "mode": chosen},
    )
    blocks = list(_todo(writer, sets, rule, fits, split))
    total = sum(len(indices) for _, _, indices in blocks)
    asked = sum(
        int((_splits(rule, s, split) >= 0).sum() + (fits - 1) * (_splits(rule, s, split) == 0).sum()) for s in sets
    )
    began, fitted, psnr_sum = time.monotonic(), 0, 0.0

    def outcome(finished: bool) -> FitOutcome:
        there = () if fitted else Zoo.open(out).psnr
        mean = psnr_sum / fitted if fitted else float(np.mean(there)) if len(there) else None
        return FitOutcome(shards.written, asked - total, finished, mean, time.monotonic() - began)

    job = Job(spec, recipe.scheme, start, seed, recipe.pixels, recipe.descent, tuple(grid), device, chosen)
    shards = _Shards(writer, blocks)
    results = (workers or Inline()).results(
        job, _tasks(blocks, engine.task_size(torch.device(device), math.prod(grid)))
    )
    if total:
        progress("fitting", 0, total, {})  # the first results may have to wait for workers and compilers
    while fitted < total:
        if should_stop():
            results.close()
            shards.write()
            return outcome(False)
        try:
            result = next(results)
        except InputError:  # no worker stays alive, or a picture cannot be read: what is finished is kept
            shards.write()
            raise
        shards.add(result)
        psnr_sum += float(result.psnr.sum())
        fitted += len(result.images)
        progress("fitting", fitted, total, {"PSNR dB": psnr_sum / fitted})
    shards.write()
    return outcome(True)


def _tasks(blocks: Sequence[Block], size: int) -> Iterator[Task]:
    """The blocks in pieces; pixels are read when a task is taken."""
    for images_of, fit, indices in blocks:
        for first in range(0, len(indices), size):
            piece = indices[first : first + size]
            yield Task(images_of.part, fit, piece, images_of.pixels[piece])


class _Shards:
    """Puts results together. Complete blocks are written as shards about every second, more seldom as the zoo's
    manifest grows, but before there are more than `WAITING` of them.
    """

    def __init__(self, writer: ZooWriter, blocks: Sequence[Block]):
        self._writer = writer
        self._missing = {(s.part, fit, int(indices[0]) // SHARD_IMAGES): len(indices) for s, fit, indices in blocks}
        self._found: dict[tuple[str, int, int], list[Result]] = {}
        self._next = 0.0
        self.written = 0

    def add(self, result: Result) -> None:
        key = (result.part, result.fit, int(result.images[0]) // SHARD_IMAGES)
        self._found.setdefault(key, []).append(result)
        self._missing[key] -= len(result.images)
        if time.monotonic() >= self._next or len(self._found) > WAITING:
            self.write()

    def write(self) -> None:
        """Write the blocks that are complete."""
        began = time.monotonic()
        with self._writer.together():
            for key in [key for key in self._found if not self._missing[key]]:
                pieces = sorted(self._found.pop(key), key=lambda piece: int(piece.images[0]))
                images, params, psnr = (
                    np.concatenate([getattr(piece, name) for piece in pieces]) for name in ("images", "params", "psnr")
                )
                self._writer.add_inrs(key[0], key[1], images, params, psnr)
                self.written += len(images)
        now = time.monotonic()
        self._next = now + max(1.0, 20 * (now - began))


def _splits(rule: SplitRule, images_of: ImageSet, split: str) -> NDArray[np.int8]:
    """Split codes of all images of a set, -1 for those that were not asked for."""
    codes = rule.assign(images_of.part, np.arange(len(images_of)))
    test = codes == SPLITS.index("test")
    return codes if split == "all" else np.where(test == (split == "test"), codes, -1).astype(np.int8)


def _todo(writer: ZooWriter, sets: Sequence[ImageSet], rule: SplitRule, fits: int, split: str) -> Iterator[Block]:
    """Shards of work that are not in the zoo: a set, a fit, image indices. Stores the source images of each block on
    the way.
    """
    for images_of in sets:
        codes = _splits(rule, images_of, split)
        wanted = np.flatnonzero(codes >= 0)
        stored = np.setdiff1d(wanted, writer.done(images_of.part))
        with writer.together():
            for block in _blocks(stored):
                writer.add_images(images_of.part, block, images_of.pixels[block], images_of.labels[block])
        for fit in range(fits):
            of_fit = wanted if fit == 0 else wanted[codes[wanted] == SPLITS.index("train")]
            for block in _blocks(np.setdiff1d(of_fit, writer.done(images_of.part, fit))):
                yield images_of, fit, block


def _blocks(indices: NDArray[np.int64]) -> Iterator[NDArray[np.int64]]:
    """Runs of indices that share a multiple of SHARD_IMAGES, so that a zoo is cut the same however often it is added
    to.
    """
    for block in np.unique(indices // SHARD_IMAGES):
        yield indices[indices // SHARD_IMAGES == block]


def _start(spec: NetworkSpec, init: str, fits: int) -> tuple[str | NDArray[np.float32], str]:
    """What `Job.start` is, and what to call it in the zoo's settings."""
    if init in ("independent", "shared"):
        return init, init
    path = Path(init)
    if not path.exists():
        raise InputError(
            f"expected --init independent, shared or a file with one network's parameters, got {init!r}, which is no "
            "file"
        )
    if fits > 1:
        raise InputError(
            f"expected --fits 1 with --init {init}, got {fits}: all fits of an image would be the same network"
        )
    return load_network(path, spec).flat[0].numpy(), f"file:{files.sha256(path)[:10]}"
