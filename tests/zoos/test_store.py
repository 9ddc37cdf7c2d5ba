from __future__ import annotations

import errno
import itertools
import json
import os
import resource
import signal
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file

from weightwalk import NetworkSpec, config
from weightwalk.errors import InputError
from weightwalk.zoos.hashes import verify
from weightwalk.zoos.manifest import Manifest
from weightwalk.zoos.splits import PARTS, SplitRule
from weightwalk.zoos.store import Zoo
from weightwalk.zoos.writer import ZooWriter

FIGURES = {"psnr": "float32"}
SPEC = NetworkSpec.mlp([2, 8, 1])
SHAPE = (1, 3, 3)
SETTINGS: dict[str, Any] = {
    "kind": "inr",
    "dataset": "toys",
    "image_shape": SHAPE,
    "image_dtype": "uint8",
    "label_names": list("abcd"),
    "spec": SPEC.to_dict(),
    "recipe": {"name": "fast", "steps": 3},
    "seed": 0,
}
NUM_LABELS = 4
SHARD = 10
PARAMS = SPEC.num_parameters


def pixels(part: str, images: np.ndarray) -> np.ndarray:
    rows = [np.random.default_rng([len(part), image]).integers(0, 256, SHAPE, dtype=np.uint8) for image in images]
    return np.stack(rows)


def params(part: str, fit: int, images: np.ndarray) -> np.ndarray:
    return np.stack(
        [np.random.default_rng([len(part), image, fit]).standard_normal(PARAMS, dtype=np.float32) for image in images]
    )


def open_writer(path: Path, **changes: Any) -> ZooWriter:
    settings = SETTINGS | changes
    return ZooWriter.open(
        path,
        settings=settings,
        figures=FIGURES,
        splits=SplitRule(val_every=5),
        provenance={"weightwalk": "0.1"},
        sources=True,
    )


Task = tuple[str, str, int | None, int]
TASKS: list[Task] = [("sources", "train", None, s) for s in (0, 10, 20)] + [("sources", "test", None, 0)]
TASKS += [("rows", "train", fit, s) for fit in (0, 1) for s in (0, 10, 20)] + [("rows", "test", 0, 0)]


def add(writer: ZooWriter, task: Task) -> None:
    """One shard, as a fit command adds it."""
    kind, part, fit, start = task
    images = np.arange(start, start + SHARD)
    if kind == "sources":
        writer.add_sources(part, images, pixels(part, images), images % NUM_LABELS)
    else:
        assert fit is not None
        psnr = np.float32(30) + images.astype(np.float32)
        writer.add_rows(part, fit, images, torch.from_numpy(params(part, fit, images)), {"psnr": psnr})


def resume(path: Path) -> None:
    """What a fit command does: everything that is not done yet."""
    writer = open_writer(path)
    for task in TASKS:
        _, part, fit, start = task
        if start not in writer.done(part, fit, task[0]):
            add(writer, task)


def make(path: Path, tasks: list[Task] = TASKS) -> Path:
    writer = open_writer(path)
    for task in tasks:
        add(writer, task)
    return path


def content(path: Path) -> dict[str, bytes]:
    return {str(file.relative_to(path)): file.read_bytes() for file in sorted(path.rglob("*")) if file.is_file()}


