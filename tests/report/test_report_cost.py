"""What reading a network costs, counted by hand."""

from weightwalk import NetworkSpec
from weightwalk.graphs.dynamic import DynamicGraph
from weightwalk.report.cost import lifetimes, multiply_adds, node_counts
from weightwalk.steps import Add, Conv, Dense, MeanPool


def test_one_edge_per_pair():
    graph = DynamicGraph.of(NetworkSpec.mlp([2, 3, 1]))
    d, F = 4, 10
    update = d * F + 6 * d * d
    assert multiply_adds(graph, dim=d, num_frequencies=5) == [
        6 * d * (F + 1) + 2 * d * d + 3 * update,
        3 * d * (F + 1) + 3 * d * d + update,
    ]


def test_parallel_edges():
    graph = DynamicGraph.of(NetworkSpec((Conv(1, 2, kernel=(3, 3)), MeanPool(2), Dense(2, 3))))
    d, F, a = 4, 10, 2
    update = d * F + 6 * d * d
    assert multiply_adds(graph, dim=d, num_frequencies=5, head_dim=a) == [
        18 * a * (F + 1 + d) + 2 * d + 9 * a * d + 2 * update,
        6 * a * (F + 1 + d) + 6 * d + 2 * 9 * a * d + 3 * update,
    ]


def test_groups_live_until_they_were_read_last():
    chain = DynamicGraph.of(NetworkSpec.mlp([2, 3, 4, 1]))
    assert node_counts(chain) == [2, 3, 4, 1]
    assert lifetimes(chain) == [(0, 1), (1, 2), (2, 3), (3, 3)]
    residual = DynamicGraph.of(
        NetworkSpec((Dense(2, 3), Dense(3, 3), Dense(3, 3), Add(3, sources=(1, 3)), Dense(3, 1)))
    )
    assert dict(enumerate(lifetimes(residual)))[1][1] >= 3
