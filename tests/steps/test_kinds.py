"""Every kind of step is complete: each place of docs/architecture.md, "a kind of step", is tried with a small network.

A kind that is missing in one of them, or whose channels are tied otherwise than it computes, is named.
"""

import json
from dataclasses import dataclass
from typing import ClassVar

import pytest
import torch

from weightwalk import InputError, NetworkSpec, evaluate, steps
from weightwalk.encoders import DNGEncoder
from weightwalk.graphs.dynamic import DynamicGraph
from weightwalk.report.cost import multiply_adds
from weightwalk.steps import (
    STEPS,
    Activate,
    Add,
    Affine,
    Append,
    Attention,
    Concat,
    Conv,
    Crop,
    Dense,
    Embed,
    Learned,
    MeanPool,
    Move,
    Multiply,
    Norm,
    Pad,
    Patches,
    Pick,
    Pool,
    Rearrange,
    Reshape,
    Resize,
    Slice,
    Softmax,
    Step,
    Upsample,
)
from weightwalk.steps.base import Link, Passing
from weightwalk.symmetry import axes, random_permutations
from weightwalk.testing import assert_close, random_weights


def between(*kinds: Step) -> tuple[Step, ...]:
    """Steps on 6 hidden channels of a picture of 8 x 8, with a classifier behind."""
    width = kinds[-1].fan_out if kinds else 6
    return (Conv(2, 6, "tanh", padding=1), *kinds, MeanPool(width), Dense(width, 3))


PICTURE, TOKENS = (2, 8, 8), (3, 4)
EXAMPLES: dict[str, tuple[tuple[Step, ...], tuple[int, ...]]] = {
    "dense": (between(Dense(6, 5, "relu", positions=64)), PICTURE),
    "conv": (between(Conv(6, 4, "gelu", groups=2)), PICTURE),
    "norm": (between(Norm(6, 6, norm="group", groups=2)), PICTURE),
    "embed": ((Embed(7, 6), Dense(6, 3)), (4,)),
    "learned": (between(Learned(1, 6, bias=False, grid=(8, 8), sources=(1,)), Add(6, sources=(1, 2))), PICTURE),
    "activate": (between(Activate(6)), PICTURE),
    "affine": (between(Affine(6, factor=2.0, offset=1.0)), PICTURE),
    "mean_pool": (between(), PICTURE),
    "pool": (between(Pool(6)), PICTURE),
    "upsample": (between(Upsample(6, mode="linear")), PICTURE),
    "resize": (between(Resize(6, size=(3, 5))), PICTURE),
    "add": (between(Conv(6, 6, padding=1), Add(6, sources=(1, 2))), PICTURE),
    "multiply": (between(Conv(6, 6, padding=1), Multiply(6, sources=(1, 2))), PICTURE),
    "concat": (between(Conv(6, 5, padding=1), Concat(11, sources=(1, 2), widths=(6, 5))), PICTURE),
    "append": ((Dense(3, 6, "tanh"), Append(6, sources=(1, 1)), Pick(6, position=5), Dense(6, 3)), TOKENS),
    "slice": (between(Slice(6, 4, start=1)), PICTURE),
    "pad": (between(Pad(6, 9, before=1)), PICTURE),
    "crop": (between(Crop(6, (1, 0), (7, 8), (2, 3))), PICTURE),
    "pick": ((Dense(3, 6, "tanh"), Pick(6, position=2), Dense(6, 3)), TOKENS),
    "reshape": (between(Reshape(6, grid=(4, 16))), PICTURE),
    "patches": (between(Patches(6, 24, size=(2, 2))), PICTURE),
    "rearrange": (between(Rearrange(6, 12, sizes=(6, 2, 32), order=(1, 0, 2), grid=(32,))), PICTURE),
    "softmax": (between(Softmax(6)), PICTURE),
    "move": ((Dense(3, 6, "tanh"), Dense(6, 4), Move(4)), TOKENS),
    "attention": (
        (
            Dense(3, 6, "tanh"),
            *(Dense(6, 8, sources=(1,)), Dense(6, 4, sources=(1,)), Dense(6, 6, sources=(1,))),
            Attention(8, heads=4, values=12, kv_heads=2, sources=(2, 3, 4)),
            Dense(12, 3),
        ),
        TOKENS,
    ),
}


