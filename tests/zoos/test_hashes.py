"""Whatever happens to a zoo's files is found, and the file is named."""

from __future__ import annotations

import errno
import fcntl
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from weightwalk import InputError, files
from weightwalk.zoos.check import check
from weightwalk.zoos.hashes import verify

SHARDS = [
    "rows/test-m0-000000-000005.safetensors",
    "rows/train-m0-000000-000006.safetensors",
    "rows/train-m0-000006-000012.safetensors",
    "rows/train-m1-000000-000006.safetensors",
    "rows/train-m1-000006-000012.safetensors",
    "sources/test-000000-000005.safetensors",
    "sources/train-000000-000006.safetensors",
    "sources/train-000006-000012.safetensors",
]
INR = SHARDS[2]


@pytest.fixture(scope="module")
def intact(draw_zoo, tmp_path_factory) -> Path:
    """Not to be left changed."""
    return draw_zoo(tmp_path_factory.mktemp("hashes") / "zoo").path


@pytest.fixture
def zoo(intact, tmp_path) -> Path:
    return Path(shutil.copytree(intact, tmp_path / "zoo"))


@contextmanager
def changed(path: Path, content: bytes) -> Iterator[None]:
    before = path.read_bytes()
    path.write_bytes(content)
    try:
        yield
    finally:
        path.write_bytes(before)


def found(path: Path) -> list[tuple[str, str]]:
    return [(problem.what, problem.file) for problem in verify(path).problems]


def flipped(data: bytes, position: int, mask: int) -> bytes:
    return data[:position] + bytes([data[position] ^ mask]) + data[position + 1 :]


def test_a_zoo_as_it_was_written(intact):
    hashed = verify(intact)
    there = [path for path in intact.rglob("*") if path.is_file() and path.name != ".lock"]
    assert hashed.problems == ()
    assert (hashed.files, hashed.bytes) == (len(there), sum(path.stat().st_size for path in there))
    assert sorted(str(path.relative_to(intact)) for path in there) == ["manifest.json", *SHARDS]


@settings(max_examples=200)
@given(
    name=st.sampled_from(["manifest.json", *SHARDS]), place=st.floats(0, 1, exclude_max=True), mask=st.integers(1, 255)
)
def test_a_changed_byte_anywhere_is_found_and_its_file_named(intact, name, place, mask):
    data = (intact / name).read_bytes()
    with changed(intact / name, flipped(data, int(place * len(data)), mask)):
        assert ("changed", name) in found(intact)
        problems = check(intact, sample=3).problems
        assert name == "manifest.json" or {problem.file for problem in problems} == {name}
    assert not verify(intact).problems


def test_every_byte_of_the_manifest(intact):
    """It alone is read before it is hashed: nothing in it may be anything but a problem with it."""
    data = (intact / "manifest.json").read_bytes()
    for position in range(0, len(data), 7):
        with changed(intact / "manifest.json", flipped(data, position, 1 << position % 8)):
            assert found(intact)[0] == ("changed", "manifest.json"), position


@pytest.mark.parametrize("number", ["6.0", "6e0", "true", "-6", "null", "999999999999999999999"])
def test_numbers_of_the_manifest_that_are_none(intact, number):
    data = (intact / "manifest.json").read_bytes()
    for key in (b'"start": 6', b'"rows": 6', b'"member": 1', b'"val_every": 4'):
        assert key in data
        with changed(intact / "manifest.json", data.replace(key, key.split()[0] + b" " + number.encode(), 1)):
            assert found(intact)[0] == ("changed", "manifest.json")


@pytest.mark.parametrize("name", ["manifest.json", SHARDS[0], INR])
@pytest.mark.parametrize("keep", [0, 5, 200, -1])
def test_a_truncated_file(intact, name, keep):
    data = (intact / name).read_bytes()
    with changed(intact / name, data[:keep]):
        assert found(intact)[0] == ("changed", name)
        if name != "manifest.json":
            assert "it is truncated, or its header or columns are others" in verify(intact).problems[0].sentence


def test_a_file_with_more_behind_it(intact):
    data = (intact / INR).read_bytes()
    with changed(intact / INR, data + b"\0"):
        assert found(intact) == [("changed", INR)]


def test_the_place_of_a_change_is_told_as_far_as_it_is_known(intact):
    data = (intact / INR).read_bytes()
    groups = data.index((6).to_bytes(8, "little") + (7).to_bytes(8, "little"))
    others = "as it was written: it is truncated, or its header or columns are others; delete it"
    for position, words in [(9, others), (groups, others), (len(data) - 1, "as it was written; delete it")]:
        with changed(intact / INR, flipped(data, position, 16)):
            [problem] = verify(intact).problems
            assert words in problem.sentence
            assert str(intact / INR) in problem.sentence


def test_files_that_are_missing_and_files_that_do_not_belong(zoo):
    (zoo / SHARDS[0]).unlink()
    (zoo / SHARDS[5]).unlink()
    (zoo / SHARDS[5]).mkdir()
    (zoo / "notes.txt").write_text("words")
    (zoo / "rows" / "train-m7-000000-000006.safetensors").write_bytes(b"")
    (zoo / INR).write_bytes(b"")
    for hidden in (".fit.json", ".cache/x.safetensors", "rows/.train-m0.1.partial"):
        (zoo / hidden).parent.mkdir(exist_ok=True)
        (zoo / hidden).write_bytes(b"{}")
    assert found(zoo) == [
        ("missing", SHARDS[0]),
        ("changed", INR),
        ("missing", SHARDS[5]),
        ("stranger", "notes.txt"),
        ("stranger", "rows/train-m7-000000-000006.safetensors"),
    ]


def test_a_disk_that_cannot_read(intact, monkeypatch):
    sha256 = files.sha256

    def broken(path):
        if path.name == Path(INR).name:
            raise OSError(errno.EIO, "Input/output error")
        return sha256(path)

    monkeypatch.setattr(files, "sha256", broken)
    [problem] = verify(intact).problems
    assert (problem.what, problem.file) == ("unreadable", INR)
    assert "Input/output error" in problem.sentence


def test_no_zoo(tmp_path):
    for path in (tmp_path, tmp_path / "none"):
        with pytest.raises(InputError, match=r"expected (the folder of a zoo|a zoo's manifest)"):
            verify(path)


def test_progress_ends_at_the_total(intact):
    seen = []
    verify(intact, lambda *state: seen.append(state[:3]))
    assert seen[-1] == ("hashing MiB", 1, 1)
    assert [state[1] for state in seen] == [0] * (len(SHARDS) - 1) + [1]


def test_it_waits_for_a_writer_between_a_shard_and_its_manifest(zoo):
    finished = []
    with open(zoo / ".lock", "wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        thread = threading.Thread(target=lambda: finished.append(found(zoo)))
        thread.start()
        thread.join(0.2)
        assert not finished
    thread.join(20)
    assert finished == [[]]


def test_a_zoo_that_may_only_be_read_has_no_lock(zoo):
    (zoo / ".lock").unlink()
    assert found(zoo) == []
    assert not (zoo / ".lock").exists()
