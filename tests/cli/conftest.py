"""A tiny zoo and a tiny run, made through the command line once; and the command line itself."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from weightwalk.cli import app

SMALL = {
    "encoder.dim": 8,
    "encoder.num_frequencies": 4,
    "latents.theta_dim": 8,
    "latents.generator_dim": 8,
    "latents.latent_dim": 8,
    "latents.decoder_dim": 8,
    "head.hidden_dim": 8,
    "pretrain.steps": 6,
    "pretrain.eval_every": 3,
    "classify.steps": 6,
    "classify.eval_every": 3,
}


def _call(*arguments: object) -> Result:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


@pytest.fixture(scope="session")
def call() -> Callable[..., Result]:
    """Runs one command in this process; anything but an orderly exit is raised."""
    return _call


@pytest.fixture(scope="session")
def small_settings() -> list[str]:
    """What makes a run of a second out of `digits_inr2jls`."""
    return [f"{key}={value}" for key, value in SMALL.items()]


@pytest.fixture(scope="session")
def train_arguments() -> Callable[..., list[str]]:
    """The arguments of a run of a second, with some settings changed."""

    def arguments(zoo: Path, out: Path, recipe: str = "digits_inr2jls", **changes: Any) -> list[str]:
        settings = {**SMALL, **changes}
        if recipe.endswith("classify"):
            settings = {key: value for key, value in settings.items() if not key.startswith(("latents", "pretrain"))}
        sets = [part for key, value in settings.items() for part in ("--set", f"{key}={value}")]
        return ["train", recipe, "--zoo", str(zoo), "--out", str(out), *sets]

    return arguments


@pytest.fixture(scope="session")
def shared_zoo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """60 digits, one INR each; not to be changed."""
    path = tmp_path_factory.mktemp("cli") / "zoo"
    assert (
        _call(
            "fit", "digits", "--out", path, "--limit", 60, "--recipe", "tiny", "--init", "shared", "--quiet"
        ).exit_code
        == 0
    )
    return path


@pytest.fixture(scope="session")
def shared_run(shared_zoo: Path, train_arguments: Callable[..., list[str]]) -> Path:
    """A trained and evaluated run on that zoo; not to be changed."""
    path = shared_zoo.parent / "run"
    assert _call(*train_arguments(shared_zoo, path), "--quiet").exit_code == 0
    assert _call("evaluate", path, "--quiet").exit_code == 0
    return path


@pytest.fixture
def zoo(shared_zoo: Path, tmp_path: Path) -> Path:
    """A copy of the zoo."""
    return Path(shutil.copytree(shared_zoo, tmp_path / "zoo"))


@pytest.fixture
def run(shared_run: Path, tmp_path: Path) -> Path:
    """A copy of the run."""
    return Path(shutil.copytree(shared_run, tmp_path / "run"))