def same_function(spec: NetworkSpec, x: torch.Tensor) -> None:
    """The law: networks with their exchangeable neurons permuted compute the same."""
    weights = random_weights(spec, 3, seed=0, dtype=torch.float64)
    permuted = weights.permute(random_permutations(spec, 3, generator=torch.Generator().manual_seed(1)))
    assert_close(permuted.run(x), weights.run(x), what="outputs")


def saved(spec: NetworkSpec, x: torch.Tensor) -> None:
    assert all(getattr(steps, type(step).__name__, None) is type(step) for step in spec.steps)
    assert NetworkSpec.from_dict(json.loads(json.dumps(spec.to_dict()))) == spec


def evaluated(spec: NetworkSpec, x: torch.Tensor) -> None:
    assert random_weights(spec, 2, seed=0, dtype=torch.float64).run(x).isfinite().all()


def encoded(spec: NetworkSpec, x: torch.Tensor) -> None:
    weights = random_weights(spec, 2, seed=0)
    assert DNGEncoder(spec, dim=4, num_frequencies=2)(weights).pooled.isfinite().all()


def counted(spec: NetworkSpec, x: torch.Tensor) -> None:
    graph = DynamicGraph.of(spec)
    assert min(multiply_adds(graph)) > 0
    assert str(graph)


PLACES = {
    "steps.STEPS": saved,
    "evaluate": evaluated,
    "links and blocks": same_function,
    "encoders/dng": encoded,
    "graphs": counted,
}


def missing(network: tuple[Step, ...], shape: tuple[int, ...]) -> list[str]:
    """The places in which a step of a network is missing."""
    axes.cache_clear()
    spec, found = NetworkSpec(network, len(shape)), []
    generator = torch.Generator().manual_seed(2)
    is_tokens = isinstance(network[0], Embed)
    x = torch.randint(0, 7, (2, *shape)) if is_tokens else torch.randn(2, *shape, generator=generator).double()
    for place, tried in PLACES.items():
        try:
            tried(spec, x)
        except (AssertionError, InputError):
            found.append(place)
    axes.cache_clear()
    return found


@pytest.mark.parametrize("kind", STEPS)
def test_a_kind_of_step_is_everywhere(kind):
    network, shape = EXAMPLES[kind]
    assert any(step.kind == kind for step in network)
    assert missing(network, shape) == []


@pytest.mark.parametrize("kind", STEPS)
def test_channels_that_a_kind_ties_and_does_not_say_are_found(kind, monkeypatch):
    network, shape = EXAMPLES[kind]
    step = next(step for step in network if step.kind == kind)
    said = {"links": list(step.links()), "blocks": list(step.blocks())}
    for name in (name for name, tied in said.items() if tied):
        monkeypatch.setattr(type(step), name, lambda self: iter(()))
        assert "links and blocks" in missing(network, shape), name
        monkeypatch.undo()


@dataclass(frozen=True)
class Reverse(Passing):
    """A made-up kind: channels in the opposite order."""

    kind: ClassVar[str] = "reverse"


@dataclass(frozen=True)
class RightReverse(Reverse):
    def links(self):
        yield Link(0, range(self.fan_in), range(self.fan_in)[::-1])


@dataclass(frozen=True)
class Made(RightReverse):
    """The same with nodes of its own."""

    has_timestamp: ClassVar[bool] = True


def test_a_made_up_kind_is_missing_everywhere(monkeypatch):
    assert {"steps.STEPS", "evaluate", "links and blocks"} <= set(missing(between(Reverse(6)), PICTURE))
    original = evaluate._pass
    monkeypatch.setattr(evaluate, "_pass", lambda s, r: r[0].flip(2) if s.kind == "reverse" else original(s, r))
    assert {"steps.STEPS", "links and blocks"} <= set(missing(between(Reverse(6)), PICTURE))
    assert "links and blocks" not in missing(between(RightReverse(6)), PICTURE)
    assert set(missing(between(Made(6)), PICTURE)) == {"steps.STEPS", "encoders/dng", "graphs"}
