"""`Weights`: a batch of networks of one spec, the currency of the whole house.

Shapes, stated once: `weights[l]` is (B, O, I), or (B, O, I, K) for a kernel of K taps, or (B, O) for the scale of a
norm;
`biases[l]` is (B, O), or None. Left (O) are a layer's target neurons, right (I) its source neurons. A layer whose
weight is tied to another's has a view of it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from weightwalk import evaluate, symmetry
from weightwalk.errors import InputError
from weightwalk.spec import NetworkSpec


@dataclass(frozen=True, eq=False)
class Weights:
    """B networks of one `spec`: `weights[l]` (B, O, I[, K]) and `biases[l]` (B, O) or None, one pair per layer.

    >>> spec = NetworkSpec.mlp([2, 8, 1])
    >>> len(Weights(spec, [torch.zeros(5, 8, 2), torch.zeros(5, 1, 8)], [torch.zeros(5, 8), torch.zeros(5, 1)]))
    5
    """

    spec: NetworkSpec
    weights: tuple[Tensor, ...]
    biases: tuple[Tensor | None, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "weights", tuple(self.weights))
        object.__setattr__(self, "biases", tuple(self.biases))
        layers = self.spec.layers
        if len(self.weights) != len(layers) or len(self.biases) != len(layers):
            raise InputError(
                f"{self.spec} has {len(layers)} layers, got {len(self.weights)} weights and {len(self.biases)} biases; "
                "give one of each per layer, None where a layer has no bias"
            )
        first = self.weights[0]
        for index, (layer, weight, bias) in enumerate(zip(layers, self.weights, self.biases, strict=True)):
            expected = (len(first), *layer.weight_shape)
            if tuple(weight.shape) != expected:
                raise InputError(f"weights[{index}] must be {expected} for {self.spec}, got {tuple(weight.shape)}")
            if (bias is not None) != layer.bias:
                raise InputError(f"biases[{index}] must {'be given' if layer.bias else 'be None'} for {self.spec}")
            if bias is not None and tuple(bias.shape) != (len(first), layer.fan_out):
                raise InputError(
                    f"biases[{index}] must be {(len(first), layer.fan_out)} for {self.spec}, got {tuple(bias.shape)}"
                )
            for tensor in (weight, bias):
                if tensor is not None and (tensor.dtype != first.dtype or tensor.device != first.device):
                    raise InputError(
                        f"layer {index} is {tensor.dtype} on {tensor.device}, weights[0] {first.dtype} on "
                        f"{first.device}; convert one"
                    )

    def __len__(self) -> int:
        return len(self.weights[0])

    def __getitem__(self, index: int | slice | Sequence[int] | Tensor) -> Weights:
        """A smaller batch; a single integer gives a batch of one."""
        if isinstance(index, int):
            index = [range(len(self))[index]]
        return self._map(lambda tensor: tensor[index])

    def _map(self, function: Any) -> Weights:
        return Weights(
            self.spec,
            tuple(map(function, self.weights)),
            tuple(None if bias is None else function(bias) for bias in self.biases),
        )

    @property
    def device(self) -> torch.device:
        return self.weights[0].device

    @property
    def dtype(self) -> torch.dtype:
        return self.weights[0].dtype

    def to(self, *args: Any, **kwargs: Any) -> Weights:
        """Every tensor through `Tensor.to`."""
        return self._map(lambda tensor: tensor.to(*args, **kwargs))

    def run(self, x: Tensor) -> Tensor:
        """Evaluate every network: examples (N, ...) or (B, N, ...) give (B, N, ...). See `weightwalk.evaluate.run`."""
        return evaluate.run(self.spec, self.weights, self.biases, x)

    def permute(self, permutations: Sequence[Tensor | None]) -> Weights:
        """Reorder hidden neurons, which leaves every network's function unchanged: see `symmetry.permutations`.

        There is a permutation per group of `symmetry.hidden_widths`; None leaves the group alone.
        """
        return Weights(self.spec, *symmetry.permuted(self.spec, self.weights, self.biases, permutations))

    @classmethod
    def cat(cls, batches: Sequence[Weights]) -> Weights:
        """One batch out of several of the same spec."""
        if not batches:
            raise InputError("expected at least one batch of networks, got none")
        first = batches[0]
        if any(batch.spec != first.spec for batch in batches):
            raise InputError(
                "only networks of one spec make a batch, got "
                f"{', '.join(sorted({str(batch.spec) for batch in batches}))}"
            )
        return cls.from_flat(first.spec, torch.cat([batch.flat() for batch in batches]))

    def flat(self) -> Tensor:
        """(B, num_parameters), in the order of `spec.fields`."""
        tensors = [self._tensor(field.layer, field.role) for field in self.spec.fields]
        return torch.cat([tensor.reshape(len(self), -1) for tensor in tensors], dim=1)

    def _tensor(self, layer: int, role: str) -> Tensor:
        tensor = self.weights[layer] if role == "weight" else self.biases[layer]
        assert tensor is not None
        return tensor

    @classmethod
    def from_flat(cls, spec: NetworkSpec, flat: Tensor) -> Weights:
        """The inverse of `flat`: views into (B, num_parameters)."""
        if flat.dim() != 2 or flat.shape[1] != spec.num_parameters:
            raise InputError(
                f"{spec} has {spec.num_parameters} parameters per network, got a tensor of shape {tuple(flat.shape)}"
            )
        weights: dict[int, Tensor] = {}
        biases: list[Tensor | None] = [None] * len(spec.layers)
        for layer, role, shape, start, stop in spec.fields:
            tensor = flat[:, start:stop].unflatten(1, shape)
            if role == "weight":
                weights[layer] = tensor
            else:
                biases[layer] = tensor
        return cls(spec, _with_ties(spec, weights), tuple(biases))

    def to_state_dict(self, index: int = 0) -> dict[str, Tensor]:
        """One network's tensors under the names `layers.L.weight` and `layers.L.bias`."""
        return {field.name: self._tensor(field.layer, field.role)[index].clone() for field in self.spec.fields}

    @classmethod
    def from_state_dicts(cls, spec: NetworkSpec, state_dicts: Sequence[Mapping[str, Tensor]]) -> Weights:
        """A batch out of state dicts under any names: layers are told apart by their prefixes, in natural order.

        A kernel may come as torch keeps it, (O, I, kh, kw). Errors name the network, the tensor and both shapes.
        """
        if not state_dicts:
            raise InputError("expected at least one state dict, got none")
        return cls.from_flat(
            spec, torch.stack([_flatten(spec, state, number) for number, state in enumerate(state_dicts)])
        )


