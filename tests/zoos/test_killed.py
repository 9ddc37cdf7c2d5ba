"""`weightwalk fit` and `zoo`, killed at random moments and started again, or run twice at once, end in the bytes of a
command that nobody disturbed.

WEIGHTWALK_KILLS=20 kills more often than the suite has time for.
"""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from weightwalk.zoos.hashes import verify

KILLS = int(os.environ.get("WEIGHTWALK_KILLS", 3))


def fit(out: Path) -> subprocess.Popen[bytes]:
    rest = [
        "--out",
        str(out),
        "--recipe",
        "tiny",
        "--set",
        "descent.steps=100",
        "--fits",
        str(2 * KILLS),
        "--workers",
        "2",
        "--quiet",
    ]
    return subprocess.Popen(
        [sys.executable, "-c", "from weightwalk.cli import main; main()", "fit", "digits", *rest],
        stdout=subprocess.DEVNULL,
        start_new_session=True,
    )


def zoo(out: Path) -> subprocess.Popen[bytes]:
    settings = ["epochs=2", "checkpoints=1", "layers=2", "channels=4", "kernels=3", "mean=0.5", "std=0.5"]
    rest = [part for setting in settings for part in ("--set", setting)]
    rest += ["--runs", "12", "--workers", "1", "--quiet", "--out", str(out), "--dataset", "digits"]
    return subprocess.Popen(
        [sys.executable, "-c", "from weightwalk.cli import main; main()", "zoo", "wild-park", *rest],
        stdout=subprocess.DEVNULL,
        start_new_session=True,
    )


def content(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.name[0] != "."
    }


@pytest.mark.slow
def test_kills_change_nothing(tmp_path):
    quiet, killed = tmp_path / "quiet", tmp_path / "killed"
    with fit(quiet) as undisturbed:
        assert undisturbed.wait() == 0
    chance, shards = random.Random(0), []
    for _ in range(KILLS):
        with fit(killed) as process:
            deadline = time.monotonic() + 60
            while (
                process.poll() is None
                and len(list(killed.rglob("*.safetensors"))) <= len(shards)
                and time.monotonic() < deadline
            ):
                time.sleep(0.005)
            time.sleep(chance.uniform(0, 0.3))
            assert process.poll() is None, "it was done before it could be killed"
            os.killpg(process.pid, signal.SIGKILL) if chance.random() < 0.5 else process.kill()
        shards = list(killed.rglob("*.safetensors"))
    with fit(killed) as last:
        assert last.wait() == 0
    assert content(killed) == content(quiet)
    assert not verify(killed).problems


@pytest.mark.slow
def test_two_commands_at_once_make_the_zoo_of_one(tmp_path):
    """And one that is killed meanwhile costs nothing."""
    quiet, shared = tmp_path / "quiet", tmp_path / "shared"
    with zoo(quiet) as undisturbed:
        assert undisturbed.wait() == 0
    with zoo(shared) as one, zoo(shared) as two, zoo(shared) as three:
        deadline = time.monotonic() + 60
        while not list(shared.rglob("*.safetensors")) and time.monotonic() < deadline:
            time.sleep(0.005)
        three.kill()
        assert (one.wait(), two.wait()) == (0, 0)
    assert content(shared) == content(quiet)
    assert not verify(shared).problems
