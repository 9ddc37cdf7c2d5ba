"""`weightwalk render`: files that show what INRs hold."""

from __future__ import annotations

import json
import wave

import numpy as np
import pytest
from PIL import Image

from weightwalk.zoos.images import ImageSet
from weightwalk.zoos.inr import rendering
from weightwalk.zoos.inr.fit import fit_zoo
from weightwalk.zoos.inr.overview import render
from weightwalk.zoos.inr.recipe import FIT_RECIPES
from weightwalk.zoos.store import Zoo


def pixels(path):
    with Image.open(path) as picture:
        return np.asarray(picture)


def fitted(path, arrays, **options):
    fit_zoo([ImageSet.from_arrays(arrays, **options)], path, FIT_RECIPES["tiny"], init="shared")
    return path


@pytest.fixture(scope="module")
def sounds(tmp_path_factory):
    t = np.linspace(0, 6, 40)
    waves = np.stack([np.sin((k + 1) * t) for k in range(3)]).astype(np.float32)
    return fitted(tmp_path_factory.mktemp("sounds") / "zoo", waves, keep_floats=True)


@pytest.fixture(scope="module")
def volumes(tmp_path_factory):
    return fitted(
        tmp_path_factory.mktemp("volumes") / "zoo", np.random.default_rng(0).random((2, 1, 4, 3, 2)).astype(np.float32)
    )


def test_a_picture_of_its_own_size(call, shared_zoo, tmp_path):
    out = tmp_path / "a.png"
    result = call("render", shared_zoo, "all-7-f0", "--size", 8, "--out", out)
    assert result.exit_code == 0
    assert f"1 INR of {shared_zoo} at 8 x 8 in {out}" in result.stdout
    assert result.stdout.startswith("1 INR\n")
    assert "rendering kpx 1/1" in result.stderr
    expected = render(Zoo.open(shared_zoo), np.array([7]))[0, 0].numpy()
    assert np.array_equal(pixels(out), ((expected.clip(-1, 1) + 1) * 127.5).round().astype(np.uint8))


def test_many_into_a_folder(call, shared_zoo, tmp_path):
    out = tmp_path / "pictures"
    values = json.loads(
        call("render", shared_zoo, "58:", "all-3-f0", "0", "--size", "20x10", "--out", out, "--json").stdout
    )
    assert [entry["row"] for entry in values["renders"]] == [58, 59, 3, 0]
    assert [entry["files"] for entry in values["renders"]] == [
        [f"{out}/all-{image}-f0.png"] for image in (58, 59, 3, 0)
    ]
    assert (values["grid"], values["sheet"]) == ([10, 20], None)
    assert sorted(path.name for path in out.iterdir()) == [f"all-{image}-f0.png" for image in (0, 3, 58, 59)]
    assert all(pixels(path).shape == (10, 20) for path in out.iterdir())


def test_by_default_beside_the_zoo_at_512(call, zoo):
    before = sorted(zoo.rglob("*"))
    assert call("render", zoo, "2").exit_code == 0
    assert pixels(zoo.parent / "zoo-renders" / "all-2-f0.png").shape == (512, 512)
    assert sorted(zoo.rglob("*")) == before


def test_blocks_make_no_difference(call, shared_zoo, tmp_path, monkeypatch):
    call("render", shared_zoo, "5", "--size", 40, "--out", tmp_path / "a.png")
    monkeypatch.setattr(rendering, "BLOCK_VALUES", 32 * 100)
    call("render", shared_zoo, "5", "--size", 40, "--out", tmp_path / "b.png")
    difference = pixels(tmp_path / "a.png").astype(int) - pixels(tmp_path / "b.png")
    assert np.abs(difference).max() <= 1  # a value that rounds to one side or the other


def test_a_sheet_has_sources_beside_renders(call, shared_zoo, tmp_path):
    sheet = tmp_path / "sheet.png"
    result = call("render", shared_zoo, "0:7", "--size", 64, "--out", tmp_path / "r", "--sheet", sheet)
    assert result.exit_code == 0
    assert f"sheet in {sheet}" in result.stdout
    assert len(list((tmp_path / "r").iterdir())) == 7
    page = pixels(sheet)
    source = Zoo.open(shared_zoo).images(np.array([0]))[0, 0].numpy()
    assert np.array_equal(page[14 : 14 + 128 : 16, 14 : 14 + 128 : 16, 0], source)  # enlarged by a whole factor


