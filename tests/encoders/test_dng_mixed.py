"""One DNG-Encoder for networks of many architectures: each network is read as if it were alone, and as by an encoder of
its own.
"""

from dataclasses import replace

import pytest
import torch
from torch import nn

from weightwalk import InputError, NetworkSpec, Weights
from weightwalk.encoders import DNGEncoder, EncoderConfig
from weightwalk.networks.architectures import simple_vit, wild_park
from weightwalk.spec import Dense, MeanPool
from weightwalk.steps import Add, Learned, Norm, Patches, Reshape
from weightwalk.testing import assert_batch_alone, assert_close, assert_equivariant, assert_invariant, random_weights

SMALL = {"dim": 6, "num_frequencies": 3, "activation_embedding": True}
PARKS = [
    wild_park([4], [3], ["relu"], [-1], classes=2),
    wild_park([4, 3], [3, 5], ["relu", "gelu"], [-1, -1], classes=2),
    wild_park([3, 5, 4, 6], [5, 3, 3, 3], ["tanh", "identity", "relu", "sigmoid"], [-1, -1, 0, 1], classes=2),
]


def mixed(*specs: NetworkSpec, **options) -> DNGEncoder:
    torch.manual_seed(0)
    encoder = EncoderConfig.named("dng", **SMALL, **options).build(*specs)
    assert isinstance(encoder, DNGEncoder)
    return encoder


@pytest.mark.parametrize(
    "options", [{}, {"num_passes": 2, "preset": "release-cnn-zoo"}, {"readout": "layers"}], ids=str
)
def test_a_mixture_is_each_network_alone(options):
    encoder = mixed(*PARKS, **options).double()
    batches = [
        random_weights(spec, 1 + number, seed=number, dtype=torch.float64)
        for number, spec in enumerate([*PARKS, PARKS[0]])
    ]
    together = encoder.encode(batches)
    assert together.shape == (10, encoder.pooled_dim)
    alone = torch.cat([encoder.encode(batch[index]) for batch in batches for index in range(len(batch))])
    assert_close(together, alone, what="mixture")


@pytest.mark.parametrize("spec", PARKS, ids=str)
def test_laws_hold_for_every_architecture_of_a_mixture(spec):
    encoder, weights = mixed(*PARKS), random_weights(spec, 3, seed=0)
    assert_invariant(encoder, weights)
    assert_equivariant(encoder, weights)
    assert_batch_alone(encoder, weights)


@pytest.mark.parametrize("shared", [False, True])
def test_reading_out_the_layers_appends_their_means(shared):
    spec = PARKS[2]
    torch.manual_seed(0)
    encoder = DNGEncoder(spec, **SMALL, shared=shared, readout="layers")
    weights = random_weights(spec, 2, seed=0)
    nodes, pooled = (encoding := encoder(weights)).nodes, encoding.pooled
    means = torch.stack([memory.mean(1) for memory in nodes[1:]], dim=1)
    expected = torch.cat([nodes[-1].flatten(1), means.mean(1) if shared else means.flatten(1)], dim=1)
    assert pooled.shape == (2, encoder.pooled_dim)
    assert_close(pooled, expected, what="pooled")
    assert_invariant(encoder, weights)


@torch.no_grad()
def test_shared_maps_are_the_own_maps_of_every_timestamp_when_those_are_alike():
    spec = PARKS[2]
    shared = mixed(*PARKS, preset="release-cnn-zoo").double()
    own = DNGEncoder(spec, **SMALL, preset="release-cnn-zoo").double()
    state = shared.state_dict()
    expected = {}
    for name in own.state_dict():
        of_pass = name.split(".")
        if name.startswith("passes.0.steps"):
            expected[name] = state[f"passes.0.kinds.message.{'.'.join(of_pass[4:])}"]
        elif name.startswith("passes.0.between"):
            expected[name] = state[f"passes.0.kinds.add.{'.'.join(of_pass[4:])}"]
        else:
            expected[name] = state[name]
    own.load_state_dict(expected)
    weights = random_weights(spec, 2, seed=0, dtype=torch.float64)
    assert_close(shared.encode(weights), own.encode(weights), what="encoding")


def test_the_size_of_a_shared_encoder_does_not_grow_with_depth():
    sizes = {
        sum(p.numel() for p in mixed(NetworkSpec.mlp([3, *[4] * depth, 2]), shared=True).parameters())
        for depth in (1, 5)
    }
    assert len(sizes) == 1


def test_a_mixture_trains():
    """A loss of a mixed batch has gradients for every parameter."""
    encoder = mixed(*PARKS)
    head = nn.Linear(encoder.pooled_dim, 1)
    head(encoder.encode([random_weights(spec, 2, seed=0) for spec in PARKS])).square().sum().backward()
    assert all(parameter.grad is not None and parameter.grad.isfinite().all() for parameter in encoder.parameters())


