"""Which maps the DNG-Encoder has for which steps, and which networks it can read: what specs alone tell."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from torch import nn

from weightwalk.encoders.dng import maps
from weightwalk.encoders.dng.details import Details
from weightwalk.encoders.dng.targets import ToldMaps, ToldTapMaps
from weightwalk.errors import InputError
from weightwalk.graphs.features import FourierFeatures
from weightwalk.spec import NetworkSpec, Scheduled
from weightwalk.steps import Add, Append, Attention, Conv, Dense, Embed, Learned, Multiply, Norm, Patches, Step

_KIND: dict[type[Step], str] = {
    **{Dense: "message", Conv: "message", Embed: "message"},
    **{Norm: "norm", Learned: "learned", Add: "add", Append: "append", Attention: "attention", Patches: "patches"},
}
KINDS = tuple(dict.fromkeys(_KIND.values()))
"""The kinds of steps that have something to learn; other steps move memories as they move channels."""


def kind_of(step: Step) -> str | None:
    """The kind of maps that a step needs, None for one without."""
    return _KIND.get(type(step))


def kinds_of(specs: Sequence[NetworkSpec], more: Sequence[str] = ()) -> tuple[str, ...]:
    """The kinds that some networks need, and `more`, in the order of KINDS."""
    found = {kind_of(step) for spec in specs for step in spec.steps} | {*more}
    return tuple(kind for kind in KINDS if kind in found)


def taps_of(step: Step) -> int:
    """Parallel edges per pair of nodes."""
    return step.taps if isinstance(step, (Dense, Conv)) else 1


def most_taps(spec: NetworkSpec) -> int:
    """The most parallel edges of a pair of nodes."""
    return max(map(taps_of, spec.steps))


def off_chain(spec: NetworkSpec) -> Scheduled | None:
    """The first step that is not of a chain of dense layers and convolutions, with others that leave nodes as they are
    (pooling, activations) between them; None if there is none.
    """
    for at in spec.schedule:
        passes_on = kind_of(at.step) is None and not at.step.has_timestamp and type(at.step).links is Step.links
        if not (passes_on or isinstance(at.step, (Dense, Conv))) or at.sources != (at.value - 1,):
            return at
    return None


def places_of(at: Scheduled) -> tuple[int, ...]:
    """How many rows the map of a step has that counts nodes by their place; (0,) for any other step.

    In an attention they are the nodes of a head (of queries, of values), in patches of the network's own input all
    numbers of a patch; in other patches they are its pixels, as channels may be exchangeable.
    """
    step = at.step
    if isinstance(step, Attention):
        return step.fan_in // step.heads, step.values // step.heads
    if isinstance(step, Patches):
        return (step.fan_out if at.sources == (0,) else step.fan_out // step.fan_in,)
    return (0,)


@dataclass(frozen=True)
class MapBuilder:
    """Makes the maps of an encoder for `spec`. `taps` is 0 for one edge per pair (Eq 4); with `kinds`, all timestamps
    share one set of maps per kind.
    """

    spec: NetworkSpec
    features: FourierFeatures
    dim: int
    taps: int
    head_dim: int
    details: Details
    kinds: tuple[str, ...] = ()
    told: bool = False
    """Whether messages are told of their targets (`targets.py`)."""
    places: dict[str, tuple[int, ...]] = field(init=False)

    def __post_init__(self) -> None:
        firsts = {str(kind_of(at.step)): places_of(at) for at in reversed(self.spec.schedule)}
        object.__setattr__(self, "places", firsts)
        self.check(self.spec)

    def modules(self, number: int) -> tuple[list[nn.Module], dict[str, nn.Module], dict[str, nn.Module]]:
        """The maps of pass `number`: of each layer, of each other step by the value that it writes, or of each kind."""
        layers: list[nn.Module] = []
        between: dict[str, nn.Module] = {}
        for at in () if self.kinds else self.spec.schedule:
            kind = kind_of(at.step)
            if kind is not None:
                heads = self.taps if self.details.padded_taps else min(self.taps, taps_of(at.step))
                made = self._make(kind, number, heads, places_of(at)[0])
                if at.layer is None:
                    between[str(at.value)] = made
                else:
                    layers.append(made)
        shared = {kind: self._make(kind, number, self.taps, self.places.get(kind, (0,))[0]) for kind in self.kinds}
        return layers, between, shared

    def _make(self, kind: str, number: int, heads: int, places: int) -> nn.Module:
        later = number > 0
        match kind:
            case "message" if heads and self.told:
                return ToldTapMaps(self.features, self.dim, later, heads, self.head_dim)
            case "message" if self.told:
                return ToldMaps(self.features, self.dim, later)
            case "message" if heads:
                padded = self.details.padded_taps
                return maps.TapMaps(self.features, self.dim, later, heads, self.head_dim, padded)
            case "message":
                return maps.StepMaps(self.features, self.dim, later)
            case "norm":
                return maps.NormMaps(self.features, self.dim)
            case "learned":
                return maps.LearnedMaps(self.features, self.dim)
            case "add" | "append":
                return maps.JoinMaps(self.dim, not self.details.plain_residuals)
            case "attention" if self.details.heads_by_place:
                return maps.PlacedHeads(places, self.dim)
            case "attention":
                return maps.PairedHeads(self.dim)
        assert kind == "patches"
        return maps.PatchMaps(places, self.dim)

    def check(self, spec: NetworkSpec) -> None:
        """InputError that names the first step of `spec` that can't be read; without `kinds`, of a spec of the same
        shape.
        """
        for at in spec.schedule:
            step, kind = at.step, kind_of(at.step)
            if kind is None and (step.has_timestamp or (step.joins and not isinstance(step, Multiply))):
                raise InputError(f"the DNG-Encoder can't read {where(at, spec)}")
            if self.kinds and kind not in (None, *self.kinds):
                raise InputError(
                    f"this model was made for steps of the kinds {', '.join(self.kinds)}, but {where(at, spec)} is "
                    f"{kind!r}"
                )
            if taps_of(step) > max(1, self.taps):
                raise InputError(
                    f"this model reads layers of up to {max(1, self.taps)} taps, but {where(at, spec)} has "
                    f"{taps_of(step)}; make one with more max_taps"
                )
            by_place = kind == "patches" or (kind == "attention" and self.details.heads_by_place)
            if not by_place:
                continue
            if len(set(places_of(at))) > 1:
                raise InputError(
                    f"published attention needs as many queries as values in a head, unlike {where(at, spec)}"
                )
            own = places_of(self.spec.schedule[at.value - 1]) if not self.kinds else self.places.get(str(kind), (0,))
            if places_of(at) != own:
                raise InputError(
                    f"this model has learned {own[0]} places for {kind}, but {where(at, spec)} has {places_of(at)[0]}"
                )


def where(at: Scheduled, spec: NetworkSpec) -> str:
    """Which step, for a sentence."""
    return f"step {at.value - 1} ({at.step.kind}) of {spec}"
