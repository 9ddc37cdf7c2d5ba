"""From images to a zoo of INRs: what is not there yet is cut into tasks, and their results become shards."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

import weightwalk
from weightwalk import config, files, memory
from weightwalk.errors import InputError
from weightwalk.networks.files import load_network
from weightwalk.progress import Progress, silent
from weightwalk.spec import NetworkSpec
from weightwalk.zoos import images
from weightwalk.zoos.blocks import Blocks, block_size, blocks
from weightwalk.zoos.images import ImageSet
from weightwalk.zoos.inr import engine
from weightwalk.zoos.inr.job import FitJob, FitTask, Fitted
from weightwalk.zoos.inr.kind import FIGURES
from weightwalk.zoos.inr.recipe import FIT_RECIPES, FitRecipe, usual
from weightwalk.zoos.splits import SPLITS, Part, SplitRule
from weightwalk.zoos.store import Zoo
from weightwalk.zoos.work import Inline, Workers
from weightwalk.zoos.writer import ZooWriter

SOURCES = 512  # source images in a shard

Work = tuple[ImageSet, int, NDArray[np.int64]]
"""What is to be fitted: images of a set, the number of the fit, and which images."""

Key = tuple[Part, int, int]
"""A shard: part, fit, and images // size."""


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


def fit(
    signals: ImageSet | list[ImageSet] | ArrayLike | str,
    out: Path | str,
    recipe: FitRecipe | str | None = None,
    *,
    root: Path | str | None = None,
    limit: int | None = None,
    **options: Any,
) -> Zoo:
    """The zoo in `out` with an INR of every signal, fitted where it is not there yet.

    `signals` are an array of pictures (N, H, W) or (N, C, H, W), one or several sets (`ImageSet.from_arrays` makes one
    of sounds, volumes, labels), or the name of a data set whose published files are in `root`: then `limit` is the
    number of images of each part. `recipe` is a name in `FIT_RECIPES` or a recipe of one's own; left out, the one that
    suits the data set. `options` are those of `fit_zoo`: `init`, `fits`, `seed`, `device`, `workers`, `progress`, ...

    >>> zoo = fit(np.random.rand(10, 16, 16), "zoos/mine", init="shared")  # doctest: +SKIP
    """
    if isinstance(signals, str):
        sets = load_sets(signals, None if root is None else Path(root), options.get("split", "all"), limit)
    elif root is not None or limit is not None:
        raise InputError("root and limit belong to the name of a data set, got signals themselves; leave them out")
    elif isinstance(signals, ImageSet):
        sets = [signals]
    elif isinstance(signals, list) and all(isinstance(one, ImageSet) for one in signals):
        sets = signals
    else:
        sets = [ImageSet.from_arrays(cast(ArrayLike, signals))]
    if recipe is None:
        recipe = usual(sets[0].dataset)
    fit_zoo(sets, Path(out), FIT_RECIPES[recipe] if isinstance(recipe, str) else recipe, **options)
    return Zoo.open(Path(out))


def load_sets(dataset: str, root: Path | None, split: str = "all", limit: int | None = None) -> list[ImageSet]:
    """The parts of a data set with images of `split` (train with validation, test, all), each cut to `limit` images."""
    if split not in ("train", "test", "all"):
        raise InputError(f"expected --split train, test or all, got {split!r}")
    if limit is not None and limit < 1:
        raise InputError(f"expected --limit of at least 1 image, got {limit}; leave it out to take all")
    wanted = [part for part in images.parts(dataset) if "all" in (part, split) or part == split]
    return [images.load(dataset, root, part).first(limit) for part in wanted]


