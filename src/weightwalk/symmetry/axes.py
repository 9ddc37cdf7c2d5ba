"""Which neurons of a network may change places, found from its spec alone.

Every channel of every value belongs to a *class*: channels that have to move together, because a residual connection
adds them, an attention multiplies them, a weight is used twice (ties), or a step without parameters passes them on.
Classes that occur in the same values, tied alike, are exchangeable and make a *group*. Where a step has blocks
(attention heads, convolution groups, norm groups), a class stays within its block unless the blocks change places as
wholes, in all groups of the same *frame* at once. Input and output channels stay where they are.

The order that is found never changes the network's function. It is not always all that is possible: blocks that don't
fit each other stay in place.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate, pairwise
from typing import NamedTuple

from weightwalk.spec import NetworkSpec, Scheduled
from weightwalk.steps import Layer


@dataclass(frozen=True)
class Group:
    """Exchangeable classes, in the order in which they first occur; `blocks[i]` is the block of the i-th.

    Blocks of groups with the same `frame` change places together; with frame None they stay.
    """

    classes: tuple[int, ...]
    blocks: tuple[int, ...]
    frame: int | None = None

    @property
    def members(self) -> list[list[int]]:
        """Per block, the places of its classes in the group."""
        found: dict[int, list[int]] = defaultdict(list)
        for place, block in enumerate(self.blocks):
            found[block].append(place)
        return [found[block] for block in sorted(found)]


@dataclass(frozen=True)
class Axes:
    """`values[v][c]` is the class of channel c of value v; `groups` are the exchangeable ones."""

    values: tuple[tuple[int, ...], ...]
    groups: tuple[Group, ...]


class _Link(NamedTuple):
    """Channel `ones[i]` of value `one` has to move with channel `others[i]` of value `other`."""

    one: int
    ones: Sequence[int]
    other: int
    others: Sequence[int]


class _Block(NamedTuple):
    """Block `block` of those that the step which writes value `step` sees; `role` is the number among `Step.blocks`."""

    step: int
    role: int
    block: int


@lru_cache(maxsize=256)
def axes(spec: NetworkSpec) -> Axes:
    """The classes and groups of a network."""
    widths = [spec.widths[0], *(step.fan_out for step in spec.steps)]
    links = [link for at in spec.schedule for link in _links(at)]
    fixed = {0, len(spec.steps)}
    for one, other in _tied_values(spec):
        if widths[one] == widths[other]:
            links.append(_Link(one, range(widths[one]), other, range(widths[one])))
        else:  # tokens, which aren't channels
            fixed.add(other)
    values = _classes(widths, links)
    blocks: dict[int, list[_Block]] = defaultdict(list)
    for at in spec.schedule:
        for role, (source, count) in enumerate(at.step.blocks()):
            value = at.value if source is None else at.sources[source]
            size = widths[value] // count
            for place, c in enumerate(values[value]):
                blocks[c].append(_Block(at.value, role, place // size))
    fixed_classes = {c for value in fixed for c in values[value]}
    return Axes(tuple(values), _groups(values, fixed_classes, blocks, _twists(values, links)))


def hidden_widths(spec: NetworkSpec) -> tuple[int, ...]:
    """Nodes per exchangeable group; for a chain of dense steps n_1 ... n_{L-1}."""
    return tuple(len(group.classes) for group in axes(spec).groups)


def _links(at: Scheduled) -> Iterator[_Link]:
    """The links of a step, from its sources' numbers to those of the values."""
    for source, channels, others, other in at.step.links():
        yield _Link(at.sources[source], channels, at.value if other is None else at.sources[other], others)


def _tied_values(spec: NetworkSpec) -> Iterator[tuple[int, int]]:
    """Pairs of values that have the same neurons: what a tied layer reads and its weight's owner writes, and back."""
    layers = [(at.sources[0], at.value, at.step) for at in spec.schedule if isinstance(at.step, Layer)]
    for read, written, layer in layers:
        if layer.tied is not None:
            owners_read, owners_written, _ = layers[layer.tied]
            yield from ((owners_written, read), (owners_read, written))


def _classes(widths: Sequence[int], links: Sequence[_Link]) -> list[tuple[int, ...]]:
    """The class of every channel of every value; classes are numbered as they first occur."""
    starts = [0, *accumulate(widths)]
    parents = list(range(starts[-1]))

    def root(node: int) -> int:
        while parents[node] != node:
            parents[node] = node = parents[parents[node]]
        return node

    for one, ones, other, others in links:
        for x, y in zip(ones, others, strict=True):
            a, b = root(starts[one] + x), root(starts[other] + y)
            parents[max(a, b)] = min(a, b)
    numbers: dict[int, int] = {}
    return [
        tuple(numbers.setdefault(root(node), len(numbers)) for node in range(start, stop))
        for start, stop in pairwise(starts)
    ]


