"""Predicting test accuracy from weights: Tables 2 and 8 of Dynamic Neural Graphs (TMLR 2026).

Recipes without a suffix have the paper's sizes, and as many steps as its epochs take on the published zoos; they want a
GPU. Each has a `_small` twin for two cores: same method, narrower, fewer steps, a cosine schedule. `--set
encoder=statnn --set head.hidden_dim=1000` is StatNN as published, `--set encoder=flat` the plain MLP.

Deviations: the paper does not say for how long it trains on the ViT zoo, nor how fast: both are ours, and attention is
read by our equivariant maps (`--set encoder.preset=release-vit` is the paper's). A batch holds networks of any
architectures, where the paper's Wild Park batches are each of one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from weightwalk.encoders import EncoderConfig
from weightwalk.heads import HeadConfig
from weightwalk.recipes.registry import RECIPES
from weightwalk.recipes.stages import short
from weightwalk.tasks.generalization.task import GeneralizationConfig
from weightwalk.training.stage import StageConfig


def _cnn(recipe: str) -> GeneralizationConfig:
    return GeneralizationConfig(
        recipe=recipe,
        kind="cnn",
        encoder=EncoderConfig.named(
            "dng",
            dim=128,
            num_frequencies=128,
            scale=1.0,
            head_dim=32,
            activation_embedding=True,
            preset="release-cnn-zoo",
        ),
        checkpoints="last",
        seed=0,
        loss="bce",
        head=HeadConfig.named("mlp", hidden_dim=1024, num_hidden=2, dropout=0.0),
        regress=StageConfig(  # 200 epochs of 12,000 networks
            steps=18_750, batch_size=128, learning_rate=1e-3, warmup_start=0.5, warmup_steps=1_000, eval_every=500
        ),
    )


def _wild_park(recipe: str) -> GeneralizationConfig:
    return GeneralizationConfig(
        recipe=recipe,
        kind="wild-park",
        encoder=EncoderConfig.named(
            "dng",
            dim=64,
            num_frequencies=64,
            scale=1.0,
            dropout=0.2,
            head_dim=16,
            activation_embedding=True,
            shared=True,
        ),
        checkpoints="all",
        seed=0,
        loss="bce",
        head=HeadConfig.named("mlp", hidden_dim=256, num_hidden=2, dropout=0.2),
        regress=StageConfig(  # 50 epochs of 39,660 checkpoints
            steps=15_500,
            batch_size=128,
            learning_rate=1e-3,
            weight_decay=5e-4,
            optimizer="amsgrad",
            clip=10.0,
            eval_every=500,
        ),
    )


def _vit(recipe: str) -> GeneralizationConfig:
    return GeneralizationConfig(
        recipe=recipe,
        kind="vit",
        encoder=EncoderConfig.named("dng", dim=32, num_frequencies=32, scale=1.0),
        checkpoints="last",
        seed=0,
        loss="bce",
        head=HeadConfig.named("mlp", hidden_dim=256, num_hidden=2, dropout=0.0),
        regress=StageConfig(steps=2_000, batch_size=32, learning_rate=1e-3, eval_every=100),
    )


def _small(
    make: Callable[[str], GeneralizationConfig], steps: int, **options: int | float | bool
) -> Callable[[str], GeneralizationConfig]:
    """The same for two cores: the encoder with other `options`, all checkpoints, a cosine schedule of `steps`."""

    def made(recipe: str) -> GeneralizationConfig:
        paper = make(recipe)
        regress = short(steps, 32, weight_decay=paper.regress.weight_decay, optimizer=paper.regress.optimizer)
        encoder = EncoderConfig.named(paper.encoder.name, **{**paper.encoder.options, **options})
        head = replace(paper.head, hidden_dim=128)  # type: ignore[call-arg]
        return replace(paper, encoder=encoder, checkpoints="all", head=head, regress=regress)

    return made


def _register(recipe: str, make: Callable[[str], GeneralizationConfig]) -> None:
    RECIPES.register(recipe)(lambda: make(recipe))


_register("cnn_accuracy", _cnn)
_register("wild_park_accuracy", _wild_park)
_register("vit_accuracy", _vit)
_register("cnn_accuracy_small", _small(_cnn, 3_000, dim=32, num_frequencies=16, head_dim=8))
_register("wild_park_accuracy_small", _small(_wild_park, 1_000, dim=32, num_frequencies=16, head_dim=8, dropout=0.0))
_register("vit_accuracy_small", _small(_vit, 500, num_frequencies=16))
