import os
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file

from weightwalk import InputError
from weightwalk.networks.starts import SHARED, Key, initialise
from weightwalk.testing import random_weights
from weightwalk.zoos.blocks import block_size
from weightwalk.zoos.hashes import verify
from weightwalk.zoos.images import ImageSet
from weightwalk.zoos.inr import engine
from weightwalk.zoos.inr import fit as fitting
from weightwalk.zoos.inr.engine import Descent
from weightwalk.zoos.inr.fit import fit_zoo, load_sets, split_rule
from weightwalk.zoos.inr.recipe import FIT_RECIPES, FitRecipe
from weightwalk.zoos.store import Zoo
from weightwalk.zoos.work import Inline, Processes

RECIPE = FitRecipe("quick", hidden=(6, 5), descent=Descent(steps=4, learning_rate=3e-3))


@pytest.fixture(autouse=True)
def _small_shards_on_a_fast_disk(monkeypatch):
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)
    monkeypatch.setattr(fitting, "SOURCES", 8)
    monkeypatch.setattr(fitting, "block_size", lambda cost: 8)
    monkeypatch.setattr(engine, "task_size", lambda device, pixels: 8)


def digits(limit=30, split="all"):
    return load_sets("digits", None, split, limit)


def content(folder):
    """Every file's bytes, by its path in the zoo."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != ".lock"
    }


def no_fits(monkeypatch):
    def refuse(*arguments):
        raise AssertionError("nothing should be fitted again")

    monkeypatch.setattr(engine, "fit", refuse)


def stop_after(calls):
    asked = iter(range(10**6))
    return lambda: next(asked) >= calls


def test_every_image_once_and_training_images_as_often_as_asked(tmp_path):
    seen = []
    outcome = fit_zoo(digits(), tmp_path / "zoo", RECIPE, fits=3, progress=lambda *state: seen.append(state))
    zoo = Zoo.open(tmp_path / "zoo")
    assert (outcome.fitted, outcome.already_there, outcome.finished) == (30 + 2 * 21, 0, True)
    assert outcome.mean_psnr == pytest.approx(float(zoo.column("psnr").mean()), abs=1e-3)
    assert [len(zoo.rows(split)) for split in ("train", "val", "test")] == [63, 3, 6]
    assert zoo.spec == RECIPE.spec(2, 1)
    assert not verify(tmp_path / "zoo").problems
    assert seen[-1][:3] == ("fitting", 72, 72)
    for split in ("val", "test"):
        assert set(zoo.groups[zoo.rows(split)]).isdisjoint(zoo.groups[zoo.rows("train")])


def test_a_stored_network_shows_its_picture(tmp_path):
    recipe = replace(RECIPE, hidden=(16, 16), descent=Descent(steps=150, learning_rate=5e-3, decay=1.0))
    fit_zoo(digits(8), tmp_path / "zoo", recipe)
    zoo = Zoo.open(tmp_path / "zoo")
    rendered, pictures = recipe.pixels.render(zoo.weights(zoo.rows()), 8, 8), zoo.images(zoo.rows()) / 255
    psnr = -10 * torch.log10((rendered - pictures).square().mean(dim=(1, 2, 3)))
    assert torch.allclose(psnr, torch.from_numpy(zoo.column("psnr")), atol=0.05)  # of 92 dB: float32 itself
    assert psnr.min() > 18


def test_stopped_and_begun_again_is_the_same_bytes(tmp_path, monkeypatch):
    whole = fit_zoo(digits(), tmp_path / "whole", RECIPE, fits=2)
    first = fit_zoo(digits(), tmp_path / "zoo", RECIPE, fits=2, should_stop=stop_after(3))
    assert not first.finished
    assert 0 < first.fitted < whole.fitted
    second = fit_zoo(digits(), tmp_path / "zoo", RECIPE, fits=2)
    assert (second.already_there, second.fitted) == (first.fitted, whole.fitted - first.fitted)
    assert content(tmp_path / "zoo") == content(tmp_path / "whole")
    no_fits(monkeypatch)
    third = fit_zoo(digits(), tmp_path / "zoo", RECIPE, fits=2)
    assert (third.fitted, third.already_there, third.finished) == (0, whole.fitted, True)
    assert third.mean_psnr == pytest.approx(whole.mean_psnr, abs=1e-3)


def test_stopped_before_the_first_result(tmp_path):
    outcome = fit_zoo(digits(), tmp_path / "zoo", RECIPE, should_stop=lambda: True)
    assert (outcome.fitted, outcome.finished, outcome.mean_psnr) == (0, False, None)


def test_what_is_finished_is_kept_when_the_workers_give_up(tmp_path, monkeypatch):
    class GiveUp(Inline):
        def results(self, job, tasks):
            for number, result in enumerate(super().results(job, tasks)):
                if number == 3:
                    raise InputError("workers died")
                yield result

    monkeypatch.setattr(
        fitting.time, "monotonic", lambda: 0.0
    )  # no second goes by, after which shards are written anyway
    with pytest.raises(InputError, match="workers died"):
        fit_zoo(digits(), tmp_path / "zoo", RECIPE, workers=GiveUp())
    assert len(Zoo.open(tmp_path / "zoo")) == 24
    monkeypatch.undo()
    monkeypatch.setattr(fitting, "SOURCES", 8)
    monkeypatch.setattr(fitting, "block_size", lambda cost: 8)
    monkeypatch.setattr(engine, "task_size", lambda device, pixels: 8)
    fit_zoo(digits(), tmp_path / "zoo", RECIPE)
    fit_zoo(digits(), tmp_path / "whole", RECIPE)
    assert content(tmp_path / "zoo") == content(tmp_path / "whole")


def train_and_test(train=20, test=10):
    """A data set of two files, as MNIST is."""
    pixels = np.random.default_rng(0).integers(0, 256, (30, 5, 5), dtype=np.uint8)
    parts = {"train": pixels[:train], "test": pixels[20 : 20 + test]}
    return [ImageSet.from_arrays(of_part, dataset="two files", part=part) for part, of_part in parts.items()]


def test_train_then_test_is_all_at_once(tmp_path):
    sets = train_and_test()
    fit_zoo(sets, tmp_path / "once", RECIPE, fits=2)
    for images, split in ((sets[1:], "test"), (sets[:1], "train")):
        fit_zoo(images, tmp_path / "twice", RECIPE, fits=2, split=split)
    assert content(tmp_path / "twice") == content(tmp_path / "once")


@pytest.mark.slow
def test_two_workers_are_one_worker(tmp_path):
    fit_zoo(train_and_test(), tmp_path / "one", RECIPE, fits=2)
    fit_zoo(train_and_test(), tmp_path / "two", RECIPE, fits=2, workers=Processes(2))
    assert content(tmp_path / "two") == content(tmp_path / "one")


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    path = tmp_path_factory.mktemp("whole") / "zoo"
    fit_zoo(train_and_test(), path, RECIPE, fits=3)
    return Zoo.open(path)


def names_of(train, test, fits):
    """What a zoo of so many images has; every 10th training image validates and has one fit."""
    of_train = [f"train-{image}-f{fit}" for image in range(train) for fit in range(1 if image % 10 == 9 else fits)]
    return of_train + [f"test-{image}-f0" for image in range(test)]


@given(calls=st.lists(st.tuples(st.integers(1, 20), st.integers(1, 10), st.integers(1, 3)), min_size=2, max_size=3))
def test_adding_leaves_the_shards_that_are_there_as_they_were(tmp_path_factory, whole, calls):
    """Calls with other numbers of images and fits, in any order: files stay, and every network is that of a zoo made at
    once.
    """
    out, before = tmp_path_factory.mktemp("zoos") / "zoo", {}
    for train, test, fits in calls:
        fit_zoo(train_and_test(train, test), out, RECIPE, fits=fits)
        now = content(out)
        assert {name for name in before if now.get(name) != before[name]} <= {"manifest.json"}
        before = now
    assert not verify(out).problems
    zoo = Zoo.open(out)
    rows = zoo.rows()
    assert set(zoo.names(rows)) == {name for call in calls for name in names_of(*call)}
    assert torch.equal(zoo.weights(rows).flat, whole.weights(whole.find(zoo.names(rows))).flat)


@pytest.mark.parametrize("init", ["independent", "shared"])
def test_adding_fits_is_having_asked_for_them_at_once(tmp_path, init):
    fit_zoo(digits(), tmp_path / "once", RECIPE, fits=3, init=init)
    for fits in (1, 3):
        fit_zoo(digits(), tmp_path / "twice", RECIPE, fits=fits, init=init)
    assert content(tmp_path / "twice") == content(tmp_path / "once")


def test_a_network_does_not_depend_on_what_else_was_fitted(tmp_path):
    fit_zoo(digits(30), tmp_path / "many", RECIPE)
    fit_zoo(digits(5), tmp_path / "few", RECIPE)
    fit_zoo(digits(30), tmp_path / "few", RECIPE)
    many, few = Zoo.open(tmp_path / "many"), Zoo.open(tmp_path / "few")
    assert torch.equal(many.weights(many.rows()).flat, few.weights(few.rows()).flat)


def test_starts(tmp_path, monkeypatch):
    """What the engine is given: random starts of their own, one for all, or the file's."""
    begun = []
    right = engine.fit

    def watch(start, *arguments):
        begun.append(start.flat.clone())
        return right(start, *arguments)

    monkeypatch.setattr(engine, "fit", watch)
    spec = RECIPE.spec(2, 1)
    one = random_weights(spec, 1, seed=0)
    save_file(one.to_state_dict(), tmp_path / "start.safetensors")
    for init, fits in (("independent", 2), ("shared", 2), (str(tmp_path / "start.safetensors"), 1)):
        begun.clear()
        fit_zoo(digits(6), tmp_path / f"zoo{len(init)}", RECIPE, init=init, fits=fits, seed=3)
        if init == "independent":
            keys = [Key(3, 2, image, fit) for fit in range(2) for image in range(6)]
            assert torch.equal(torch.cat(begun), initialise(spec, keys).flat)
        elif init == "shared":
            keys = [Key(3, 0, SHARED, fit) for fit in range(2) for _ in range(6)]
            assert torch.equal(torch.cat(begun), initialise(spec, keys).flat)
        else:
            assert torch.equal(torch.cat(begun), one.flat.expand(6, -1))
        assert Zoo.open(tmp_path / f"zoo{len(init)}").settings["init"].split(":")[0] == (
            "file" if "/" in init else init
        )


