"""Recipes of fitting: what they mean, what they refuse, and that each fits the kind of signal that it is for."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from weightwalk import InputError, NetworkSpec, config
from weightwalk.networks.starts import Key, initialise
from weightwalk.spec import Dense
from weightwalk.zoos.images import DATASETS, ImageSet
from weightwalk.zoos.inr import engine
from weightwalk.zoos.inr.engine import Descent
from weightwalk.zoos.inr.fit import fit_zoo
from weightwalk.zoos.inr.overview import render
from weightwalk.zoos.inr.pixels import Fourier, PixelFormat
from weightwalk.zoos.inr.recipe import FIT_RECIPES, FitRecipe, changed, usual
from weightwalk.zoos.store import Zoo


def test_an_activation_brings_its_own_frequency_and_starts():
    own = {name: FitRecipe("mine", activation=name) for name in ("sine", "relu", "tanh", "gaussian")}
    assert {name: (recipe.omega, recipe.scheme) for name, recipe in own.items()} == {
        "sine": ((30.0,), "nfn"),
        "relu": ((1.0,), "kaiming"),
        "tanh": ((1.0,), "default"),
        "gaussian": ((15.0,), "default"),
    }
    assert own["tanh"].spec(3, 2) == NetworkSpec.mlp([3, 32, 32, 2], "tanh")


def test_the_network_reads_coordinates_or_their_features():
    recipe = FitRecipe("mine", hidden=(8, 7), omega=(100.0, 20.0))
    assert recipe.spec(1, 2) == NetworkSpec((Dense(1, 8, "sine", 100.0), Dense(8, 7, "sine", 20.0), Dense(7, 2)))
    assert replace(recipe, pixels=PixelFormat(fourier=Fourier(5, 1.0))).spec(3, 1).widths == (10, 8, 7, 1)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"hidden": ()}, "at least one hidden layer in the fit recipe 'mine'"),
        ({"hidden": (8, 0)}, "hidden must be a number of at least 1"),
        ({"omega": (30.0, 30.0, 30.0)}, r"one omega for all 2 hidden layers or one for each, got \(30.0, 30.0, 30.0\)"),
        ({"omega": (30.0, -1.0)}, "omega must be a number above 0"),
        ({"activation": "sin"}, "unknown activation of a fit 'sin'.*did you mean 'sine'"),
        (
            {"activation": "relu", "omega": (30.0,)},
            "omega scales sine and gaussian layers, got .* for relu; leave it out",
        ),
        (
            {"activation": "relu", "scheme": "nfn"},
            "'nfn' starts networks of sine layers, got relu; choose kaiming or default",
        ),
    ],
)
def test_recipes_that_make_no_network_are_refused(change, sentence):
    with pytest.raises(InputError, match=sentence):
        FitRecipe("mine", **change)


def test_a_recipe_of_pictures_refuses_sounds_before_anything_is_made(tmp_path: Path):
    with pytest.raises(InputError, match="axes 'xy' are those of pictures, got a grid of 1 axes"):
        fit_zoo([ImageSet.from_arrays(np.zeros((2, 5)), keep_floats=True)], tmp_path / "zoo", FIT_RECIPES["dws"])
    assert not (tmp_path / "zoo").exists()


def test_published_protocols_and_the_networks_of_ours():
    nfn, dws, fast, tiny = (FIT_RECIPES[name] for name in ("nfn", "dws", "fast", "tiny"))
    assert (nfn.spec(2, 3), dws.spec(2, 1)) == tuple(
        NetworkSpec.mlp([2, 32, 32, channels], omega=30.0) for channels in (3, 1)
    )
    assert fast.spec(2, 1) == tiny.spec(2, 1) == nfn.spec(2, 1)
    assert (nfn.scheme, dws.scheme, fast.scheme, tiny.scheme) == ("nfn", "dws", "nfn", "nfn")
    assert nfn.descent == Descent(5000, 5e-5)
    assert FIT_RECIPES["audio"].omega == (3000.0, 30.0, 30.0)


@pytest.mark.parametrize("name", FIT_RECIPES)
def test_a_recipe_survives_its_zoo_s_settings(name):
    assert config.from_dict(FitRecipe, config.to_dict(FIT_RECIPES[name])) == FIT_RECIPES[name]


def bowl(size: int) -> np.ndarray:
    """A disc with a soft edge, (size, size) in [0, 1]."""
    row, column = np.mgrid[-1 : 1 : 1j * size, -1 : 1 : 1j * size]
    return 1 / (1 + np.exp(12 * (row**2 + column**2 - 0.4)))


@pytest.mark.parametrize("name", ["fast", "tiny", "fourier", "gaussian"])
def test_recipes_of_pictures_fit_a_picture(name):
    recipe = FIT_RECIPES[name]
    shade = torch.from_numpy(np.rint(255 * bowl(8)).astype(np.uint8))[None, None]
    start = initialise(recipe.spec(2, 1), [Key(0, 0, 0, 0)], recipe.scheme)
    _, error = engine.fit(start, recipe.pixels.coordinates((8, 8)), recipe.pixels.targets(shade), recipe.descent)
    assert float(recipe.pixels.psnr(error)) > 25


def test_sounds_and_volumes_in_three_lines(tmp_path: Path):
    """Floats are stored as they came, and drawn as they came but for the error of the fit."""
    time = np.linspace(0, 1, 200)
    sounds = np.stack([np.sin(2 * np.pi * (3 + k) * time) for k in range(4)]) * 0.7
    recipe = replace(FIT_RECIPES["audio"], hidden=(24, 24), omega=(60.0, 30.0), descent=Descent(150, 3e-3, decay=1.0))
    fit_zoo([ImageSet.from_arrays(sounds, keep_floats=True)], tmp_path / "sounds", recipe)
    zoo = Zoo.open(tmp_path / "sounds")
    assert (zoo.image_shape, zoo.settings["image_dtype"], zoo.spec.widths) == ((1, 200), "float32", (1, 24, 24, 1))
    stored = zoo.images(zoo.rows())
    assert torch.equal(stored, torch.from_numpy(sounds.astype(np.float32))[:, None])
    error = (render(zoo, zoo.rows()) - stored).square().mean(dim=(1, 2))
    assert torch.allclose(-10 * torch.log10(error / 4), torch.from_numpy(zoo.column("psnr")), atol=0.1)
    assert zoo.column("psnr").min() > 25

    solid = np.random.default_rng(0).random((3, 4, 5, 6)) > 0.5
    recipe = replace(FIT_RECIPES["grid"], hidden=(24, 24), descent=Descent(300, 5e-3, decay=1.0))
    fit_zoo([ImageSet.from_arrays(solid, num_axes=3)], tmp_path / "solids", recipe)
    zoo = Zoo.open(tmp_path / "solids")
    assert (zoo.image_shape, zoo.settings["image_dtype"]) == ((1, 4, 5, 6), "uint8")
    assert torch.equal(zoo.images(zoo.rows())[:, 0] == 255, torch.from_numpy(solid))
    assert ((render(zoo, zoo.rows())[:, 0] > 0).numpy() == solid).mean() > 0.95


def test_a_changed_activation_brings_its_own_omega_and_start():
    relu = changed(FIT_RECIPES["fast"], ["hidden=8,8,8", "activation=relu"])
    assert (relu.name, relu.hidden, relu.omega, relu.scheme) == ("fast (changed)", (8, 8, 8), (1.0,), "kaiming")
    assert changed(FIT_RECIPES["fast"], ["activation=gaussian", "omega=7,8"]).omega == (7.0, 8.0)
    assert changed(FIT_RECIPES["fast"], []) == FIT_RECIPES["fast"]
    with pytest.raises(InputError, match="unknown activation of a fit"):
        changed(FIT_RECIPES["fast"], ["activation=rleu"])


@pytest.mark.parametrize("dataset", DATASETS)
def test_every_data_set_has_a_usual_recipe(dataset):
    assert usual(dataset) in FIT_RECIPES
