"""How often a reader says the same in bfloat16 as in float32: digits' INRs, and a small reader trained on them here."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F

from weightwalk.encoders import DNGEncoder
from weightwalk.frameworks.reader import Reader
from weightwalk.heads.mlp import MLPHead
from weightwalk.networks.starts import Key, initialise
from weightwalk.weights import Weights
from weightwalk.zoos import images
from weightwalk.zoos.inr import engine
from weightwalk.zoos.inr.recipe import FIT_RECIPES


@dataclass(frozen=True)
class Agreement:
    """How many of the 1,797 digits are classified; the others train a reader of that width, in float32."""

    classified: int = 1000
    steps: int = 300
    dim: int = 32

    def measure(self) -> dict[str, float]:
        """The share of networks of which both say the same class (`bf16_agreement`), and how often each is right."""
        networks, labels = digits()
        others = len(networks) - self.classified
        reader = trained(networks[:others], labels[:others], self.steps, self.dim)
        with torch.no_grad():
            single = reader(networks[others:]).argmax(1)
            with torch.autocast("cpu", torch.bfloat16):
                half = reader(networks[others:]).argmax(1)
        right = {"fp32_accuracy": single == labels[others:], "bf16_accuracy": half == labels[others:]}
        return {"bf16_agreement": share(single == half), **{name: share(hits) for name, hits in right.items()}}


def share(hits: torch.Tensor) -> float:
    """Of true ones."""
    return float(hits.double().mean())


def digits() -> tuple[Weights, torch.Tensor]:
    """An INR of each digit, all from one start, and what it shows."""
    found, recipe = images.load("digits", None, "all"), FIT_RECIPES["tiny"]
    pixels = torch.from_numpy(np.array(found.pixels))
    start = initialise(recipe.spec(2, 1), [Key(0, 0, 0, 0)] * len(pixels), recipe.scheme)
    coordinates, targets = recipe.pixels.coordinates(pixels.shape[2:]), recipe.pixels.targets(pixels)
    return engine.fit(start, coordinates, targets, recipe.descent)[0], torch.from_numpy(np.array(found.labels)).long()


def trained(networks: Weights, labels: torch.Tensor, steps: int, dim: int) -> Reader:
    """A DNG-Encoder with an MLP head, in evaluation mode."""
    chance = torch.Generator().manual_seed(0)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        encoder = DNGEncoder(networks.spec, dim, num_frequencies=16)
        encoder.prepare([networks])
        reader = Reader(encoder, MLPHead(encoder.encoding_shape, 10, hidden_dim=dim))
    optimizer = torch.optim.Adam(reader.parameters(), lr=5e-3)
    for _ in range(steps):
        chosen = torch.randint(len(networks), (64,), generator=chance)
        optimizer.zero_grad()
        F.cross_entropy(reader(networks[chosen]), labels[chosen]).backward()
        optimizer.step()
    return reader.eval()
