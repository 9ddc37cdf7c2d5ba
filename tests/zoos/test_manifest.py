"""What a manifest may say: every value is of its type, and whatever is written into one, a sentence comes of it."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from weightwalk import InputError, config
from weightwalk.testing import tiny_zoo
from weightwalk.testing.trained import tiny_trained_zoo
from weightwalk.zoos import kinds
from weightwalk.zoos.check import check
from weightwalk.zoos.inr.recipe import FitRecipe
from weightwalk.zoos.manifest import Manifest
from weightwalk.zoos.splits import SplitRule
from weightwalk.zoos.store import Zoo
from weightwalk.zoos.writer import ZooWriter

RECIPE = FitRecipe("mine", hidden=(4,))
FIGURES = {"psnr": "float32"}
SETTINGS = {
    "kind": "inr",
    "dataset": "mine",
    "image_shape": [1, 3],
    "image_dtype": "float32",
    "label_names": ["a"],
    "spec": RECIPE.spec(1, 1).to_dict(),
    "fit": config.to_dict(RECIPE),
}
OTHERS: tuple[Any, ...] = (
    None,
    True,
    -1,
    0,
    7,
    2.5,
    1e400,
    2**70,
    "",
    "x/../../../NAME",
    "\x1b[31m",
    [],
    [3],
    {},
    {"a": 1},
)


def open_writer(path: Path, settings: dict) -> ZooWriter:
    return ZooWriter.open(path, settings=settings, figures=FIGURES, provenance={}, sources=True)


def sealed(path: Path, value: dict[str, Any]) -> None:
    """Write a manifest with the checksum that belongs to it."""
    value = {**value, "checksum": config.fingerprint({key: entry for key, entry in value.items() if key != "checksum"})}
    (path / "manifest.json").write_text(json.dumps(value))


def places(value: Any, place: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The keys that lead to every value of a manifest, of lists to the first two entries."""
    if place:
        yield place
    entries = value.items() if isinstance(value, dict) else enumerate(value[:2]) if isinstance(value, list) else ()
    for key, entry in entries:
        yield from places(entry, (*place, key))


def edited(value: Any, place: tuple[Any, ...], new: Any) -> Any:
    copy = json.loads(json.dumps(value))
    at = copy
    for key in place[:-1]:
        at = at[key]
    at[place[-1]] = new
    return copy


@pytest.mark.parametrize("kind", ["inr", "trained"])
def test_whatever_a_manifest_says_is_a_sentence(tmp_path, kind):
    """Every value by turns replaced by values of every other type, with a checksum that is right."""
    if kind == "inr":
        tiny_zoo(tmp_path / "zoo", num_images=10, steps=1, fits=2)
    else:
        tiny_trained_zoo(tmp_path / "zoo", num_runs=10)
    whole = json.loads((tmp_path / "zoo" / "manifest.json").read_text())
    refused = tried = 0
    for place in places({key: value for key, value in whole.items() if key != "checksum"}):
        for other in OTHERS:
            sealed(tmp_path / "zoo", edited(whole, place, other))
            tried += 1
            try:
                zoo = Zoo.open(tmp_path / "zoo")
                kinds.described(zoo)
                check(tmp_path / "zoo", 2)
            except InputError:
                refused += 1
            else:
                assert ".." not in zoo.settings["dataset"]
    assert refused > tried / 4
    assert sorted(path.name for path in tmp_path.iterdir()) == ["zoo"]


def test_nothing_that_a_manifest_says_is_a_path(tmp_path):
    for key in ("dataset", "kind"):
        for name in ("x/../../../NAME", "..", "/etc", "", " a", "a" * 65, "é"):
            with pytest.raises(InputError, match="plain name"):
                Manifest({**SETTINGS, key: name}, FIGURES, SplitRule(), {})
    tiny_zoo(tmp_path / "zoo", num_images=10, steps=1)
    whole = json.loads((tmp_path / "zoo" / "manifest.json").read_text())
    for name in ("../zoo/rows/all", "/etc/passwd", "train/../all"):
        sealed(tmp_path / "zoo", edited(whole, ("shards", 0, "part"), name))
        with pytest.raises(InputError):
            Zoo.open(tmp_path / "zoo")


def test_floats_come_back_as_they_were_and_bytes_are_refused_for_them(tmp_path):
    writer = open_writer(tmp_path / "zoo", SETTINGS)
    pixels = np.float32([[[1.5, -0.25, 1e-30]]])
    with pytest.raises(InputError, match=r"expected pixels \('N', 1, 3\) float32.*got \(1, 1, 3\) uint8"):
        writer.add_sources("all", np.arange(1), pixels.astype(np.uint8), np.zeros(1, np.int64))
    with pytest.raises(InputError, match="finite pixels, got NaN or infinity in all image 5"):
        writer.add_sources("all", np.array([3, 5]), np.float32([[[1, 2, 3]], [[1, np.nan, 3]]]), np.zeros(2, np.int64))
    writer.add_sources("all", np.arange(1), pixels, np.zeros(1, np.int64))
    params = np.zeros((1, RECIPE.spec(1, 1).num_parameters), np.float32)
    writer.add_rows("all", 0, np.arange(1), params, {"psnr": np.zeros(1, np.float32)})
    assert Zoo.open(tmp_path / "zoo").images(np.arange(1)).numpy().tobytes() == pixels.tobytes()


def test_other_settings_are_told(tmp_path):
    writer = open_writer(tmp_path / "zoo", SETTINGS)
    writer.add_sources("all", np.arange(1), np.zeros((1, 1, 3), np.float32), np.zeros(1, np.int64))
    with pytest.raises(InputError, match=r"other settings \(image_dtype was float32, now uint8"):
        open_writer(tmp_path / "zoo", {**SETTINGS, "image_dtype": "uint8"})
