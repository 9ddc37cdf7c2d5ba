import pytest
from hypothesis import given
from hypothesis import strategies as st

from weightwalk import NetworkSpec
from weightwalk.graphs.dynamic import DynamicGraph, Event
from weightwalk.spec import Conv, Dense, MeanPool
from weightwalk.testing import tiny_specs


@given(st.lists(st.integers(1, 40), min_size=2, max_size=9))
def test_events_are_those_of_the_paper_at_any_depth(widths):
    """Eq 3: two additions at t_1; from t_2 on the sources before last and the edges before go."""
    graph = DynamicGraph.of(NetworkSpec.mlp(widths))
    assert [shot.timestamp for shot in graph.snapshots] == list(range(1, len(widths)))
    for shot in graph.snapshots:
        t = shot.timestamp
        expected = [Event("+", "V", t, widths[t]), Event("+", "E", t, widths[t] * widths[t - 1])]
        if t > 1:
            expected += [Event("-", "V", t - 2, widths[t - 2]), Event("-", "E", t - 1, widths[t - 1] * widths[t - 2])]
        assert list(shot.events) == expected


@pytest.mark.parametrize("spec", tiny_specs().values(), ids=list(tiny_specs()))
def test_playing_the_events_gives_the_bipartite_block_of_every_step(spec):
    nodes, edges = {0: spec.widths[0]}, {}
    for shot in DynamicGraph.of(spec).snapshots:
        for event in shot.events:
            group = nodes if event.kind == "V" else edges
            if event.sign == "+":
                group[event.group] = event.count
            else:
                assert group.pop(event.group) == event.count
        assert nodes == {shot.source: shot.layer.fan_in, shot.target: shot.layer.fan_out}
        assert edges == {shot.timestamp: shot.num_edges}
    assert len(DynamicGraph.of(spec).snapshots) == len(spec.layers)


def test_kernels_are_parallel_edges_and_pooling_has_no_timestamp():
    spec = NetworkSpec((Conv(2, 4, kernel=(3, 2)), MeanPool(4), Dense(4, 3)))
    shots = DynamicGraph.of(spec).snapshots
    assert [(shot.source, shot.target, shot.num_edges) for shot in shots] == [(0, 1, 2 * 4 * 6), (1, 2, 12)]
    assert shots[1].layer is spec.layers[1]


def test_the_timeline_can_be_printed():
    assert str(DynamicGraph.of(NetworkSpec.mlp([2, 32, 16, 1]))).splitlines() == [
        "MLP 2-32-16-1 (sine): t_0 has v^0 (2 nodes)",
        "t_1  v^0 -> v^1  dense sine      +V v^1 (32), +E e^1 (64)",
        "t_2  v^1 -> v^2  dense sine      +V v^2 (16), +E e^2 (512), -V v^0 (2), -E e^1 (64)",
        "t_3  v^2 -> v^3  dense identity  +V v^3 (1), +E e^3 (16), -V v^1 (32), -E e^2 (512)",
    ]
