"""Trackers beside the CSV: TensorBoard gets the rows, goes on after a stop, and a missing package is one sentence."""

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from weightwalk import InputError
from weightwalk.training import tracking

ROWS = [{"step": 2, "train_loss": 1.5, "val_loss": 2.0}, {"step": 4, "train_loss": 0.5, "val_loss": 1.0}]


def scalars(folder, name):
    events = EventAccumulator(str(folder)).Reload()
    return [(event.step, pytest.approx(event.value)) for event in events.Scalars(name)]


def test_rows_go_to_tensorboard_and_a_second_call_goes_on(tmp_path):
    for number, row in enumerate(ROWS):
        with tracking.tracked(["tensorboard"], tmp_path, {"seed": 0, "encoder": {"dim": 8}}, begun=number > 0) as log:
            log("classify", row)
    assert scalars(tmp_path / "tensorboard", "classify/train_loss") == [(2, 1.5), (4, 0.5)]
    assert scalars(tmp_path / "tensorboard", "classify/val_loss") == [(2, 2.0), (4, 1.0)]
    assert len(list(tmp_path.rglob("hparams.yml"))) == 1


def test_without_trackers_nothing_is_written(tmp_path):
    tracking.check([])
    with tracking.tracked([], tmp_path, {}, begun=False) as log:
        log("classify", ROWS[0])
    assert not list(tmp_path.iterdir())


def test_unknown_trackers_and_missing_packages_are_named(monkeypatch):
    with pytest.raises(InputError, match=r"unknown tracker 'tensorbord'.*tensorboard"):
        tracking.check(["tensorbord"])
    monkeypatch.setattr("accelerate.tracking.get_available_trackers", list)
    with pytest.raises(InputError, match=r"found none; install it with pip install 'weightwalk\[track\]'"):
        tracking.check(["tensorboard"])
    with pytest.raises(InputError, match="pip install comet-ml"):
        tracking.check(["comet_ml"])
