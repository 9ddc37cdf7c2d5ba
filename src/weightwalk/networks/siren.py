"""SIREN initialisation, drawn so that a network's start depends on nothing but its own key.

The counter-based generator Philox is read raw: the draw for (seed, part, image, fit) is the same
whatever else is drawn, in whatever order, on whatever machine.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np
import torch

from weightwalk.errors import InputError
from weightwalk.spec import Field, NetworkSpec
from weightwalk.weights import Weights

Scheme = Literal["nfn", "dws"]
SHARED = -1  # the image number of a start that all images share


class Key(NamedTuple):
    """What names one start: the run's seed, the part of the dataset (its code), the image, the fit."""

    seed: int
    part: int
    image: int
    fit: int


def initialise(spec: NetworkSpec, keys: Sequence[Key], scheme: Scheme = "nfn") -> Weights:
    """One SIREN start per key, float32.

    `nfn` (the recipe of the NFN zoo; spec of Sitzmann et al. 2020): first weights U(+-1/fan_in), further weights
    U(+-sqrt(6/fan_in)/omega), biases U(+-1/sqrt(fan_in)). `dws` (the DWS zoo): hidden weights, the first included,
    U(+-sqrt(6/fan_in)/omega) and zero biases; last weights and biases U(+-1/sqrt(fan_in)).
    Raises InputError for a spec whose hidden layers are not sine layers.
    """
    if any(layer.activation != "sine" for layer in spec.layers[:-1]):
        raise InputError(f"a SIREN has sine on every hidden layer, got {spec}; make it with NetworkSpec.mlp(widths, activation='sine')")
    bound = np.concatenate([np.full(field.stop - field.start, _bound(spec, field, scheme)) for field in spec.fields])
    uniform = np.stack([_uniform(key, spec.num_parameters) for key in keys])
    return Weights.from_flat(spec, torch.from_numpy(((2.0 * uniform - 1.0) * bound).astype(np.float32)))


def _bound(spec: NetworkSpec, field: Field, scheme: Scheme) -> float:
    layer, last = spec.layers[field.layer], len(spec.layers) - 1
    omega = spec.layers[min(field.layer, last - 1)].omega  # the last layer is linear and takes the omega before it
    by_frequency, by_fan = math.sqrt(6.0 / layer.fan_in) / omega, 1.0 / math.sqrt(layer.fan_in)
    if scheme == "dws":
        return by_fan if field.layer == last else (by_frequency if field.role == "weight" else 0.0)
    if field.role == "bias":
        return by_fan
    return 1.0 / layer.fan_in if field.layer == 0 else by_frequency


def _uniform(key: Key, count: int) -> np.ndarray:
    """`count` doubles in [0, 1), 53 bits each."""
    seed, part, image, fit = np.array(key, dtype=np.int64).view(np.uint64)
    stream = np.random.Philox(key=np.array([seed, fit], np.uint64), counter=np.array([0, 0, part, image], np.uint64))
    return (stream.random_raw(count) >> np.uint64(11)) * 2.0**-53
