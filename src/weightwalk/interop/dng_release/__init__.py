"""Parameters saved by the authors' release of Dynamic Neural Graphs (TMLR 2026), brought into our modules.

| kind | the release's class | what comes back |
|---|---|---|
| encoder | `DynamicNeuralGNN`, of MLPs | `DNGEncoder`: `.encode(weights)` -> (B, n_L d) |
| inr2jls | the same with latents and decoder | `INR2JLS`: weights -> pictures, `.latents`, `.encoder` |
| cnn_zoo | `Gen_Predictor`, of the Small CNN Zoo | `AccuracyPredictor`: `.encode`, and itself: weights -> (B, 1) |
| wild_park | `Gen_Predictor_Park`, of the CNN Wild Park | the same |
| vit | `ViT_Gen_Predictor`, of SimpleViTs | the same |
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, overload

from torch import Tensor

from weightwalk.encoders.dng import DNGEncoder
from weightwalk.errors import InputError
from weightwalk.frameworks.inr2jls import INR2JLS
from weightwalk.interop.dng_release import inr
from weightwalk.interop.dng_release.predictors import AccuracyPredictor, cnn_zoo, wild_park
from weightwalk.interop.dng_release.vit import vit
from weightwalk.spec import NetworkSpec

__all__ = ["AccuracyPredictor", "load"]

_KINDS = ("encoder", "inr2jls", "cnn_zoo", "wild_park", "vit")


State = Mapping[str, Tensor]
Widths = Sequence[int]
Shape = tuple[int, int, int]
Predictor = Literal["cnn_zoo", "wild_park", "vit"]


@overload
def load(state_dict: State, widths: Widths, kind: Literal["encoder"] = "encoder") -> DNGEncoder: ...
@overload
def load(state_dict: State, widths: Widths, kind: Literal["inr2jls"], image_shape: Shape | None = None) -> INR2JLS: ...
@overload
def load(
    state_dict: State, widths: Widths | None = None, *, kind: Predictor, spec: NetworkSpec | None = None
) -> AccuracyPredictor: ...
def load(
    state_dict: State,
    widths: Widths | None = None,
    kind: Literal["encoder", "inr2jls"] | Predictor = "encoder",
    image_shape: Shape | None = None,
    spec: NetworkSpec | None = None,
) -> DNGEncoder | INR2JLS | AccuracyPredictor:
    """A module in evaluation mode with the release's parameters; all sizes are read off them.

    `widths` are n_0 ... n_L of the MLPs that "encoder" and "inr2jls" read. "inr2jls" also needs `image_shape` (C, H,
    W), which the parameters do not tell; left out, 49 or 64 latents in each of six views mean 28 x 28 or 32 x 32.

    The three predictors read networks of `spec`, left out those of the published zoos: `architectures.small_cnn` (or a
    chain of 3 x 3 convolutions and a dense layer of these `widths`), `architectures.simple_vit`; "wild_park" reads
    every `architectures.wild_park`. InputError where names or shapes do not fit.
    """
    if kind not in _KINDS:
        raise InputError(f"unknown kind {kind!r}; known: {', '.join(_KINDS)}")
    if kind == "cnn_zoo":
        return cnn_zoo(state_dict, widths, spec)
    if kind == "wild_park":
        return wild_park(state_dict)
    if kind == "vit":
        return vit(state_dict, spec)
    if widths is None:
        raise InputError(f"kind {kind!r} needs `widths`, n_0 ... n_L of the MLPs that it reads")
    return inr.encoder(state_dict, widths) if kind == "encoder" else inr.inr2jls(state_dict, widths, image_shape)
