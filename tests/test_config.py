import json
import math
import re
from dataclasses import FrozenInstanceError, dataclass, field
from typing import Any, Literal, NotRequired, TypedDict

import pytest

from weightwalk import InputError, config
from weightwalk.encoders import EncoderConfig
from weightwalk.recipes import RECIPES


@dataclass(frozen=True)
class Inner:
    rate: float = 0.1
    kind: Literal["adam", "sgd"] = "adam"
    clip: float | None = None

    def __post_init__(self):
        if self.rate <= 0:
            raise InputError(f"rate must be positive, got {self.rate}")


@dataclass(frozen=True)
class Outer:
    steps: int = 3
    name: str = "a"
    flag: bool = False
    widths: tuple[int, ...] = (1, 2)
    inner: Inner = field(default_factory=Inner)
    encoder: EncoderConfig = field(default_factory=lambda: EncoderConfig.named("dng"))


@pytest.mark.parametrize(
    ("setting", "key", "value"),
    [
        ("steps=1_000", "steps", 1000),
        (" name = b=c ", "name", "b=c"),
        ("flag=True", "flag", True),
        ("widths=4,5,6", "widths", (4, 5, 6)),
        ("widths=(7,)", "widths", (7,)),
        ("inner.rate=1e-3", "inner.rate", 1e-3),
        ("inner.kind=sgd", "inner.kind", "sgd"),
        ("inner.clip=2", "inner.clip", 2.0),
        ("inner.clip=none", "inner.clip", None),
        ("encoder.dim=32", "encoder.dim", 32),
    ],
)
def test_a_setting_changes_its_key_alone(setting, key, value):
    before, after = config.keys(Outer()), config.keys(config.override(Outer(), [setting]))
    assert after[key] == value
    assert type(after[key]) is type(value)
    assert {name: entry for name, entry in after.items() if name != key} == {
        name: entry for name, entry in before.items() if name != key
    }


@dataclass(frozen=True)
class Optional:
    inner: Inner | None = None


def test_a_group_that_was_left_out_begins_with_its_defaults_and_can_be_left_out_again():
    with_inner = config.override(Optional(), ["inner.rate=0.5"])
    assert with_inner == Optional(Inner(rate=0.5))
    assert config.override(with_inner, ["inner=none"]) == Optional()
    with pytest.raises(
        InputError, match=r"inner is a group of settings, got '16'; set inner\.rate, inner\.kind, inner\.clip"
    ):
        config.override(Optional(), ["inner=16"])
    with pytest.raises(InputError, match="unknown setting 'inner'"):
        config.override(Outer(), ["inner=none"])


def test_later_settings_win_and_the_original_stays():
    start = Outer()
    assert config.override(start, ["steps=4", "steps=5"]).steps == 5
    assert start.steps == 3
    with pytest.raises(FrozenInstanceError):
        start.steps = 4


def test_naming_an_encoder_takes_its_defaults():
    changed = config.override(Outer(), ["encoder.dim=7", "encoder=dng"])
    assert changed == Outer()
    assert config.override(Outer(), ["encoder.name=dng", "encoder.dim=7"]).encoder.dim == 7


