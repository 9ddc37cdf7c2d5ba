"""INR editing: MNIST dilation and CIFAR-10 contrast as published, and the same on Fashion-MNIST and on the digits.

`X_OP` edits weights (Neural Graphs, ICLR 2024: NG-GNN; `X_OP_ng_t` has that paper's NG-T), `X_OP_decode` decodes the
edited picture (INR2JLS with one view, section 4 of Dynamic Neural Graphs' earlier version). Any other operation is
`--set op=erode`, any other encoder with edge outputs `--set encoder=nfn`. Recipes without a suffix have the published
sizes and want a GPU; `_small` twins are for two cores. The published figures of dilation are on a `dws` zoo.

Deviation: 200 epochs of 55,000 INRs are counted in steps; the published warm-up begins at 0, ours at a ten-thousandth.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from weightwalk.encoders import EncoderConfig
from weightwalk.frameworks.editor import OffsetSizes
from weightwalk.frameworks.inr2jls import LatentSizes
from weightwalk.recipes.registry import RECIPES
from weightwalk.recipes.stages import short
from weightwalk.tasks.config import RunConfig
from weightwalk.tasks.inr_editing.task import DecodeConfig, OffsetsConfig
from weightwalk.training.stage import StageConfig

_EDITS = {"mnist": ("mnist", "dilate"), "fashion": ("fashion-mnist", "dilate"), "cifar10": ("cifar10", "contrast")}

Named = tuple[str, dict[str, Any]]

_NG_GNN: Named = ("ng_gnn", {"dim": 128, "num_frequencies": 0, "reverse": True, "dropout": 0.2})
_NG_T: Named = ("ng_t", {"num_heads": 4, "scale": 3.0, "reverse": True, "dropout": 0.3})
_SMALL: Named = ("dng", {"dim": 64, "num_frequencies": 32, "backward": True})


def _weights(recipe: str, dataset: str, op: str, encoder: Named = _NG_GNN) -> OffsetsConfig:
    name, options = encoder
    return OffsetsConfig(
        recipe=recipe,
        dataset=dataset,
        encoder=EncoderConfig.named(name, **options),
        fits=None,
        head=None,
        seed=0,
        op=op,
        offsets=OffsetSizes(),
        edit=StageConfig(
            steps=86_000,
            batch_size=128,
            learning_rate=1e-3,
            weight_decay=5e-4,
            optimizer="amsgrad",
            warmup_start=1e-4,
            warmup_steps=10_000,
            clip=1.0,
            eval_every=1_000,
        ),
    )


def _small_stage(steps: int) -> StageConfig:
    return short(steps, weight_decay=5e-4, optimizer="amsgrad")


def _small_weights(recipe: str, dataset: str, op: str) -> OffsetsConfig:
    return replace(_weights(recipe, dataset, op, _SMALL), edit=_small_stage(3_000))


def _decode(recipe: str, dataset: str, op: str) -> DecodeConfig:
    return DecodeConfig(
        recipe=recipe,
        dataset=dataset,
        encoder=EncoderConfig.named("dng", dim=512),
        fits=None,
        head=None,
        seed=0,
        op=op,
        latents=LatentSizes(views=("identity",)),
        edit=StageConfig(steps=400_000, batch_size=64, learning_rate=1e-4, warmup_start=0.5, warmup_steps=10_000),
    )


def _small_decode(recipe: str, dataset: str, op: str) -> DecodeConfig:
    return replace(
        _decode(recipe, dataset, op),
        encoder=EncoderConfig.named("dng", dim=128, num_frequencies=32),
        latents=LatentSizes(views=("identity",), theta_dim=64, generator_dim=128, latent_dim=32, decoder_dim=32),
        edit=replace(_small_stage(3_000), optimizer="adam", weight_decay=0.0),
    )


def _register(recipe: str, make: Callable[[str, str, str], RunConfig], dataset: str, op: str) -> None:
    RECIPES.register(recipe)(lambda: make(recipe, dataset, op))


for _short, (_dataset, _op) in _EDITS.items():
    _name = f"{_short}_{_op}"
    _register(_name, _weights, _dataset, _op)
    _register(f"{_name}_ng_t", lambda recipe, dataset, op: _weights(recipe, dataset, op, _NG_T), _dataset, _op)
    _register(f"{_name}_decode", _decode, _dataset, _op)
    _register(f"{_name}_small", _small_weights, _dataset, _op)
    _register(f"{_name}_decode_small", _small_decode, _dataset, _op)


@RECIPES.register("digits_dilate")
def digits_dilate() -> OffsetsConfig:
    """The demo's networks (`fit digits --recipe tiny --init shared`), edited in a few minutes on two cores."""
    return replace(_small_weights("digits_dilate", "digits", "dilate"), edit=_small_stage(1_000))


@RECIPES.register("digits_dilate_decode")
def digits_dilate_decode() -> DecodeConfig:
    """The same decoded."""
    small = _small_decode("digits_dilate_decode", "digits", "dilate")
    return replace(small, edit=replace(small.edit, steps=1_000, eval_every=100))
