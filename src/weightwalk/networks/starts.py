"""Where fits and trainings begin: initialisations drawn so that a network's start depends on nothing but its own key.

The counter-based generator Philox is read raw: the draw for (seed, part, image, fit) is the same whatever else is
drawn, in whatever order, on whatever machine.
"""

from __future__ import annotations

import math
from collections.abc import Sequence, Set
from typing import Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from weightwalk.errors import InputError
from weightwalk.registry import unknown
from weightwalk.spec import Field, NetworkSpec
from weightwalk.steps import Learned, Norm
from weightwalk.weights import Weights

Scheme = Literal["auto", "nfn", "dws", "kaiming", "default"]
SCHEMES: dict[Scheme, str | None] = {"nfn": "sine", "dws": "sine", "kaiming": "relu", "default": None}
"""The initialisations, and the activation that each is made for: `default` for any. `auto` is the first that fits."""

CLASSIFIER_SCHEMES = ("torch", "glorot", "he", "orthogonal", "normal", "truncated")
"""The initialisations of networks that are trained to classify: torch's own, and those of the Small CNN Zoo."""

_TRUNCATED_STD = 0.87962566103423978  # of a standard normal without what is beyond 2

SHARED = -1  # the image number of a start that all images share
FEATURES = -2  # the image number under which Fourier features are drawn


class Key(NamedTuple):
    """What names one start: the run's seed, the part of the dataset (its code), the image, the fit."""

    seed: int
    part: int
    image: int
    fit: int


def initialise(spec: NetworkSpec, keys: Sequence[Key], scheme: Scheme = "auto") -> Weights:
    """One start per key, float32. n is a layer's fan-in, omega its frequency (of the last layer, that before it).

    `nfn` (the recipe of the NFN zoo; spec of Sitzmann et al. 2020): first weights U(+-1/n), further weights
    U(+-sqrt(6/n)/omega), biases U(+-1/sqrt(n)). `dws` (the DWS zoo): hidden weights, the first included,
    U(+-sqrt(6/n)/omega) and zero biases; last weights and biases U(+-1/sqrt(n)). `kaiming` (He et al. 2015): the same
    for relu, where omega is 1. `default` (`torch.nn.Linear`): all weights and biases U(+-1/sqrt(n)). `auto`: nfn for
    sine, kaiming for relu, default for all others. InputError: the scheme is made for another activation.
    """
    scheme = resolve(scheme, {layer.activation for layer in spec.layers[:-1]})
    bound = np.concatenate([np.full(field.stop - field.start, _bound(spec, field, scheme)) for field in spec.fields])
    draws = np.stack([uniform(key, spec.num_parameters) for key in keys])
    return Weights(spec, torch.from_numpy(((2.0 * draws - 1.0) * bound).astype(np.float32)))


def resolve(scheme: Scheme, activations: Set[str]) -> Scheme:
    """The scheme that is meant for hidden layers of these activations; InputError: it is unknown or made for others."""
    fitting = [name for name, made_for in SCHEMES.items() if made_for is None or activations <= {made_for}]
    if scheme == "auto":
        return fitting[0]
    if scheme not in SCHEMES:
        raise InputError(unknown("scheme", scheme, ["auto", *SCHEMES]))
    if scheme not in fitting:
        got = " and ".join(sorted(activations))
        raise InputError(
            f"scheme {scheme!r} starts networks of {SCHEMES[scheme]} layers, got {got}; choose {' or '.join(fitting)}"
        )
    return scheme


def _bound(spec: NetworkSpec, field: Field, scheme: Scheme) -> float:
    layer, last = spec.layers[field.layer], len(spec.layers) - 1
    fan_in = math.prod(layer.weight_shape[1:])
    omega = spec.layers[min(field.layer, last - 1)].omega  # the last layer is linear and takes the omega before it
    by_frequency, by_fan = math.sqrt(6.0 / fan_in) / omega, 1.0 / math.sqrt(fan_in)
    if scheme == "default":
        return by_fan
    if scheme in ("dws", "kaiming"):
        return by_fan if field.layer == last else (by_frequency if field.role == "weight" else 0.0)
    if field.role == "bias":
        return by_fan
    return 1.0 / fan_in if field.layer == 0 else by_frequency


