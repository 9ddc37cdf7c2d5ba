import errno
import hashlib
import math
import os
import subprocess
import sys

import pytest

from weightwalk import InputError, files


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_content_arrives_and_folders_are_made(tmp_path):
    files.write_json(tmp_path / "a" / "b.json", {"x": [1, None]})
    assert files.read_json(tmp_path / "a" / "b.json", "a test") == {"x": [1, None]}
    assert names(tmp_path / "a") == ["b.json"]


def test_what_fails_in_the_middle_leaves_the_old_file(tmp_path):
    path = tmp_path / "file"
    files.write_bytes(path, b"old")

    def write_half():
        with files.replacing(path) as scratch:
            scratch.write_bytes(b"half of the new")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        write_half()
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == ["file"]


def test_two_that_write_one_file_at_a_time_do_not_meet(tmp_path):
    """Threads, or containers that share a disk and have the same process numbers."""
    path = tmp_path / "file"
    with files.replacing(path) as outer:
        outer.write_bytes(b"outer")
        files.write_bytes(path, b"inner")
        assert path.read_bytes() == b"inner"
    assert path.read_bytes() == b"outer"
    assert names(tmp_path) == ["file"]


def test_a_process_that_dies_in_the_middle_leaves_the_old_file(tmp_path):
    path = tmp_path / "file"
    files.write_bytes(path, b"old")
    code = f"""
import os, pathlib
from weightwalk import files
with files.replacing(pathlib.Path({str(path)!r})) as scratch:
    scratch.write_bytes(b"half of the new")
    os._exit(9)
"""
    assert subprocess.run([sys.executable, "-c", code]).returncode == 9
    assert path.read_bytes() == b"old"
    assert all(name.endswith(".partial") for name in names(tmp_path) if name != "file")


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
def test_a_full_disk_is_told_in_a_sentence_and_loses_nothing(tmp_path, monkeypatch, number):
    path = tmp_path / "file"
    files.write_bytes(path, b"old")

    def full(descriptor):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(InputError, match=r"no room left to write .*nothing that was finished is lost"):
        files.write_bytes(path, b"new")
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == ["file"]


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full")
def test_a_disk_that_is_really_full(tmp_path):
    with (
        pytest.raises(InputError, match="no room left"),
        files.replacing(tmp_path / "file"),
        open("/dev/full", "wb", buffering=0) as handle,
    ):
        handle.write(b"x")
    assert names(tmp_path) == []


def test_other_trouble_keeps_its_own_error(tmp_path):
    with pytest.raises(IsADirectoryError), files.replacing(tmp_path / "file"):
        raise IsADirectoryError(errno.EISDIR, "is a directory")


def test_reading_json_says_what_was_expected(tmp_path):
    with pytest.raises(InputError, match=r"expected a recipe at .*none.json, found no such file"):
        files.read_json(tmp_path / "none.json", "a recipe")
    (tmp_path / "broken.json").write_text("{")
    (tmp_path / "binary.json").write_bytes(b"\xff\xfe\x00")
    for name in ("broken.json", "binary.json"):
        with pytest.raises(InputError, match="got a file that is not JSON"):
            files.read_json(tmp_path / name, "a recipe")


def test_digest(tmp_path):
    (tmp_path / "x").write_bytes(b"abc")
    assert files.sha256(tmp_path / "x") == hashlib.sha256(b"abc").hexdigest()


BROKEN = {
    "nothing": b"",
    "a piece": b'{"a": 1',
    "no UTF-8": b'{"a": "\xff"}',
    "NaN": b'{"a": NaN}',
    "infinity": b'{"a": -Infinity}',
    "beyond float64": b'{"a": 1e400}',
    "beyond 64 bits": b'{"a": 18446744073709551616}',
    "beyond Python's own limit": b'{"a": ' + b"9" * 5000 + b"}",
    "65 levels": b"[" * 65 + b"1" + b"]" * 65,
    "100,000 levels": b'{"a":' * 100_000,
    "a key twice": b'{"a": 1, "a": 2}',
}


@pytest.mark.parametrize("what", BROKEN)
def test_json_that_we_never_write_is_refused_in_a_sentence(tmp_path, what):
    (tmp_path / "a.json").write_bytes(BROKEN[what])
    with pytest.raises(InputError, match=r"expected a test at .*a\.json, got .*; restore or re-make it") as caught:
        files.read_json(tmp_path / "a.json", "a test")
    assert len(str(caught.value)) < 300 + len(str(tmp_path))


def test_a_device_is_not_read():
    with pytest.raises(InputError, match="expected a test at /dev/zero, found a device"):
        files.read_json("/dev/zero", "a test")


def test_numbers_at_the_limits_are_read(tmp_path):
    value = {"low": -(2**63), "high": 2**64 - 1, "large": 1.7e308, "deep": [[[]]]}
    files.write_json(tmp_path / "a.json", value)
    assert files.read_json(tmp_path / "a.json", "a test") == value


def test_numbers_that_are_not_finite_are_written_as_null(tmp_path):
    files.write_json(tmp_path / "a.json", {"a": [math.nan, {"b": -math.inf}], "c": 1.5})
    assert files.read_json(tmp_path / "a.json", "a test") == {"a": [None, {"b": None}], "c": 1.5}


def test_a_device_is_not_replaced(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", "/dev/full", tmp_path):
        with pytest.raises(InputError, match="expected a file or nothing at"):
            files.write_bytes(path, b"x")
    assert names(tmp_path) == ["pipe"]


def test_a_link_is_written_through_and_stays(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "deep" / "target")
    files.write_bytes(tmp_path / "link", b"x")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "deep" / "target").read_bytes() == b"x"
    (tmp_path / "circle").symlink_to(tmp_path / "circle")
    with pytest.raises(InputError, match="links in a circle"):
        files.write_bytes(tmp_path / "circle", b"x")


def test_outputs_of_users(tmp_path):
    ours, broken, strange, free = (tmp_path / name for name in ("ours", "broken", "strange", "free"))
    for folder in (ours, broken, strange, free):
        folder.mkdir()
    files.write_json(ours / "run.json", {"schema_version": 1})
    (broken / "manifest.json").touch()
    files.write_json(strange / "manifest.json", {"name": "a web page"})
    for path in (free / "a.PNG", free / "new" / "a.png", strange / "a.png", ours / "plots" / "a.png"):
        assert files.output(path, ".png") == path
    for path, words in {
        free / "a.gif": r"expected a .png as --out, got",
        free: "expected a .png",
        ours / "run.json" / "a.png": "is no folder that can be written",
        broken / "deep" / "a.png": "lies in a zoo",
    }.items():
        with pytest.raises(InputError, match=words):
            files.output(path, ".png")
    with pytest.raises(InputError, match="lies in a run"):
        files.output(ours / "log.csv", ".csv")
    assert files.output_folder(ours, holds="run.json") == ours
    for path in (ours, broken, ours / "inner"):
        with pytest.raises(InputError, match=r"is a (zoo|run)|lies in a run"):
            files.output_folder(path)


def test_a_disk_too_small_is_said_before_anything_is_written(tmp_path):
    files.check_room(tmp_path / "new" / "zoo", 1000, "a zoo", "choose fewer fits")
    with pytest.raises(InputError, match=r"a zoo takes more than 1,000,000 PB of disk, but .* are free; choose fewer"):
        files.check_room(tmp_path / "new" / "zoo", 1e30, "a zoo", "choose fewer fits")
