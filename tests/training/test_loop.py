import contextlib
import csv
import itertools
import math
import os
import signal
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from weightwalk import InputError
from weightwalk.config import override
from weightwalk.training import checkpoint, loop
from weightwalk.training.loop import Outcome, StageConfig, read_log, train

STAGE = StageConfig(steps=22, batch_size=7, learning_rate=0.05, eval_every=4)
FULL = StageConfig(
    22, 30, 0.05, 0.1, "amsgrad", warmup_start=0.1, warmup_steps=5, schedule="cosine", clip=0.5, eval_every=5
)


@pytest.fixture(scope="module", autouse=True)
def _no_waiting_for_disks():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda descriptor: None)
        yield


class Toy:
    """A small classifier with dropout and BatchNorm on 23 samples; every instance starts from the same parameters."""

    num_samples, monitor, maximise = 23, "loss", False

    def __init__(self, device="cpu"):
        generator = torch.Generator().manual_seed(0)
        self.x, self.y = torch.randn(34, 6, generator=generator).to(device), torch.arange(34).remainder(3).to(device)
        self.model = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.5), nn.Linear(8, 3))
        for parameter in self.model.parameters():
            parameter.data.normal_(0, 0.5, generator=generator)
        self.model.to(device)

    def loss(self, indices):
        assert self.model.training
        assert torch.is_grad_enabled()
        return F.cross_entropy(self.model(self.x[:23][indices]), self.y[:23][indices])

    def validate(self):
        assert not self.model.training
        assert not torch.is_grad_enabled()
        scores = self.model(self.x[23:])
        return {
            "loss": F.cross_entropy(scores, self.y[23:]),
            "accuracy": (scores.argmax(1) == self.y[23:]).float().mean(),
        }


class Scripted(Toy):
    """A toy whose losses and monitored figures are given."""

    def __init__(self, figures=(), nan_at=None):
        super().__init__()
        self.figures, self.nan_at, self.calls = iter(figures), nan_at, 0

    def loss(self, indices):
        self.calls += 1
        return super().loss(indices) * (math.nan if self.calls == self.nan_at else 1.0)

    def validate(self):
        return {"loss": next(self.figures)} if self.nan_at is None else super().validate()


def everything(folder, model):
    """All that a stage leaves behind, without its times, in comparable form."""
    last = checkpoint.load(folder / "last.safetensors")
    rows = [{name: value for name, value in row.items() if name != "seconds"} for row in read_log(folder)]
    with open(folder / "log.csv", newline="") as file:
        table = [
            {name: float(value) for name, value in row.items() if name != "seconds"} for row in csv.DictReader(file)
        ]
    assert table == rows
    return {
        "last": {name: (tensor.dtype, tensor.numpy().tobytes()) for name, tensor in last.tensors.items()},
        "state": {name: value for name, value in last.metadata.items() if name not in ("seconds", "rows")},
        "rows": rows,
        "best": (folder / "best.safetensors").read_bytes(),
        "model": {name: tensor.cpu().numpy().tobytes() for name, tensor in model.state_dict().items()},
        "files": sorted(path.name for path in folder.iterdir()),
    }


def undisturbed(config, make=Toy):
    with tempfile.TemporaryDirectory() as name:
        objective = make()
        assert train(objective, config, Path(name), seed=5).finished
        return everything(Path(name), objective.model)


class KilledError(BaseException):
    """Stands for SIGKILL: nothing in the library catches it."""


def disturbed(config, disturbances, make=Toy):
    """One call of `train` per disturbance (how, after how many steps or renames), each with a new objective, then one
    to the end.
    """
    with tempfile.TemporaryDirectory() as name:
        for how, count in disturbances:
            with contextlib.suppress(KilledError):
                train_disturbed(make(), config, Path(name), how, count)
        objective = make()
        assert train(objective, config, Path(name), seed=5).finished
        return everything(Path(name), objective.model)


