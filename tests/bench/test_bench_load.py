import numpy as np
import pytest
import torch

from weightwalk.bench import load
from weightwalk.progress import silent
from weightwalk.zoos.store import Zoo


def test_both_sides_read_the_same_networks(tmp_path):
    load._make_zoo(tmp_path / "zoo", 40, silent)
    zoo = Zoo.open(tmp_path / "zoo")
    load._make_files(zoo, tmp_path / "files", 50, silent)  # more files than networks: they come again
    numbers = np.array([3, 39, 0, 3, 41])
    states, networks = load._stacked(tmp_path / "files", numbers), zoo.weights(numbers % 40)
    for layer, (weight, bias) in enumerate(zip(networks.weights, networks.biases, strict=True)):
        assert torch.equal(states[f"layers.{layer}.weight"], weight)
        assert torch.equal(states[f"layers.{layer}.bias"], bias)


def test_memory_grows_by_what_is_kept():
    before = load.memory_mib()
    if before is None:
        pytest.skip("this system does not say")
    kept = np.ones(64 * 2**17)  # 64 MiB: more than malloc keeps of what was freed before
    after = load.memory_mib(reset=False)
    assert [b - a for a, b in zip(before, after, strict=True)] == pytest.approx([kept.nbytes / 2**20] * 2, abs=4)
