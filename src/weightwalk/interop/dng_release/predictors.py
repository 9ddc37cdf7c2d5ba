"""The release's predictors of test accuracy: an encoder and a head of three linear maps and a sigmoid."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from weightwalk.encoders.dng import DNGEncoder
from weightwalk.errors import InputError
from weightwalk.heads import MLPHead
from weightwalk.interop.dng_release.names import both, encoder_names, fill, get, inside
from weightwalk.networks.architectures import small_cnn
from weightwalk.spec import ACTIVATIONS, NetworkSpec
from weightwalk.steps import Conv, Dense, MeanPool
from weightwalk.weights import Weights

_MAPS = {"edge_lin": "edge", "src_node_lin": "source", "dst_node_lin": "input", "norm": "norm", "mapping": "mix"}
_ZOO_ACTIVATIONS = ("relu", "tanh")
_PARK_ACTIVATIONS = ("relu", "gelu", "tanh", "sigmoid", "leaky_relu", "identity")
"""In the order of the release's numbers; the last stands for none."""


class AccuracyPredictor(nn.Module):
    """Test accuracy from weights alone. Shapes: Weights of B networks -> (B, 1), between 0 and 1.

    `activations`: what the first layer's activation may be; None for any.
    """

    def __init__(self, encoder: DNGEncoder, hidden_dim: int, activations: Sequence[str] | None = None):
        super().__init__()
        self.encoder = encoder
        self.head = MLPHead((encoder.pooled_dim,), 1, hidden_dim, num_hidden=2)
        self._known = activations

    def encode(self, weights: Weights) -> Tensor:
        """(B, n_L d): the memories of the output nodes."""
        name = weights.spec.flow.activations[0]
        if self._known is not None and name not in self._known:
            raise InputError(f"this predictor was trained on networks of {' or '.join(self._known)}, got {name}")
        return self.encoder.encode(weights)

    def forward(self, weights: Weights) -> Tensor:
        logits: Tensor = self.head(self.encode(weights))
        return logits.sigmoid()


def head_names() -> dict[str, str]:
    """Of the head, ours -> the release's."""
    return {
        ours: theirs for index in (0, 3, 6) for ours, theirs in both(f"head.layers.{index}", f"head.{index}").items()
    }


def common_sizes(state_dict: Mapping[str, Tensor], frequencies: str) -> tuple[int, int, int, int, int]:
    """Input nodes, memory width, number of frequencies, outputs that the head reads, the head's width."""
    inputs, dim = get(state_dict, "encoder.input_init_node", 2).shape
    head = get(state_dict, "head.0.weight", 2)
    if head.shape[1] % dim:
        raise InputError(f"head.0.weight reads {head.shape[1]} numbers, which are not memories of {dim}")
    return inputs, dim, get(state_dict, frequencies).numel(), head.shape[1] // dim, len(head)


def _heads(state_dict: Mapping[str, Tensor], edge: str, source: str) -> tuple[int, int]:
    """Numbers of a head, and how many heads there are."""
    head_dim, rows = (
        len(get(state_dict, f"encoder.{edge}.weight", 2)),
        len(get(state_dict, f"encoder.{source}.weight", 2)),
    )
    if rows % head_dim:
        raise InputError(f"{source} makes {rows} numbers, which are not heads of {head_dim} as {edge} makes them")
    return head_dim, rows // head_dim


