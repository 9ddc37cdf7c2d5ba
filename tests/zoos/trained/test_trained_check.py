"""Changed files and wrong numbers are found."""

from dataclasses import replace

import numpy as np
import pytest
from weightwalk.zoos.trained.check import check

from weightwalk import InputError
from weightwalk.zoos.store import Zoo
from weightwalk.zoos.trained.train import train_zoo


@pytest.fixture
def zoo(sets, quick, tmp_path):
    train_zoo(sets, tmp_path / "zoo", quick("vit"), runs=4)
    return tmp_path / "zoo"


def shard(zoo):
    (path,) = (zoo / "runs").iterdir()
    return path


def rewritten(zoo, name, change):
    """A zoo of the same runs with other test accuracies, whose hashes are right."""
    writer = TrainedWriter.open(zoo.parent / name, settings=Zoo.open(zoo).settings, provenance={})
    runs = unpack(shard(zoo))
    writer.add(
        [replace(run, figures={**run.figures, "test_accuracy": change(run.figures["test_accuracy"])}) for run in runs]
    )
    return zoo.parent / name


def test_a_zoo_that_is_well(zoo, sets):
    report = check(zoo, 100, sets)
    assert (report.problems, report.runs, report.checkpoints, report.scored, report.files) == ((), 4, 4, 4, 2)
    assert report.worst < 1e-6
    assert report.to_dict()["ok"]


def test_every_changed_byte_is_found(zoo):
    for path in (shard(zoo), zoo / "manifest.json"):
        whole = path.read_bytes()
        for place in range(0, len(whole), len(whole) // 7):
            path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
            assert [problem.file for problem in check(zoo).problems] == [str(path.relative_to(zoo))]
        path.write_bytes(whole)
    assert not check(zoo).problems


def test_missing_files_and_strangers_are_found(zoo):
    (zoo / "runs" / "000099-000100.safetensors").write_bytes(b"")
    assert "finish the command that was interrupted" in check(zoo).problems[0].sentence
    shard_of = zoo / "runs" / "000000-000004.safetensors"
    shard_of.unlink()
    assert {problem.what for problem in check(zoo).problems} == {"missing", "stranger"}


def test_wrong_accuracies_are_found(zoo, sets):
    other = rewritten(zoo, "other", lambda values: values + np.float32(0.1))
    assert not check(other).problems
    (problem,) = check(other, 10, sets).problems
    assert problem.what == "accuracy"
    assert "run-0-e1" in problem.inrs
    for value in (1.5, -0.1, np.nan, np.inf):
        bad = rewritten(zoo, f"other {value}", lambda values, value=value: np.full_like(values, value))
        assert "has test_accuracy that are not finite or cannot be" in check(bad).problems[0].sentence


def test_another_data_set_is_refused(zoo, sets):
    with pytest.raises(InputError, match="expected 40 test pictures"):
        check(zoo, 4, [sets[0], sets[1].first(20)])
    with pytest.raises(InputError, match="at least 0 networks"):
        check(zoo, -1)