@pytest.fixture(autouse=True)
def no_fsync(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test here takes the power away, and the disk is slow."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


@pytest.fixture
def zoo_path(tmp_path: Path) -> Path:
    return make(tmp_path / "zoo")


def shard_file(path: Path, name: str = "rows/train-m1-000010-000020") -> Path:
    return path / f"{name}.safetensors"


# Reading gives back what was written.


def test_round_trip_bitwise(zoo_path: Path) -> None:
    zoo = Zoo.open(zoo_path)
    assert (len(zoo), zoo.spec, zoo.image_shape, zoo.label_names) == (70, SPEC, SHAPE, tuple("abcd"))
    assert zoo.settings == json.loads(json.dumps(SETTINGS))
    assert zoo.provenance == {"weightwalk": "0.1"}
    keys = (
        [("train", 0, i) for i in range(30)]
        + [("train", 1, i) for i in range(30)]
        + [("test", 0, i) for i in range(10)]
    )
    rows = np.random.default_rng(0).integers(0, 70, 200)
    expected = np.concatenate([params(part, fit, np.array([image])) for part, fit, image in keys])
    assert np.array_equal(zoo.weights(rows).flat.numpy(), expected[rows])
    sources = np.concatenate([pixels(part, np.array([image])) for part, _, image in keys])
    assert np.array_equal(zoo.images(torch.from_numpy(rows)).numpy(), sources[rows])
    images = np.array([image for _, _, image in keys])
    assert np.array_equal(zoo.labels, images % NUM_LABELS)
    assert np.array_equal(zoo.column("psnr"), 30 + images.astype(np.float32))
    assert np.array_equal(zoo.members, [fit for _, fit, _ in keys])
    assert zoo.names([0, 31, 69]) == ["train-0-f0", "train-1-f1", "test-9-f0"]
    assert len(set(zoo.groups.tolist())) == 40


def test_shards_are_plain_safetensors(zoo_path: Path) -> None:
    tensors = load_file(shard_file(zoo_path))
    assert {name: (str(tensor.dtype), tuple(tensor.shape)) for name, tensor in tensors.items()} == {
        "params.0": ("torch.float32", (10, PARAMS)),
        "psnr": ("torch.float32", (10,)),
        **dict.fromkeys(("group", "member", "spec"), ("torch.int64", (10,))),
    }


def test_rows_by_split_and_fit(zoo_path: Path) -> None:
    zoo = Zoo.open(zoo_path)
    assert [len(zoo.rows(split)) for split in ("train", "val", "test", None)] == [48, 12, 10, 70]
    assert zoo.rows("val", members=1).tolist() == [4, 9, 14, 19, 24, 29]
    assert len(zoo.weights(np.empty(0, np.int64))) == 0
    with pytest.raises(InputError, match="unknown split 'valid'; known: train, val, test"):
        zoo.rows("valid")
    with pytest.raises(InputError, match=r"expected rows of 70, got 70 to 70; .*rows 0 to 69"):
        zoo.weights(np.array([70]))


def test_what_is_read_is_a_copy(zoo_path: Path) -> None:
    zoo = Zoo.open(zoo_path)
    zoo.weights(np.arange(70)).weights[0].zero_()
    zoo.images(np.arange(70)).zero_()
    assert zoo.weights(np.arange(70)).weights[0].all()
    assert not verify(zoo_path).problems


def test_a_zoo_without_networks_opens(tmp_path: Path) -> None:
    open_writer(tmp_path)
    zoo = Zoo.open(tmp_path)
    assert (len(zoo), zoo.rows("train").tolist(), verify(tmp_path).problems) == (0, [], ())


def test_images_with_gaps(tmp_path: Path) -> None:
    writer, images = open_writer(tmp_path), np.array([3, 4, 90])
    writer.add_sources("all", images, pixels("all", images), images % NUM_LABELS)
    writer.add_rows("all", 0, images[1:], params("all", 0, images[1:]), {"psnr": np.zeros(2, np.float32)})
    assert writer.done("all", table="sources").tolist() == [3, 4, 90]
    assert writer.done("all", 0).tolist() == [4, 90]
    assert writer.done("all", 1).tolist() == []
    assert np.array_equal(Zoo.open(tmp_path).images([1, 0]).numpy(), pixels("all", images[[2, 1]]))


# Adding.


def test_more_fits_and_images_later(tmp_path: Path) -> None:
    first = [task for task in TASKS if task[2] != 1 and task[3] < 20 and task[1] == "train"]
    path = make(tmp_path / "zoo", first)
    before, zoo = content(path), Zoo.open(path)
    resume(path)
    after, grown = content(path), Zoo.open(path)
    assert all(after[name] == before[name] for name in before if name != "manifest.json")
    assert after == content(make(tmp_path / "at_once"))
    # An image keeps its key and its split.
    assert (
        dict(zip(zoo.groups, zoo.splits, strict=True)).items()
        <= dict(zip(grown.groups, grown.splits, strict=True)).items()
    )


def test_same_bytes_in_any_order(tmp_path: Path) -> None:
    expected = content(make(tmp_path / "reference"))
    for seed in range(3):
        shuffled = [TASKS[index] for index in np.random.default_rng(seed).permutation(len(TASKS))]
        shuffled.sort(key=lambda task: task[0] != "sources")
        assert content(make(tmp_path / str(seed), shuffled)) == expected


def test_row_order_does_not_depend_on_the_cut(zoo_path: Path, tmp_path: Path) -> None:
    writer = open_writer(tmp_path / "other")
    for part, fits, total in (("test", 1, 10), ("train", 2, 30)):
        for images in (np.arange(1, total, 2), np.arange(0, total, 2)):
            writer.add_sources(part, images, pixels(part, images), images % NUM_LABELS)
            for fit in range(fits):
                psnr = np.zeros(len(images), np.float32)
                writer.add_rows(part, fit, images, params(part, fit, images), {"psnr": psnr})
    one, other = Zoo.open(zoo_path), Zoo.open(tmp_path / "other")
    assert np.array_equal(one.groups, other.groups)
    assert np.array_equal(one.labels, other.labels)
    assert torch.equal(one.weights(one.rows()).flat, other.weights(other.rows()).flat)
    assert torch.equal(one.images(one.rows()), other.images(other.rows()))


def test_adding_twice(zoo_path: Path) -> None:
    before, writer = content(zoo_path), open_writer(zoo_path)
    for task in TASKS:
        add(writer, task)
    images = np.arange(5, 25)
    with pytest.raises(InputError, match="already has member 1 of group 5 of part train"):
        writer.add_rows("train", 1, images, params("train", 1, images), {"psnr": np.zeros(20, np.float32)})
    with pytest.raises(InputError, match="already has the source of group 0 of part train"):
        writer.add_sources("train", np.arange(10), np.zeros((10, *SHAPE), np.uint8), np.zeros(10, np.int64))
    assert content(zoo_path) == before


def test_two_writers_lose_nothing(tmp_path: Path) -> None:
    """Both opened the empty zoo before either added to it."""
    writers = open_writer(tmp_path / "zoo"), open_writer(tmp_path / "zoo")
    for writer, task in zip(itertools.cycle(writers), TASKS, strict=False):
        add(writer, task)
    assert content(tmp_path / "zoo") == content(make(tmp_path / "reference"))


def test_other_versions_are_recorded_per_shard(tmp_path: Path) -> None:
    make(tmp_path, TASKS[:5])
    settings = {"settings": SETTINGS, "figures": FIGURES, "splits": SplitRule(val_every=5), "sources": True}
    add(ZooWriter.open(tmp_path, **settings, provenance={"weightwalk": "0.2"}), TASKS[5])
    manifest = Manifest.read(tmp_path)
    assert manifest.provenance == {"weightwalk": "0.1"}
    assert [shard.provenance for shard in manifest.shards if shard.table == "rows"] == [None, {"weightwalk": "0.2"}]


# Law: splits never separate the fits of one image.


def fits_stay_together(groups: np.ndarray, splits: np.ndarray) -> bool:
    return len(set(zip(groups.tolist(), splits.tolist(), strict=True))) == len(set(groups.tolist()))


def test_splits_never_separate_the_fits_of_one_image(zoo_path: Path, tmp_path: Path) -> None:
    halves = [task for task in TASKS if (task[1], task[2], task[3]) != ("train", 0, 10)]
    for path in (zoo_path, make(tmp_path / "half", halves)):
        zoo = Zoo.open(path)
        assert fits_stay_together(zoo.groups, zoo.splits)


@pytest.mark.parametrize("twin", ["row number", "fit"])
def test_wrong_twins_separate_them(tmp_path: Path, twin: str) -> None:
    zoo = Zoo.open(make(tmp_path, [task for task in TASKS if (task[1], task[2], task[3]) != ("train", 0, 10)]))
    numbers = zoo.rows() if twin == "row number" else zoo.members
    assert not fits_stay_together(zoo.groups, SplitRule(val_every=3).assign("train", 1 + numbers))


# Crashes.


def crash(*arguments: Any) -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize("moment", range(len(TASKS)))
def test_crash_between_shard_and_manifest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: int) -> None:
    writer = open_writer(tmp_path / "zoo")
    for task in TASKS[:moment]:
        add(writer, task)
    with monkeypatch.context() as patch:
        patch.setattr(Manifest, "write", crash)
        with pytest.raises(KeyboardInterrupt):
            add(writer, TASKS[moment])
    Zoo.open(tmp_path / "zoo")
    [problem] = verify(tmp_path / "zoo").problems
    assert "is not in the manifest; finish the command that was interrupted" in problem.sentence
    resume(tmp_path / "zoo")
    assert content(tmp_path / "zoo") == content(make(tmp_path / "reference"))


