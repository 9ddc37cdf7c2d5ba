"""What the manifests of all zoos have in common: JSON with a checksum, a shard counts once it is listed, one writer at
a time.
"""

from __future__ import annotations

import fcntl
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol, TypeVar

from weightwalk import config, files
from weightwalk.errors import InputError

FILE = "manifest.json"
TRAINED = "trained networks"
"""What `contents` says in the manifest of a zoo of trained networks; that of a zoo of INRs has no such key."""
REMAKE = "run the command that made the zoo again, which puts it back"
"""What to do about a shard that is gone."""

_TOLD = 8  # differences between settings that a sentence lists


class Entry(Protocol):
    """A shard, as a manifest lists it."""

    @property
    def file(self) -> str:
        """Its path within the zoo."""

    @property
    def sha256(self) -> str:
        """Of its content."""


class Listing(Protocol):
    """A manifest: a frozen dataclass with a field `shards`."""

    @property
    def shards(self) -> tuple[Entry, ...]:
        """The files of the zoo."""

    @property
    def identity(self) -> dict[str, Any]:
        """What has to be equal for more to be added."""

    def content(self) -> bytes:
        """The file."""

    def write(self, folder: Path) -> None:
        """Replace the manifest of the zoo in `folder`, wholly or not at all."""

    def is_whole(self, folder: Path, shard: Any) -> bool:
        """Whether the shard's file is there and has the size and header that it should."""

    def where(self, folder: Path, shard: Any) -> str:
        """The place of a change in a shard whose hash is another, as far as it can be told; else nothing."""


L = TypeVar("L", bound=Listing)


def sealed(value: Mapping[str, Any]) -> bytes:
    """A manifest's file: indented JSON with a checksum of its values."""
    return (json.dumps({**value, "checksum": config.fingerprint(value)}, indent=2) + "\n").encode()


def read_sealed(folder: Path, schema_version: int) -> Any:
    """The values of the manifest in `folder`; a missing, broken or newer one is an `InputError`."""
    path = folder / FILE
    if not folder.is_dir():
        raise InputError(
            f"expected the folder of a zoo, found {'a file' if folder.exists() else 'nothing'} at {folder}; check the "
            "path"
        )
    value = files.read_json(path, "a zoo's manifest")
    version = value.get("schema_version") if isinstance(value, dict) else None
    if isinstance(version, int) and version > schema_version:
        raise InputError(
            f"expected manifest schema {schema_version}, got {version} in {path}, which a newer weightwalk wrote; "
            "upgrade weightwalk"
        )
    return value


def holds_trained(folder: Path) -> bool:
    """Whether `folder` is a zoo of trained networks; whatever else is wrong with it, its reader tells."""
    try:
        value = files.read_json(Path(folder) / FILE, "a zoo's manifest")
    except (InputError, OSError):
        return False
    return isinstance(value, dict) and value.get("contents") == TRAINED


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """One writer at a time; the lock goes with its process."""
    with open(folder / ".lock", "wb") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def begin(path: Path, asked: L, read: Callable[[Path], L]) -> None:
    """Create the zoo that `asked` describes, or check that the one that is there was made with equal settings.

    Shards that are missing or truncated leave the manifest, so that they are made again.
    """
    exists = (path / FILE).exists()
    if (
        path.exists()
        and not exists
        and (not path.is_dir() or any(not entry.name.startswith(".") for entry in path.iterdir()))
    ):
        raise InputError(
            f"expected a zoo, an empty folder or nothing at {path}, found something else; choose another --out"
        )
    path.mkdir(parents=True, exist_ok=True)
    with locked(path):
        for leftover in path.rglob(".*.partial"):
            leftover.unlink()
        if not (path / FILE).exists():
            asked.write(path)
        manifest = read(path)
        changed = config.differences(manifest.identity, asked.identity)
        if changed and not manifest.shards:  # nothing was ever added: it may still become another zoo
            manifest = asked
            asked.write(path)
        elif changed:
            told = "; ".join(changed[:_TOLD]) + (f"; and {len(changed) - _TOLD} more" if len(changed) > _TOLD else "")
            raise InputError(f"{path} is a zoo that was made with other settings ({told}); choose another --out")
        whole = tuple(shard for shard in manifest.shards if manifest.is_whole(path, shard))
        if whole != manifest.shards:
            replace(manifest, shards=whole).write(path)  # type: ignore[type-var]


@contextmanager
def held(path: Path, read: Callable[[Path], L]) -> Iterator[list[L]]:
    """Additions within count when it ends, all at once: gives a list of one manifest, to be replaced by one that lists
    more shards.
    """
    with locked(path):
        before = read(path)
        now = [before]
        try:
            yield now
            if now[0] is not before:
                now[0].write(path)
        except (
            InputError
        ):  # no room, say: leave nothing behind, unless all was written and only a folder's flush failed
            listed = {shard.file for shard in read(path).shards}
            for file in {shard.file for shard in now[0].shards} - listed:
                (path / file).unlink(missing_ok=True)
            raise
