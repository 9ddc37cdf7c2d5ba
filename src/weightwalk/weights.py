"""`Weights`: a batch of networks of one spec, the currency of the whole house.

Shapes, stated once: `flat` is (B, P), all parameters in the order of `spec.fields`; `weights[l]` is (B, O, I), or
(B, O, I, K) for a kernel of K taps, or (B, O) for the scale of a norm; `biases[l]` is (B, O), or None. These are views
of `flat`: what changes one changes the other. Left (O) are a layer's target neurons, right (I) its source neurons.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree
from torch.utils.data._utils.collate import default_collate_fn_map

from weightwalk import evaluate, symmetry
from weightwalk.errors import InputError
from weightwalk.spec import Field, NetworkSpec, spec_of_text, text_of_spec
from weightwalk.state_dicts import DTYPES, flatten, to_torch


@dataclass(frozen=True, eq=False, repr=False)
class Weights:
    """B networks of one `spec`, one tensor `flat` (B, P) with views `weights[l]` and `biases[l]` per layer.

    A pytree with `flat` as its one leaf: torch.func, torch.export and `tree_map` see through it. Inside
    `torch.func.vmap` over networks `flat` is (P,), and views and `run` have no axis of networks either; `weights[None]`
    puts it back, for what reads batches.

    >>> Weights(NetworkSpec.mlp([2, 8, 1]), torch.zeros(5, 33))
    Weights(5 networks of MLP 2-8-1 (sine), float32 on cpu)
    """

    spec: NetworkSpec
    flat: Tensor

    def __post_init__(self) -> None:
        flat, wanted = self.flat, self.spec.num_parameters
        if not isinstance(flat, Tensor) or flat.dim() != 2 or flat.shape[1] != wanted or flat.dtype not in DTYPES:
            got = f"{flat.dtype} {tuple(flat.shape)}" if isinstance(flat, Tensor) else type(flat).__name__
            raise InputError(
                f"expected real numbers (B, {wanted}), {self.spec} has {wanted} parameters per network, got {got}; "
                "`Weights.of` takes tensors per layer"
            )

    @classmethod
    def of(cls, spec: NetworkSpec, weights: Sequence[Tensor], biases: Sequence[Tensor | None]) -> Weights:
        """A batch out of a weight and a bias per layer, which are copied; the weight of a tied layer is not read."""
        layers = spec.layers
        if len(weights) != len(layers) or len(biases) != len(layers):
            raise InputError(
                f"{spec} has {len(layers)} layers, got {len(weights)} weights and {len(biases)} biases; "
                "give one of each per layer, None where a layer has no bias"
            )
        first = weights[0]
        for index, (layer, weight, bias) in enumerate(zip(layers, weights, biases, strict=True)):
            expected = (len(first), *layer.weight_shape)
            if tuple(weight.shape) != expected:
                raise InputError(f"weights[{index}] must be {expected} for {spec}, got {tuple(weight.shape)}")
            if (bias is not None) != layer.bias:
                raise InputError(f"biases[{index}] must {'be given' if layer.bias else 'be None'} for {spec}")
            if bias is not None and tuple(bias.shape) != (len(first), layer.fan_out):
                raise InputError(
                    f"biases[{index}] must be {(len(first), layer.fan_out)} for {spec}, got {tuple(bias.shape)}"
                )
            for tensor in (weight, bias):
                if tensor is not None and (tensor.dtype != first.dtype or tensor.device != first.device):
                    raise InputError(
                        f"layer {index} is {tensor.dtype} on {tensor.device}, weights[0] {first.dtype} on "
                        f"{first.device}; convert one"
                    )
        return _joined(spec, weights, biases)

    def _with(self, flat: Any) -> Weights:
        return self if flat is self.flat else _unchecked(self.spec, flat)

    @property
    def weights(self) -> tuple[Tensor, ...]:
        """Per layer (B, O, I[, K]), of a norm (B, O); of a tied layer the transposed weight that it is tied to."""
        return self._views[0]

    @property
    def biases(self) -> tuple[Tensor | None, ...]:
        """Per layer (B, O), or None."""
        return self._views[1]

    @property
    def _views(self) -> tuple[tuple[Tensor, ...], tuple[Tensor | None, ...]]:
        """Views are kept, one set for gradients and one without: a view made before `flat` wanted a gradient has none.

        Those that a compiler, a tracer or torch.func made are not kept: they mean nothing after it.
        """
        wanted = "_differentiable" if self.flat.requires_grad and torch.is_grad_enabled() else "_plain"
        if wanted in self.__dict__:
            return self.__dict__[wanted]  # type: ignore[no-any-return]
        views = self._make_views()
        transient = torch.compiler.is_compiling() or torch._C._are_functorch_transforms_active()
        if not transient and type(views[0][0]) is Tensor:
            self.__dict__[wanted] = views
        return views

    def _make_views(self) -> tuple[tuple[Tensor, ...], tuple[Tensor | None, ...]]:
        layers, flat, lead = self.spec.layers, self.flat, self.flat.shape[:-1]
        found = {  # not by `split`, whose views autograd lets not outlive an optimiser's step
            (layer, role): flat.narrow(-1, start, stop - start).view(*lead, *shape)
            for layer, role, shape, start, stop in self.spec.fields
        }
        weights = tuple(
            found[number, "weight"] if layer.tied is None else found[layer.tied, "weight"].mT
            for number, layer in enumerate(layers)
        )
        return weights, tuple(found.get((number, "bias")) for number in range(len(layers)))

    def __len__(self) -> int:
        if self.flat.dim() != 2:
            raise InputError(
                "expected a batch of networks, got one network without its axis, as inside torch.func.vmap; "
                "`weights[None]` puts the axis back"
            )
        return len(self.flat)

    def __getitem__(self, index: int | slice | Sequence[int] | Tensor | None) -> Weights:
        """A smaller batch: an integer gives a batch of one, None the batch of one of a network inside vmap."""
        if self.flat.dim() == 1 and index is None:
            return self._with(self.flat[None])
        count = len(self)
        if isinstance(index, int):
            index = slice(number := range(count)[index], number + 1)
        chosen = None if index is None or isinstance(index, tuple) else self.flat[index]
        if chosen is not None and chosen.dim() == 1:  # the index was a tensor of one number
            chosen = chosen[None]
        if chosen is None or chosen.dim() != 2 or chosen.shape[1] != self.spec.num_parameters:
            raise InputError(f"expected an index into {count} networks: a number, slice, list or mask, got {index}")
        return self._with(chosen)

    def __repr__(self) -> str:
        count = "1 network" if self.flat.shape[:-1].numel() == 1 else f"{len(self)} networks"
        return f"Weights({count} of {self.spec}, {str(self.dtype).removeprefix('torch.')} on {self.device})"

    def __reduce__(self) -> tuple[Any, ...]:
        """Plain values, so that `torch.load` needs to trust nothing else; the views are left out."""
        return _unpickled, (text_of_spec(self.spec), self.flat)

    @property
    def device(self) -> torch.device:
        return self.flat.device

    @property
    def dtype(self) -> torch.dtype:
        return self.flat.dtype

    def to(self, *args: Any, **kwargs: Any) -> Weights:
        """All parameters through `Tensor.to`, in one transfer."""
        return self._with(self.flat.to(*args, **kwargs))

    def pin_memory(self) -> Weights:
        """In page-locked memory; `DataLoader(pin_memory=True)` calls it."""
        return self._with(self.flat.pin_memory())

    def run(self, x: Tensor) -> Tensor:
        """Evaluate every network: examples (N, ...) or (B, N, ...) give (B, N, ...). See `weightwalk.evaluate.run`."""
        if not isinstance(x, Tensor):
            raise InputError(f"expected inputs as a tensor, got {type(x).__name__}; make one by torch.as_tensor")
        if self.flat.dim() == 1:  # inside vmap: (N, ...) give (N, ...)
            return self[None].run(x)[0]
        if self.flat.shape[0] == 0:  # torch convolves no empty batch: what one network of zeros gives, but none of it
            one = self._with(self.flat.new_zeros(1, self.flat.shape[1]))
            return one.run(x.new_zeros(1, *x.shape[1:]) if x.dim() == self.spec.input_axes + 2 else x)[:0]
        return evaluate.run(self.spec, self.weights, self.biases, x)

    def permute(self, permutations: Sequence[Tensor | None]) -> Weights:
        """Reorder hidden neurons, which leaves every network's function unchanged: see `symmetry.permutations`.

        There is a permutation per group of `symmetry.hidden_widths`; None leaves the group alone.
        """
        return _joined(self.spec, *symmetry.permuted(self.spec, self.weights, self.biases, permutations))

    @classmethod
    def cat(cls, batches: Sequence[Weights]) -> Weights:
        """One batch out of several of the same spec."""
        if not isinstance(batches, Sequence) or not batches or not all(isinstance(one, Weights) for one in batches):
            raise InputError(f"expected a sequence of at least one batch of networks (Weights), got {_kind(batches)}")
        first = batches[0]
        if any(batch.spec != first.spec for batch in batches):
            raise InputError(
                "only networks of one spec make a batch, got "
                f"{', '.join(sorted({str(batch.spec) for batch in batches}))}"
            )
        return first._with(torch.cat([batch.flat for batch in batches]))

    def to_state_dict(self, index: int = 0) -> dict[str, Tensor]:
        """One network's tensors, shaped as torch's modules have them: `layers.L.weight` and `layers.L.bias`."""
        return {
            field.name: to_torch(self.spec.layers[field.layer], field.role, self._tensor(field)[index]).clone()
            for field in self.spec.fields
        }

    def _tensor(self, field: Field) -> Tensor:
        tensor = (self.weights if field.role == "weight" else self.biases)[field.layer]
        assert tensor is not None
        return tensor

    @classmethod
    def from_state_dicts(cls, spec: NetworkSpec, state_dicts: Sequence[Mapping[str, Tensor]]) -> Weights:
        """A batch out of state dicts under any names; `state_dicts` tells how layers are recognised.

        Errors name the network, the tensor and both shapes.
        """
        if not isinstance(state_dicts, Sequence) or not state_dicts:
            raise InputError(f"expected a sequence of at least one state dict, got {_kind(state_dicts)}")
        rows = []
        for number, state in enumerate(state_dicts):
            if not isinstance(state, Mapping):
                raise InputError(f"network {number}: expected a state dict, got {_kind(state)}")
            try:
                rows.append(flatten(spec, state))
            except InputError as error:
                raise InputError(f"network {number}: {error}") from None
        return cls(spec, torch.stack(rows))


def _kind(value: Any) -> str:
    """What something is, for a sentence."""
    is_list = isinstance(value, (list, tuple))
    return f"a {type(value).__name__} of {_kind(value[0])}" if is_list and value else type(value).__name__


def _unchecked(spec: NetworkSpec, flat: Any) -> Weights:
    """`Weights` around anything: what a pytree puts in the place of `flat`, and what is known to fit."""
    made = object.__new__(Weights)
    made.__dict__.update(spec=spec, flat=flat)
    return made


def _joined(spec: NetworkSpec, weights: Sequence[Tensor], biases: Sequence[Tensor | None]) -> Weights:
    tensors = {"weight": weights, "bias": biases}
    parts = [tensors[field.role][field.layer] for field in spec.fields]
    return _unchecked(spec, torch.cat([part.flatten(1) for part in parts if part is not None], dim=1))


def _unpickled(spec: str, flat: Tensor) -> Weights:
    return Weights(spec_of_text(spec), flat)


torch.serialization.add_safe_globals([_unpickled])
pytree.register_pytree_node(
    Weights,
    lambda weights: ([weights.flat], weights.spec),
    lambda leaves, spec: _unchecked(spec, *leaves),
    serialized_type_name="weightwalk.Weights",
    to_dumpable_context=lambda spec: spec.to_dict(),
    from_dumpable_context=NetworkSpec.from_dict,
    flatten_with_keys_fn=lambda weights: ([(pytree.GetAttrKey("flat"), weights.flat)], weights.spec),
)
default_collate_fn_map[Weights] = lambda batch, collate_fn_map=None: Weights.cat(batch)
