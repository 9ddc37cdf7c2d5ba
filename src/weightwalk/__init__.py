"""weightwalk: weight-space learning, networks that read the weights of other networks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from weightwalk.errors import InputError
from weightwalk.spec import NetworkSpec

if TYPE_CHECKING:
    from weightwalk.frameworks.pretrained import load
    from weightwalk.networks.trace import trace
    from weightwalk.weights import Weights

__version__ = "0.1.0"
__all__ = ["InputError", "NetworkSpec", "Weights", "__version__", "load", "trace"]


def __getattr__(name: str) -> Any:
    """Import torch only for those who use it: `weightwalk --help` must not wait for it."""
    if name == "Weights":
        from weightwalk.weights import Weights

        return Weights
    if name == "load":
        from weightwalk.frameworks.pretrained import load

        return load
    if name == "trace":
        from weightwalk.networks.trace import trace

        return trace
    raise AttributeError(f"module 'weightwalk' has no attribute {name!r}")
