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
from weightwalk.recipes import matching
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
TINY: dict[str, Settings] = {
    "ng_gnn": ("encoder.dim=32", "encoder.num_layers=2", "encoder.num_frequencies=8", "encoder.dropout=0"),
    "ng_t": (
        *("encoder.node_dim=16", "encoder.edge_dim=8", "encoder.attention_dim=16", "encoder.node_hidden=16"),
        *("encoder.edge_hidden=8", "encoder.num_layers=2", "encoder.num_heads=2", "encoder.num_frequencies=8"),
    ),
    "nfn": ("encoder.dim=16",),
    "dng": ("encoder.dim=32", "encoder.num_frequencies=16"),
}
"""Sizes with which 500 steps of 16 INRs are a minute of a core at most; NG-T at its own takes six seconds for 64."""
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


def _brief(method: str, few: bool) -> Settings:
    """The stages of a tiny cell, with `few` INRs a step where it is small."""
    stages = ("classify",) if method == "classify" else ("pretrain", "classify")
    return tuple(one for stage in stages for one in (*_SHORT[stage], *([f"{stage}.batch_size=16"] if few else [])))


def _inrs(
    scale: Scale, rows: dict[str, tuple[str, Settings]], columns: Sequence[str] = tuple(COLUMNS)
) -> tuple[Cell, ...]:
    """Cells of INR classification: rows are (method, settings) by name."""
    found = []
    for row, (method, settings) in rows.items():
        named = tuple(one for one in settings if one.startswith("encoder="))
        rest = tuple(one for one in settings if one not in named)
        encoder = named[0].removeprefix("encoder=") if named else "dng"
        for column, short in _columns(scale, columns).items():
            own, brief = Settings(), Settings()
            if scale == "tiny":
                own = TINY.get(encoder, ()) if named else ()
                brief = _brief(method, few=bool(own))
            elif scale == "full" and method == "classify":
                own = _published(encoder, column)
            found.append(Cell(row, column, _recipe(short, method, scale), (*named, *own, *rest, *brief)))
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


def _table4(scale: Scale) -> tuple[Cell, ...]:
    """What pictures INR2JLS decodes. The paper does not say how large its noise is: 0.1 of a range from -1 to 1."""
    return _inrs(
        scale,
        {
            "no augmentation": ("inr2jls", ("latents.views=identity",)),
            "noise": ("inr2jls", ("latents.views=identity", "latents.noise=0.1")),
            "rotation and flip": ("inr2jls", ()),
        },
    )


def _table6(scale: Scale) -> tuple[Cell, ...]:
    """Options of the DNG-Encoder under INR2JLS."""
    return _inrs(
        scale,
        {
            "INR2JLS": ("inr2jls", ()),
            "with positional encoding": ("inr2jls", ("encoder.positional=true",)),
            "with non-linearity embedding": ("inr2jls", ("encoder.activation_embedding=true",)),
        },
    )


def _table7(scale: Scale) -> tuple[Cell, ...]:
    """Encoders alone, of one fit per image, without probes."""
    return _inrs(
        scale,
        {
            "NG-GNN": ("classify", ("encoder=ng_gnn", "fits=1")),
            "NG-T": ("classify", ("encoder=ng_t", "fits=1")),
            "DNG-Encoder": ("classify", ("fits=1",)),
        },
        ("MNIST", "FashionMNIST", "CIFAR-10"),
    )


_NG_REGRESS = (
    *("regress.optimizer=amsgrad", "regress.weight_decay=0.0005", "regress.clip=10"),
    *("regress.warmup_start=1", "regress.warmup_steps=0", "regress.learning_rate=0.001"),
)
_CNN_FULL: dict[str, Settings] = {  # what papers train with on the Small CNN Zoo; 300 epochs of 12,000 networks
    "ng_gnn": (
        *("encoder.dim=256", "encoder.linear_as_conv=false", "encoder.dropout=0", "encoder.standardise=false"),
        *("head.hidden_dim=256", "loss=mse"),
        *(*_NG_REGRESS, "regress.steps=28000"),
    ),
    "ng_t": (
        *("encoder.node_dim=128", "encoder.edge_dim=64", "encoder.attention_dim=256", "encoder.node_hidden=256"),
        *("encoder.edge_hidden=128", "encoder.dropout=0", "encoder.standardise=false", "head.hidden_dim=256"),
        *(*_NG_REGRESS, "regress.batch_size=192", "regress.steps=19000"),
    ),
    "nfn": ("head.hidden_dim=1000", "regress.batch_size=8", "regress.steps=75000"),
    "statnn": ("head.hidden_dim=1000",),
}
_WILD_PARK_FULL: dict[str, Settings] = {  # 20 epochs of 39,660 checkpoints
    "ng_gnn": ("encoder.dim=64", "encoder.dropout=0", "regress.steps=6200", "regress.eval_every=200"),
    "ng_t": (
        *("encoder.node_dim=32", "encoder.node_hidden=64", "encoder.edge_dim=16", "encoder.edge_hidden=64"),
        *("encoder.attention_dim=32", "encoder.num_heads=4", "encoder.num_layers=3"),
        *("head.hidden_dim=64", "regress.steps=6200", "regress.eval_every=200"),
    ),
    "statnn": ("head.hidden_dim=1000",),
}
_NFN = "nfn encoder.channels=16,16,5 encoder.num_frequencies=0"
_TRAINED_ROWS = {
    "StatNN": "statnn",
    "flat MLP": "flat",
    "NFN-NP": f"{_NFN} encoder.variant=np encoder.io_encoding=learned",
    "NFN-HNP": _NFN,
    "NG-GNN": "ng_gnn encoder.activation_embedding=true encoder.reverse=false",
    "NG-T": "ng_t encoder.activation_embedding=true",  # its edges are not reversed by default
    "Query, 64 points": "query",
    "DNG-Encoder": "dng",
}


