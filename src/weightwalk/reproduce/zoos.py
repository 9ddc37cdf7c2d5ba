"""The zoos that a table's cells read, at every scale: what they are, where they lie, and making what is missing.

- tiny: INRs of scikit-learn's 1,797 digits, recipe `tiny`, 2 fits, each of one start; 60 networks trained on those
  digits at 16 x 16 pixels for 3 or 4 epochs.
- small: INRs of the first 12,000 training and 5,000 test images, recipe `fast`, 2 fits, so 22,000 INRs to train on; as
  many trained networks as `weightwalk zoo` makes.
- full: INRs of all images, recipe `nfn`, 11 fits; as many trained networks as the published zoos have, by their
  recipes.

INRs by the recipe `dws` are one per image, as those published.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from weightwalk import config as configs
from weightwalk.errors import InputError
from weightwalk.progress import Progress, silent
from weightwalk.reproduce.registry import Scale
from weightwalk.zoos.images import ImageSet
from weightwalk.zoos.inr.fit import fit_zoo, load_sets
from weightwalk.zoos.inr.recipe import FIT_RECIPES
from weightwalk.zoos.store import Zoo
from weightwalk.zoos.trained import recipes as trained
from weightwalk.zoos.trained.train import train_zoo
from weightwalk.zoos.work import ENGINES

PUBLISHED_RUNS = {"cnn": 30_000, "wild-park": 1_000, "vit": 1_000}
_TINY_RUNS = {"cnn": 60, "wild-park": 60, "vit": 60}
_TINY_CHANGES = {
    "cnn": ("epochs=3", "checkpoints=1", "batch_size=32"),
    "wild-park": (
        *("mean=0.5", "std=0.5", "epochs=3", "checkpoints=1", "batch_size=32"),
        *("channels=4,8", "kernels=3", "layers=2,3"),
    ),
    "vit": ("epochs=4", "stops=1,2,3,4", "checkpoints=1", "batch_size=32", "dim=16", "heads=2", "dim_head=8", "mlp=32"),
}


@dataclass(frozen=True)
class INRPlan:
    """INRs of a data set: the first `images` (training, test) of its parts (None: all), `fits` of each for training."""

    dataset: str
    recipe: str
    init: str = "independent"
    fits: int = 1
    images: tuple[int | None, int | None] = (None, None)

    @property
    def name(self) -> str:
        """Of the folder."""
        cut = "" if self.images[0] is None else f"-{self.images[0]}"
        return f"{self.dataset}-{self.recipe}-{self.init}-f{self.fits}{cut}"

    def make(
        self, path: Path, root: Path | None, device: str, progress: Progress, should_stop: Callable[[], bool]
    ) -> bool:
        """Fit what is missing; whether all is there."""
        embedded = self.dataset == "digits"
        parts = (("all", self.images[0]),) if embedded else (("train", self.images[0]), ("test", self.images[1]))
        for split, limit in parts:
            outcome = fit_zoo(
                load_sets(self.dataset, None if embedded else folder_of(root, self.dataset), split, limit),
                path,
                FIT_RECIPES[self.recipe],
                init=self.init,
                fits=self.fits,
                split=split,
                device=device,
                workers=None if embedded else ENGINES["local"](1 if device != "cpu" else None),
                progress=progress,
                should_stop=should_stop,
            )
            if not outcome.finished:
                return False
        return True


@dataclass(frozen=True)
class TrainedPlan:
    """`runs` networks of a kind, trained on a data set by a recipe with changed settings."""

    dataset: str
    kind: str
    recipe: str
    runs: int
    settings: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """Of the folder."""
        return f"{self.dataset}-{self.recipe}-{self.runs}"

    def make(
        self, path: Path, root: Path | None, device: str, progress: Progress, should_stop: Callable[[], bool]
    ) -> bool:
        """Train what is missing; whether all is there."""
        embedded = self.dataset == "digits"
        sets = [_enlarged()] if embedded else load_sets(self.dataset, folder_of(root, self.dataset))
        outcome = train_zoo(
            sets,
            path,
            trained.recipe(self.kind, self.recipe, self.settings),
            runs=self.runs,
            workers=None if embedded else ENGINES["local"](None),
            progress=progress,
            should_stop=should_stop,
        )
        return outcome.finished


Plan = INRPlan | TrainedPlan


def plan(reads: str, scale: Scale, *, column: str = "", fit: str | None = None, init: str | None = None) -> Plan:
    """The zoo of a configuration that `reads` a data set of INRs or a kind of trained networks.

    A `fit` recipe may be asked for where a published protocol wants another one, such as `dws`. Trained networks see
    CIFAR-10, or what the table's `column` names: SVHN-GS.
    """
    if reads in trained.RUNS:
        dataset = "digits" if scale == "tiny" else "svhn" if column.lower().startswith("svhn") else "cifar10"
        if scale == "tiny":
            return TrainedPlan(dataset, reads, reads, _TINY_RUNS[reads], _TINY_CHANGES[reads])
        runs = PUBLISHED_RUNS if scale == "full" else trained.RUNS
        return TrainedPlan(dataset, reads, f"{reads}-published" if scale == "full" else reads, runs[reads])
    if reads == "digits":
        return INRPlan(reads, fit or "tiny", init or "shared", fits=2)
    init = init or "independent"
    fits, images = (11, (None, None)) if scale == "full" else (2, (12_000, 5_000))
    own = fit or ("nfn" if scale == "full" else "fast")
    return INRPlan(reads, own, init, 1 if own == "dws" else fits, images)


def made(
    wanted: Plan,
    folder: Path,
    root: Path | None,
    device: str = "cpu",
    progress: Progress = silent,
    should_stop: Callable[[], bool] = lambda: False,
) -> Zoo | None:
    """The zoo of a plan in `folder`, made as far as it is missing; None if that was stopped."""
    path = folder / wanted.name
    return Zoo.open(path) if wanted.make(path, root, device, progress, should_stop) else None


def demand_root(root: Path | None) -> Path:
    """`root`; InputError where none is named."""
    if root is None:
        raise InputError(
            "expected the folder of the data sets' files, got none; name the one that has mnist/, cifar10/ and so on "
            "with --root (nothing is downloaded), or use --scale tiny, which needs none"
        )
    return root


def folder_of(root: Path | None, dataset: str) -> Path:
    """Where a data set's files are: in the folder of that name in `root`, or in `root` itself."""
    root = demand_root(root)
    return root / dataset if (root / dataset).is_dir() else root


def name_of(zoo: Zoo) -> str:
    """What results call a zoo: the recipe that its INRs were fitted by, or the kind of its trained networks, with the
    fingerprint of the settings.
    """
    if zoo.kind == "inr":
        recipe = zoo.settings.get("fit", {"name": zoo.settings.get("layout", "published")})
        return f"{recipe['name']}@{configs.fingerprint(recipe)}"
    return f"{zoo.kind}@{configs.fingerprint(zoo.settings)}"


def fits_of(zoo: Zoo) -> int:
    """How many networks there are of one training image; 1 of trained networks, whose checkpoints are no fits."""
    return int(zoo.members.max()) + 1 if zoo.kind == "inr" else 1


def _enlarged() -> ImageSet:
    """The digits with every pixel four times, 16 x 16: as small as three convolutions of the Small CNN Zoo can read."""
    [digits] = load_sets("digits", None)
    pixels = np.asarray(digits.pixels[np.arange(len(digits))]).repeat(2, axis=2).repeat(2, axis=3)
    return ImageSet(digits.dataset, digits.part, pixels, digits.labels, digits.label_names)