def split_rule(dataset: str) -> SplitRule:
    """Every 12th training image of MNIST and Fashion-MNIST validates (55,000 / 5,000), every 10th of others.

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
    count, at_once = fits * sum(map(len, sets)), engine.task_size(torch.device(device), math.prod(grid))
    what = f"fitting {count:,} networks of {spec.num_parameters:,} parameters"
    remedy = "choose smaller hidden layers, or fewer fits"
    # Two doubles of every network, and the state of those that descend at once.
    memory.check(16 * count + 40 * spec.num_parameters * min(count, at_once), what, remedy)
    files.check_room(out, 4 * spec.num_parameters * count, what, remedy)
    start, init_name = _start(spec, init, fits)
    chosen = engine.choose(mode, torch.device(device))
    rule = split_rule(sets[0].dataset)
    codes = [_splits(rule, images_of, split) for images_of in sets]
    asked = sum(int((code >= 0).sum() + (fits - 1) * (code == 0).sum()) for code in codes)
    if not asked:
        raise InputError(
            f"expected {split} images of {sets[0].dataset}, found none among the {sum(map(len, sets)):,} that are "
            "read; give a larger --limit, or another --split"
        )
    writer = ZooWriter.open(
        out,
        settings={
            "kind": "inr",
            "dataset": sets[0].dataset,
            "image_shape": list(sets[0].image_shape),
            "image_dtype": sets[0].image_dtype,
            "label_names": list(sets[0].label_names),
            "spec": spec.to_dict(),
            "fit": config.to_dict(recipe),
            "init": init_name,
            "seed": seed,
        },
        figures=FIGURES,
        splits=rule,
        sources=True,
        provenance={"weightwalk": weightwalk.__version__, "torch": torch.__version__, "device": device, "mode": chosen},
    )
    size = block_size(recipe.descent.steps * math.prod(grid) * spec.num_parameters)
    if chosen == "native":  # where more at once are no faster, no task outlasts the shard that it is for
        at_once = min(at_once, size)
    todo = list(_todo(writer, sets, rule, fits, split))
    total = sum(len(indices) for _, _, indices in todo)
    began, fitted, written, psnr_sum = time.monotonic(), 0, 0, 0.0

    def write(key: Key, pieces: list[Fitted]) -> None:
        nonlocal written
        images, params, psnr = (
            np.concatenate([getattr(piece, name)[piece.images // size == key[2]] for piece in pieces])
            for name in ("images", "params", "psnr")
        )
        order = np.argsort(images)
        writer.add_rows(key[0], key[1], images[order], params[order], {"psnr": psnr[order]})
        written += len(images)

    def outcome(finished: bool) -> FitOutcome:
        there = () if fitted else Zoo.open(out).column("psnr")
        mean = psnr_sum / fitted if fitted else float(np.mean(there)) if len(there) else None
        return FitOutcome(written, asked - total, finished, mean, time.monotonic() - began)

    job = FitJob(spec, recipe.scheme, start, seed, recipe.pixels, recipe.descent, tuple(grid), device, chosen)
    missing = {(s.part, fit, block): n for s, fit, indices in todo for block, n in _per_block(indices, size)}
    shards: Blocks[Key, Fitted] = Blocks(writer, missing, write)
    results = (workers or Inline()).results(job, _tasks(todo, at_once))
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
        for block, count in _per_block(result.images, size):
            shards.add((result.part, result.fit, block), result, count)
        shards.settle()
        psnr_sum += float(result.psnr.sum())
        fitted += len(result.images)
        progress("fitting", fitted, total, {"PSNR dB": psnr_sum / fitted})
    shards.write()
    return outcome(True)


def _per_block(images: NDArray[np.int64], size: int) -> list[tuple[int, int]]:
    """The blocks that images lie in, and how many of them in each."""
    blocks_of, counts = np.unique(images // size, return_counts=True)
    return list(zip(blocks_of.tolist(), counts.tolist(), strict=True))


def _tasks(todo: Sequence[Work], size: int) -> Iterator[FitTask]:
    """The work in pieces; pixels are read when a task is taken."""
    for images_of, fit, indices in todo:
        for first in range(0, len(indices), size):
            piece = indices[first : first + size]
            yield FitTask(images_of.part, fit, piece, images_of.pixels[piece])


def _splits(rule: SplitRule, images_of: ImageSet, split: str) -> NDArray[np.int8]:
    """Split codes of all images of a set, -1 for those that were not asked for."""
    codes = rule.assign(images_of.part, np.arange(len(images_of)))
    test = codes == SPLITS.index("test")
    return codes if split == "all" else np.where(test == (split == "test"), codes, -1).astype(np.int8)


def _todo(writer: ZooWriter, sets: Sequence[ImageSet], rule: SplitRule, fits: int, split: str) -> Iterator[Work]:
    """What is not in the zoo. Stores source images on the way."""
    for images_of in sets:
        codes = _splits(rule, images_of, split)
        wanted = np.flatnonzero(codes >= 0)
        stored = np.setdiff1d(wanted, writer.done(images_of.part, table="sources"))
        with writer.together():
            for block in blocks(stored, SOURCES):
                writer.add_sources(images_of.part, block, images_of.pixels[block], images_of.labels[block])
        for fit in range(fits):
            of_fit = wanted if fit == 0 else wanted[codes[wanted] == SPLITS.index("train")]
            lacking = np.setdiff1d(of_fit, writer.done(images_of.part, fit))
            if len(lacking):
                yield images_of, fit, lacking


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
