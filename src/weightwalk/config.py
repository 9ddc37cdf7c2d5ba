"""Typed configurations: frozen dataclasses that are overridden by `key=value`, compared, saved and fingerprinted.

A configuration is a frozen dataclass of numbers, strings, booleans, None, tuples of those, and further
configurations. Types are checked when a value is set: a wrong one is named with the type that was expected.

A nested configuration may be one of several, chosen by name (an encoder): then it has a field `name` and a static
method
`named(name, **settings)`, and `encoder=NAME` replaces it by that one's defaults.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import types
import typing
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from weightwalk.errors import InputError
from weightwalk.registry import unknown

C = TypeVar("C")

LATE = {"late": True}
"""Metadata of a field that came after configurations had been saved: it is left out of them where it has its default.

So old ones are equal to new ones, and have the same fingerprints.
"""


def override(config: C, settings: Sequence[str]) -> C:
    """A copy of `config` with `settings` like `pretrain.steps=100` applied; an unknown key lists the known ones."""
    for setting in settings:
        key, equals, text = setting.partition("=")
        if not equals:
            raise InputError(
                f"expected a setting KEY=VALUE, got {setting!r}; write for example {next(iter(keys(config)))}=VALUE"
            )
        config = _set(config, key.strip(), key.strip().split("."), text.strip())
    return config


def _set(config: C, key: str, path: list[str], text: str) -> C:
    hints = typing.get_type_hints(type(config))
    name, rest = path[0], path[1:]
    value = getattr(config, name) if name in hints else None
    if value is None and rest:
        kinds = [
            kind
            for kind in typing.get_args(hints.get(name))
            if isinstance(kind, type) and dataclasses.is_dataclass(kind)
        ]
        value = kinds[0]() if kinds else None  # a group of settings that was left out begins with its defaults
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
        else:
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
    if typing.get_origin(hint) is typing.Literal:
        choices = typing.get_args(hint)
        if text not in choices:
            raise InputError(f"{key} must be one of {', '.join(map(str, choices))}, got {text!r}")
        return text
    if typing.get_origin(hint) is tuple:
        inner = typing.get_args(hint)[0]
        return tuple(_parse(key, part.strip(), inner) for part in text.strip("()[]").split(",") if part.strip())
    if hint is bool:
        if text.lower() not in ("true", "false"):
            raise InputError(f"{key} must be true or false, got {text!r}")
        return text.lower() == "true"
    if hint in (int, float):
        try:
            return hint(text.replace("_", ""))
        except ValueError:
            raise InputError(f"{key} must be {'a whole number' if hint is int else 'a number'}, got {text!r}") from None
    assert hint is str, f"{key} has a type that cannot be set: {hint}"
    return text


def to_dict(config: Any) -> dict[str, Any]:
    """Plain JSON values, without `LATE` fields that have their defaults."""
    plain: dict[str, Any] = json.loads(json.dumps(saved_fields(config), default=saved_fields))
    return plain


def saved_fields(config: Any) -> dict[str, Any]:
    """The fields of a dataclass that are saved, with their values as they are."""
    entries = [
        entry
        for entry in dataclasses.fields(config)
        if "late" not in entry.metadata or getattr(config, entry.name) != entry.default
    ]
    return {entry.name: getattr(config, entry.name) for entry in entries}


def from_dict(kind: type[C], value: Mapping[str, Any]) -> C:
    """The inverse of `to_dict`; unknown or missing keys are named."""
    hints = typing.get_type_hints(kind)
    fields = dataclasses.fields(kind)  # type: ignore[arg-type]
    strangers = set(value) - {field.name for field in fields}
    if strangers:
        raise InputError(unknown("setting", sorted(strangers)[0], [field.name for field in fields]))
    arguments = {}
    for field in fields:
        if "late" in field.metadata and field.name not in value:
            continue
        if field.name not in value:
            raise InputError(
                f"expected a {kind.__name__} with a value for {field.name!r}, found none; it was written by another "
                "version"
            )
        arguments[field.name] = _restore(hints[field.name], value[field.name])
    return kind(**arguments)


def _restore(hint: Any, value: Any) -> Any:
    for option in typing.get_args(hint) or (hint,):
        if dataclasses.is_dataclass(option) and isinstance(option, type) and isinstance(value, Mapping):
            return option.named(**value) if hasattr(option, "named") else from_dict(option, value)
    return tuple(value) if isinstance(value, list) else value


def differences(old: Mapping[str, Any], new: Mapping[str, Any], prefix: str = "") -> list[str]:
    """What changed between two dictionaries of settings, each as `key was X, now Y`."""
    found: list[str] = []
    for key in [*old, *(key for key in new if key not in old)]:
        before, after = _numbered(old.get(key)), _numbered(new.get(key))
        if isinstance(before, Mapping) and isinstance(after, Mapping):
            found += differences(before, after, f"{prefix}{key}.")
        elif before != after:
            found.append(f"{prefix}{key} was {_short(old.get(key))}, now {_short(new.get(key))}")
    return found


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 80 else f"{text[:80]}..."


def _numbered(value: Any) -> Any:
    """A list of dictionaries (a network's steps) as a dictionary by position, so that only the entry that differs is
    named.
    """
    if isinstance(value, list) and value and all(isinstance(entry, Mapping) for entry in value):
        return {str(position): entry for position, entry in enumerate(value)}
    return value


def fingerprint(value: Mapping[str, Any]) -> str:
    """Ten hex digits that name a set of settings."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:10]
