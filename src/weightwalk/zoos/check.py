"""Whether a zoo can be trusted: every file hashed, every row accounted for, a sample of the networks evaluated again.

What is evaluated, and what may differ by how much, is the business of the zoo's kind (`kinds.Kind.look`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from weightwalk.errors import InputError
from weightwalk.progress import Progress, silent
from weightwalk.zoos import kinds, shards
from weightwalk.zoos.hashes import Problem, verify
from weightwalk.zoos.images import ImageSet
from weightwalk.zoos.kinds import Kind
from weightwalk.zoos.manifest import REMEDY, Manifest, Shard
from weightwalk.zoos.rows import evenly
from weightwalk.zoos.splits import PARTS, SPLITS, group_numbers, parts_of
from weightwalk.zoos.store import Zoo

_NAMED = 5  # rows that a sentence names; `Problem.rows` has all


@dataclass(frozen=True)
class Count:
    """What a zoo has of one split of one part; `lacking` are groups without a network: images to which nothing was
    fitted yet, runs that diverged before their first checkpoint.
    """

    part: str
    split: str
    groups: int
    rows: int
    members: int
    lacking: int
    figures: dict[str, float]
    """The mean of every figure, over the rows where it is known."""


@dataclass(frozen=True)
class Report:
    """What `check` found; `looked_at` rows were evaluated anew, and those that pass are off by `worst` at most."""

    problems: tuple[Problem, ...]
    files: int
    bytes: int
    kind: str = ""
    rows: int = 0
    groups: int = 0
    counts: tuple[Count, ...] = ()
    looked_at: int = 0
    worst: float = 0.0
    why_not: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {"ok": not self.problems, **asdict(self)}


def check(
    path: Path, sample: int | None = None, sets: Sequence[ImageSet] | None = None, progress: Progress = silent
) -> Report:
    """Hash the files, account for every row, evaluate `sample` of them (default: as many as the kind says), spread
    evenly, and besides all those of changed files. `sets` are the parts of the data set, which some kinds need for it.

    Shards that cannot be read are left out of what follows; after a manifest that is not as it was written, nothing
    follows. Raises InputError if there is no zoo at `path`.
    """
    if sample is not None and sample < 0:
        raise InputError(f"expected a sample of at least 0 networks, got {sample}")
    path = Path(path)
    hashed = verify(path, progress)
    manifest = hashed.manifest
    if manifest is None:
        return Report(hashed.problems, hashed.files, hashed.bytes)
    kind, problems = kinds.of(manifest.kind), list(hashed.problems)
    known = {problem.file for problem in problems}
    sound: list[Shard] = []
    for shard in manifest.in_order:
        try:
            found = list(_values(path, manifest, kind, shard))
        except (InputError, OSError) as error:
            problems += [] if shard.file in known else [Problem("unreadable", shard.file, str(error))]
            continue
        problems += found
        sound.append(shard)
    problems += _twice(path, manifest, sound)
    lone = {shard.file: _lone(path, manifest, shard, sound) for shard in sound}
    lost = [shard for shard in manifest.shards if shard.table == "sources" and shard not in sound]
    for shard in sound:
        problems += _orphans(path, kind, shard, lone[shard.file], lost)
    sound = [shard for shard in sound if not len(lone[shard.file])]
    zoo = Zoo(path, replace(manifest, shards=tuple(sound)))
    # What is not as it should be is the fault of a changed file, if there is one that has a part in it; else of the
    # networks.
    changed = [shard for shard in sound if shard.file in known]
    rows = np.union1d(evenly(zoo.rows(), kind.sample if sample is None else sample), _rows_of(zoo, changed))
    doubtful = [np.flatnonzero(kind.doubtful(name, zoo.column(name))) for name in zoo.columns]
    looked = kind.look(zoo, np.setdiff1d(rows, np.concatenate([zoo.broken(rows), *doubtful])), sets, progress)
    suspects = [*changed, *(shard for shard in sound if shard.table == "rows" and shard not in changed)]
    problems += _wrong(zoo, kind, suspects, looked.wrong)
    return Report(
        tuple(problems),
        hashed.files,
        hashed.bytes,
        manifest.kind,
        len(zoo),
        len(zoo.group_numbers),
        tuple(_counts(zoo)),
        looked.rows,
        looked.worst,
        looked.why_not,
    )


def _values(path: Path, manifest: Manifest, kind: Kind, shard: Shard) -> Iterator[Problem]:
    """Values of a shard that cannot be: labels without a name, parameters and figures that are not finite."""
    if shard.table == "sources":
        tensors = shards.open_sources(path, manifest, shard)
        labels, names = tensors["label"].numpy(), len(manifest.settings["label_names"])
        bad = np.flatnonzero((labels < 0) | (labels >= names))
        if len(bad):
            of = _some([str(index) for index in tensors["group"].numpy()[bad].tolist()])
            what = f"labels that are not from 0 to {names - 1}, of {kind.group} {of}"
            yield Problem("values", shard.file, f"{path / shard.file} has {what}; {REMEDY}")
        return
    found = shards.open_rows(path, manifest, shard)
    zoo = Zoo(path, replace(manifest, shards=(shard,), sources=False))
    broken = zoo.broken(zoo.rows())
    doubtful = {name: kind.doubtful(name, found.columns[name]) for name in manifest.figures}
    bad = np.flatnonzero(np.logical_or.reduce([np.zeros(shard.rows, bool), *doubtful.values()]))
    for rows, what in (
        (broken, "networks with parameters that are not finite"),
        (
            np.setdiff1d(bad, broken),
            f"{' and '.join(name for name in doubtful if doubtful[name].any())} that cannot be",
        ),
    ):
        if len(rows):
            names_of = tuple(zoo.names(rows))
            yield Problem(
                "values",
                shard.file,
                f"{path / shard.file} has {what}: {_some(names_of)}; {_remedy(manifest)}",
                names_of,
            )


def _remedy(manifest: Manifest) -> str:
    """What helps against values that are bad although the file is as it was written: making it again makes the same."""
    if "fit" in manifest.settings and "layout" not in manifest.settings:
        return "they diverged; make a zoo with a lower --set descent.learning_rate in another folder"
    if "recipe" in manifest.settings:
        return "make the zoo in another folder with a lower learning rate"
    return "leave these networks out of what is imported, and import it into another folder"


def _twice(path: Path, manifest: Manifest, sound: Sequence[Shard]) -> Iterator[Problem]:
    """Groups that one table has twice, with the same member."""
    of_table: dict[tuple[Any, ...], dict[str, NDArray[np.int64]]] = {}
    for shard in sound:
        indices = shards.indices(path, manifest, shard)
        of_table.setdefault((shard.table, shard.part, shard.member), {})[shard.file] = indices
    for (table, part, member), files in of_table.items():
        found, times = np.unique(np.concatenate(list(files.values())), return_counts=True)
        twice = found[times > 1]
        if len(twice):
            within = [file for file, indices in files.items() if twice[0] in indices]
            what = "sources" if table == "sources" else "groups" if member is None else f"networks {member}"
            sentence = (
                f"{path} has {len(twice):,} {what} of part {part} twice, the first is that of {twice[0]} in "
                f"{' and '.join(within)}"
            )
            yield Problem("overlap", within[-1], f"{sentence}; take one of them out of the manifest")


def _lone(path: Path, manifest: Manifest, shard: Shard, sound: Sequence[Shard]) -> NDArray[np.int64]:
    """The groups of a shard of rows that should have sources and have none."""
    if shard.table == "sources" or not manifest.sources:
        return np.empty(0, np.int64)
    stored = [shards.indices(path, manifest, s) for s in sound if (s.table, s.part) == ("sources", shard.part)]
    return np.setdiff1d(shards.indices(path, manifest, shard), np.concatenate([np.empty(0, np.int64), *stored]))


def _orphans(path: Path, kind: Kind, shard: Shard, lone: NDArray[np.int64], lost: Sequence[Shard]) -> Iterator[Problem]:
    """Rows whose source the manifest does not list; those of a `lost` file are not to blame."""
    for other in lost:
        if other.part == shard.part:
            lone = lone[(lone < other.start) | (lone >= other.stop)]
    if len(lone):
        names = tuple(f"{shard.part}-{index}-{kind.letter}{shard.member}" for index in lone.tolist())
        sentence = f"{path / shard.file} has {kind.networks} without a source {kind.group}: {_some(names)}"
        yield Problem("orphans", shard.file, f"{sentence}; run the same command again to store them", names)


def _wrong(zoo: Zoo, kind: Kind, suspects: Sequence[Shard], wrong: dict[int, str]) -> Iterator[Problem]:
    """One problem per shard: each of the `wrong` rows is laid to the first of the `suspects` that it lies in."""
    left = dict(wrong)
    for shard in suspects:
        bad = [row for row in _rows_of(zoo, [shard]).tolist() if row in left] if left else []
        if bad:
            names = tuple(zoo.names(np.array(bad)))
            what = (
                f"{kind.networks} that are not what the zoo says"
                if shard.table == "rows"
                else f"{kind.group}s that their {kind.networks} do not show"
            )
            told = f"{_some(names)} ({names[0]} has {left[bad[0]]})"
            yield Problem("figures", shard.file, f"{zoo.path / shard.file} has {what}: {told}; {REMEDY}", names)
        for row in bad:
            del left[row]


def _rows_of(zoo: Zoo, some: Sequence[Shard]) -> NDArray[np.int64]:
    """The rows that have something in one of these shards: the network itself, or its source."""
    touched = np.zeros(len(zoo), bool)
    for shard in some:
        first, last = group_numbers(shard.part, np.array([shard.start, shard.stop]))
        inside = (zoo.groups >= first) & (zoo.groups < last)
        touched |= inside if shard.member is None else inside & (zoo.members == shard.member)
    return np.flatnonzero(touched)


def _counts(zoo: Zoo) -> Iterator[Count]:
    groups = zoo.group_numbers if zoo.sources is None else zoo.sources.groups
    splits = zoo.manifest.splits.of_groups(groups)
    parts, parts_of_rows = parts_of(groups), zoo.parts
    lacking = ~np.isin(groups, zoo.groups)
    for code, part in enumerate(PARTS):
        for number, split in enumerate(SPLITS):
            mine = (parts == code) & (splits == number)
            rows = np.flatnonzero((parts_of_rows == code) & (zoo.splits == number))
            if mine.any():
                columns = {name: zoo.column(name)[rows].astype(float) for name in zoo.columns}
                means = {n: float(np.nanmean(c)) for n, c in columns.items() if np.isfinite(c).any()}
                members = int(zoo.members[rows].max()) + 1 if len(rows) else 0
                yield Count(part, split, int(mine.sum()), len(rows), members, int((mine & lacking).sum()), means)


def _some(names: Sequence[str]) -> str:
    """The first few, and how many more there are."""
    more = [f"{len(names) - _NAMED:,} more"] if len(names) > _NAMED else []
    return ", ".join([*names[:_NAMED], *more])
