"""Samples of a zoo, read at once: a DataLoader's batch is there before it asks for any of them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from typing import Any, overload

import torch
from torch import Tensor
from torch.utils._pytree import register_pytree_node
from torch.utils.data import default_collate
from torch.utils.data._utils.collate import default_collate_fn_map

from weightwalk.spec import spec_of_text, text_of_spec
from weightwalk.weights import Weights

Format = tuple[torch.dtype, tuple[int, ...]]


class Sample(dict[str, Any]):
    """A network, `weights` (a batch of one), and what is known of it: whole numbers, and figures as tensors ()."""


class Samples(Sequence[Sample]):
    """Networks (B) that were read together, with columns (B,) of what is known of them.

    A sample is made when it is asked for, and is the caller's: what he puts into it is in the batch as well.
    """

    def __init__(self, weights: Weights | list[Weights], columns: dict[str, Tensor], figures: Sequence[str]):
        self._weights, self._columns, self._figures = weights, columns, figures
        self._made: dict[int, tuple[Sample, dict[str, Any]]] = {}  # by place: a sample, and what was put into it

    def __len__(self) -> int:
        return len(self._weights)

    @overload
    def __getitem__(self, place: int) -> Sample: ...
    @overload
    def __getitem__(self, place: slice) -> list[Sample]: ...
    def __getitem__(self, place: int | slice) -> Sample | list[Sample]:
        if isinstance(place, slice):
            return [self[one] for one in range(len(self))[place]]
        place = range(len(self))[place]
        if place not in self._made:
            values = {name: column[place] for name, column in self._values.items()}
            given = {"weights": self._weights[place], **values}
            self._made[place] = Sample(given), given
        return self._made[place][0]

    @cached_property
    def _values(self) -> dict[str, Sequence[Any]]:
        """Figures are tensors, for default_collate makes float64 of Python's floats."""
        return {
            name: column.unbind() if name in self._figures else column.tolist()
            for name, column in self._columns.items()
        }

    def batch(self) -> Batch:
        """`weights` as one `Weights` where all have one spec, else as a list of networks, and the columns (B,)."""
        if all(_is_as_given(*made) for made in self._made.values()):
            return Batch({"weights": self._weights, **self._columns})
        return joined([*self])


def _is_as_given(sample: Sample, given: dict[str, Any]) -> bool:
    return sample.keys() == given.keys() and all(sample[name] is value for name, value in given.items())


class Batch(dict[str, Any]):
    """A batch of samples.

    To another process it goes as one tensor, for each that is sent costs the one that waits for it a millisecond.
    """

    def __copy__(self) -> Batch:
        return Batch(self)

    def __reduce__(self) -> tuple[Any, ...]:
        columns = {name: value for name, value in self.items() if name != "weights"}
        if "weights" not in self or not all(isinstance(column, Tensor) for column in columns.values()):
            return dict, (dict(self),)
        networks = self["weights"]
        is_one = isinstance(networks, Weights)
        batches: Sequence[Weights] = [networks] if is_one else networks
        tensors = [*columns.values(), *(batch.flat for batch in batches)]
        formats = [(tensor.dtype, tuple(tensor.shape)) for tensor in tensors]
        packed = tensors[0].new_empty(_places(formats)[-1], dtype=torch.uint8)
        for tensor, place in zip(tensors, _unpacked(packed, formats), strict=True):
            place.copy_(tensor)
        specs = [text_of_spec(batch.spec) for batch in batches]
        return _as_sent, (packed, formats, [*columns], specs, is_one)


def _of_values(values: Iterable[Any], names: list[str]) -> Batch:
    return Batch(zip(names, values, strict=True))


register_pytree_node(Batch, lambda batch: ([*batch.values()], [*batch]), _of_values)


def _as_sent(packed: Tensor, formats: list[Format], names: list[str], specs: list[str], is_one: bool) -> Batch:
    tensors = [*_unpacked(packed, formats)]
    flats = tensors[len(names) :]
    batches = [Weights(spec_of_text(spec), flat) for spec, flat in zip(specs, flats, strict=True)]
    return Batch({"weights": batches[0] if is_one else batches, **dict(zip(names, tensors, strict=False))})


def _unpacked(packed: Tensor, formats: Sequence[Format]) -> Iterator[Tensor]:
    """Tensors of these dtypes and shapes, views of one tensor of bytes."""
    for start, (dtype, shape) in zip(_places(formats), formats, strict=False):
        yield packed[start : start + dtype.itemsize * math.prod(shape)].view(dtype).view(shape)


def _places(formats: Sequence[Format]) -> list[int]:
    """Where each tensor begins among all bytes, a multiple of 16, and where the last one ends."""
    places = [0]
    for dtype, shape in formats:
        places.append((places[-1] + dtype.itemsize * math.prod(shape) + 15) // 16 * 16)
    return places


torch.serialization.add_safe_globals([_as_sent])


def joined(samples: Sequence[dict[str, Any]]) -> Batch:
    """Samples as one batch, as `Samples.batch` has them."""
    if isinstance(samples, Samples):
        return samples.batch()
    networks = [sample["weights"] for sample in samples]
    rest = default_collate([{name: value for name, value in s.items() if name != "weights"} for s in samples])
    one = all(network.spec == networks[0].spec for network in networks)
    return Batch({"weights": Weights.cat(networks) if one else networks, **rest})


default_collate_fn_map[Sample] = lambda batch, collate_fn_map=None: joined(batch)
