"""A model, and if wanted its optimizer, with metadata in one safetensors file: whole or absent, and no pickle.

Tensors are called `model.NAME`, as in the state dict, and `optimizer.KEY.NAME` after the parameter that they belong to
(for Adam: `step`, `exp_avg`, `exp_avg_sq`). The header's one entry of text is a SHA-256 over everything else and the
metadata as JSON. (One entry, because safetensors writes several in random order, and equal states shall be equal
files.)
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as serialize
from torch import Tensor, nn

from weightwalk.errors import InputError
from weightwalk.files import check_encodable, write_bytes

FORMAT = 1
_ENTRY = "weightwalk"


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """What a file holds, verified: its tensors on the CPU and its metadata."""

    path: Path
    tensors: dict[str, Tensor]
    metadata: dict[str, Any]

    def restore(self, model: nn.Module, optimizer: torch.optim.Optimizer | None = None) -> None:
        """Copy the state into `model` and `optimizer`, on whatever device they are.

        Raises InputError with the first tensor that does not fit, before anything is changed.
        """
        saved, wanted = self._part("model."), model.state_dict()
        for name in [*wanted, *(name for name in saved if name not in wanted)]:
            found, expected = _describe(saved.get(name)), _describe(wanted.get(name))
            if found != expected:
                raise InputError(
                    f"{self.path} does not fit the model: {name} is {found} in the file and {expected} in the model; "
                    "build the model with the settings that the file was made with"
                )
        states = {} if optimizer is None else self._optimizer_states(model, optimizer)
        model.load_state_dict(saved)
        if optimizer is not None:
            optimizer.state.clear()
            optimizer.state.update(states)

    def _part(self, prefix: str) -> dict[str, Tensor]:
        return {name.removeprefix(prefix): tensor for name, tensor in self.tensors.items() if name.startswith(prefix)}

    def _optimizer_states(self, model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[Tensor, dict[str, Tensor]]:
        """Per parameter its tensors, laid out in memory as torch would have made them."""
        parameters = _trained(model, optimizer)
        states: dict[Tensor, dict[str, Tensor]] = {}
        for full_name, tensor in self._part("optimizer.").items():
            key, _, name = full_name.partition(".")
            if name not in parameters:
                raise InputError(
                    f"{self.path} does not fit the training: {name} was trained and is not now; train the same "
                    "parameters"
                )
            parameter = parameters[name]
            like = (
                torch.empty_like(parameter)
                if tensor.shape == parameter.shape and key != "step"
                else torch.empty_like(tensor)
            )
            states.setdefault(parameter, {})[key] = like.copy_(tensor)
        return states


def _trained(model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, nn.Parameter]:
    owned = {id(parameter) for group in optimizer.param_groups for parameter in group["params"]}
    return {name: parameter for name, parameter in model.named_parameters() if id(parameter) in owned}


def _describe(tensor: Tensor | None) -> str:
    return "absent" if tensor is None else f"{tuple(tensor.shape)} {str(tensor.dtype).removeprefix('torch.')}"


def save(
    path: Path, metadata: Mapping[str, Any], model: nn.Module, optimizer: torch.optim.Optimizer | None = None
) -> None:
    """Write the state of `model` (and of `optimizer`) with `metadata` (JSON values) to `path`, whole or not at all.

    Every dtype is kept; tensors that share memory are written out each, and are tied again by the model that they are
    restored into.
    """
    tensors: dict[str, Tensor] = {f"model.{name}": tensor for name, tensor in model.state_dict().items()}
    if optimizer is not None:
        for name, parameter in _trained(model, optimizer).items():
            tensors |= {f"optimizer.{key}.{name}": tensor for key, tensor in optimizer.state.get(parameter, {}).items()}
    tensors = {
        name: tensor.detach().to("cpu", copy=True, memory_format=torch.contiguous_format)
        for name, tensor in tensors.items()
    }
    text = json.dumps({"format": FORMAT, "metadata": metadata})
    write_bytes(Path(path), serialize(tensors, {_ENTRY: f"{_digest(tensors, text)} {text}"}))


def load(path: Path) -> Checkpoint:
    """Read and verify `path`; a file that is missing, foreign, damaged or of a newer format is an InputError."""
    path = Path(path)
    check_encodable(path)
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118 (not a mapping)
            entry = (file.metadata() or {}).get(_ENTRY)
    except FileNotFoundError:
        raise InputError(
            f"expected a checkpoint at {path}, found no such file; check the path, or train first"
        ) from None
    except (SafetensorError, OSError) as error:
        raise _damaged(path, str(error)) from None
    if entry is None:
        raise InputError(
            f"expected a checkpoint at {path}, got a safetensors file that weightwalk did not write; give another path"
        )
    digest, _, text = entry.partition(" ")
    if digest != _digest(tensors, text):
        raise _damaged(path, "its content is not what was written")
    content = json.loads(text)
    if content["format"] != FORMAT:
        raise InputError(
            f"{path} has format {content['format']}, expected {FORMAT}; read it with the version of weightwalk that "
            "wrote it"
        )
    return Checkpoint(path, tensors, content["metadata"])


def _damaged(path: Path, reason: str) -> InputError:
    return InputError(
        f"expected a whole checkpoint at {path}, got a damaged one ({reason}); restore it from a copy, or delete it "
        "and train again"
    )


def _digest(tensors: Mapping[str, Tensor], text: str) -> str:
    """SHA-256 over the text and over every tensor's name, type, shape and bytes."""
    digest = hashlib.sha256(text.encode())
    for name, tensor in sorted(tensors.items()):
        digest.update(f"\n{name} {_describe(tensor)}\n".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