@pytest.mark.parametrize(
    ("setting", "sentence"),
    [
        ("steps", "expected a setting KEY=VALUE, got 'steps'; write for example steps=VALUE"),
        ("stepz=1", "unknown setting 'stepz'; known: steps, name, flag, widths, inner.rate, .*did you mean 'steps'"),
        ("inner.rat=1", "unknown setting 'inner.rat'; .*did you mean 'inner.rate'"),
        ("steps.x=1", "unknown setting 'steps.x'"),
        ("inner=1", "unknown setting 'inner'"),
        ("encoder.dims=1", "unknown setting 'encoder.dims'"),
        ("encoder=dgn", "unknown encoder 'dgn'; known: .*did you mean 'dng'"),
        ("steps=1.5", "steps must be a whole number, got '1.5'"),
        ("inner.rate=fast", "inner.rate must be a number, got 'fast'"),
        ("inner.rate=-1", "rate must be positive, got -1.0"),
        ("flag=yes", "flag must be true or false, got 'yes'"),
        ("inner.kind=lion", "inner.kind must be one of adam, sgd, got 'lion'"),
        ("steps=none", "steps must be a whole number, got 'none'"),
        ("steps=9223372036854775808", "steps must be a whole number of 64 bits, got 9223372036854775808"),
        (f"steps={'9' * 5000}", "steps must be a whole number, got '9+"),
        ("inner.rate=nan", "inner.rate must be a number that is finite, got nan"),
        ("inner.clip=1e400", "inner.clip must be a number that is finite, got inf"),
    ],
)
def test_wrong_settings_are_named(setting, sentence):
    with pytest.raises(InputError, match=sentence):
        config.override(Outer(), [setting])


@pytest.mark.parametrize("recipe", RECIPES)
def test_every_recipe_survives_json(recipe):
    made = RECIPES[recipe]()
    plain = json.loads(json.dumps(config.to_dict(made)))
    assert config.from_dict(type(made), plain) == made
    assert made.recipe == recipe


@dataclass(frozen=True)
class Needing:
    width: int


class Found(TypedDict):
    accuracy: float
    counts: NotRequired[dict[str, int]]


@dataclass(frozen=True)
class Every:
    """A field of every type that configurations have."""

    count: int = 0
    share: float = 0.0
    flag: bool = False
    name: str = ""
    choice: Literal["a", "b"] = "a"
    limit: float | None = None
    widths: tuple[int, ...] = ()
    pair: tuple[float, float] = (0.0, 1.0)
    size: int | tuple[int, ...] = 1
    free: dict[str, Any] = field(default_factory=dict)
    shares: dict[str, float] = field(default_factory=dict)
    inner: Inner | None = None
    many: tuple[Inner, ...] = ()
    encoder: EncoderConfig = field(default_factory=lambda: EncoderConfig.named("dng"))
    found: Found = field(default_factory=lambda: {"accuracy": 1.0})


def test_values_of_every_type_are_read_back():
    made = Every(
        *(3, 0.5, True, "x", "b", 1.0, (1, 2), (0.5, 2.0), (3, 4), {"any": [1, {"b": None}]}, {"a": 0.5}),
        *(Inner(clip=1.0), (Inner(0.5), Inner()), EncoderConfig.named("dng", dim=3)),
        {"accuracy": 0.5, "other": [1]},
    )
    assert config.from_dict(Every, json.loads(json.dumps(config.to_dict(made)))) == made
    whole = config.from_dict(Every, {"share": 2, "pair": [0, 1], "limit": None, "size": 3})
    assert whole == Every(share=2.0, size=3)
    assert type(whole.share) is float


WRONG = {
    "count": ([None, "1", 1.5, True, [1], {}, 2**63], "count must be a whole number"),
    "share": ([None, "1", False, [1.0], 1e400, math.nan], "share must be a number"),
    "flag": ([None, 0, "true"], "flag must be true or false, got"),
    "name": ([None, 1, ["a"], {}], "name must be text, got"),
    "choice": ([None, "c", 1, ["a"], {}], "choice must be one of a, b, got"),
    "limit": (["1", True, [], math.inf], "limit must be a number"),
    "widths": ([None, 3, "34", {"0": 1}], "widths must be a list of any number, each a whole number, got"),
    "widths[1]": ([None, "a", 2.5, True], "must be a whole number, got"),
    "pair": ([[1.0], [1.0, 2.0, 3.0]], "pair must be a list of 2, each a number, got"),
    "size": ([None, "3", 1.5, True], "size must be a whole number or a list of any number, each a whole number, got"),
    "free": ([None, [], "a"], "free must be a JSON object, got"),
    "shares.a": ([None, "a"], "shares.a must be a number, got"),
    "inner": ([3, [], "adam"], "inner must be a JSON object or none, got"),
    "inner.rate": ([None, "fast"], "inner.rate must be a number, got"),
    "many[0].kind": (["lion", 3], r"many\[0\].kind must be one of adam, sgd, got"),
    "found": ([{}, None], "expected found with a value for 'accuracy', found none|found must be a JSON object"),
    "found.accuracy": ([None, "1"], "found.accuracy must be a number, got"),
    "found.counts": ([None, 3, {"a": "1"}], "found.counts(.a)? must be a "),
    "encoder": ([None, "dng", [], {}, {"name": 3}], "encoder(.name)? must be (a JSON object|text), got"),
    "encoder.dim": ([None, "a", 1.5], "encoder.dim must be a whole number, got"),
}


