"""Is a zoo of trained networks what was written, and are its networks as good as it says?"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from weightwalk import config
from weightwalk.errors import InputError
from weightwalk.progress import Progress, silent
from weightwalk.registry import Registry
from weightwalk.spec import NetworkSpec
from weightwalk.zoos.hashes import Problem, verify_as
from weightwalk.zoos.images import ImageSet
from weightwalk.zoos.overview import evenly
from weightwalk.zoos.trained.manifest import FIGURES, REMEDY, Content, TrainedManifest
from weightwalk.zoos.trained.pictures import Pictures
from weightwalk.zoos.trained.recipes import SmallCNN, TrainRecipe, ViT, WildPark
from weightwalk.zoos.trained.store import TrainedZoo
from weightwalk.zoos.trained.train import score

TOLERANCE = (
    2e-3  # what an accuracy may be off by: pictures whose two best classes are as good as equal, on another machine
)
_RECIPES: Registry[type[TrainRecipe]] = Registry("kind of zoo that can be scored")
for _kind in (SmallCNN, WildPark, ViT):
    _RECIPES.register(_kind.kind)(_kind)


@dataclass(frozen=True)
class TrainedReport:
    """What `check` found; `scored` checkpoints were scored anew, whose test accuracies are off by `worst` at most."""

    problems: tuple[Problem, ...]
    files: int
    bytes: int
    runs: int = 0
    checkpoints: int = 0
    scored: int = 0
    worst: float = 0.0

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {"ok": not self.problems, **asdict(self)}


def recipe_of(path: Path, settings: Mapping[str, Any]) -> TrainRecipe:
    """The recipe that the zoo at `path` was made by, out of its settings; InputError if it was read from published
    files.
    """
    if "recipe" not in settings:
        raise InputError(
            f"{path} was imported, and does not say how its networks read pictures; verify it without --root"
        )
    return config.from_dict(_RECIPES[settings["kind"]], settings["recipe"])


def check(
    path: Path, sample: int = 32, sets: Sequence[ImageSet] | None = None, progress: Progress = silent
) -> TrainedReport:
    """Hash the files and look for numbers that cannot be; with the data set's parts, score `sample` checkpoints, spread
    evenly.
    """
    if sample < 0:
        raise InputError(f"expected a sample of at least 0 networks, got {sample}")
    path = Path(path)
    hashed = verify_as(path, TrainedManifest.read, progress)
    manifest, problems = hashed.manifest, list(hashed.problems)
    if manifest is None:
        return TrainedReport(hashed.problems, hashed.files, hashed.bytes)
    known = {problem.file for problem in problems}
    manifest = replace(manifest, shards=tuple(shard for shard in manifest.shards if shard.file not in known))
    try:
        zoo = TrainedZoo(path, manifest)
    except InputError as error:
        return TrainedReport((*problems, Problem("unreadable", "runs", str(error))), hashed.files, hashed.bytes)
    problems += _values(path, manifest)
    report = TrainedReport(tuple(problems), hashed.files, hashed.bytes, len(zoo.runs), len(zoo))
    return report if sets is None or problems else _scored(zoo, report, sample, sets, progress)


def _values(path: Path, manifest: TrainedManifest) -> Iterator[Problem]:
    """Parameters and figures that are not finite, and accuracies that are no shares; a figure may be unknown in all of
    a shard.
    """
    for shard in manifest.in_order:
        content = manifest.shard(path, shard)
        bad = [tensor for index, params in enumerate(content.params) for tensor in _tensors(content, index, params)]
        for name in FIGURES:
            column = content.columns[name]
            sound = np.isfinite(column) & (column >= 0) & (column <= (1 if name.endswith("accuracy") else np.inf))
            if not sound.all() and not (np.isnan(column).all() and name != "test_accuracy"):
                bad.append(name)
        if bad:
            sentence = f"{path / shard.file} has {' and '.join(bad)} that are not finite or cannot be; {REMEDY}"
            yield Problem("values", shard.file, sentence)


def _tensors(content: Content, index: int, params: NDArray[np.float32]) -> list[str]:
    """The first tensor of the first network of a spec that is not finite, if there is one."""
    rows, places = np.nonzero(~np.isfinite(params))
    if not len(rows):
        return []
    row = np.flatnonzero(content.columns["spec"] == index)[rows[0]]
    name = NetworkSpec.from_dict(content.specs[index]).field_at(int(places[0])).name
    return [f"{name} of run-{content.columns['run'][row]}-e{content.columns['epoch'][row]}"]


def _scored(
    zoo: TrainedZoo, report: TrainedReport, sample: int, sets: Sequence[ImageSet], progress: Progress
) -> TrainedReport:
    recipe = recipe_of(zoo.path, zoo.settings)
    pictures = Pictures.of(sets, recipe)
    if (len(pictures.test), list(pictures.image_shape)) != (zoo.settings["test_images"], zoo.settings["image_shape"]):
        raise InputError(
            f"expected {zoo.settings['test_images']} test pictures {zoo.settings['image_shape']} of "
            f"{zoo.settings['dataset']}, "
            f"got {len(pictures.test)} {list(pictures.image_shape)}; name the folder of the data set that the zoo was "
            "made of"
        )
    rows, off = evenly(zoo.rows(), sample), [0.0]
    place = FIGURES.index("test_accuracy")
    for done, row in enumerate(rows.tolist(), start=1):
        found = score(recipe, zoo.run(row).spec, zoo.weights([row]).flat[0], pictures)[place]
        off.append(abs(found - float(zoo.column("test_accuracy")[row])))
        progress("scoring", done, len(rows), {"off by": max(off)})
    wrong = [
        zoo.names([row])[0] for row, distance in zip(rows.tolist(), off[1:], strict=True) if not distance <= TOLERANCE
    ]
    problems = report.problems
    if wrong:
        sentence = (
            f"{zoo.path} has networks whose test accuracy is another one than it says: {', '.join(wrong[:5])}; {REMEDY}"
        )
        problems = (*problems, Problem("accuracy", "runs", sentence, tuple(wrong)))
    return replace(report, problems=problems, scored=len(rows), worst=max(off))
