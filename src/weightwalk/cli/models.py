"""What a user may give for a network: PACKAGE.MODULE:FUNCTION, a zoo's folder, a spec as JSON."""

from __future__ import annotations

import importlib
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from weightwalk import files
from weightwalk.errors import InputError

if TYPE_CHECKING:
    from torch import nn

    from weightwalk.networks.files import ModuleFactory
    from weightwalk.spec import NetworkSpec
    from weightwalk.weights import Weights

_SIDE, _TOKENS = 32, 8  # of the example for a module that comes alone


def is_function(text: str) -> bool:
    """Whether `text` is PACKAGE.MODULE:FUNCTION rather than a path."""
    module, colon, name = text.rpartition(":")
    return bool(colon) and name.isidentifier() and all(part.isidentifier() for part in module.split("."))


def traced(text: str) -> tuple[NetworkSpec, Weights]:
    """The network that PACKAGE.MODULE:FUNCTION makes: a module and an example of its input, or a module alone.

    The folder that the command runs in is searched first. A module alone is traced on zeros: as many numbers, pictures
    of 32 positions a side or 8 tokens as its first layer reads. InputError for what cannot be imported or read, and for
    weights that are not finite.
    """
    from weightwalk.networks.files import check_finite
    from weightwalk.networks.trace import trace

    module, example = _module(text)
    check_finite(module.state_dict(), f"from {text}")
    with _named(text):
        return trace(module, example)


def factory(text: str) -> ModuleFactory:
    """What reads files with the parameters of the module that PACKAGE.MODULE:FUNCTION makes, as `traced` does."""
    from weightwalk.networks.files import ModuleFactory

    module, example = _module(text)
    with _named(text):
        return ModuleFactory(module, example)


@contextmanager
def _named(text: str) -> Iterator[None]:
    """An InputError begins with whose network it was; so does what becomes of an attempt to end the program."""
    try:
        yield
    except InputError as error:
        raise InputError(f"{text}: {error}") from None
    except (SystemExit, KeyboardInterrupt) as error:
        raise InputError(f"{text}: its forward pass ends the program ({type(error).__name__})") from None


def _module(text: str) -> tuple[nn.Module, Any]:
    """What PACKAGE.MODULE:FUNCTION makes, and an example of its input."""
    from torch import nn

    made = _made(text)
    module, example = made if isinstance(made, tuple) and len(made) == 2 else (made, None)
    if not isinstance(module, nn.Module):
        raise InputError(
            f"expected a torch.nn.Module, or one and an example of its input, from {text}, got {type(module).__name__}"
        )
    return module, _example(module, text) if example is None else example


def _made(text: str) -> Any:
    """What the function answers, or the module of that name; whatever the user's code raises becomes one sentence."""
    from torch import nn

    module_name, _, name = text.rpartition(":")
    with _here():
        try:
            found = getattr(importlib.import_module(module_name), name)
            return found if isinstance(found, nn.Module) or not callable(found) else found()
        except (Exception, SystemExit, KeyboardInterrupt) as error:
            at = traceback.extract_tb(error.__traceback__)[-1]
            where = (
                ""
                if at.filename.startswith("<frozen") or at.filename == __file__
                else f", {Path(at.filename).name}:{at.lineno}"
            )
            told = f"{type(error).__name__}: {error}{where}"
            raise InputError(
                f"expected PACKAGE.MODULE:FUNCTION of what can be called without arguments, got {text} ({told})"
            ) from None


def _example(module: nn.Module, text: str) -> Any:
    import torch
    from torch import nn

    for layer in module.modules():
        if isinstance(layer, nn.Linear):
            return torch.zeros(1, layer.in_features)
        if isinstance(layer, nn.Conv1d | nn.Conv2d | nn.Conv3d):
            return torch.zeros(1, layer.in_channels, *[_SIDE] * len(layer.kernel_size))
        if isinstance(layer, nn.Embedding):
            return torch.zeros(1, _TOKENS, dtype=torch.int64)
    raise InputError(
        f"expected a module with a first layer that says what it reads from {text}; return (module, example_input)"
    )


@contextmanager
def _here() -> Iterator[None]:
    """Modules of the folder that the command runs in can be imported."""
    sys.path.insert(0, str(Path.cwd()))
    try:
        yield
    finally:
        sys.path.remove(str(Path.cwd()))


def spec_of(text: str, run: int | None = None) -> NetworkSpec:
    """The architecture of a network by function, of a zoo (that of one `run` where it has several), or in a JSON file:
    a spec, or all that
    `weightwalk graph --json` wrote.
    """
    from weightwalk.spec import NetworkSpec
    from weightwalk.zoos.store import Zoo

    path = Path(text)
    zoo = Zoo.open(path) if path.is_dir() and not is_function(text) else None
    if zoo is not None and zoo.sources is None:
        if not len(zoo.group_numbers):
            raise InputError(f"expected networks in the zoo {path}, found none yet")
        return zoo.spec_of(int(zoo.group_numbers[0]) if run is None else run)
    if run is not None:
        raise InputError(f"--run chooses among the runs of a zoo of trained networks, but {text} is none; leave it out")
    if zoo is not None:
        return zoo.spec
    if is_function(text):
        return traced(text)[0]
    if path.suffix != ".json":
        beside = (
            ", for a state dict does not say its architecture" if path.suffix in (".pt", ".pth", ".safetensors") else ""
        )
        raise InputError(f"expected a zoo's folder, a spec .json or PACKAGE.MODULE:FUNCTION, got {text}{beside}")
    value = files.read_json(path, "a network's spec")
    return NetworkSpec.from_dict(value["spec"] if isinstance(value, dict) and "spec" in value else value)
