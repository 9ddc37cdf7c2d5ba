"""What a zoo is on disk: immutable safetensors shards (`shards.py`), and a manifest that is replaced as a whole.

    ZOO/manifest.json                             settings, figures, split rule, provenance, shards, checksum
    ZOO/rows/<part>[-m<member>]-<start>-<stop>.safetensors   networks: rows of the groups start <= index < stop
    ZOO/sources/<part>-<start>-<stop>.safetensors  what the networks of these groups show, where a zoo has that

A row is one network. A *group* (`splits.py`) is an image with its fits, or a run with its checkpoints; a fit or a
checkpoint is a *member*. A shard counts once the manifest lists it: what a crash left beside it is overwritten by the
next run. Nothing holds a time or a host name, so equal work gives equal bytes. Nothing that a manifest says is ever a
path: the names of shards are derived from their numbers, and `kind` and `dataset` are plain names.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, TypedDict

from weightwalk import config, files
from weightwalk.errors import InputError
from weightwalk.spec import NetworkSpec, spec_of_text
from weightwalk.zoos.splits import MAX_INDEX, Part, SplitRule

SCHEMA_VERSION = 2
FILE = "manifest.json"
REMAKE = "run the command that made the zoo again, which puts it back"
"""What to do about a shard that is gone."""
REMEDY = f"delete it and {REMAKE}"
"""What to do about a shard that is damaged."""

_PLAIN_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ._+-]{0,63}")

Table = Literal["rows", "sources"]


class _Edit(TypedDict):
    op: str
    by: str


_SETTINGS: dict[str, Any] = {
    "kind": str,
    "dataset": str,
    "spec": dict[str, Any],
    "image_shape": tuple[int, ...],
    "image_dtype": Literal["uint8", "float32"],
    "label_names": tuple[str, ...],
    "fit": dict[str, Any],
    "recipe": dict[str, Any],
    "init": str,
    "layout": str,
    "edit": _Edit,
    "seed": int,
    "runs": int,
    "train_images": int,
    "test_images": int,
}
"""The types of settings that are read; a zoo may have others, which are only compared."""


@dataclass(frozen=True)
class Shard:
    """One file: `rows` rows of `groups` groups of `part`, the first of which is `start`, the last `stop` - 1.

    `member` is the one that all rows are; None: the shard has all members of its groups, or it holds sources.
    `provenance` is set where it differs from the manifest's: on shards that another version added.
    """

    table: Table
    part: Part
    member: int | None
    start: int
    stop: int
    groups: int
    rows: int
    sha256: str
    provenance: dict[str, Any] | None = None

    def __post_init__(self) -> None:
        one_each = self.table == "sources" or self.member is not None
        if (
            not (0 <= self.start < self.stop <= MAX_INDEX and 1 <= self.groups <= self.stop - self.start)
            or (self.member or 0) < 0
            or (self.table == "sources" and self.member is not None)
            or self.rows < 0
            or (one_each and self.rows != self.groups)
        ):
            raise InputError(f"expected a shard of groups start <= index < stop, got {self}")

    @property
    def file(self) -> str:
        """Its path within the zoo."""
        member = "" if self.member is None else f"-m{self.member}"
        return f"{self.table}/{self.part}{member}-{self.start:06d}-{self.stop:06d}.safetensors"


@dataclass(frozen=True)
class Manifest:
    """What a zoo holds. `settings` decide its identity: at least `kind` and `dataset`; `spec` (`NetworkSpec.to_dict`)
    where all networks have one; where there are sources also `image_shape` (C, *grid), `image_dtype`, `label_names`.

    `figures` names what is known of every row, and its dtype, float32 or int64.
    """

    settings: dict[str, Any]
    figures: dict[str, Literal["float32", "int64"]]
    splits: SplitRule
    provenance: dict[str, Any]
    sources: bool = False
    shards: tuple[Shard, ...] = field(default=())

    def __post_init__(self) -> None:
        needed = ("kind", "dataset", *(("spec", "image_shape", "image_dtype", "label_names") if self.sources else ()))
        absent = [key for key in needed if key not in self.settings]
        if absent:
            raise InputError(
                f"expected settings with the keys {', '.join(needed)}, got none for {' and '.join(absent)}"
            )
        for key, value in self.settings.items():
            if key in _SETTINGS:
                config.typed(_SETTINGS[key], value, f"settings.{key}")
        for name in (self.settings["kind"], self.settings["dataset"], *self.figures):
            check_name(name)
        if any(not 1 <= size < 2**31 for size in self.settings.get("image_shape", ())):
            raise InputError(f"expected sizes of at least 1 as image_shape, got {self.settings['image_shape']}")
        for reserved in {"group", "member", "spec", "row", "weights", "label"} & set(self.figures):
            raise InputError(f"expected figures under names of their own, got {reserved!r}")

    @property
    def kind(self) -> str:
        """The name of its kind (see `kinds`)."""
        return str(self.settings["kind"])

    @cached_property
    def spec(self) -> NetworkSpec | None:
        """The architecture of every network, where the settings say so."""
        value = self.settings.get("spec")
        return None if value is None else spec_of(value)

    @property
    def identity(self) -> dict[str, Any]:
        """What has to be equal for more to be added."""
        return {**self.settings, "figures": self.figures, "splits": config.to_dict(self.splits)}

    @cached_property
    def in_order(self) -> tuple[Shard, ...]:
        """The shards in the order of their tables, parts, members and groups."""
        return tuple(sorted(self.shards, key=lambda s: (s.table, s.part, s.member or 0, s.start, s.stop)))

    def content(self) -> bytes:
        """The file: indented JSON with a checksum of its values."""
        value = {
            "schema_version": SCHEMA_VERSION,
            "settings": self.settings,
            "figures": self.figures,
            "splits": config.to_dict(self.splits),
            "provenance": self.provenance,
            "sources": self.sources,
            "shards": [asdict(shard) for shard in self.in_order],
        }
        return (json.dumps({**value, "checksum": config.fingerprint(value)}, indent=2) + "\n").encode()

    @cached_property
    def fingerprint(self) -> str:
        """Sixteen hex digits that name what is in the zoo: its settings and every shard's hash."""
        return hashlib.sha256(self.content()).hexdigest()[:16]

    def write(self, folder: Path) -> None:
        """Replace the manifest of the zoo in `folder`, wholly or not at all."""
        files.write_bytes(folder / FILE, self.content())

    @classmethod
    def read(cls, folder: Path) -> Manifest:
        """The manifest of the zoo in `folder`; InputError for one that is missing, broken, newer or changed."""
        path = Path(folder) / FILE
        if not Path(folder).is_dir():
            found = "a file" if Path(folder).exists() else "nothing"
            raise InputError(f"expected the folder of a zoo, found {found} at {folder}; check the path")
        value = files.read_json(path, "a zoo's manifest")
        version = value.get("schema_version") if isinstance(value, dict) else None
        if isinstance(version, int) and version > SCHEMA_VERSION:
            raise InputError(
                f"expected manifest schema {SCHEMA_VERSION}, got {version} in {path}, which a newer weightwalk wrote; "
                "upgrade weightwalk"
            )
        if isinstance(version, int) and version < SCHEMA_VERSION:
            raise InputError(
                f"expected manifest schema {SCHEMA_VERSION}, got {version} in {path}, which an older weightwalk wrote; "
                "make the zoo again in another folder"
            )
        try:
            plain = {key: entry for key, entry in value.items() if key not in ("schema_version", "checksum")}
            manifest: Manifest = config.from_dict(cls, plain)
            _ = manifest.spec
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError, RecursionError) as error:
            raise InputError(
                f"expected the manifest of a zoo at {path}, got other JSON ({type(error).__name__}: {error}); "
                "restore it, or choose another folder"
            ) from None
        rest = {key: entry for key, entry in value.items() if key != "checksum"}
        if value.get("checksum") != config.fingerprint(rest):
            raise InputError(
                f"{path} is not as it was written, for its checksum is another one; restore it, or choose another "
                "folder"
            )
        return manifest


def check_name(name: str) -> None:
    """InputError unless a kind, data set or figure is called by a plain name, which is never a path."""
    if not _PLAIN_NAME.fullmatch(name):
        raise InputError(f"expected a plain name of up to 64 letters, digits, spaces and . _ + -, got {name!r}")


def spec_of(value: Mapping[str, Any]) -> NetworkSpec:
    """`NetworkSpec.from_dict`, the same object for equal values; anything that is none is an `InputError`."""
    try:
        return spec_of_text(json.dumps(value))
    except InputError:
        raise
    except Exception as error:  # values of other types may raise anything
        raise InputError(
            f"expected the spec of a network, got other values ({type(error).__name__}: {error})"
        ) from None
