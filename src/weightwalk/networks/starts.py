"""Where fits begin: initialisations of MLPs, drawn so that a network's start depends on nothing but its own key.

The counter-based generator Philox is read raw: the draw for (seed, part, image, fit) is the same
whatever else is drawn, in whatever order, on whatever machine.
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
from weightwalk.weights import Weights

Scheme = Literal["auto", "nfn", "dws", "kaiming", "default"]
SCHEMES: dict[Scheme, str | None] = {"nfn": "sine", "dws": "sine", "kaiming": "relu", "default": None}
"""The initialisations, and the activation that each is made for; `default` goes with any. `auto` is the first that fits."""

SHARED = -1  # the image number of a start that all images share
FEATURES = -2  # the image number under which Fourier features are drawn


class Key(NamedTuple):
    """What names one start: the run's seed, the part of the dataset (its code), the image, the fit."""

    seed: int
    part: int
    image: int
    fit: int


def initialise(spec: NetworkSpec, keys: Sequence[Key], scheme: Scheme = "auto") -> Weights:
    """One start per key, float32. n is a layer's fan-in, omega its frequency (the linear last layer takes the one before it).

    `nfn` (the recipe of the NFN zoo; spec of Sitzmann et al. 2020): first weights U(+-1/n), further weights U(+-sqrt(6/n)/omega),
    biases U(+-1/sqrt(n)). `dws` (the DWS zoo): hidden weights, the first included, U(+-sqrt(6/n)/omega) and zero biases; last
    weights and biases U(+-1/sqrt(n)). `kaiming` (He et al. 2015): the same for relu, where omega is 1. `default` (`torch.nn.Linear`):
    all weights and biases U(+-1/sqrt(n)). `auto`: nfn for sine, kaiming for relu, default for all others.
    Raises InputError for a scheme that is made for another activation.
    """
    scheme = resolve(scheme, {layer.activation for layer in spec.layers[:-1]})
    bound = np.concatenate([np.full(field.stop - field.start, _bound(spec, field, scheme)) for field in spec.fields])
    draws = np.stack([uniform(key, spec.num_parameters) for key in keys])
    return Weights.from_flat(spec, torch.from_numpy(((2.0 * draws - 1.0) * bound).astype(np.float32)))


def resolve(scheme: Scheme, activations: Set[str]) -> Scheme:
    """The scheme that is meant for hidden layers of these activations; InputError if it is unknown or made for another one."""
    fitting = [name for name, made_for in SCHEMES.items() if made_for is None or activations <= {made_for}]
    if scheme == "auto":
        return fitting[0]
    if scheme not in SCHEMES:
        raise InputError(unknown("scheme", scheme, ["auto", *SCHEMES]))
    if scheme not in fitting:
        got = " and ".join(sorted(activations))
        raise InputError(f"scheme {scheme!r} starts networks of {SCHEMES[scheme]} layers, got {got}; choose {' or '.join(fitting)}")
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


def uniform(key: Key, count: int) -> NDArray[np.float64]:
    """`count` doubles in [0, 1), 53 bits each."""
    seed, part, image, fit = np.array(key, dtype=np.int64).view(np.uint64)
    stream = np.random.Philox(key=np.array([seed, fit], np.uint64), counter=np.array([0, 0, part, image], np.uint64))
    return (stream.random_raw(count) >> np.uint64(11)).astype(np.float64) * 2.0**-53
