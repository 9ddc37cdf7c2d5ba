"""Whether the files of a zoo are as they were written: every byte is hashed, and nothing else lies there.

Files and folders whose names begin with "." do not belong to a zoo: locks, scratch files, what a command keeps for itself.
"""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors.numpy import save

from weightwalk import files
from weightwalk.progress import Progress, in_units, silent
from weightwalk.zoos import manifest as manifests
from weightwalk.zoos.manifest import Manifest, Shard


@dataclass(frozen=True)
class Problem:
    """What is wrong with one file: `what` in a word, `sentence` for people, and the names of the INRs that it is known to touch."""

    what: str
    file: str
    sentence: str
    inrs: tuple[str, ...] = ()


@dataclass(frozen=True)
class Hashed:
    """What hashing a zoo found; `manifest` is None where it is not as it was written, for then it says nothing reliable."""

    manifest: Manifest | None
    problems: tuple[Problem, ...]
    files: int
    bytes: int


def verify(path: Path, progress: Progress = silent) -> Hashed:
    """Hash every file of the zoo at `path`, a piece at a time; raises InputError if there is no zoo.

    A file is `changed`, `missing`, `unreadable`, or a `stranger` that the manifest does not list.
    """
    path = Path(path)
    file = path / manifests.FILE
    if not file.is_file():
        Manifest.read(path)  # says what is there instead
    with _still(path):
        there = _files(path)
        content = file.read_bytes()
        try:
            manifest = Manifest.read(path)
            sound = manifest.content() == content
        except ValueError as error:  # an InputError, or numbers that are not whole
            return Hashed(None, (Problem("changed", manifests.FILE, str(error)),), 1, len(content))
    problems, count, done = [], 1, 0
    if not sound:
        sentence = f"{file} is not as it was written; restore it, or fit into another folder"
        problems.append(Problem("changed", manifests.FILE, sentence))
    total = sum(there.get(shard.file, 0) for shard in manifest.shards)
    for shard in manifest.shards:
        problem = _problem(path, manifest, shard, sound)
        problems += [problem] if problem else []
        count, done = count + (shard.file in there), done + there.pop(shard.file, 0)
        progress("hashing MiB", *in_units(done, total, 2**20), {})
    for name in sorted(there.keys() - {manifests.FILE}):
        remedy = "finish the fit that was interrupted, or delete it" if name.endswith(".safetensors") else "move or delete it"
        problems.append(Problem("stranger", name, f"{path / name} is not in the manifest; {remedy}"))
    return Hashed(manifest if sound else None, tuple(problems), count, len(content) + done)


def _files(path: Path) -> dict[str, int]:
    """Bytes by the name of every file of the zoo, whether or not it should be there."""
    names = {entry.relative_to(path): entry for entry in path.rglob("*") if entry.is_file()}
    return {str(name): entry.stat().st_size for name, entry in names.items() if not any(part.startswith(".") for part in name.parts)}


@contextmanager
def _still(path: Path) -> Iterator[None]:
    """Now no writer is between a shard and its manifest. A zoo that was never written to here has no lock."""
    with ExitStack() as stack:
        with suppress(OSError):
            fcntl.flock(stack.enter_context(open(path / ".lock", "rb")), fcntl.LOCK_SH)
        yield


def _problem(path: Path, manifest: Manifest, shard: Shard, sound: bool) -> Problem | None:
    """What hashing a shard's file found; where the manifest is `sound`, also what can be told about the place of a change."""
    file = path / shard.file
    try:
        if files.sha256(file) == shard.sha256:
            return None
        where = _where(path, manifest, shard) if sound else ""
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
        return Problem("missing", shard.file, f"{file} is missing; run the same fit command again to re-make it")
    except OSError as error:
        return Problem("unreadable", shard.file, f"{file} cannot be read ({error.strerror}); {manifests.REMEDY}")
    return Problem("changed", shard.file, f"{file} is not as it was written{where}; {manifests.REMEDY}")


def _where(path: Path, manifest: Manifest, shard: Shard) -> str:
    """The place of a change, as far as the file's size, header and image numbers are known from the manifest."""
    columns = manifest.columns(shard.kind)
    *others, image = columns
    blank = save({name: np.zeros((shard.count, *shape), dtype) for name, (dtype, shape) in columns.items()})
    size = (path / shard.file).stat().st_size
    if size != len(blank):
        return f": it has {size:,} bytes, {len(blank):,} were written"
    head = 8 + int.from_bytes(blank[:8], "little")
    with open(path / shard.file, "rb") as handle:
        if handle.read(head) != blank[:head]:
            return ": its header is another one"
    if shard.count < shard.stop - shard.start:
        return ""  # there are gaps, and nobody knows where
    images = manifest.tensors(path, shard)[image].numpy()
    if not np.array_equal(images, np.arange(shard.start, shard.stop)):
        return f": its tensor {image} is another one"
    return f": it is in {' or '.join(others)}, for the header and {image} are right"