def train_disturbed(objective, config, folder, how, count):
    ticks, really_loss, really_replace = itertools.count(), objective.loss, os.replace

    def loss(indices):
        if how == "kill in a step" and next(ticks) == count:
            raise KilledError
        return really_loss(indices)

    def replace(*paths):
        now = "rename" in how and next(ticks) == count
        if now and "before" in how:
            raise KilledError
        really_replace(*paths)
        if now:
            raise KilledError

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "replace", replace)
        patch.setattr(objective, "loss", loss)
        train(objective, config, folder, seed=5, should_stop=lambda: how == "stop" and next(ticks) == count)


disturbances = st.lists(
    st.tuples(
        st.sampled_from(["stop", "kill in a step", "kill before a rename", "kill after a rename"]), st.integers(0, 22)
    ),
    min_size=1,
    max_size=3,
)


@pytest.fixture(scope="module")
def references():
    return {config: undisturbed(config) for config in (STAGE, FULL)}


@pytest.mark.parametrize("config", [STAGE, FULL])
@settings(max_examples=30, deadline=None)
@given(disturbances=disturbances)
@example([("stop", 0), ("stop", 1), ("stop", 22)])
@example([("kill after a rename", 0)])  # the state is written and its best model is not
def test_stopped_or_killed_anywhere_and_resumed_is_undisturbed_bitwise(references, config, disturbances):
    assert disturbed(config, disturbances) == references[config]


class OwnGenerator(Toy):
    """A wrong twin: its noise comes from a generator that no checkpoint knows of."""

    def __init__(self):
        super().__init__()
        self.generator = torch.Generator().manual_seed(1)

    def loss(self, indices):
        return super().loss(indices) + 0.1 * self.model[0].weight.mul(torch.randn(8, 6, generator=self.generator)).sum()


def test_a_wrong_twin_with_a_generator_of_its_own_breaks_the_law():
    assert disturbed(STAGE, [("stop", 6)], OwnGenerator) != undisturbed(STAGE, OwnGenerator)


@pytest.mark.parametrize("twin", ["batch_indices", "step_seed"])
def test_a_wrong_twin_with_a_counter_breaks_the_law(monkeypatch, references, twin):
    """A sampler, and seeds, that count their calls instead of listening to the step."""

    def counting():
        right, calls = getattr(loop, twin), itertools.count()
        if twin == "step_seed":
            return lambda seed, step: right(seed, next(calls))
        return lambda num_samples, batch_size, step, seed: right(num_samples, batch_size, next(calls), seed)

    original = getattr(loop, twin)

    def make():  # a new process: the counter starts again
        monkeypatch.setattr(loop, twin, original)
        monkeypatch.setattr(loop, twin, counting())
        return Toy()

    assert undisturbed(STAGE, make) == references[STAGE]
    assert disturbed(STAGE, [("stop", 6)], make) != references[STAGE]


def test_a_real_sigkill_is_survived(tmp_path, references):
    child = subprocess.run(
        [sys.executable, __file__, str(tmp_path), str(torch.get_num_threads())], check=False, timeout=60
    )
    assert child.returncode == -signal.SIGKILL
    assert read_log(tmp_path)[-1]["step"] == 8
    objective = Toy()
    train(objective, STAGE, tmp_path, seed=5)
    assert everything(tmp_path, objective.model) == references[STAGE]


def be_killed(folder, num_threads):
    torch.set_num_threads(num_threads)
    objective, calls = Toy(), itertools.count()
    really = objective.loss
    objective.loss = lambda indices: os.kill(os.getpid(), signal.SIGKILL) if next(calls) == 10 else really(indices)
    train(objective, STAGE, folder, seed=5)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA")
def test_resume_is_exact_on_a_gpu_too():
    def make():
        return Toy("cuda")

    assert disturbed(FULL, [("stop", 7)], make) == undisturbed(FULL, make)


