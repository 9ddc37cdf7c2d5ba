"""One NPLinear or HNPLinear of the release as our layer."""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor

from weightwalk.encoders.nfn_layers import Matrix, NFNLayer, with_ends
from weightwalk.errors import InputError
from weightwalk.interop.dng_release.names import get

State = Mapping[str, Tensor]
_MAPS = r"(?:layer|bias)_(?:\d+|fin)(?:_rc|_r|_c)?|w0_rpt|w0_rbdcst|wfin_cpt|wfin_cbdcst|(?:weight|bias|inp|out)_emb"
NAMES = rf"_B|in_embed|out_embed|out_bias_embed|(?:{_MAPS})\.(?:weight|bias)"
"""A parameter's name in its module."""


class _Piece(NamedTuple):
    """Part of what a linear map reads: what it is of, and how many taps and nodes it has per channel.

    "t3" is what targets see of layer 3's weight, "s3" what sources see, "w3" and "b3" what the network sees; a name
    that ends with "/" is a mean over nodes where the same without it has them all.
    """

    name: str
    taps: int = 1
    nodes: int = 1


class LayerReader:
    """Makes our layer of one of theirs."""

    def __init__(self, own: State, widths: list[int]):
        self.own, self.last = own, len(widths) - 2
        self.hnp = "w0_rpt.weight" in own
        if (self.last < 1 and self.hnp) or self.last < 0:
            raise InputError(f"expected the widths of networks of two layers or more, got {widths}")
        self.out_channels = len(get(own, "bias_0.bias", 1))
        self.of = with_ends(
            [
                Matrix(after, before, self._taps(number, before, after))
                for number, (before, after) in enumerate(pairwise(widths))
            ],
            "hnp" if self.hnp else "np",
        )
        self.taps = [matrix.num_taps for matrix in self.of]
        self.inputs, self.outputs = self.of[0].fixed[1], self.of[-1].fixed[0]
        network = get(own, "bias_0_rc.weight", 2).shape[1]
        seen = sum(piece.taps * piece.nodes for piece in self._network())
        self.in_channels = _share(network, seen, "columns of bias_0_rc.weight")

    def _taps(self, number: int, before: int, after: int) -> int:
        name, nodes = f"layer_{number}", 1
        if self.hnp and number in (0, self.last):
            name, nodes = ("w0_rpt", before) if number == 0 else ("wfin_cpt", after)
        return _share(len(get(self.own, f"{name}.weight")), nodes * self.out_channels, f"rows of {name}.weight")

    def layer(self) -> tuple[NFNLayer, tuple[Matrix, ...]]:
        """Our layer with their parameters, and what it reads."""
        ends = "in_embed" in self.own
        layer, last = NFNLayer(self.of, self.in_channels, self.out_channels, ends), self.last
        used = set()
        state: dict[str, Tensor] = {}
        for number, matrix in enumerate(self.of):
            maps = {f"layer_{number}_rc": self._network()}
            if not matrix.free_sources:
                maps = {"w0_rbdcst": self._network(), "w0_rpt": self._targets(number)}
            elif not matrix.free_targets:
                maps = {"wfin_cbdcst": self._network(), "wfin_cpt": self._sources(number)}
            else:
                maps[f"layer_{number}_r"] = self._sources(number)
                maps[f"layer_{number}_c"] = self._targets(number)
                maps[f"layer_{number}"] = [_Piece("own", matrix.num_taps)]
            bias = {f"bias_{number}_rc": self._network(), f"bias_{number}": self._targets(number)}
            bias = bias if matrix.free_targets else {"bias_fin_rc": self._network()}
            used |= {f"{name}.{role}" for name in (*maps, *bias) for role in ("weight", "bias")}
            targets = self._node(number + 1) if matrix.free_targets else []
            sources = self._node(number) if matrix.free_sources else []
            both = [_Piece("own", matrix.num_taps)] if matrix.free_sources and matrix.free_targets else []
            rows = (matrix.num_taps, math.prod(matrix.fixed))
            for kind, theirs, ours, shape in (
                ("of_weights", maps, [self._seen(), targets, sources, both], rows),
                ("of_biases", bias, [self._seen(), targets], (1, matrix.fixed[0])),
            ):
                state[f"{kind}.{number}.weight"] = self._weight(theirs, ours, shape)
                state[f"{kind}.{number}.bias"] = sum(
                    (_turned(self.own[f"{name}.bias"], 0, *shape) for name in theirs), torch.zeros(())
                )
        if ends:
            names = {"in_embed": self.taps[0], "out_embed": self.taps[last], "out_bias_embed": 1}
            used |= names.keys()
            for place, (name, taps) in enumerate(names.items()):
                turned = _turned(
                    self.own[name].reshape(-1), 0, taps, self.own[name].numel() // taps // self.in_channels
                )
                state[f"ends.{place}"] = turned.reshape(layer.ends[place].shape)
        if strangers := sorted(self.own.keys() - used):
            raise InputError(f"no place for the release's parameter {strangers[0]!r}; are the widths right?")
        layer.load_state_dict(state)
        return layer, self.of

    # what their maps read, in their order

    def _network(self) -> list[_Piece]:
        if not self.hnp:
            return [
                *(_Piece(f"w{k}", t) for k, t in enumerate(self.taps)),
                *(_Piece(f"b{k}") for k in range(self.last + 1)),
            ]
        weights = [_Piece(f"w{k}/" if k in (0, self.last) else f"w{k}", taps) for k, taps in enumerate(self.taps)]
        biases = [*(_Piece(f"b{k}") for k in range(self.last)), _Piece(f"b{self.last}/")]
        ends = [_Piece("w0", self.taps[0], self.inputs), _Piece(f"w{self.last}", self.taps[-1], self.outputs)]
        return [*weights, *biases, *ends, _Piece(f"b{self.last}", 1, self.outputs)]

    def _targets(self, number: int) -> list[_Piece]:
        """Of a layer's targets."""
        pieces = [_Piece(f"t{number}", self.taps[number], self.of[number].fixed[1])]
        after = _Piece(f"s{number + 1}", self.taps[number + 1]) if number < self.last else None
        if self.hnp and number + 1 == self.last:
            assert after is not None
            full = after._replace(nodes=self.outputs)
            mean = after._replace(name=f"{after.name}/")
            middle = [mean, _Piece(f"b{number}")] if number == 0 else [_Piece(f"b{number}"), mean]
            return [*pieces, *middle, full]
        if after is None:
            return [*pieces, _Piece(f"b{number}")]
        first = self.hnp and number == 0
        return [*pieces, *([after, _Piece(f"b{number}")] if first else [_Piece(f"b{number}"), after])]

    def _sources(self, number: int) -> list[_Piece]:
        """Of a layer's sources."""
        pieces = [_Piece(f"s{number}", self.taps[number], self.of[number].fixed[0])]
        if number == 0:
            return pieces
        before = _Piece(f"t{number - 1}", self.taps[number - 1])
        bias = [] if self.hnp and number == self.last else [_Piece(f"b{number - 1}")]
        if self.hnp and number == 1:
            return [*pieces, before._replace(name="t0/"), *bias, before._replace(nodes=self.inputs)]
        return [*pieces, before, *bias]

    # what ours read, in our order

    def _seen(self) -> list[_Piece]:
        return [
            piece
            for number, matrix in enumerate(self.of)
            for piece in (
                _Piece(f"w{number}", matrix.num_taps, math.prod(matrix.fixed)),
                _Piece(f"b{number}", 1, matrix.fixed[0]),
            )
        ]

    def _node(self, group: int) -> list[_Piece]:
        into = [_Piece(f"t{group - 1}", self.taps[group - 1], self.of[group - 1].fixed[1]), _Piece(f"b{group - 1}")]
        out_of = [_Piece(f"s{group}", self.taps[group], self.of[group].fixed[0])] if group <= self.last else []
        return [*(into if group else []), *out_of]

    def _weight(self, theirs: Mapping[str, list[_Piece]], ours: list[list[_Piece]], rows: tuple[int, int]) -> Tensor:
        """Our map: which of ours a map of theirs reads is told by the names of its pieces."""
        found: list[Tensor] = []
        given = [self._columns(name, pieces, rows) for name, pieces in theirs.items()]
        count = rows[0] * rows[1] * self.out_channels
        for pieces in ours:
            names = {piece.name for piece in pieces}
            match = next((columns for columns in given if columns.keys() <= names), {})
            given = [columns for columns in given if columns is not match]
            for name, taps, nodes in pieces:
                width = taps * nodes * self.in_channels
                found.append(match[name].flatten(1) if name in match else torch.zeros(count, width))
        return torch.cat(found, dim=1)

    def _columns(self, name: str, pieces: list[_Piece], rows: tuple[int, int]) -> dict[str, Tensor]:
        """One of their maps cut into pieces (rows, nodes, taps, channels), means folded into what they are means of."""
        weight = get(self.own, f"{name}.weight")
        weight = weight.reshape(weight.shape[:2])
        sizes = [piece.taps * piece.nodes * self.in_channels for piece in pieces]
        if weight.shape != (rows[0] * rows[1] * self.out_channels, sum(sizes)):
            raise InputError(
                f"{name}.weight must be {(rows[0] * rows[1] * self.out_channels, sum(sizes))} for these widths, got "
                f"{tuple(weight.shape)}"
            )
        parts = {}
        for piece, part in zip(pieces, _turned(weight, 0, *rows).split(sizes, dim=1), strict=True):
            parts[piece.name] = _turned(part, 1, piece.taps, piece.nodes).unflatten(1, (piece.nodes, piece.taps, -1))
        for mean in [key for key in parts if key.endswith("/")]:
            whole = parts[mean[:-1]]
            parts[mean[:-1]] = whole + parts.pop(mean) / whole.shape[1]
        return parts


def _turned(x: Tensor, dim: int, taps: int, nodes: int) -> Tensor:
    """An axis of (channels, taps, nodes) as one of (nodes, taps, channels)."""
    turned: Tensor = x.unflatten(dim, (-1, taps, nodes)).transpose(dim, dim + 2).flatten(dim, dim + 2)
    return turned


def _share(count: int, of: int, what: str) -> int:
    """A whole number of times."""
    if count < of or count % of:
        raise InputError(f"expected a multiple of {of} {what}, got {count}; are the widths right?")
    return count // of
