"""Stages of training: a module from networks to outputs, what its outputs should be, and how far off they are.

Axes: B networks, n rows.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from weightwalk import lanes
from weightwalk.frameworks.reader import Reader
from weightwalk.training.distributed import team
from weightwalk.training.loop import Objective
from weightwalk.training.samplers import BATCH, batches
from weightwalk.training.stage import StageConfig
from weightwalk.weights import Weights
from weightwalk.zoos.store import Zoo

CACHE_BYTES = 4 * 2**30
"""Frozen encodings of a run's networks are kept up to this size, and made anew in every step above it."""

Rows = NDArray[np.int64]


@dataclass(frozen=True)
class Data:
    """The rows of a zoo that a run trains and validates on, and the device that they go to."""

    zoo: Zoo
    train: Rows
    val: Rows
    device: torch.device

    def networks(self, rows: Rows) -> Weights | list[Weights]:
        """The networks of `rows`, in their order: one batch, or one for each if their architectures differ."""
        found: Weights | list[Weights] = self.zoo.sequence(rows)
        return found.to(self.device) if isinstance(found, Weights) else [one.to(self.device) for one in found]

    def batches(self, rows: Rows) -> Iterator[Weights]:
        """All networks of `rows`, batch after batch, each of one architecture."""
        for part in batches(rows):
            for _, weights in self.zoo.buckets(part):
                yield weights.to(self.device)


@dataclass(frozen=True)
class Stage:
    """One stage of training.

    - `module`: networks -> outputs (B, ...); where `frozen`, a reader whose head alone is trained.
    - `target`: rows -> what the outputs should be; `loss`: outputs and targets -> (), the mean over the batch.
    - `figures`: outputs and targets of all validation networks -> figures by name. The loss is always one of them.
    - `trained_target`: what the outputs should be in training, where that is not the `target`; it may draw from torch's
      global generator, and then is a function of the seed, the step and the places in the batch.
    - `monitor`: the figure (`val_NAME`) that chooses the checkpoint.
    - `samples`: for a head that averages over the first axis of frozen encodings: how long it is; each entry is a
      sample in training.
    """

    name: str
    config: StageConfig
    module: nn.Module
    target: Callable[[Rows], Tensor]
    loss: Callable[[Tensor, Tensor], Tensor]
    figures: Callable[[Tensor, Tensor], dict[str, float]] | None = None
    monitor: str = "val_loss"
    maximise: bool = False
    frozen: bool = False
    samples: int = 1
    trained_target: Callable[[Rows], Tensor] | None = None

    def objective(self, data: Data) -> Objective:
        """What the training loop trains. A reader whose encoder has nothing to train is frozen, whatever `frozen`
        says.
        """
        if isinstance(self.module, Reader):
            encoder = self.module.encoder
            assert isinstance(encoder, nn.Module)
            if self.frozen:
                encoder.requires_grad_(False)
            if not any(parameter.requires_grad for parameter in encoder.parameters()):
                encoder.eval()
                return HeadObjective(self, self.module, data)
        return ModuleObjective(self, data)


class _StageObjective:
    """What the two objectives share."""

    mean = True

    def __init__(self, stage: Stage, model: nn.Module, data: Data):
        self.model = model
        self.num_samples = len(data.train) * stage.samples
        self.monitor, self.maximise = stage.monitor, stage.maximise
        self._stage, self._data = stage, data

    def _target(self, rows: Rows) -> Tensor:
        return self._stage.target(rows).to(self._data.device)

    def _trained_target(self, rows: Rows) -> Tensor:
        return (self._stage.trained_target or self._stage.target)(rows).to(self._data.device)

    def _validated(self, read: Callable[[slice], Tensor]) -> dict[str, float]:
        """Figures of what is read of the validation networks, in parts of at most `BATCH`."""
        stage, val = self._stage, self._data.val
        if stage.figures is None:  # outputs may be large: none is kept

            def losses(part: slice) -> Tensor:
                loss = stage.loss(read(part), self._target(val[part]))
                return loss.double().expand(part.stop - part.start)

            return {"val_loss": float(team().read(len(val), losses, BATCH).mean())}
        outputs, target = team().read(len(val), read, BATCH), self._target(val)
        figures = {f"val_{name}": value for name, value in stage.figures(outputs, target).items()}
        return {**figures, "val_loss": float(stage.loss(outputs, target))}


class ModuleObjective(_StageObjective):
    """All of a module is trained, by its own `forward`."""

    def __init__(self, stage: Stage, data: Data):
        super().__init__(stage, stage.module, data)
        self.lane = lanes.size(stage.module, data.zoo.specs)

    def loss(self, indices: Tensor) -> Tensor:
        """Mean over the networks of the batch."""
        rows = self._data.train[indices.numpy()]
        return self._stage.loss(self.model(self._data.networks(rows)), self._trained_target(rows))

    def validate(self) -> dict[str, float]:
        """The stage's figures and its loss on the validation networks."""
        val = self._data.val
        return self._validated(lambda part: self.model(self._data.networks(val[part])))


class HeadObjective(_StageObjective):
    """The head of a reader is trained on encodings that never change: kept where they are small enough."""

    def __init__(self, stage: Stage, reader: Reader, data: Data):
        super().__init__(stage, reader.head, data)
        self._encoder = reader.encoder

    @cached_property
    def lane(self) -> int:
        """As of any objective. It is asked for before the first batch is cut, so that encodings that are kept are made
        by all threads, and not within a lane.
        """
        _ = self._kept
        return lanes.size(self.model)

    def _encode(self, rows: Rows) -> Tensor:
        """In float32, as they are used in the end, whatever the head is trained in."""
        with torch.no_grad(), torch.autocast(self._data.device.type, enabled=False):
            return self._encoder.encode(self._data.networks(rows))

    @cached_property
    def _kept(self) -> tuple[Tensor, Tensor] | None:
        """The encodings of the training and of the validation networks."""
        data = self._data
        size = 4 * math.prod(self._encoder.encoding_shape) * (len(data.train) + len(data.val))
        if size > CACHE_BYTES:
            return None

        def encodings(rows: Rows) -> Tensor:
            return team().read(len(rows), lambda part: self._encode(rows[part]), BATCH)

        return encodings(data.train), encodings(data.val)

    def loss(self, indices: Tensor) -> Tensor:
        """Mean over the samples of the batch."""
        samples = self._stage.samples
        networks = indices // samples
        rows = self._data.train[networks.numpy()]
        if self._kept is None:
            encodings, chosen = self._encode(rows), torch.arange(len(networks)) * samples + indices % samples
        else:
            encodings, chosen = self._kept[0], indices
        if samples > 1:
            encodings = encodings.flatten(0, 1)
        encodings = encodings.index_select(0, chosen.to(encodings.device))
        return self._stage.loss(
            self.model(encodings[:, None] if samples > 1 else encodings), self._trained_target(rows)
        )

    def validate(self) -> dict[str, float]:
        """The stage's figures and its loss on the validation networks, all samples of one together."""
        kept, val = self._kept, self._data.val
        return self._validated(lambda part: self.model(self._encode(val[part]) if kept is None else kept[1][part]))