def test_other_settings_are_refused_and_named(tmp_path):
    out = tmp_path / "zoo"
    fit_zoo(digits(8), out, RECIPE)
    before = content(out)
    changes = [
        (digits(8), RECIPE, {"seed": 1}, "seed was 0, now 1"),
        (digits(8), RECIPE, {"init": "shared"}, "init was independent, now shared"),
        (
            digits(8),
            replace(RECIPE, omega=(10.0,)),
            {},
            r"spec.steps.0.omega was 30.0, now 10.0; .*fit.omega was \[30.0\], now \[10.0\]",
        ),
        (digits(8), replace(RECIPE, descent=Descent(5, 3e-3)), {}, "fit.descent.steps was 4, now 5"),
        ([replace(digits(8)[0], dataset="other")], RECIPE, {}, "dataset was digits, now other"),
    ]
    for sets, recipe, options, sentence in changes:
        with pytest.raises(InputError, match=f"other settings .*{sentence}"):
            fit_zoo(sets, out, recipe, **options)
    assert content(out) == before


def test_splits_can_be_fitted_one_after_the_other(tmp_path):
    outcomes = [fit_zoo(digits(20), tmp_path / "zoo", RECIPE, split=split) for split in ("test", "train", "all")]
    assert [outcome.fitted for outcome in outcomes] == [4, 16, 0]
    zoo = Zoo.open(tmp_path / "zoo")
    assert [len(zoo.rows(split)) for split in ("train", "val", "test")] == [14, 2, 4]


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda out: fit_zoo(digits(2), out, RECIPE, fits=0), "at least 1 fit per image, got 0"),
        (lambda out: fit_zoo([], out, RECIPE), "expected sets of images"),
        (lambda out: fit_zoo(digits(2), out, RECIPE, init="shard"), "expected --init independent, shared or a file"),
        (
            lambda out: fit_zoo(digits(2), out, RECIPE, init=__file__),
            "expected the parameters of one network in a file",
        ),
        (lambda out: fit_zoo(digits(2), out, RECIPE, init=__file__, fits=2), "expected --fits 1"),
        (lambda out: load_sets("digits", None, "val"), "expected --split train, test or all, got 'val'"),
        (lambda out: load_sets("digits", None, "all", 0), "expected --limit of at least 1 image"),
        (lambda out: load_sets("digit", None), "unknown data set 'digit'.*did you mean 'digits'"),
    ],
)
def test_what_cannot_be_fitted_is_refused(tmp_path, call, sentence):
    with pytest.raises(InputError, match=sentence):
        call(tmp_path / "zoo")
    assert not (tmp_path / "zoo").exists()