@pytest.mark.parametrize(
    ("spec", "sentence"),
    [
        (
            wild_park([4], [7], ["relu"], [-1], classes=2),
            r"up to 25 taps, but step 0 \(conv\) of .* has 49; make one with more max_taps",
        ),
        (wild_park([4], [3], ["relu"], [-1], classes=3), "reads networks of 3 inputs and 2 outputs, got 3 and 3"),
        (
            wild_park([4], [3], ["relu"], [-1], channels=1, classes=2),
            "reads networks of 3 inputs and 2 outputs, got 1 and 2",
        ),
        (
            NetworkSpec((Dense(3, 4), Norm(4, 4), Dense(4, 2))),
            r"of the kinds message, add, but step 1 \(norm\) of .* is 'norm'",
        ),
    ],
    ids=["taps", "outputs", "inputs", "kind"],
)
def test_what_a_mixture_does_not_read_is_named(spec, sentence):
    encoder = mixed(*PARKS)
    with pytest.raises(InputError, match=sentence):
        encoder(random_weights(spec, 1, seed=0))
    with pytest.raises(InputError, match=sentence):
        encoder.check(spec)


def test_a_batch_of_nothing_is_refused():
    with pytest.raises(InputError, match="expected at least one batch of networks, got none"):
        mixed(*PARKS).encode([])


@pytest.mark.parametrize("options", [{}, {"shared": True}], ids=str)
def test_published_attention_reads_heads_of_one_size(options):
    one, two = (simple_vit((3, 8, 8), 2, 12, 1, heads, 12 // heads, 8) for heads in (2, 3))
    encoder = mixed(one, preset="release-vit", **options)
    encoder(random_weights(one, 1, seed=0))
    with pytest.raises(InputError, match=r"has learned 6 places for attention, but step 11 \(attention\) of .* has 4"):
        encoder(random_weights(two, 1, seed=0))
    mixed(one, **options)(random_weights(two, 1, seed=0))


def test_networks_of_the_same_summary_are_told_apart():
    one, two = (simple_vit((3, 8, 8), 2, 12, 1, 2, 6, 8, patch) for patch in (4, 2))
    with pytest.raises(
        InputError, match=r"\(step 0: Patches\(.*size=\(4, 4\)\), got Patches\(.*size=\(2, 2\)\)\); use a model"
    ):
        mixed(one)(random_weights(two, 1, seed=0))


@torch.no_grad()
def test_the_same_network_written_otherwise_is_read_alike():
    """As a trace may write it: the values of an addition in another order, learned values that count examples by
    another value.
    """
    one = simple_vit((3, 8, 8), 2, 12, 1, 2, 6, 8)
    changes = {Add: lambda step: step.sources[::-1], Learned: lambda step: (3,)}
    other = NetworkSpec(
        [replace(step, sources=changes[type(step)](step)) if type(step) in changes else step for step in one.steps]
    )
    assert one != other
    assert one.shape == other.shape
    weights = random_weights(one, 2, seed=0)
    twin = Weights.of(other, weights.weights, weights.biases)
    encoder = mixed(one)
    assert torch.equal(encoder.encode(twin), encoder.encode(weights))
    x = torch.randn(2, 3, 8, 8)
    assert_close(twin.run(x), weights.run(x), what="output")


def test_places_are_of_one_size():
    def patched(size: int) -> NetworkSpec:
        inputs = 3 * size * size
        return NetworkSpec(
            (Patches(3, inputs, size=(size, size)), Dense(inputs, 4), Reshape(4, grid=(4,)), MeanPool(4), Dense(4, 2))
        )

    encoder = mixed(patched(2), shared=True)
    encoder(random_weights(patched(2), 1, seed=0))
    with pytest.raises(InputError, match=r"has learned 12 places for patches, but step 0 \(patches\) of .* has 27"):
        encoder(random_weights(patched(3), 1, seed=0))


def test_what_the_user_set_is_kept():
    one, several = PARKS[:1], PARKS[:2]
    assert not mixed(*one).shared
    assert mixed(*one, shared=True).shared
    assert mixed(*several).shared
    with pytest.raises(InputError, match="shared=false reads networks of one architecture, got 2; leave shared out"):
        mixed(*several, shared=False)
    with pytest.raises(InputError, match=r"reads layers of up to 9 taps, but .* has 25"):
        mixed(*several, max_taps=9)
    encoder = mixed(*several, max_taps=49, kinds=("norm",))
    assert encoder.builder.taps == 49
    assert set(encoder.passes[0].kinds) == {"message", "norm"}


def test_kinds_can_be_named_for_networks_that_come_later():
    encoder = mixed(PARKS[0], shared=True, kinds=("norm", "add"), max_taps=25)
    assert set(encoder.passes[0].kinds) == {"message", "norm", "add"}
    for spec in PARKS:
        assert encoder.encode(random_weights(spec, 1, seed=0)).shape == (1, 12)