def test_sounds(call, sounds, tmp_path):
    result = call("render", sounds, ":", "--out", tmp_path, "--rate", 8000)
    assert result.exit_code == 0
    assert "3 INRs of" in result.stdout
    assert "at 40 samples in" in result.stdout
    expected = render(Zoo.open(sounds), np.array([1]))[0, 0].numpy()
    with wave.open(str(tmp_path / "all-1-f0.wav")) as sound:
        assert (sound.getframerate(), sound.getnframes()) == (8000, 40)
        samples = np.frombuffer(sound.readframes(40), "<i2") / 2**15
    assert np.abs(samples - expected.clip(-1, 1)).max() < 2**-14
    # More samples are a finer sound, not a longer one.
    call("render", sounds, "1", "--size", 120, "--out", tmp_path / "fine.wav", "--rate", 8000)
    with wave.open(str(tmp_path / "fine.wav")) as sound:
        assert (sound.getframerate(), sound.getnframes()) == (24000, 120)


def test_volumes(call, volumes, tmp_path):
    values = json.loads(call("render", volumes, "0", "--out", tmp_path, "--size", 8, "--json").stdout)
    assert values["renders"][0]["files"] == [f"{tmp_path}/all-0-f0.npy", f"{tmp_path}/all-0-f0.png"]
    assert np.load(tmp_path / "all-0-f0.npy").shape == (8, 6, 4)
    assert pixels(tmp_path / "all-0-f0.png").shape == (6, 4)
    told = call("render", volumes, "0", "--out", tmp_path, "--quiet").stdout
    assert f"{tmp_path}/all-0-f0.npy and {tmp_path}/all-0-f0.png" in told


@pytest.mark.parametrize("kind", ["sounds", "volumes"])
def test_inspect_and_verify_take_other_signals(call, kind, request):
    zoo = request.getfixturevalue(kind)
    assert call("verify", zoo).exit_code == 0
    result = call("inspect", zoo)
    assert result.exit_code == 0
    assert json.loads(call("inspect", zoo, "--json").stdout)["sheet"] is None
    assert not list(zoo.parent.glob("*.png"))
    refused = call("inspect", zoo, "--sheet", zoo.parent / "sheet.png")
    assert refused.exit_code == 2
    assert "a sheet shows pictures" in refused.stderr


def test_quiet_is_one_line(call, shared_zoo, tmp_path):
    result = call("render", shared_zoo, "0:3", "--size", 8, "--out", tmp_path, "--quiet")
    assert (len(result.stdout.splitlines()), result.stderr) == (1, "")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["60"], "expected a row, got 60; {zoo} has 60 INRs, rows 0 to 59, all-0-f0 to all-59-f0"),
        (["all-60-f0"], "unknown INR 'all-60-f0'"),
        (["0:61"], "got 0:61"),
        (
            ["0", "--size", "big"],
            "expected --size of one number (the longest axis), or WIDTHxHEIGHT such as 512x384, got 'big'",
        ),
        (["0", "--size", "0"], "got '0'"),
        (["0:2", "--out", "{tmp}/a.png"], "expected a folder as --out of 2 INRs, got the file {tmp}/a.png"),
        (["0", "--out", "{tmp}/a.wav"], "are rendered as .png, got --out {tmp}/a.wav"),
        (["0", "--device", "tpu"], "'tpu'"),
        (["0", "--out", "{tmp}/r", "--sheet", "{tmp}/s.gif"], "expected a .png as --sheet, got {tmp}/s.gif"),
        (["0", "--out", "{tmp}/r", "--rate", "0"], "expected --rate of at least 1 Hz and below 2^31 Hz, got 0"),
    ],
)
def test_what_cannot_be_rendered(call, shared_zoo, tmp_path, arguments, words):
    arguments = [argument.format(tmp=tmp_path) for argument in arguments]
    result = call("render", shared_zoo, *arguments)
    assert result.exit_code == 2
    [error] = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    assert words.format(zoo=shared_zoo, tmp=tmp_path) in error
    assert list(json.loads(call("render", shared_zoo, *arguments, "--json").stdout)) == ["error"]
    assert not list(tmp_path.iterdir())


def test_a_sheet_of_sounds(call, sounds, tmp_path):
    result = call("render", sounds, "0", "--out", tmp_path / "r", "--sheet", tmp_path / "s.png")
    assert result.exit_code == 2
    assert "a sheet shows pictures" in result.stderr
    assert not list(tmp_path.iterdir())


def test_an_output_that_is_a_folder_is_named(call, shared_zoo, tmp_path):
    (tmp_path / "a.png").mkdir()
    result = call("render", shared_zoo, "0", "--size", 8, "--out", tmp_path / "a.png")
    assert result.exit_code == 2
    assert f"expected a file or nothing as --out {tmp_path}/a.png, found a folder" in result.stderr
    assert "partial" not in result.stderr
