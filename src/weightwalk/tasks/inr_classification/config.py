"""What a run of this task is: two methods, each a frozen configuration."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from weightwalk.encoders import EncoderConfig
from weightwalk.errors import InputError
from weightwalk.frameworks.views import PAPER_VIEWS
from weightwalk.training.stage import StageConfig


@dataclass(frozen=True)
class LatentSizes:
    """Sizes of INR2JLS behind the encoder; the defaults are the paper's. `classifier_dim` is the latent classifier's
    width.
    """

    views: tuple[str, ...] = PAPER_VIEWS
    theta_dim: int = 512
    generator_dim: int = 1024
    latent_dim: int = 128
    decoder_dim: int = 256
    latent_stride: int = 4
    classifier_dim: int = 256


@dataclass(frozen=True)
class Common:
    """What both methods have: the recipe's name, the data set whose zoo it reads, training fits per image (None: all),
    the seed.
    """

    task: ClassVar[str] = "inr_classification"
    recipe: str
    dataset: str
    encoder: EncoderConfig
    fits: int | None
    seed: int

    def __post_init__(self) -> None:
        if self.fits is not None and self.fits < 1:
            raise InputError(f"fits must be at least 1, or none for all that the zoo has, got {self.fits}")

    @property
    def reads(self) -> str:
        """Which zoos: those of this data set."""
        return self.dataset


@dataclass(frozen=True)
class INR2JLSConfig(Common):
    """INR2JLS: pre-train encoder, latent generator and decoder on pictures; then a classifier on the frozen latents."""

    method: ClassVar[str] = "inr2jls"
    latents: LatentSizes
    pretrain: StageConfig
    classify: StageConfig


@dataclass(frozen=True)
class EncoderOnlyConfig(Common):
    """An encoder and an MLP head, trained together on labels."""

    method: ClassVar[str] = "encoder"
    head_dim: int
    head_dropout: float
    classify: StageConfig


RunConfig = INR2JLSConfig | EncoderOnlyConfig
METHODS: dict[str, type[INR2JLSConfig] | type[EncoderOnlyConfig]] = {
    c.method: c for c in (INR2JLSConfig, EncoderOnlyConfig)
}
