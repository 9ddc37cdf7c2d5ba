import numpy as np
import pytest
import torch

from weightwalk import InputError, files, memory


def test_what_takes_more_than_there_is_is_said_with_both_figures(monkeypatch):
    monkeypatch.setattr(memory, "available", lambda: 3_200_000_000)
    memory.check(3.2e9, "a render", "choose a smaller --size")
    sentence = r"a render takes 32.0 GB of memory, but 3.2 GB are free; choose a smaller --size"
    with pytest.raises(InputError, match=sentence):
        memory.check(32e9, "a render", "choose a smaller --size")
    monkeypatch.setattr(memory, "available", lambda: None)
    memory.check(1e30, "a render", "choose a smaller --size")


def test_a_process_has_less_than_the_machine_and_a_container_less_than_that(monkeypatch, tmp_path):
    assert 0 < memory.available() <= memory.total()
    (tmp_path / "memory.max").write_text("1000000\n")
    monkeypatch.setattr(memory, "_CGROUPS", (tmp_path / "memory.max",))
    assert memory.total() == memory.available() == 1_000_000
    (tmp_path / "memory.max").write_text("max\n")
    assert memory.total() > 1_000_000


SHORT = {
    "torch": lambda: torch.empty(10**14),
    "torch, too many to count": lambda: torch.nn.Linear(9_999_999_999, 9_999_999_999),
    "torch, a size beyond 64 bits": lambda: torch.empty(10**30),
    "numpy": lambda: np.empty(10**14),
    "numpy, too many to count": lambda: np.empty(10**19),
    "python": lambda: [0] * 10**15,
}


@pytest.mark.parametrize("what", SHORT)
def test_errors_that_mean_too_little_memory_are_told(what):
    with pytest.raises((RuntimeError, MemoryError, TypeError, ValueError, OverflowError)) as caught:
        SHORT[what]()
    assert memory.told(caught.value).startswith("expected work that fits in memory, got ")


@pytest.mark.parametrize("make", [lambda: torch.zeros(3) @ torch.zeros(4), lambda: int("x"), lambda: {}["a"]])
def test_other_errors_are_not(make):
    with pytest.raises(Exception, match=r".") as caught:
        make()
    assert memory.told(caught.value) is None


def test_sizes_for_people():
    assert [files.in_units(n) for n in (7, 1_500, 250_000, 3.2e9, 5e15, 1e30)] == [
        *("7 bytes", "1.5 kB", "250 kB", "3.2 GB", "5 PB"),
        "more than 1,000,000 PB",
    ]
