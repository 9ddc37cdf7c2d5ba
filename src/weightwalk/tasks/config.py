"""What the configurations of all runs have: frozen dataclasses, each of one task and one method."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

from weightwalk.config import bounded
from weightwalk.encoders import EncoderConfig
from weightwalk.frameworks.editor import OffsetSizes
from weightwalk.frameworks.pretraining import Pretext
from weightwalk.heads import HeadConfig
from weightwalk.training.stage import StageConfig


@dataclass(frozen=True)
class RunConfig(ABC):
    """The recipe's name, the encoder and the head of the reader, the seed of everything that is drawn.

    A subclass says what it reads, and has a `StageConfig` for every stage of training, in their order; a stage has the
    name of its field. `head` is None where networks are edited, which no head of pooled encodings does.
    """

    task: ClassVar[str]
    method: ClassVar[str] = "encoder"
    recipe: str
    encoder: EncoderConfig
    head: HeadConfig | None
    seed: int

    def __post_init__(self) -> None:
        bounded(self, "seed", 0)

    @property
    @abstractmethod
    def reads(self) -> str:
        """Which zoos, in a word: a data set of INRs, or a kind of trained networks."""

    @property
    def pretext(self) -> Pretext | None:
        """What the encoder is trained on without labels, INR2JLS for example; None for the encoder alone."""
        return next((value for value in vars(self).values() if isinstance(value, Pretext)), None)

    @property
    def offset_sizes(self) -> OffsetSizes | None:
        """Of the head that changes the parameters of networks; None where none is changed."""
        return None

    @property
    def stages(self) -> dict[str, StageConfig]:
        """The stages of training by name, in their order."""
        return {name: value for name, value in vars(self).items() if isinstance(value, StageConfig)}


@dataclass(frozen=True)
class DatasetConfig(RunConfig):
    """Reads a zoo of INRs of a data set: `fits` of every training image (None: all), one of the others."""

    dataset: str
    fits: int | None

    def __post_init__(self) -> None:
        super().__post_init__()
        bounded(self, "fits", 1)

    @property
    def reads(self) -> str:
        return self.dataset


@dataclass(frozen=True)
class INRConfig(DatasetConfig):
    """Tells something of INRs, which takes a head."""

    head: HeadConfig
