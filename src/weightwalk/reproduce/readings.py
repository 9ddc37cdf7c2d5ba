"""The ways to read networks whose costs `reproduce efficiency` counts and times.

Axes: B networks, P pixels.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from weightwalk import config as configs
from weightwalk.bench import pictures
from weightwalk.bench.sides import RECIPE, SHAPES, fitted
from weightwalk.encoders import encoders
from weightwalk.errors import InputError
from weightwalk.frameworks import views
from weightwalk.frameworks.inr2jls import INR2JLS
from weightwalk.frameworks.reader import Reader
from weightwalk.networks.architectures import simple_vit
from weightwalk.networks.starts import Key, classifier
from weightwalk.recipes import RECIPES
from weightwalk.tasks.config import RunConfig
from weightwalk.testing import plain
from weightwalk.training.gradients import gradients
from weightwalk.weights import Weights
from weightwalk.zoos.inr.pixels import to_unit

CLASSES = 10


@dataclass(frozen=True)
class Networks:
    """Networks that are read, and, where they are INRs, the pictures (B, C, H, W) that they show."""

    weights: Weights
    pictures: Tensor | None = None


@lru_cache(maxsize=4)
def networks(kind: str, count: int) -> Networks:
    """`count` networks: INRs of pictures of a data set's shape, fitted by the recipe `fast`, or untrained `vit`s."""
    if kind == "vit":
        starts = [classifier(simple_vit(), Key(0, 0, run, 0)) for run in range(count)]
        return Networks(Weights.cat(starts))
    pixels = next(one for one in pictures.by_size(count).values() if one.shape[1:] == SHAPES[kind])
    return Networks(fitted(pixels, RECIPE.descent.steps), torch.from_numpy(pixels))


@dataclass(frozen=True)
class Way:
    """One way to read networks of a kind: a recipe with `changes`, and what is computed.

    `does`: "answer" (from weights to what the head says), "latents", "step" (a training step; of INR2JLS of its first
    stage), and the same in the plain form of the equations, "plain answer" and so on. `method` is what
    results/generalization.csv calls it.
    """

    kind: str
    reader: str
    recipe: str
    does: str = "answer"
    changes: tuple[str, ...] = ()
    method: str | None = None

    @property
    def config(self) -> RunConfig:
        return configs.override(RECIPES[self.recipe](), self.changes)

    @property
    def trains(self) -> bool:
        return self.does.endswith("step")

    def build(self, given: Networks) -> tuple[nn.Module, Callable[[], Any]]:
        """The module, prepared on the networks, and what reads the first of them or trains on all."""
        config, weights = self.config, given.weights
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(0)
            encoder = config.encoder.build(weights.spec)
            pretext = config.pretext
            assert pretext is None or given.pictures is not None
            part = encoder if pretext is None else pretext.build(encoder, given.pictures.shape[1:])  # type: ignore[union-attr]
            assert config.head is not None, "a way to read has a head"
            outputs = 1 if self.kind == "vit" else CLASSES
            reader = Reader(part, config.head.build(part.encoding_shape, outputs)).eval()
        part.prepare([weights])
        if self.trains:
            return part if isinstance(part, INR2JLS) else reader, self._step(part, reader, given)
        reader.requires_grad_(False)
        return self._reading(part, reader, weights[:1])

    def _reading(self, part: Any, reader: Reader, weights: Weights) -> tuple[nn.Module, Callable[[], Any]]:
        if self.does == "answer":
            return reader, lambda: reader(weights)
        if self.does == "plain answer":
            return reader, lambda: reader.head(plain.maps(part, weights))
        to_latents = nn.ModuleList([part.encoder, part.generator])
        reads = {"latents": part.latents, "plain latents": partial(plain.encode, part)}[self.does]
        return to_latents, lambda: reads(weights)

    def _step(self, part: nn.Module, reader: Reader, given: Networks) -> Callable[[], Any]:
        reader.train()
        if not isinstance(part, INR2JLS):
            labels = torch.arange(len(given.weights)) % CLASSES
            return _trained(reader, F.cross_entropy, given.weights, labels)
        assert given.pictures is not None
        target = views.transform(to_unit(given.pictures), views.PAPER_VIEWS)
        if self.does == "plain step":
            return partial(plain.train_step, part, torch.optim.Adam(part.parameters()), given.weights, target)
        return _trained(part, F.mse_loss, given.weights, target)


def _trained(
    model: nn.Module, loss: Callable[[Tensor, Tensor], Tensor], weights: Weights, target: Tensor
) -> Callable[[], Any]:
    """A training step, in lanes."""
    optimizer = torch.optim.Adam(model.parameters())

    def step() -> None:
        optimizer.zero_grad()
        gradients(model, lambda samples: loss(model(samples[0]), samples[1]), (weights, target))
        optimizer.step()

    return step


def ways(kind: str, step: bool = False) -> list[Way]:
    """All ways to read networks of a kind; or, `step`, to train on them."""
    if kind == "vit":
        heads = {"statnn": ("head.hidden_dim=1000",), "query": ("encoder.input_shape=3,32,32",)}
        dng = [
            Way(kind, "DNG-Encoder", "vit_accuracy", method="dng"),
            Way(kind, "DNG-Encoder, attention as released", "vit_accuracy", changes=("encoder.preset=release-vit",)),
            Way(
                kind, "DNG-Encoder, readout=layers", "vit_accuracy", "answer", ("encoder.readout=layers",), "dng-layers"
            ),
        ]
        return [*dng, *_others(kind, "vit_accuracy", heads)]
    joint, alone = f"{kind}_inr2jls", f"{kind}_classify"
    if step:
        return [
            Way(kind, "INR2JLS", joint, "step"),
            Way(kind, "INR2JLS, plain form", joint, "plain step"),
            Way(kind, "DNG-Encoder alone", alone, "step"),
        ]
    return [
        Way(kind, "INR2JLS", joint),
        Way(kind, "INR2JLS, plain form", joint, "plain answer"),
        Way(kind, "INR2JLS, to latents", joint, "latents"),
        Way(kind, "INR2JLS, to latents, plain form", joint, "plain latents"),
        Way(kind, "DNG-Encoder alone", alone),
        *_others(kind, alone, {}),
    ]


def _others(kind: str, recipe: str, heads: Mapping[str, tuple[str, ...]]) -> Iterator[Way]:
    """Every other registered encoder that reads such networks, with the settings of `heads` where it needs any."""
    spec = networks(kind, 1).weights.spec
    for name in encoders:
        way = Way(kind, name, recipe, "answer", (f"encoder={name}", *heads.get(name, ())), name)
        try:
            way.config.encoder.build(spec)
        except InputError:
            continue
        if name != "dng":
            yield way