def _with_ties(spec: NetworkSpec, weights: Mapping[int, Tensor]) -> tuple[Tensor, ...]:
    """A weight per layer: its own, or the transposed one of the layer that it is tied to."""
    return tuple(
        weights[index] if layer.tied is None else weights[layer.tied].transpose(1, 2)
        for index, layer in enumerate(spec.layers)
    )


def _natural(name: str) -> list[tuple[int, int | str]]:
    return [(0, int(part)) if part.isdigit() else (1, part) for part in re.split(r"(\d+)", name) if part]


def _flatten(spec: NetworkSpec, state: Mapping[str, Tensor], number: int) -> Tensor:
    tensors = {
        name: tensor for name, tensor in state.items() if isinstance(tensor, Tensor) and tensor.is_floating_point()
    }
    owners = [
        index for index, layer in enumerate(spec.layers) if layer.tied is None or layer.bias
    ]  # a tied weight is not there twice
    roles = ("weight",) if len(owners) == sum(layer.tied is None for layer in spec.layers) else ("weight", "bias")
    found = sorted({name.removesuffix(role) for name in tensors for role in roles if name.endswith(role)}, key=_natural)
    if len(found) != len(owners):
        raise InputError(
            f"network {number}: expected {len(owners)} weights for {spec}, got {len(found)} "
            f"({', '.join(tensors) or 'no tensors'})"
        )
    prefixes = dict(zip(owners, found, strict=True))
    parts = []
    for field in spec.fields:
        name = f"{prefixes[field.layer]}{field.role}"
        if name not in tensors:
            raise InputError(f"network {number}: {spec} needs a tensor {name!r}, got {', '.join(tensors)}")
        tensor = tensors[name]
        given = tuple(tensor.shape[:2]) + ((tensor.shape[2:].numel(),) if tensor.dim() > 2 else ())
        if given != field.shape:
            raise InputError(f"network {number}: {name} must be {field.shape} for {spec}, got {tuple(tensor.shape)}")
        parts.append(tensor.reshape(-1))
    unexpected = set(tensors) - {f"{prefixes[field.layer]}{field.role}" for field in spec.fields}
    if unexpected:
        raise InputError(f"network {number}: {spec} has no place for {', '.join(sorted(unexpected))}")
    return torch.cat(parts)