def test_a_zoo_that_nothing_was_added_to_may_become_another(tmp_path: Path) -> None:
    def open_with(seed: int) -> ZooWriter:
        settings = {**SETTINGS, "image_shape": [1, 2, 2], "seed": seed}
        return ZooWriter.open(tmp_path / "zoo", settings=settings, figures=FIGURES, provenance={}, sources=True)

    open_with(1)
    writer = open_with(2)
    assert Zoo.open(tmp_path / "zoo").settings["seed"] == 2
    writer.add_sources("all", np.arange(2), np.zeros((2, 1, 2, 2), np.uint8), np.zeros(2, np.int64))
    with pytest.raises(InputError, match="seed was 2, now 3"):
        open_with(3)


def test_kill_9(tmp_path: Path) -> None:
    """Killed again and again at any moment and restarted, the zoo becomes what it is without."""
    rng = np.random.default_rng(0)
    for _ in range(6):
        with warnings.catch_warnings(action="ignore", category=DeprecationWarning):  # of fork where torch has threads
            child = os.fork()
        if child == 0:
            try:
                resume(tmp_path / "zoo")
            finally:
                os._exit(0)
        time.sleep(rng.uniform(0.001, 0.02))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    resume(tmp_path / "zoo")
    assert content(tmp_path / "zoo") == content(make(tmp_path / "reference"))