@pytest.mark.parametrize("key", WRONG)
def test_a_value_of_another_type_is_named_with_its_key(key):
    values, sentence = WRONG[key]
    for wrong in values:
        plain = config.to_dict(Every(widths=(1, 2), shares={"a": 0.5}, inner=Inner(), many=(Inner(),)))
        place, *path = [int(part) if part.isdigit() else part for part in re.findall(r"\w+", key)][::-1]
        within = plain
        for part in path[::-1]:
            within = within[part]
        within[place] = wrong
        with pytest.raises(InputError, match=sentence):
            config.from_dict(Every, plain)


def test_only_an_object_is_a_configuration():
    for wrong in (None, 3, [], "x"):
        with pytest.raises(InputError, match="expected Outer as a JSON object, got"):
            config.from_dict(Outer, wrong)


@dataclass(frozen=True)
class Ranges:
    share: float | None = 0.5
    sizes: tuple[int, ...] = (1,)

    def __post_init__(self):
        config.bounded(self, "sizes", 1)
        config.bounded(self, "share", above=0, below=1)


@pytest.mark.parametrize("wrong", [0, 1, -1, 2.0, math.nan, math.inf, "a", True])
def test_what_lies_outside_of_its_range_is_named(wrong):
    with pytest.raises(InputError, match="share must be a number above 0 and below 1, got"):
        Ranges(share=wrong)
    assert Ranges(share=None).share is None


def test_every_entry_of_a_tuple_is_in_range():
    with pytest.raises(InputError, match=r"sizes must be a number of at least 1, got \(3, 0\)"):
        Ranges(sizes=(3, 0))


def test_what_another_version_wrote_is_named():
    plain = config.to_dict(Outer())
    with pytest.raises(InputError, match="unknown setting 'stepz'"):
        config.from_dict(Outer, {**plain, "stepz": 1})
    with pytest.raises(InputError, match="expected a Needing with a value for width, found none"):
        config.from_dict(Needing, {})
    assert config.from_dict(Outer, {}) == Outer()
    with pytest.raises(InputError, match="unknown option of encoder 'dng' 'dims'"):
        EncoderConfig.named("dng", dims=3)


def test_differences_name_key_before_and_after():
    old, new = {"a": 1, "b": {"c": [1], "d": 2}}, {"a": 1, "b": {"c": [2], "d": 2}, "e": 3}
    assert config.differences(old, new) == ["b.c was [1], now [2]", "e was None, now 3"]
    assert config.differences(old, old) == []
    steps = [{"steps": [{"omega": 30.0, "bias": True}, {"omega": omega, "bias": True}]} for omega in (1.0, 2.0)]
    assert config.differences(*steps) == ["steps.1.omega was 1.0, now 2.0"]


def test_fingerprints_depend_on_values_and_not_on_order():
    assert config.fingerprint({"a": 1, "b": 2}) == config.fingerprint({"b": 2, "a": 1})
    assert config.fingerprint({"a": 1}) != config.fingerprint({"a": 2})
    assert len(config.fingerprint({})) == 10
