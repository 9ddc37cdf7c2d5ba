import json
from dataclasses import FrozenInstanceError, dataclass, field
from typing import Literal

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


def test_what_another_version_wrote_is_named():
    plain = config.to_dict(Outer())
    with pytest.raises(InputError, match="unknown setting 'stepz'"):
        config.from_dict(Outer, {**plain, "stepz": 1})
    with pytest.raises(InputError, match="a value for 'steps', found none"):
        config.from_dict(Outer, {key: value for key, value in plain.items() if key != "steps"})
    with pytest.raises(InputError, match="unknown option of encoder 'dng' 'dims'"):
        EncoderConfig.named("dng", dims=3)


def test_differences_name_key_before_and_after():
    old, new = {"a": 1, "b": {"c": [1], "d": 2}}, {"a": 1, "b": {"c": [2], "d": 2}, "e": 3}
    assert config.differences(old, new) == ["b.c was [1], now [2]", "e was None, now 3"]
    assert config.differences(old, old) == []
    steps = [{"steps": [{"omega": 30.0, "bias": True}, {"omega": omega, "bias": True}]} for omega in (1.0, 2.0)]
    assert config.differences(*steps) == ["steps.1.omega was 1.0, now 2.0"]


@dataclass(frozen=True)
class Grown(Inner):
    momentum: float = field(default=0.0, metadata=config.LATE)
    betas: tuple[float, ...] = field(default=(), metadata=config.LATE)


def test_settings_that_came_later_are_left_out_where_they_have_their_defaults():
    assert config.to_dict(Grown()) == config.to_dict(Inner())
    assert config.from_dict(Grown, config.to_dict(Inner())) == Grown()
    changed = Grown(betas=(0.9,))
    assert config.to_dict(changed) == {**config.to_dict(Inner()), "betas": [0.9]}
    assert config.from_dict(Grown, config.to_dict(changed)) == changed
    assert config.keys(Grown())["momentum"] == 0.0


def test_fingerprints_depend_on_values_and_not_on_order():
    assert config.fingerprint({"a": 1, "b": 2}) == config.fingerprint({"b": 2, "a": 1})
    assert config.fingerprint({"a": 1}) != config.fingerprint({"a": 2})
    assert len(config.fingerprint({})) == 10
