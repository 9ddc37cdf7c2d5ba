"""Both sides do the same work, or nothing is measured; a busy machine is busy."""

import math
import os
from contextlib import suppress
from pathlib import Path

import pytest
import torch
from torch import nn

from weightwalk import InputError
from weightwalk.bench import encode, graphs, sides, train
from weightwalk.bench.sides import LOADED, OURS, PLAIN, TINY, Line, Sides, Turns
from weightwalk.progress import silent

pytestmark = pytest.mark.usefixtures("one_thread")
RECIPE, SETTINGS = "mnist_classify_small", train.QUICK.small


@pytest.fixture(scope="module")
def state() -> Sides:
    return Sides.of("mnist", TINY, 1)


def test_the_networks_show_pictures_and_targets_are_their_views(state):
    assert state.targets.shape == (4, 6, 1, 28, 28)
    assert (state.targets.min(), state.targets.max()) == (-1, 1)
    assert torch.equal(state.targets[:, 1], state.targets[:, 0].flip(-1))
    first, hidden, last = (float(w.std()) for w in state.networks.weights)
    assert first > 10 * hidden > last > 0


def test_both_sides_agree_and_a_wrong_one_is_refused(state, monkeypatch):
    with torch.no_grad():
        compared, arithmetic = encode._compared(state)
    sides.demand_same({"latents": compared["max_relative_difference"]})
    assert compared["max_relative_difference"] < 1e-5 < compared["bf16_max_relative_difference"] < 0.1
    assert all(value > 0 for value in arithmetic.values())
    losses, _ = train._compared(state, RECIPE, SETTINGS)
    sides.demand_same(losses)

    wrong = {"messages": lambda edges, sources, mlp=None: (edges * sources[:, None]).mean(2)}
    monkeypatch.setattr(encode.plain, "messages", wrong["messages"])
    with pytest.raises(RuntimeError, match="expected the same latents"):
        sides.demand_same({"latents": encode._compared(state)[0]["max_relative_difference"]})
    with pytest.raises(RuntimeError, match="expected the same loss"):
        sides.demand_same(train._compared(state, RECIPE, SETTINGS)[0])
    with pytest.raises(RuntimeError, match="nan"):
        sides.demand_same({"latents": math.nan})


def test_sides_train_copies_of_their_own_in_the_same_way(state):
    before = {name: tensor.clone() for name, tensor in state.model.state_dict().items()}
    for side in (PLAIN, OURS, sides.HALF):
        train._step(state, side)
        train._small_step(state, side, RECIPE, SETTINGS, steps=2)
    trained = [state.trained[side][0] for side in (PLAIN, OURS)]
    for name, parameter in state.model.named_parameters():
        one, other = (dict(model.named_parameters())[name] for model in trained)
        assert torch.equal(parameter, before[name])
        assert not torch.equal(one, parameter)
        assert ((one - other).abs() <= 2e-4).all()  # two of Adam's first steps may be apart where a gradient is noise
    small = state.trained[PLAIN + train.SMALL][0]
    assert isinstance(small.head, nn.Module)
    assert small.encoder.pooled_dim == 8


def test_encoders_of_static_graphs_agree_with_their_plain_forms(state, monkeypatch):
    for bench in (encode, train):
        compared, arithmetic = bench._compared_graphs(state, graphs.TINY)
        sides.demand_same(compared)
        assert list(arithmetic) == list(graphs.sides())
        assert all(value > 0 for value in arithmetic.values())
    for side in (PLAIN, OURS):
        train._graph_step(state, side, "ng_t", graphs.TINY)
    one, other = (state.trained[f"{side}, ng_t"][0] for side in (PLAIN, OURS))
    assert all(((a - b).abs() <= 4e-4).all() for a, b in zip(one.parameters(), other.parameters(), strict=True))

    monkeypatch.setattr(graphs.plain_graphs, "attention", lambda layer, nodes, pairs: nodes)
    with pytest.raises(RuntimeError, match="expected the same encodings of ng_t"):
        sides.demand_same(encode._compared_graphs(state, graphs.TINY)[0])


def test_arithmetic_of_the_encoder_by_hand(state):
    edges, nodes, dim, features = 2 * 32 + 32 * 32 + 32, 65, TINY.dim, 2 * TINY.num_frequencies
    latents = 6 * 7 * 7
    products = dim * features * (edges + nodes) + dim * dim * (2 + 32 + 32) + 6 * dim * dim * nodes
    products += latents * (8 + dim) * 8 + latents * 8 * 8
    assert encode._compared(state)[1][PLAIN] == pytest.approx(2e-9 * products)


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="only Linux lists processes")
def test_busy_processes_live_as_long_as_they_are_needed():
    before = counting()
    with sides.busy(2):
        assert len(counting() - before) == 2
    assert counting() == before


def counting() -> set[str]:
    """Processes that only count, of this process."""
    found = set()
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            parent = (folder / "stat").read_text().rpartition(")")[2].split()[1]
            if int(parent) == os.getpid() and b"getppid" in (folder / "cmdline").read_bytes():
                found.add(folder.name)
    return found


def test_what_is_told_are_medians_of_neighbours():
    turns, calls = Turns(6, silent), {PLAIN: [9.0, 4.0, 8.0, 90.0], OURS: [7.0, 2.0, 2.0, 30.0]}
    for suffix in ("", LOADED):
        sequences = {side: iter(seconds) for side, seconds in calls.items()}
        turns.take({side: lambda it=it: (next(it), []) for side, it in sequences.items()}, 3, suffix)
    lines = [Line("ratio", "a line", PLAIN, OURS, 2), Line("other", "loaded", PLAIN + LOADED, OURS + LOADED, 2)]
    values, rows = turns.told(lines, {PLAIN: 3.0, OURS: 1.0})
    assert values["ratio"] == values["other"] == 3.0
    assert values["ratios_in_single_turns"]["ratio"] == [2.0, 4.0, 3.0]
    assert values["ms"][PLAIN] == values["ms"][PLAIN + LOADED] == 4000.0
    assert values["gflops"] == {PLAIN: 0.75, OURS: 1.0, PLAIN + LOADED: 0.75, OURS + LOADED: 1.0}
    assert rows[0][-2:] == ["3 x", "2 to 4"]


def test_unknown_shapes_and_no_threads_are_refused():
    with pytest.raises(InputError, match="cifar10"):
        Sides.of("cifar", TINY, 1)
    with pytest.raises(InputError, match="threads"):
        Sides.of("mnist", TINY, 0)
