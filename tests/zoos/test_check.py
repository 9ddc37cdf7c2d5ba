"""A zoo that says what is not so is found out, and the INR is named."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from weightwalk import InputError
from weightwalk.testing import tiny_zoo
from weightwalk.zoos.check import Count, check
from weightwalk.zoos.inr.kind import tolerance
from weightwalk.zoos.inr.pixels import Fourier, PixelFormat
from weightwalk.zoos.manifest import Manifest
from weightwalk.zoos.store import Zoo

IMAGES, INRS = "sources/train-000006-000012.safetensors", "rows/train-m0-000006-000012.safetensors"


@pytest.fixture(scope="module")
def intact(draw_zoo, tmp_path_factory) -> Path:
    """Not to be changed."""
    return draw_zoo(tmp_path_factory.mktemp("check") / "zoo").path


@pytest.fixture
def zoo(intact, tmp_path) -> Path:
    return Path(shutil.copytree(intact, tmp_path / "zoo"))


def keep(path: Path, shards) -> None:
    """An honest manifest of other shards."""
    manifest = Manifest.read(path)
    replace(manifest, shards=tuple(shards(manifest.shards))).write(path)


def found(path: Path, sample: int = 256) -> list[tuple[str, str, tuple[str, ...]]]:
    return [(problem.what, problem.file, problem.rows) for problem in check(path, sample).problems]


# A zoo that is well.


@pytest.mark.parametrize(
    ("grid", "channels", "dtype", "pixels"),
    [
        ((4, 5), 3, "uint8", PixelFormat(-0.5, 0.5, "xy")),
        ((4, 5), 1, "float32", PixelFormat(0.0, 1.0)),
        ((17,), 2, "float32", PixelFormat()),
        ((3, 4, 5), 1, "uint8", PixelFormat(fourier=Fourier(4, 1.0))),
        ((1, 7), 1, "uint8", PixelFormat()),
    ],
    ids=str,
)
def test_every_kind_of_signal_shows_what_it_says(draw_zoo, tmp_path, grid, channels, dtype, pixels):
    zoo = draw_zoo(tmp_path / "zoo", grid=grid, channels=channels, dtype=dtype, pixels=pixels)
    report = check(zoo.path)
    assert report.problems == ()
    assert (report.looked_at, report.why_not) == (len(zoo), "")
    assert report.worst < 1e-3


def test_fitted_networks_pass_with_room_to_spare(tmp_path):
    tiny_zoo(tmp_path / "zoo", hidden=(16, 16), steps=200, num_images=20)
    report = check(tmp_path / "zoo")
    assert report.to_dict()["ok"]
    assert report.worst < 1e-3


@pytest.mark.parametrize("near", [1e-2, 1e-4, 1e-6, 0.0])
def test_rounding_is_no_problem_at_any_psnr(draw_zoo, tmp_path, near):
    zoo = draw_zoo(tmp_path / "zoo", dtype="float32", near=near, parts=(("test", 5, 1),))
    assert check(zoo.path).problems == ()
    assert near > 1e-3 or zoo.column("psnr").min() > 60


def test_counts(intact):
    report = check(intact)
    assert [replace(count, figures={}) for count in report.counts] == [
        Count("train", "train", groups=9, rows=18, members=2, lacking=0, figures={}),
        Count("train", "val", groups=3, rows=6, members=2, lacking=0, figures={}),
        Count("test", "test", groups=5, rows=5, members=1, lacking=0, figures={}),
    ]
    assert all(count.figures.keys() == {"psnr"} for count in report.counts)
    assert report.files == 9


def test_a_fit_that_was_interrupted_is_no_problem(zoo):
    keep(zoo, lambda shards: [s for s in shards if s.file != INRS and s.member != 1])
    (zoo / INRS).unlink()
    for file in zoo.glob("rows/train-m1*"):
        file.unlink()
    report = check(zoo)
    assert report.problems == ()
    assert [count.lacking for count in report.counts] == [4, 2, 0]


@pytest.mark.parametrize(("sample", "rendered"), [(0, 0), (1, 1), (4, 4), (1000, 29)])
def test_a_sample_is_as_large_as_asked(intact, sample, rendered):
    seen = []
    report = check(intact, sample, progress=lambda *state: seen.append(state))
    assert report.looked_at == rendered
    assert not rendered or seen[-1][:3] == ("rendering", rendered, rendered)


def test_a_zoo_without_inrs_is_well(zoo):
    keep(zoo, lambda shards: [s for s in shards if s.table == "sources"])
    shutil.rmtree(zoo / "rows")
    report = check(zoo)
    assert (report.problems, report.looked_at) == ((), 0)


def test_networks_that_nobody_can_read_are_not_rendered(intact, zoo):
    manifest = Manifest.read(zoo)
    replace(manifest, settings={**manifest.settings, "fit": {}}).write(zoo)
    report = check(zoo)
    assert (report.problems, report.looked_at) == ((), 0)
    assert "fit.pixels" in report.why_not


# A zoo whose hashes are right and whose content is not.


@given(row=st.integers(0, 5), decibel=st.sampled_from([-20.0, -0.1, -0.02, 0.02, 3.0]))
def test_a_wrong_psnr_is_found_and_its_inr_named(intact, tmp_path_factory, rewrite, row, decibel):
    zoo = Path(shutil.copytree(intact, tmp_path_factory.mktemp("wrong") / "zoo"))

    def change(tensors):
        tensors["psnr"][row] += decibel

    rewrite(zoo, INRS, change)
    assert found(zoo) == [("figures", INRS, (f"train-{6 + row}-f0",))]


def test_a_psnr_within_the_tolerance_is_not_wrong(zoo, rewrite):
    rewrite(zoo, INRS, lambda tensors: np.add(tensors["psnr"], 0.008, out=tensors["psnr"]))
    assert found(zoo) == []


def test_other_weights_and_other_pictures_are_found(zoo, rewrite):
    rewrite(zoo, INRS, lambda tensors: tensors.update({"params.0": tensors["params.0"][::-1].copy()}))
    assert found(zoo) == [("figures", INRS, tuple(f"train-{image}-f0" for image in range(6, 12)))]
    rewrite(zoo, INRS, lambda tensors: tensors.update({"params.0": tensors["params.0"][::-1].copy()}))
    rewrite(zoo, IMAGES, lambda tensors: tensors["pixels"].__setitem__(2, 255 - tensors["pixels"][2]))
    assert found(zoo) == [("figures", INRS, ("train-8-f0",)), ("figures", INRS.replace("m0", "m1"), ("train-8-f1",))]


@pytest.mark.parametrize(("value", "what"), [(np.nan, "values"), (np.inf, "values"), (1e30, "figures")])
def test_weights_that_are_broken_are_found(zoo, rewrite, value, what):
    rewrite(zoo, INRS, lambda tensors: tensors["params.0"].__setitem__((3, 0), value))
    assert found(zoo) == [(what, INRS, ("train-9-f0",))]
    assert Zoo.open(zoo).broken(Zoo.open(zoo).rows()).tolist() == ([] if what == "figures" else [9])


def test_values_that_mean_nothing(zoo, rewrite):
    rewrite(zoo, IMAGES, lambda tensors: tensors["label"].__setitem__(1, 2))
    rewrite(zoo, INRS, lambda tensors: tensors["psnr"].__setitem__(0, np.nan))
    assert found(zoo, 0) == [("values", INRS, ("train-6-f0",)), ("values", IMAGES, ())]
    sentences = [problem.sentence for problem in check(zoo, 0).problems]
    assert "has psnr that cannot be: train-6-f0; they diverged; make a zoo with a lower" in sentences[0]
    assert "labels that are not from 0 to 1, of image 7" in sentences[1]


def test_image_numbers_out_of_place(zoo, rewrite):
    rewrite(zoo, INRS, lambda tensors: tensors["group"].__setitem__(1, 6))
    assert found(zoo) == [("unreadable", INRS, ())]


def test_inrs_without_images(zoo):
    keep(zoo, lambda shards: [s for s in shards if s.file != IMAGES])
    (zoo / IMAGES).unlink()
    names = [tuple(f"train-{image}-f{fit}" for image in range(6, 12)) for fit in (0, 1)]
    assert found(zoo) == [("orphans", INRS, names[0]), ("orphans", INRS.replace("m0", "m1"), names[1])]
    assert check(zoo).looked_at == 29 - 12


def test_a_lost_file_is_the_only_one_to_blame(zoo):
    (zoo / IMAGES).unlink()
    assert found(zoo) == [("missing", IMAGES, ())]
    assert check(zoo).looked_at == 29 - 12


def test_rows_that_are_there_twice(zoo, draw_zoo, tmp_path):
    """Three images and their INRs again, in shards of their own."""
    other = draw_zoo(tmp_path / "other", parts=(("train", 3, 1),)).path
    extra = Manifest.read(other).shards
    for shard in extra:
        shutil.copy(other / shard.file, zoo / shard.file)
    keep(zoo, lambda shards: [*shards, *extra])
    inrs, images = check(zoo).problems[:2]
    assert (images.what, inrs.what) == ("overlap", "overlap")
    assert "3 networks 0 of part train twice, the first is that of 0" in inrs.sentence
    for problem, kind in ((images, "sources/train"), (inrs, "rows/train-m0")):
        assert f"{kind}-000000-000003.safetensors and {kind}-000000-000006.safetensors" in problem.sentence


# Files that were changed.


def test_all_inrs_of_a_changed_file_are_rendered(zoo):
    """A sample of one would not have met this one."""
    data = bytearray((zoo / INRS).read_bytes())
    tensor = Manifest.read(zoo).spec.num_parameters * 4
    data[len(data) - 6 * 4 - 2 * tensor + 3] ^= 0x40  # the exponent of a weight of the fifth network
    (zoo / INRS).write_bytes(data)
    assert found(zoo, sample=1) == [("changed", INRS, ()), ("figures", INRS, ("train-10-f0",))]
    assert check(zoo, sample=1).looked_at in (6, 7)


def test_a_changed_picture_is_laid_to_its_file(zoo):
    data = bytearray((zoo / IMAGES).read_bytes())
    data[-20 - 7] ^= 0x80  # of the last picture but one
    (zoo / IMAGES).write_bytes(data)
    assert found(zoo, sample=1) == [("changed", IMAGES, ()), ("figures", IMAGES, ("train-10-f0", "train-10-f1"))]


def test_all_problems_are_listed(zoo, rewrite):
    rewrite(zoo, INRS, lambda tensors: tensors["psnr"].__setitem__(0, 3.0))
    (zoo / "rows/test-m0-000000-000005.safetensors").unlink()
    (zoo / "stranger").write_bytes(b"")
    truncated = zoo / "rows/train-m1-000000-000006.safetensors"
    truncated.write_bytes(truncated.read_bytes()[:100])
    assert [what for what, _, _ in found(zoo)] == ["missing", "changed", "stranger", "figures"]


def test_a_changed_manifest_is_believed_in_nothing(zoo):
    text = (zoo / "manifest.json").read_text()
    (zoo / "manifest.json").write_text(text.replace('"high": 1.0', '"high": 2.0'))
    report = check(zoo)
    assert [problem.what for problem in report.problems] == ["changed"]
    assert (report.counts, report.looked_at) == ((), 0)


def test_a_sample_below_zero(intact):
    with pytest.raises(InputError, match="sample of at least 0 networks, got -1"):
        check(intact, -1)


def test_the_tolerance_is_decibels_where_errors_are_large_and_rounding_where_they_are_not():
    def decibels(stored: float, rounding: float = 0.0) -> float:
        allowed = float(
            tolerance(torch.tensor(stored, dtype=torch.float64), torch.tensor(rounding, dtype=torch.float64), 2.0)
        )
        return float(20 * np.log10(1 + allowed / stored))

    assert decibels(2e-2) == pytest.approx(0.01, rel=0.1)  # 40 dB
    assert decibels(2e-3) < 0.02  # 60 dB
    assert decibels(2e-6) > 5  # 120 dB: all of it may be rounding
    assert decibels(2e-2, rounding=1e9) < 1  # a broken network's rounding excuses nothing
