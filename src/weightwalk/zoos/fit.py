"""From images to a zoo of INRs: which network, which start, how it is fitted, and the work of fitting what is not there yet."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file

import weightwalk
from weightwalk import config, files
from weightwalk.errors import InputError
from weightwalk.networks.siren import SHARED, Key, Scheme, initialise
from weightwalk.progress import Progress, silent
from weightwalk.registry import Registry
from weightwalk.spec import NetworkSpec
from weightwalk.weights import Weights
from weightwalk.zoos import engine, images
from weightwalk.zoos.images import ImageSet
from weightwalk.zoos.pixels import PixelFormat
from weightwalk.zoos.splits import PARTS, SPLITS, SplitRule
from weightwalk.zoos.store import Zoo, ZooWriter

SHARD_IMAGES = 512
CHUNK = 8 * engine.GROUP  # fitted between two looks at the clock


@dataclass(frozen=True)
class FitRecipe:
    """How one picture becomes one SIREN."""

    name: str
    hidden: tuple[int, ...] = (32, 32)
    omega: float = 30.0
    scheme: Scheme = "nfn"
    pixels: PixelFormat = PixelFormat()  # noqa: RUF009 (frozen)
    descent: engine.Descent = engine.Descent(steps=200, learning_rate=3e-3, schedule="cosine")  # noqa: RUF009 (frozen)

    def spec(self, channels: int) -> NetworkSpec:
        """The network: 2 coordinates in, one output per channel."""
        return NetworkSpec.mlp([2, *self.hidden, channels], activation="sine", omega=self.omega)


FIT_RECIPES: Registry[FitRecipe] = Registry("fit recipe")
# Ours: 40 dB on MNIST and 46 on Fashion-MNIST in 200 steps, where the published zoos took 1,000 or 5,000.
FIT_RECIPES.register("fast")(FitRecipe("fast"))
# Pictures of 8 x 8: 40 dB after 30 steps. More would only move the weights away from what the picture says.
FIT_RECIPES.register("tiny")(FitRecipe("tiny", descent=engine.Descent(steps=30, learning_rate=3e-3, schedule="cosine")))
# The NFN zoo's protocol (spec: DNG paper, appendix): Adam 5e-5, 5,000 whole-image steps.
FIT_RECIPES.register("nfn")(FitRecipe("nfn", descent=engine.Descent(steps=5000, learning_rate=5e-5)))
# The DWS zoo's: outputs are offset by half (black is -.5, white is .5), coordinate 0 is the column, stop above 40 dB.
FIT_RECIPES.register("dws")(
    FitRecipe(
        "dws",
        scheme="dws",
        pixels=PixelFormat(-0.5, 0.5, "xy"),
        descent=engine.Descent(steps=1000, learning_rate=5e-4, stop_loss=1e-4),
    )
)


@dataclass(frozen=True)
class FitOutcome:
    """What a call of `fit_zoo` did."""

    fitted: int
    already_there: int
    finished: bool
    mean_psnr: float
    seconds: float


def load_sets(dataset: str, root: Path | None, split: str = "all", limit: int | None = None) -> list[ImageSet]:
    """The parts of a data set with images of `split` (train, which includes validation; test; all), at most `limit` images of each."""
    if split not in ("train", "test", "all"):
        raise InputError(f"expected --split train, test or all, got {split!r}")
    if limit is not None and limit < 1:
        raise InputError(f"expected --limit of at least 1 image, got {limit}; leave it out to take all")
    wanted = [part for part in images.parts(dataset) if "all" in (part, split) or part == split]
    sets = [images.load(dataset, root, part) for part in wanted]
    return [ImageSet(s.dataset, s.part, s.pixels[:limit], s.labels[:limit], s.label_names) for s in sets]


def split_rule(dataset: str) -> SplitRule:
    """Every 12th training image of MNIST and Fashion-MNIST validates (55,000 / 5,000), every 10th of others (CIFAR: 45,000 / 5,000).

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
    progress: Progress = silent,
    should_stop: Callable[[], bool] = lambda: False,
) -> FitOutcome:
    """Fit every image that `out` does not have yet: `fits` INRs per training image, one per validation or test image.

    `init` is `independent` (every INR has a random start of its own: the papers' protocol), `shared` (all INRs of fit k
    start from the k-th draw) or the path of a .safetensors with one network's parameters (one fit only).
    The INR of (seed, part, image, fit) is the same whatever else is fitted. Raises InputError if `out` was made with other settings.
    """
    if not sets or len({(s.image_shape, s.label_names) for s in sets}) > 1:
        raise InputError(f"expected sets of images of one size with the same labels, got {[(s.part, s.image_shape) for s in sets]}")
    if not 0 <= seed < 2**63:
        raise InputError(f"expected a seed from 0 to 2^63 - 1, got {seed}")
    if fits < 1:
        raise InputError(f"expected at least 1 fit per image, got {fits}")
    spec = recipe.spec(sets[0].image_shape[0])
    start, init_name = _starts(spec, recipe, init, seed, fits)
    rule = split_rule(sets[0].dataset)
    writer = ZooWriter.open(
        out,
        settings={
            "dataset": sets[0].dataset,
            "image_shape": list(sets[0].image_shape),
            "spec": spec.to_dict(),
            "fit": config.to_dict(recipe),
            "init": init_name,
            "seed": seed,
        },
        label_names=sets[0].label_names,
        splits=rule,
        provenance={"weightwalk": weightwalk.__version__, "torch": torch.__version__, "device": device, "mode": mode},
    )
    todo = list(_todo(writer, sets, rule, fits, split))
    total = sum(len(indices) for _, _, indices in todo)
    asked = sum(int((_splits(rule, s, split) >= 0).sum() + (fits - 1) * (_splits(rule, s, split) == 0).sum()) for s in sets)
    _, height, width = sets[0].image_shape
    coordinates = recipe.pixels.coordinates(height, width, torch.device(device))
    began, fitted, psnr_sum = time.monotonic(), 0, 0.0

    def outcome(finished: bool) -> FitOutcome:
        mean = psnr_sum / fitted if fitted else float(Zoo.open(out).psnr.mean())
        return FitOutcome(fitted, asked - total, finished, mean, time.monotonic() - began)

    if total:
        progress("fitting", 0, total, {})  # the first fit may have to wait for the compiler
    for images_of, fit, indices in todo:
        parameters, psnr = [], []
        for first in range(0, len(indices), CHUNK):
            if should_stop():
                return outcome(False)
            chunk = indices[first : first + CHUNK]
            targets = recipe.pixels.targets(torch.from_numpy(images_of.pixels[chunk]).to(device))
            begin = start(images_of.part, chunk, fit).to(device)
            networks, errors = engine.fit(begin, coordinates, targets, recipe.descent, mode)
            parameters.append(networks.flat().cpu())
            psnr.append(recipe.pixels.psnr(errors).cpu())
            psnr_sum += float(psnr[-1].sum())
            fitted += len(chunk)
            progress("fitting", fitted, total, {"PSNR dB": psnr_sum / fitted})
        writer.add_inrs(images_of.part, fit, indices, torch.cat(parameters), torch.cat(psnr))
    return outcome(True)


