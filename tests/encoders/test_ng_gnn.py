"""NG-GNN: what a node hears is what the definition says, and memory is that of edges, not of pairs."""

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from weightwalk import InputError, NetworkSpec, Weights
from weightwalk.encoders import EncoderConfig, NGGNNEncoder
from weightwalk.encoders.aggregation import FLAT, Plan, heard
from weightwalk.graphs.static import static_graph
from weightwalk.networks.architectures import small_cnn, wild_park
from weightwalk.testing import assert_close, check_encoder, random_weights, tiny_specs

INR = NetworkSpec.mlp([2, 32, 32, 1])
SMALL = {"dim": 8, "num_frequencies": 4}
PARKS = [
    wild_park([4, 8], [3, 5], ["relu", "gelu"], [-1, -1]),
    wild_park([4, 4, 6], [3, 7, 3], ["tanh", "relu", "relu"], [-1, -1, 0]),
]


@pytest.mark.parametrize("name", ["siren", "residual", "grouped", "vit", "gpt"])
def test_neighbourhoods_are_those_of_the_definition(name):
    graph = static_graph(tiny_specs()[name])
    plan = Plan.of(graph, reverse=True)
    films = [torch.randn(2, way.block.num_edges, 6) for way in plan.ways]
    own, others = torch.randn(2, 2, graph.num_nodes, 3)
    found = [
        heard(way.grouped(film), way.at_hearing(own), way.at_sending(others), way.back)
        for way, film in zip(plan.ways, films, strict=True)
    ]
    messages = [[] for _ in range(graph.num_nodes)]
    for way, film in zip(plan.ways, films, strict=True):
        gamma, beta = film.chunk(2, dim=-1)
        for edge, (source, target) in enumerate(way.block.pairs()):
            hears, sends = (source, target) if way.back else (target, source)
            m = gamma[:, edge] * (own[:, hears] + others[:, sends]) + beta[:, edge]
            messages[hears].append(m)
    rows = []
    for m in messages:
        if not m:
            rows.append(torch.zeros(2, 12))
            continue
        m = torch.stack(m)
        variance = m.var(0, correction=0)
        std = torch.where(variance > FLAT, variance.sqrt(), torch.zeros(()))
        rows.append(torch.cat([m.mean(0), m.amin(0), m.amax(0), std], dim=-1))
    assert plan.degrees == tuple(map(len, messages))
    assert_close(plan.neighbourhoods(found), torch.stack(rows, dim=1), what="neighbourhoods")


@pytest.mark.parametrize("back", [False, True])
def test_gradients_are_those_of_torch_also_of_equal_messages(back):
    shapes = [(2, 2, 3, 4, 6), *[(2, 2, 1, 4, 3), (2, 2, 3, 1, 3)][:: 1 if back else -1]]
    operands = [torch.randn(shape, dtype=torch.float64, requires_grad=True) for shape in shapes]

    def of_torch(film, own, others, back):
        gamma, beta = film.chunk(2, dim=-1)
        m, dim = gamma * (own + others) + beta, 2 if back else 3
        apart = m - m.mean(dim, keepdim=True)
        return [x.flatten(1, 2) for x in (m.sum(dim), apart.square().sum(dim), m.amin(dim), m.amax(dim))]

    assert torch.autograd.gradcheck(lambda *x: heard(*x, back), operands, fast_mode=True)
    assert torch.autograd.gradgradcheck(lambda *x: heard(*x, back)[1], operands, fast_mode=True)
    equal = [torch.ones_like(x, requires_grad=True) for x in operands]
    for given in (operands, equal):
        gradients = [
            torch.autograd.grad(sum(x.pow(2).sum() for x in function(*given, back)), given)
            for function in (heard, of_torch)
        ]
        for ours, theirs in zip(*gradients, strict=True):
            assert_close(ours, theirs, what="gradient")


