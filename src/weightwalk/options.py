"""Options of registered classes as configurations: the parameters of an `__init__` become a frozen dataclass."""

from __future__ import annotations

import inspect
import typing
from dataclasses import dataclass, field, fields, make_dataclass
from functools import cache
from typing import Any, ClassVar, Self

from weightwalk import config
from weightwalk.errors import InputError
from weightwalk.registry import Registry, unknown


@dataclass(frozen=True)
class Options:
    """The name of a class in `registry` and, in the subclass that `named` makes for it, its options.

    The first `given` arguments of the class are given when it is built; the others are options with a type and a
    default. Wrong types, and what the class refuses in its class method `validate(options)`, are InputErrors when the
    configuration is made, before anything is built or written.
    """

    registry: ClassVar[Registry[Any]]
    given: ClassVar[int] = 1

    name: str

    def __post_init__(self) -> None:
        kind = self.registry[self.name]
        hints = typing.get_type_hints(kind.__init__)
        for entry in fields(self)[1:]:
            value = config.typed(hints[entry.name], getattr(self, entry.name), f"{self.registry.kind}.{entry.name}")
            object.__setattr__(self, entry.name, value)
        kind.validate(self)

    @classmethod
    def named(cls, name: str, **settings: Any) -> Self:
        """The configuration of the class `name`, with the defaults of its own signature except for `settings`."""
        base = next(kind for kind in cls.__mro__ if "registry" in vars(kind))  # also where a subclass is asked
        kind: type[Self] = _options_of(base, name)
        known = [entry.name for entry in fields(kind)[1:]]
        for key in settings:
            if key not in known:
                raise InputError(unknown(f"option of {cls.registry.kind} {name!r}", key, known))
        return kind(name, **settings)

    @property
    def options(self) -> dict[str, Any]:
        """All options with their values."""
        return {entry.name: getattr(self, entry.name) for entry in fields(self)[1:]}


@cache
def _options_of(base: type[Any], name: str) -> type[Any]:
    """A subclass of `base` whose fields are the options of a registered class."""
    entry = base.registry[name]
    signature, hints = inspect.signature(entry.__init__), typing.get_type_hints(entry.__init__)
    options = list(signature.parameters.values())[1 + base.given :]
    entries = [(option.name, hints[option.name], field(default=option.default)) for option in options]
    return make_dataclass(f"{entry.__name__}Config", entries, bases=(base,), frozen=True)
