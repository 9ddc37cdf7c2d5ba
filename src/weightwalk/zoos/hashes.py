"""Whether the files of a zoo are as they were written: every byte is hashed, and nothing else lies there.

Files and folders whose names begin with "." do not belong to a zoo: locks, scratch files, what a command keeps for
itself.
"""

from __future__ import annotations

import fcntl
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from weightwalk import files
from weightwalk.errors import InputError
from weightwalk.progress import Progress, in_units, silent
from weightwalk.zoos import shards
from weightwalk.zoos.manifest import FILE, REMAKE, Manifest, Shard


@dataclass(frozen=True)
class Problem:
    """What is wrong with one file: in a word (`what`), as a sentence, and the names of the rows that it touches."""

    what: str
    file: str
    sentence: str
    rows: tuple[str, ...] = ()


@dataclass(frozen=True)
class Hashed:
    """What hashing a zoo found; `manifest` is None where it is not as it was written: then it is no guide."""

    manifest: Manifest | None
    problems: tuple[Problem, ...]
    files: int
    bytes: int


def verify(path: Path, progress: Progress = silent) -> Hashed:
    """Hash every file of the zoo at `path`; raises InputError if there is no zoo.

    A file is `changed`, `missing`, `unreadable`, or a `stranger` that the manifest does not list.
    """
    path = Path(path)
    file = path / FILE
    if not file.is_file():
        Manifest.read(path)  # says what is there instead
    with _still(path):
        there = _files(path)
        content = file.read_bytes()
        try:
            manifest = Manifest.read(path)
            sound = manifest.content() == content
        except ValueError as error:  # an InputError, or numbers that are not whole
            return Hashed(None, (Problem("changed", FILE, str(error)),), 1, len(content))
    problems, count, done = [], 1, 0
    if not sound:
        sentence = f"{file} is not as it was written; restore it, or choose another folder"
        problems.append(Problem("changed", FILE, sentence))
    total = sum(there.get(shard.file, 0) for shard in manifest.shards)
    for shard in manifest.shards:
        problem = _problem(path, manifest, shard, sound)
        problems += [problem] if problem else []
        count, done = count + (shard.file in there), done + there.pop(shard.file, 0)
        progress("hashing MiB", *in_units(done, total, 2**20), {})
    for name in sorted(there.keys() - {FILE}):
        remedy = (
            "finish the command that was interrupted, or delete it"
            if name.endswith(".safetensors")
            else "move or delete it"
        )
        problems.append(Problem("stranger", name, f"{path / name} is not in the manifest; {remedy}"))
    return Hashed(manifest if sound else None, tuple(problems), count, len(content) + done)


def refuse(problems: Sequence[Problem]) -> None:
    """An InputError that tells all problems, if there are any."""
    if problems:
        number = f"{len(problems)} {'file is' if len(problems) == 1 else 'files are'}"
        raise InputError(f"{number} not as they should be: {'; '.join(problem.sentence for problem in problems)}")


def _files(path: Path) -> dict[str, int]:
    """Bytes by the name of every file of the zoo, whether or not it should be there."""
    names = {entry.relative_to(path): entry for entry in path.rglob("*") if entry.is_file()}
    return {
        str(name): entry.stat().st_size
        for name, entry in names.items()
        if not any(part.startswith(".") for part in name.parts)
    }


@contextmanager
def _still(path: Path) -> Iterator[None]:
    """Now no writer is between a shard and its manifest. A zoo that was never written to here has no lock."""
    with ExitStack() as stack:
        with suppress(OSError):
            fcntl.flock(stack.enter_context(open(path / ".lock", "rb")), fcntl.LOCK_SH)
        yield


def _problem(path: Path, manifest: Manifest, shard: Shard, sound: bool) -> Problem | None:
    """What hashing a shard's file found; where the manifest is `sound`, also where a change is."""
    file = path / shard.file
    try:
        if files.sha256(file) == shard.sha256:
            return None
        whole = not sound or shards.is_whole(path, manifest, shard)
        where = "" if whole else ": it is truncated, or its header or columns are others"
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
        return Problem("missing", shard.file, f"{file} is missing; {REMAKE}")
    except OSError as error:
        return Problem("unreadable", shard.file, f"{file} cannot be read ({error.strerror}); delete it and {REMAKE}")
    return Problem("changed", shard.file, f"{file} is not as it was written{where}; delete it and {REMAKE}")
