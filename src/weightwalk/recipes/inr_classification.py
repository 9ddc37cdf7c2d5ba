"""INR classification: Table 1 and the encoder-only row of Table 3 of Dynamic Neural Graphs (TMLR 2026).

Recipes without a suffix have the paper's sizes and steps, and want a GPU and a zoo with 10 further fits per training
image. Each has a `_small` twin for two cores: same method, narrower, fewer steps, a cosine schedule. `digits_*` are
small from the start.

Deviation: the paper's warm-up factors min(1, 0.5 + 0.05 k) and min(1, 0.3 + 0.07 k) change every thousand steps; ours
grow by the step.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from weightwalk.encoders import EncoderConfig
from weightwalk.frameworks.inr2jls import LatentSizes
from weightwalk.heads import HeadConfig
from weightwalk.recipes.registry import RECIPES
from weightwalk.tasks.config import RunConfig
from weightwalk.tasks.inr_classification.task import EncoderOnlyConfig, INR2JLSConfig
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
        pretrain=StageConfig(
            steps=5_000,
            batch_size=64,
            learning_rate=2e-3,
            warmup_start=0.1,
            warmup_steps=100,
            schedule="cosine",
            clip=1.0,
            eval_every=500,
        ),
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
        classify=StageConfig(
            steps=5_000,
            batch_size=64,
            learning_rate=2e-3,
            weight_decay=1e-2,
            optimizer="adamw",
            warmup_start=0.1,
            warmup_steps=100,
            schedule="cosine",
            clip=1.0,
            eval_every=500,
        ),
    )


def _register(recipe: str, dataset: str, make: Callable[[str, str], RunConfig]) -> None:
    RECIPES.register(recipe)(lambda: make(recipe, dataset))


@RECIPES.register("digits_inr2jls")
def digits_inr2jls() -> INR2JLSConfig:
    """The demo: 8 x 8 digits fitted with `--recipe tiny --init shared`, a few minutes on two cores."""
    small = _small_inr2jls("digits_inr2jls", "digits")
    return replace(
        small,
        encoder=EncoderConfig.named("dng", dim=128, num_frequencies=32, dropout=0.1),
        pretrain=replace(small.pretrain, steps=1_500, eval_every=150, optimizer="adamw", weight_decay=1e-2),
        classify=replace(small.classify, steps=1_500, eval_every=150),
    )


@RECIPES.register("digits_classify")
def digits_classify() -> EncoderOnlyConfig:
    """The DNG-Encoder alone on the demo's networks."""
    small = _small_encoder("digits_classify", "digits")
    return replace(small, classify=replace(small.classify, steps=1_000, eval_every=100))


for _short, _dataset in _DATASETS.items():
    _register(f"{_short}_inr2jls", _dataset, _paper_inr2jls)
    _register(f"{_short}_classify", _dataset, _paper_encoder)
    _register(f"{_short}_inr2jls_small", _dataset, _small_inr2jls)
    _register(f"{_short}_classify_small", _dataset, _small_encoder)