def test_images_of_two_sizes_make_no_zoo(tmp_path):
    sets = [
        ImageSet.from_arrays(np.zeros((2, size, size), np.uint8), dataset="x", part=part)
        for size, part in ((4, "train"), (5, "test"))
    ]
    with pytest.raises(InputError, match="images of one size"):
        fit_zoo(sets, tmp_path / "zoo", RECIPE)


def test_recipes_are_their_protocols():
    nfn, dws = FIT_RECIPES["nfn"], FIT_RECIPES["dws"]
    assert (nfn.hidden, nfn.omega, nfn.scheme) == ((32, 32), (30.0,), "nfn")
    assert (nfn.descent.steps, nfn.descent.learning_rate, nfn.descent.betas, nfn.descent.decay) == (
        5000,
        5e-5,
        (0.9, 0.999),
        0.0,
    )
    assert (nfn.pixels.low, nfn.pixels.high, nfn.pixels.axes) == (-1.0, 1.0, "ij")
    assert (dws.pixels.low, dws.pixels.high, dws.pixels.axes) == (-0.5, 0.5, "xy")
    assert float(dws.pixels.psnr(torch.tensor([dws.descent.stop_loss]))) == pytest.approx(40.0)
    assert nfn.spec(2, 3).widths == (2, 32, 32, 3)


