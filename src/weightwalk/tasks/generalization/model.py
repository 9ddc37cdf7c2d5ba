"""The metanetwork: an encoder and a head that predicts accuracy; and what it is trained on.

Axes: B networks, D features of a network.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from weightwalk.errors import InputError
from weightwalk.heads.regress import ShareHead
from weightwalk.spec import NetworkSpec
from weightwalk.tasks.generalization.config import GeneralizationConfig
from weightwalk.tasks.generalization.metrics import figures
from weightwalk.training.samplers import BATCH, batches
from weightwalk.weights import Weights
from weightwalk.zoos.store import Zoo

CACHE_BYTES = (
    2**30
)  # encodings of an encoder without parameters are kept up to this size, and made again in every step above it
TARGET = "test_accuracy"

Rows = NDArray[np.int64]


@dataclass(frozen=True)
class Data:
    """The rows of a zoo that a run trains and validates on, and the device that they go to."""

    zoo: Zoo
    train: Rows
    val: Rows
    device: torch.device

    def targets(self, rows: Rows) -> Tensor:
        return torch.from_numpy(self.zoo.column(TARGET)[rows].astype(np.float32)).to(self.device)


def rows_of(zoo: Zoo, split: str, checkpoints: Literal["all", "last"]) -> Rows:
    """The rows of a split whose accuracy is known: of all checkpoints, or of the last of every run."""
    rows = zoo.rows(split)
    rows = rows[np.isfinite(zoo.column(TARGET)[rows])]
    if checkpoints == "last" and len(rows):  # of each run, where the accuracy is known
        rows = rows[np.flatnonzero(np.append(np.diff(zoo.groups[rows]) != 0, True))]
    return np.asarray(rows)


class AccuracyModel(nn.Module):
    """An encoder and a head; the sigmoid of its logits is the predicted accuracy."""

    def __init__(self, config: GeneralizationConfig, specs: Sequence[NetworkSpec]):
        super().__init__()
        self.encoder = config.encoder.build(*specs)
        self.head = ShareHead(self.encoder.pooled_dim, config.head_dim, config.head_dropout)
        self._known = {(spec.widths[0], spec.num_outputs) for spec in specs}

    @property
    def is_frozen(self) -> bool:
        """Whether the encoder has nothing to train, so that a network's encoding never changes."""
        return not any(True for _ in self.encoder.parameters())

    def check(self, spec: NetworkSpec) -> None:
        """InputError for networks of other inputs, outputs or architecture than the model reads."""
        got = (spec.widths[0], spec.num_outputs)
        if got not in self._known:
            known = " or ".join(f"{inputs} inputs and {outputs} outputs" for inputs, outputs in sorted(self._known))
            raise InputError(
                f"this model knows networks of {known} (channels), "
                f"got {got[0]} inputs and {got[1]} outputs in {spec}; use a run trained on such networks"
            )
        self.encoder.check(spec)

    def encode(self, zoo: Zoo, rows: Rows, device: torch.device) -> Tensor:
        """The encodings of `rows` (B, D), in their order; networks of one architecture are read together."""
        buckets = zoo.buckets(rows)
        encodings = self.encoder.encode([weights.to(device) for _, weights in buckets])
        place = np.argsort(np.concatenate([positions for positions, _ in buckets]))
        return encodings[torch.from_numpy(place).to(device)]

    def forward(self, networks: Sequence[Weights]) -> Tensor:
        """Logits of batches of networks, one after another: (sum of B,)."""
        logits: Tensor = self.head(self.encoder.encode(networks))
        return logits


def build(config: GeneralizationConfig, specs: Sequence[NetworkSpec], device: torch.device) -> AccuracyModel:
    """The model of a configuration for networks of `specs`, freshly initialised from its seed."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(config.seed)
        return AccuracyModel(config, specs).to(device)


def networks(data: Data, rows: Rows) -> Iterator[Weights]:
    """The networks of `rows`, a batch after another."""
    for part in batches(rows):
        for _, weights in data.zoo.buckets(part):
            yield weights.to(data.device)


class AccuracyObjective:
    """Predict the test accuracy of training networks; Kendall's tau on the validation networks chooses the
    checkpoint.
    """

    monitor, maximise = "val_tau", True

    def __init__(self, model: AccuracyModel, data: Data, loss: Literal["bce", "mse"]):
        self.model: nn.Module = model
        self.num_samples = len(data.train)
        self._model, self._data, self._loss = model, data, loss
        self._targets = data.targets(data.train)

    @cached_property
    def _encodings(self) -> dict[str, Tensor]:
        """Of the training and validation networks, where they never change and are small enough to keep."""
        data = self._data
        size = 4 * self._model.encoder.pooled_dim * (len(data.train) + len(data.val))
        if not self._model.is_frozen or size > CACHE_BYTES:
            return {}
        with torch.no_grad():
            return {
                name: torch.cat([self._model.encode(data.zoo, part, data.device) for part in batches(rows)])
                for name, rows in (("train", data.train), ("val", data.val))
            }

    def loss(self, indices: Tensor) -> Tensor:
        """Mean over the batch."""
        kept = self._encodings.get("train")
        if kept is None:
            encodings = self._model.encode(self._data.zoo, self._data.train[indices.numpy()], self._data.device)
        else:
            encodings = kept[indices.to(kept.device)]
        return share_loss(self._model.head(encodings), self._targets[indices.to(self._targets.device)], self._loss)

    def validate(self) -> dict[str, float]:
        """Figures and loss on the validation networks."""
        kept, data = self._encodings.get("val"), self._data
        parts = batches(data.val) if kept is None else kept.split(BATCH)
        logits = torch.cat(
            [
                self._model.head(part if isinstance(part, Tensor) else self._model.encode(data.zoo, part, data.device))
                for part in parts
            ]
        )
        true = data.targets(data.val)
        found = figures(logits.double().sigmoid().cpu().numpy(), true.cpu().numpy())
        return {
            **{f"val_{name}": value for name, value in found.items()},
            "val_loss": float(share_loss(logits, true, self._loss)),
        }


def share_loss(logits: Tensor, true: Tensor, kind: Literal["bce", "mse"]) -> Tensor:
    """Binary cross-entropy of predictions sigmoid(logits) against shares in [0, 1], or their mean squared error."""
    return F.binary_cross_entropy_with_logits(logits, true) if kind == "bce" else F.mse_loss(logits.sigmoid(), true)
