"""Equal time: what a probe's log says of steps, and what a configuration becomes in so many minutes."""

import time
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from weightwalk import InputError
from weightwalk.recipes import RECIPES
from weightwalk.reproduce import minutes
from weightwalk.reproduce.minutes import Pace, scaled, steps_for

CONFIG = RECIPES["digits_inr2jls"]()  # 1,500 steps each, a validation every 150
PACES = {"pretrain": Pace(1.0, 0.1, 0.5), "classify": Pace(2.0, 0.02, 0.25)}


def test_a_probe_s_clocks_tell_steps_from_validations():
    """One step that was slow by chance among them."""
    for pace in PACES.values():
        steps = [pace.step + (pace.before if number == 0 else 0) for number in range(15)]
        steps[11] += pace.validation
        steps[5] *= 3
        found = Pace.of(100.0, [100.0 + sum(steps[:number]) for number in range(15)], 12)
        assert (found.before, found.step, found.validation) == pytest.approx((pace.before, pace.step, pace.validation))


def test_all_stages_are_scaled_so_that_the_time_is_used_up():
    for given in (1.0, 10.0):
        found = scaled(CONFIG, PACES, given)
        spent = sum(
            pace.before + stage.steps * pace.step + -(-stage.steps // stage.eval_every) * pace.validation
            for pace, stage in zip(PACES.values(), found.stages.values(), strict=True)
        )
        assert spent == pytest.approx(60 * given, rel=0.01)
        assert found.pretrain.steps == found.classify.steps
        assert found.pretrain.warmup_steps == min(100, round(100 * found.pretrain.steps / 1500))
        assert replace(found, pretrain=CONFIG.pretrain, classify=CONFIG.classify) == CONFIG


def test_a_time_that_ends_before_the_first_step():
    with pytest.raises(InputError, match=r"more than 0\.17 minutes of a core"):
        scaled(CONFIG, PACES, 0.1)


def test_a_probe_is_made_once(monkeypatch, tmp_path):
    """Whatever the machine does meanwhile, the same question has the same answer; another one is asked anew."""

    zoo = SimpleNamespace(settings={"dataset": "digits"})
    asked = []

    def probed(config, zoo, device, progress, should_stop):
        asked.append(config)
        return PACES if len(asked) == 1 else {name: replace(pace, step=time.time()) for name, pace in PACES.items()}

    monkeypatch.setattr(minutes, "probed", probed)
    given = {"kept": tmp_path, "device": torch.device("cpu")}
    first, second = (steps_for(replace(CONFIG, seed=seed), zoo, 1.0, **given) for seed in (0, 1))
    assert replace(second, seed=0) == first
    assert len(asked) == 1
    monkeypatch.setattr(minutes, "probed", lambda *given: None)
    assert steps_for(replace(CONFIG, fits=1), zoo, 1.0, **given) is None  # stopped while it was probed
