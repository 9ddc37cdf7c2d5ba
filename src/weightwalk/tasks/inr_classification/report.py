"""A run as one page: what it reads, what it sees, where it errs, how it was made.

Axes: B networks, V views, C channels, H rows, W columns.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from weightwalk.frameworks.pretraining import Pretraining
from weightwalk.report import html, pictures, plots
from weightwalk.report.projection import plane
from weightwalk.report.words import percent
from weightwalk.tasks.inr_classification.task import confusion
from weightwalk.tasks.pages import Evaluated, Page, access
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


class _Told:
    """What was said of the test networks: (n,) arrays."""

    def __init__(self, evaluated: Evaluated):
        self.run, self.zoo, self.found = evaluated.run, evaluated.zoo, evaluated.found
        self.names: tuple[str, ...] = evaluated.zoo.label_names
        self.rows, self.labels = evaluated.answers.rows, evaluated.answers.true
        self.probabilities = evaluated.answers.values  # (n, K)
        features = evaluated.answers.features
        self.features = self.probabilities if features is None else features  # (n, D)
        self.predicted = self.probabilities.argmax(1)
        self.wrong = np.not_equal(self.predicted, self.labels)


def page(evaluated: Evaluated) -> Page:
    """What a run that classifies INRs says."""
    told, run, found, zoo = _Told(evaluated), evaluated.run, evaluated.found, evaluated.zoo
    return Page(
        title=f"{run.config.recipe}: reading the weights of {run.config.reads} INRs",
        lead=f"An INR is a small network that holds one picture in its weights ({zoo.spec}, "
        f"{zoo.spec.num_parameters:,} numbers). A network was trained to read such weights, on "
        f"{found.networks['train']:,} INRs, and then told the class of {found.networks['test']:,} others whose "
        f"pictures it had never met. Access to the INRs that it reads: {access(found)}.",
        key_figures={
            "held-out accuracy": percent(found.test["accuracy"] or 0.0),
            "held-out INRs": f"{found.networks['test']:,}",
            "PSNR of those INRs": f"{zoo.column('psnr')[told.rows].mean():.1f} dB",
        },
        sections={
            "What it reads, and what it sees": _seen(told),
            "Right and wrong": _confusion(told, evaluated),
            "The wrong ones": _mistakes(told),
        },
        stages=_CURVES,
    )


def _seen(answers: _Told) -> list[html.Block]:
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
    model = answers.run.load().reader.encoder
    pretext = answers.run.config.pretext
    decoded = () if pretext is None else pretext.views
    if isinstance(model, Pretraining) and decoded:
        with torch.no_grad():
            decoded_BVCHW: Tensor = model(zoo.weights(rows))
        for view, name in enumerate(decoded):
            shown[f"decoded, {_VIEWS.get(name, name)}"] = decoded_BVCHW[:, view].numpy()
    names = [answers.names[label] for label in answers.labels[order]]
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


def _confusion(answers: _Told, evaluated: Evaluated) -> list[html.Block]:
    names = answers.names
    chosen = evenly(np.arange(len(answers.rows)), _MAPPED)
    points = plane(answers.features[chosen], seed=0)
    return [
        html.Picture(
            plots.confusion(confusion(evaluated.values, evaluated.target).numpy(), names),
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


def _mistakes(answers: _Told) -> list[html.Block]:
    wrong = np.flatnonzero(answers.wrong)
    if not len(wrong):
        return [html.Text("None.")]
    names, said = answers.names, answers.probabilities.max(1)
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
