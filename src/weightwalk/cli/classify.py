"""`weightwalk classify`: what the networks in files or zoos show."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from weightwalk.cli.common import AsJson, Device, Quiet, RunArgument, table, terminal
from weightwalk.errors import InputError
from weightwalk.report.words import percent

if TYPE_CHECKING:
    from torch import Tensor

    from weightwalk.tasks.inr_classification.run import Run
    from weightwalk.weights import Weights
    from weightwalk.zoos.store import Zoo

_ROWS = 20


def command(
    run: RunArgument,
    inputs: Annotated[
        list[Path],
        typer.Argument(metavar="FILE...", help="Zoos, or .safetensors, .pt or .pth of one INR.", show_default=False),
    ],
    device: Device = "auto",
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Classify INRs by their weights."""
    with terminal(as_json, quiet) as screen:
        from weightwalk import devices
        from weightwalk.networks.files import load_network
        from weightwalk.tasks.inr_classification.run import Run, classify
        from weightwalk.weights import Weights
        from weightwalk.zoos.store import Zoo

        opened, picked = Run.open(run), devices.pick(device)
        answers: list[dict[str, Any]] = []
        accuracy: dict[str, dict[str, float]] = {}
        singles = [path for path in inputs if not path.is_dir()]
        if singles:
            networks = Weights.cat([load_network(path, opened.spec) for path in singles])
            answers += _answers(opened, list(map(str, singles)), classify(opened, networks, picked))
        for path in inputs:
            if path.is_dir():
                zoo = Zoo.open(path)
                weights, names = _of_zoo(opened, zoo)
                found = _answers(opened, names, classify(opened, weights, picked))
                accuracy[str(path)] = _accuracy(zoo, found)
                answers += found
        rights = [
            f"{path}: " + ", ".join(f"{percent(a)} of {s}" for s, a in of_zoo.items())
            for path, of_zoo in accuracy.items()
        ]
        line = f"{'; '.join(rights)} right" if rights else ", ".join(f"{a['name']}: {a['class']}" for a in answers)
        more = f", the first {_ROWS}" if len(answers) > _ROWS else ""
        screen.answer(
            {"run": str(run), "networks": answers, "accuracy": accuracy},
            line,
            table(
                f"{len(answers):,} INRs{more}",
                ["INR", "class", "probability", "runner-up", "its probability", *(["true class"] if accuracy else [])],
                [
                    [
                        a["name"],
                        a["class"],
                        percent(a["probability"]),
                        a["runner_up"],
                        percent(a["runner_up_probability"]),
                    ]
                    + ([a.get("label")] if accuracy else [])
                    for a in answers[:_ROWS]
                ],
            ),
        )


def _of_zoo(run: Run, zoo: Zoo) -> tuple[Weights, list[str]]:
    """All networks of a zoo and what to call them; InputError if one of them is not finite."""
    from weightwalk.tasks.inr_classification.run import check_zoo

    check_zoo(run, zoo)
    rows = zoo.rows()
    if not len(rows):
        raise InputError(
            f"expected INRs in the zoo {zoo.path}, found none yet; run the fit command that began it again"
        )
    weights, names = zoo.weights(rows), zoo.names(rows)
    flat = weights.flat
    broken = flat.isfinite().logical_not().nonzero()
    if len(broken):
        row, element = broken[0].tolist()
        raise InputError(
            f"expected finite weights in {zoo.path}, but {zoo.spec.field_at(element).name} of {names[row]} holds NaN "
            "or infinity; "
            "fit this network again"
        )
    return weights, names


def _answers(run: Run, names: list[str], probabilities: Tensor) -> list[dict[str, Any]]:
    top, classes = probabilities.topk(min(2, probabilities.shape[1]))
    return [
        {
            "name": name,
            "class": run.label_names[order[0]],
            "probability": values[0],
            "runner_up": run.label_names[order[-1]],
            "runner_up_probability": values[-1],
        }
        for name, values, order in zip(names, top.tolist(), classes.tolist(), strict=True)
    ]


def _accuracy(zoo: Zoo, answers: list[dict[str, Any]]) -> dict[str, float]:
    """Per split, and notes every answer's true class beside it."""
    from weightwalk.zoos.splits import SPLITS

    rights: dict[str, list[bool]] = {split: [] for split in SPLITS}
    for answer, label, split in zip(answers, zoo.labels.tolist(), zoo.splits.tolist(), strict=True):
        answer |= {"label": zoo.label_names[label], "split": SPLITS[split]}
        rights[SPLITS[split]].append(answer["class"] == answer["label"])
    return {split: sum(right) / len(right) for split, right in rights.items() if right}
