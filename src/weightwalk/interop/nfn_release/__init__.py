"""Parameters saved by the authors' release of neural functional networks (Zhou et al., NeurIPS 2023), in our layers.

The release has channels first: weights (B, C, O, I[, h, w]) and biases (B, C, O). Its linear maps are a module per
term, ours a block of columns per term; an axis of theirs that holds channels, taps and nodes has them in this order,
ours the other way round. What theirs sees twice, such as all of W^1 and its mean over inputs, ours sees once.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from weightwalk.encoders.nfn_layers import EndEncoding, Features, Matrix, NFNLayer, Variant, pool, with_ends
from weightwalk.errors import InputError
from weightwalk.evaluate import FUNCTIONS
from weightwalk.interop.dng_release.names import get
from weightwalk.interop.nfn_release.layers import NAMES, LayerReader
from weightwalk.registry import unknown
from weightwalk.weights import Weights

State = Mapping[str, Tensor]


class ReleasedNFN(nn.Module):
    """A stack of the release's modules, with an activation behind every layer, or behind all but the last.

    Shapes, theirs: weights (B, C, O, I[, h, w]), biases (B, C, O) -> the same with C' channels.
    """

    def __init__(self, stages: Sequence[nn.Module], of: Sequence[Matrix], activation: str, activate_last: bool):
        super().__init__()
        self.stages, self.of, self.activation = nn.ModuleList(stages), tuple(of), FUNCTIONS[activation]
        layers = [number for number, stage in enumerate(stages) if isinstance(stage, NFNLayer)]
        self.activated = layers if activate_last else layers[:-1]

    def forward(self, weights: Sequence[Tensor], biases: Sequence[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        of_weights = tuple(w.reshape(*w.shape[:4], -1).movedim(1, -1) for w in weights)
        found = self.read(Features(of_weights, tuple(bias.transpose(1, 2) for bias in biases)))
        pairs = zip(found.weights, weights, strict=True)
        return (
            [new.movedim(-1, 1).reshape(len(new), -1, *given.shape[2:]) for new, given in pairs],
            [bias.transpose(1, 2) for bias in found.biases],
        )

    def features(self, networks: Weights) -> Features:
        """Of networks, whose parameters are the one channel that is read; a layer without a bias has zeros."""
        of_weights, of_biases = [], []
        for matrix, weight, bias in zip(self.of, networks.weights, networks.biases, strict=True):
            shape = len(weight), matrix.num_targets, matrix.num_sources, matrix.num_taps, 1
            of_weights.append(weight.reshape(shape))
            of_biases.append((weight.new_zeros(shape[:2]) if bias is None else bias).unsqueeze(-1))
        return self.read(Features(tuple(of_weights), tuple(of_biases)))

    def read(self, features: Features) -> Features:
        """The same of features as ours are, channels last."""
        for number, stage in enumerate(self.stages):
            features = stage(features)
            if number in self.activated:
                features = Features(*(tuple(map(self.activation, tensors)) for tensors in features))
        return features

    def pool(self, features: Features, variant: Variant) -> Tensor:
        """The release's NPPool or HNPPool of features as ours are, in its order: (B, C, numbers)."""
        pooled: Tensor = pool(with_ends(self.of, variant), features).unflatten(1, (-1, features.biases[0].shape[2]))
        return pooled.transpose(1, 2)


def load(
    state_dict: State,
    widths: Sequence[int],
    *,
    sinusoidal: tuple[float, int] | None = None,
    activation: str = "relu",
    activate_last: bool = False,
) -> ReleasedNFN:
    """The release's modules one after another, in evaluation mode; kernels, channels and variant are read off them.

    They are recognised by their parameters, and their order by the numbers in the names before these (an nn.Sequential,
    alone or in a larger module): GaussianFourierFeatureTransform, LearnedPosEmbedding, NPLinear (with io_embed or
    without), HNPLinear. `widths` are n_0 ... n_L of the networks that are read. IOSinusoidalEncoding has no parameters:
    `sinusoidal` is its (max_freq, num_bands), and it stands in front of the first layer. So do activations: the
    released classifiers have `activate_last`, a single layer and the released editors don't.

    InputError where names, widths or channels do not fit. Heads are not read: leave them out of `state_dict`.
    """
    if activation not in FUNCTIONS:
        raise InputError(unknown("activation", activation, [*FUNCTIONS]))
    modules: dict[str, dict[str, Tensor]] = {}
    for name, tensor in state_dict.items():
        found = re.fullmatch(rf"(.*?)({NAMES})", name)
        if not found:
            raise InputError(f"no place for the release's parameter {name!r}; give the parameters of its layers alone")
        modules.setdefault(found[1], {})[found[2]] = tensor
    stages: list[nn.Module] = []
    of: tuple[Matrix, ...] = ()
    for _, own in sorted(modules.items(), key=lambda one: [int(number) for number in re.findall(r"\d+", one[0])]):
        if "_B" in own:
            stages.append(Fourier(own["_B"]))
        elif "inp_emb.weight" in own:
            stages.append(Positions(own))
        else:
            layer, of = LayerReader(own, list(widths)).layer()
            if sinusoidal is not None:
                stages.append(EndEncoding(of, *sinusoidal))
                sinusoidal = None
            stages.append(layer)
    layers = [stage for stage in stages if isinstance(stage, NFNLayer)]
    if not layers:
        raise InputError(
            f"expected parameters of the release's NPLinear or HNPLinear, got {', '.join(state_dict)[:80]}"
        )
    for before, after in pairwise(layers):
        if before.out_channels != after.in_channels:
            raise InputError(
                f"a layer of {before.out_channels} channels is followed by one that reads {after.in_channels}; are all "
                "layers there, in order?"
            )
    return ReleasedNFN(stages, of, activation, activate_last).eval()


class Fourier(nn.Module):
    """[sin 2 pi x B, cos 2 pi x B] of all channels together."""

    matrix: Tensor

    def __init__(self, matrix_CF: Tensor):
        super().__init__()
        self.register_buffer("matrix", matrix_CF.clone())

    def forward(self, features: Features) -> Features:
        return Features(*(tuple(map(self._waves, tensors)) for tensors in features))

    def _waves(self, x: Tensor) -> Tensor:
        angles = 2 * math.pi * (x @ self.matrix)
        return torch.cat([angles.sin(), angles.cos()], dim=-1)


class Positions(nn.Module):
    """A learned vector of every layer's weight, of its bias, of every input and every output, added."""

    def __init__(self, own: State):
        super().__init__()
        roles = ("weight", "bias", "inp", "out")
        self.of = nn.ParameterList(get(own, f"{role}_emb.weight", 2).clone() for role in roles)

    def forward(self, features: Features) -> Features:
        of_weights, of_biases, inputs, outputs = self.of
        weights = [x + beside for x, beside in zip(features.weights, of_weights, strict=True)]
        biases = [x + beside for x, beside in zip(features.biases, of_biases, strict=True)]
        weights[0] = weights[0] + inputs[:, None]
        weights[-1] = weights[-1] + outputs[:, None, None]
        biases[-1] = biases[-1] + outputs
        return Features(tuple(weights), tuple(biases))
