"""What is known of every activation a; the functions are in `weightwalk.evaluate`, as this room has no torch."""

from __future__ import annotations

import math
from dataclasses import dataclass

from weightwalk.errors import InputError
from weightwalk.registry import unknown


@dataclass(frozen=True)
class ActivationFacts:
    """Laws that a keeps for all z, and what the house does with it.

    - `odd`: a(-z) = -a(z); `even`: a(-z) = a(z).
    - `period`: a(z + period) = a(z), or None.
    - `homogeneous`: a(c z) = c a(z) for every c > 0.
    - `omega`: the scale of z that INRs of it have; 1 for all but those whose `omega` means a frequency or a width.
    - `fitted`: INRs of it can be fitted; its value and slope are in zoos/inr/batched.py and zoos/inr/kernel.cpp.
    - `trained`: the compiled trainer (zoos/trained/trainer) has it; value and slope are in its activations.h.
    """

    odd: bool = False
    even: bool = False
    period: float | None = None
    homogeneous: bool = False
    omega: float = 1.0
    fitted: bool = False
    trained: bool = False


ACTIVATIONS: dict[str, ActivationFacts] = {
    "identity": ActivationFacts(odd=True, homogeneous=True, trained=True),
    "relu": ActivationFacts(homogeneous=True, fitted=True, trained=True),
    "tanh": ActivationFacts(odd=True, fitted=True, trained=True),
    "sine": ActivationFacts(odd=True, period=2 * math.pi, omega=30.0, fitted=True, trained=True),
    "sigmoid": ActivationFacts(trained=True),
    "gelu": ActivationFacts(trained=True),
    "silu": ActivationFacts(trained=True),
    "leaky_relu": ActivationFacts(homogeneous=True, trained=True),
    "gaussian": ActivationFacts(even=True, omega=15.0, fitted=True, trained=True),
    **dict.fromkeys(("gelu_tanh", "relu6", "elu", "selu", "softplus", "mish"), ActivationFacts()),
    "hardtanh": ActivationFacts(odd=True),
    **dict.fromkeys(("hardswish", "hardsigmoid"), ActivationFacts()),
}
"""Every activation by its name."""

FITTED = tuple(name for name, facts in ACTIVATIONS.items() if facts.fitted)
"""The activations of the fitting engine, in the order of the table of kernel.cpp."""

TRAINED = tuple(name for name, facts in ACTIVATIONS.items() if facts.trained)
"""The activations of the compiled trainer, in the order of the table of activations.h."""

SCALED = tuple(name for name, facts in ACTIVATIONS.items() if facts.omega != 1.0)
"""The activations that have an omega of their own."""

LEAK = 0.01
"""leaky_relu's slope below zero, unless told otherwise."""


def check_activation(name: str) -> None:
    """InputError for a name that is no activation."""
    if name not in ACTIVATIONS:
        raise InputError(unknown("activation", name, list(ACTIVATIONS)))
