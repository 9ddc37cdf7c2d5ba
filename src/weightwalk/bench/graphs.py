"""What `bench encode` and `bench train` measure of NG-GNN and NG-T: readers of MNIST's INRs at the published sizes,
ours and the plain form over all pairs of nodes (`testing/plain_graphs.py`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from weightwalk.bench.sides import OURS, PLAIN, RECIPE, Line
from weightwalk.encoders import EncoderConfig
from weightwalk.frameworks.reader import Reader
from weightwalk.heads.mlp import MLPHead
from weightwalk.networks.starts import Key, initialise
from weightwalk.testing import plain_graphs
from weightwalk.weights import Weights

CLASSES = 10
NAMES = {"ng_gnn": "NG-GNN", "ng_t": "NG-T"}


@dataclass(frozen=True)
class GraphSizes:
    """Networks in a batch, and options of each encoder that are not the published ones.

    A batch is a quarter of the published one: the plain NG-T takes 150 MiB for every network that it trains on.
    """

    batch: int = 32
    options: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def __hash__(self) -> int:
        return hash((self.batch, str(self.options)))


_NODES = {"node_dim": 8, "edge_dim": 4, "attention_dim": 8, "node_hidden": 8, "edge_hidden": 8}
TINY = GraphSizes(
    2,
    {
        "ng_gnn": {"dim": 4, "num_layers": 2, "num_frequencies": 2},
        "ng_t": {**_NODES, "num_layers": 2, "num_heads": 2, "num_frequencies": 2},
    },
)


def lines(task: str, sizes: GraphSizes) -> list[Line]:
    """A line of the table for each of them."""
    told = [(f"{name}_{task}_ratio", title) for name, title in NAMES.items()]
    return [
        Line(key, f"{title}, {sizes.batch} INRs of MNIST", f"{PLAIN}, {title}", f"{OURS}, {title}", sizes.batch)
        for key, title in told
    ]


def sides() -> dict[str, tuple[str, str]]:
    """Every side, by its name in the table: whose it is, and of which encoder."""
    return {f"{side}, {told}": (side, name) for name, told in NAMES.items() for side in (PLAIN, OURS)}


@cache
def networks(batch: int) -> Weights:
    """SIRENs as they start: what reading them costs does not depend on what they show."""
    return initialise(RECIPE.spec(2, 1), [Key(0, 0, image, 0) for image in range(batch)], RECIPE.scheme)


@cache
def reader(name: str, sizes: GraphSizes) -> Reader:
    """A classifier, always the same."""
    given = networks(sizes.batch)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        encoder = EncoderConfig.named(name, **sizes.options.get(name, {})).build(given.spec)
        encoder.prepare([given])
        return Reader(encoder, MLPHead(encoder.encoding_shape, CLASSES))


def encodings(model: Any, side: str, given: Weights) -> Tensor:
    """One side's."""
    found: Tensor = plain_graphs.pooled(model.encoder, given) if side == PLAIN else model.encoder.encode(given)
    return found


def loss(model: Any, side: str, samples: tuple[Weights, Tensor]) -> Tensor:
    """Of classes."""
    given, labels = samples
    return F.cross_entropy(model.head(encodings(model, side, given)), labels)


def samples(sizes: GraphSizes) -> tuple[Weights, Tensor]:
    """Networks and what they are said to show."""
    return networks(sizes.batch), torch.arange(sizes.batch) % CLASSES
