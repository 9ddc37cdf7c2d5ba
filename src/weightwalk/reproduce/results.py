"""docs/results.md out of results/*.csv: our numbers beside the published ones, with the conditions of both.

What needs judgement is written by hand in docs/results_notes.md, whose sections stand below the tables of the same
heading; sections of other headings stand at the end.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from weightwalk.report import tables
from weightwalk.report.tables import ResultRow
from weightwalk.reproduce import published
from weightwalk.reproduce.beside import key, number
from weightwalk.reproduce.published import Cell

FILES = ("inr_classification", "inr_editing", "generalization", "efficiency")
"""Of results/, those that there is something published beside."""

_NAMES = {"mnist": "MNIST", "fashion-mnist": "FashionMNIST", "cifar10": "CIFAR-10", "cifar100": "CIFAR-100"}
_METHODS = {
    "inr_classification": {"dng": "DNG-Encoder only", "dng+inr2jls": "INR2JLS", "statnn": "StatNN", "flat": "MLP"},
    "generalization": {"dng": "DNG-Encoder", "dng-layers": "DNG-Encoder, readout=layers", "statnn": "StatNN"},
}
"""What rows that the benchmarks wrote call a method, as it is printed."""

_TOP = """# Results
Made by `python benchmarks/results.py` from `results/*.csv` (how each file was made: [results/README.md]({readme}))
and `docs/results_notes.md`; not to be edited by hand.

`here`: mean ± standard deviation over seeds, on test networks that were read once, when validation had chosen the
checkpoint. `access`: `weights`, the network that is read is never evaluated; `query`, it is; `wanted picture`, the
answer's gradients are part of the input; `refits the picture`, weights are made anew from it. INR2JLS needs the
pictures in training, not afterwards. `init`: INRs of independent starts, or all of one shared start, which makes
the task much easier. `fits`: INRs per training image. `minutes`: of training, per seed, by the clock of a machine
that did other work besides. Published numbers were measured by others, on their machines: `read` in the paper's
text or a repository, `second hand` in somebody's transcription, `recalled` from memory and not verified, `suspect`
as explained. `source` of ours: recipe, fingerprint of all its settings, commit; rows that differ in nothing else are of
other settings or of an earlier state of the code. `weightwalk reproduce TABLE` makes such rows.

