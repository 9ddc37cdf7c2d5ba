"""The cells of editing: every editor of weights, and INR2JLS, which decodes; two formulations, two columns.

Dilation is on `dws` INRs, as the published figures are. Rows with K = 64 run the network that they edit.
"""

from __future__ import annotations

from weightwalk.recipes.tables import TINY, Cell, Scale, Settings

_WEIGHTS = {
    "NG-GNN": ("encoder=ng_gnn", "encoder.num_probes=0"),
    "NG-GNN, K = 64": ("encoder=ng_gnn", "encoder.num_probes=64"),
    "NG-T": ("encoder=ng_t", "encoder.num_probes=0"),
    "NG-T, K = 64": ("encoder=ng_t", "encoder.num_probes=64"),
    "NFN-NP": ("encoder=nfn", "encoder.variant=np"),
    "NFN-HNP": ("encoder=nfn", "encoder.variant=hnp"),
    "DNG-Encoder": ("encoder=dng", "encoder.backward=false"),
    "DNG-Encoder, backward walk": ("encoder=dng", "encoder.backward=true"),
}
_DNG = {"small": ("encoder.dim=64", "encoder.num_frequencies=32"), "full": ("encoder.dim=128",)}
_SHORT = ("edit.steps=100", "edit.eval_every=50", "edit.batch_size=16")
_EDITS = (
    ("mnist_dilate", "MNIST dilation", "1e-2", "dws"),
    ("cifar10_contrast", "CIFAR-10 contrast", "1e-3", None),
)


def editing(scale: Scale) -> tuple[Cell, ...]:
    """Editing weights, errors in [0, 1] as they are published; decoding, errors in [-1, 1] as that is published."""
    edits = (("digits_dilate", "digits dilation", "1e-2", None),) if scale == "tiny" else _EDITS
    ending, cells = ("_small" if scale == "small" else ""), list[Cell]()
    for name, words, unit, fit in edits:
        for row, settings in _WEIGHTS.items():
            own: Settings = settings
            if scale == "tiny":
                own += TINY[settings[0].removeprefix("encoder=")]
            elif row.startswith("DNG"):
                own += _DNG[scale]
            recipe = f"{name}_ng_t" if scale == "full" and "ng_t" in settings[0] else f"{name}{ending}"
            own += _SHORT if scale == "tiny" else ()
            cells.append(Cell(row, f"{words}, MSE x {unit}", recipe, own, fit=fit))
        cells.append(
            Cell("INR2JLS", f"{words}, decoded, MSE", f"{name}_decode{ending}", _SHORT if scale == "tiny" else ())
        )
    return tuple(cells)
