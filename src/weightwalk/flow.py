"""The order in which a network's steps are done, and where the nodes of every value come from.

A *timestamp* belongs to every step that computes with parameters, or mixes nodes: layers and attention. The group of
nodes that is written at t_l is v^l; group 0 is the input. Other steps pass nodes on: their values are made of groups
that are there already.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from weightwalk.steps import Activate, Add, Layer, Norm, Step


class Scheduled(NamedTuple):
    """One step in its place: it writes `value` (counted from 1; 0 is the input) and reads the values `sources`.

    `layer` is its number among the steps with parameters, None if it has none. `done` are the values that no later
    step reads, this one's own among them if nothing reads it; the last value of a network is never done.
    """

    value: int
    step: Step
    sources: tuple[int, ...]
    layer: int | None
    done: tuple[int, ...]


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


def schedule(steps: Sequence[Step]) -> tuple[Scheduled, ...]:
    """The steps in the order of inference, each with what it reads and what may be forgotten after it."""
    sources = [step.sources or (number,) for number, step in enumerate(steps)]
    last_read = dict(enumerate(range(len(steps))))  # a value that nobody reads is done when it is written
    last_read |= {source: value for value, read in enumerate(sources, start=1) for source in read}
    found, layer = [], 0
    for value, step in enumerate(steps, start=1):
        done = tuple(dict.fromkeys(source for source in sources[value - 1] if last_read[source] == value))
        if last_read.get(value) == value:
            done += (value,)
        found.append(Scheduled(value, step, sources[value - 1], layer if isinstance(step, Layer) else None, done))
        layer += isinstance(step, Layer)
    return tuple(found)


def flow(schedule: Sequence[Scheduled], num_inputs: int) -> Flow:
    """The facts of a network that reads `num_inputs` channels."""
    groups: list[tuple[int, ...]] = [(0,)]
    present: list[tuple[bool, ...]] = [(True,) * num_inputs]
    targets = [0]
    now, written = 0, [0]  # timestamps, except that learned values count as older than all
    readers: list[list[Scheduled]] = [[] for _ in range(len(schedule) + 1)]  # those that read a value's channels
    for at in schedule:
        ages = [written[source] for source in at.sources]
        target = ages.index(max(ages))
        targets.append(target)
        if at.step.has_timestamp:
            now += 1
            written.append(-1 if at.step.is_constant else now)
            groups.append((now,))
        else:
            written.append(max(ages))
            own = [at.sources[target]] if at.step.joins else at.sources
            groups.append(tuple(dict.fromkeys(group for source in own for group in groups[source])))
        present.append(_present(at.step, [present[source] for source in at.sources]))
        for source in () if at.step.is_constant else at.sources:
            readers[source].append(at)
    layers = [at for at in schedule if at.layer is not None]
    settled = tuple(_settled(at.value, readers, targets) for at in layers)
    activations = tuple(_activation(at, readers, targets) for at in layers)
    return Flow(tuple(groups), tuple(targets), settled, activations, tuple(present))


def _present(step: Step, read: list[tuple[bool, ...]]) -> tuple[bool, ...]:
    if step.has_timestamp:
        return (True,) * step.fan_out
    found = [False] * step.fan_out
    for link in step.links():
        for channel, written in zip(link.channels, link.others, strict=True):
            found[written] |= read[link.source][channel]
    return tuple(found)


def _settled(value: int, readers: list[list[Scheduled]], targets: list[int]) -> int:
    """On from `value` while an addition to it is all that reads it."""
    while len(readers[value]) == 1:
        reader = readers[value][0]
        if not isinstance(reader.step, Add) or reader.sources[targets[reader.value]] != value:
            break
        value = reader.value
    return value


def _activation(at: Scheduled, readers: list[list[Scheduled]], targets: list[int]) -> str:
    """The layer's own activation, or the next one, through norms, additions to its nodes and whatever else passes them
    on.
    """
    if isinstance(at.step, (Layer, Activate)) and at.step.activation != "identity":
        return at.step.activation
    for reader in readers[at.value]:
        added_to = not reader.step.joins or reader.sources[targets[reader.value]] == at.value
        if isinstance(reader.step, Norm) or (added_to and not reader.step.has_timestamp):
            return _activation(reader, readers, targets)
    return "identity"
