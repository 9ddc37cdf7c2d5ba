"""Changed files and wrong numbers are found in zoos of trained networks."""

import numpy as np
import pytest

from weightwalk import InputError
from weightwalk.zoos.check import check
from weightwalk.zoos.manifest import Manifest
from weightwalk.zoos.shards import Group, open_rows
from weightwalk.zoos.store import Zoo
from weightwalk.zoos.trained.train import COLUMNS, train_zoo
from weightwalk.zoos.writer import ZooWriter


@pytest.fixture
def zoo(sets, quick, tmp_path):
    train_zoo(sets, tmp_path / "zoo", quick("vit"), runs=4)
    return tmp_path / "zoo"


def rewritten(zoo, name, change):
    """A zoo of the same runs with other test accuracies, whose hashes are right."""
    manifest, opened = Manifest.read(zoo), Zoo.open(zoo)
    writer = ZooWriter.open(zoo.parent / name, settings=manifest.settings, figures=COLUMNS, provenance={})
    for shard in manifest.in_order:
        figures = open_rows(zoo, manifest, shard).columns
        writer.add_groups(
            [
                Group(
                    shard.start,
                    opened.spec,
                    opened.weights(opened.groups == shard.start).flat.numpy(),
                    {name: figures[name] for name in COLUMNS} | {"test_accuracy": change(figures["test_accuracy"])},
                    opened.info(shard.start),
                )
            ]
        )
    return zoo.parent / name


def test_a_zoo_that_is_well(zoo, sets):
    report = check(zoo, 100, sets)
    assert (report.problems, report.groups, report.rows, report.looked_at, report.files) == ((), 4, 4, 4, 5)
    assert report.worst < 1e-6
    assert report.to_dict()["ok"]


def test_every_changed_byte_is_found(zoo):
    for path in (zoo / "rows" / "all-000002-000003.safetensors", zoo / "manifest.json"):
        whole = path.read_bytes()
        for place in range(0, len(whole), len(whole) // 7):
            path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
            assert [problem.file for problem in check(zoo).problems] == [str(path.relative_to(zoo))]
        path.write_bytes(whole)
    assert not check(zoo).problems


def test_missing_files_and_strangers_are_found(zoo):
    (zoo / "rows" / "all-000099-000100.safetensors").write_bytes(b"")
    assert "finish the command that was interrupted" in check(zoo).problems[0].sentence
    shard_of = zoo / "rows" / "all-000000-000001.safetensors"
    shard_of.unlink()
    assert {problem.what for problem in check(zoo).problems} == {"missing", "stranger"}


def test_wrong_accuracies_are_found(zoo, sets):
    other = rewritten(zoo, "other", lambda values: values + np.float32(0.1))
    assert not check(other).problems
    problems = check(other, 10, sets).problems
    assert {problem.what for problem in problems} == {"figures"}
    assert "run-0-e1" in problems[0].rows
    assert "a test accuracy of" in problems[0].sentence
    for value in (1.5, -0.1, np.nan, np.inf):
        bad = rewritten(zoo, f"other {value}", lambda values, value=value: np.full_like(values, value))
        assert (
            "has test_accuracy that cannot be: run-0-e1; make the zoo in another folder"
            in check(bad).problems[0].sentence
        )


def test_another_data_set_is_refused(zoo, sets):
    with pytest.raises(InputError, match="expected 40 test pictures"):
        check(zoo, 4, [sets[0], sets[1].first(20)])
    with pytest.raises(InputError, match="at least 0 networks"):
        check(zoo, -1)
