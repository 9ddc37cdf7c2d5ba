"""Zoos of trained networks: a group is a run, its members are checkpoints; test pictures score a sample anew."""

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
from weightwalk.zoos.kinds import KINDS, Description, Kind, Sampled
from weightwalk.zoos.rows import evenly
from weightwalk.zoos.splits import SPLITS
from weightwalk.zoos.store import Zoo
from weightwalk.zoos.trained.pictures import Pictures
from weightwalk.zoos.trained.recipes import SmallCNN, TrainRecipe, ViT, WildPark
from weightwalk.zoos.trained.train import COLUMNS, score

TOLERANCE = 2e-3
"""What an accuracy may be off by: pictures whose two best classes are as good as equal, on another machine."""


_EPOCHS = 12  # rows of the table of epochs
_PERCENTILES = {0: "lowest", 10: "10 %", 50: "median", 90: "90 %", 100: "highest"}


class TrainedKind(Kind):
    """See the module."""

    networks, group, member = "networks", "run", "checkpoint"
    words = {"run": "all"}  # noqa: RUF012
    number, letter = "epoch", "e"
    sample = 32
    figures = COLUMNS

    def __init__(self, recipe: type[TrainRecipe]):
        self.recipe = recipe

    def recipe_of(self, path: Path, settings: Mapping[str, Any]) -> TrainRecipe:
        """The recipe that the zoo at `path` was made by; InputError if it was read from published files."""
        if "recipe" not in settings:
            raise InputError(
                f"{path} was imported, and does not say how its networks read pictures; verify it without --root"
            )
        return config.from_dict(self.recipe, settings["recipe"])

    def dataset_to_look(self, path: Path, settings: Mapping[str, Any]) -> str:
        self.recipe_of(path, settings)
        return str(settings["dataset"])

    def describe(self, zoo: Zoo) -> Description:
        """How accurate the networks are: by the epochs that they were trained, and after the last of each run."""
        epochs, accuracy, last = zoo.column("epoch"), zoo.column("test_accuracy"), zoo.rows(members="last")
        known = np.isfinite(accuracy)  # a published file may not say
        by_epoch = {
            int(epoch): _distribution(accuracy[known & (epochs == epoch)]) for epoch in np.unique(epochs[known])
        }
        final = _distribution(accuracy[last[known[last]]]) if known[last].any() else {}
        counts = {
            name: {"runs": len(np.unique(zoo.groups[zoo.rows(name)])), "checkpoints": len(zoo.rows(name))}
            for name in SPLITS
        }
        diverged = len(zoo.group_numbers) - len(last)
        shown = [list(by_epoch)[k] for k in evenly(np.arange(len(by_epoch)), _EPOCHS)]
        runs, checkpoints = f"{len(zoo.group_numbers):,} runs", f"{len(zoo):,} checkpoints"
        line = f"{runs} of {zoo.kind} networks on {zoo.settings['dataset']}, {checkpoints}"
        if final:
            low, high = _percent(final["10 %"]), _percent(final["90 %"])
            line += f", test accuracy {low} to {high} (10th to 90th percentile of runs)"
        facts = {"recipe": zoo.settings.get("recipe", {}).get("name")}
        if diverged:
            facts["runs without a checkpoint"] = f"{diverged:,}, which diverged"
        facts |= {f"runs to {name}": f"{n['runs']:,} ({n['checkpoints']:,} checkpoints)" for name, n in counts.items()}
        rows: list[list[object]] = [
            [epoch, int((epochs == epoch).sum()), *map(_percent, by_epoch[epoch].values())] for epoch in shown
        ]
        rows.append(["last of each run", len(last), *map(_percent, final.values())])
        return Description(
            line,
            facts,
            [("Test accuracy", ["epochs", "checkpoints", *final], rows)],
            {
                "runs": len(zoo.group_numbers),
                "checkpoints": len(zoo),
                "diverged": diverged,
                "splits": counts,
                "test_accuracy": final,
                "test_accuracy_by_epoch": by_epoch,
            },
        )

    def doubtful(self, name: str, column: NDArray[Any]) -> NDArray[np.bool_]:
        """Accuracies that are no shares, losses and epochs below 0; a published shard may lack a figure altogether."""
        sound = np.isfinite(column) & (column >= 0) & (column <= (1 if name.endswith("accuracy") else np.inf))
        unknown = np.isnan(column).all() and name != "test_accuracy"
        return np.zeros(len(column), bool) if unknown else ~sound

    def look(self, zoo: Zoo, rows: NDArray[np.int64], sets: Sequence[ImageSet] | None, progress: Progress) -> Sampled:
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
            *_, found = score(recipe, networks.spec, networks.flat[0], pictures)
            stored = float(zoo.column("test_accuracy")[row])
            if abs(found - stored) <= TOLERANCE:
                worst = max(worst, abs(found - stored))
            else:
                wrong[row] = f"a test accuracy of {found:.4f} where {stored:.4f} is stored"
            progress("scoring", position + 1, len(rows), {"off by": worst})
        return Sampled(len(rows), worst, wrong)


for _recipe in (SmallCNN, WildPark, ViT):
    KINDS.register(_recipe.kind)(TrainedKind(_recipe))


def _distribution(accuracy: NDArray[Any]) -> dict[str, float]:
    return dict(zip(_PERCENTILES.values(), np.percentile(accuracy, list(_PERCENTILES)).tolist(), strict=True))


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"
