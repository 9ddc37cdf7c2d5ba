"""torchrun: two processes train as one, one of them writes and speaks, and a stopped run ends with the same bits."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from weightwalk.training import checkpoint

TORCHRUN = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")

TRAINS_THREE_TIMES = """
import itertools, os, sys
from pathlib import Path
import torch
from weightwalk.config import override
from weightwalk.recipes import RECIPES
from weightwalk.tasks import supervised
from weightwalk.training import distributed
from weightwalk.zoos.store import Zoo

zoo, out = Zoo.open(sys.argv[1]), Path(sys.argv[2])
latents, encoder = override(RECIPES["digits_inr2jls"](), sys.argv[3].split()), RECIPES["digits_classify"]()
small = ["encoder.dim=8", "encoder.num_frequencies=4", "classify.steps=20", "classify.eval_every=4"]
encoder = override(encoder, small)
with distributed.joined(torch.device("cpu")) as team:
    supervised.train(latents, zoo, out / "two", device=team.device)
    supervised.train(encoder, zoo, out / "straight", device=team.device)
    steps = itertools.count()
    stop = lambda: next(steps) == 6 and team.rank == 1
    supervised.train(encoder, zoo, out / "stopped", device=team.device, should_stop=stop)
    supervised.train(encoder, zoo, out / "stopped", device=team.device)
    import torch._dynamo  # imports torch.distributed.nn
if os.path.exists("/proc/self/task"):
    threads = [Path("/proc/self/task", thread, "comm").read_text() for thread in os.listdir("/proc/self/task")]
    assert not any("gloo" in name for name in threads), threads
"""

FAILS_ALONE = """
import torch, typer
from weightwalk import InputError
from weightwalk.cli.common import terminal
from weightwalk.training import distributed

def main():
    with terminal(False, True), distributed.joined(torch.device("cpu")) as team:
        for step in range(5):
            if team.rank == 1 and step == 3:
                raise InputError("one process has no more")
            team.wait()

typer.run(main)
"""


def started(*arguments):
    return subprocess.Popen(
        [*TORCHRUN, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


def ended(*arguments):
    process = started(*arguments)
    output, errors = process.communicate(timeout=300)
    return process.returncode, output, errors


def script(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def rows(stage: Path):
    with open(stage / "log.csv", newline="") as file:
        return [
            {name: float(value) for name, value in row.items() if name != "seconds"} for row in csv.DictReader(file)
        ]


def test_two_processes_train_as_one_and_a_stop_of_one_of_them_changes_no_bit(
    call, shared_zoo, tmp_path, train_arguments, small_settings
):
    settings = {"encoder.dropout": 0.0, "pretrain.steps": 9}
    assert call(*train_arguments(shared_zoo, tmp_path / "one", **settings)).exit_code == 0
    told = " ".join([*small_settings, *(f"{name}={value}" for name, value in settings.items())])
    code, _, errors = ended(script(tmp_path / "script.py", TRAINS_THREE_TIMES), shared_zoo, tmp_path, told)
    assert code == 0, errors
    files = [
        sorted(str(path.relative_to(run)) for path in run.rglob("*")) for run in (tmp_path / "one", tmp_path / "two")
    ]
    assert files[0] == files[1]
    for stage in ("pretrain", "classify"):
        alone, together = rows(tmp_path / "one" / stage), rows(tmp_path / "two" / stage)
        assert len(alone) == len(together) > 1
        for one, other in zip(alone, together, strict=True):
            assert other == pytest.approx(one, abs=1e-5)

    for name in ("classify/last", "classify/best", "model"):
        two = [checkpoint.load(tmp_path / run / f"{name}.safetensors") for run in ("stopped", "straight")]
        assert all(two[0].tensors[key].equal(two[1].tensors[key]) for key in two[0].tensors | two[1].tensors)
    assert rows(tmp_path / "stopped/classify") == rows(tmp_path / "straight/classify")


def test_a_team_is_stopped_by_a_signal_and_refuses_other_settings_with_one_sentence(
    shared_zoo, tmp_path, train_arguments
):
    settings = {"classify.steps": 100_000, "classify.eval_every": 10, "classify.batch_size": 16}
    arguments = ("-m", "weightwalk", *train_arguments(shared_zoo, tmp_path / "run", "digits_classify", **settings))
    process = started(*arguments)
    while not (tmp_path / "run/classify/last.safetensors").exists() and process.poll() is None:
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    output, errors = process.communicate(timeout=60)
    assert process.returncode != 0
    assert errors.count("saved at step") == 1, errors
    assert output == ""
    assert checkpoint.load(tmp_path / "run/classify/last.safetensors").metadata["step"] >= 10

    code, _, errors = ended(*arguments, "--set", "classify.clip=3")
    assert code != 0
    assert errors.count("error:") == errors.count("classify.clip was 1.0, now 3.0") == 1, errors


def test_a_process_that_fails_alone_ends_all_with_its_sentence(tmp_path):
    code, _, errors = ended(script(tmp_path / "script.py", FAILS_ALONE))
    assert code != 0
    assert errors.count("error: one process has no more") == 1
    assert "Connection" not in errors
    assert "exitcode  : 2" in errors


def test_precision_and_trackers_are_options_of_train(call, shared_zoo, tmp_path, train_arguments):
    run = tmp_path / "run"
    arguments = (*train_arguments(shared_zoo, run), "--precision", "bf16", "--track", "tensorboard")
    assert call(*arguments).exit_code == 0
    config = json.loads((run / "run.json").read_text())["config"]
    assert [config[stage]["precision"] for stage in ("pretrain", "classify")] == ["bf16", "bf16"]
    assert len(list((run / "tensorboard").glob("events.*"))) == 1
    assert call(*arguments).exit_code == 0
    assert call("evaluate", run, "--quiet").exit_code == 0

    refused = call(*train_arguments(shared_zoo, tmp_path / "other"), "--track", "tensorbord")
    assert refused.exit_code == 2
    assert "unknown tracker 'tensorbord'" in refused.stderr
    assert not (tmp_path / "other").exists()