def _splits(rule: SplitRule, images_of: ImageSet, split: str) -> NDArray[np.int8]:
    """Split codes of all images of a set, -1 for those that were not asked for."""
    codes = rule.assign(images_of.part, np.arange(len(images_of)))
    test = codes == SPLITS.index("test")
    return codes if split == "all" else np.where(test == (split == "test"), codes, -1).astype(np.int8)


def _todo(
    writer: ZooWriter, sets: Sequence[ImageSet], rule: SplitRule, fits: int, split: str
) -> Iterator[tuple[ImageSet, int, NDArray[np.int64]]]:
    """Shards of work that are not in the zoo: a set, a fit, image indices. Stores the source images of each block on the way."""
    for images_of in sets:
        codes = _splits(rule, images_of, split)
        wanted = np.flatnonzero(codes >= 0)
        stored = np.setdiff1d(wanted, writer.done(images_of.part))
        for block in _blocks(stored):
            writer.add_images(images_of.part, block, images_of.pixels[block], images_of.labels[block])
        for fit in range(fits):
            of_fit = wanted if fit == 0 else wanted[codes[wanted] == SPLITS.index("train")]
            for block in _blocks(np.setdiff1d(of_fit, writer.done(images_of.part, fit))):
                yield images_of, fit, block


def _blocks(indices: NDArray[np.int64]) -> Iterator[NDArray[np.int64]]:
    """Runs of indices that share a multiple of SHARD_IMAGES, so that a zoo is cut the same however often it is added to."""
    for block in np.unique(indices // SHARD_IMAGES):
        yield indices[indices // SHARD_IMAGES == block]


def _starts(
    spec: NetworkSpec, recipe: FitRecipe, init: str, seed: int, fits: int
) -> tuple[Callable[[str, NDArray[np.int64], int], Weights], str]:
    """Where the fits of some images begin, as a function of (part, images, fit), and what to call it in the zoo's settings."""
    if init in ("independent", "shared"):

        def drawn(part: str, chunk: NDArray[np.int64], fit: int) -> Weights:
            if init == "shared":
                return initialise(spec, [Key(seed, 0, SHARED, fit)], recipe.scheme)[[0] * len(chunk)]
            return initialise(spec, [Key(seed, PARTS.index(part), int(image), fit) for image in chunk], recipe.scheme)

        return drawn, init
    path = Path(init)
    if not path.exists():
        raise InputError(f"expected --init independent, shared or the path of a .safetensors, got {init!r}, which is no file")
    if fits > 1:
        raise InputError(f"expected --fits 1 with --init {init}, got {fits}: all fits of an image would be the same network")
    try:
        given = Weights.from_state_dicts(spec, [load_file(path)]).to(torch.float32)
    except SafetensorError as error:
        raise InputError(f"expected a .safetensors with one network's parameters at {path}, got a file that is not ({error})") from None
    if not given.flat().isfinite().all():
        raise InputError(f"expected a start of finite numbers in {path}, got NaN or infinity among them; make it again")
    return lambda part, chunk, fit: given[[0] * len(chunk)], f"file:{files.sha256(path)[:10]}"
