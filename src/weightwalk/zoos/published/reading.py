"""How a published zoo of any kind becomes a zoo: a registry of layouts, and one loop that reads what is not there."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeVar

import weightwalk
from weightwalk.errors import InputError
from weightwalk.progress import Progress, silent
from weightwalk.registry import Registry
from weightwalk.zoos.images import ImageSet
from weightwalk.zoos.splits import SplitRule
from weightwalk.zoos.writer import ZooWriter

P = TypeVar("P")


@dataclass(frozen=True, eq=False)
class Told:
    """What the user says of a download besides where it is; None is left to the layout.

    `dataset` is what the INRs show or the networks were trained on, `images` its parts, in order; `size` that of
    pictures that are rendered instead; `omega` the frequency of hidden layers; `bounds` the indices at which validation
    and test begin; `splits` a file that tells the split.
    """

    dataset: str | None = None
    images: Sequence[ImageSet] | None = None
    size: int | None = None
    omega: float | None = None
    bounds: tuple[int, int] | None = None
    splits: Path | None = None


class Published(ABC, Generic[P]):
    """A download of one layout, to be read in pieces, each of which becomes a shard of rows.

    A reader is made of the folder and of what is told; it looks at what is there, and opens few files.
    """

    takes: ClassVar[frozenset[str]]
    """The fields of `Told` that mean something to this layout."""
    figures: ClassVar[Mapping[str, str]]
    sources: ClassVar[bool]
    settings: dict[str, Any]
    splits: SplitRule
    count: int
    """How many networks, or runs of networks, there are."""

    @abstractmethod
    def __init__(self, folder: Path, told: Told): ...

    @abstractmethod
    def pieces(self, writer: ZooWriter) -> list[tuple[P, int]]:
        """What the zoo lacks, and how many networks or runs each piece has."""

    @abstractmethod
    def read(self, writer: ZooWriter, piece: P, goes_on: Callable[[int], bool]) -> dict[str, float] | None:
        """Add a piece and give figures to show; None, with nothing added, once `goes_on(done)` says no."""


LAYOUTS: Registry[type[Published[Any]]] = Registry("layout")
"""Readers by the name of their layout, which are subclasses of `Published`."""


@dataclass(frozen=True)
class ImportOutcome:
    """What a call of `import_zoo` did: `read` networks, or runs, were added."""

    read: int
    already_there: int
    finished: bool
    seconds: float


def import_zoo(
    layout: str,
    folder: Path,
    out: Path,
    told: Told = Told(),
    *,
    progress: Progress = silent,
    should_stop: Callable[[], bool] = lambda: False,
) -> ImportOutcome:
    """Read what the zoo `out` does not have yet of a published zoo in `folder`. No code in its files is run.

    InputError, naming the file, for one that is missing, damaged or not what the layout says; what was read before is
    in the zoo.
    """
    began, folder = time.monotonic(), Path(folder)
    reader = LAYOUTS[layout]
    for field in fields(Told):
        if field.name not in reader.takes and getattr(told, field.name) is not None:
            raise InputError(
                f"expected nothing but {', '.join(sorted(reader.takes))} with the layout {layout}, got {field.name}; "
                "leave it out"
            )
    if not folder.is_dir():
        found = "a file" if folder.exists() else "nothing"
        raise InputError(f"expected the folder of an unpacked download, found {found} at {folder}; check the path")
    published = reader(folder, told)
    writer = ZooWriter.open(
        out,
        settings={**published.settings, "layout": layout},
        figures=published.figures,
        splits=published.splits,
        provenance={"weightwalk": weightwalk.__version__},
        sources=published.sources,
    )
    pieces = published.pieces(writer)
    total, read = sum(count for _, count in pieces), 0
    figures: dict[str, float] = {}

    def outcome(finished: bool) -> ImportOutcome:
        return ImportOutcome(read, published.count - total, finished, time.monotonic() - began)

    def goes_on(done: int) -> bool:
        if should_stop():
            return False
        progress("reading", read + done, total, figures)
        return True

    for piece, count in pieces:
        added = published.read(writer, piece, goes_on)
        if added is None:
            return outcome(False)
        figures, read = added, read + count
    progress("reading", read, total, figures)
    return outcome(True)
