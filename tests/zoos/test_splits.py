from __future__ import annotations

import numpy as np
import pytest

from weightwalk import config
from weightwalk.errors import InputError
from weightwalk.zoos.splits import SPLITS, SplitRule


def sizes(rule: SplitRule, part: str, num_images: int) -> list[int]:
    return np.bincount(rule.assign(part, np.arange(num_images)), minlength=len(SPLITS)).tolist()


def test_published_sizes() -> None:
    assert sizes(SplitRule(val_every=12), "train", 60_000) == [55_000, 5_000, 0]
    assert sizes(SplitRule(val_every=10), "train", 50_000) == [45_000, 5_000, 0]
    assert sizes(SplitRule(), "test", 10_000) == [0, 0, 10_000]
    assert sizes(SplitRule(), "all", 1_790) == [1_253, 179, 358]


def test_the_last_of_every_dozen_validates() -> None:
    codes = SplitRule(val_every=12).assign("train", np.arange(36))
    assert np.flatnonzero(codes).tolist() == [11, 23, 35]


def test_an_image_keeps_its_split_whatever_it_is_asked_with() -> None:
    rule, indices = SplitRule(), np.random.default_rng(0).permutation(1000)
    for part in ("train", "test", "all"):
        assert np.array_equal(rule.assign(part, np.arange(1000))[indices[:100]], rule.assign(part, indices[:100]))


def test_json_round_trip() -> None:
    rule = SplitRule(val_every=7, val_digits=(1, 2), test_digits=())
    assert config.from_dict(SplitRule, config.to_dict(rule)) == rule


def test_bad_input_is_named() -> None:
    with pytest.raises(InputError, match="unknown part 'tset'; known: train, test, all; did you mean 'test'"):
        SplitRule().assign("tset", np.arange(3))
    with pytest.raises(InputError, match=r"val_every must be at least 2.*got 1"):
        SplitRule(val_every=1)
    with pytest.raises(InputError, match="different digits"):
        SplitRule(val_digits=(8,), test_digits=(8, 9))
