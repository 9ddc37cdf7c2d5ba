"""The authors' parameters of NG-GNN in our modules give the authors' numbers."""

import json
from pathlib import Path

import pytest
import torch
from safetensors import safe_open

from weightwalk import InputError, NetworkSpec, Weights
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


def test_what_does_not_fit_is_one_sentence():
    parameters, weights, _, settings = golden("ng_gnn_probe4_2-8-8-1")
    widths = weights.spec.widths
    with pytest.raises(InputError, match="unknown kind 'gnn'"):
        ng_release.load(parameters, widths, "gnn", settings)
    with pytest.raises(InputError, match="gating_edges to be False, got True"):
        ng_release.load(parameters, widths, "ng_gnn", {"gating_edges": True})
    with pytest.raises(InputError, match="stats of 4 layers"):
        ng_release.load(parameters, [2, 8, 8, 8, 1], "ng_gnn", settings)
    with pytest.raises(InputError, match="no place for the release's parameter"):
        ng_release.load(parameters | {"stranger": torch.zeros(1)}, widths, "ng_gnn", settings)
    with pytest.raises(InputError, match="n_heads"):
        ng_release.load(golden("ng_t_probe0_2-8-8-1")[0], widths, "ng_t")


@torch.no_grad()
def test_with_norms_of_its_own_a_node_does_not_look_at_the_batch():
    parameters, weights, _, settings = golden("ng_gnn_probe4_2-8-8-1")
    configs = [{**settings, "norm": norm} for norm in ("minibatch", "node")]
    readers = [ng_release.load(parameters, weights.spec.widths, "ng_gnn", config) for config in configs]
    many = Weights(weights.spec, weights.flat.repeat(100, 1))  # more than a lane has
    for reader, alike in zip(readers, (False, True), strict=True):
        assert torch.allclose(reader(weights)[:1], reader(weights[:1]), atol=1e-5) == alike
        assert_close(reader(many)[:3], reader(weights), what="repeated", atol=1e-5)


@torch.no_grad()
def test_the_editing_graph_network_reads_edges_before_its_last_layer_and_biases_from_the_first_input():
    parameters, weights, out, settings = golden("ng_gnn_probe4_2-8-8-1")
    editing = {name: x for name, x in parameters.items() if not name.startswith("proj_out.")}
    for part in ("proj_node", "proj_edge"):
        editing |= {f"{part}.0.weight": torch.randn(8, 8), f"{part}.0.bias": torch.randn(8)}
        editing |= {f"{part}.2.weight": torch.randn(1, 8), f"{part}.2.bias": torch.randn(1)}
    editing |= {f"{role}_scale.{layer}": torch.tensor(0.1 * layer) for role in ("weight", "bias") for layer in range(3)}

    def head(part, x):
        hidden = (x @ editing[f"{part}.0.weight"].T + editing[f"{part}.0.bias"]).relu()
        return (hidden @ editing[f"{part}.2.weight"].T + editing[f"{part}.2.bias"])[..., 0]

    nodes = head("proj_node", out["conv2"].view(3, 19, 8))
    edges = head("proj_edge", out["edge_update1"].view(3, -1, 8))[:, 16:80].view(3, 8, 8).mT  # of layer 1, I before O
    unused = {name.replace("update.1.", "update.2."): x for name, x in editing.items() if ".edge_update.1." in name}
    for config, first in (({}, 8), ({"bias_nodes": "own"}, 10)):
        model = ng_release.load(editing | unused, weights.spec.widths, "ng_gnn", settings | config)
        found = Weights(weights.spec, model(weights))
        assert not found.weights[0].any()  # whose scale is 0
        assert_close(found.weights[1], 0.1 * edges, what="offsets of weights", **TOLERANCE)
        assert_close(found.biases[1], 0.1 * nodes[:, first : first + 8], what="offsets of biases", **TOLERANCE)
    with pytest.raises(InputError, match="unknown bias_nodes 'all'; known: first, own"):
        ng_release.load(editing, weights.spec.widths, "ng_gnn", settings | {"bias_nodes": "all"})
