"""NFN: neural functional networks (Zhou et al., Permutation Equivariant Neural Functionals, NeurIPS 2023)."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise
from types import SimpleNamespace
from typing import Any, Literal, get_args

from torch import Tensor, nn

from weightwalk.config import bounded
from weightwalk.encoders.base import Encoder, Encoding, encoders
from weightwalk.encoders.nfn_layers import (
    EndEncoding,
    Features,
    NFNLayer,
    Variant,
    matrices,
    num_pooled,
    pool,
)
from weightwalk.encoders.standard import Standardise
from weightwalk.errors import InputError
from weightwalk.graphs.features import FourierFeatures
from weightwalk.registry import unknown
from weightwalk.spec import NetworkSpec
from weightwalk.weights import Weights

Ends = Literal["sinusoidal", "learned", "none"]


@encoders.register("nfn")
class NFNEncoder(Encoder):
    """Layers between features of weights and biases, all linear maps that commute with permutations: see `NFNLayer`.

        features = phi((theta - mean) / std),   then `num_layers` times Dropout(ReLU(NFNLayer(features))),   then means

    with phi Gaussian Fourier features of every number (`num_frequencies` of deviation `scale`; 0 leaves the number as
    it is), and one mean and deviation per weight and bias tensor over the training networks: buffers that `prepare`
    sets, or 0 and 1 without `standardise`, which left out is for numbers without frequencies. Dropout takes whole
    channels of a weight. A layer without a bias has b = 0.

    Variants: "hnp" knows that inputs and outputs of networks have an order, "np" lets them change places and tells them
    apart by `io_encoding`: "sinusoidal" (`EndEncoding`: 6 bands up to 10), "learned" (numbers added in every layer) or
    "none"; left out "sinusoidal" for np and "none" for hnp.

    Defaults are ours, for two cores: left out, dim is 64 and num_frequencies 32, or 16 and 0 for networks with kernels,
    whose taps multiply both. Published for INRs: dim=512, num_layers=3, num_frequencies=128, scale=10 (3 on MNIST),
    dropout=.1 on MNIST, under head.hidden_dim=1000 head.num_hidden=2 head.dropout=.5 (MNIST .1); for CNNs hnp of
    channels=16,16,5 without frequencies. `channels`, one number per layer, stands for dim and num_layers.

    Shapes: Weights of B networks, a chain of dense layers and convolutions -> pooled (B, D), the means of every weight
    and bias, of hnp for every input and output; nodes (B, n_l, dim), biases' features, of inputs the mean of what goes
    out of them; with `edges` the weights' features (B, O, I[, K], dim). Memory per network: about
    num_parameters x (2 num_frequencies + 1.2 dim num_layers) numbers are kept for gradients (measured at 32-64, 3-6
    layers), taps as they are among the parameters; without gradients two layers' worth.
    """

    def __init__(
        self,
        spec: NetworkSpec,
        variant: Variant = "hnp",
        dim: int | None = None,
        num_layers: int = 3,
        channels: tuple[int, ...] = (),
        num_frequencies: int | None = None,
        scale: float = 10.0,
        io_encoding: Ends | None = None,
        dropout: float = 0.0,
        standardise: bool | None = None,
        edges: bool = False,
    ):
        self.validate(SimpleNamespace(**locals()))
        super().__init__(spec)
        self.of, self.edges = matrices(spec, variant), edges
        kernels = any(matrix.num_taps > 1 for matrix in self.of)
        if num_frequencies is None:
            num_frequencies = 0 if kernels else 32
        standardise = not num_frequencies if standardise is None else standardise
        channels = channels or (dim or (16 if kernels else 64),) * num_layers
        self.standardise = Standardise(2 * len(self.of)) if standardise else None
        self.features = FourierFeatures(num_frequencies, scale) if num_frequencies else None
        told = io_encoding or ("sinusoidal" if variant == "np" else "none")
        self.ends = EndEncoding(self.of, max_frequency=10.0, num_bands=6) if told == "sinusoidal" else None
        widths = [(2 * num_frequencies or 1) + (self.ends.dim if self.ends else 0), *channels]
        self.layers = nn.ModuleList(
            NFNLayer(self.of, *pair, learned_ends=told == "learned") for pair in pairwise(widths)
        )
        self.dropout = nn.Dropout(dropout)
        self.pooled_dim = num_pooled(self.of) * widths[-1]

    @classmethod
    def validate(cls, options: Any) -> None:
        bounded(options, "dim num_layers channels", 1)
        bounded(options, "num_frequencies", 0)
        bounded(options, "scale", above=0)
        bounded(options, "dropout", 0, below=1)
        for name, known in (("variant", get_args(Variant)), ("io_encoding", (*get_args(Ends), None))):
            if (value := getattr(options, name)) not in known:
                raise InputError(unknown(name, value, [one for one in known if one]))

    def prepare(self, batches: Iterable[Weights]) -> None:
        """Set the mean and deviation of every weight and bias tensor."""
        if self.standardise is not None:
            self.standardise.measure_layers(batches)

    def read(self, weights: Weights) -> Encoding:
        features = self._features(weights)
        for layer in self.layers:
            features = self._dropped(Features(*(tuple(x.relu() for x in tensors) for tensors in layer(features))))
        shapes = [layer.weight_shape for layer in weights.spec.layers]
        pairs = zip(features.weights, shapes, strict=True)
        edges = tuple(x.reshape(len(x), *shape, x.shape[-1]) for x, shape in pairs)
        return Encoding(
            pooled=pool(self.of, features),
            nodes=(features.weights[0].mean((1, 3)), *features.biases),
            edges=edges if self.edges else (),
        )

    def _features(self, weights: Weights) -> Features:
        """What the first layer reads."""
        found: list[list[Tensor]] = [[], []]
        for number, (matrix, weight, bias) in enumerate(zip(self.of, weights.weights, weights.biases, strict=True)):
            bias = weight.new_zeros(len(weight), matrix.num_targets) if bias is None else bias
            weight = weight.reshape(len(weight), matrix.num_targets, matrix.num_sources, matrix.num_taps)
            for role, x in enumerate((weight, bias)):
                if self.standardise is not None:
                    x = self.standardise.feature(x, 2 * number + role)
                found[role].append(x.unsqueeze(-1) if self.features is None else self.features(x))
        features = Features(*(tuple(tensors) for tensors in found))
        return features if self.ends is None else self.ends(features)

    def _dropped(self, features: Features) -> Features:
        """With whole channels of every weight, and single numbers of every bias, dropped."""
        if not self.training or not self.dropout.p:
            return features
        kept = [self.dropout(x.new_ones(len(x), 1, 1, *x.shape[3:])) for x in features.weights]
        weights = tuple(x * mask for x, mask in zip(features.weights, kept, strict=True))
        return Features(weights, tuple(self.dropout(x) for x in features.biases))
