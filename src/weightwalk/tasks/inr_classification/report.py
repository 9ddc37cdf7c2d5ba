"""A run as one page: what it reads, what it sees, where it errs, how it was made.

Axes: B networks, V views, C channels, H rows, W columns.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from weightwalk.report import html, pictures, plots
from weightwalk.report.projection import plane
from weightwalk.report.words import percent
from weightwalk.tasks import pages
from weightwalk.tasks.inr_classification.methods import LatentMethod
from weightwalk.tasks.inr_classification.run import Run, check_zoo
from weightwalk.zoos.inr.overview import render
from weightwalk.zoos.rows import evenly
from weightwalk.zoos.store import Zoo

_SHOWN, _WRONG, _MAPPED = 12, 48, 1500
_CURVES = {"pretrain": "Pre-training: decode the picture behind every INR", "classify": "Classification"}
_VIEWS = {
    "identity": "as it is",
    "hflip": "left to right",
    "vflip": "upside down",
    "rot90": "a quarter turn left",
    "rot270": "a quarter turn right",
    "rot180": "half a turn",
}


@dataclass(frozen=True)
class _Evaluated:
    """A run, the zoo that it was evaluated on, and its answers to the test networks `rows` (n,)."""

    run: Run
    zoo: Zoo
    found: dict[str, Any]
    rows: NDArray[np.int64]
    labels: NDArray[np.int64]
    probabilities: NDArray[np.float32]  # (n, K)
    features: NDArray[np.float32]  # (n, D)

    @classmethod
    def of(cls, run: Run, zoo: Zoo) -> _Evaluated:
        """InputError for a run that was not evaluated, or not on this zoo."""
        check_zoo(run, zoo)
        found, answers = run.found(zoo, "labels", zoo.labels)
        return cls(run, zoo, found, answers["rows"], answers["labels"], answers["probabilities"], answers["features"])

    @property
    def predicted(self) -> NDArray[np.int64]:
        predicted: NDArray[np.int64] = self.probabilities.argmax(1)
        return predicted

    @property
    def wrong(self) -> NDArray[np.bool_]:
        return np.not_equal(self.predicted, self.labels)


def write(run: Run, zoo: Zoo, path: Path, extra_times: Mapping[str, float] | None = None) -> Path:
    """The report of an evaluated run, as one HTML file at `path`; `extra_times` are seconds of work outside the run, by
    name.

    InputError for a run that was not evaluated, or not on this zoo.
    """
    answers, path = _Evaluated.of(run, zoo), Path(path)
    times = {
        **(extra_times or {}),
        **{f"train: {stage}": seconds for stage, seconds in answers.found["seconds"].items()},
    }
    dataset, counts = run.config.dataset, answers.found["networks"]
    html.write(
        path,
        f"{run.config.recipe}: reading the weights of {dataset} INRs",
        f"An INR is a small network that holds one picture in its weights ({zoo.spec}, {zoo.spec.num_parameters:,} "
        "numbers). "
        f"A network was trained to read such weights, on {counts['train']:,} INRs, and then told the class of "
        f"{counts['test']:,} others "
        "whose pictures it had never met. It never evaluates the INR that it reads (access: weights).",
        [
            html.Section("", [_key_figures(answers, times)]),
            html.Section("What it reads, and what it sees", _seen(answers)),
            html.Section("Training", pages.curves(run, _CURVES)),
            html.Section("Right and wrong", _confusion(answers)),
            html.Section("The wrong ones", _mistakes(answers)),
            html.Section("What was run", _conditions(answers)),
            html.Section("How long it took", [pages.durations(run, times)]),
        ],
    )
    return path


def _key_figures(answers: _Evaluated, times: Mapping[str, float]) -> html.Block:
    found = answers.found
    return html.KeyFigures(
        {
            "held-out accuracy": percent(found["test_accuracy"]),
            "held-out INRs": f"{found['networks']['test']:,}",
            "PSNR of those INRs": f"{answers.zoo.column('psnr')[answers.rows].mean():.1f} dB",
            "trained parameters": f"{sum(found['num_parameters'].values()):,}",
            "in all" if "fit the INRs" in times else "training": f"{sum(times.values()) / 60:.1f} min",
        }
    )


def _seen(answers: _Evaluated) -> list[html.Block]:
    """Test pictures, their INRs, and what a model that decodes sees in the weights."""
    if not _are_pictures(answers.zoo):
        return [
            html.Text(
                f"Signals of the shape {answers.zoo.image_shape}, which are no pictures; `weightwalk render` writes "
                "them."
            )
        ]
    zoo, order = answers.zoo, _one_of_each(answers.labels)
    rows = answers.rows[order]
    shown = {"the picture": zoo.images(rows).numpy(), "its INR, drawn": render(zoo, rows).numpy()}
    method = answers.run.load(torch.device("cpu"))
    decoded = isinstance(method, LatentMethod)
    if isinstance(method, LatentMethod):
        with torch.no_grad():
            decoded_BVCHW: Tensor = method.model.decode(zoo.weights(rows))
        for view, name in enumerate(method.views):
            shown[f"decoded, {_VIEWS.get(name, name)}"] = decoded_BVCHW[:, view].numpy()
    names = [answers.run.label_names[label] for label in answers.labels[order]]
    words = (
        "Held-out pictures and the INRs that were fitted to them; "
        "drawing an INR means evaluating it, which only this figure does."
    )
    if decoded:
        words += " Below: the pictures that the model decodes from the weights alone, under each of its views."
    return [html.Picture(pictures.picture_rows(shown, columns=names), words, f"Rows of pictures: {', '.join(shown)}.")]


def _are_pictures(zoo: Zoo) -> bool:
    channels, *grid = zoo.image_shape
    return len(grid) == 2 and channels in (1, 3)


def _one_of_each(labels: NDArray[np.int64]) -> NDArray[np.int64]:
    """Positions of `_SHOWN` networks: the first of every class, then the next ones."""
    rank = np.zeros(len(labels), np.int64)
    for label in np.unique(labels):
        rank[labels == label] = np.arange(np.count_nonzero(labels == label))
    return np.lexsort((labels, rank))[:_SHOWN]


def _confusion(answers: _Evaluated) -> list[html.Block]:
    names = answers.run.label_names
    chosen = evenly(np.arange(len(answers.rows)), _MAPPED)
    points = plane(answers.features[chosen], seed=0)
    return [
        html.Picture(
            plots.confusion(np.array(answers.found["confusion"]), names),
            "Held-out INRs by true and predicted class.",
            "Confusion matrix of the held-out INRs.",
        ),
        html.Picture(
            plots.scatter_map(points, answers.labels[chosen], names, answers.wrong[chosen]),
            f"The latent space: {len(chosen):,} held-out INRs, by t-SNE, coloured by class. Near means alike to the "
            "model.",
            "Map of the latent space of held-out INRs, coloured by class.",
        ),
    ]


def _mistakes(answers: _Evaluated) -> list[html.Block]:
    wrong = np.flatnonzero(answers.wrong)
    if not len(wrong):
        return [html.Text("None.")]
    names, said = answers.run.label_names, answers.probabilities.max(1)
    order = wrong[np.argsort(-said[wrong], kind="stable")][:_WRONG]
    captions = [f"{names[answers.labels[i]]} → {names[answers.predicted[i]]}" for i in order]
    count = f"all {len(wrong):,}" if len(order) == len(wrong) else f"the {len(order)} most certain of {len(wrong):,}"
    rows = [
        [
            name,
            names[answers.labels[i]],
            names[answers.predicted[i]],
            percent(said[i]),
            percent(answers.probabilities[i, answers.labels[i]]),
        ]
        for name, i in zip(answers.zoo.names(answers.rows[order]), order, strict=True)
    ]
    table = html.Table(
        ["INR", "true class", "predicted", "its probability", "probability of the true class"],
        rows,
        f"Held-out INRs that got a wrong class, {count}.",
    )
    if not _are_pictures(answers.zoo):
        return [table]
    sheet = pictures.contact_sheet(answers.zoo.images(answers.rows[order]).numpy(), 12, captions)
    words = f"Held-out pictures whose INRs got a wrong class, {count}: true → predicted; below in the same order."
    return [html.Picture(sheet, words, "Misclassified pictures."), table]


def _conditions(answers: _Evaluated) -> list[html.Block]:
    zoo, found = answers.zoo, answers.found
    fit = zoo.settings.get("fit") or {}
    facts = {
        "access to the INRs": f"{found['access']}: they are never evaluated",
        "INRs": ", ".join(f"{count:,} {split}" for split, count in found["networks"].items()),
        "parameters": ", ".join(f"{count:,} {stage}" for stage, count in found["num_parameters"].items()),
        "validation accuracy": percent(found["val_accuracy"]),
        "zoo": zoo.path,
        "init of the INRs": zoo.settings.get("init"),
        "fit recipe and seed": f"{fit.get('name')}, {zoo.settings.get('seed')}",
    }
    return pages.conditions(answers.run, facts, fit, "How the INRs were fitted.")
