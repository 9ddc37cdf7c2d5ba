"""What a zoo's settings mean, whichever version wrote them."""

from copy import deepcopy
from pathlib import Path

import numpy as np
import pytest

from weightwalk import InputError, config
from weightwalk.zoos.inr.overview import render
from weightwalk.zoos.inr.recipe import FitRecipe
from weightwalk.zoos.manifest import Manifest, completed
from weightwalk.zoos.splits import SplitRule
from weightwalk.zoos.store import Zoo
from weightwalk.zoos.writer import ZooWriter

RECIPE = FitRecipe("mine", hidden=(4,))
SETTINGS = {
    "image_shape": [1, 3],
    "image_dtype": "float32",
    "spec": RECIPE.spec(1, 1).to_dict(),
    "fit": config.to_dict(RECIPE),
}


def old_settings() -> dict:
    """As 0.1 wrote them for bytes: sine only, one omega, no features, no dtype."""
    old = deepcopy(SETTINGS)
    del old["image_dtype"], old["fit"]["activation"], old["fit"]["pixels"]["fourier"]
    old["fit"]["omega"] = 30.0
    return old


def open_writer(path: Path, settings: dict) -> ZooWriter:
    return ZooWriter.open(path, settings=settings, label_names="a", splits=SplitRule(), provenance={})


def test_a_zoo_of_an_older_version_goes_on_with_the_same_manifest(tmp_path):
    new = {**SETTINGS, "image_dtype": "uint8"}
    assert completed(old_settings()) == new
    open_writer(tmp_path / "zoo", old_settings())
    before = (tmp_path / "zoo" / "manifest.json").read_bytes()
    writer = open_writer(tmp_path / "zoo", new)
    assert (tmp_path / "zoo" / "manifest.json").read_bytes() == before
    pixels = np.zeros((1, 1, 3), np.uint8)
    writer.add_images("all", np.arange(1), pixels, np.zeros(1, np.int64))
    writer.add_inrs(
        "all",
        0,
        np.arange(1),
        np.zeros((1, Zoo.open(tmp_path / "zoo").spec.num_parameters), np.float32),
        np.zeros(1, np.float32),
    )
    zoo = Zoo.open(tmp_path / "zoo")
    assert zoo.images(zoo.rows()).numpy().tobytes() == pixels.tobytes()
    assert render(zoo, zoo.rows()).tolist() == [[[0.0, 0.0, 0.0]]]


def test_what_differs_from_an_older_version_is_still_told(tmp_path):
    old = open_writer(tmp_path / "zoo", old_settings())
    old.add_images("all", np.arange(1), np.zeros((1, *SETTINGS["image_shape"]), np.uint8), np.zeros(1, np.int64))
    with pytest.raises(InputError, match=r"other settings \(image_dtype was uint8, now float32"):
        open_writer(tmp_path / "zoo", SETTINGS)


def test_floats_come_back_as_they_were_and_bytes_are_refused_for_them(tmp_path):
    writer = open_writer(tmp_path / "zoo", SETTINGS)
    pixels = np.float32([[[1.5, -0.25, 1e-30]]])
    with pytest.raises(InputError, match=r"expected pixels \('N', 1, 3\) float32.*got \(1, 1, 3\) uint8"):
        writer.add_images("all", np.arange(1), pixels.astype(np.uint8), np.zeros(1, np.int64))
    with pytest.raises(InputError, match="finite pixels, got NaN or infinity in all image 5"):
        writer.add_images("all", np.array([3, 5]), np.float32([[[1, 2, 3]], [[1, np.nan, 3]]]), np.zeros(2, np.int64))
    writer.add_images("all", np.arange(1), pixels, np.zeros(1, np.int64))
    writer.add_inrs(
        "all", 0, np.arange(1), np.zeros((1, RECIPE.spec(1, 1).num_parameters), np.float32), np.zeros(1, np.float32)
    )
    assert Zoo.open(tmp_path / "zoo").images(np.arange(1)).numpy().tobytes() == pixels.tobytes()


def test_an_unknown_dtype_is_no_manifest(tmp_path):
    with pytest.raises(InputError, match="image_dtype uint8 or float32, got 'float64'"):
        Manifest({**SETTINGS, "image_dtype": "float64"}, ("a",), SplitRule(), {}).columns("images")


def test_settings_of_older_versions_mean_what_they_meant():
    """A cosine is a decay of all steps; Adam had the usual betas, hidden layers were sines of one omega."""
    old = {
        "hidden": [8, 8],
        "omega": 30.0,
        "descent": {"steps": 9, "learning_rate": 1e-3, "schedule": "cosine", "stop_loss": 0.0},
    }
    new = {"hidden": [8, 8], "omega": [30.0], "activation": "sine"}
    descent = {"steps": 9, "learning_rate": 1e-3, "betas": [0.9, 0.999], "stop_loss": 0.0}
    assert completed({"fit": old})["fit"] == {**new, "descent": {**descent, "decay": 1.0}}
    constant = {**old, "descent": {**old["descent"], "schedule": "constant"}}
    assert completed({"fit": constant})["fit"] == {**new, "descent": {**descent, "decay": 0.0}}
    assert completed(completed({"fit": old})) == completed({"fit": old})
