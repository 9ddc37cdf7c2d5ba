"""Samples of a zoo, read at once: a DataLoader's batch is there before it asks for any of them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any, overload

from torch import Tensor
from torch.utils.data import default_collate
from torch.utils.data._utils.collate import default_collate_fn_map

from weightwalk.weights import Weights


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

    def batch(self) -> dict[str, Any]:
        """`weights` as one `Weights` where all have one spec, else as a list of networks, and the columns (B,)."""
        if all(_is_as_given(*made) for made in self._made.values()):
            return {"weights": self._weights, **self._columns}
        return joined([*self])


def _is_as_given(sample: Sample, given: dict[str, Any]) -> bool:
    return sample.keys() == given.keys() and all(sample[name] is value for name, value in given.items())


def joined(samples: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Samples as one batch, as `Samples.batch` has them."""
    if isinstance(samples, Samples):
        return samples.batch()
    networks = [sample["weights"] for sample in samples]
    rest = default_collate([{name: value for name, value in s.items() if name != "weights"} for s in samples])
    one = all(network.spec == networks[0].spec for network in networks)
    return {"weights": Weights.cat(networks) if one else networks, **rest}


default_collate_fn_map[Sample] = lambda batch, collate_fn_map=None: joined(batch)
