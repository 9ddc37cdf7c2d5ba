"""Equal parameters for another encoder: the width at which a model has as many as another one."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import torch

from weightwalk import config as configs
from weightwalk.encoders import EncoderConfig
from weightwalk.errors import InputError
from weightwalk.frameworks.pretraining import Pretext
from weightwalk.recipes.registry import RECIPES
from weightwalk.registry import unknown
from weightwalk.spec import NetworkSpec
from weightwalk.zoos.inr.recipe import FIT_RECIPES

TOLERANCE = 0.05


def _ng_t(width: int) -> dict[str, int]:
    """The proportions of the published classifier of INRs, whose nodes are 64 wide and whose heads are 8."""
    attention = 8 * max(1, round(width / 4))
    return {
        "node_dim": width,
        "edge_dim": max(1, width // 2),
        "attention_dim": attention,
        "node_hidden": 2 * width,
        "edge_hidden": width,
    }


WIDTHS: dict[str, Callable[[int], dict[str, int]]] = {
    "dng": lambda width: {"dim": width},
    "ng_gnn": lambda width: {"dim": width},
    "ng_t": _ng_t,
    "nfn": lambda width: {"dim": width},
    "query": lambda width: {"dim": width},
}
"""Options of an encoder as functions of one width."""


def num_parameters(encoder: EncoderConfig, spec: NetworkSpec, pretext: Pretext | None, shape: Sequence[int]) -> int:
    """Trained parameters of an encoder of networks of `spec`, which show pictures of `shape` (C, H, W), and of what
    a pretext task puts behind it.
    """
    with torch.device("meta"):  # shapes alone
        built = encoder.build(spec)
        module = built if pretext is None else pretext.build(built, shape)
    return sum(parameter.numel() for parameter in module.parameters())


def matched(
    encoder: str,
    spec: NetworkSpec,
    parameters: int,
    *,
    pretext: Pretext | None = None,
    image_shape: tuple[int, ...] = (),
    **options: Any,
) -> dict[str, int]:
    """The options of a width at which `encoder`, with what `pretext` puts behind it, has as nearly as possible so many
    trained parameters; its other `options` are its own. InputError if that is not within 5 %.
    """
    if encoder not in WIDTHS:
        raise InputError(unknown("encoder with a width", encoder, list(WIDTHS)))
    width = _width(encoder, spec, parameters, pretext, image_shape, tuple(sorted(options.items())))
    return WIDTHS[encoder](width)


@cache
def _width(
    encoder: str,
    spec: NetworkSpec,
    parameters: int,
    pretext: Pretext | None,
    shape: tuple[int, ...],
    options: tuple[tuple[str, Any], ...],
) -> int:
    """The nearest: parameters grow about as a power of the width, which is the last two widths'."""

    @cache
    def count(width: int) -> int:
        config = EncoderConfig.named(encoder, **{**dict(options), **WIDTHS[encoder](width)})
        return num_parameters(config, spec, pretext, shape)

    def off(width: int) -> int:
        return abs(count(width) - parameters)

    before, best, power = 32, 64, 2.0
    for _ in range(8):
        if best != before:
            power = math.log(count(best) / count(before)) / math.log(best / before)
        before, best = best, max(1, round(best * (parameters / count(best)) ** (1 / max(power, 0.5))))
    for step in (-1, 1):
        while best + step >= 1 and off(best + step) < off(best):
            best += step
    if abs(count(best) - parameters) > TOLERANCE * parameters:
        raise InputError(
            f"expected a width of {encoder} with {parameters:,} parameters within {100 * TOLERANCE:.0f} %, got "
            f"{count(best):,} as the nearest; choose another number"
        )
    return best


def settings(
    recipe: str, encoder: str, image_shape: tuple[int, ...], changes: Sequence[str] = (), base: Sequence[str] = ()
) -> tuple[str, ...]:
    """What to set on a recipe of INRs (2-32-32-C) beside `encoder=...` and `changes` of encoder options, so that the
    encoder has the number of parameters, with what is behind it, of the recipe with the settings `base`, and the
    recipe's dropout.
    """
    config = configs.override(RECIPES[recipe](), base)
    spec = FIT_RECIPES["nfn"].spec(2, image_shape[0])
    parameters = num_parameters(config.encoder, spec, config.pretext, image_shape)
    given = config.encoder.options
    if encoder == config.encoder.name:
        changed = configs.override(config, changes).encoder.options
        own = {name: value for name, value in changed.items() if name not in WIDTHS[encoder](1)}
        told: dict[str, Any] = {}
    else:
        told = own = {"dropout": given["dropout"]}
    width = matched(encoder, spec, parameters, pretext=config.pretext, image_shape=image_shape, **own)
    return tuple(f"encoder.{name}={value}" for name, value in {**told, **width}.items())