def cnn_zoo(
    state_dict: Mapping[str, Tensor], widths: Sequence[int] | None, spec: NetworkSpec | None
) -> AccuracyPredictor:
    """The Small CNN Zoo's: maps `*_p_l` per pass and layer, one activation vector for all nodes of a network."""
    inputs, dim, frequencies, outputs, hidden = common_sizes(state_dict, "encoder.fourier_layer.b")
    layers = [
        found.groups() for name in state_dict if (found := re.fullmatch(r"encoder\.edge_lin_(\d+)_(\d+)\.weight", name))
    ]
    if not layers:
        raise InputError(
            f"expected the release's parameter 'encoder.edge_lin_0_0.weight', found {', '.join(list(state_dict)[:5])}, "
            "..."
        )
    num_passes, num_layers = (1 + max(int(found[axis]) for found in layers) for axis in (0, 1))
    head_dim, heads = _heads(state_dict, "edge_lin_0_0", "src_node_lin_0_0")
    if spec is None:
        spec = small_cnn(inputs, outputs, depth=num_layers - 1) if widths is None else _chain(widths)
    encoder = DNGEncoder(
        spec,
        dim=dim,
        num_frequencies=frequencies,
        num_passes=num_passes,
        activation_embedding=True,
        head_dim=head_dim,
        max_taps=heads,
        preset="release-cnn-zoo",
    )
    names = _encoder_names(state_dict, "fourier_layer.b", r"_(\d+)_(\d+)", "steps.{}.") | head_names()
    table = _activation_table(get(state_dict, "encoder.act_emb", 2), _ZOO_ACTIVATIONS, "zeros")
    made, spent = {"encoder.activations.weight": table}, {"encoder.act_emb", "encoder.paddings"}
    if "encoder.layer_embeddings" in state_dict:  # v is added to phi(b) of layers: W_b (phi + v) = W_b phi + W_b v
        vectors = get(state_dict, "encoder.layer_embeddings", 2)
        spent.add("encoder.layer_embeddings")
        for layer, step in enumerate(spec.layers):
            ours = f"encoder.passes.0.steps.{layer}.input.bias"
            if ours in names:
                bias, weight = (
                    get(state_dict, f"encoder.dst_node_lin_0_{layer}.{role}") for role in ("bias", "weight")
                )
                made[ours] = bias + weight @ vectors[int(isinstance(step, Dense))]
                spent.add(names.pop(ours))
    return fill(AccuracyPredictor(encoder, hidden, _ZOO_ACTIVATIONS), names, state_dict, made, spent)


def _chain(widths: Sequence[int]) -> NetworkSpec:
    if len(widths) < 3:
        raise InputError(f"a CNN of the zoo needs input, hidden and output widths, got {list(widths)}")
    convolutions = [Conv(i, o, "relu", stride=2) for i, o in pairwise(widths[:-1])]
    return NetworkSpec((*convolutions, MeanPool(widths[-2]), Dense(widths[-2], widths[-1])))


def wild_park(state_dict: Mapping[str, Tensor]) -> AccuracyPredictor:
    """The CNN Wild Park's: maps `*_p` for all layers, missing taps masked, residual messages after the update."""
    inputs, dim, frequencies, outputs, hidden = common_sizes(state_dict, "encoder.fourier.b")
    passes = [int(found[1]) for name in state_dict if (found := re.fullmatch(r"encoder\.edge_lin_(\d+)\.weight", name))]
    head_dim, heads = _heads(state_dict, "edge_lin_0", "src_node_lin_0")
    encoder = DNGEncoder(
        NetworkSpec.mlp([inputs, outputs]),  # what is read has other layers between; their maps are the same
        dim=dim,
        num_frequencies=frequencies,
        num_passes=1 + max(passes),
        activation_embedding=True,
        head_dim=head_dim,
        max_taps=heads,
        shared=True,
        kinds=("add",),
    )
    names = _encoder_names(state_dict, "fourier.b", r"_(\d+)", "kinds.message.") | head_names()
    for number in range(len(encoder.passes)):
        names |= both(f"encoder.passes.{number}.kinds.add.residual", "encoder.res_lin")
    table = _activation_table(get(state_dict, "encoder.act_emb.weight", 2), _PARK_ACTIVATIONS, "last")
    made = {"encoder.activations.weight": table}
    return fill(AccuracyPredictor(encoder, hidden), names, state_dict, made, {"encoder.act_emb.weight"})


def _encoder_names(state_dict: Mapping[str, Tensor], frequencies: str, numbers: str, place: str) -> dict[str, str]:
    return inside("encoder", encoder_names(state_dict, "encoder.", frequencies, _MAPS, numbers, place))


def _activation_table(vectors: Tensor, order: Sequence[str], others: str) -> Tensor:
    """A row per activation that we know: the release's rows are of `order`; `others` are "zeros" or its "last"."""
    if len(vectors) != len(order):
        raise InputError(f"expected a vector for each of {', '.join(order)}, got {len(vectors)}")
    rest = torch.zeros_like(vectors[0]) if others == "zeros" else vectors[-1]
    return torch.stack([vectors[order.index(name)] if name in order else rest for name in ACTIVATIONS])
