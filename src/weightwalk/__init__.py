"""weightwalk: weight-space learning, networks that read the weights of other networks.

What a first program needs is here; everything else is in its room, as docs/architecture.md has them.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from weightwalk.errors import InputError
from weightwalk.spec import NetworkSpec

if TYPE_CHECKING:
    from weightwalk.encoders import DNGEncoder, EncoderConfig
    from weightwalk.frameworks.inr2jls import INR2JLS
    from weightwalk.frameworks.pretrained import load
    from weightwalk.frameworks.reader import Reader
    from weightwalk.networks.trace import trace
    from weightwalk.weights import Weights
    from weightwalk.zoos.images import ImageSet
    from weightwalk.zoos.inr.fit import fit
    from weightwalk.zoos.store import Zoo

__version__ = "0.1.0"

_HOMES = {
    "DNGEncoder": "encoders",
    "EncoderConfig": "encoders",
    "INR2JLS": "frameworks.inr2jls",
    "ImageSet": "zoos.images",
    "Reader": "frameworks.reader",
    "Weights": "weights",
    "Zoo": "zoos.store",
    "fit": "zoos.inr.fit",
    "load": "frameworks.pretrained",
    "trace": "networks.trace",
}
__all__ = [
    "INR2JLS",
    "DNGEncoder",
    "EncoderConfig",
    "ImageSet",
    "InputError",
    "NetworkSpec",
    "Reader",
    "Weights",
    "Zoo",
    "__version__",
    "fit",
    "load",
    "trace",
]


def __getattr__(name: str) -> Any:
    """Import torch only for those who use it: `weightwalk --help` must not wait for it."""
    if name not in _HOMES:
        raise AttributeError(f"module 'weightwalk' has no attribute {name!r}")
    return getattr(importlib.import_module(f"weightwalk.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
