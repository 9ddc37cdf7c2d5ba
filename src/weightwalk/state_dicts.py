"""Which tensor of a state dict is which layer's, whatever its names are.

A layer is recognised by the shapes of its weight and bias as torch keeps them. Where several layers have the same
shapes, their order decides: that of the numbers in their names (`net.2` before `net.10`), or that of the state dict.
Where neither is known, or the two contradict one another, the state dict is refused: it would be read wrongly.
"""

from __future__ import annotations

import re
from collections import OrderedDict, defaultdict
from collections.abc import Mapping, Sequence
from functools import lru_cache
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor
from torch.nn.parameter import UninitializedBuffer, UninitializedParameter

from weightwalk.errors import InputError
from weightwalk.spec import NetworkSpec
from weightwalk.steps import Conv, Dense, Embed, Layer

DTYPES = (torch.float32, torch.float64, torch.float16, torch.bfloat16)
"""Of the parameters that are read."""

_ROLES = ("weight", "bias")
_STATISTICS = ("running_mean", "running_var")
_MODULE = "give its module with --module PACKAGE.MODULE:FUNCTION"
_Shape = tuple[int, ...]


def flatten(spec: NetworkSpec, state: Mapping[str, Any]) -> Tensor:
    """The parameters (P,) of the one network of `spec` in a state dict: kernels, tables and flattened positions lie as
    in torch's modules. InputError that names the tensor and both shapes.
    """
    tensors = real_tensors(state)
    shapes = tuple((name, tuple(tensor.shape)) for name, tensor in tensors.items())
    names = _names(spec, shapes, _is_ordered(state, tensors))
    device = tensors[names[0]].device
    parts = [from_torch(spec.layers[f.layer], f.role, tensors[n]) for f, n in zip(spec.fields, names, strict=True)]
    return torch.cat([part.reshape(-1).to(device) for part in parts])


def real_tensors(state: Mapping[str, Any]) -> dict[str, Tensor]:
    """The tensors of real numbers in a state dict. Whole numbers that are no weights (counters) are left out;
    InputError for weights that are none of `DTYPES`, or that have no values.
    """
    found: dict[str, Tensor] = {}
    strange = [name for name in state if not (isinstance(name, str) and name.isprintable())]
    if strange:
        raise InputError(f"expected the names of tensors in a state dict, got {strange[0]!r}")
    for name, tensor in state.items():
        if not isinstance(tensor, Tensor) or (reason := unreadable(tensor)) is None:
            found |= {name: tensor} if isinstance(tensor, Tensor) else {}
        elif tensor.dtype not in (torch.int64, torch.int32, torch.bool, torch.uint8) or name.endswith(_ROLES):
            raise InputError(f"expected real numbers of 16 to 64 bits in {name}, {reason}")
    return found


def unreadable(tensor: Tensor) -> str | None:
    """Why a tensor cannot be read as parameters, as the rest of a sentence."""
    kind = str(tensor.dtype).removeprefix("torch.")
    if isinstance(tensor, (UninitializedBuffer, UninitializedParameter)):
        return "got a parameter of a lazy module without values; run the module once, then save it"
    if tensor.is_meta:
        return "got a tensor without values (on the meta device); load the weights, then save them"
    if tensor.is_quantized or tensor.dtype not in DTYPES:
        return f"got {kind}; save the network with `.float()`, before anything is quantised"
    if tensor.layout != torch.strided or tensor.is_nested:
        return "got a sparse or nested tensor; save it with `.to_dense()`"
    return None


