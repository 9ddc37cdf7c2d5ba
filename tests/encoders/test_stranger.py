"""A stranger's encoder in one file: edges of two channels, messages along them, features of every edge as an output.

It is registered, passes the suite, and is trained by its name; no other file knows of it.
"""

import json

import pytest
import torch
from torch import nn
from typer.testing import CliRunner

from weightwalk import InputError
from weightwalk.cli import app
from weightwalk.encoders import Encoder, Encoding, encoders
from weightwalk.encoders.edges import FourierMap
from weightwalk.encoders.messages import messages
from weightwalk.graphs.features import FourierFeatures
from weightwalk.testing import check_encoder


class Stranger(Encoder):
    """The values of an edge are a weight and its square (or its momentum, ...). Chains of dense layers only.

    Shapes: Weights of B networks -> nodes (B, n_l, dim), edges (B, O, I, dim), pooled (B, n_L dim).
    """

    def __init__(self, spec, dim: int = 8, scale: float = 1.0):
        super().__init__(spec)
        if not spec.is_chain or any(step.kind != "dense" or step.taps > 1 for step in spec.steps):
            raise InputError(f"this encoder reads chains of dense layers, got {spec}")
        self.inputs = nn.Parameter(torch.randn(spec.widths[0], dim))
        layers = range(len(spec.layers))
        self.maps = nn.ModuleList(FourierMap(2, FourierFeatures(4, scale), dim) for _ in layers)
        self.sources = nn.ModuleList(nn.Linear(dim, dim) for _ in layers)
        self.biases = nn.ModuleList(nn.Linear(1, dim) for _ in layers)
        self.ends = nn.ModuleList(nn.Linear(2 + 2 * dim, dim) for _ in layers)
        self.pooled_dim = spec.num_outputs * dim

    def read(self, weights):
        nodes, edges = [self.inputs.expand(len(weights), -1, -1)], []
        for layer, (w, b) in enumerate(zip(weights.weights, weights.biases, strict=True)):
            values, source = torch.stack([w, w.square()], dim=-1), nodes[-1]
            message = messages(values, self.maps[layer], self.sources[layer](source)) / w.shape[2]
            b = w.new_zeros(w.shape[:2]) if b is None else b
            nodes.append((message + self.biases[layer](b.unsqueeze(-1))).tanh())
            target, source = torch.broadcast_tensors(nodes[-1][:, :, None], source[:, None])
            edges.append(self.ends[layer](torch.cat([values, target, source], dim=-1)))
        return Encoding(nodes=tuple(nodes), edges=tuple(edges), pooled=nodes[-1].flatten(1))


@pytest.fixture
def registered(monkeypatch):
    monkeypatch.setattr(encoders, "_entries", dict(encoders))  # the other tests never hear of it
    encoders.register("stranger")(Stranger)


def test_it_conforms_by_name_with_its_options(registered):
    assert check_encoder("stranger") == check_encoder("stranger", dim=5, scale=0.5)


def test_it_is_trained_by_name(registered, tmp_path):
    def call(*arguments):
        result = CliRunner().invoke(app, [str(argument) for argument in arguments])
        assert result.exit_code == 0, result.output

    zoo, run = tmp_path / "zoo", tmp_path / "run"
    call("fit", "digits", "--out", zoo, "--limit", 40, "--recipe", "tiny", "--quiet")
    settings = ("encoder=stranger", "encoder.dim=6", "classify.steps=4", "classify.eval_every=2")
    call("train", "digits_classify", "--zoo", zoo, "--out", run, "--quiet", *(f"--set={one}" for one in settings))
    saved = json.loads((run / "run.json").read_text())["config"]["encoder"]
    assert saved == {"name": "stranger", "dim": 6, "scale": 1.0}
