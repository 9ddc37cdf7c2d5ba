"""SIGTERM and SIGINT: the first one saves and says so, and the same command goes on to the same end."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from weightwalk.cli.common import terminal
from weightwalk.training import checkpoint


@pytest.fixture(autouse=True)
def _as_in_a_terminal():
    """Whoever starts the tests in the background has SIGINT ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_terminated_and_resumed_is_uninterrupted(call, shared_zoo, tmp_path, train_arguments):
    settings = {"classify.steps": 80, "classify.eval_every": 10, "classify.batch_size": 16}
    arguments = train_arguments(shared_zoo, tmp_path / "stopped", "digits_classify", **settings)
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", "import weightwalk.cli; weightwalk.cli.main()", *arguments, "--json"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)
    while not (tmp_path / "stopped/classify/last.safetensors").exists() and process.poll() is None:
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    output, errors = process.communicate(timeout=60)
    assert process.returncode == 143, errors
    answer = json.loads(output)
    steps = answer["stages"]["classify"]["steps"]
    assert answer["stopped"]
    assert 10 <= steps < 80
    assert (
        f"saved at step {steps:,} of classify in {tmp_path / 'stopped'}; the same command goes on from there" in errors
    )

    assert call(*arguments, "--resume", "must").exit_code == 0
    assert call(*train_arguments(shared_zoo, tmp_path / "straight", "digits_classify", **settings)).exit_code == 0
    tensors = [
        checkpoint.load(tmp_path / name / "classify/best.safetensors").tensors for name in ("stopped", "straight")
    ]
    assert tensors[0].keys() == tensors[1].keys()
    assert all(tensors[0][name].equal(tensors[1][name]) for name in tensors[0])


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stopped_fit_goes_on(call, tmp_path, monkeypatch, number):
    from weightwalk.zoos.inr import engine

    out, fit = tmp_path / "zoo", engine.fit
    arguments = ("fit", "digits", "--out", out, "--limit", 600, "--recipe", "tiny", "--workers", 1)

    def interrupted(*given):
        signal.raise_signal(number)
        monkeypatch.setattr(engine, "fit", fit)
        return fit(*given)

    monkeypatch.setattr(engine, "fit", interrupted)
    before = signal.getsignal(number)
    result = call(*arguments)
    assert result.exit_code == 128 + number
    assert "the same command goes on" in result.stderr
    assert signal.getsignal(number) == before
    again = json.loads(call(*arguments, "--json").stdout)
    assert again["finished"]
    assert again["fitted"] + again["already_there"] == 600


def test_a_second_signal_is_not_held_back():
    with terminal(False, True) as screen, screen.listening():
        signal.raise_signal(signal.SIGINT)
        assert screen.should_stop()
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) == signal.default_int_handler


def test_the_library_installs_no_handlers():
    """But for the command line, and in worker processes of its own."""
    sources = Path(terminal.__wrapped__.__code__.co_filename).parents[1].rglob("*.py")
    assert {path.name for path in sources if "signal.signal(" in path.read_text()} == {
        "common.py",
        "team.py",
        "work.py",
    }
