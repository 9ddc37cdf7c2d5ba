"""Cells of published tables: Dynamic Neural Graphs (TMLR 2026), and what others print for the same tasks.

Whoever measured them did so on another machine and often by another protocol; `Cell.tag` says how well a number is
known, and a table that shows it shows the tag.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple


class Cost(NamedTuple):
    """What a reader of one network costs."""

    ms: float
    mb: float
    gflops: float


TABLE_5 = {
    "NFN": Cost(8.2, 273, 2.58),
    "NFT": Cost(52.7, 241, 10.60),
    "NG-GNN": Cost(12.4, 27.4, 2.13),
    "NG-T": Cost(9.2, 29.8, 14.82),
    "INR2JLS": Cost(4.7, 29.2, 1.31),
}
"""One MNIST INR, inference."""

TABLE_8 = {
    "NG-GNN": (Cost(5.94, 54.5, 3.22), 0.8844),
    "NG-T": (Cost(11.77, 447, 44.69), 0.8917),
    "DNG": (Cost(4.38, 25.4, 0.12), 0.9028),
}
"""One ViT of the ViT zoo; and Kendall's tau of the predicted test accuracy."""

Access = Literal["weights", "query", "wanted picture", "refits the picture"]
"""What a method takes of a network; `wanted picture`: gradients against the answer are among its input."""

Tag = Literal["read", "second hand", "recalled", "suspect"]
"""`read` in the paper's text or a repository, `second hand` in somebody's transcription or leaderboard, `recalled` by
nobody who could verify it, `suspect`: later papers say otherwise, or it exceeds what is possible.
"""

DNG = "Dynamic Neural Graphs, TMLR 2026"
_NFN, _NG, _FIELD = "NFN, NeurIPS 2023", "Neural Graphs, ICLR 2024", "the field in November 2026"


@dataclass(frozen=True)
class Cell:
    """One published number: row and column as printed, `std` where it is printed, `protocol` in a few words."""

    row: str
    column: str
    value: float
    std: float | None = None
    access: Access = "weights"
    source: str = DNG
    tag: Tag = "second hand"
    protocol: str = ""


def grid(
    columns: Sequence[str], rows: dict[str, Sequence[float | tuple[float, float] | None]], **shared: object
) -> tuple[Cell, ...]:
    """Rows of numbers, or of (mean, std), under columns; None where nothing is printed. 64 probes are a query."""

    def made() -> Iterator[Cell]:
        for row, values in rows.items():
            access = "query" if "probes" in row or "K = 64" in row else "weights"
            for column, value in zip(columns, values, strict=True):
                if value is not None:
                    mean, std = value if isinstance(value, tuple) else (value, None)
                    yield Cell(row, column, mean, std, **{"access": access, **shared})  # type: ignore[arg-type]

    return tuple(made())


INRS = ("MNIST", "FashionMNIST", "CIFAR-10", "CIFAR-100")
_COPIES = "NFN zoo, 10 further fits per training image"
_ONE, _DWS = "NFN zoo, one fit per image", "DWS zoo, one fit per image"
_FULL = (98.6, 90.6, 73.2, 42.4)
_ALONE = (96.6, 78.4, 54.0, 25.7)

