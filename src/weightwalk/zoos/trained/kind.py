"""Zoos of trained networks: a group is a run, the training of one network, and its members are checkpoints; a sample of
them is scored anew on the data set's test pictures.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from weightwalk import config
from weightwalk.errors import InputError
from weightwalk.progress import Progress
from weightwalk.zoos.images import ImageSet
from weightwalk.zoos.kinds import KINDS, Kind, Sampled
from weightwalk.zoos.store import Zoo
from weightwalk.zoos.trained.pictures import Pictures
from weightwalk.zoos.trained.recipes import SmallCNN, TrainRecipe, ViT, WildPark
from weightwalk.zoos.trained.train import COLUMNS, score

TOLERANCE = 2e-3
"""What an accuracy may be off by: pictures whose two best classes are as good as equal, on another machine."""


class Trained(Kind):
    """See the module."""

    networks, group, member = "networks", "run", "checkpoint"
    words = {"run": "all"}  # noqa: RUF012
    number, letter = "epoch", "e"
    sample, unit = 32, ""
    figures = COLUMNS
    needs_sets = True

    def __init__(self, recipe: type[TrainRecipe]):
        self.recipe = recipe

    def recipe_of(self, path: Path, settings: Mapping[str, Any]) -> TrainRecipe:
        """The recipe that the zoo at `path` was made by; InputError if it was read from published files."""
        if "recipe" not in settings:
            raise InputError(
                f"{path} was imported, and does not say how its networks read pictures; verify it without --root"
            )
        return config.from_dict(self.recipe, settings["recipe"])

    def doubtful(self, name: str, column: NDArray[Any]) -> NDArray[np.bool_]:
        """Accuracies that are no shares, losses and epochs below 0. A published file may not know a figure, in all of a
        shard.
        """
        sound = np.isfinite(column) & (column >= 0) & (column <= (1 if name.endswith("accuracy") else np.inf))
        unknown = np.isnan(column).all() and name != "test_accuracy"
        return np.zeros(len(column), bool) if unknown else ~sound

    def look(
        self, zoo: Zoo, rows: NDArray[np.int64], sets: Sequence[ImageSet] | None, progress: Progress
    ) -> Sampled:
        """Score `rows` on the test pictures of `sets`."""
        if sets is None:
            return Sampled(why_not="--root DIR, the data set's folder, has some scored")
        recipe = self.recipe_of(zoo.path, zoo.settings)
        pictures, said = Pictures.of(sets, recipe), zoo.settings
        if (len(pictures.test), list(pictures.image_shape)) != (said.get("test_images"), said.get("image_shape")):
            raise InputError(
                f"expected {said.get('test_images')} test pictures {said.get('image_shape')} of {said['dataset']}, got "
                f"{len(pictures.test)} {list(pictures.image_shape)}; name the folder of the data set that the zoo was "
                "made of"
            )
        worst, wrong = 0.0, {}
        for position, row in enumerate(rows.tolist()):
            networks = zoo.weights([row])
            *_, found = score(recipe, networks.spec, networks.flat()[0], pictures)
            stored = float(zoo.column("test_accuracy")[row])
            if abs(found - stored) <= TOLERANCE:
                worst = max(worst, abs(found - stored))
            else:
                wrong[row] = f"a test accuracy of {found:.4f} where {stored:.4f} is stored"
            progress("scoring", position + 1, len(rows), {"off by": worst})
        return Sampled(len(rows), worst, wrong)


for _recipe in (SmallCNN, WildPark, ViT):
    KINDS.register(_recipe.kind)(Trained(_recipe))
