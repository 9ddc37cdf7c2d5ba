"""Laws of the zoo of trained networks on disk: what was added is read back, whatever the shards, and nothing is done
twice.
"""

import json

import numpy as np
import pytest

from weightwalk import InputError, NetworkSpec
from weightwalk.zoos.listing import holds_trained
from weightwalk.zoos.splits import SplitRule
from weightwalk.zoos.trained.manifest import FIGURES, TrainedManifest
from weightwalk.zoos.trained.store import TrainedRun, TrainedWriter, TrainedZoo

SPECS = (NetworkSpec.mlp([3, 4, 2]), NetworkSpec.mlp([3, 5, 2], "relu"))
SETTINGS = {"kind": "cnn", "dataset": "cifar10", "seed": 0}


def a_run(number: int, epochs=(0, 1, 4)) -> TrainedRun:
    spec = SPECS[number % 3 % 2]
    chance = np.random.default_rng(number)
    return TrainedRun(
        number,
        spec,
        {"learning_rate": number / 7, "optimizer": "adam"},
        np.array(epochs, np.int64),
        chance.standard_normal((len(epochs), spec.num_parameters), dtype=np.float32),
        {name: chance.random(len(epochs), dtype=np.float32) for name in FIGURES},
    )


def opened(path, **changes):
    return TrainedWriter.open(path, settings={**SETTINGS, **changes}, provenance={"weightwalk": "0"})


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
        writer.add([runs[number] for number in range(first, first + 5)])
    assert writer.done().tolist() == list(range(20))
    zoo = TrainedZoo.open(tmp_path / "zoo")
    assert (len(zoo), zoo.kind, zoo.specs) == (40, "cnn", SPECS)
    assert zoo.column("run").tolist() == [number for number in range(20) for _ in runs[number].epochs]
    for name in FIGURES:
        np.testing.assert_array_equal(
            zoo.column(name), np.concatenate([runs[number].figures[name] for number in range(20)])
        )
    rows = np.array([33, 2, 2, 17, 0])
    seen = []
    for positions, weights in zoo.buckets(rows):
        for position, flat in zip(positions, weights.flat.numpy(), strict=True):
            info = zoo.run(rows[position])
            run = runs[info.number]
            assert (info.spec, info.hyperparameters) == (run.spec, run.hyperparameters)
            assert weights.spec == run.spec
            np.testing.assert_array_equal(
                flat, run.params[run.epochs.tolist().index(zoo.column("epoch")[rows[position]])]
            )
        seen += positions.tolist()
    assert sorted(seen) == list(range(5))
    assert zoo.names([0, 1]) == ["run-0-e2", "run-1-e0"]


def test_no_run_straddles_two_splits(tmp_path):
    opened(tmp_path / "zoo").add([a_run(number) for number in range(30)])
    zoo = TrainedZoo.open(tmp_path / "zoo")
    of_split = {split: set(zoo.column("run")[zoo.rows(split)].tolist()) for split in ("train", "val", "test")}
    assert of_split["val"] == {7, 17, 27}
    assert of_split["test"] == {8, 9, 18, 19, 28, 29}
    assert sum(map(len, of_split.values())) == 30
    assert sum(len(zoo.rows(split)) for split in of_split) == len(zoo.rows()) == 90
    published = TrainedWriter.open(
        tmp_path / "other", settings=SETTINGS, provenance={}, splits=SplitRule(bounds=(8, 9))
    )
    published.add([a_run(number) for number in range(10)])
    assert set(TrainedZoo.open(tmp_path / "other").column("run")[TrainedZoo.open(tmp_path / "other").rows("test")]) == {
        9
    }


def test_a_run_that_diverged_has_no_rows_and_is_done(tmp_path):
    writer = opened(tmp_path / "zoo")
    writer.add([a_run(0), a_run(1, ()), a_run(2, ())])
    zoo = TrainedZoo.open(tmp_path / "zoo")
    assert (len(zoo), zoo.runs, writer.done().tolist()) == (3, (0, 1, 2), [0, 1, 2])
    assert zoo.info(1).spec == SPECS[1]


