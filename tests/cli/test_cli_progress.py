"""Bars on a terminal, lines elsewhere."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from weightwalk.cli import progress
from weightwalk.report.words import duration


@pytest.fixture
def clock(monkeypatch):
    now = [1000.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


def test_lines_are_few_and_say_how_long(clock):
    file = io.StringIO()
    lines = progress.Lines(file)
    for second in range(1, 101):
        clock[0] += 1
        lines("fitting", 10 * second, 1000, {"PSNR dB": 40.123})
    printed = file.getvalue().splitlines()
    assert len(printed) == 11
    assert printed[0] == "fitting 10/1,000, PSNR dB 40.12"
    assert printed[1] == "fitting 110/1,000, 10.0/s, 89 s left, PSNR dB 40.12"
    assert printed[-1] == "fitting 1,000/1,000, 10.0/s, 99 s, PSNR dB 40.12"


def test_lines_of_resumed_work_tell_its_own_rate(clock):
    file = io.StringIO()
    lines = progress.Lines(file)
    lines("training", 5000, 6000, {})
    clock[0] += 10
    lines("training", 5100, 6000, {})
    assert file.getvalue().splitlines()[-1] == "training 5,100/6,000, 10.0/s, 90 s left"


def test_lines_begin_anew_with_a_new_label(clock):
    file = io.StringIO()
    lines = progress.Lines(file)
    lines("one", 1, 9, {})
    lines("two", 1, 9, {})
    lines.close()
    lines("two", 2, 9, {})
    assert file.getvalue().splitlines() == ["one 1/9", "two 1/9", "two 2/9"]


def test_bars_show_labels_counts_and_figures():
    file = io.StringIO()
    bars = progress.Bars(Console(file=file, force_terminal=True, width=120))
    for done in (1, 5, 10):
        bars("pretrain", done, 10, {"loss": 0.5})
    bars("classify [x]", 3, 10, {"val_accuracy": 0.25})
    bars.close()
    bars.close()
    text = file.getvalue()
    for words in ("pretrain", "10/10", "loss 0.5", "classify [x]", "3/10", "val_accuracy 0.25"):
        assert words in text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.04, "0.0 s"), (9.9, "9.9 s"), (59.4, "59 s"), (60, "1 min 0 s"), (3599.7, "1 h 0 min"), (7400, "2 h 3 min")],
)
def test_duration(seconds, text):
    assert duration(seconds) == text
