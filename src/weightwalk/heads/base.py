"""What a head is: a module from encodings to answers, registered by name.

To add one, write a file with a subclass of `Head` under `@heads.register("name")` and import it in
`weightwalk/heads/__init__.py`. Its first two arguments are the shape of one encoding and the number of outputs; the
others are options with a type and a default, and can be set from the command line (`--set head.hidden_dim=64`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import nn

from weightwalk.options import Options
from weightwalk.registry import Registry


class Head(nn.Module):
    """A module from encodings (B, *in_shape) to (B, num_outputs); `__init__(in_shape, num_outputs, **options)`."""

    averages: ClassVar[bool] = False
    """Whether outputs are means over the first axis of encodings, such as views, so that each view is a sample."""

    @classmethod
    def validate(cls, options: Any) -> None:
        """InputError if the attributes of `options`, which have the right types, make no head for any encodings."""


heads: Registry[type[Head]] = Registry("head")


@dataclass(frozen=True)
class HeadConfig(Options):
    """The name of a registered head and, in the subclass that `named` makes for it, its options."""

    registry: ClassVar[Registry[Any]] = heads
    given: ClassVar[int] = 2

    def build(self, in_shape: Sequence[int], num_outputs: int) -> Head:
        """The head for encodings (B, *in_shape)."""
        head: Head = heads[self.name](in_shape, num_outputs, **self.options)
        return head
