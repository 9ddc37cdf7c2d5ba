"""The README's Python runs as it stands, in the order in which it stands there."""

import re
from pathlib import Path

import pytest
import torch
from torch import nn

import weightwalk

README = (Path(__file__).parents[1] / "README.md").read_text()
BLOCKS = re.findall(r"```python\n(.*?)```", README, flags=re.S)
NEEDS_A_RUN = [block for block in BLOCKS if "runs/" in block]  # tests/frameworks does what they do


@pytest.fixture
def names():
    return {
        "weightwalk": weightwalk,
        "module": nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 1)),
        "example_input": torch.zeros(4, 2),
    }


@pytest.mark.parametrize("block", [block for block in BLOCKS if block not in NEEDS_A_RUN])
def test_the_readme_runs(block, names, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    exec(compile(block, "README.md", "exec"), names)


def test_there_are_blocks():
    assert len(BLOCKS) >= 4
    assert len(NEEDS_A_RUN) == 2
