"""The two ways to classify INRs, each with its stages of training and the answers of the trained model.

Neither ever evaluates an input network: both rows are `access = weights`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from weightwalk.frameworks import views
from weightwalk.frameworks.inr2jls import INR2JLS
from weightwalk.heads.classify import LatentClassifier, MLPHead
from weightwalk.spec import NetworkSpec
from weightwalk.tasks.inr_classification.config import EncoderOnlyConfig, INR2JLSConfig, RunConfig
from weightwalk.training.loop import Objective
from weightwalk.training.samplers import BATCH, batches
from weightwalk.training.stage import StageConfig
from weightwalk.weights import Weights
from weightwalk.zoos.inr.pixels import to_unit
from weightwalk.zoos.store import Zoo

CACHE_BYTES = 4 * 2**30  # frozen latents up to this size are computed once, and again in every step above it


@dataclass(frozen=True)
class Data:
    """The rows of a zoo that a run trains and validates on, and the device that they go to."""

    zoo: Zoo
    train: NDArray[np.int64]
    val: NDArray[np.int64]
    device: torch.device

    def weights(self, rows: NDArray[np.int64] | Tensor) -> Weights:
        return self.zoo.weights(rows).to(self.device)

    def labels(self, rows: NDArray[np.int64] | Tensor) -> Tensor:
        return torch.from_numpy(self.zoo.labels[np.asarray(rows)]).to(self.device)


@dataclass(frozen=True)
class Stage:
    """One stage of training: its folder in the run, how it is trained, and the objective, made when its turn has
    come.
    """

    name: str
    config: StageConfig
    objective: Callable[[Data], Objective]


class Method(Protocol):
    """A trainable model of this task."""

    @property
    def stages(self) -> tuple[Stage, ...]:
        """In the order of training."""
        ...

    @property
    def modules(self) -> dict[str, nn.Module]:
        """What each stage trains, by the stage's name."""
        ...

    def logits(self, weights: Weights) -> Tensor:
        """(B, num_classes) of a batch of networks; their softmax are its probabilities."""
        ...

    def features(self, weights: Weights) -> Tensor:
        """(B, D), what the map of the latent space is drawn from."""
        ...


def build(
    config: RunConfig, spec: NetworkSpec, image_shape: tuple[int, ...], num_classes: int, device: torch.device
) -> Method:
    """The method of a configuration, freshly initialised from its seed."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(config.seed)
        if isinstance(config, INR2JLSConfig):
            return LatentMethod(config, spec, image_shape, num_classes, device)
        return EncoderMethod(config, spec, num_classes, device)


class LatentMethod:
    """INR2JLS, then a classifier of its frozen latents: every view's map is a sample in training, and their logits are
    averaged in use.

    The paper sums them, which names the same class; the mean of as many views as a training sample has is what
    probabilities are made of.
    """

    def __init__(
        self,
        config: INR2JLSConfig,
        spec: NetworkSpec,
        image_shape: tuple[int, ...],
        num_classes: int,
        device: torch.device,
    ):
        sizes = config.latents
        channels, height, width = views.check(sizes.views, image_shape)
        self.views = sizes.views
        self.model = INR2JLS(
            config.encoder.build(spec),
            (channels, height, width),
            num_views=len(sizes.views),
            theta_dim=sizes.theta_dim,
            generator_dim=sizes.generator_dim,
            latent_dim=sizes.latent_dim,
            decoder_dim=sizes.decoder_dim,
            latent_stride=sizes.latent_stride,
        ).to(device)
        self.classifier = LatentClassifier(sizes.latent_dim, self.model.grid, sizes.classifier_dim, num_classes).to(
            device
        )
        self.modules: dict[str, nn.Module] = {"pretrain": self.model, "classify": self.classifier}
        self.stages = (
            Stage("pretrain", config.pretrain, lambda data: PretrainObjective(self.model, self.views, data)),
            Stage("classify", config.classify, lambda data: LatentObjective(self.model, self.classifier, data)),
        )

    def logits(self, weights: Weights) -> Tensor:
        """The mean over the views."""
        return mean_logits(self.classifier, self.model.maps(weights))

    def features(self, weights: Weights) -> Tensor:
        """The latents of the first view."""
        return self.model.maps(weights)[:, 0].flatten(1)


def mean_logits(classifier: nn.Module, maps_BVChw: Tensor) -> Tensor:
    """The classifier's logits of every view's map, averaged over views: (B, num_classes)."""
    logits: Tensor = classifier(maps_BVChw.flatten(0, 1))
    return logits.reshape(*maps_BVChw.shape[:2], -1).mean(1)


class PretrainObjective:
    """Decode the picture behind every network, under every view; the picture is the one that the INR was fitted to."""

    monitor, maximise = "val_loss", False

    def __init__(self, model: INR2JLS, names: tuple[str, ...], data: Data):
        self.model: INR2JLS = model
        self.num_samples = len(data.train)
        self._views, self._data = names, data

    def loss(self, indices: Tensor) -> Tensor:
        """Mean squared error in [-1, 1]."""
        return self._loss(self._data.train[indices.numpy()])

    def _loss(self, rows: NDArray[np.int64]) -> Tensor:
        pictures = to_unit(self._data.zoo.images(rows).to(self._data.device))
        return self.model.loss(self._data.weights(rows), views.transform(pictures, self._views))

    def validate(self) -> dict[str, float]:
        """The same error on the validation split."""
        total = sum(float(self._loss(rows)) * len(rows) for rows in batches(self._data.val))
        return {"val_loss": total / len(self._data.val)}


class LatentObjective:
    """Cross-entropy of every view's frozen latent map; a sample is one view of one network."""

    monitor, maximise = "val_accuracy", True

    def __init__(self, model: INR2JLS, classifier: LatentClassifier, data: Data):
        self.model: nn.Module = classifier
        self.num_samples = len(data.train) * model.num_views
        self._frozen, self._data = model.eval().requires_grad_(False), data
        self._labels = data.labels(data.train)

    @cached_property
    def _train(self) -> Tensor | None:
        return self._cache(self._data.train)

    @cached_property
    def _val(self) -> Tensor | None:
        return self._cache(self._data.val)

    def _maps(self, rows: NDArray[np.int64]) -> Tensor:
        with torch.no_grad():
            return self._frozen.maps(self._data.weights(rows))

    def _cache(self, rows: NDArray[np.int64]) -> Tensor | None:
        """The maps of `rows` (n, V, C, h, w), if they are small enough to keep."""
        size = self._maps(rows[:1]).numel() * 4 * len(rows)
        return torch.cat([self._maps(part) for part in batches(rows)]) if size <= CACHE_BYTES else None

    def loss(self, indices: Tensor) -> Tensor:
        """Mean over the views of the batch."""
        networks, view = indices // self._frozen.num_views, indices % self._frozen.num_views
        if self._train is None:
            maps = self._maps(self._data.train[networks.numpy()])[torch.arange(len(view)), view]
        else:
            maps = self._train[networks.to(self._train.device), view.to(self._train.device)]
        return F.cross_entropy(self.model(maps), self._labels[networks.to(self._labels.device)])

    def validate(self) -> dict[str, float]:
        """Accuracy and cross-entropy of the views' mean logits on the validation split."""
        parts = (
            (self._maps(rows) for rows in batches(self._data.val))
            if self._val is None
            else torch.split(self._val, BATCH)
        )
        logits = torch.cat([mean_logits(self.model, maps) for maps in parts])
        return classification_figures(logits, self._data.labels(self._data.val))


