"""Networks out of files: .safetensors, or .pt, .pth, .ckpt and .bin of torch.save, from which no code is ever run."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from weightwalk.errors import InputError
from weightwalk.files import check_encodable
from weightwalk.networks.trace import Tracing
from weightwalk.spec import NetworkSpec
from weightwalk.state_dicts import real_tensors
from weightwalk.weights import Weights

SUFFIXES = (".safetensors", ".pt", ".pth", ".ckpt", ".bin")
_NESTS = ("state_dict", "model_state_dict", "model", "net")
_FLOAT = torch.finfo(torch.float32).max


def load_network(path: Path, architecture: NetworkSpec | ModuleFactory) -> Weights:
    """The one network in `path`, float32: a state dict under any names, also one that is nested.

    InputError: the file is missing, damaged or holds code, the network is of another kind, or weights are not finite.
    """
    state = read_state(Path(path))
    if isinstance(architecture, ModuleFactory):
        return architecture.network(state, str(path))
    return to_network(state, architecture, str(path))


def to_network(state: Mapping[str, Any], spec: NetworkSpec, where: str, shape: str = "the expected shape") -> Weights:
    """A state dict as one network, float32; `where` it comes from and its `shape` are words for an InputError."""
    try:
        network = Weights.from_state_dicts(spec, [state]).to(torch.float32)
    except InputError as error:
        raise InputError(f"{where} is not a network of {shape}: {str(error).removeprefix('network 0: ')}") from None
    return _finite(network, state, where)


def _finite(network: Weights, state: Mapping[str, Any], where: str) -> Weights:
    if not network.flat.isfinite().all():
        check_finite(state, f"in {where}")
        raise InputError(f"expected finite weights in {where}, got products of them beyond float32; train it again")
    return network


def check_finite(state: Mapping[str, Any], where: str) -> None:
    """InputError that names the first tensor of a state dict that is not real or not finite in float32."""
    try:
        tensors = real_tensors(state)
    except InputError as error:
        raise InputError(f"{error} ({where})") from None
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and not tensor.to(torch.float32).isfinite().all():
            large = f"numbers beyond {_FLOAT:.1e}, the largest of float32"
            told = large if tensor.isfinite().all() else "NaN or infinity"
            raise InputError(f"expected finite weights {where}, but {name} holds {told}; train this network again")


class ModuleFactory:
    """Reads state dicts of one module, which is captured once: `example` is an input of it, as `trace` takes it.

    The module takes the parameters of what was read last.
    """

    def __init__(self, module: nn.Module, example: Tensor):
        self.tracing = Tracing(module, example)
        self.module = self.tracing.module
        self.own = _cleaned(self.module.state_dict())

    def network(self, state: Mapping[str, Any], where: str) -> Weights:
        """The network, float32, that the module is with a state dict; `where` it came from is for an InputError."""
        check_finite(state, f"in {where}")
        given = _cleaned({name: value for name, value in state.items() if isinstance(value, Tensor)})
        if given.keys() != self.own.keys():
            missing, unexpected = self.own.keys() - given.keys(), given.keys() - self.own.keys()
            raise InputError(
                f"{where} is not of the module {type(self.module).__name__}: it lacks {_listed(missing)}, and the "
                f"module has no {_listed(unexpected)}"
            )
        for name, (_, tensor) in self.own.items():
            if given[name][1].shape != tensor.shape:
                raise InputError(
                    f"{where} is not of the module {type(self.module).__name__}: {given[name][0]} must be "
                    f"{tuple(tensor.shape)}, got {tuple(given[name][1].shape)}"
                )
        try:
            self.module.load_state_dict({own: given[name][1] for name, (own, _) in self.own.items()})
            network = self.tracing.read()[1].to(torch.float32)
        except Exception as error:  # whatever other people's modules raise
            told = error if isinstance(error, InputError) else f"{type(error).__name__}: {str(error).splitlines()[0]}"
            raise InputError(f"{where}: {told}") from None
        return _finite(network, state, where)


def _cleaned(state: Mapping[str, Tensor]) -> dict[str, tuple[str, Tensor]]:
    """Names without what wrappers put before them (`module.`, `_orig_mod.`, `net.`) -> (name, tensor)."""
    names = {name: name.replace("_orig_mod.", "").split(".") for name in state}
    while len({parts[0] for parts in names.values()}) == 1 and all(len(parts) > 1 for parts in names.values()):
        names = {name: parts[1:] for name, parts in names.items()}
    return {".".join(parts): (name, state[name]) for name, parts in names.items()}


def _listed(names: Iterable[str], most: int = 4) -> str:
    found = sorted(names)
    return ", ".join(found[:most]) + (f" and {len(found) - most} more" if len(found) > most else "") or "nothing"


def read_state(path: Path) -> Mapping[str, Any]:
    """The state dict in `path`, as it is: names to tensors, and whatever plain values were saved beside them.

    The mapping has the order of the file; that of a .safetensors is sorted by name and tells nothing.
    """
    if path.suffix not in SUFFIXES:
        raise InputError(f"expected the parameters of one network in a file {', '.join(SUFFIXES)}, got {path}")
    if path.suffix == ".safetensors":
        return dict(sorted(read_tensors(path, "one network's parameters").items()))
    content = unpickled(path, "one network's parameters", inert=path.suffix == ".ckpt")
    while isinstance(content, Mapping):
        nested = [name for name in _NESTS if isinstance(content.get(name), Mapping)]
        if not nested:
            break
        if len(nested) > 1:
            raise InputError(f"expected one state dict in {path}, got several ({', '.join(nested)}); save one of them")
        content = content[nested[0]]
    if not isinstance(content, Mapping) or not all(isinstance(name, str) for name in content):
        raise InputError(
            f"expected a state dict in {path}, got {type(content).__name__}; save it with torch.save(net.state_dict())"
        )
    return content


def read_tensors(path: Path, what: str) -> dict[str, Tensor]:
    """The tensors of a .safetensors; `what` names the file in the sentence that a missing or damaged one gets."""
    check_encodable(path)
    try:
        return load_file(path)
    except FileNotFoundError:
        raise InputError(f"expected {what} at {path}, found no such file; check the path") from None
    except Exception as error:  # a damaged file may raise anything
        raise InputError(
            f"expected {what} at {path}, got a truncated or corrupt file ({error}); restore or re-make it"
        ) from None


class Inert:
    """Stands in for an object of any class, or for a function's result, and only keeps what it is given."""

    def __init__(self, *arguments: Any, **options: Any):
        self.state: Any = None

    def __setstate__(self, state: Any) -> None:
        self.state = state


def unpickled(path: Path, what: str, inert: bool = False) -> Any:
    """What a file of torch.save holds: tensors and plain values, and nothing of it is run.

    Other objects are an InputError, or with `inert` replaced by `Inert` ones.
    """
    try:
        names = torch.serialization.get_unsafe_globals_in_checkpoint(path) if inert else []
        stand_ins: list[Any] = [(type("Inert", (Inert,), {}), name) for name in names]
        with torch.serialization.safe_globals(stand_ins):
            return torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise InputError(f"expected {what} at {path}, found no such file; check the path") from None
    except Exception as error:  # a damaged pickle may raise anything, and torch advises to trust it
        code = re.search(r"GLOBAL (\S+)", str(error))
        if code and "Uninitialized" in code[1]:
            raise InputError(f"{path} is of a lazy module without values; run the module once, then save it") from None
        if code:
            raise InputError(
                f"expected tensors alone in {path}, got a pickle that would call {code[1]}, which was not run; "
                "save it with torch.save(net.state_dict())"
            ) from None
        raise InputError(
            f"expected {what} at {path}, got a file that torch.load cannot read ({type(error).__name__}); save it again"
        ) from None
