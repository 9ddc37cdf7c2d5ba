"""What every kind of step has in common: the fields and facts by which the house reads it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, fields
from functools import cache
from numbers import Number
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, get_type_hints

from weightwalk import config
from weightwalk.errors import InputError


class Link(NamedTuple):
    """Channel `channels[i]` of source number `source` has to move with channel `others[i]`.

    The latter is one of source number `other`, or, if that is None, one of the value that the step writes.
    """

    source: int
    channels: Sequence[int]
    others: Sequence[int]
    other: int | None = None


@dataclass(frozen=True)
class Step:
    """One move of the forward pass. Steps without parameters pass values on, whose nodes keep their sources' order.

    What the house has to know of a kind of step stands in its class: how many sources it takes, `links` and `blocks`
    (which of its channels belong together), and four facts:

    - `has_timestamp`: it makes nodes of its own, as layers and attention do; the others pass nodes on;
    - `is_constant`: it depends on no value that it reads; its source only says how many examples there are;
    - `joins`: it makes one value out of several of equally many channels;
    - `commutes`: the order of its sources does not count.
    """

    kind: ClassVar[str]
    num_sources: ClassVar[tuple[int, int]] = (1, 1)  # at least, at most
    has_timestamp: ClassVar[bool] = False
    is_constant: ClassVar[bool] = False
    joins: ClassVar[bool] = False
    commutes: ClassVar[bool] = False
    fan_in: int
    sources: tuple[int, ...] = field(default=(), kw_only=True)

    def __post_init__(self) -> None:
        kind: Any = type(self)
        for name, hint, default in _typed_fields(kind):
            value = getattr(self, name)
            plain = value is default or (type(value) is hint and (hint not in (int, float) or abs(value) < _MOST))
            if not plain:
                value = value.item() if isinstance(value, Number) and hasattr(value, "item") else value  # of numpy
                object.__setattr__(self, name, config.typed(hint, value, f"{self.kind}.{name}"))
        if self.fan_in < 1 or self.fan_out < 1:
            raise InputError(
                f"a {self.kind} step needs at least one node on each side, got {self.fan_in} -> {self.fan_out}"
            )
        low, high = self.num_sources
        if self.sources and not low <= len(self.sources) <= high:
            count = low if low == high else f"{low} or more"
            raise InputError(f"a {self.kind} step reads {count} values, got sources {self.sources}")

    if TYPE_CHECKING:

        @property
        def fan_out(self) -> int:
            """Channels written."""

    @property
    def reads(self) -> tuple[int, ...]:
        """Channels expected of each source."""
        return (self.fan_in,) * max(1, len(self.sources))

    @property
    def input_axes(self) -> int | None:
        """Axes of one example that the step reads, where the step alone decides that."""
        return None

    def links(self) -> Iterator[Link]:
        """The channels that have to move together: here, each source's with the same ones of the value written."""
        for source in range(len(self.reads)):
            yield Link(source, range(self.fan_out), range(self.fan_out))

    def blocks(self) -> Iterator[tuple[int | None, int]]:
        """The values that the step sees in blocks of channels: source number (None: the value written), how many."""
        yield from ()

    @property
    def num_edges(self) -> int:
        """Edges of the dynamic graph that arrive with the nodes which the step makes."""
        return 0

    def to_dict(self) -> dict[str, Any]:
        """Its kind and all of its fields as plain JSON values."""
        values = {entry.name: getattr(self, entry.name) for entry in fields(self)}
        return {"kind": self.kind} | {k: list(v) if isinstance(v, tuple) else v for k, v in values.items()}


_MOST = 2.0**63  # larger numbers, and those that are not finite, are looked at by `config.typed`


@cache
def _typed_fields(kind: Any) -> tuple[tuple[str, Any, Any], ...]:
    """The names, types and defaults of a step's fields."""
    hints = get_type_hints(kind)
    return tuple((entry.name, hints[entry.name], entry.default) for entry in fields(kind))


@dataclass(frozen=True)
class Sized(Step):
    """A step that writes another number of channels than it reads."""

    fan_out: int


@dataclass(frozen=True)
class Passing(Step):
    """A step that writes the channels that it reads."""

    @property
    def fan_out(self) -> int:
        return self.fan_in
