"""One pass of the DNG-Encoder over a network: its maps, its recurrent cell, and what they write at every step.

Axes: B networks, O target nodes, F Fourier features, D memory.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from weightwalk.encoders.dng.builder import MapBuilder, kind_of
from weightwalk.encoders.dng.cells import CELLS
from weightwalk.encoders.dng.details import Details
from weightwalk.encoders.dng.gathering import Gatherer, Layer
from weightwalk.encoders.dng.maps import JoinMaps, LearnedMaps, NormMaps, StepMaps, TapMaps
from weightwalk.encoders.dng.positions import Positions
from weightwalk.encoders.dng.rows import joined, parted
from weightwalk.encoders.dng.targets import ToldMaps, ToldTapMaps
from weightwalk.encoders.dng.walk import Walk, lockstep
from weightwalk.graphs.features import FourierFeatures
from weightwalk.spec import ACTIVATIONS, Scheduled
from weightwalk.steps import Conv


class Pass(nn.Module):
    """One walk over all timestamps. The recurrent cell is shared by them; maps are each step's own, or each kind's
    (`kinds`).
    """

    def __init__(self, builder: MapBuilder, number: int, cell: str = "gru"):
        super().__init__()
        layers, between, kinds = builder.modules(number)
        self.steps = nn.ModuleList(layers)
        self.between = nn.ModuleDict(between)
        self.kinds = nn.ModuleDict(kinds)
        self.cell = CELLS[cell](builder.dim)

    def of(self, at: Scheduled) -> Any:
        """The maps of a step, None for one without."""
        kind = kind_of(at.step)
        if kind is None or len(self.kinds):
            return None if kind is None else self.kinds[kind]
        return self.between[str(at.value)] if at.layer is None else self.steps[at.layer]

    def update(self, of_input: Tensor, hidden: Tensor, of_hidden: Tensor | None = None) -> Tensor:
        """The recurrent cell at every node (`cells.GRU.update`)."""
        return self.cell.update(of_input, hidden, of_hidden)


class Writer:
    """What the steps of walks write in a pass with the maps `of`."""

    def __init__(
        self,
        of: Pass,
        features: FourierFeatures,
        details: Details,
        dropout: nn.Module,
        activations: nn.Embedding | None,
        positions: Positions | None,
    ):
        self.maps, self.features, self.details, self.dropout = of, features, details, dropout
        self.activations, self.positions = activations, positions
        self._gatherers: dict[nn.Module, Gatherer] = {}

    def walk(self, walks: Sequence[Walk]) -> None:
        """Bring all walks to their ends."""
        lockstep(walks, self.maps.of, self.written)

    def written(self, own: Any, walks: list[Walk]) -> Sequence[Tensor]:
        """The memories that the walks' steps write, which all have the maps `own`."""
        first = walks[0]
        if isinstance(own, (ToldMaps, ToldTapMaps)):
            return self._layers(own, walks, joined([self._told(own, walk) for walk in walks]))
        if isinstance(own, StepMaps) and len(walks) == 1 and first.source is first.inputs:
            outer = self.maps.cell.weight_hh
            through = None if outer is None else own.gather_through(first.heard, first.source, outer)
            if through is not None:
                return self._layers(own, walks, *through)
        if isinstance(own, (StepMaps, TapMaps)):
            gather = self._gatherers.setdefault(own, Gatherer(own))
            return self._layers(own, walks, gather([Layer(walk.heard, walk.source, _groups(walk)) for walk in walks]))
        if isinstance(own, LearnedMaps):
            return [own(walk.heard, self.features) for walk in walks]
        if isinstance(own, NormMaps):
            memories = [walk.read[0] for walk in walks]
            scale = self.features(joined([walk.heard for walk in walks]))
            shift = self.features(_biases(walks))
            if self.activations is not None:
                table = self.activations.weight
                shift = shift + (table[self._met(walks[0])] if len(walks) == 1 else table[self._all_met(walks)])
            return parted(own(joined(memories), scale, shift), [(walk.size, walk.num_targets) for walk in walks])
        if isinstance(own, JoinMaps):
            return own.of_many([(walk.read, walk.here, walk.flow) for walk in walks])
        return [own(walk.read, walk.here, walk.flow) for walk in walks]

    def _layers(
        self, own: StepMaps | TapMaps, walks: list[Walk], messages: Tensor, of_hidden: Tensor | None = None
    ) -> Sequence[Tensor]:
        """The memories of the nodes of layers, from their messages (`rows.joined`); `of_hidden` as in `Pass.update`."""
        sizes = [(walk.size, walk.num_targets) for walk in walks]
        silent = [self.details.silent_unbiased and walk.biases is None for walk in walks]
        if any(silent):
            each = zip(walks, parted(messages, sizes), silent, strict=True)
            return [
                self._placed(self.dropout(own.norm(message)), walk) if quiet else self._layers(own, [walk], message)[0]
                for walk, message, quiet in each
            ]
        memory = self.maps.update(self._update_input(own, walks), messages, of_hidden)  # Eq 6
        found = parted(self.dropout(own.norm(memory)), sizes)
        if self.positions is None:
            return found
        return [self._placed(memory, walk) for memory, walk in zip(found, walks, strict=True)]

    def _placed(self, memory: Tensor, walk: Walk) -> Tensor:
        return memory if self.positions is None else memory + self.positions.of(walk.layer)

    def _update_input(self, own: Any, walks: list[Walk]) -> Tensor:
        """W_ih of what updates the memories of layers: W_b (phi(b) + a), or a map of those of the pass before."""
        outer = self.maps.cell.weight_ih
        if walks[0].earlier:
            return F.linear(own.input(joined([walk.before for walk in walks])), outer)
        biases = _biases(walks).unsqueeze(-1)
        updates: Tensor
        if self.activations is None or len(walks) == 1:
            shift = None if self.activations is None else self.activations.weight[self._met(walks[0])]
            updates = own.input.through(biases, outer, shift)
        else:
            table = F.linear(F.linear(self.activations.weight, own.input.weight), outer)
            updates = own.input.through(biases, outer) + F.embedding(self._all_met(walks), table)
        return updates

    def _told(self, own: ToldMaps | ToldTapMaps, walk: Walk) -> Tensor:
        """The messages of one walk's layer that are told of their targets."""
        known = walk.before if walk.earlier else self.features(_biases([walk]))
        if self.activations is not None and not walk.earlier:
            known = known + self.activations.weight[self._met(walk)]
        return own.gather_told(walk.heard, walk.source, known, _groups(walk))

    def _met(self, walk: Walk) -> int:
        """The number of the activation that a layer's values meet next."""
        return list(ACTIVATIONS).index(walk.flow.activations[0 if self.details.one_activation else walk.layer])

    def _all_met(self, walks: list[Walk]) -> Tensor:
        """`_met` of all nodes, (1, sum of B O)."""
        counts = [walk.size * walk.num_targets for walk in walks]
        numbers = np.repeat([self._met(walk) for walk in walks], counts)
        return torch.from_numpy(numbers[None]).to(walks[0].weights.device)


def _groups(walk: Walk) -> int:
    step = walk.here.step
    return step.groups if isinstance(step, Conv) else 1


def _biases(walks: list[Walk]) -> Tensor:
    """The biases of layers, (B, O) of one walk, (1, sum of B O) of several; zero where a layer has none, (1, 1) if that
    is the only one.
    """
    found = []
    for walk in walks:
        bias_BO = walk.biases
        if bias_BO is None:
            zero = walk.weights.flat.new_zeros(1, 1)
            bias_BO = zero if len(walks) == 1 else zero.expand(walk.size, walk.num_targets)
        found.append(bias_BO)
    return joined(found)
