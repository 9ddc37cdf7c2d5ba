"""The authors' parameters of NG-GNN in our modules give the authors' numbers."""

import json
from pathlib import Path

import torch
from safetensors import safe_open

from weightwalk import NetworkSpec, Weights
from weightwalk.interop import ng_release
from weightwalk.testing import assert_close

GOLDEN = Path(__file__).parents[1] / "golden"
TOLERANCE = {"atol": 1e-5, "rtol": 1e-5}


def golden(name: str) -> tuple[dict, Weights, dict, dict]:
    """The release's parameters, the networks that it read, what it answered, and its settings."""
    with safe_open(GOLDEN / f"{name}.safetensors", "pt") as file:
        settings, tensors = file.metadata(), {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    widths = json.loads(settings["sizes"])
    own = {
        part: {key.removeprefix(f"{part}."): x for key, x in tensors.items() if key.startswith(f"{part}.")}
        for part in ("param", "in", "out")
    }
    layers = range(len(widths) - 1)
    weights, biases = ([own["in"][f"{role}.{layer}"] for layer in layers] for role in ("weight", "bias"))
    return own["param"], Weights.of(NetworkSpec.mlp(widths), weights, biases), own["out"], settings


@torch.no_grad()
def test_the_graph_network_gives_the_release_s_numbers():
    parameters, weights, out, settings = golden("ng_gnn_probe4_2-8-8-1")
    reader = ng_release.load(parameters, weights.spec.widths, "ng_gnn", settings)
    assert not reader.training
    assert reader.encoder.access == "query"
    graph = reader.encoder.graph_input.graph
    features = reader.encoder.graph_input(weights)
    assert_close(features.nodes, out["graph_nodes"], what="nodes", **TOLERANCE)
    assert_close(features.dense(graph), out["graph_edges"], what="edges", **TOLERANCE)
    seen = []
    for convolution in reader.encoder.norms:
        convolution.register_forward_hook(lambda _, read, written: seen.append((read[0], written)))
    y = reader(weights)
    for number, (read, written) in enumerate(seen):
        assert_close(read.flatten(0, 1), out[f"conv{number}"], what=f"convolution {number}", **TOLERANCE)
        assert_close(written.flatten(0, 1), out[f"norm{number}"], what=f"norm {number}", **TOLERANCE)
    assert_close(
        reader.encoder(weights).nodes[-1].flatten(0, 1),
        out["conv2"].view(3, 19, 8)[:, 18],
        what="last nodes",
        **TOLERANCE,
    )
    assert_close(y, out["y"], what="answers", **TOLERANCE)
    assert_close(reader(weights[:1]), out["y_sample0_alone"], what="alone", **TOLERANCE)
