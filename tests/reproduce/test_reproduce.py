"""Tables that are made again: every encoder is in them, and published cells are never among ours."""

import pytest
import torch
from torch import nn

from weightwalk import InputError
from weightwalk.bench.costs import bytes_of, tensors_of
from weightwalk.bench.team import Team
from weightwalk.encoders import Encoder, Encoding, encoders
from weightwalk.report import tables
from weightwalk.reproduce import TABLES, efficiency, readings


@pytest.mark.parametrize("kind", ["mnist", "cifar10", "vit"])
def test_every_registered_encoder_is_read_with(kind):
    recipes = [way.config.encoder.name for way in readings.ways(kind)]
    assert set(recipes) == set(encoders) - ({"nfn"} if kind == "vit" else set())  # which reads chains of layers
    assert len({way.reader for way in readings.ways(kind)}) == len(recipes)


def test_an_encoder_that_is_added_is_in_the_table_where_it_reads_such_networks(monkeypatch):
    class Sums(Encoder):
        def __init__(self, spec):
            super().__init__(spec)
            if spec.is_chain is False:
                raise InputError("expected a chain, got another network; use another encoder")
            self.pooled_dim = 1

        def read(self, weights):
            return Encoding(pooled=weights.flat.sum(1, keepdim=True))

    monkeypatch.setitem(encoders._entries, "sums", Sums)
    assert "sums" in [way.reader for way in readings.ways("mnist")]
    assert "sums" not in [way.reader for way in readings.ways("vit")]


@pytest.mark.parametrize("does", ["answer", "latents", "step"])
def test_a_way_and_its_plain_form_compute_the_same(does):
    """The same parameters and the same networks; a step leaves the same parameters behind."""
    small = ("encoder.dim=32", "encoder.num_frequencies=8", "latents.theta_dim=8", "latents.generator_dim=16")
    given = readings.networks("mnist", 3)
    found, close = [], 2e-4 if does == "step" else 1e-5  # Adam moves by 1e-3, whatever the size of a gradient
    for form in (does, f"plain {does}"):
        way = readings.Way("mnist", "any", "mnist_inr2jls", form, small)
        module, call = way.build(given)
        answer = call()
        found.append(
            answer if answer is not None and does != "step" else nn.utils.parameters_to_vector(module.parameters())
        )
    torch.testing.assert_close(*found, rtol=1e-4, atol=close)
    other, call = readings.Way("mnist", "any", "mnist_inr2jls", does, (*small, "encoder.scale=2.0")).build(given)
    wrong = call() if does != "step" else nn.utils.parameters_to_vector(other.parameters())
    assert not torch.allclose(wrong, found[1], rtol=1e-4, atol=close)


def test_a_training_step_takes_parameters_gradients_and_moments():
    state = efficiency._Measured(2, ("mnist",))
    steps = {way.reader: number for number, (_, way, _) in enumerate(state.ways) if way.trains}
    assert list(steps) == ["INR2JLS", "INR2JLS, plain form", "DNG-Encoder alone"]
    _, way, given = state.ways[steps["INR2JLS"]]
    parameters = bytes_of(tensors_of(way.build(given)[0])) / 1e6
    with Team(1) as team:  # a fresh process, which has no memory left over
        team.give([efficiency._Measured(2, ("mnist",))])
        _, [mb] = team.run(efficiency._grown, steps["INR2JLS"])
    assert mb is None or 4 * parameters < mb < 10 * parameters


def test_taus_of_ours_are_those_of_vits(tmp_path):
    row = tables.ResultRow(
        *("generalization", "cifar10", "vit@1", "dng", "weights", "independent", 1, "kendall_tau test"),
        *(0.8, None, (0,), "vit_accuracy_small@1", "abc", "here", 1.0),
    )
    for changes in ({}, {"value": 0.9, "recipe": "cnn_accuracy_small@1"}, {"value": 0.95, "metric": "kendall_tau val"}):
        tables.append(tmp_path / "rows.csv", tables.dataclasses.replace(row, **changes))
    assert {name: each.value for name, each in efficiency._taus(tmp_path / "rows.csv").items()} == {"dng": 0.8}
    assert efficiency._taus(None) == {}
    assert {"efficiency", "table1"} <= set(TABLES)