def _twists(values: Sequence[tuple[int, ...]], links: Sequence[_Link]) -> dict[int, tuple[tuple[int, int, int], ...]]:
    """Of each class that a value has several times: per link, which of its occurrences are tied to which.

    Classes change places occurrence by occurrence, so they have to be tied alike.
    """
    repeated = [value for value in values if len(set(value)) < len(value)]
    several = {c for value in repeated for c, count in Counter(value).items() if count > 1}
    nth: dict[tuple[int, int], int] = {}
    for number, value in enumerate(values):
        seen: Counter[int] = Counter()
        for place, c in enumerate(value):
            if c in several:
                nth[number, place] = seen[c]
                seen[c] += 1
    found: dict[int, set[tuple[int, int, int]]] = defaultdict(set)
    for number, (one, ones, other, others) in enumerate(links if several else ()):
        for x, y in zip(ones, others, strict=True):
            if values[one][x] in several:
                found[values[one][x]].add((number, nth[one, x], nth[other, y]))
    return {c: tuple(sorted(ties)) for c, ties in found.items()}


class _Draft(NamedTuple):
    """Classes that are alike, the block of each, the steps that have these; `whole` if all blocks are equally large."""

    classes: tuple[int, ...]
    blocks: tuple[int, ...]
    steps: frozenset[int]
    whole: bool


def _groups(
    values: list[tuple[int, ...]],
    fixed: set[int],
    blocks: Mapping[int, list[_Block]],
    twists: Mapping[int, tuple[tuple[int, int, int], ...]],
) -> tuple[Group, ...]:
    occurrences: dict[int, list[int]] = defaultdict(list)
    for number, value in enumerate(values):
        for c in value:
            occurrences[c].append(number)
    alike: dict[object, list[int]] = defaultdict(list)
    for c, numbers in occurrences.items():
        if c not in fixed:
            alike[tuple(numbers), _pattern(blocks.get(c, ())), twists.get(c)].append(c)
    drafts = [_drafted(classes, blocks) for classes in alike.values()]
    frames = _frames([draft.steps for draft in drafts if draft.steps])
    sizes: dict[int, set[int]] = defaultdict(set)  # how many blocks there are to change places
    stiff = {block.step for c in fixed for block in blocks.get(c, ())}  # steps whose blocks can't
    for draft in drafts:
        stiff |= frozenset() if draft.whole else draft.steps
        for step in draft.steps:
            sizes[frames[step]].add(max(draft.blocks) + 1)
    rigid = {frames[step] for step in stiff if step in frames}
    rigid |= {frame for frame, counts in sizes.items() if len(counts) > 1}
    groups = []
    for draft in drafts:
        frame = frames[min(draft.steps)] if draft.steps else None
        groups.append(Group(draft.classes, draft.blocks, None if frame in rigid else frame))
    return tuple(groups)


def _drafted(classes: list[int], blocks: Mapping[int, list[_Block]]) -> _Draft:
    keys = [tuple(sorted({(block.step, block.role, block.block) for block in blocks.get(c, ())})) for c in classes]
    names = sorted({tuple(block for _, _, block in key) for key in keys})
    place = {name: number for number, name in enumerate(names)}
    numbered = tuple(place[tuple(block for _, _, block in key)] for key in keys)
    in_order = all(set(name) <= {number} for number, name in enumerate(names))  # block i everywhere is the i-th
    whole = in_order and len(set(Counter(numbered).values())) == 1
    return _Draft(tuple(classes), numbered, frozenset(step for step, _, _ in keys[0]), whole)


def _pattern(blocks: Sequence[_Block]) -> tuple[tuple[int, int, int], ...]:
    """The blocks that a class's occurrences are in, each numbered among the class's own: which of them are together."""
    own: dict[tuple[int, int], list[int]] = defaultdict(list)
    for step, role, block in blocks:
        own[step, role].append(block)
    ranks = {place: sorted(set(found)) for place, found in own.items()}
    return tuple((step, role, ranks[step, role].index(block)) for step, role, block in blocks)


def _frames(linked: Sequence[frozenset[int]]) -> dict[int, int]:
    """The frame of every step with blocks: steps that share a class share a frame, named by the first of them."""
    frames = {step: step for steps in linked for step in steps}
    for steps in linked:
        merged = {frames[step] for step in steps}
        for step, frame in frames.items():
            if frame in merged:
                frames[step] = min(merged)
    return frames
