"""What a run of this task is: two methods, each a frozen configuration."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from weightwalk.config import bounded
from weightwalk.encoders import EncoderConfig
from weightwalk.errors import InputError
from weightwalk.frameworks.views import PAPER_VIEWS, VIEWS
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

    def __post_init__(self) -> None:
        bounded(self, "theta_dim generator_dim latent_dim decoder_dim latent_stride classifier_dim", 1)
        for view in self.views:
            VIEWS[view]  # which says if nobody knows it
        if not self.views or len(set(self.views)) < len(self.views):
            raise InputError(f"views must be different names, at least one, got {', '.join(self.views) or 'none'}")


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
        bounded(self, "fits", 1)
        bounded(self, "seed", 0)

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

    def __post_init__(self) -> None:
        super().__post_init__()
        bounded(self, "head_dim", 1)
        bounded(self, "head_dropout", 0, below=1)


RunConfig = INR2JLSConfig | EncoderOnlyConfig
METHODS: dict[str, type[INR2JLSConfig] | type[EncoderOnlyConfig]] = {
    c.method: c for c in (INR2JLSConfig, EncoderOnlyConfig)
}
