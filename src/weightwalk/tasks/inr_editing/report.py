"""A run as one page: pictures before, wanted and after, and their errors."""

from __future__ import annotations

import numpy as np

from weightwalk.report import html, pictures
from weightwalk.tasks.inr_editing.task import OffsetsConfig, per_picture
from weightwalk.tasks.pages import Evaluated, Page, access
from weightwalk.zoos.inr.overview import render
from weightwalk.zoos.rows import evenly

_SHOWN = 12


def page(evaluated: Evaluated) -> Page:
    """What a run that edits INRs says."""
    run, found, zoo = evaluated.run, evaluated.found, evaluated.zoo
    op, undone = found.details["op"], found.details["unedited"]
    offsets = isinstance(run.config, OffsetsConfig)
    how = (
        "It answers with other weights: what is shown and measured is the edited network, evaluated on its pixel grid."
        if offsets
        else "It answers with a picture that it decodes from the weights; no network is edited, and these figures do "
        "not compare with those of editors of weights."
    )
    return Page(
        title=f"{run.config.recipe}: {op} out of the weights of {run.config.reads} INRs",
        lead=f"An INR is a small network that holds one picture in its weights ({zoo.spec}, "
        f"{zoo.spec.num_parameters:,} numbers). A network was trained on {found.networks['train']:,} INRs to read such "
        f"weights and to do the operation {op!r} on what they hold, and then met {found.networks['test']:,} others. "
        f"{how} Access to the INRs that it reads: {access(found)}.",
        key_figures={
            "held-out MSE, x 1e-2 (pixels 0 to 1)": _hundredths(found.test["mse_unit"]),
            "of doing nothing": _hundredths(undone["mse_unit"]),
            "held-out INRs": f"{found.networks['test']:,}",
        },
        sections={"Before, wanted, after": [_sheet(evaluated, offsets)], "Errors": _errors(evaluated)},
        stages={
            "edit": f"Training: the operation {op!r}; the validation error (pixels -1 to 1) chooses the checkpoint"
        },
    )


def _hundredths(value: float | None) -> str:
    return "" if value is None else f"{100 * value:.3f}"


def _sheet(evaluated: Evaluated, offsets: bool) -> html.Block:
    answers, zoo = evaluated.answers, evaluated.zoo
    order = evenly(np.arange(len(answers.rows)), _SHOWN)
    rows = answers.rows[order]
    shown = {
        "the picture": zoo.images(rows).numpy(),
        "before: its INR, drawn": render(zoo, rows).numpy(),
        "wanted": answers.true[order],
        "after: the edited INR, drawn" if offsets else "after: decoded": answers.values[order],
    }
    words = "Held-out INRs, spread evenly over the test split; wanted is the operation done on the picture itself."
    columns = [zoo.label_names[label] for label in zoo.labels[rows]] if zoo.label_names else None
    return html.Picture(pictures.picture_rows(shown, columns), words, f"Rows of pictures: {', '.join(shown)}.")


def _errors(evaluated: Evaluated) -> list[html.Block]:
    undone, test = evaluated.found.details["unedited"], evaluated.found.test
    each = per_picture(evaluated.values, evaluated.target).numpy()
    spread = [f"{value:.4f}" for value in np.quantile(each, [0.05, 0.5, 0.95])]
    return [
        html.Table(
            ["what is shown", "MSE, pixels -1 to 1", "MSE, pixels 0 to 1, x 1e-2"],
            [
                ["after the edit", f"{test['mse']:.4f}", _hundredths(test["mse_unit"])],
                ["the INR as it is", f"{undone['mse']:.4f}", _hundredths(undone["mse_unit"])],
            ],
            "Mean squared errors against the wanted pictures of the test INRs, over all pixels, not clipped.",
        ),
        html.Text(
            f"MSE of single pictures (pixels -1 to 1): 5 % are below {spread[0]}, half below {spread[1]}, 95 % below "
            f"{spread[2]}."
        ),
    ]
