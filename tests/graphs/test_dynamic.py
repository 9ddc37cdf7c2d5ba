import pytest
from hypothesis import given
from hypothesis import strategies as st

from weightwalk import NetworkSpec
from weightwalk.graphs.dynamic import DynamicGraph, Event
from weightwalk.spec import Conv, Dense, MeanPool
from weightwalk.steps import Add, Attention, Learned, Norm
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
def test_playing_the_events_has_what_every_step_reads_and_no_more_than_somebody_will(spec):
    """Nodes are there when they are read, gone after the timestamp behind the last that reads them; edges live for
    one.
    """
    shots = DynamicGraph.of(spec).snapshots
    assert [shot.value for shot in shots] == [
        value for value, step in enumerate(spec.steps, start=1) if step.has_timestamp
    ]
    outputs = set(spec.flow.groups[-1])
    nodes, edges, residual = {0: spec.widths[0]}, {}, {}
    for number, shot in enumerate(shots):
        for event in shot.events:
            group = {"V": nodes, "E": edges, "R": residual}[event.kind]
            if event.sign == "+":
                assert event.group not in group or event.kind == "R"
                group[event.group] = group.get(event.group, 0) + event.count
            else:
                group[event.group] -= event.count
                assert group[event.group] == 0 or event.kind == "R"  # residual edges to one group may come as others go
                if not group[event.group]:
                    del group[event.group]
        assert set(shot.sources) <= set(nodes)
        assert nodes[shot.target] == shot.step.fan_out
        assert set(edges) == {shot.timestamp}
        assert sum(edges.values()) + sum(residual.values()) == shot.num_edges
        needed = {group for later in shots[number:] for group in later.sources} | outputs
        assert all(group in nodes for group in needed if group <= shot.timestamp)
    assert outputs <= set(nodes)


@pytest.mark.parametrize("spec", tiny_specs().values(), ids=list(tiny_specs()))
def test_residual_edges_are_those_of_the_events_and_come_from_what_is_there(spec):
    for shot in DynamicGraph.of(spec).snapshots:
        events = [(event.group, event.count) for event in shot.events if (event.sign, event.kind) == ("+", "R")]
        assert [(residual.group, residual.edges) for residual in shot.residuals] == events
        assert all(source < shot.timestamp for residual in shot.residuals for source in residual.sources)


def test_the_events_of_a_chain_are_bipartite_blocks():
    spec = NetworkSpec((Conv(2, 4, kernel=(3, 2)), MeanPool(4), Dense(4, 3), Dense(3, 5)))
    nodes = {0}
    for shot in DynamicGraph.of(spec).snapshots:
        for event in shot.events:
            if event.kind == "V":
                nodes = nodes | {event.group} if event.sign == "+" else nodes - {event.group}
        assert nodes == {*shot.sources, shot.target}


def test_kernels_are_parallel_edges_and_pooling_has_no_timestamp():
    spec = NetworkSpec((Conv(2, 4, kernel=(3, 2)), MeanPool(4), Dense(4, 3)))
    shots = DynamicGraph.of(spec).snapshots
    assert [(shot.sources, shot.target, shot.num_edges) for shot in shots] == [((0,), 1, 2 * 4 * 6), ((1,), 2, 12)]
    assert shots[1].step is spec.layers[1]
    assert [shot.passing for shot in shots] == [(), (2,)]


RESIDUAL = NetworkSpec((Dense(2, 4), Dense(4, 4, sources=(1,)), Norm(4, 4), Add(4, sources=(1, 3)), Dense(4, 3)))


def test_a_residual_source_is_kept_until_it_has_been_added():
    shots = DynamicGraph.of(RESIDUAL).snapshots
    assert Event("+", "R", 3, 4) in shots[3].events
    assert shots[3].num_edges == 12 + 4
    assert not any(
        event.kind == "V" and event.group == 1 and event.sign == "-" for shot in shots for event in shot.events
    )
    deleted = {
        (event.group, shot.timestamp)
        for shot in shots
        for event in shot.events
        if (event.sign, event.kind) == ("-", "V")
    }
    assert deleted == {(0, 2), (2, 4)}


def test_an_attention_reads_three_groups_and_a_learned_step_none():
    spec = tiny_specs()["gpt"]
    shot = next(shot for shot in DynamicGraph.of(spec).snapshots if isinstance(shot.step, Attention))
    assert shot.sources == (3, 4, 5)
    spec = tiny_specs()["vit"]
    assert all(not shot.sources for shot in DynamicGraph.of(spec).snapshots if isinstance(shot.step, Learned))


def test_the_timeline_can_be_printed():
    assert str(DynamicGraph.of(NetworkSpec.mlp([2, 32, 16, 1]))).splitlines() == [
        "MLP 2-32-16-1 (sine): t_0 has v^0 (2 nodes)",
        "t_1  v^0 -> v^1  dense sine      +V v^1 (32), +E e^1 (64)",
        "t_2  v^1 -> v^2  dense sine      +V v^2 (16), +E e^2 (512), -V v^0 (2), -E e^1 (64)",
        "t_3  v^2 -> v^3  dense identity  +V v^3 (1), +E e^3 (16), -V v^1 (32), -E e^2 (512)",
    ]


def test_the_timeline_of_a_residual_network():
    assert str(DynamicGraph.of(RESIDUAL)).splitlines()[1:] == [
        "t_1  v^0 -> v^1  dense identity  +V v^1 (4), +E e^1 (8)",
        "t_2  v^1 -> v^2  dense identity  +V v^2 (4), +E e^2 (16), -V v^0 (2), -E e^1 (8)",
        "t_3  v^2 -> v^3  norm identity  +V v^3 (4), +E e^3 (4), -E e^2 (16)",
        "t_4  v^3 -> v^4  dense identity  +V v^4 (3), +E e^4 (12), +R r^3 (4), -V v^2 (4), -E e^3 (4)  (add)",
    ]
