"""Which steps the DNG-Encoder reads, and with which maps: sizes that are known from specs alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import nn

from weightwalk.encoders import dng_steps as maps
from weightwalk.errors import InputError
from weightwalk.spec import NetworkSpec
from weightwalk.steps import (
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
    Layer,
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

_KIND: dict[type[Step], str] = {
    **{Dense: "message", Conv: "message", Embed: "message"},
    **{Norm: "norm", Learned: "learned", Add: "add", Append: "append", Attention: "attention", Patches: "patches"},
}
_UNMAPPED = (
    *(
        Activate,
        Affine,
        MeanPool,
        Pool,
        Upsample,
        Resize,
        Crop,
        Pick,
        Reshape,
        Rearrange,
        Softmax,
        Move,
        Multiply,
        Concat,
        Slice,
        Pad,
    ),
)
KINDS = tuple(dict.fromkeys(_KIND.values()))
"""Steps for which there is something to learn."""


def kind_of(step: Step) -> str | None:
    """Which kind of maps a step needs; None for one that moves memories as it moves channels."""
    return _KIND.get(type(step))


def kinds_of(specs: Sequence[NetworkSpec], more: Sequence[str] = ()) -> tuple[str, ...]:
    """The kinds of maps that some networks need, and `more`, in the order of KINDS."""
    if strangers := [kind for kind in more if kind not in KINDS]:
        raise InputError(f"unknown kind of step {strangers[0]!r}; known: {', '.join(KINDS)}")
    found = {kind_of(step) for spec in specs for step in spec.steps} | {*more}
    return tuple(kind for kind in KINDS if kind in found)


def taps_of(step: Step) -> int:
    """Parallel edges per pair of nodes."""
    return step.taps if isinstance(step, Layer) and kind_of(step) == "message" else 1


def most_taps(spec: NetworkSpec) -> int:
    """The most parallel edges of a pair of nodes."""
    return max(map(taps_of, spec.steps))


def places_of(spec: NetworkSpec, value: int) -> tuple[int, ...]:
    """What a positional map has rows for: the nodes of a head (queries, values), or the numbers of a patch.

    Patches of the network's own input have a place per number, others one per pixel: their channels may be
    exchangeable.
    """
    step = spec.steps[value - 1]
    if isinstance(step, Attention):
        return step.fan_in // step.heads, step.values // step.heads
    assert isinstance(step, Patches)
    return (step.fan_out if spec.sources(value) == (0,) else step.fan_out // step.fan_in,)


@dataclass(frozen=True)
class Plan:
    """The sizes and choices of an encoder's maps. `taps` 0 means one edge per pair (Eq 4); with `kinds`, maps are
    shared by timestamps.
    """

    spec: NetworkSpec
    dim: int
    feature_dim: int
    taps: int
    head_dim: int
    padding: str
    residual: str
    attention: str
    norm_after: bool
    kinds: tuple[str, ...] = ()
    places: dict[str, tuple[int, ...]] = field(default_factory=dict)

    def modules(self, number: int) -> tuple[list[nn.Module], dict[str, nn.Module], dict[str, nn.Module]]:
        """The maps of pass `number`: of each layer, of each other step by the value that it writes, or of each kind."""
        layers: list[nn.Module] = []
        between: dict[str, nn.Module] = {}
        if self.kinds:
            return (
                layers,
                between,
                {kind: self._make(kind, number, self.taps, self.places.get(kind, (0,))) for kind in self.kinds},
            )
        for value, step in enumerate(self.spec.steps, start=1):
            kind = kind_of(step)
            if kind is not None:
                heads = self.taps if self.padding == "features" else min(self.taps, taps_of(step))
                places = places_of(self.spec, value) if kind in ("attention", "patches") else (0,)
                found = self._make(kind, number, heads, places)
                if isinstance(step, Layer):
                    layers.append(found)
                else:
                    between[str(value)] = found
        return layers, between, {}

    def _make(self, kind: str, number: int, heads: int, places: tuple[int, ...]) -> nn.Module:
        input_dim = self.dim if number else self.feature_dim
        if kind == "message":
            if self.taps:
                return maps.TapMaps(self.feature_dim, input_dim, self.dim, heads, self.head_dim, self.padding)
            return maps.StepMaps(self.feature_dim, input_dim, self.dim)
        if kind == "attention":
            return (
                maps.PairedHeads(self.dim) if self.attention == "pairs" else maps.PositionedHeads(places[0], self.dim)
            )
        made: dict[str, Any] = {
            "norm": lambda: maps.NormMaps(self.feature_dim, self.dim, self.norm_after),
            "learned": lambda: maps.LearnedMaps(self.feature_dim, self.dim),
            "add": lambda: maps.JoinMaps(self.dim, self.residual == "map"),
            "append": lambda: maps.JoinMaps(self.dim, self.residual == "map"),
            "patches": lambda: maps.PatchMaps(places[0], self.dim),
        }
        module: nn.Module = made[kind]()
        return module

    def check(self, spec: NetworkSpec) -> None:
        """InputError that names the first step of `spec` that can't be read; without `kinds`, of a spec of the same
        shape.
        """
        for value, step in enumerate(spec.steps, start=1):
            kind, where = kind_of(step), f"step {value - 1} ({step.kind}) of {spec}"
            if kind is None and not isinstance(step, _UNMAPPED):
                raise InputError(f"the DNG-Encoder can't read {where}")
            if self.kinds and kind not in (None, *self.kinds):
                raise InputError(
                    f"this model was made for steps of the kinds {', '.join(self.kinds)}, but {where} is {kind!r}"
                )
            if taps_of(step) > max(1, self.taps):
                limit = f"up to {self.taps} taps" if self.taps else 'one tap (messages "pair")'
                raise InputError(
                    f"this model reads layers of {limit}, but {where} has {taps_of(step)}; make one with more max_taps"
                )
            if kind == "attention" and self.attention == "positions" and len(set(places_of(spec, value))) > 1:
                raise InputError(f'attention "positions" needs as many queries as values in a head, unlike {where}')
            if kind == "patches" or (kind == "attention" and self.attention == "positions"):
                wanted = self.places.get(kind, (0,)) if self.kinds else places_of(self.spec, value)
                if places_of(spec, value) != wanted:
                    raise InputError(
                        f"this model has learned {wanted[0]} places for {kind}, but {where} has "
                        f"{places_of(spec, value)[0]}"
                    )


def shared_places(spec: NetworkSpec) -> dict[str, tuple[int, ...]]:
    """Of each kind, the places that the first such step of a spec has."""
    found: dict[str, tuple[int, ...]] = {}
    for value, step in enumerate(spec.steps, start=1):
        kind = kind_of(step)
        if kind in ("attention", "patches"):
            found.setdefault(kind, places_of(spec, value))
    return found
