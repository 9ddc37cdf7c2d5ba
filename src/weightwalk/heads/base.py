"""What a head is: a module from encodings to answers, registered by name.

To add one, write a file with a subclass of `Head` under `@heads.register("name")` and import it in
`weightwalk/heads/__init__.py`. Its first two arguments are the shape of one encoding and the number of outputs; the
others are options with a type and a default, and can be set from the command line (`--set head.hidden_dim=64`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, ClassVar

import torch
from torch import nn

from weightwalk.errors import InputError
from weightwalk.options import Options
from weightwalk.registry import Registry


class Head(nn.Module):
    """A module from encodings (B, *in_shape) to (B, num_outputs); `__init__(in_shape, num_outputs, **options)`."""

    example_shape: ClassVar[tuple[int, ...]] = (1,)
    """A small shape of encodings that it reads: what the options of a configuration are tried on."""


heads: Registry[type[Head]] = Registry("head")


@dataclass(frozen=True)
class HeadConfig(Options):
    """The name of a registered head and, in the subclass that `named` makes for it, its options.

    Options that the head refuses are an InputError when the configuration is made.
    """

    registry: ClassVar[Registry[Any]] = heads
    given: ClassVar[int] = 2

    def __post_init__(self) -> None:
        if len(fields(self)) > 1:
            try:
                with torch.device("meta"):  # tensors without storage: nothing is drawn, and no size takes memory
                    self.build(heads[self.name].example_shape, 1)
            except RuntimeError as error:
                raise InputError(f"head {self.name!r} cannot be built with {self.options}: {error}") from None

    def build(self, in_shape: Sequence[int], num_outputs: int) -> Head:
        """The head for encodings (B, *in_shape)."""
        head: Head = heads[self.name](in_shape, num_outputs, **self.options)
        return head


def demand(name: str, value: float, low: float, below: float | None = None) -> None:
    """InputError unless `low` <= `value` < `below`."""
    if not (low <= value and (below is None or value < below)):
        limit = f"at least {low}" if below is None else f"at least {low} and below {below}"
        raise InputError(f"a head's {name} must be {limit}, got {value}")