def test_scratch_of_a_killed_process_is_swept(zoo_path: Path) -> None:
    before = content(zoo_path)
    for name in (".manifest.json.1.partial", "rows/.train-m9-000000-000010.safetensors.1.partial"):
        (zoo_path / name).write_bytes(b"half")
    open_writer(zoo_path)
    assert content(zoo_path) == before


@contextmanager
def soft_limit(what: int, value: int) -> Iterator[None]:
    soft, hard = resource.getrlimit(what)
    resource.setrlimit(what, (value, hard))
    try:
        yield
    finally:
        resource.setrlimit(what, (soft, hard))


def test_no_room_in_the_middle_of_a_shard(zoo_path: Path) -> None:
    """The system stops the write of a large shard; small ones still fit."""
    writer, images = open_writer(zoo_path), np.arange(30, 230)
    writer.add_sources("train", images, np.zeros((200, *SHAPE), np.uint8), images % NUM_LABELS)
    with soft_limit(resource.RLIMIT_FSIZE, 20_000):
        writer.add_rows("train", 7, images[:20], np.zeros((20, PARAMS), np.float32), {"psnr": np.zeros(20, np.float32)})
        many = np.zeros((180, PARAMS), np.float32)
        with pytest.raises(
            InputError, match=r"no room left to write .*train-m7-000050-000230.* run the same command again"
        ):
            writer.add_rows("train", 7, images[20:], many, {"psnr": many[:, 0]})
    assert len(Zoo.open(zoo_path)) == 90
    assert not verify(zoo_path).problems
    assert not list(zoo_path.rglob("*.partial"))