def test_a_stop_saves_that_step_and_adds_no_row(tmp_path):
    calls = itertools.count()
    outcome = train(Toy(), STAGE, tmp_path, seed=5, should_stop=lambda: next(calls) == 6)
    assert (outcome.steps, outcome.finished, outcome.best_step) == (6, False, 4)
    assert [row["step"] for row in read_log(tmp_path)] == [4]
    assert checkpoint.load(tmp_path / "last.safetensors").metadata["step"] == 6


def test_a_stop_before_the_first_step(tmp_path):
    outcome = train(Toy(), STAGE, tmp_path, seed=5, should_stop=lambda: True)
    assert (outcome.steps, outcome.finished, outcome.best_step, outcome.best) == (0, False, 0, {})
    assert read_log(tmp_path) == []


def test_a_finished_stage_answers_at_once(tmp_path):
    first = train(Toy(), STAGE, tmp_path, seed=5)
    files = {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    objective = Scripted(nan_at=1)
    assert train(objective, STAGE, tmp_path, seed=5) == first
    assert objective.calls == 0
    assert {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()} == files
    best = checkpoint.load(tmp_path / "best.safetensors")
    assert all(
        torch.equal(tensor, best.tensors[f"model.{name}"]) for name, tensor in objective.model.state_dict().items()
    )


@pytest.mark.parametrize(("maximise", "best_step"), [(False, 4), (True, 2)])
def test_the_best_row_is_kept_and_of_equals_the_earlier(tmp_path, monkeypatch, maximise, best_step):
    monkeypatch.setattr(Scripted, "maximise", maximise)
    objective, after = Scripted([3.0, 1.0, 1.0, 3.0]), {}
    really = objective.validate
    objective.validate = lambda: (after.update({len(after): objective.model[0].weight.clone()}), really())[1]
    outcome = train(objective, StageConfig(8, 5, 0.01, eval_every=2), tmp_path, seed=1)
    assert outcome == Outcome(8, True, best_step, {"loss": 3.0 if maximise else 1.0}, outcome.seconds)
    assert torch.equal(objective.model[0].weight, after[best_step // 2 - 1])
    assert not objective.model.training
    assert checkpoint.load(tmp_path / "best.safetensors").metadata["step"] == best_step


def test_rows_hold_the_mean_loss_the_figures_and_the_rate(tmp_path):
    objective, losses = Toy(), []
    really = objective.loss
    objective.loss = lambda indices: (losses.append(really(indices)), losses[-1])[1]
    train(objective, FULL, tmp_path, seed=5)
    rows = read_log(tmp_path)
    assert [row["step"] for row in rows] == [5, 10, 15, 20, 22]
    assert list(rows[0]) == ["step", "train_loss", "loss", "accuracy", "learning_rate", "seconds"]
    assert rows[-1]["train_loss"] == pytest.approx(torch.stack(losses[20:]).double().mean().item(), rel=1e-12)
    assert rows[1]["learning_rate"] == FULL.rate(9)
    assert (tmp_path / "log.csv").read_text().startswith("step,train_loss,loss,accuracy,learning_rate,seconds\n5,")


@pytest.mark.parametrize("name", ["adamw", "amsgrad"])
def test_updates_are_those_of_plain_torch(tmp_path, name):
    """The loop, written out without the loop."""
    objective, plain = Toy(), Toy()
    train(objective, replace(FULL, optimizer=name), tmp_path, seed=5)
    optimizer = torch.optim.AdamW(
        plain.model.parameters(), lr=1.0, weight_decay=0.1, amsgrad=name == "amsgrad", fused=True
    )
    with torch.random.fork_rng():
        for step in range(FULL.steps):
            torch.manual_seed(loop.step_seed(5, step))
            optimizer.param_groups[0]["lr"] = FULL.rate(step)
            optimizer.zero_grad()
            plain.loss(loop.batch_indices(23, 30, step, 5)).backward()
            nn.utils.clip_grad_norm_(plain.model.parameters(), 0.5)
            optimizer.step()
    last = checkpoint.load(tmp_path / "last.safetensors")
    assert all(torch.equal(tensor, last.tensors[f"model.{name}"]) for name, tensor in plain.model.state_dict().items())


def test_the_callers_random_numbers_neither_matter_nor_change(tmp_path, references):
    objective = Toy()
    torch.manual_seed(99)
    before = torch.get_rng_state()
    train(objective, STAGE, tmp_path, seed=5)
    assert torch.equal(torch.get_rng_state(), before)
    assert everything(tmp_path, objective.model) == references[STAGE]


def test_progress_is_told_now_and_then(tmp_path, monkeypatch):
    seconds = itertools.count(0.0, 0.01)
    monkeypatch.setattr(loop.time, "monotonic", lambda: next(seconds))
    told = []
    monkeypatch.setattr(Toy, "monitor", "accuracy")
    train(
        Toy(),
        StageConfig(200, 5, 0.01, eval_every=50),
        tmp_path,
        seed=0,
        label="toy",
        progress=lambda *words: told.append(words),
    )
    assert 3 < len(told) < 60
    assert {(label, total) for label, _, total, _ in told} == {("toy", 200)}
    assert told[-1][1] == 200
    assert (list(told[0][3]), list(told[-1][3])) == (["loss"], ["loss", "accuracy"])
    assert told[-1][3]["accuracy"] == read_log(tmp_path)[-1]["accuracy"]


def test_a_loss_that_is_not_finite_stops_and_keeps_the_last_good_state(tmp_path):
    with pytest.raises(
        InputError,
        match=r"toy: the training loss became nan in step 7; .*last.safetensors; .*smaller learning_rate \(now 0.05\)",
    ):
        train(Scripted(nan_at=7), STAGE, tmp_path, seed=5, label="toy")
    last = checkpoint.load(tmp_path / "last.safetensors")
    assert last.metadata["step"] == 4
    assert all(torch.isfinite(tensor).all() for tensor in last.tensors.values())


def test_a_stop_right_after_a_bad_loss_does_not_save_it(tmp_path):
    objective = Scripted(nan_at=7)
    with pytest.raises(InputError, match="in step 7"):
        train(objective, STAGE, tmp_path, seed=5, should_stop=lambda: objective.calls == 7)
    assert checkpoint.load(tmp_path / "last.safetensors").metadata["step"] == 4


def test_a_monitored_figure_that_is_no_number_stops(tmp_path):
    with pytest.raises(InputError, match="monitored figure loss became nan in step 4; nothing was saved yet"):
        train(Scripted([math.nan]), STAGE, tmp_path, seed=5)


def test_an_unknown_monitor_lists_the_figures(tmp_path):
    objective = Toy()
    objective.monitor = "acuracy"
    with pytest.raises(InputError, match="unknown figure to monitor 'acuracy'; known: loss, accuracy"):
        train(objective, STAGE, tmp_path, seed=5)


def test_a_model_without_parameters_to_train_is_refused(tmp_path):
    objective = Toy()
    objective.model.requires_grad_(False)
    with pytest.raises(InputError, match="unfreeze some"):
        train(objective, STAGE, tmp_path, seed=5)


@pytest.fixture
def stopped(tmp_path):
    calls = itertools.count()
    train(Toy(), STAGE, tmp_path, seed=5, should_stop=lambda: next(calls) == 9)
    return tmp_path


def test_other_settings_are_listed(stopped):
    with pytest.raises(
        InputError,
        match=r"made with other settings: learning_rate was 0.05, now 0.1; "
        r"clip was None, now 1.0; seed was 5, now 6; go back",
    ):
        train(Toy(), override(STAGE, ["learning_rate=0.1", "clip=1"]), stopped, seed=6)


def test_another_model_is_refused(stopped):
    objective = Toy()
    objective.model[4] = nn.Linear(8, 4)
    with pytest.raises(InputError, match=r"4.weight is \(3, 8\) float32 in the file and \(4, 8\) float32 in the model"):
        train(objective, STAGE, stopped, seed=5)


@pytest.mark.parametrize("name", ["last", "best"])
def test_a_damaged_checkpoint_is_named(stopped, name):
    path = stopped / f"{name}.safetensors"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(
        InputError,
        match=rf"{name}\.safetensors, got a damaged one .*; restore it from a copy, or delete it and train again",
    ):
        train(Toy(), STAGE, stopped, seed=5)


def test_after_the_last_checkpoint_is_deleted_training_starts_anew(stopped, references):
    (stopped / "last.safetensors").unlink()
    objective = Toy()
    train(objective, STAGE, stopped, seed=5)
    assert everything(stopped, objective.model) == references[STAGE]


def test_a_lost_best_model_is_noticed_before_training_goes_on(stopped):
    (stopped / "best.safetensors").unlink()
    with pytest.raises(
        InputError,
        match=r"the model of step \d at .*best\.safetensors, found none or another; "
        r".*delete .*last\.safetensors as well",
    ):
        train(Toy(), STAGE, stopped, seed=5)


def test_a_model_in_place_of_a_state_is_refused(stopped):
    (stopped / "best.safetensors").replace(stopped / "last.safetensors")
    with pytest.raises(InputError, match="got a model alone"):
        train(Toy(), STAGE, stopped, seed=5)


def test_damaged_logs_are_named_and_mended_by_a_resume(stopped, references):
    (stopped / "log.jsonl").write_text('{"step": 4, "lo')
    (stopped / "log.csv").unlink()
    with pytest.raises(InputError, match=r"log\.jsonl, got lines that are not JSON"):
        read_log(stopped)
    train(Toy(), STAGE, stopped, seed=5, should_stop=lambda: True)
    assert [row["step"] for row in read_log(stopped)] == [4, 8]
    assert len((stopped / "log.csv").read_text().splitlines()) == 3


def test_schedules():
    constant, cosine = StageConfig(10, 1, 2.0), StageConfig(10, 1, 2.0, schedule="cosine")
    warm = StageConfig(10, 1, 2.0, warmup_start=0.25, warmup_steps=4, schedule="cosine")
    assert {constant.rate(step) for step in range(10)} == {2.0}
    assert [cosine.rate(step) for step in (0, 5, 10)] == pytest.approx([2.0, 1.0, 0.0])
    assert [warm.rate(step) for step in (0, 2, 4, 7, 10)] == pytest.approx([0.5, 1.25, 2.0, 1.0, 0.0])
    assert StageConfig(3, 1, 2.0, warmup_start=0.0, warmup_steps=8, schedule="cosine").rate(3) == 0.75


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("steps=0", "steps must be a number of at least 1, got 0"),
        ("batch_size=-1", "batch_size must be a number of at least 1, got -1"),
        ("eval_every=0", "eval_every must be a number of at least 1, got 0"),
        ("learning_rate=nan", "learning_rate must be a number that is finite, got nan"),
        ("clip=0", "clip must be a number above 0, got 0.0"),
        ("weight_decay=-1", "weight_decay must be a number of at least 0, got -1.0"),
        ("warmup_start=2", "warmup_start must be a number of at least 0 and of at most 1, got 2.0"),
        ("warmup_steps=-1", "warmup_steps must be a number of at least 0, got -1"),
        ("schedule=linear", "schedule must be one of constant, cosine, got 'linear'"),
    ],
)
def test_settings_are_checked(setting, message):
    with pytest.raises(InputError, match=message):
        override(STAGE, [setting])


def test_an_unknown_optimizer_is_refused():
    with pytest.raises(InputError, match="optimizer must be one of adam, adamw, amsgrad, got 'sgd'"):
        StageConfig(1, 1, 1.0, optimizer="sgd")


def test_describing_a_stage_never_imports_torch():
    code = "import sys, weightwalk.training.stage; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


if __name__ == "__main__":
    be_killed(Path(sys.argv[1]), int(sys.argv[2]))
