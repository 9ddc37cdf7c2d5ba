"""Where the nodes of every value come from, and in which order the steps are done."""

from weightwalk import NetworkSpec
from weightwalk.steps import Activate, Add, Concat, Dense, Norm
from weightwalk.testing import tiny_specs


def test_what_is_added_to_is_the_newest_whatever_the_order_of_the_sources():
    for sources in ((1, 2), (2, 1)):
        spec = NetworkSpec((Dense(2, 3), Dense(3, 3), Add(3, sources=sources), Dense(3, 1)))
        assert sources[spec.flow.targets[3]] == 2
        assert spec.flow.settled == (1, 3, 4)
    vit = tiny_specs()["vit"]
    assert [vit.steps[vit.sources(value)[vit.flow.targets[value]] - 1].kind for value in (5, 7)] == [
        "dense",
        "append",
    ]  # not the learned


def test_the_activation_that_a_layer_meets():
    spec = tiny_specs()["residual"]
    assert spec.flow.activations == ("relu", "relu", "relu", "relu", "gelu", "identity")
    skip = NetworkSpec(
        (Dense(2, 3), Dense(3, 3, "tanh"), Dense(3, 3), Add(3, sources=(1, 3)), Norm(3, 3, "relu"), Dense(3, 1))
    )
    assert skip.flow.activations == (
        "identity",
        "tanh",
        "relu",
        "relu",
        "identity",
    )  # the first layer's values pass by


def test_padding_is_no_nodes():
    spec = tiny_specs()["residual"]
    assert spec.flow.present[10] == (True,) * 3 + (False,) * 4
    assert all(spec.flow.present[11])
    both = NetworkSpec((Dense(2, 3), Concat(6, sources=(1, 1), widths=(3, 3)), Dense(6, 1)))
    assert both.flow.groups[2] == (1,)


def test_a_schedule_numbers_the_layers_and_says_when_values_are_done():
    spec = NetworkSpec((Dense(2, 3), Activate(3), Add(3, sources=(1, 1)), Dense(3, 1, sources=(1,))))
    assert [(at.value, at.sources, at.layer, at.done) for at in spec.schedule] == [
        (1, (0,), 0, (0,)),
        (2, (1,), None, (2,)),  # nobody reads it
        (3, (1, 1), None, (3,)),
        (4, (1,), 1, (1,)),
    ]
    assert all(at.step is step for at, step in zip(spec.schedule, spec.steps, strict=True))
