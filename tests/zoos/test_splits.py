from __future__ import annotations

import numpy as np
import pytest

from weightwalk import config
from weightwalk.errors import InputError
from weightwalk.zoos.splits import PARTS, SPLITS, SplitRule, group_numbers, indices_of, parts_of


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


def test_bounds_split_by_index_as_the_nfn_zoos_are() -> None:
    assert sizes(SplitRule(bounds=(45_000, 50_000)), "all", 70_000) == [45_000, 5_000, 20_000]
    assert sizes(SplitRule(bounds=(55_000, 60_000)), "all", 70_000) == [55_000, 5_000, 10_000]
    assert sizes(SplitRule(bounds=(5, 5)), "all", 7) == [5, 0, 2]
    codes = SplitRule(bounds=(3, 5)).assign("all", np.array([5, 2, 3, 4]))
    assert [SPLITS[code] for code in codes] == ["test", "train", "val", "val"]
    rule = SplitRule(val_every=12, bounds=(3, 5))
    assert np.array_equal(rule.assign("train", np.arange(50)), SplitRule(val_every=12).assign("train", np.arange(50)))


def test_listed_images_validate() -> None:
    rule = SplitRule(val_images=(1, 6))
    assert np.flatnonzero(rule.assign("train", np.arange(30))).tolist() == [1, 6]
    assert sizes(rule, "test", 8) == [0, 0, 8]
    assert sizes(SplitRule(val_images=()), "train", 40) == [40, 0, 0]


def test_groups_have_the_splits_of_their_parts() -> None:
    rule, indices = SplitRule(val_every=4), np.arange(12)
    numbers = {part: group_numbers(part, indices) for part in PARTS}
    assert numbers["all"].tolist() == indices.tolist()
    groups = np.concatenate([numbers[part] for part in PARTS])
    assert len(np.unique(groups)) == 36
    assert np.array_equal(rule.of_groups(groups), np.concatenate([rule.assign(part, indices) for part in PARTS]))
    assert np.array_equal(indices_of(groups), np.tile(indices, 3))
    assert [PARTS[code] for code in parts_of(groups)] == list(np.repeat(PARTS, 12))


@pytest.mark.parametrize("bounds", [(0, 5), (5, 4), (3,), (1, 2, 3)])
def test_bad_bounds(bounds: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match="bounds must be two image indices a, b with 0 < a <= b"):
        SplitRule(bounds=bounds)  # type: ignore[arg-type]
