"""Laws of the zoo of trained networks on disk: what was added is read back, whatever the shards, and nothing is done
twice.
"""

import numpy as np
import pytest

from weightwalk import InputError, NetworkSpec
from weightwalk.zoos.shards import Group
from weightwalk.zoos.splits import SplitRule
from weightwalk.zoos.store import Zoo
from weightwalk.zoos.trained.train import COLUMNS, FIGURES
from weightwalk.zoos.writer import ZooWriter

SPECS = (NetworkSpec.mlp([3, 4, 2]), NetworkSpec.mlp([3, 5, 2], "relu"))
SETTINGS = {"kind": "cnn", "dataset": "cifar10", "seed": 0}


def a_run(number: int, epochs=(0, 1, 4)) -> Group:
    spec = SPECS[number % 3 % 2]
    chance = np.random.default_rng(number)
    return Group(
        number,
        spec,
        chance.standard_normal((len(epochs), spec.num_parameters), dtype=np.float32),
        {
            "epoch": np.array(epochs, np.int64),
            **{name: chance.random(len(epochs), dtype=np.float32) for name in FIGURES},
        },
        {"learning_rate": number / 7, "optimizer": "adam"},
    )


def opened(path, **changes):
    return ZooWriter.open(path, settings={**SETTINGS, **changes}, figures=COLUMNS, provenance={"weightwalk": "0"})


def content(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.name[0] != "."
    }


def test_what_was_added_is_read_back(tmp_path):
    writer = opened(tmp_path / "zoo")
    runs = {number: a_run(number, (0, 1, 4) if number % 2 else (2,)) for number in range(20)}
    for first in (10, 0, 5, 15):  # in any order
        writer.add_groups([runs[number] for number in range(first, first + 5)])
    assert writer.done().tolist() == list(range(20))
    zoo = Zoo.open(tmp_path / "zoo")
    assert (len(zoo), zoo.kind, zoo.specs) == (40, "cnn", SPECS)
    assert zoo.column("group").tolist() == [number for number in range(20) for _ in runs[number].params]
    for name in FIGURES:
        np.testing.assert_array_equal(
            zoo.column(name), np.concatenate([runs[number].figures[name] for number in range(20)])
        )
    rows = np.array([33, 2, 2, 17, 0])
    seen = []
    for positions, weights in zoo.buckets(rows):
        for position, flat in zip(positions, weights.flat.numpy(), strict=True):
            group = zoo.groups[rows[position]]
            run = runs[group]
            assert (zoo.spec_of(group), zoo.info(group)) == (run.spec, run.info)
            assert weights.spec == run.spec
            np.testing.assert_array_equal(
                flat, run.params[run.figures["epoch"].tolist().index(zoo.column("epoch")[rows[position]])]
            )
        seen += positions.tolist()
    assert sorted(seen) == list(range(5))
    assert zoo.names([0, 1]) == ["run-0-e2", "run-1-e0"]


def test_no_run_straddles_two_splits(tmp_path):
    opened(tmp_path / "zoo").add_groups([a_run(number) for number in range(30)])
    zoo = Zoo.open(tmp_path / "zoo")
    of_split = {split: set(zoo.column("group")[zoo.rows(split)].tolist()) for split in ("train", "val", "test")}
    assert of_split["val"] == {7, 17, 27}
    assert of_split["test"] == {8, 9, 18, 19, 28, 29}
    assert sum(map(len, of_split.values())) == 30
    assert sum(len(zoo.rows(split)) for split in of_split) == len(zoo.rows()) == 90
    published = ZooWriter.open(
        tmp_path / "other", settings=SETTINGS, figures=COLUMNS, provenance={}, splits=SplitRule(bounds=(8, 9))
    )
    published.add_groups([a_run(number) for number in range(10)])
    other = Zoo.open(tmp_path / "other")
    assert set(other.groups[other.rows("test")].tolist()) == {9}


def test_a_run_that_diverged_has_no_rows_and_is_done(tmp_path):
    writer = opened(tmp_path / "zoo")
    writer.add_groups([a_run(0), a_run(1, ()), a_run(2, ())])
    zoo = Zoo.open(tmp_path / "zoo")
    assert (len(zoo), zoo.group_numbers.tolist(), writer.done().tolist()) == (3, [0, 1, 2], [0, 1, 2])
    assert zoo.spec_of(1) == SPECS[1]


def test_equal_work_gives_equal_bytes(tmp_path):
    for name in ("one", "two"):
        writer = opened(tmp_path / name)
        with writer.together():
            for first in (0, 4) if name == "one" else (4, 0):
                writer.add_groups([a_run(number) for number in range(first, first + 4)])
        writer.add_groups([a_run(number) for number in range(4)])  # again: nothing
    assert content(tmp_path / "one") == content(tmp_path / "two")


def test_what_is_there_is_not_added_twice(tmp_path):
    writer = opened(tmp_path / "zoo")
    writer.add_groups([a_run(2), a_run(4)])
    writer.add_groups([a_run(3)])
    with pytest.raises(InputError, match="already has group 4 of part all"):
        writer.add_groups([a_run(1), a_run(4)])
    with pytest.raises(InputError, match="strictly increasing"):
        writer.add_groups([a_run(7), a_run(6)])
    assert writer.done().tolist() == [2, 3, 4]
    with pytest.raises(InputError, match=r"other settings \(seed was 0, now 1\)"):
        opened(tmp_path / "zoo", seed=1)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "file").touch()
    with pytest.raises(InputError, match="found something else"):
        opened(tmp_path / "mine")


def test_a_shard_that_is_cut_is_made_again(tmp_path):
    writer = opened(tmp_path / "zoo")
    writer.add_groups([a_run(0)])
    writer.add_groups([a_run(1)])
    before = content(tmp_path / "zoo")
    path = tmp_path / "zoo" / "rows" / "all-000001-000002.safetensors"
    path.write_bytes(path.read_bytes()[:-8])
    with pytest.raises(InputError, match="truncated or corrupt"):
        Zoo.open(tmp_path / "zoo")
    again = opened(tmp_path / "zoo")
    assert again.done().tolist() == [0]
    again.add_groups([a_run(1)])
    assert content(tmp_path / "zoo") == before


def test_networks_that_are_not_as_they_should_be_are_refused(tmp_path):
    run = a_run(0)
    bad = run.params.copy()
    bad[1, 2] = np.nan
    with pytest.raises(InputError, match="finite parameters"):
        Group(0, run.spec, bad)
    with pytest.raises(InputError, match=r"expected params \(members, 26\) float32"):
        Group(0, run.spec, run.params[:, 1:])
    with pytest.raises(InputError, match="figures of 3 rows each"):
        Group(0, run.spec, run.params, {"epoch": np.arange(2)})
    with pytest.raises(InputError, match=r"expected the figures epoch, .*, got also accuracy"):
        opened(tmp_path / "zoo").add_groups([Group(0, run.spec, run.params, {"accuracy": run.figures["train_loss"]})])


def test_what_does_not_exist_is_named(tmp_path):
    opened(tmp_path / "zoo").add_groups([a_run(0), a_run(1)])
    zoo = Zoo.open(tmp_path / "zoo")
    with pytest.raises(InputError, match="unknown column"):
        zoo.column("accuracy")
    with pytest.raises(InputError, match="unknown split"):
        zoo.rows("dev")
    with pytest.raises(InputError, match="no run 5"):
        zoo.info(5)
    with pytest.raises(InputError, match="2 architectures"):
        zoo.weights([0, 4])