def _is_ordered(state: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> bool:
    """Whether the order of a mapping tells that of the layers: not where its names were sorted, as .safetensors are."""
    if isinstance(state, OrderedDict):
        return True
    of_dtype: defaultdict[torch.dtype, list[str]] = defaultdict(list)
    for name, tensor in tensors.items():
        of_dtype[tensor.dtype].append(name)
    return any(names != sorted(names) for names in of_dtype.values())


def torch_shape(layer: Layer, role: str) -> _Shape:
    """The shape in which torch's module of a layer keeps its weight or bias."""
    shape = layer.weight_shape if role == "weight" else (layer.fan_out,)
    if role == "weight" and isinstance(layer, Conv):
        shape = (layer.fan_out, layer.fan_in // layer.groups, *layer.kernel)
        return (layer.fan_in, layer.fan_out // layer.groups, *layer.kernel) if layer.transposed else shape
    if role == "weight" and isinstance(layer, Dense):
        return layer.fan_out, layer.fan_in * layer.positions
    return shape[::-1] if role == "weight" and isinstance(layer, Embed) else shape


def from_torch(layer: Layer, role: str, tensor: Tensor) -> Tensor:
    """A tensor of `torch_shape` as `Weights` has it."""
    if role == "bias":
        return tensor
    if isinstance(layer, Embed):
        return tensor.T
    if isinstance(layer, Conv) and layer.transposed:  # (I, O / G, K) -> (O, I / G, K)
        tensor = tensor.unflatten(0, (layer.groups, -1)).transpose(1, 2)
    return tensor.reshape(layer.weight_shape)


def to_torch(layer: Layer, role: str, tensor: Tensor) -> Tensor:
    """The inverse of `from_torch`."""
    if role == "weight" and isinstance(layer, Embed):
        return tensor.T
    if role == "weight" and isinstance(layer, Conv) and layer.transposed:
        tensor = tensor.unflatten(0, (layer.groups, -1)).transpose(1, 2)
    return tensor.reshape(torch_shape(layer, role))


@lru_cache(256)
def _names(spec: NetworkSpec, shapes: tuple[tuple[str, _Shape], ...], is_ordered: bool) -> tuple[str, ...]:
    """The name of the tensor of each of `spec.fields`."""
    given = dict(shapes)
    wanted = {field.name: torch_shape(spec.layers[field.layer], field.role) for field in spec.fields}
    if wanted == given:
        return tuple(wanted)
    if any(name.endswith(_STATISTICS) for name in given):
        raise InputError(
            f"{next(name for name in given if name.endswith(_STATISTICS))} belongs to a batch norm, whose running "
            f"statistics only its module can fold into a scale and a shift; {_MODULE}"
        )
    layers: dict[int, dict[str, _Shape]] = {}  # per layer with parameters of its own: their shapes by role
    for field in spec.fields:
        layers.setdefault(field.layer, {})[field.role] = wanted[field.name]
    found: dict[str, dict[str, _Shape]] = {}  # the same per prefix
    strays = []
    for name, shape in given.items():
        prefix, dot, role = name.rpartition(".")
        if role in _ROLES:
            found.setdefault(prefix + dot, {})[role] = shape
        else:
            strays.append(name)
    if len(found) != len(layers):
        raise InputError(
            f"expected {len(layers)} weights for {spec}, got {len(found)} ({', '.join(given) or 'no tensors'})"
        )
    if strays:
        raise InputError(f"{spec} has no place for {', '.join(sorted(strays))}")
    prefixes = _by_shape(spec, layers, found, is_ordered)
    return tuple(f"{prefixes[field.layer]}{field.role}" for field in spec.fields)


def _by_shape(
    spec: NetworkSpec,
    layers: Mapping[int, Mapping[str, _Shape]],
    found: Mapping[str, Mapping[str, _Shape]],
    is_ordered: bool,
) -> dict[int, str]:
    """The prefix of each layer's names; those of equal shapes in their order."""
    alike: dict[Any, tuple[list[int], list[str]]] = {}
    for number, shapes in layers.items():
        alike.setdefault(tuple(sorted(shapes.items())), ([], []))[0].append(number)
    for prefix, shapes in found.items():
        alike.setdefault(tuple(sorted(shapes.items())), ([], []))[1].append(prefix)
    if any(len(numbers) != len(prefixes) for numbers, prefixes in alike.values()):
        raise InputError(_mismatch(spec, layers, found))
    chosen: dict[int, str] = {}
    for numbers, prefixes in alike.values():
        chosen |= dict(zip(numbers, _in_order(prefixes, is_ordered), strict=True))
    return chosen


def _in_order(prefixes: list[str], is_ordered: bool) -> list[str]:
    """Layers of equal shapes in the order of the network."""
    numbered = sorted(prefixes, key=_natural)
    trusted = all(_differ_by_number(one, two) for one, two in pairwise(numbered))
    if len(prefixes) == 1 or (trusted and (not is_ordered or numbered == prefixes)):
        return numbered
    names = ", ".join(prefix.removesuffix(".") for prefix in prefixes)
    if trusted:
        raise InputError(f"{names} have the same shapes, and their numbers contradict their order; {_MODULE}")
    if not is_ordered:
        raise InputError(
            f"{names} have the same shapes, and nothing tells their order; save the state dict with torch.save, which "
            f"keeps it, number the layers' names, or {_MODULE}"
        )
    return prefixes


def _mismatch(
    spec: NetworkSpec, layers: Mapping[int, Mapping[str, _Shape]], found: Mapping[str, Mapping[str, _Shape]]
) -> str:
    """What is wrong, layers taken in natural order."""
    for (number, shapes), prefix in zip(layers.items(), sorted(found, key=_natural), strict=True):
        for role, shape in shapes.items():
            if role not in found[prefix]:
                return f"{spec} needs a tensor '{prefix}{role}', got {', '.join(_all_names(found))}"
            if found[prefix][role] != shape:
                return f"{prefix}{role} must be {shape} for layer {number} of {spec}, got {found[prefix][role]}"
        if more := [f"{prefix}{role}" for role in found[prefix] if role not in shapes]:
            return f"{spec} has no place for {', '.join(more)}"
    raise AssertionError


def _all_names(found: Mapping[str, Mapping[str, _Shape]]) -> Sequence[str]:
    return [f"{prefix}{role}" for prefix, roles in found.items() for role in roles]


def _natural(name: str) -> list[tuple[int, int | str]]:
    return [(0, int(part)) if part.isdecimal() else (1, part) for part in re.split(r"(\d+)", name) if part]


def _differ_by_number(one: str, two: str) -> bool:
    """Whether the first thing in which two names differ is a number."""
    pairs = zip(_natural(one), _natural(two), strict=False)
    return next((a[0] == b[0] == 0 for a, b in pairs if a != b), False)
