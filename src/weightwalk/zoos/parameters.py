"""One network's tensors out of a file: .safetensors, or a .pt of tensors alone, from which no code is ever run."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from weightwalk.errors import InputError
from weightwalk.spec import NetworkSpec
from weightwalk.weights import Weights

SUFFIXES = (".safetensors", ".pt", ".pth")
_NESTS = ("state_dict", "model_state_dict", "model")


def read_tensors(path: Path, what: str) -> dict[str, Tensor]:
    """The tensors of a .safetensors; `what` names the file in the sentence that a missing or damaged one gets."""
    try:
        return load_file(path)
    except FileNotFoundError:
        raise InputError(f"expected {what} at {path}, found no such file; check the path") from None
    except (SafetensorError, OSError) as error:
        raise InputError(
            f"expected {what} at {path}, got a truncated or corrupt file ({error}); restore or re-make it"
        ) from None


def load_network(path: Path, spec: NetworkSpec) -> Weights:
    """The one network in `path`, float32: a state dict under any names, also one nested under `state_dict`.

    InputError for a file that is missing, damaged or holds code, for a network of another shape than `spec`, and for
    weights that are not finite.
    """
    path = Path(path)
    return to_network(read_state(path), spec, path).to(torch.float32)


def read_state(path: Path) -> Mapping[str, Any]:
    """The state dict in `path`, as it is: names to tensors, and whatever plain values were saved beside them."""
    if path.suffix not in SUFFIXES:
        raise InputError(f"expected the parameters of one network in a file {', '.join(SUFFIXES)}, got {path}")
    return read_tensors(path, "one network's parameters") if path.suffix == ".safetensors" else _unpickle(path)


def to_network(
    state: Mapping[str, Any], spec: NetworkSpec, path: Path | str, shape: str = "the expected shape"
) -> Weights:
    """A state dict out of `path` as one network, of the dtype that it has; InputError if it is not of `shape` (words)
    or not finite.
    """
    try:
        network = Weights.from_state_dicts(spec, [state])
    except InputError as error:
        raise InputError(f"{path} is not a network of {shape}: {str(error).removeprefix('network 0: ')}") from None
    check_finite(state, f"in {path}")
    return network


def check_finite(state: Mapping[str, Any], where: str) -> None:
    """InputError that names the first tensor of a state dict that is not finite; `where` says where it came from
    (words).
    """
    for name, tensor in state.items():
        if isinstance(tensor, Tensor) and not tensor.isfinite().all():
            raise InputError(
                f"expected finite weights {where}, but {name} holds NaN or infinity; train this network again"
            )


def _unpickle(path: Path) -> Mapping[str, Any]:
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise InputError(f"expected one network's parameters at {path}, found no such file; check the path") from None
    except Exception as error:  # a damaged pickle may raise anything
        code = re.search(r"GLOBAL (\S+)", str(error))
        if code:
            raise InputError(
                f"expected tensors alone in {path}, got a pickle that would call {code[1]}, which was not run; "
                "save it with torch.save(net.state_dict())"
            ) from None
        raise InputError(
            f"expected one network's parameters at {path}, got a file that torch.load cannot read "
            f"({type(error).__name__}); save it again"
        ) from None
    for nest in _NESTS:
        if isinstance(content, Mapping) and isinstance(content.get(nest), Mapping):
            content = content[nest]
    if not isinstance(content, Mapping) or not all(isinstance(name, str) for name in content):
        raise InputError(
            f"expected a state dict in {path}, got {type(content).__name__}; save it with torch.save(net.state_dict())"
        )
    return content
