"""Laws of training a zoo: a run depends on nothing but its number, and an interrupted zoo ends in the bytes of one made
at once.
"""

import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch

from weightwalk import InputError, memory
from weightwalk.steps import Learned
from weightwalk.zoos.check import check
from weightwalk.zoos.store import Zoo
from weightwalk.zoos.trained import train as module
from weightwalk.zoos.trained import trainer
from weightwalk.zoos.trained.pictures import Pictures
from weightwalk.zoos.trained.train import TrainJob, train_zoo
from weightwalk.zoos.work import Inline, Processes


def content(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.name[0] != "."
    }


@pytest.mark.parametrize("kind", ["cnn", "wild-park", "vit"])
def test_a_zoo_of_every_kind(kind, sets, quick, tmp_path):
    chosen = quick(kind)
    outcome = train_zoo(sets, tmp_path / "zoo", chosen, runs=6)
    assert (outcome.trained, outcome.already_there, outcome.finished) == (6, 0, True)
    zoo = Zoo.open(tmp_path / "zoo")
    assert (zoo.kind, zoo.group_numbers.tolist(), zoo.settings["dataset"]) == (kind, list(range(6)), "quarters")
    wanted = {"cnn": [0, 1, 3] * 6, "wild-park": [1, 2] * 6, "vit": [1, 2] * 3}[kind]
    assert zoo.column("epoch").tolist() == wanted
    assert (len(zoo.specs) > 1) == (kind != "vit")
    # what it says of a network is what the network does
    pictures = Pictures.of(sets, chosen)
    scale, offset = (torch.tensor(values).view(-1, 1, 1) for values in chosen.normalisation(pictures.image_shape[0]))
    for row in (0, 5):
        logits = zoo.weights([row]).run(torch.from_numpy(pictures.test) * scale + offset)[0]
        labels = torch.from_numpy(pictures.test_labels)
        assert float((logits.argmax(1) == labels).float().mean()) == pytest.approx(zoo.column("test_accuracy")[row])
        assert float(torch.nn.functional.cross_entropy(logits, labels)) == pytest.approx(
            zoo.column("test_loss")[row], rel=1e-4
        )
    report = check(tmp_path / "zoo", 3, sets)
    assert (report.problems, report.groups, report.looked_at) == ((), 6, 3)


def test_networks_learn(sets, quick, tmp_path):
    train_zoo(sets, tmp_path / "zoo", quick("wild-park", "epochs=25", "learning_rate=0.01", "train_images=80"), runs=2)
    zoo = Zoo.open(tmp_path / "zoo")
    assert zoo.column("test_accuracy")[zoo.rows(members="last")].max() > 0.5
    assert zoo.column("train_loss")[1] < zoo.column("train_loss")[0]


def test_a_table_of_positions_stays_as_it_is(sets, quick, tmp_path):
    train_zoo(sets, tmp_path / "zoo", quick("vit"), runs=2)
    zoo = Zoo.open(tmp_path / "zoo")
    (layer,) = (number for number, layer in enumerate(zoo.specs[0].layers) if isinstance(layer, Learned))
    weights = zoo.weights(zoo.rows())
    start = module.begin(quick("vit").drawn((3, 16, 16), 4, 0, 0), 0, 0)
    field = next(field for field in zoo.specs[0].fields if field.layer == layer)
    assert torch.equal(weights.weights[layer][0].flatten(), start[field.start : field.stop])
    assert not torch.equal(
        weights.weights[2][0].flatten(), start[zoo.specs[0].fields[4].start : zoo.specs[0].fields[4].stop]
    )


@pytest.mark.parametrize("kind", ["cnn", "vit"])
def test_a_run_is_the_same_alone(kind, sets, quick, tmp_path):
    chosen = quick(kind)
    train_zoo(sets, tmp_path / "zoo", chosen, runs=5)
    zoo = Zoo.open(tmp_path / "zoo")
    Pictures.of(sets, chosen).save(tmp_path)
    alone = TrainJob(chosen, 4, 0, str(tmp_path)).do(3)
    rows = np.flatnonzero(zoo.column("group") == 3)
    np.testing.assert_array_equal(zoo.weights(rows).flat.numpy(), alone.params)
    other = TrainJob(chosen, 4, 1, str(tmp_path)).do(3)
    assert not np.array_equal(other.params, alone.params) if len(other.params) == len(alone.params) else True


class Dies(Inline):
    """After so many runs, as a process that is killed."""

    def __init__(self, after):
        self.after = after

    def results(self, job, tasks):
        for number, result in enumerate(super().results(job, tasks)):
            if number == self.after:
                raise KeyboardInterrupt
            yield result


