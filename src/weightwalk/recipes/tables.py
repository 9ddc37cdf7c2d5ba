"""The cells of the tables that training fills: a row and a column as they are printed, a recipe, and its settings.

Tables 1 to 4 and 6 to 8 of Dynamic Neural Graphs (TMLR 2026), and `controls`, which nobody has printed. Every cell can
be trained by hand: `weightwalk train RECIPE --set KEY=VALUE ...` with what it says. Cells that an encoder cannot fill
(NFN reads one architecture, Wild Park has many) are there and refuse in a sentence.

Scales: "full" has the published sizes and steps, other encoders than ours the settings of their own papers; "small" is
for two cores, with the `_small` recipes and every encoder's default sizes; "tiny" trains on the embedded digits for
minutes in all, so that anyone sees every cell work. Deviation: NFT (INR2ARRAY) is not in this library, so its row has
published numbers alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from weightwalk import config as configs
from weightwalk.recipes.registry import RECIPES
from weightwalk.tasks.config import RunConfig

Scale = Literal["tiny", "small", "full"]
Settings = tuple[str, ...]


@dataclass(frozen=True)
class Cell:
    """One cell: `make()` is its configuration; InputError where that cannot be.

    `fit` and `init` name how the zoo's INRs were fitted where that is not the scale's own way; how many fits of an
    image are read is the configuration's `fits`. `method` is what rows of results call it.
    """

    row: str
    column: str
    recipe: str
    settings: Settings = ()
    fit: str | None = None
    init: str | None = None
    method: str | None = None

    def make(self) -> RunConfig:
        """The recipe with the settings."""
        return configs.override(RECIPES[self.recipe](), self.settings)


COLUMNS = {"MNIST": "mnist", "FashionMNIST": "fashion", "CIFAR-10": "cifar10", "CIFAR-100": "cifar100"}
"""Data sets of INRs as printed, and as recipes call them."""

_SHORT = {  # of a tiny cell, so that a table is minutes
    "pretrain": ("pretrain.steps=500", "pretrain.eval_every=100"),
    "classify": ("classify.steps=500", "classify.eval_every=100"),
    "regress": ("regress.steps=150", "regress.eval_every=50"),
}
_NG_STAGE = (
    *("classify.learning_rate=0.001", "classify.optimizer=amsgrad", "classify.clip=10"),
    *("classify.warmup_start=0", "classify.warmup_steps=1000", "head.dropout=0"),
)
_NFN_STAGE = (
    *("classify.batch_size=32", "classify.steps=200000", "classify.warmup_start=0", "classify.warmup_steps=10000"),
    *("classify.weight_decay=0", "classify.optimizer=adam", "head.hidden_dim=1000", "head.num_hidden=2"),
)


def _published(encoder: str, column: str) -> Settings:
    """What the papers of other encoders train classifiers of INRs with."""
    if encoder in ("ng_gnn", "ng_t"):
        return (*_NG_STAGE, f"head.hidden_dim={32 if encoder == 'ng_gnn' else 128}")
    if encoder == "nfn":
        mnist = column == "MNIST"
        own = ("dim=512", "num_layers=3", "num_frequencies=128", "standardise=false", f"scale={3 if mnist else 10}")
        dropout = 0.1 if mnist else 0.5
        return (
            *(f"encoder.{one}" for one in own),
            *([f"encoder.dropout={dropout}"] if mnist else []),
            *_NFN_STAGE,
            f"head.dropout={dropout}",
        )
    return ("head.hidden_dim=1000", "head.num_hidden=2") if encoder in ("statnn", "flat") else ()


def _columns(scale: Scale, columns: Sequence[str] = tuple(COLUMNS)) -> dict[str, str]:
    """Columns as printed, with the recipes' word for them."""
    return {"digits": "digits"} if scale == "tiny" else {column: COLUMNS[column] for column in columns}


def _recipe(short: str, method: str, scale: Scale) -> str:
    return f"{short}_{method}_small" if scale == "small" else f"{short}_{method}"


def _inrs(
    scale: Scale, rows: dict[str, tuple[str, Settings]], columns: Sequence[str] = tuple(COLUMNS)
) -> tuple[Cell, ...]:
    """Cells of INR classification: rows are (method, settings) by name."""
    found = []
    for row, (method, settings) in rows.items():
        for column, short in _columns(scale, columns).items():
            kept = _SHORT["classify"] if method == "classify" else (*_SHORT["pretrain"], *_SHORT["classify"])
            encoder = settings[0].removeprefix("encoder=") if settings else "dng"
            own = _published(encoder, column) if scale == "full" and method == "classify" else ()
            short_of = kept if scale == "tiny" else ()
            found.append(
                Cell(row, column, _recipe(short, method, scale), (*settings[:1], *own, *settings[1:], *short_of))
            )
    return tuple(found)


def _table1(scale: Scale) -> tuple[Cell, ...]:
    """INR classification: every encoder alone, and INR2JLS."""
    return _inrs(
        scale,
        {
            "StatNN": ("classify", ("encoder=statnn",)),
            "flat MLP": ("classify", ("encoder=flat",)),
            "NFN": ("classify", ("encoder=nfn", "encoder.variant=np")),
            "NG-GNN, 64 probes": ("classify", ("encoder=ng_gnn", "encoder.num_probes=64")),
            "NG-T, 64 probes": ("classify", ("encoder=ng_t", "encoder.num_probes=64")),
            "Query, 64 points": ("classify", ("encoder=query",)),
            "DNG-Encoder only": ("classify", ()),
            "INR2JLS": ("inr2jls", ()),
        },
    )


def _table3(scale: Scale) -> tuple[Cell, ...]:
    """What INR2JLS is made of."""
    return _inrs(
        scale,
        {
            "INR-INR": ("inr_inr", ()),
            "DNG-Encoder only": ("classify", ()),
            "without latent generator": ("no_generator", ()),
            "INR2JLS": ("inr2jls", ()),
        },
    )


CELLS: dict[str, Callable[[Scale], tuple[Cell, ...]]] = {"table1": _table1, "table3": _table3}
"""The cells of a table at a scale, in the order of its rows."""
