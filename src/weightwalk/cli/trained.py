"""What the commands show of a zoo of trained networks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import RenderableType

from weightwalk.cli.common import Terminal, facts, next_steps, table
from weightwalk.errors import InputError
from weightwalk.report.words import duration, percent

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from weightwalk.zoos.trained.check import TrainedReport
    from weightwalk.zoos.trained.store import TrainedZoo

_EPOCHS = 12  # rows of the table of epochs
_PERCENTILES = (0, 10, 50, 90, 100)


def described(zoo: TrainedZoo) -> tuple[dict[str, Any], str, list[RenderableType]]:
    """A zoo as JSON values, as a line, and as blocks."""
    import numpy as np

    from weightwalk.zoos.inr.overview import evenly
    from weightwalk.zoos.splits import SPLITS
    from weightwalk.zoos.trained.store import final_rows

    runs, epochs, accuracy = zoo.column("run"), zoo.column("epoch"), zoo.column("test_accuracy")
    counts = {
        name: {"runs": len(np.unique(runs[zoo.rows(name)])), "checkpoints": len(zoo.rows(name))} for name in SPLITS
    }
    final, known = final_rows(zoo), np.isfinite(accuracy)  # a published file may not say
    diverged = len(zoo.runs) - len(final)
    final = final[known[final]]
    by_epoch = {int(epoch): _distribution(accuracy[known & (epochs == epoch)]) for epoch in np.unique(epochs[known])}
    shown = evenly(np.array(list(by_epoch)), _EPOCHS).tolist()
    last = _distribution(accuracy[final]) if len(final) else {}
    values = {
        "zoo": str(zoo.path),
        "kind": zoo.kind,
        "runs": len(zoo.runs),
        "checkpoints": len(zoo),
        "architectures": len(zoo.specs),
        "diverged": diverged,
        "splits": counts,
        "test_accuracy": last,
        "test_accuracy_by_epoch": by_epoch,
        "settings": zoo.settings,
        "provenance": zoo.provenance,
    }
    line = (
        f"{zoo.path}: {len(zoo.runs):,} runs of {zoo.kind} networks on "
        f"{zoo.settings['dataset']}, {len(zoo):,} checkpoints"
    )
    if last:
        line += f", test accuracy {percent(last['10 %'])} to {percent(last['90 %'])} (10th to 90th percentile of runs)"
    sizes = sorted({spec.num_parameters for spec in zoo.specs})
    parameters = f"{sizes[0]:,}" + (f" to {sizes[-1]:,}" if len(sizes) > 1 else "") if sizes else "none"
    blocks = [
        facts(
            str(zoo.path),
            {
                "networks": zoo.specs[0] if len(zoo.specs) == 1 else f"{len(zoo.specs):,} architectures",
                "parameters": parameters,
                "data set": zoo.settings["dataset"],
                **_origin(zoo.settings),
                **({"runs without a checkpoint": f"{diverged:,}, which diverged"} if diverged else {}),
                **{
                    f"runs to {name}": f"{n['runs']:,} ({n['checkpoints']:,} checkpoints)" for name, n in counts.items()
                },
            },
        ),
        table(
            "Test accuracy",
            ["epochs", "checkpoints", *last],
            [[epoch, int((epochs == epoch).sum()), *map(percent, by_epoch[epoch].values())] for epoch in shown]
            + [["last of each run", len(final), *map(percent, last.values())]],
        ),
    ]
    return values, line, blocks


def _origin(settings: Mapping[str, Any]) -> dict[str, object]:
    """By which recipe and seed networks were made, or which published layout they were read from."""
    if "recipe" in settings:
        return {"recipe": settings["recipe"]["name"], "seed": settings["seed"]}
    return {"read from": settings["layout"]} if "layout" in settings else {}


def _distribution(accuracy: NDArray[Any]) -> dict[str, float]:
    import numpy as np

    names = {0: "lowest", 50: "median", 100: "highest"}
    return {
        names.get(p, f"{p} %"): float(value)
        for p, value in zip(_PERCENTILES, np.percentile(accuracy, _PERCENTILES), strict=True)
    }


def to_train(zoo: Path, kind: str) -> list[str]:
    """The commands that train on a zoo of a kind, as far as there are recipes for two cores."""
    from weightwalk.recipes import RECIPES

    return [
        f"weightwalk train {name} --zoo {zoo}"
        for name, make in RECIPES.items()
        if make().reads == kind and name.endswith("_small")
    ]


def inspect(zoo: Path, screen: Terminal, verify: bool) -> None:
    """`weightwalk inspect` of a zoo of trained networks."""
    from weightwalk.zoos import hashes
    from weightwalk.zoos.trained.manifest import TrainedManifest
    from weightwalk.zoos.trained.store import TrainedZoo

    opened = TrainedZoo.open(zoo)
    if not len(opened):
        raise InputError(f"expected networks in the zoo {zoo}, found none yet; run the zoo command that began it again")
    problems = hashes.verify_as(zoo, TrainedManifest.read, screen.progress).problems if verify else ()
    hashes.refuse(problems)
    values, line, blocks = described(opened)
    screen.answer({**values, "verified": verify}, line, *blocks)


def verify(
    zoo: Path, screen: Terminal, sample: int, root: Path | None
) -> tuple[TrainedReport, str, list[RenderableType]]:
    """`weightwalk verify` of a zoo of trained networks: the report, and how to tell it if there is no problem."""
    from weightwalk.zoos.inr.fit import load_sets
    from weightwalk.zoos.listing import TRAINED
    from weightwalk.zoos.trained.check import check, recipe_of
    from weightwalk.zoos.trained.manifest import TrainedManifest

    settings, sets = TrainedManifest.read(zoo).settings, None
    if root is not None:
        recipe_of(zoo, settings)  # which says if nobody knows how
        sets = load_sets(settings["dataset"], root)
    report = check(zoo, sample, sets, screen.progress)
    scored = (
        f"{report.scored:,} scored anew are as accurate as it says"
        if report.scored
        else "none was scored (--root DIR does)"
    )
    line = (
        f"{zoo}: all well, {report.checkpoints:,} checkpoints of {report.runs:,} runs in "
        f"{report.files:,} files; {scored}"
    )
    seen = {"holds": TRAINED, "files": f"{report.files:,}, all as they were written", "bytes": f"{report.bytes:,}"}
    return report, line, [facts(str(zoo), seen)]


def import_published(
    layout: str, folder: Path, out: Path, split: Path | None, dataset: str | None, screen: Terminal
) -> None:
    """`weightwalk import` of a published zoo of trained networks."""
    from weightwalk.zoos.trained import published
    from weightwalk.zoos.trained.store import TrainedZoo

    outcome = published.import_published(
        layout, folder, out, split=split, dataset=dataset, progress=screen.progress, should_stop=screen.should_stop
    )
    if not outcome.finished:
        raise screen.stopped(
            {"zoo": str(out), **asdict(outcome)},
            f"stopped while reading {folder}; the finished shards are saved in {out}",
        )
    values, line, blocks = described(TrainedZoo.open(out))
    screen.answer(
        {**asdict(outcome), **values},
        f"{line} ({outcome.read:,} runs new, {outcome.already_there:,} were there), {duration(outcome.seconds)}",
        *blocks,
        next_steps(f"weightwalk verify {out}", *to_train(out, values["kind"])),
    )