def test_an_interrupted_zoo_ends_in_the_same_bytes(sets, quick, tmp_path, monkeypatch):
    chosen = quick("wild-park")
    train_zoo(sets, tmp_path / "quiet", chosen, runs=10)
    done = []
    monkeypatch.setattr(TrainJob, "do", lambda self, run, do=TrainJob.do: done.append(run) or do(self, run))
    for after in (3, 2, 0):
        with pytest.raises(KeyboardInterrupt):
            train_zoo(sets, tmp_path / "killed", chosen, runs=10, workers=Dies(after))
    stopped = iter([False, False, True])
    outcome = train_zoo(sets, tmp_path / "killed", chosen, runs=10, should_stop=lambda: next(stopped))
    assert (outcome.finished, outcome.already_there) == (False, 5)
    last = train_zoo(sets, tmp_path / "killed", chosen, runs=10)
    assert last.finished
    assert content(tmp_path / "killed") == content(tmp_path / "quiet")
    # a finished run is never done again: only those that were under way when the process died
    assert sorted(set(done)) == list(range(10))
    assert len(done) == 10 + 3
    assert train_zoo(sets, tmp_path / "killed", chosen, runs=10).trained == 0


def test_fewer_runs_leave_what_was_made_for_more(sets, quick, tmp_path):
    chosen = quick("vit")
    with pytest.raises(KeyboardInterrupt):
        train_zoo(sets, tmp_path / "zoo", chosen, runs=8, workers=Dies(6))
    assert train_zoo(sets, tmp_path / "zoo", chosen, runs=3).finished
    assert Zoo.open(tmp_path / "zoo").group_numbers.tolist() == [0, 1, 2, 3, 4, 5]
    train_zoo(sets, tmp_path / "zoo", chosen, runs=8)
    assert Zoo.open(tmp_path / "zoo").group_numbers.tolist() == list(range(8))


@pytest.mark.slow
def test_processes_do_what_this_process_does(sets, quick, tmp_path):
    for name, workers in (("one", Inline()), ("two", Processes(2))):
        train_zoo(sets, tmp_path / name, quick("cnn"), runs=6, workers=workers)
    assert content(tmp_path / "one") == content(tmp_path / "two")


def test_runs_that_diverge_keep_what_was_before(sets, quick, tmp_path, monkeypatch):
    def diverge(spec, state, *arguments, order=None, real=trainer.epoch, **options):
        real(spec, state, *arguments, **options)
        if state.step >= 8:  # in the second epoch of 4 steps
            state.params[0] = float("nan")
        return 0.0, 0.0

    monkeypatch.setattr(trainer, "epoch", diverge)
    chosen = quick("cnn", "train_fractions=1")
    outcome = train_zoo(sets, tmp_path / "some", chosen, runs=2)
    assert outcome.diverged == 0
    assert Zoo.open(tmp_path / "some").column("epoch").tolist() == [0, 1, 0, 1]
    outcome = train_zoo(sets, tmp_path / "none", replace(chosen, checkpoints=()), runs=2)
    assert outcome.diverged == 2
    zoo = Zoo.open(tmp_path / "none")
    assert (len(zoo), zoo.group_numbers.tolist()) == (0, [0, 1])
    assert len(zoo.rows(members="last")) == 0
    assert not check(tmp_path / "none").problems


@pytest.mark.skipif(shutil.which("g++") is None, reason="no C++ compiler")
def test_a_network_that_memory_does_not_hold_leaves_no_zoo(sets, quick, tmp_path, monkeypatch):
    monkeypatch.setattr(memory, "available", lambda: 1_000)
    with pytest.raises(InputError, match="are free; choose a smaller one"):
        train_zoo(sets, tmp_path / "zoo", quick("cnn"), runs=1)
    assert not (tmp_path / "zoo").exists()


def test_what_does_not_fit_is_refused_before_anything_is_written(sets, quick, tmp_path):
    out = tmp_path / "zoo"
    for arguments, match in [
        ((sets[:1], quick("cnn"), {"runs": 1}), "to train and to test on"),
        ((sets, quick("cnn"), {"runs": 0}), "at least 1 run"),
        ((sets, quick("cnn"), {"runs": 1, "seed": -1}), "seed from 0"),
        ((sets, quick("vit", "patch=5"), {"runs": 1}), "patches divide"),
        ((sets, quick("vit", "mean=0.5,0.5"), {"runs": 1}), "one for each of 3 channels"),
        ((sets, quick("vit", "dim=6"), {"runs": 1}), "table of sines"),
    ]:
        with pytest.raises(InputError, match=match):
            train_zoo(arguments[0], out, arguments[1], **arguments[2])
    assert not out.exists()
    train_zoo(sets, out, quick("vit"), runs=1)
    with pytest.raises(InputError, match="seed was 0, now 2"):
        train_zoo(sets, out, quick("vit"), runs=1, seed=2)
