"""INR classification: INR2JLS and what Table 3 of Dynamic Neural Graphs (TMLR 2026) takes away from it.

`{digits,mnist,fashion,cifar10,cifar100}_{inr2jls,inr_inr,no_generator,classify}`, each with any encoder (`--set
encoder=ng_t`); `recipes/tables.py` says which of them, with which settings, is which cell of which table.

Recipes without a suffix have the paper's sizes and steps, and want a GPU and a zoo with 10 further fits per training
image. Each has a `_small` twin for two cores: same method, narrower, fewer steps, a cosine schedule. `digits_*` are
small from the start.

Deviations: what the paper leaves open of the two ablations is decided in `frameworks/inr_inr.py` and
`frameworks/no_generator.py`; both are pre-trained as INR2JLS is, and read by the heads of INR2JLS and of the encoder
alone. The paper's warm-up factors min(1, 0.5 + 0.05 k) and min(1, 0.3 + 0.07 k) change every thousand steps; ours
grow by the step.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

from weightwalk.encoders import EncoderConfig
from weightwalk.frameworks.inr2jls import LatentSizes
from weightwalk.frameworks.inr_inr import WeightSizes
from weightwalk.frameworks.no_generator import ChannelSizes
from weightwalk.heads import HeadConfig
from weightwalk.recipes.registry import RECIPES
from weightwalk.recipes.stages import short
from weightwalk.tasks.inr_classification.task import (
    EncoderOnlyConfig,
    INR2JLSConfig,
    INRINRConfig,
    NoGeneratorConfig,
)
from weightwalk.training.stage import StageConfig

_DATASETS = {"mnist": "mnist", "fashion": "fashion-mnist", "cifar10": "cifar10", "cifar100": "cifar100"}


def _paper_inr2jls(recipe: str, dataset: str) -> INR2JLSConfig:
    return INR2JLSConfig(
        recipe=recipe,
        dataset=dataset,
        encoder=EncoderConfig.named("dng", dim=512),
        fits=None,
        seed=0,
        head=HeadConfig.named("latent_cnn", hidden_dim=256),
        latents=LatentSizes(),
        pretrain=StageConfig(steps=400_000, batch_size=64, learning_rate=1e-4, warmup_start=0.5, warmup_steps=10_000),
        classify=StageConfig(
            steps=200_000,
            batch_size=64,
            learning_rate=1e-4,
            weight_decay=0.1,
            optimizer="adamw",
            warmup_start=0.3,
            warmup_steps=10_000,
        ),
    )


def _paper_encoder(recipe: str, dataset: str) -> EncoderOnlyConfig:
    return EncoderOnlyConfig(
        recipe=recipe,
        dataset=dataset,
        encoder=EncoderConfig.named("dng", dim=128),
        fits=None,
        seed=0,
        head=HeadConfig.named("mlp", hidden_dim=128, dropout=0.5),
        classify=StageConfig(steps=300_000, batch_size=128, learning_rate=1e-4, weight_decay=5e-4, optimizer="adamw"),
    )


def _small_inr2jls(recipe: str, dataset: str) -> INR2JLSConfig:
    return INR2JLSConfig(
        recipe=recipe,
        dataset=dataset,
        encoder=EncoderConfig.named("dng", dim=128, num_frequencies=32),
        fits=None,
        seed=0,
        head=HeadConfig.named("latent_cnn", hidden_dim=128),
        latents=LatentSizes(theta_dim=64, generator_dim=128, latent_dim=32, decoder_dim=32),
        pretrain=short(5_000),
        classify=StageConfig(
            steps=4_000,
            batch_size=128,
            learning_rate=1e-3,
            weight_decay=0.05,
            optimizer="adamw",
            schedule="cosine",
            eval_every=500,
        ),
    )


def _small_encoder(recipe: str, dataset: str) -> EncoderOnlyConfig:
    return EncoderOnlyConfig(
        recipe=recipe,
        dataset=dataset,
        encoder=EncoderConfig.named("dng", dim=128, num_frequencies=32, dropout=0.1),
        fits=None,
        seed=0,
        head=HeadConfig.named("mlp", hidden_dim=128, dropout=0.5),
        classify=short(5_000, weight_decay=1e-2, optimizer="adamw"),
    )


def _without_pictures(joint: INR2JLSConfig) -> INRINRConfig:
    """INR-INR with the sizes and stages of INR2JLS, its decoders as wide as the paper's at the paper's size."""
    sizes, narrow = joint.latents, joint.latents.theta_dim < 512
    latents = WeightSizes(
        theta_dim=sizes.theta_dim,
        generator_dim=sizes.generator_dim,
        latent_dim=sizes.latent_dim,
        decoder_dim=128 if narrow else 512,
        latent_stride=sizes.latent_stride,
    )
    return INRINRConfig(**{**vars(joint), "recipe": _renamed(joint, "inr_inr"), "latents": latents})


def _without_generator(joint: INR2JLSConfig, alone: EncoderOnlyConfig) -> NoGeneratorConfig:
    """INR2JLS without a generator: its encoder and pre-training, the head and its stage of the encoder alone."""
    latents = ChannelSizes(decoder_dim=128 if joint.latents.theta_dim < 512 else 512)
    own = {"recipe": _renamed(joint, "no_generator"), "latents": latents, "head": alone.head}
    return NoGeneratorConfig(**{**vars(joint), **own, "classify": alone.classify})


def _renamed(joint: INR2JLSConfig, method: str) -> str:
    return joint.recipe.replace("inr2jls", method)


def digits_inr2jls() -> INR2JLSConfig:
    """The demo: 8 x 8 digits fitted with `--recipe tiny --init shared`, a few minutes on two cores."""
    small = _small_inr2jls("digits_inr2jls", "digits")
    return replace(
        small,
        encoder=EncoderConfig.named("dng", dim=128, num_frequencies=32, dropout=0.1),
        pretrain=replace(small.pretrain, steps=1_500, eval_every=150, optimizer="adamw", weight_decay=1e-2),
        classify=replace(small.classify, steps=1_500, eval_every=150),
    )


def digits_classify() -> EncoderOnlyConfig:
    """The DNG-Encoder alone on the demo's networks."""
    small = _small_encoder("digits_classify", "digits")
    return replace(small, classify=replace(small.classify, steps=1_000, eval_every=100))


def _register_all(
    short: str, suffix: str, joint: Callable[[], INR2JLSConfig], alone: Callable[[], EncoderOnlyConfig]
) -> None:
    """INR2JLS, what Table 3 takes away from it, and the encoder alone."""
    RECIPES.register(f"{short}_inr2jls{suffix}")(joint)
    RECIPES.register(f"{short}_classify{suffix}")(alone)
    RECIPES.register(f"{short}_inr_inr{suffix}")(lambda: _without_pictures(joint()))
    RECIPES.register(f"{short}_no_generator{suffix}")(lambda: _without_generator(joint(), alone()))


_register_all("digits", "", digits_inr2jls, digits_classify)
for _short, _dataset in _DATASETS.items():
    for _suffix, _joint, _alone in (("", _paper_inr2jls, _paper_encoder), ("_small", _small_inr2jls, _small_encoder)):
        _register_all(
            _short,
            _suffix,
            partial(_joint, f"{_short}_inr2jls{_suffix}", _dataset),
            partial(_alone, f"{_short}_classify{_suffix}", _dataset),
        )
