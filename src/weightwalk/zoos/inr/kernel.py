"""The fitting engine's compiled part, `kernel.cpp`, called through ctypes."""

from __future__ import annotations

import ctypes
from functools import cache
from pathlib import Path

import torch
from torch import Tensor

from weightwalk.steps import FITTED
from weightwalk.weights import Weights
from weightwalk.zoos.compiled import address, library, loads

_SOURCE = Path(__file__).with_name("kernel.cpp")
_HEADERS = (Path(__file__).parents[1] / "vectors.h",)


def fit(
    start: Weights,
    coordinates_PI: Tensor,
    targets_BCP: Tensor,
    table_S3: Tensor,
    betas: tuple[float, float],
    stop_loss: float,
) -> tuple[Weights, Tensor]:
    """Networks fitted each alone: `engine.fit` with the rates and Adam's corrections of all steps (S, 3)."""
    layers, count = start.spec.layers, len(start)
    parameters = start.flat.detach().to(torch.float32, copy=True).contiguous()
    inputs, targets, table = (t.to("cpu", torch.float32).contiguous() for t in (coordinates_PI, targets_BCP, table_S3))
    errors = torch.empty(count)
    _library().weightwalk_fit(
        len(layers),
        (ctypes.c_int * (len(layers) + 1))(*start.spec.widths),
        (ctypes.c_int * len(layers))(*(FITTED.index(layer.activation) for layer in layers[:-1])),
        (ctypes.c_float * len(layers))(*(layer.omega for layer in layers)),
        len(inputs),
        address(inputs),
        count,
        address(parameters),
        address(targets),
        len(table),
        address(table),
        (ctypes.c_float * 2)(*betas),
        ctypes.c_float(stop_loss),
        address(errors),
    )
    return Weights(start.spec, parameters), errors


@cache
def available() -> bool:
    """Whether the kernel can be built and loaded here, found out by doing it."""
    return loads(_library)


@cache
def _library() -> ctypes.CDLL:
    return library(_SOURCE, _HEADERS)