def _trained(scale: Scale, columns: Sequence[tuple[str, str, str, dict[str, Settings], str]]) -> tuple[Cell, ...]:
    """Cells of generalization: every encoder; columns as printed, at scale tiny, with the recipe, what encoders are
    published with, and the pictures that networks read.
    """
    found = []
    for row, told in _TRAINED_ROWS.items():
        encoder, *own = told.split()
        for printed, tiny, recipe, published, picture in columns:
            settings: Settings = () if encoder == "dng" else (f"encoder={encoder}", *own)
            if encoder == "query":  # points are pictures; the enlarged digits are 16 x 16
                settings += (f"encoder.input_shape={'1,16,16' if scale == 'tiny' else picture}",)
            settings += published.get(encoder, ()) if scale == "full" else ()
            if scale == "tiny":
                small = TINY[encoder] if encoder in ("ng_gnn", "ng_t") else ()
                settings += (*small, *_SHORT["regress"], *(["regress.batch_size=16"] if small else []))
            column = tiny if scale == "tiny" else printed
            found.append(Cell(row, column, recipe if scale == "full" else f"{recipe}_small", settings))
    return tuple(dict.fromkeys(found))


def _table2(scale: Scale) -> tuple[Cell, ...]:
    """Kendall's tau on CNNs, by every encoder."""
    return _trained(
        scale,
        (
            ("CIFAR-10-GS", "digits, CNNs", "cnn_accuracy", _CNN_FULL, "1,32,32"),
            ("SVHN-GS", "digits, CNNs", "cnn_accuracy", _CNN_FULL, "1,32,32"),
            ("Wild Park", "digits, Wild Park", "wild_park_accuracy", _WILD_PARK_FULL, "3,32,32"),
        ),
    )


def _table8(scale: Scale) -> tuple[Cell, ...]:
    """Kendall's tau on ViTs. The paper's settings of other encoders are not known; these are their defaults."""
    return _trained(scale, (("ViT", "digits, ViTs", "vit_accuracy", {}, "3,32,32"),))


_OTHERS = {"NG-GNN": "ng_gnn", "NG-T": "ng_t", "NFN": "nfn", "Query": "query"}
_CONTROLS: dict[str, Settings] = {
    "shuffled layers": ("encoder.order=shuffled",),
    "3 passes": ("encoder.num_passes=3",),
    "3 passes, shuffled layers": ("encoder.num_passes=3", "encoder.order=shuffled"),
    "messages know targets": ("encoder.target=true",),
    "LSTM": ("encoder.cell=lstm",),
    "minGRU": ("encoder.cell=mingru",),
    "residual update": ("encoder.cell=residual",),
}


def _controls(scale: Scale) -> tuple[Cell, ...]:
    """Is it the graph or the objective? And what of the graph?

    INR2JLS with other encoders, each so wide that encoder, generator and decoder together have as many parameters as
    with the DNG-Encoder, within 5 %, and with its dropout. Then the DNG-Encoder alone with one thing changed, and again
    so wide that it has as many parameters as without. What an output hears of shuffled layers in one pass may be the
    last layer alone, so there are 3 passes as well, in order and shuffled. Equal minutes are asked for by `weightwalk
    reproduce controls --minutes M`.
    """
    found = []
    for column, short in _columns(scale).items():
        joint, alone = _recipe(short, "inr2jls", scale), _recipe(short, "classify", scale)
        shape = SHAPES[short]
        base, brief_joint, brief_alone = Settings(), Settings(), Settings()
        if scale == "tiny":
            base = TINY["dng"]
            brief_joint, brief_alone = (_brief(method, few=True) for method in ("inr2jls", "classify"))
        found.append(Cell("INR2JLS", column, joint, (*base, *brief_joint)))
        for name, encoder in _OTHERS.items():
            own = (f"encoder={encoder}", *matching.settings(joint, encoder, shape, base=base))
            found.append(Cell(f"INR2JLS, {name}", column, joint, (*own, *brief_joint)))
        found.append(Cell("DNG-Encoder only", column, alone, (*base, *brief_alone)))
        for name, changes in _CONTROLS.items():
            own = (*base, *changes, *matching.settings(alone, "dng", shape, changes, base))
            found.append(Cell(f"DNG-Encoder only, {name}", column, alone, (*own, *brief_alone)))
    order = {cell.row: number for number, cell in reversed(list(enumerate(found)))}
    return tuple(sorted(found, key=lambda cell: order[cell.row]))


SHAPES = {
    **{"digits": (1, 8, 8), "mnist": (1, 28, 28), "fashion": (1, 28, 28)},
    **{"cifar10": (3, 32, 32), "cifar100": (3, 32, 32)},
}
"""Pictures (C, H, W) of the data sets of INRs, as recipes call them."""

CELLS: dict[str, Callable[[Scale], tuple[Cell, ...]]] = {
    "table1": _table1,
    "table2": _table2,
    "table3": _table3,
    "table4": _table4,
    "table6": _table6,
    "table7": _table7,
    "table8": _table8,
    "controls": _controls,
}
"""The cells of a table at a scale, in the order of its rows."""