def classification_figures(logits: Tensor, labels: Tensor) -> dict[str, float]:
    """Accuracy and cross-entropy, as the log has them."""
    accuracy = (logits.argmax(1) == labels).double().mean()
    return {"val_accuracy": float(accuracy), "val_loss": float(F.cross_entropy(logits, labels))}


class EncoderClassifier(nn.Module):
    """An encoder with an MLP head on its pooled encoding: Weights of B networks -> (B, num_classes)."""

    def __init__(self, config: EncoderOnlyConfig, spec: NetworkSpec, num_classes: int):
        super().__init__()
        self.encoder = config.encoder.build(spec)
        self.head = MLPHead(self.encoder.pooled_dim, config.head_dim, num_classes, dropout=config.head_dropout)

    def forward(self, weights: Weights) -> Tensor:
        logits: Tensor = self.head(self.encoder.encode(weights))
        return logits


class EncoderMethod:
    """An encoder and a head, trained on labels in one stage."""

    def __init__(self, config: EncoderOnlyConfig, spec: NetworkSpec, num_classes: int, device: torch.device):
        self.model = EncoderClassifier(config, spec, num_classes).to(device)
        self.modules: dict[str, nn.Module] = {"classify": self.model}
        self.stages = (Stage("classify", config.classify, lambda data: EncoderObjective(self.model, data)),)

    def logits(self, weights: Weights) -> Tensor:
        """The head's answer."""
        logits: Tensor = self.model(weights)
        return logits

    def features(self, weights: Weights) -> Tensor:
        """The pooled encoding."""
        return self.model.encoder.encode(weights)


class EncoderObjective:
    """Cross-entropy of the networks' labels."""

    monitor, maximise = "val_accuracy", True

    def __init__(self, model: EncoderClassifier, data: Data):
        self.model: nn.Module = model
        self.num_samples = len(data.train)
        self._data = data

    def loss(self, indices: Tensor) -> Tensor:
        """Mean over the batch."""
        rows = self._data.train[indices.numpy()]
        return F.cross_entropy(self.model(self._data.weights(rows)), self._data.labels(rows))

    def validate(self) -> dict[str, float]:
        """Accuracy and cross-entropy on the validation split."""
        logits = torch.cat([self.model(self._data.weights(rows)) for rows in batches(self._data.val)])
        return classification_figures(logits, self._data.labels(self._data.val))
