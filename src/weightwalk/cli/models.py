"""What a user may give for a network: PACKAGE.MODULE:FUNCTION, a zoo's folder, a spec as JSON. Imported inside commands."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from weightwalk import files
from weightwalk.errors import InputError

if TYPE_CHECKING:
    from torch import nn

    from weightwalk.spec import NetworkSpec
    from weightwalk.weights import Weights
    from weightwalk.zoos.store import Zoo
    from weightwalk.zoos.trained.store import TrainedZoo

_SIDE, _TOKENS = 32, 8  # of the example for a module that comes alone


def is_function(text: str) -> bool:
    """Whether `text` is PACKAGE.MODULE:FUNCTION rather than a path."""
    module, colon, name = text.rpartition(":")
    return bool(colon) and name.isidentifier() and all(part.isidentifier() for part in module.split("."))


def traced(text: str) -> tuple[NetworkSpec, Weights]:
    """The network that PACKAGE.MODULE:FUNCTION makes: a module and an example of its input, or a module alone.

    The folder that the command runs in is searched first. A module alone is traced on zeros: as many numbers, pictures of 32 positions a
    side or 8 tokens as its first layer reads. InputError for what cannot be imported or read, and for weights that are not finite.
    """
    from torch import nn

    from weightwalk.networks.trace import trace

    module_name, _, name = text.rpartition(":")
    with _here():
        try:
            made = getattr(importlib.import_module(module_name), name)
        except (ImportError, AttributeError) as error:
            raise InputError(f"expected PACKAGE.MODULE:FUNCTION of something that can be imported, got {text} ({error})") from None
        made = made if isinstance(made, nn.Module) or not callable(made) else made()
    module, example = made if isinstance(made, tuple) and len(made) == 2 else (made, None)
    if not isinstance(module, nn.Module):
        raise InputError(f"expected a torch.nn.Module, or one and an example of its input, from {text}, got {type(module).__name__}")
    for tensor_name, tensor in module.state_dict().items():
        if tensor.is_floating_point() and not tensor.isfinite().all():
            raise InputError(f"expected finite weights from {text}, but {tensor_name} holds NaN or infinity; train this network again")
    return trace(module, _example(module, text) if example is None else example)


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
    raise InputError(f"expected a module with a first layer that says what it reads from {text}; return (module, example_input)")


@contextmanager
def _here() -> Iterator[None]:
    """Modules of the folder that the command runs in can be imported."""
    sys.path.insert(0, str(Path.cwd()))
    try:
        yield
    finally:
        sys.path.remove(str(Path.cwd()))


def open_any_zoo(path: Path) -> Zoo | TrainedZoo:
    """A zoo of INRs or of trained networks, whichever it is."""
    from weightwalk.zoos import listing
    from weightwalk.zoos.store import Zoo
    from weightwalk.zoos.trained.store import TrainedZoo

    value = files.read_json(path / listing.FILE, "a zoo's manifest")
    is_trained = isinstance(value, dict) and value.get("contents") == listing.TRAINED
    return TrainedZoo.open(path) if is_trained else Zoo.open(path)


def spec_of(text: str, run: int | None = None) -> NetworkSpec:
    """The architecture of a network by function, of a zoo (that of one `run` where it has several), or in a JSON file."""
    from weightwalk.spec import NetworkSpec
    from weightwalk.zoos.store import Zoo

    if is_function(text):
        return traced(text)[0]
    path = Path(text)
    if not path.is_dir():
        if path.suffix != ".json":
            raise InputError(f"expected a zoo's folder, a spec .json or PACKAGE.MODULE:FUNCTION, got {text}")
        value = files.read_json(path, "a network's spec")
        return NetworkSpec.from_dict(value)
    zoo = open_any_zoo(path)
    if isinstance(zoo, Zoo):
        return zoo.spec
    if not zoo.runs:
        raise InputError(f"expected networks in the zoo {path}, found none yet")
    return zoo.info(zoo.runs[0] if run is None else run).spec
