"""Where the nodes of every value of a network come from: facts of a spec that the timeline and the encoders read.

A *timestamp* belongs to every step that computes with parameters, or mixes nodes: layers and attention. The group of
nodes that is written at t_l is v^l; group 0 is the input. Other steps pass nodes on: their values are made of groups
that are there already.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from weightwalk.spec import NetworkSpec
from weightwalk.steps import (
    Activate,
    Add,
    Append,
    Attention,
    Concat,
    Layer,
    Learned,
    Multiply,
    Norm,
    Pad,
    Rearrange,
    Slice,
    Step,
)


@dataclass(frozen=True)
class Flow:
    """Per value v, 0 the input: `groups[v]` are the node groups that it is made of.

    - `targets[v]`: where several values are added, multiplied or appended, the place among its sources of the newest
      one that is not learned values. Its nodes are there already, and the others send to them.
    - `settled[l]`: the value in which the nodes of layer l are after all additions to them that nobody looked past.
    - `activations[l]`: the activation that layer l's values meet next.
    - `present[v]`: which channels are nodes, and not padding.
    """

    groups: tuple[tuple[int, ...], ...]
    targets: tuple[int, ...]
    settled: tuple[int, ...]
    activations: tuple[str, ...]
    present: tuple[tuple[bool, ...], ...]


def has_timestamp(step: Step) -> bool:
    """Whether the step makes nodes of its own; the others pass nodes on."""
    return isinstance(step, (Layer, Attention))


def joins(step: Step) -> bool:
    """Whether the step makes one value out of several of equally many channels."""
    return isinstance(step, (Add, Multiply, Append))


@lru_cache(maxsize=256)
def flow(spec: NetworkSpec) -> Flow:
    """The facts of one spec."""
    groups: list[tuple[int, ...]] = [(0,)]
    present: list[tuple[bool, ...]] = [(True,) * spec.widths[0]]
    targets = [0]
    now, written = 0, [0]  # timestamps, except that learned values count as older than all
    for value, step in enumerate(spec.steps, start=1):
        sources = spec.sources(value)
        ages = [written[source] for source in sources]
        target = ages.index(max(ages))
        targets.append(target)
        if has_timestamp(step):
            now += 1
            written.append(-1 if isinstance(step, Learned) else now)
            groups.append((now,))
        else:
            written.append(max(ages))
            own = [sources[target]] if joins(step) else sources
            groups.append(tuple(dict.fromkeys(group for source in own for group in groups[source])))
        present.append(_present(step, [present[source] for source in sources]))
    readers = _readers(spec)
    settled = tuple(_settled(spec, value, readers, targets) for value in spec.layer_values)
    activations = tuple(_activation(spec, value, readers, targets) for value in spec.layer_values)
    return Flow(tuple(groups), tuple(targets), settled, activations, tuple(present))


def _readers(spec: NetworkSpec) -> list[list[int]]:
    """Per value, the values whose steps read its channels."""
    readers: list[list[int]] = [[] for _ in range(len(spec.steps) + 1)]
    for value, step in enumerate(spec.steps, start=1):
        if not isinstance(step, Learned):
            for source in spec.sources(value):
                readers[source].append(value)
    return readers


def _present(step: Step, read: list[tuple[bool, ...]]) -> tuple[bool, ...]:
    match step:
        case Layer() | Attention():
            return (True,) * step.fan_out
        case Pad():
            return (False,) * step.before + read[0] + (False,) * (step.fan_out - step.fan_in - step.before)
        case Rearrange():
            return tuple(any(read[0][channel] for channel in origin) for origin in step.origins)
        case Slice():
            return read[0][step.start : step.start + step.fan_out]
        case Concat():
            return tuple(channel for channels in read for channel in channels)
    if joins(step):
        return tuple(any(channel) for channel in zip(*read, strict=True))
    return read[0] * (step.fan_out // len(read[0]))


def _settled(spec: NetworkSpec, value: int, readers: list[list[int]], targets: list[int]) -> int:
    """On from `value` while an addition to it is all that reads it."""
    while len(readers[value]) == 1:
        reader = readers[value][0]
        if not isinstance(spec.steps[reader - 1], Add) or spec.sources(reader)[targets[reader]] != value:
            return value
        value = reader
    return value


def _activation(spec: NetworkSpec, value: int, readers: list[list[int]], targets: list[int]) -> str:
    """The layer's own activation, or the next one, through norms, additions to its nodes and whatever else passes them
    on.
    """
    step = spec.steps[value - 1]
    if isinstance(step, (Layer, Activate)) and step.activation != "identity":
        return step.activation
    for reader in readers[value]:
        following = spec.steps[reader - 1]
        added_to = not joins(following) or spec.sources(reader)[targets[reader]] == value
        if isinstance(following, Norm) or (added_to and not has_timestamp(following)):
            return _activation(spec, reader, readers, targets)
    return "identity"