@pytest.mark.parametrize("victim", ["train-m0-000000-000010", "manifest.json"])
@pytest.mark.parametrize("provenance", ["0.1", "0.2"])
def test_no_room_for_shard_or_manifest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, victim: str, provenance: str
) -> None:
    """Also for the shards of another version than the zoo's."""
    writer = open_writer(tmp_path / "zoo")
    for task in TASKS[:4]:
        add(writer, task)
    write_bytes = Path.write_bytes

    def full(path: Path, data: bytes) -> int:
        if victim not in path.name:
            return write_bytes(path, data)
        write_bytes(path, data[: len(data) // 2])
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", full)
        with pytest.raises(InputError, match=f"no room left to write .*{victim}.* run the same command again"):
            add(ZooWriter(tmp_path / "zoo", {"weightwalk": provenance}), TASKS[4])
    assert len(Zoo.open(tmp_path / "zoo")) == 0
    resume(tmp_path / "zoo")
    assert content(tmp_path / "zoo") == content(make(tmp_path / "reference"))


@pytest.mark.parametrize("step", ["write_bytes", "fsync", "replace"])
@pytest.mark.parametrize("call", range(4))
def test_no_room_at_any_step_of_an_addition(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str, call: int
) -> None:
    """An addition writes the shard, then the manifest; each is written, flushed and renamed, and the folder flushed."""
    writer = open_writer(tmp_path / "zoo")
    for task in TASKS[:5]:
        add(writer, task)
    before, calls = content(tmp_path / "zoo"), itertools.count()
    owner = Path if step == "write_bytes" else os
    right = getattr(owner, step)

    def full(*arguments: Any) -> Any:
        if next(calls) != call:
            return right(*arguments)
        if step == "write_bytes":
            right(arguments[0], arguments[1][: len(arguments[1]) // 2])
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(owner, step, full)
        steps = 4 if step == "fsync" else 2
        if call < steps:
            with pytest.raises(InputError, match=r"no room left to write .* run the same command again"):
                add(writer, TASKS[5])
        else:
            add(writer, TASKS[5])
    done = (step, call) == (
        "fsync",
        3,
    ) or call >= steps  # the manifest was renamed: only its folder's flush failed, or nothing
    assert (content(tmp_path / "zoo") == before) != done
    assert not verify(tmp_path / "zoo").problems
    resume(tmp_path / "zoo")
    assert content(tmp_path / "zoo") == content(make(tmp_path / "reference"))


@given(limit=st.integers(0, 8000))
def test_files_that_may_not_grow(tmp_path_factory: pytest.TempPathFactory, limit: int) -> None:
    """The system itself stops every write beyond `limit` bytes: of a shard, or of the manifest, which grows past the
    shards.
    """
    folder = tmp_path_factory.mktemp("limit")
    sentences = []
    with soft_limit(resource.RLIMIT_FSIZE, limit):
        try:
            resume(folder / "zoo")
        except InputError as error:
            sentences.append(str(error))
    if (folder / "zoo" / "manifest.json").exists():
        assert not verify(folder / "zoo").problems
    resume(folder / "zoo")
    reference = content(make(folder / "reference"))
    assert content(folder / "zoo") == reference
    assert all("no room left to write" in sentence for sentence in sentences)
    assert bool(sentences) == (limit < max(map(len, reference.values())))


# Names.


def test_names_are_found_again(zoo_path: Path) -> None:
    zoo = Zoo.open(zoo_path)
    rows = np.random.default_rng(0).permutation(len(zoo))
    assert np.array_equal(zoo.find(zoo.names(rows)), rows)
    assert zoo.find(["train-3-f1", "test-3-f0", "train-3-f1"]).tolist() == [33, 63, 33]
    assert zoo.find([]).tolist() == []


def test_names_are_found_among_gaps(tmp_path: Path) -> None:
    writer, images = open_writer(tmp_path), np.array([3, 4, 90])
    writer.add_sources("all", images, pixels("all", images), images % NUM_LABELS)
    assert Zoo.open(tmp_path).described() == f"{tmp_path} has no INRs yet"
    writer.add_rows("all", 5, images, params("all", 5, images), {"psnr": np.zeros(3, np.float32)})
    zoo = Zoo.open(tmp_path)
    assert zoo.find(["all-90-f5", "all-3-f5"]).tolist() == [2, 0]
    for name in (
        "all-5-f5",
        "all-91-f5",
        "all-3-f0",
        "test-3-f5",
        "ALL-3-f5",
        "all-03-f5",
        "all-3-f5 ",
        "all-3",
        "3",
        "",
        "all-²-f5",
    ):
        with pytest.raises(InputError, match=r"unknown INR .* has 3 INRs, rows 0 to 2, all-3-f5 to all-90-f5"):
            zoo.find(["all-3-f5", name])


def test_rows_have_a_part_a_fit_and_an_image(zoo_path: Path) -> None:
    zoo = Zoo.open(zoo_path)
    rows = zoo.rows()
    keys = zip(zoo.parts, zoo.indices, zoo.members, strict=True)
    assert zoo.names(rows) == [f"{PARTS[part]}-{index}-f{fit}" for part, index, fit in keys]


# Bad input: one sentence each, and the remedy it names works.


@pytest.mark.parametrize("keep", [-1, 100, 3, 0])
def test_truncated_shard(zoo_path: Path, keep: int) -> None:
    before, file = content(zoo_path), shard_file(zoo_path)
    file.write_bytes(file.read_bytes()[:keep])
    with pytest.raises(
        InputError,
        match=r"whole shard at .*train-m1-000010-000020.*truncated or corrupt.*delete it and run the command that made",
    ):
        Zoo.open(zoo_path)
    assert open_writer(zoo_path).done("train", 1).tolist() == [*range(10), *range(20, 30)]
    resume(zoo_path)
    assert content(zoo_path) == before


@pytest.mark.parametrize("name", ["rows/train-m1-000010-000020", "sources/train-000010-000020"])
def test_missing_shard(zoo_path: Path, name: str) -> None:
    before = content(zoo_path)
    shard_file(zoo_path, name).unlink()
    with pytest.raises(InputError, match=f"{name}.*found no such file; run the command that made the zoo again"):
        Zoo.open(zoo_path)
    assert [problem.file for problem in verify(zoo_path).problems] == [f"{name}.safetensors"]
    open_writer(zoo_path)
    if name.startswith("sources"):
        with pytest.raises(
            InputError, match=r"source image of every INR .* found none of 20 INRs, the first of train image 10"
        ):
            Zoo.open(zoo_path)
    resume(zoo_path)
    assert content(zoo_path) == before


def test_foreign_shard(zoo_path: Path) -> None:
    shard_file(zoo_path).write_bytes(shard_file(zoo_path, "sources/test-000000-000010").read_bytes())
    with pytest.raises(InputError, match="train-m1-000010-000020"):
        Zoo.open(zoo_path)
    shard_file(zoo_path).write_bytes(shard_file(zoo_path, "rows/train-m0-000010-000020").read_bytes())
    assert len(verify(zoo_path).problems) == 1


def test_a_flipped_byte_is_remade_after_deleting(zoo_path: Path) -> None:
    before, file = content(zoo_path), shard_file(zoo_path)
    data = bytearray(file.read_bytes())
    data[-5] ^= 1
    file.write_bytes(data)
    [problem] = verify(zoo_path).problems
    assert problem.sentence.endswith("; delete it and run the command that made the zoo again, which puts it back")
    file.unlink()
    resume(zoo_path)
    assert content(zoo_path) == before


def edit(path: Path, **changes: Any) -> None:
    """Changes values of a manifest, and its checksum as well."""
    value = json.loads((path / "manifest.json").read_text()) | changes
    value["checksum"] = config.fingerprint({key: entry for key, entry in value.items() if key != "checksum"})
    (path / "manifest.json").write_text(json.dumps(value))


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"schema_version": 3}, "expected manifest schema 2, got 3 in .*upgrade weightwalk"),
        ({"schema_version": 1}, "got 1 in .* which an older weightwalk wrote; make the zoo again"),
        ({"shards": [{"table": "rows"}]}, "expected the manifest of a zoo .* got other JSON"),
        ({"shards": "none"}, "expected the manifest of a zoo .* got other JSON"),
        ({"settings": {"seed": 0}}, "keys kind, dataset, spec, image_shape, image_dtype, label_names"),
        ({"settings": {**SETTINGS, "spec": {"steps": []}}}, "at least one step"),
        ({"settings": {**SETTINGS, "dataset": "x/../../../etc"}}, "plain name"),
        ({"settings": {**SETTINGS, "image_dtype": "float64"}}, "image_dtype"),
        ({"stranger": 5}, "got other JSON .*stranger"),
    ],
)
def test_manifests_that_are_not_ours(zoo_path: Path, changes: dict[str, Any], sentence: str) -> None:
    edit(zoo_path, **changes)
    for read in (Zoo.open, open_writer):
        with pytest.raises(InputError, match=sentence):
            read(zoo_path)


