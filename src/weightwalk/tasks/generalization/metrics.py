"""How well predicted accuracies agree with true ones, over all networks and group by group."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from weightwalk.zoos.store import Zoo

Array = NDArray[Any]

MAX_VALUES = 12
"""A property with more values than this among the networks makes no groups."""


def figures(predicted: Array, true: Array) -> dict[str, float]:
    """tau, R2 and MAE of predictions (n,) against truth (n,); NaN where there are fewer than two networks or all are
    equally good.

    tau: Kendall's tau-b (ties count for neither side), 1 for the same order; predictions that are all equal have no
         order: 0
    r2:  1 - sum (true - predicted)^2 / sum (true - mean true)^2; 0 for the mean as the only prediction
    mae: mean |true - predicted|
    """
    from scipy.stats import kendalltau  # half a second, which commands of other tasks need not wait

    predicted, true = np.asarray(predicted, np.float64), np.asarray(true, np.float64)
    if len(true) < 2 or np.ptp(true) == 0:
        return dict.fromkeys(("tau", "r2", "mae"), math.nan)
    tau = float(kendalltau(predicted, true).statistic) if np.ptp(predicted) > 0 else 0.0
    r2 = 1 - np.square(true - predicted).sum() / np.square(true - true.mean()).sum()
    return {"tau": tau, "r2": float(r2), "mae": float(np.abs(true - predicted).mean())}


def tau_max(true: Array) -> float:
    """The largest tau that predictions without ties can have of truth (n,) with ties; NaN for fewer than two networks.

    tau-b is (C - D) / sqrt((P - X) (P - Y)) of C concordant and D discordant of P pairs, X tied in the predictions, Y
    in truth. At best every pair that truth can order is concordant, C = P - Y, and without ties of predictions X = 0:
    tau_max = sqrt((P - Y) / P). A reader of weights hardly ever says the same of two networks, so that a zoo with many
    networks at the same accuracy (SVHN-GS: those that never learnt) caps every method's tau.
    """
    pairs = len(true) * (len(true) - 1)
    counts = np.unique(np.asarray(true), return_counts=True)[1]
    return math.sqrt(1 - float((counts * (counts - 1)).sum()) / pairs) if pairs else math.nan


def tau_interval(predicted: Array, true: Array, runs: Array, draws: int = 200) -> list[float] | None:
    """Between which values 90 % of Kendall's taus lie if as many `runs` (n,) are drawn anew, with replacement, each
    with all its networks.

    Checkpoints of one run are much alike, so that runs are what there are few of. None for fewer than two runs.
    """
    members = [np.flatnonzero(runs == run) for run in np.unique(runs)]
    chance, taus = np.random.default_rng(0), []
    for _ in range(draws if len(members) > 1 else 0):
        at = np.concatenate([members[run] for run in chance.integers(len(members), size=len(members))])
        taus.append(figures(predicted[at], true[at])["tau"])
    known = [tau for tau in taus if not math.isnan(tau)]
    return [float(np.quantile(known, share)) for share in (0.05, 0.95)] if known else None


def between(bounds: Sequence[float] | None) -> str:
    """`tau_interval` in words."""
    return "unknown" if bounds is None else f"{bounds[0]:.2f} to {bounds[1]:.2f} (90 % of resamplings of the test runs)"


def groups(zoo: Zoo, rows: NDArray[np.int64]) -> dict[str, dict[str, Array]]:
    """Positions into `rows` by property and value: activation, layers, epoch, and every hyperparameter of 2 to
    `MAX_VALUES` values.

    A network with several activations counts for each. What no two runs share is no group: numbers that are drawn anew
    for every run.
    """
    numbers = zoo.groups[rows].tolist()
    infos = {number: zoo.info(number) for number in dict.fromkeys(numbers)}
    specs = [zoo.specs[code] for code in zoo.spec_codes[rows].tolist()]
    columns: dict[str, list[tuple[object, ...]]] = {
        "activation": [spec.activations for spec in specs],
        "layers": [(len(spec.layers),) for spec in specs],
        "epoch": [(int(epoch),) for epoch in zoo.column("epoch")[rows]],
    }
    names = dict.fromkeys(
        name for info in infos.values() for name, value in info.items() if isinstance(value, str | int | float)
    )
    for name in names:
        values = [infos[number].get(name) for number in numbers]
        pairs = {(number, value) for number, value in zip(numbers, values, strict=True) if value is not None}
        if name not in columns and len(pairs) > len({value for _, value in pairs}):
            columns[name] = [(value,) for value in values]
    found: dict[str, dict[str, Array]] = {}
    for name, column in columns.items():
        values = sorted({value for entry in column for value in entry}, key=_in_order)
        if name == "activation" or 2 <= len(values) <= MAX_VALUES:
            found[name] = {str(value): np.flatnonzero([value in entry for entry in column]) for value in values}
    return found


def _in_order(value: object) -> tuple[bool, float, str]:
    """Numbers by size, then words and None by letter."""
    is_number = isinstance(value, int | float)
    return (not is_number, float(value) if isinstance(value, int | float) else 0.0, "" if is_number else str(value))


def by_group(zoo: Zoo, rows: NDArray[np.int64], predicted: Array, true: Array) -> dict[str, list[dict[str, Any]]]:
    """Per property the figures of every value's networks, None where they are too few or too equal to have any."""
    return {
        name: [
            {
                "value": value,
                "networks": len(at),
                **{
                    key: None if math.isnan(figure) else figure
                    for key, figure in {**figures(predicted[at], true[at]), "tau_max": tau_max(true[at])}.items()
                },
            }
            for value, at in values.items()
        ]
        for name, values in groups(zoo, rows).items()
    }
