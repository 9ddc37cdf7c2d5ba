"""The static neural graph has the nodes and edges of the network, and where weights lie on edges."""

import pytest
import torch

from weightwalk import InputError, NetworkSpec
from weightwalk.graphs.exchange import to_networkx, to_pyg
from weightwalk.graphs.scalars import scalars
from weightwalk.graphs.static import Channels, channels_of, static_graph
from weightwalk.networks.architectures import simple_vit, small_cnn, wild_park
from weightwalk.steps import Conv, Dense, MeanPool, Rearrange
from weightwalk.testing import random_weights, tiny_specs

INR = NetworkSpec.mlp([2, 32, 32, 1])
PARK = wild_park([4, 8, 6], [3, 7, 5], ["relu", "gelu", "tanh"], [-1, -1, 0])


def test_an_inr_has_67_nodes_and_an_edge_per_weight():
    graph = static_graph(INR)
    assert (graph.num_nodes, graph.num_edges) == (67, 64 + 1024 + 32)
    assert static_graph(INR) is graph
    assert [group.kind for group in graph.groups] == ["input", "hidden", "hidden", "output"]
    assert [group.activation for group in graph.groups] == ["identity", "sine", "sine", "identity"]
    assert graph.positions == (0, 1, *[2] * 32, *[3] * 32, 4)  # a row per input, per hidden layer, per output
    assert graph.in_degrees() == [0] * 2 + [2] * 32 + [32] * 33
    assert graph.in_degrees(reverse=True) == [32] * 2 + [34] * 32 + [33] * 32 + [32]


def test_kernels_are_padded_symmetrically_and_dense_is_the_centre():
    graph = static_graph(PARK)
    assert graph.channels == Channels(kernel_size=7, axes=2)
    places = torch.arange(49).view(7, 7)
    of_kind = [block.channels for block in graph.blocks if block.kind == "weight"]
    assert of_kind[0] == tuple(places[2:5, 2:5].flatten().tolist())
    assert of_kind[1] == tuple(range(49))
    assert of_kind[3] == (24,)  # dense
    # the odd row and column are at the bottom and the right
    assert Channels(kernel_size=3, axes=2).kernel((2, 3)) == (0, 1, 2, 3, 4, 5)
    assert Channels(kernel_size=4, axes=2).kernel((3, 1)) == (1, 5, 9)


def test_residual_edges_are_identity_at_the_centre_between_the_channels_that_both_have():
    graph = static_graph(PARK)
    (residual,) = [block for block in graph.blocks if block.kind == "residual"]
    assert residual.layer is None
    assert residual.channels == (24,)
    sources, targets = graph.groups[1].nodes, graph.groups[3].nodes
    assert [*residual.pairs()] == [*zip(sources, targets, strict=False)]  # the first four of six


def test_mixtures_find_their_rows_from_the_front_and_outputs_at_the_end():
    small, large = static_graph(NetworkSpec.mlp([2, 3, 2])), static_graph(NetworkSpec.mlp([2, 3, 3, 3, 2]))
    assert small.rows_in(large.rows) == (0, 1, 2, 2, 2, 5, 6)
    assert large.rows_in(large.rows) == large.positions


@pytest.mark.parametrize("name", tiny_specs())
def test_every_weight_lies_on_one_edge_and_every_edge_ends_where_it_is_read(name):
    spec = tiny_specs()[name]
    graph, weights = static_graph(spec), random_weights(spec, 2, seed=0)
    for number, (layer, weight) in enumerate(zip(spec.layers, weights.weights, strict=True)):
        blocks = [block for block in graph.blocks if block.layer == number]
        carried = torch.cat([scalars(block, weight).flatten(1) for block in blocks], dim=1)
        assert torch.equal(carried.sort(1).values, weight.flatten(1).sort(1).values)
        (own,) = [group.nodes for group in graph.groups if group.layer == number]
        assert {node for block in blocks for node in block.targets} <= set(own)
        assert all(len(block.channels) == scalars(block, weight).shape[-1] for block in blocks)
        assert layer.fan_out == len(own)
    nodes = [node for group in graph.groups for node in group.nodes]
    assert nodes == [*range(graph.num_nodes)]
    assert len(graph.positions) == len(nodes)
    assert max(graph.positions) == sum(graph.rows) - 1


def test_parts_of_large_networks_have_the_edges_that_they_compute_with():
    cnn, vit = static_graph(small_cnn()), static_graph(simple_vit(depth=1))
    assert (cnn.num_nodes, cnn.num_edges) == (1 + 3 * 16 + 10, 16 + 2 * 256 + 160)
    assert vit.channels.roles == ("query", "key")
    of_attention = [block for block in vit.blocks if block.kind in ("query", "key", "value")]
    assert [block.num_edges for block in of_attention] == [64 * 16, 64 * 16, 64]  # within heads, and c -> c


def test_steps_that_mix_channels_with_positions_are_refused():
    mixer = NetworkSpec((Conv(2, 4), Rearrange(4, 9, sizes=(4, 9), order=(1, 0), grid=(4,)), Dense(9, 3), MeanPool(3)))
    with pytest.raises(InputError, match=r"step 1 \(rearrange\) puts several channels into one"):
        static_graph(mixer)
    with pytest.raises(InputError, match="whose edges fit into"):
        static_graph(PARK, channels_of(small_cnn()))


@pytest.mark.parametrize("spec", [INR, PARK, tiny_specs()["vit"]], ids=["inr", "park", "vit"])
def test_networkx_has_the_same_graph(spec):
    pytest.importorskip("networkx")
    graph, weights = static_graph(spec), random_weights(spec, 2, seed=0)
    made = to_networkx(weights, 1)
    assert (made.number_of_nodes(), made.number_of_edges()) == (graph.num_nodes, graph.num_edges)
    assert [degree for _, degree in made.in_degree] == graph.in_degrees()
    first = next(block for block in graph.blocks if block.kind == "weight")
    source, target = first.sources[0], first.targets[-1]
    expected = scalars(first, weights.weights[first.layer])[1, -1, 0].tolist()
    assert made[source][target][0]["weight"] == tuple(expected)
    assert made.nodes[target]["position"] == graph.positions[target]


def test_pyg_has_the_same_graph():
    pytest.importorskip("torch_geometric")
    graph, weights = static_graph(PARK), random_weights(PARK, 2, seed=0)
    data = to_pyg(weights, 1)
    assert data.edge_index.shape == (2, graph.num_edges)
    assert data.edge_attr.shape == (graph.num_edges, 49)
    assert data.num_nodes == graph.num_nodes


def test_a_missing_package_is_one_sentence(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "torch_geometric.data", None)
    with pytest.raises(InputError, match=r"install weightwalk\[graphs\]"):
        to_pyg(random_weights(INR, 1, seed=0))
