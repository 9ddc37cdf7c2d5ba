"""The messages of layers of several networks, as few sums.

Axes: B networks, O targets, G groups, I sources of a group, K taps, N blocks of sources, R targets of all, A numbers of
a head, D memory.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from functools import cached_property
from itertools import groupby
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from weightwalk.encoders.dng.maps import StepMaps, TapMaps
from weightwalk.encoders.dng.rows import joined, taps_and_sources
from weightwalk.encoders.taps import Pairs, conversion, heard


class Layer(NamedTuple):
    """What the targets of a layer hear: weights (B, O, I[, K]) and the memories of its sources, (B, G I, D), or (1, G
    I, D) if they are those of every network. Block g of the targets hears block g of the sources alone.
    """

    weights: Tensor
    sources: Tensor
    groups: int

    @property
    def pair(self) -> tuple[int, int]:
        return taps_and_sources(self.weights)

    @property
    def num_targets(self) -> int:
        return self.weights.shape[0] * self.weights.shape[1]


class _Parameters(NamedTuple):
    """For layers of K taps: the source map (A K, D) and its bias, the mix (D, A K), and in a `padded` encoder what the
    sources send through the missing heads, as one map (D, D) and its bias.
    """

    weight: Tensor
    bias: Tensor
    mix: Tensor
    missing: tuple[Tensor, Tensor] | None


class Gatherer:
    """The messages of one set of maps in one forward pass: what depends on parameters alone is computed once."""

    def __init__(self, maps: StepMaps | TapMaps):
        self.maps = maps
        self._of_taps: dict[int, _Parameters] = {}

    def __call__(self, layers: Sequence[Layer]) -> Tensor:
        """The messages of the targets of every layer: (B, O, D) of one, (1, R, D) of several (`rows.joined`)."""
        found = None
        if isinstance(self.maps, TapMaps) and not torch.compiler.is_compiling():  # polynomials look at values
            with torch.autocast(layers[0].weights.device.type, enabled=False):  # sums of many terms
                found = self._polynomials(layers)
        return joined(self._plain(layers)) if found is None else found

    def _plain(self, layers: Sequence[Layer]) -> list[Tensor]:
        """Networks whose layers have the same shape at once."""
        alike: dict[tuple[object, ...], list[int]] = defaultdict(list)
        for place, layer in enumerate(layers):
            alike[(*layer.weights.shape[1:], layer.groups)].append(place)
        found: dict[int, Tensor] = {}
        for places in alike.values():
            first = layers[places[0]]
            weights, sources = first.weights, first.sources
            if len(places) > 1:
                weights = torch.cat([layers[place].weights for place in places])
                sources = torch.cat(
                    [layers[place].sources.expand(len(layers[place].weights), -1, -1) for place in places]
                )
            messages = self.maps.gather(weights, sources, first.groups)
            found |= dict(zip(places, messages.split([len(layers[place].weights) for place in places]), strict=True))
        return [found[place] for place in range(len(layers))]

    @cached_property
    def _basis(self) -> tuple[Tensor, Tensor] | None:
        """The reach of the polynomials, and their coefficients for `taps.heard`."""
        basis = None if torch._C._are_functorch_transforms_active() else self.maps.edge.on_basis()
        if basis is None:
            return None
        return basis.reach, basis.coefficients @ conversion(basis.count).to(basis.coefficients)

    def _polynomials(self, layers: Sequence[Layer]) -> Tensor | None:
        """Eq 5 with the edge map's polynomials, layers of equally many taps and sources as one set; None where that
        can't be.
        """
        if self._basis is None or any(layer.weights.requires_grad for layer in layers):
            return None
        reach, coefficients = self._basis
        places = sorted(range(len(layers)), key=lambda place: layers[place].pair)
        sets: list[Pairs] = []
        for num_taps, of_taps in groupby(places, lambda place: layers[place].pair[0]):
            chosen = [layers[place] for place in of_taps]
            values = torch.cat([layer.weights.reshape(-1) for layer in chosen]) / reach
            if not values.numel() or not values.abs().max() <= 1:
                return None
            sets += self._pairs(num_taps, chosen, values)
        first, last = self._mix
        summed = torch.cat(heard(sets, coefficients, first.bias))
        # The MLP's last map is the same for all pairs, so it is done once for their sum.
        sizes = [layers[place].num_targets for place in places]
        counts = np.repeat([layers[place].pair[1] for place in places], sizes)[:, None]
        messages = torch.addcmul(summed @ last.weight.T, torch.from_numpy(counts).to(summed), last.bias)
        if len(layers) == 1:
            return messages.view(*layers[0].weights.shape[:2], -1)
        if places != list(range(len(layers))):
            found = dict(zip(places, messages.split(sizes), strict=True))
            messages = torch.cat([found[place] for place in range(len(layers))])
        return messages[None]

    def _pairs(self, num_taps: int, layers: Sequence[Layer], values: Tensor) -> list[Pairs]:
        """Layers of equally many taps, in the order of their numbers of sources, and all of their values."""
        sources: list[Tensor] = []
        rows: list[NDArray[np.int64]] = []
        counts: list[int] = []  # of nodes that are sources, by how many a block has
        per_block = [[*alike] for _, alike in groupby(layers, lambda layer: layer.pair)]
        for alike in per_block:
            firsts: dict[int, int] = {}
            num_blocks = 0
            of_layers = []
            for layer in alike:
                first = firsts.setdefault(id(layer.sources), num_blocks)
                if first == num_blocks:
                    sources.append(layer.sources.flatten(0, 1))
                    num_blocks += layer.sources.shape[0] * layer.groups
                of_layers.append(first + _blocks(layer))
            rows.append(np.concatenate(of_layers))
            counts.append(num_blocks * alike[0].pair[1])
        of_taps = self._parameters(num_taps)
        sources_SD = (sources[0] if len(sources) == 1 else torch.cat(sources)).to(values)
        heads = torch.addmm(of_taps.bias[:, None], of_taps.weight, sources_SD.T).split(counts, dim=1)
        offsets: Sequence[Tensor | None] = [None] * len(counts)
        if of_taps.missing is not None:
            weight, bias = of_taps.missing
            offsets = torch.addmm(bias[:, None], weight, sources_SD.T).split(counts, dim=1)
        parts = values.split([sum(layer.weights.numel() for layer in alike) for alike in per_block])
        return [
            Pairs(
                part.view(-1, alike[0].pair[1], num_taps),
                head,
                torch.from_numpy(row).to(part.device),
                of_taps.mix,
                offset,
            )
            for part, alike, head, row, offset in zip(parts, per_block, heads, rows, offsets, strict=True)
        ]

    def _parameters(self, num_taps: int) -> _Parameters:
        if num_taps not in self._of_taps:
            maps, first = self.maps, self._mix[0]
            assert isinstance(maps, TapMaps)
            dim, used = maps.head_dim, num_taps * maps.head_dim
            weight, bias = maps.source.weight, maps.source.bias
            missing = None
            if maps.padded and num_taps < maps.heads:
                through = first.weight[:, used:] * maps.edge.bias.repeat(maps.heads - num_taps)
                missing = through @ weight[used:], through @ bias[used:]
            mix = first.weight[:, :used].unflatten(1, (num_taps, dim)).transpose(1, 2).flatten(1)
            weight, bias = (
                x[:used].unflatten(0, (num_taps, dim)).transpose(0, 1).flatten(0, 1) for x in (weight, bias)
            )
            self._of_taps[num_taps] = _Parameters(weight, bias, mix, missing)
        return self._of_taps[num_taps]

    @property
    def _mix(self) -> tuple[nn.Linear, nn.Linear]:
        """The two maps of Eq 5's MLP."""
        assert isinstance(self.maps, TapMaps)
        first, last = self.maps.mix[0], self.maps.mix[2]
        assert isinstance(first, nn.Linear)
        assert isinstance(last, nn.Linear)
        return first, last


def _blocks(layer: Layer) -> NDArray[np.int64]:
    """For every target of a layer the block that it hears, (B O,)."""
    num_networks, num_targets = layer.weights.shape[:2]
    networks = np.arange(num_networks) if layer.sources.shape[0] > 1 else np.zeros(num_networks, np.int64)
    groups = np.arange(layer.groups).repeat(num_targets // layer.groups)
    return (networks[:, None] * layer.groups + groups).ravel()