class _Largest(TorchDispatchMode):
    """How many numbers the largest tensor has that is made."""

    numbers = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        made = function(*args, **(kwargs or {}))
        for x in made if isinstance(made, (tuple, list)) else [made]:
            if isinstance(x, torch.Tensor):
                self.numbers = max(self.numbers, x.untyped_storage().nbytes() // x.element_size())
        return made


def test_memory_is_linear_in_edges():
    per_edge = []
    for depth in (2, 8):
        spec = NetworkSpec.mlp([2, *[16] * depth, 1])
        encoder = NGGNNEncoder(spec, num_layers=2, num_frequencies=8)
        with _Largest() as largest:
            encoder(random_weights(spec, 1, seed=0)).pooled.sum().backward()
        per_edge.append(largest.numbers / static_graph(spec).num_edges)
    assert per_edge[1] <= per_edge[0]  # of all pairs it would be four times as much
    assert per_edge[1] < 2 * 3 * 32 + 1


def test_delta_is_the_mean_logarithm_of_in_degrees_of_the_training_networks():
    degrees = torch.tensor([0.0, 0.0, *[2.0] * 32, *[32.0] * 33])
    assert_close(NGGNNEncoder(INR).delta, (degrees + 1).log().mean(), what="delta")
    encoder = EncoderConfig.named("ng_gnn", **SMALL).build(*PARKS)
    encoder.prepare([random_weights(PARKS[0], 1, seed=0), random_weights(PARKS[1], 3, seed=0)])
    logs = [torch.tensor(static_graph(spec).in_degrees()).float().log1p() for spec in PARKS]
    assert_close(encoder.delta, torch.cat([logs[0], *[logs[1]] * 3]).mean(), what="delta of a mixture")


def test_layers_are_standardised_by_the_training_networks_and_mixtures_are_not():
    weights = random_weights(INR, 50, seed=0)
    encoder = NGGNNEncoder(INR, **SMALL)
    encoder.prepare([weights[:20], weights[20:]])
    standard = encoder.graph_input.standardise
    for number, (weight, bias) in enumerate(zip(weights.weights, weights.biases, strict=True)):
        for place, x in ((2 * number, weight), (2 * number + 1, bias)):
            assert_close(standard.mean[place], x.mean(), what="mean", atol=1e-6)
            assert_close(standard.std[place], x.std(correction=0), what="std", atol=1e-6)
    assert NGGNNEncoder(INR, **SMALL, shared=True).graph_input.standardise is None


def test_a_mixture_is_read_as_each_network_alone():
    encoder = EncoderConfig.named("ng_gnn", **SMALL, activation_embedding=True).build(*PARKS).eval()
    assert (encoder.graph_input.graph.channels.kernel_size, encoder.graph_input.rows[1]) == (7, 3)
    small, large = random_weights(PARKS[0], 2, seed=0), random_weights(PARKS[1], 3, seed=1)
    together = encoder.encode([small, large])
    assert_close(together, torch.cat([encoder.encode(small), encoder.encode(large)]), what="together")
    with pytest.raises(InputError, match="3 inputs, 10 outputs and at most 3 hidden groups of nodes, got 1, 10 and 3"):
        encoder.encode(random_weights(small_cnn(), 1, seed=0))
    with pytest.raises(InputError, match="of the shape"):
        EncoderConfig.named("ng_gnn", **SMALL).build(PARKS[0])(large)


def test_the_activation_embedding_tells_networks_of_one_shape_apart():
    relu, tanh = (small_cnn(activation=name) for name in ("relu", "tanh"))
    flat = random_weights(relu, 1, seed=0).flat
    for embedding, alike in ((False, True), (True, False)):
        encoder = NGGNNEncoder(relu, **SMALL, activation_embedding=embedding).eval()
        answers = [encoder.encode(Weights(spec, flat)) for spec in (relu, tanh)]
        assert torch.equal(*answers) == alike


@pytest.mark.parametrize(
    "options",
    [
        {"edges": True, "num_layers": 1, "pool": "layers"},
        {"num_probes": 3, "reverse": False, "num_layers": 2},
        {"shared": True, "activation_embedding": True, "num_frequencies": 0, "num_layers": 1, "pool": "max"},
    ],
    ids=str,
)
def test_it_conforms_with_its_options(options, monkeypatch):
    monkeypatch.setattr("weightwalk.testing.conformance.assert_captured", lambda *_: None)  # as without options
    few = {name: tiny_specs()[name] for name in ("deep", "residual", "dense block")}
    monkeypatch.setattr("weightwalk.testing.conformance.tiny_specs", lambda: few)
    read = check_encoder("ng_gnn", **SMALL | options)
    assert read == (["deep"] if "num_probes" in options else [*few])


def test_dense_layers_of_a_cnn_have_features_of_their_own_if_they_are_no_kernels():
    weights = random_weights(small_cnn(), 2, seed=0)
    features = {}
    for as_conv in (True, False):
        torch.manual_seed(0)
        given = NGGNNEncoder(
            weights.spec, **SMALL, linear_as_conv=as_conv, reverse=False, standardise=False
        ).graph_input
        assert (given.of_linear is None) == as_conv
        features[as_conv] = (given, given(weights).edges[-1])
    given, found = features[False]
    expected = given.edge_map(given.of_linear(weights.weights[-1].unsqueeze(-1), [(0,)]))
    assert_close(found, expected, what="edges of the dense layer")
    assert (found - features[True][1]).abs().max() > 1e-3
    assert NGGNNEncoder(INR, **SMALL, linear_as_conv=False).graph_input.of_linear is None
    several = tiny_specs()["shuffled"]  # the dense step reads four positions of every channel
    encoder = NGGNNEncoder(several, **SMALL, linear_as_conv=False)
    assert encoder.graph_input.of_linear is None
    assert encoder(random_weights(several, 2, seed=0)).pooled.isfinite().all()


@pytest.mark.parametrize("name", ["ng_gnn", "ng_t", "nfn", "query"])
def test_a_batch_of_no_networks_has_no_encodings(name):
    encoder = EncoderConfig.named(name).build(INR).eval()
    assert encoder(random_weights(INR, 1, seed=0)[:0]).pooled.shape == (0, encoder.pooled_dim)


def test_gradients_reach_the_probes_through_the_network():
    encoder = NGGNNEncoder(INR, **SMALL, num_probes=4)
    assert encoder.access == "query"
    encoder(random_weights(INR, 2, seed=0)).pooled.sum().backward()
    assert encoder.graph_input.probes.points.grad.abs().min() > 0


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"pool": "lats"}, "pool must be one of last, layers, mean, max, got 'lats'"),
        ({"num_layers": 0}, "num_layers must be a number of at least 1"),
        ({"shared": True, "num_probes": 4}, "probes have maps for every layer of one architecture"),
        ({"shared": True, "pool": "layers"}, "unequally many layers"),
    ],
)
def test_options_that_make_no_encoder_are_one_sentence(options, sentence):
    with pytest.raises(InputError, match=sentence):
        EncoderConfig.named("ng_gnn", **options)


def test_probes_on_pictures_are_refused():
    with pytest.raises(InputError, match="set num_probes=0 for networks that read pictures or tokens"):
        NGGNNEncoder(small_cnn(), num_probes=4)