def classifier(spec: NetworkSpec, key: Key, scheme: str = "torch", std: float = 0.05) -> Weights:
    """The start of one network that is to be trained, float32. n is fan-in, m fan-out, taps included.

    `torch` (the defaults of torch.nn): weights and biases U(+-1/sqrt(n)). The others (Keras's; Unterthiner et al. 2020)
    have zero biases: `glorot` weights of variance 2/(n + m) and `he` of 2/n, truncated normal; `orthogonal` an (n, O)
    matrix of orthonormal columns or rows; `normal` of standard deviation `std`, `truncated` the same without what is
    beyond 2 std. Norms start as the identity, fixed values as the table of `sincos`, other learned ones N(0, 0.02^2).
    """
    if scheme not in CLASSIFIER_SCHEMES:
        raise InputError(unknown("scheme", scheme, list(CLASSIFIER_SCHEMES)))
    draws = uniform(key, spec.num_parameters)
    pieces = [_tensor(spec, field, scheme, std, draws[field.start : field.stop]) for field in spec.fields]
    return Weights(spec, torch.from_numpy(np.concatenate(pieces).astype(np.float32))[None])


def _tensor(spec: NetworkSpec, field: Field, scheme: str, std: float, u: NDArray[np.float64]) -> NDArray[np.float64]:
    """One flattened tensor out of as many uniform draws."""
    layer = spec.layers[field.layer]
    if isinstance(layer, Norm):
        return np.full(u.shape, float(field.role == "weight"))
    if isinstance(layer, Learned):
        return sincos(layer).reshape(-1) if layer.fixed else 0.02 * _normal(u, np.inf)
    fan_in = math.prod(layer.weight_shape[1:])
    if scheme == "torch":
        return (2.0 * u - 1.0) / math.sqrt(fan_in)
    if field.role == "bias":
        return np.zeros(u.shape)
    if scheme == "orthogonal":
        return _orthogonal(_normal(u, np.inf).reshape(layer.fan_out, fan_in)).reshape(-1)
    if scheme in ("normal", "truncated"):
        return std * _normal(u, np.inf if scheme == "normal" else 2.0)
    variance = 1.0 / fan_in if scheme == "he" else 1.0 / (fan_in + layer.fan_out * math.prod(layer.weight_shape[2:]))
    return math.sqrt(2.0 * variance) / _TRUNCATED_STD * _normal(u, 2.0)


def _normal(u: NDArray[np.float64], limit: float) -> NDArray[np.float64]:
    """Standard normal numbers out of uniform ones in [0, 1); none beyond +-`limit`."""
    low = float(torch.special.ndtr(torch.tensor(-limit, dtype=torch.float64)))
    inside = torch.from_numpy(low + (1.0 - 2.0 * low) * (u + 2.0**-54))
    normal: NDArray[np.float64] = torch.special.ndtri(inside).numpy()
    return normal


def _orthogonal(normal_OI: NDArray[np.float64]) -> NDArray[np.float64]:
    """(O, n) with orthonormal rows or columns, the fewer of both; a positive diagonal of R makes it uniformly drawn."""
    tall = normal_OI if len(normal_OI) >= normal_OI.shape[1] else normal_OI.T
    q, r = np.linalg.qr(tall)
    q = q * np.sign(np.diag(r))
    return q if tall is normal_OI else q.T


def sincos(layer: Learned) -> NDArray[np.float64]:
    """The positions of `SimpleViT` (Beyer et al. 2022), (O, P) on a square grid.

    With D = O / 4 and w_i = 10000^(-i / (D - 1)), the channels of the place in row y and column x are sin(x w), cos(x
    w), sin(y w), cos(y w), D each.
    """
    side, quarter = math.isqrt(math.prod(layer.grid)), layer.fan_out // 4
    if side**2 != math.prod(layer.grid) or layer.fan_out % 4 or quarter < 2:
        raise InputError(
            f"a table of sines has at least 8 channels, a multiple of 4, over a square of positions, got {layer}"
        )
    w = 10000.0 ** (-np.arange(quarter) / (quarter - 1))
    y, x = (w[:, None] * place.reshape(-1) for place in np.mgrid[:side, :side])
    return np.concatenate([np.sin(x), np.cos(x), np.sin(y), np.cos(y)])


def uniform(key: Key, count: int) -> NDArray[np.float64]:
    """`count` doubles in [0, 1), 53 bits each."""
    seed, part, image, fit = np.array(key, dtype=np.int64).view(np.uint64)
    stream = np.random.Philox(key=np.array([seed, fit], np.uint64), counter=np.array([0, 0, part, image], np.uint64))
    return (stream.random_raw(count) >> np.uint64(11)).astype(np.float64) * 2.0**-53
