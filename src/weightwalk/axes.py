"""Which neurons of a network may change places, found from its spec alone.

Every channel of every value belongs to a *class*: channels that have to move together, because a residual connection adds them, an
attention multiplies them, or a step without parameters passes them on. Classes that occur in the same values are exchangeable
and make a *group*. Where a step has blocks (attention heads, convolution groups, norm groups), a class stays within its block
unless the blocks change places as wholes, in all groups of the same *frame* at once. Input and output channels stay where they are.

The order that is found never changes the network's function. It is not always all that is possible: blocks that don't
fit each other stay in place.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from weightwalk.steps import Attention, Concat, Conv, Dense, Embed, Learned, Norm, Pad, Patches, Rearrange, Slice, Step


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


@lru_cache(maxsize=256)
def axes(steps: tuple[Step, ...], num_inputs: int) -> Axes:
    """The classes and groups of the network of these steps, which reads `num_inputs` channels."""
    found = _Search()
    values = [found.new(num_inputs)]
    fixed = set(values[0])
    for number, step in enumerate(steps, start=1):
        values.append(found.step(step, number, [values[source] for source in step.sources or (number - 1,)]))
    fixed.update(values[-1])
    roots = [tuple(map(found.root, value)) for value in values]
    return Axes(tuple(roots), _groups(roots, {found.root(c) for c in fixed}, found.keys()))


class _Search:
    """Union-find over classes, and the blocks that steps put them into."""

    def __init__(self) -> None:
        self.parents: list[int] = []
        self.blocks: list[tuple[int, int, str, int]] = []  # class, step, role, block

    def new(self, count: int) -> list[int]:
        first = len(self.parents)
        self.parents += range(first, first + count)
        return list(range(first, first + count))

    def root(self, c: int) -> int:
        while self.parents[c] != c:
            self.parents[c] = self.parents[self.parents[c]]
            c = self.parents[c]
        return c

    def unite(self, lists: Sequence[list[int]]) -> list[int]:
        for other in lists[1:]:
            for one, two in zip(lists[0], other, strict=True):
                a, b = self.root(one), self.root(two)
                self.parents[max(a, b)] = min(a, b)
        return lists[0]

    def block(self, classes: list[int], step: int, role: str, count: int) -> None:
        size = len(classes) // count
        self.blocks += [(c, step, role, place // size) for place, c in enumerate(classes)]

    def step(self, step: Step, number: int, read: list[list[int]]) -> list[int]:
        """The classes of what a step writes."""
        match step:
            case Conv(groups=count) if count > 1:
                written = self.new(step.fan_out)
                self.block(read[0], number, "in", count)
                self.block(written, number, "out", count)
                return written
            case Dense() | Conv() | Embed() | Learned():
                return self.new(step.fan_out)
            case Norm(norm="group", groups=count) if count > 1:
                self.block(read[0], number, "in", count)
                return read[0]
            case Attention():
                count = step.kv_heads or step.heads
                keys, values = (_repeated(classes, count, step.heads // count) for classes in read[1:])
                self.unite([read[0], keys])
                self.block(read[1], number, "in", count)
                self.block(read[2], number, "value", count)
                return values
            case Concat():
                return [c for classes in read for c in classes]
            case Slice():
                return read[0][step.start : step.start + step.fan_out]
            case Pad():
                return self.new(step.before) + read[0] + self.new(step.fan_out - step.fan_in - step.before)
            case Patches():
                return read[0] * (step.fan_out // step.fan_in)
            case Rearrange():
                for origin in step.origins:
                    self.unite([[read[0][channel]] for channel in origin])
                return [read[0][origin[0]] for origin in step.origins]
        return self.unite(read)

    def keys(self) -> dict[int, tuple[tuple[int, str, int], ...]]:
        """Per class, the blocks that it is in."""
        found: dict[int, set[tuple[int, str, int]]] = defaultdict(set)
        for c, step, role, block in self.blocks:
            found[self.root(c)].add((step, role, block))
        return {c: tuple(sorted(key)) for c, key in found.items()}


def _repeated(classes: list[int], blocks: int, times: int) -> list[int]:
    """Every block `times` times, one after another."""
    size = len(classes) // blocks
    return [c for block in range(blocks) for _ in range(times) for c in classes[block * size : (block + 1) * size]]


def _groups(values: list[tuple[int, ...]], fixed: set[int], keys: dict[int, tuple[tuple[int, str, int], ...]]) -> tuple[Group, ...]:
    occurrences: dict[int, list[int]] = defaultdict(list)
    for number, value in enumerate(values):
        for c in value:
            occurrences[c].append(number)
    alike: dict[object, list[int]] = defaultdict(list)
    for c, numbers in occurrences.items():
        if c not in fixed:
            roles = Counter((step, role) for step, role, _ in keys.get(c, ()))
            alike[tuple(numbers), tuple(sorted(roles.items()))].append(c)
    drafts = []
    stiff: set[int] = {step for c in fixed for step, _, _ in keys.get(c, ())}  # steps whose blocks can't change places
    linked: list[set[int]] = []
    for classes in alike.values():
        of_class = [tuple(block for _, _, block in keys.get(c, ())) for c in classes]
        names = sorted(set(of_class))
        place = {key: number for number, key in enumerate(names)}
        blocks = tuple(place[key] for key in of_class)
        steps = {step for step, _, _ in keys.get(classes[0], ())}
        counts = Counter(blocks).values()
        whole = all(set(key) == {number} for number, key in enumerate(names)) if steps else False
        if steps and not (whole and len(set(counts)) == 1):
            stiff |= steps
        if steps:
            linked.append(steps)
        drafts.append((tuple(classes), blocks, steps))
    frames = _frames(linked)
    sizes: dict[int, set[int]] = defaultdict(set)
    for _, numbered, steps in drafts:
        for step in steps:
            sizes[frames[step]].add(max(numbered) + 1)
    rigid = {frames[step] for step in stiff if step in frames} | {frame for frame, counts in sizes.items() if len(counts) > 1}
    groups = []
    for members, numbered, steps in drafts:
        frame = frames[min(steps)] if steps else None
        groups.append(Group(members, numbered, None if frame in rigid else frame))
    return tuple(groups)


def _frames(linked: list[set[int]]) -> dict[int, int]:
    """Steps that some class is in blocks of, several at once, share a frame, named by the first of them."""
    frames = {step: step for steps in linked for step in steps}
    for steps in linked:
        merged = {frames[step] for step in steps}
        for step, frame in frames.items():
            if frame in merged:
                frames[step] = min(merged)
    return frames
