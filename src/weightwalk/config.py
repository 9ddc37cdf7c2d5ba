"""Typed configurations: frozen dataclasses that are overridden by `key=value`, compared, saved and fingerprinted.

A configuration is a frozen dataclass of numbers, strings, booleans, None, tuples and dictionaries of those, and further
configurations. Types are checked when a value is set or read back from JSON: a wrong one is named with the type that
was expected. Whole numbers have 64 bits, others are finite.

A nested configuration may be one of several, chosen by name (an encoder): then it has a field `name` and a static
method `named(name, **settings)`, and `encoder=NAME` replaces it by that one's defaults.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import cache
from typing import Any, TypeVar

from weightwalk.errors import InputError
from weightwalk.registry import unknown

C = TypeVar("C")


_hints: Callable[[Any], dict[str, Any]] = cache(typing.get_type_hints)


def override(config: C, settings: Sequence[str]) -> C:
    """A copy of `config` with `settings` like `pretrain.steps=100` applied; an unknown key lists the known ones."""
    for setting in settings:
        key, equals, text = setting.partition("=")
        if not equals:
            first = next(iter(keys(config)))
            raise InputError(f"expected a setting KEY=VALUE, got {setting!r}; write for example {first}=VALUE")
        config = _set(config, key.strip(), key.strip().split("."), text.strip())
    return config


def _set(config: C, key: str, path: list[str], text: str) -> C:
    hints = _hints(type(config))
    name, rest = path[0], path[1:]
    value = getattr(config, name) if name in hints else None
    if value is None and rest:  # a group of settings that was left out begins with its defaults
        groups: list[Any] = [kind for kind in typing.get_args(hints.get(name)) if dataclasses.is_dataclass(kind)]
        value = groups[0]() if groups else None
    if rest == ["name"] and getattr(value, "name", None) == text:
        return config
    if value is not None and hasattr(value, "named") and rest in ([], ["name"]):
        return dataclasses.replace(config, **{name: value.named(text)})  # type: ignore[type-var]
    leaves_out = not rest and text.lower() == "none" and types.NoneType in typing.get_args(hints.get(name))
    if name not in hints or bool(rest) != (dataclasses.is_dataclass(value) and not leaves_out):
        raise InputError(unknown("setting", key, list(keys(config, key.removesuffix(".".join(path))))))
    new = _set(value, key, rest, text) if rest else _parse(key, text, hints[name])
    return dataclasses.replace(config, **{name: new})  # type: ignore[type-var]


def keys(config: Any, prefix: str = "") -> dict[str, Any]:
    """Every settable key with its value: `{"seed": 0, "pretrain.steps": 400000, ...}`."""
    found: dict[str, Any] = {}
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if dataclasses.is_dataclass(value):
            found |= keys(value, f"{prefix}{field.name}.")
        elif _hints(type(config))[field.name] is not types.NoneType:  # else there is nothing to set
            found[prefix + field.name] = value
    return found


def _parse(key: str, text: str, hint: Any) -> Any:
    """The value that `text` means for the type `hint`."""
    if isinstance(hint, types.UnionType) or typing.get_origin(hint) is typing.Union:
        options = [option for option in typing.get_args(hint) if option is not types.NoneType]
        if text.lower() == "none" and len(options) < len(typing.get_args(hint)):
            return None
        if dataclasses.is_dataclass(options[0]):
            inner = [f"{key}.{field.name}" for field in dataclasses.fields(options[0])]
            raise InputError(f"{key} is a group of settings, got {text!r}; set {', '.join(inner)}, or {key}=none")
        return _parse(key, text, options[0])
    if typing.get_origin(hint) is tuple:
        inner = typing.get_args(hint)[0]
        return tuple(_parse(key, part.strip(), inner) for part in text.strip("()[]").split(",") if part.strip())
    value: Any = text
    if hint is bool:
        value = {"true": True, "false": False}.get(text.lower(), text)
    elif hint in (int, float):
        with suppress(ValueError):
            value = hint(text.replace("_", ""))
    return typed(hint, value, key)


def to_dict(config: Any) -> dict[str, Any]:
    """All fields as plain JSON values; `from_dict` is the inverse."""
    plain: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(config)))
    return plain


def from_dict(kind: type[C], value: Any, key: str = "") -> C:
    """A dataclass of JSON values: a key that is left out has its default, every other value its field's type.

    InputError, naming `key` and the field: an unknown key, a missing one without a default, a value of another type.
    """
    if not isinstance(value, Mapping):
        raise InputError(f"expected {key or kind.__name__} as a JSON object, got {short(value)}")
    fields = {field.name: field for field in dataclasses.fields(kind) if field.init}  # type: ignore[arg-type]
    prefix = f"{key}." if key else ""
    for stranger in value:
        if stranger not in fields:
            raise InputError(unknown("setting", f"{prefix}{stranger}", [prefix + name for name in fields]))
    for name, field in fields.items():
        if name not in value and field.default is field.default_factory is dataclasses.MISSING:
            raise InputError(f"expected a {kind.__name__} with a value for {prefix}{name}, found none")
    return kind(**{name: typed(_hints(kind)[name], entry, prefix + name) for name, entry in value.items()})


def typed(hint: Any, value: Any, key: str) -> Any:
    """A JSON value as one of the type `hint`, lists as tuples; InputError that names the key, the type and the value.

    A TypedDict may have further keys, which hold anything. A bool is no number; a whole number may stand for any.
    """
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any:
        return value
    if origin in (types.UnionType, typing.Union):
        options = [option for option in inner if _fits(option, value)]
        if options:
            return typed(options[0], value, key)
    elif _fits(hint, value):
        if origin is tuple:
            of_each = inner[:1] * len(value) if inner[1:] == (...,) else inner
            if len(of_each) == len(value):
                pairs = enumerate(zip(of_each, value, strict=True))
                return tuple(typed(of_one, entry, f"{key}[{place}]") for place, (of_one, entry) in pairs)
        elif typing.is_typeddict(hint):
            for name in hint.__required_keys__ - set(value):
                raise InputError(f"expected {key} with a value for {name!r}, found none")
            return {name: typed(_hints(hint).get(name, Any), entry, f"{key}.{name}") for name, entry in value.items()}
        elif origin in (dict, Mapping):
            return {name: typed(inner[1], entry, f"{key}.{name}") for name, entry in value.items()}
        elif hasattr(hint, "named"):
            usual = getattr(hint, "name", None)  # of one that has a name of its own
            return from_dict(type(hint.named(typed(str, value.get("name", usual), f"{key}.name"))), value, key)
        elif hasattr(hint, "from_dict"):
            return hint.from_dict(value)
        elif dataclasses.is_dataclass(hint):
            return from_dict(typing.cast(type[Any], hint), value, key)
        elif hint in (int, float):
            if -(2**63) <= value < 2**63 if hint is int else abs(value) < 2**1023:
                return hint(value)
            limit = "of 64 bits" if hint is int else "that is finite"
            raise InputError(f"{key} must be {_in_words(hint)} {limit}, got {short(value)}")
        else:
            return value
    raise InputError(f"{key} must be {_in_words(hint)}, got {short(repr(value))}")


def _fits(hint: Any, value: Any) -> bool:
    """Whether a JSON value can be meant for a type, by its own kind alone."""
    origin = typing.get_origin(hint)
    if origin is typing.Literal:
        return any(value == choice and type(value) is type(choice) for choice in typing.get_args(hint))
    if hint in (int, float):
        return isinstance(value, int if hint is int else int | float) and not isinstance(value, bool)
    if origin is tuple:
        return isinstance(value, list | tuple)
    return isinstance(value, Mapping if _is_object(hint) else origin or hint)


def _is_object(hint: Any) -> bool:
    return dataclasses.is_dataclass(hint) or typing.is_typeddict(hint) or typing.get_origin(hint) in (dict, Mapping)


def _in_words(hint: Any) -> str:
    """What a sentence calls the values of a type."""
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if origin in (types.UnionType, typing.Union):
        return " or ".join(map(_in_words, inner))
    if origin is typing.Literal:
        return f"one of {', '.join(map(str, inner))}"
    if origin is tuple:
        return f"a list of {'any number' if inner[1:] == (...,) else len(inner)}, each {_in_words(inner[0])}"
    if _is_object(hint):
        return "a JSON object"
    words = {int: "a whole number", float: "a number", bool: "true or false", str: "text"}
    return "none" if hint is types.NoneType else words.get(hint, str(hint))


def bounded(config: Any, names: str, low: float | None = None, *, above: float | None = None, **high: float) -> None:
    """InputError unless the named fields of `config` are finite numbers in an interval; None, nothing set, is fine.

    The interval goes from `low` or above `above`, up to `most` or below `below`; of a tuple every entry is checked.
    """
    most, below = high.pop("most", math.inf), high.pop("below", math.inf)
    assert not high, high
    for name in names.split():
        value = getattr(config, name)
        for entry in value if isinstance(value, tuple) else (value,):
            number = isinstance(entry, int | float) and not isinstance(entry, bool)
            inside = number and (above is None or entry > above) and (low is None or entry >= low)
            if entry is not None and not (inside and math.isfinite(entry) and entry <= most and entry < below):
                ends = {"of at least": low, "above": above, "of at most": most, "below": below}
                told = " and".join(f" {word} {end:g}" for word, end in ends.items() if end not in (None, math.inf))
                raise InputError(f"{name} must be a {'' if told else 'finite '}number{told}, got {short(repr(value))}")


def differences(old: Mapping[str, Any], new: Mapping[str, Any], prefix: str = "") -> list[str]:
    """What changed between two dictionaries of settings, each as `key was X, now Y`."""
    found: list[str] = []
    for key in [*old, *(key for key in new if key not in old)]:
        before, after = _numbered(old.get(key)), _numbered(new.get(key))
        if isinstance(before, Mapping) and isinstance(after, Mapping):
            found += differences(before, after, f"{prefix}{key}.")
        elif before != after:
            found.append(f"{prefix}{key} was {short(old.get(key))}, now {short(new.get(key))}")
    return found


def short(value: Any) -> str:
    """A value as a sentence names it: its first 80 characters."""
    text = str(value)
    return text if len(text) <= 80 else f"{text[:80]}..."


def _numbered(value: Any) -> Any:
    """A list of dictionaries (a network's steps) as a dictionary by position, to tell only those that differ."""
    if isinstance(value, list) and value and all(isinstance(entry, Mapping) for entry in value):
        return {str(position): entry for position, entry in enumerate(value)}
    return value


def fingerprint(value: Mapping[str, Any]) -> str:
    """Ten hex digits that name a set of settings."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:10]