**Traps in the published tables.**
{traps}
"""
_PROTOCOL = {
    "INR classification": "Differences of protocol: our zoos hold the first 12,000 training images (published: "
    "45,000 to 55,000) with 1 or 2 fits (published in Table 1: 11) of 400 steps (published: 5,000), the networks "
    "that read them are narrower and trained for a hundredth of the steps, validation images are every 10th or "
    "12th of the training file. A lower number than the published one therefore says little about a method; rows "
    "of one zoo can be compared.",
    "Editing weights": "The edited network is evaluated on its pixel grid. Errors are those of pixels in [0, 1], "
    "times 1e-2, as published for dilation. Published on the DWS zoo of all 60,000 images.",
    "Decoding the edited picture": "No network is edited: a decoder draws the picture. Errors are those of pixels "
    "in [-1, 1]. Its authors report .0486 in this range for the best editor of weights on their zoo, which is the "
    "other task.",
    "Generalization": "Differences of protocol: our zoos have 1,000 small CNNs, 500 of mixed architectures and "
    "120 ViTs, trained for fewer epochs on fewer pictures (published: 30,000, 1,000 and 1,000). `tau / tau_max`: "
    "how much of the largest tau that ties of the true accuracies leave to predictions without ties.",
    "Efficiency": "Times of other machines can't be compared with ours; GFLOPs can, where the same operations are "
    "counted.",
}


@dataclass(frozen=True)
class Group:
    """The rows of one method on one zoo, by metric."""

    rows: Mapping[str, ResultRow]

    @property
    def any(self) -> ResultRow:
        return next(iter(self.rows.values()))

    @property
    def method(self) -> str:
        """As it is printed."""
        return _METHODS.get(self.any.task, {}).get(self.any.method, self.any.method)

    def shown(self, metric: str, digits: int) -> str:
        """Mean and deviation."""
        row = self.rows.get(metric)
        if row is None:
            return ""
        return f"{row.value:.{digits}f}" + ("" if row.std is None else f" ± {row.std:.{digits}f}")

    def value(self, metric: str) -> float | None:
        return None if metric not in self.rows else self.rows[metric].value

    @property
    def spent(self) -> str:
        """The steps of every stage, where the rows say so."""
        return " + ".join(f"{row.value:,.0f}" for name, row in self.rows.items() if name.startswith("steps of "))


def grouped(rows: Sequence[ResultRow]) -> list[Group]:
    """The rows by what they are of, in the order of the file. A run that is a cell of several tables, under a name in
    each, has the name that was written first.
    """
    found: dict[tuple[object, ...], dict[str, ResultRow]] = {}
    for row in rows:
        way = row.method if row.task == "efficiency" else ""  # there one recipe is read in several ways
        of = (row.task, row.dataset, row.zoo, row.access, row.init, row.fits, row.recipe, way)
        found.setdefault(of, {}).setdefault(row.metric, row)
    return [Group(metrics) for metrics in found.values()]


def page(rows: Mapping[str, Sequence[ResultRow]], notes: str = "") -> str:
    """The whole page; `rows` by the name of their file."""
    own = sections_of(notes)
    traps = "\n".join(f"- {trap}" for trap in published.TRAPS)
    parts = [_TOP.format(readme="../results/README.md", traps=traps)]
    groups = {name: grouped(rows.get(name, ())) for name in FILES}
    for heading, body in {
        "INR classification": _classification(groups["inr_classification"]),
        "Editing weights": _editing(groups["inr_editing"], decoded=False),
        "Decoding the edited picture": _editing(groups["inr_editing"], decoded=True),
        "Generalization": _generalization(groups["generalization"]),
        "Efficiency": _efficiency(groups["efficiency"]),
    }.items():
        parts += [f"## {heading}\n{_PROTOCOL[heading]}\n", body, own.pop(heading, "")]
    parts += [f"## {heading}\n{text}" for heading, text in own.items()]
    return "\n".join(part.strip("\n") + "\n" for part in parts if part)


def sections_of(notes: str) -> dict[str, str]:
    """The sections of a text by their `## ` headings; what stands before the first is not part of any."""
    pieces = re.split(r"^## (.+)\n", notes, flags=re.MULTILINE)[1:]
    return dict(zip(pieces[::2], pieces[1::2], strict=True))


def _classification(groups: Sequence[Group]) -> str:
    parts = []
    known = [group for group in groups if "test_accuracy %" in group.rows]
    for dataset, name in _NAMES.items():
        for kind, told in _ZOOS.items():
            own = [g for g in known if g.any.dataset == dataset and g.any.zoo.startswith("dws") == (kind == "DWS")]
            cells = [cell for cell in published.CLASSIFICATION if cell.column == name and _zoo(cell) == kind]
            if (own and kind) or cells:
                lines = _beside(own if kind else [], cells, lambda group: group.shown("test_accuracy %", 1))
                parts.append(f"### {name}, test accuracy %, {told}\n{lines}")
    return "\n".join(parts)


_ZOOS = {"NFN": "INRs by the NFN zoo's conventions", "DWS": "INRs by the DWS zoo's conventions", "": "other zoos"}


def _zoo(cell: Cell) -> str:
    """Whose zoo a cell was measured on."""
    return next((kind for kind in _ZOOS if cell.protocol.startswith(kind)), "")


def _editing(groups: Sequence[Group], decoded: bool) -> str:
    own = [group for group in groups if (", decoded: " in next(iter(group.rows))) == decoded]
    parts = []
    for dataset, prefix in dict.fromkeys((g.any.dataset, next(iter(g.rows)).partition(": ")[0]) for g in own):
        op = prefix.removesuffix(", decoded")
        unit = "in [-1, 1]" if decoded else "x 1e-3" if op == "contrast" else "x 1e-2"
        column = f"{_NAMES.get(dataset, dataset)} {_OPS.get(op, op)}"
        cells = _cells(published.TABLES["editing"], column, decoded)
        some = [g for g in own if g.any.dataset == dataset and next(iter(g.rows)).startswith(f"{prefix}: ")]
        nothing = (
            {}
            if decoded
            else {"doing nothing": partial(Group.shown, metric=f"{prefix}: MSE {unit} of doing nothing", digits=2)}
        )
        text = partial(Group.shown, metric=f"{prefix}: MSE {unit} test", digits=4 if decoded else 2)
        parts.append(f"### {column}, MSE {unit}\n{_beside(some, cells, text, nothing)}")
    for column in () if decoded else ("MNIST dilation", "CIFAR-10 contrast"):
        if not any(column in part for part in parts):
            cells = _cells(published.TABLES["editing"], column, decoded)
            parts.append(f"### {column}, {cells[0].column.partition(', ')[2]}\n{_beside([], cells, lambda group: '')}")
    if decoded and not parts:
        parts.append(_beside([], _cells(published.TABLES["editing"], "MNIST dilation", decoded), lambda group: ""))
    return "\n".join(parts)


_OPS = {"dilate": "dilation"}


def _cells(cells: Sequence[Cell], column: str, decoded: bool) -> list[Cell]:
    ending = ", decoded, MSE" if decoded else ", MSE x "
    return [cell for cell in cells if cell.column.startswith(f"{column}{ending}")]


def _generalization(groups: Sequence[Group]) -> str:
    parts = []
    kinds = {"cnn": ("CIFAR-10-GS", "SVHN-GS"), "wild-park": ("Wild Park",), "vit": ("ViT",)}
    theirs = (*published.TABLES["table2"], *published.TABLES["table8"])
    for kind, columns in kinds.items():
        for column in columns:
            dataset = "svhn" if column == "SVHN-GS" else "cifar10"
            own = [group for group in groups if group.any.zoo.startswith(f"{kind}@") and group.any.dataset == dataset]
            more = {
                "tau_max": lambda group: group.shown("kendall_tau_max test", 3),
                "tau / tau_max": _relative,
                "R2": lambda group: group.shown("R2 test", 3),
            }
            cells = [cell for cell in theirs if cell.column == column]
            parts.append(
                f"### {column}, Kendall's tau\n"
                + _beside(own, cells, lambda group: group.shown("kendall_tau test", 3), more)
            )
    return "\n".join(parts)


def _relative(group: Group) -> str:
    tau, most = group.value("kendall_tau test"), group.value("kendall_tau_max test")
    return f"{tau / most:.3f}" if tau is not None and most else ""


def _beside(groups: Sequence[Group], cells: Sequence[Cell], text: object, more: object = None) -> str:
    """Ours, each with the published number of its name where there is one, then the published ones that are left."""
    assert callable(text)
    theirs = {key(cell.row): cell for cell in reversed(cells)}
    extra = dict(more) if isinstance(more, Mapping) else {}
    header = ["method", "access", "here", *extra, "published", "zoo", "init", "fits", "seeds", "steps", "minutes"]
    header += ["source"]
    rows: list[list[object]] = []
    used = set()
    for group in sorted(groups, key=lambda group: (group.any.zoo, group.any.init, group.any.fits)):
        row, cell = group.any, theirs.get(key(group.method))
        used.add(cell)
        rows.append(
            [
                *(group.method, row.access, text(group), *(figure(group) for figure in extra.values())),
                "" if cell is None else number(cell.value),
                *(row.zoo.partition("@")[0], row.init, row.fits, len(row.seeds), group.spent, f"{row.minutes:.1f}"),
                f"{row.recipe}, {row.commit}",
            ]
        )
    for cell in cells:
        if cell not in used:
            std = "" if cell.std is None else f" ± {cell.std:g}"
            blank = [""] * len(extra)
            told = [cell.protocol, *[""] * 5, f"{cell.source} ({cell.tag})"]
            rows.append([cell.row, cell.access, "", *blank, f"{number(cell.value)}{std}", *told])
    shown = [place for place, name in enumerate(header) if name == "here" or any(row[place] != "" for row in rows)]
    return tables.markdown([header[place] for place in shown], [[row[place] for place in shown] for row in rows])


def _efficiency(groups: Sequence[Group]) -> str:
    units = {"ms": "ms per network", "MB": "MB", "GFLOPs": "GFLOPs per network"}
    parts = []
    titles = {"mnist": "Table 5: one MNIST INR, inference", "vit": "Table 8: one ViT, inference"}
    for kind, title in titles.items():
        own = [group for group in groups if group.any.dataset == kind]
        costs: dict[str, tuple[float, float, float]] = dict(published.TABLE_5)
        if kind == "vit":
            costs = {name: cost for name, (cost, _) in published.TABLE_8.items()}
        rows: list[list[object]] = [
            [group.any.method, "here", *(group.shown(f"{unit}, inference of 1", 3) for unit in units.values())]
            for group in own
            if "ms per network, inference of 1" in group.rows
        ]
        rows += [[name, "published (second hand)", *(f"{figure:g}" for figure in cost)] for name, cost in costs.items()]
        parts.append(f"### {title}\n{tables.markdown(['reader', 'measured', *units], rows)}")
    return "\n".join(parts)


def read(folder: Path) -> dict[str, list[ResultRow]]:
    """The rows of `FILES` in a folder, as far as they are there."""
    return {name: tables.read(folder / f"{name}.csv") for name in FILES if (folder / f"{name}.csv").exists()}