def test_validation_images_are_as_many_as_published():
    for dataset, size, train in (
        ("mnist", 60_000, 55_000),
        ("fashion-mnist", 60_000, 55_000),
        ("cifar10", 50_000, 45_000),
    ):
        codes = split_rule(dataset).assign("train", np.arange(size))
        assert np.bincount(codes).tolist() == [train, size - train]


def test_a_split_that_has_no_image_is_refused_before_anything_is_written(tmp_path):
    with pytest.raises(InputError, match="expected test images of digits, found none among the 5 that are read"):
        fit_zoo(digits(5), tmp_path / "zoo", RECIPE, split="test")
    assert not (tmp_path / "zoo").exists()


def test_long_fits_are_kept_in_small_blocks():
    """A block costs seconds of a core, whatever is fitted, so that a process that is killed loses no more."""
    sizes = [block_size(cost) for cost in (1e6, 1e8, 4e8, 1e9, 1e12)]
    assert sizes == [512, 256, 64, 32, 16]


@pytest.mark.slow
def test_a_killed_fit_keeps_its_blocks(tmp_path):
    """Killed after five tasks, a block of which is written about every second, it has at least one."""
    pixels = np.random.default_rng(0).integers(0, 256, (48, 28, 28), dtype=np.uint8)
    sets = [ImageSet.from_arrays(pixels)]

    class Killed(Inline):
        def results(self, job, tasks):
            for number, result in enumerate(super().results(job, tasks)):
                if number == 5:
                    raise KeyboardInterrupt
                yield result

    with pytest.raises(KeyboardInterrupt):
        fit_zoo(sets, tmp_path / "zoo", RECIPE, workers=Killed())
    assert len(Zoo.open(tmp_path / "zoo")) >= 8


def test_no_task_outlasts_the_shard_that_it_is_for(tmp_path, monkeypatch):
    """A second one would be lost with the first by those who are killed before it is done."""
    sizes = []

    class Counted(Inline):
        def results(self, job, tasks):
            for result in super().results(job, tasks):
                sizes.append(len(result.images))
                yield result

    monkeypatch.setattr(engine, "task_size", lambda device, pixels: 64)
    monkeypatch.setattr(fitting, "block_size", lambda cost: 16)
    fit_zoo(digits(40), tmp_path / "zoo", RECIPE, workers=Counted())
    native = engine.choose("auto", torch.device("cpu")) == "native"
    assert sizes == ([16, 16, 8] if native else [40])