TABLES: dict[str, tuple[Cell, ...]] = {
    "table1": grid(
        INRS,
        {
            "NFN": (92.9, 75.6, 46.6, 20.55),
            "INR2ARRAY (NFT)": (98.5, 79.3, 63.4, 31.30),
            "NG-GNN, 64 probes": (97.3, 86.53, 55.11, 26.50),
            "NG-T, 64 probes": (96.83, 85.24, 57.7, 31.65),
            "INR2JLS": _FULL,
        },
        protocol=_COPIES,
    ),
    "table2": (
        *grid(
            ("CIFAR-10-GS", "SVHN-GS", "Wild Park"),
            {
                "NFT": (0.926, None, None),
                "NG-GNN": (0.930, 0.863, 0.804),
                "NG-T": (0.935, 0.872, 0.817),
                "DNG-Encoder": (0.936, 0.867, 0.8743),
            },
        ),
        Cell("NFN-HNP", "CIFAR-10-GS", 0.934, 0.001, source=_NFN, tag="read"),
        Cell("NFN-HNP", "SVHN-GS", 0.931, 0.005, source=_NFN, tag="suspect"),
        *grid(("CIFAR-10-GS", "SVHN-GS"), {"NFN-NP": ((0.922, 0.001), (0.856, 0.001))}, source=_NFN, tag="read"),
        *grid(("CIFAR-10-GS", "SVHN-GS"), {"StatNN": ((0.915, 0.002), 0.843)}, source=_NFN, tag="read"),
        Cell("StatNN", "Wild Park", 0.719, 0.010, source=_NG, tag="recalled"),
        Cell("HiddenProbe", "Wild Park", 0.940, 0.006, "query", _FIELD, "read"),
    ),
    "table3": grid(
        INRS,
        {
            "INR-INR": (98.6, 88.3, 56.3, 30.6),
            "DNG-Encoder only": _ALONE,
            "without latent generator": (98.4, 88.9, 54.5, 28.1),
            "INR2JLS": _FULL,
        },
        protocol=_COPIES,
    ),
    "table4": grid(
        INRS,
        {
            "no augmentation": (98.5, 89.5, 66.4, 32.9),
            "noise": (98.4, 89.5, 67.3, 33.0),
            "rotation and flip": _FULL,
        },
        protocol=_COPIES,
    ),
    "table6": grid(
        INRS,
        {
            "INR2JLS": _FULL,
            "with positional encoding": (98.6, 89.9, 73.5, 42.7),
            "with non-linearity embedding": (98.4, 90.4, 73.2, 42.6),
        },
        protocol=_COPIES,
    ),
    "table7": grid(
        INRS[:3],
        {"NG-GNN": (79.6, 71.1, 43.94), "NG-T": (83.43, 72.13, 44.69), "DNG-Encoder": _ALONE[:3]},
        protocol=f"{_ONE}, no probes",
    ),
    "table8": grid(("ViT",), {"NG-GNN": (0.8844,), "NG-T": (0.8917,), "DNG-Encoder": (0.9028,)}),
    "controls": (),
    "editing": (
        *grid(
            ("MNIST dilation, MSE x 1e-2",),
            {
                "DWS": (2.58,),
                "NFN-NP": (2.55,),
                "NFT": (5.10,),
                "NG-GNN, K = 64": ((2.06, 0.01),),
                "NG-T, K = 64": ((1.75, 0.01),),
                "ScaleGMN-B": (1.89,),
                "DWS + OCE": (1.36,),
                "GMN + OCE, k = 8": ((1.06, 0.13),),
            },
            source=_FIELD,
            protocol="DWS zoo",
        ),
        *grid(
            ("MNIST dilation, MSE x 1e-2",),
            {"MLP": (5.35,), "NFN-HNP": (2.65,), "NG-GNN": ((2.38, 0.02),)},
            source=_NG,
            tag="recalled",
            protocol="DWS zoo",
        ),
        Cell(
            *("ScaleGMN", "MNIST dilation, MSE x 1e-2", 2.56, 0.03),
            source="ScaleGMN, NeurIPS 2024",
            tag="recalled",
            protocol="DWS zoo",
        ),
        Cell("ScaleGMN + GradMetaNet++", "MNIST dilation, MSE x 1e-2", 1.60, None, "wanted picture", _FIELD, "read"),
        Cell("GMN + GradMetaNet++", "CIFAR-10 contrast, MSE x 1e-3", 2.99, None, "wanted picture", _FIELD, "read"),
        Cell("GMN, probing", "CIFAR-10 contrast, MSE x 1e-3", 3.81, None, "query", _FIELD, "read"),
        Cell("GMN", "CIFAR-10 contrast, MSE x 1e-3", 5.09, None, "weights", _FIELD, "read"),
        Cell("INR2JLS", "MNIST dilation, decoded, MSE", 0.0125, protocol="decodes a picture; an earlier version"),
        Cell("best editor there", "MNIST dilation, weights in the same zoo and range, MSE", 0.0486),
    ),
}
"""By the name of the reproduction."""