def test_every_reader_checks_the_checksum(zoo_path: Path) -> None:
    manifest = zoo_path / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"seed": 0', '"seed": 1'))
    for read in (Zoo.open, open_writer, Manifest.read):
        with pytest.raises(InputError, match="is not as it was written, for its checksum is another one"):
            read(zoo_path)
    assert [problem.what for problem in verify(zoo_path).problems] == ["changed"]


@pytest.mark.parametrize("data", [b"", b'{"schema_version": 2', b"\xff\xfe", b"[]", b"3", b"[" * 100_000])
def test_corrupt_manifest(zoo_path: Path, data: bytes) -> None:
    (zoo_path / "manifest.json").write_bytes(data)
    for read in (Zoo.open, open_writer):
        with pytest.raises(InputError, match="manifest"):
            read(zoo_path)


def test_not_a_zoo(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    (tmp_path / "empty").mkdir()
    for name in ("file", ""):
        with pytest.raises(InputError, match=r"expected a zoo, an empty folder or nothing .* choose another --out"):
            open_writer(tmp_path / name)
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["empty", "file"]
    with pytest.raises(InputError, match="expected the folder of a zoo, found a file at"):
        Zoo.open(tmp_path / "file")
    with pytest.raises(InputError, match="expected the folder of a zoo, found nothing at"):
        Zoo.open(tmp_path / "none")
    with pytest.raises(InputError, match=r"expected a zoo's manifest at .* found no such file"):
        Zoo.open(tmp_path / "empty")


def test_other_settings_are_named(zoo_path: Path) -> None:
    before = content(zoo_path)
    with pytest.raises(InputError, match=r"\(recipe.steps was 3, now 5; seed was 0, now 1\); choose another --out"):
        open_writer(zoo_path, seed=1, recipe={"name": "fast", "steps": 5})
    with pytest.raises(InputError, match=r"\(splits.val_every was 5, now 10\)"):
        ZooWriter.open(zoo_path, settings=SETTINGS, figures=FIGURES, provenance={}, sources=True)
    assert content(zoo_path) == before


def test_wrong_arrays_are_named(zoo_path: Path) -> None:
    before, writer, images = content(zoo_path), open_writer(zoo_path), np.arange(30, 40)
    good = {"indices": images, "pixels": pixels("train", images), "labels": images % NUM_LABELS}
    for changes, sentence in [
        ({"indices": images[::-1]}, "strictly increasing indices"),
        ({"indices": images.astype(np.int32)}, "expected group .* int64, .* got .* int32"),
        (
            {"pixels": np.zeros((10, 1, 4, 4), np.uint8)},
            r"expected pixels \('N', 1, 3, 3\) uint8.*got \(10, 1, 4, 4\) uint8",
        ),
        ({"labels": images}, "expected labels from 0 to 3, got 30 to 39"),
        ({"part": "all"}, "a zoo cannot hold part 'all' beside another"),
        ({"part": "valid"}, "part"),
    ]:
        with pytest.raises(InputError, match=sentence):
            writer.add_sources(**({"part": "train"} | good | changes))
    with pytest.raises(InputError, match=r"no source of train image 30; add it first"):
        writer.add_rows("train", 0, images, params("train", 0, images), {"psnr": np.zeros(10, np.float32)})
    doubles = params("train", 0, images).astype(np.float64)
    with pytest.raises(InputError, match=r"expected params .* float32"):
        writer.add_rows("train", 2, images - 20, doubles, {"psnr": np.zeros(10, np.float32)})
    assert content(zoo_path) == before


def test_many_shards_need_few_open_files(tmp_path: Path) -> None:
    writer = open_writer(tmp_path)
    for image in range(40):
        writer.add_sources("test", np.array([image]), np.zeros((1, *SHAPE), np.uint8), np.zeros(1, np.int64))
    with soft_limit(resource.RLIMIT_NOFILE, len(os.listdir("/proc/self/fd")) + 20):
        Zoo.open(tmp_path)