def test_equal_work_gives_equal_bytes(tmp_path):
    for name in ("one", "two"):
        writer = opened(tmp_path / name)
        with writer.together():
            for first in (0, 4) if name == "one" else (4, 0):
                writer.add([a_run(number) for number in range(first, first + 4)])
        writer.add([a_run(number) for number in range(4)])  # again: nothing
    assert content(tmp_path / "one") == content(tmp_path / "two")


def test_what_is_there_is_not_added_twice(tmp_path):
    writer = opened(tmp_path / "zoo")
    writer.add([a_run(2), a_run(4)])
    writer.add([a_run(3)])
    with pytest.raises(InputError, match="already has run 4"):
        writer.add([a_run(1), a_run(4)])
    with pytest.raises(InputError, match="each once"):
        writer.add([a_run(7), a_run(6)])
    assert writer.done().tolist() == [2, 3, 4]
    with pytest.raises(InputError, match=r"other settings \(seed was 0, now 1\)"):
        opened(tmp_path / "zoo", seed=1)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "file").touch()
    with pytest.raises(InputError, match="found something else"):
        opened(tmp_path / "mine")


def test_a_shard_that_is_cut_is_made_again(tmp_path):
    writer = opened(tmp_path / "zoo")
    writer.add([a_run(0)])
    writer.add([a_run(1)])
    before = content(tmp_path / "zoo")
    path = tmp_path / "zoo" / "runs" / "000001-000002.safetensors"
    path.write_bytes(path.read_bytes()[:-8])
    with pytest.raises(InputError, match="truncated or corrupt"):
        TrainedZoo.open(tmp_path / "zoo")
    again = opened(tmp_path / "zoo")
    assert again.done().tolist() == [0]
    again.add([a_run(1)])
    assert content(tmp_path / "zoo") == before


def test_networks_that_are_not_finite_are_refused():
    run = a_run(0)
    bad = run.params.copy()
    bad[1, 2] = np.nan
    with pytest.raises(InputError, match="finite parameters"):
        TrainedRun(0, run.spec, {}, run.epochs, bad, {})
    with pytest.raises(InputError, match="increasing epochs"):
        TrainedRun(0, run.spec, {}, run.epochs[::-1], run.params, {})
    with pytest.raises(InputError, match="figures"):
        TrainedRun(0, run.spec, {}, run.epochs, run.params, {"accuracy": run.figures["train_loss"]})


def test_a_zoo_of_another_kind_is_told(tmp_path):
    (tmp_path / "manifest.json").write_text(json.dumps({"schema_version": 1, "label_names": [], "shards": []}))
    with pytest.raises(InputError, match="found one of INRs"):
        TrainedManifest.read(tmp_path)
    (tmp_path / "manifest.json").write_text(json.dumps({"schema_version": 9}))
    with pytest.raises(InputError, match="newer weightwalk"):
        TrainedManifest.read(tmp_path)
    (tmp_path / "manifest.json").write_text("[]")
    with pytest.raises(InputError, match="got other JSON"):
        TrainedManifest.read(tmp_path)
    for text in ("{", "[]", "null"):
        (tmp_path / "manifest.json").write_text(text)
        assert not holds_trained(tmp_path)
    assert not holds_trained(tmp_path / "absent")
    opened(tmp_path / "zoo")
    assert holds_trained(tmp_path / "zoo")


def test_what_does_not_exist_is_named(tmp_path):
    opened(tmp_path / "zoo").add([a_run(0), a_run(1)])
    zoo = TrainedZoo.open(tmp_path / "zoo")
    with pytest.raises(InputError, match="unknown column"):
        zoo.column("accuracy")
    with pytest.raises(InputError, match="unknown split"):
        zoo.rows("dev")
    with pytest.raises(InputError, match="no run 5"):
        zoo.info(5)
    with pytest.raises(InputError, match="2 architectures"):
        zoo.weights([0, 4])