TITLES = {
    "table1": "Table 1: INR classification, test accuracy %",
    "table2": "Table 2: predicting test accuracy, Kendall's tau",
    "table3": "Table 3: parts of INR2JLS, test accuracy %",
    "table4": "Table 4: views of the picture in pre-training, test accuracy %",
    "table6": "Table 6: positional encoding and non-linearity embedding, test accuracy %",
    "table7": "Table 7: encoders alone, no further fits, no probes, test accuracy %",
    "table8": "Table 8: predicting the test accuracy of ViTs, Kendall's tau",
    "controls": "Controls that nobody has printed, test accuracy %",
    "editing": "Editing INRs, mean squared error",
}

CLASSIFICATION: tuple[Cell, ...] = (
    *TABLES["table1"],
    *grid(INRS, {"DNG-Encoder only": _ALONE}, protocol=_COPIES),
    *grid(INRS, {"INR2JLS, no rotation and flip": (98.5, 89.5, 66.4, 32.9)}, protocol=_COPIES),
    *TABLES["table7"][:6],
    *grid(INRS[:3], {"NFN-HNP": (92.5, 72.7, 44.1)}, source=_NFN, tag="read", protocol=_COPIES),
    *grid(INRS[:3], {"MLP": (14.5, 12.5, 16.9)}, source=_NFN, tag="read", protocol=_COPIES),
    *grid(INRS[:2], {"phasor-graded reader": (93.08, 75.15)}, source=_FIELD, tag="read", protocol=_DWS),
    *grid(INRS[2:3], {"phasor-graded reader": (38.16,)}, source=_FIELD, tag="read", protocol=_ONE),
    *grid(
        INRS[:2],
        {"ScaleGMN-B": (96.59, 80.78), "NG-T, K = 64": (97.3, 74.8), "NG-GNN, K = 64": (94.7, 74.2)},
        source=_FIELD,
        protocol=_DWS,
    ),
    *grid(INRS[2:3], {"ScaleGMN-B": (38.82,)}, source=_FIELD, protocol=_ONE),
    *grid(
        INRS[:2],
        {"ProbeGen, 128 probes": (98.4, 87.7)},
        source=_FIELD,
        protocol=_DWS,
    ),
    *grid(
        INRS[:2],
        {"NG-T, K = 0": ((92.4, 0.3), (72.7, 0.6))},
        source=_NG,
        tag="recalled",
        protocol=_DWS,
    ),
    *grid(
        INRS[:3],
        {"MWT-L": (98.80, 90.43, 59.57)},
        access="refits the picture",
        source=_FIELD,
        protocol="meta-learned start, every image fitted anew",
    ),
    *(
        Cell(f"{count} learned query points", "MNIST", value, None, "query", _FIELD, "read", "own zoo")
        for count, value in ((64, 95.3), (256, 98.2))
    ),
)
"""INR classification, test accuracy in percent."""

_INRS = ("table1", "table3", "table4", "table6", "table7", "controls", "editing")
TRAPS = {
    "SVHN-GS has a ceiling: 46.6 % of its ReLU networks are at or below the rate of the largest class, and these ties "
    "cap Kendall's tau-b at .903. NFN-HNP's .931 exceeds the cap and is most likely an error. Hence tau and tau / "
    "tau_max.": ("table2", "table8"),
    "Editors that take the gradient against the wanted picture have the answer in their input. INR2JLS edits by "
    "decoding a picture, not by changing weights.": ("editing",),
    "The two INR zoos differ: DWS adds .5 to the output, has zero biases and no first-layer start of its own; NFN does "
    "not. Never one column.": _INRS,
}
"""In comparing published numbers, and the tables that they are about; they stand wherever ours stand beside them."""
