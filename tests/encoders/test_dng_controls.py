"""The DNG-Encoder's controls: each is its formula, keeps the laws, and changes one thing alone."""

import pytest
import torch
from test_dng import affine, encoder_for, gru, layer_norm, phi

from weightwalk import InputError, NetworkSpec, Weights, config
from weightwalk.encoders import DNGEncoder, EncoderConfig
from weightwalk.encoders.dng.cells import CELLS
from weightwalk.encoders.dng.order import early, shuffled
from weightwalk.recipes import RECIPES
from weightwalk.testing import (
    assert_batch_alone,
    assert_captured,
    assert_close,
    assert_equivariant,
    assert_invariant,
    assert_save_load,
    assert_vmap,
    random_weights,
    tiny_specs,
)

SMALL = {"dim": 6, "num_frequencies": 3}
SPECS = tiny_specs()
CONTROLS = [
    ({"order": "shuffled"}, ["deep", "conv"]),
    ({"order": "shuffled", "order_seed": 3, "num_passes": 3}, ["deep"]),
    ({"order": "shuffled", "shared": True, "backward": True, "edges": True}, ["deep", "conv"]),
    ({"backward": True, "readout": "layers", "num_passes": 2}, ["no bias", "conv"]),
    ({"shared": True, "edges": True, "edge_dim": 4}, ["gpt"]),
    ({"target": True}, ["siren", "grouped"]),
    ({"target": True, "num_passes": 2, "activation_embedding": True}, ["no bias", "conv"]),
    *(({"cell": cell}, ["deep", "residual"]) for cell in CELLS if cell != "gru"),
    ({"positional": True}, ["siren", "residual"]),
    ({"positional": True, "num_passes": 2}, ["gpt"]),
]


@pytest.mark.parametrize(
    ("options", "name"), [(options, name) for options, names in CONTROLS for name in names], ids=str
)
def test_laws_hold_and_gradients_reach_every_parameter(options, name):
    spec = SPECS[name]
    encoder, weights = DNGEncoder(spec, **SMALL, **options), random_weights(spec, 2, seed=0)
    assert_invariant(encoder, weights)
    assert_equivariant(encoder, weights)
    assert_batch_alone(encoder, weights)
    assert_save_load(lambda: DNGEncoder(spec, **SMALL, **options), weights)
    encoding = encoder(weights)
    assert encoding.pooled.shape == (2, encoder.pooled_dim)
    torch.stack([x.pow(3).sum() for x in (encoding.pooled, *encoding.nodes, *encoding.edges)]).sum().backward()
    for parameter_name, parameter in encoder.named_parameters():
        assert parameter.grad is not None, parameter_name
        assert parameter.grad.isfinite().all(), parameter_name


def richest(spec: NetworkSpec) -> DNGEncoder:
    """All of them together."""
    controls = {"order": "shuffled", "target": True, "cell": "lstm", "positional": True, "num_passes": 2}
    return DNGEncoder(spec, dim=4, num_frequencies=2, edges=True, backward=True, **controls)


def test_all_of_them_together_work_under_transforms():
    encoder = richest(NetworkSpec.mlp([2, 3, 1]))
    assert_vmap(encoder, random_weights(encoder.spec, 2, seed=0))


@pytest.mark.slow
def test_all_of_them_together_work_under_compilers():
    encoder = richest(NetworkSpec.mlp([2, 3, 1]))
    assert_captured(encoder, random_weights(encoder.spec, 2, seed=0))


@torch.no_grad()
def test_shuffled_layers_are_updated_in_their_order():
    """Written out; in the second pass a source that has not been updated gives what it had in the first."""
    spec = SPECS["deep"]
    encoder = encoder_for(spec, order="shuffled", order_seed=1, num_passes=2)
    weights, order = random_weights(spec, 1, seed=0, dtype=torch.float64), shuffled(4, 1)
    assert sorted(order) == [0, 1, 2, 3] != list(order)
    frequencies = encoder.features.frequencies
    rows = dict(zip(early(order), encoder.initial_memory, strict=True))
    groups = {0: list(encoder.input_memory)}
    groups |= {layer + 1: [row] * spec.layers[layer].fan_out for layer, row in rows.items()}
    for number, walk in enumerate(encoder.passes):
        earlier = dict(groups)
        for layer in order:
            maps, w, b = walk.steps[layer], weights.weights[layer][0], weights.biases[layer][0]
            new = []
            for i in range(len(w)):
                sent = [affine(maps.source, source) for source in groups[layer]]
                message = sum(affine(maps.edge, phi(x, frequencies)) * s for x, s in zip(w[i], sent, strict=True))
                x = affine(maps.input, earlier[layer + 1][i] if number else phi(b[i], frequencies))
                new.append(layer_norm(maps.norm, gru(walk.cell, x, message)))
            groups[layer + 1] = new
    for number, found in enumerate(encoder(weights).nodes):
        assert_close(found[0], torch.stack(groups[number]), what=f"group {number}", atol=1e-10, rtol=0.0)


@torch.no_grad()
def test_in_the_order_of_inference_shuffled_layers_are_the_paper_s(monkeypatch):
    spec = SPECS["conv"]
    encoder, weights = encoder_for(spec, num_passes=2), random_weights(spec, 2, seed=0, dtype=torch.float64)
    expected = encoder(weights)
    encoder.order = "shuffled"
    monkeypatch.setattr(DNGEncoder, "_order", lambda self, spec: (0, 1, 2))
    for ours, other in zip(encoder(weights).nodes, expected.nodes, strict=True):
        assert torch.equal(ours, other)


def test_an_order_is_shuffled_and_its_own():
    assert len({shuffled(6, seed) for seed in range(20)}) > 15
    assert all(shuffled(length, seed) != tuple(range(length)) for length in (2, 3) for seed in range(20))
    assert shuffled(1, 0) == (0,)
    assert early((2, 0, 1)) == (1,)
    assert early((0, 1, 2)) == ()
    assert early((2, 1, 0)) == (0, 1)


@torch.no_grad()
def test_one_shuffled_encoder_reads_several_depths():
    specs = [NetworkSpec.mlp([2, *[4] * depth, 1]) for depth in (1, 2, 4)]
    encoder = EncoderConfig.named("dng", **SMALL, order="shuffled", backward=True, edges=True).build(*specs)
    encoder.double()
    batches = [random_weights(spec, 2, seed=0, dtype=torch.float64) for spec in specs]
    alone = torch.cat([encoder(batch).pooled for batch in batches])
    assert_close(encoder.encode(batches), alone, what="mixture")
    with pytest.raises(InputError, match=r"for chains of dense layers and convolutions, got step 2 \(concat\)"):
        EncoderConfig.named("dng", **SMALL, backward=True).build(specs[0], SPECS["dense block"])


@pytest.mark.parametrize("name", ["siren", "grouped"])
@torch.no_grad()
def test_told_messages_know_the_bias_of_their_target(name):
    """The first layer's, from the formula: the same as Eq 4 or 5 with W_s s_j + W_t u_i in the place of W_s s_j."""
    spec = SPECS[name]
    encoder = encoder_for(spec, target=True, head_dim=2)
    weights = random_weights(spec, 2, seed=0, dtype=torch.float64)
    maps, frequencies, w = encoder.passes[0].steps[0], encoder.features.frequencies, weights.weights[0][0]
    for i, node in enumerate(encoder(weights).nodes[1][0]):
        bias = phi(weights.biases[0][0, i], frequencies)
        message = 0
        for j in range(w.shape[1]):
            sent = affine(maps.source, encoder.input_memory[j]) + affine(maps.target, bias)
            edges = torch.stack([affine(maps.edge, phi(tap, frequencies)) for tap in w[i, j].reshape(-1)])
            if encoder.builder.taps:
                told = (edges * sent.reshape(-1, 2)).flatten()
                message = message + affine(maps.mix[2], affine(maps.mix[0], told).relu())
            else:
                message = message + edges[0] * sent
        new = layer_norm(maps.norm, gru(encoder.passes[0].cell, affine(maps.input, bias), message))
        assert_close(node, new, what=f"node {i}", atol=1e-10, rtol=0.0)


@torch.no_grad()
def test_cells_are_their_formulas():
    x, m = torch.randn(2, 3, 5).double(), torch.randn(2, 3, 5).double()
    cells = {name: kind(5).double() for name, kind in CELLS.items()}
    lstm = torch.nn.LSTMCell.forward(cells["lstm"], x.flatten(0, 1), (m.flatten(0, 1), m.flatten(0, 1)))[0]
    gates, new = (x @ cells["mingru"].weight_ih.T + cells["mingru"].bias_ih).chunk(2, dim=-1)
    z = gates.sigmoid()
    expected = {
        "gru": torch.nn.GRUCell.forward(cells["gru"], x.flatten(0, 1), m.flatten(0, 1)).view(2, 3, 5),
        "lstm": lstm.view(2, 3, 5),
        "mingru": (1 - z) * m + z * new,
        "residual": m + x @ cells["residual"].weight_ih.T + cells["residual"].bias_ih,
    }
    for name, cell in cells.items():
        assert_close(cell.update(x @ cell.weight_ih.T, m), expected[name], what=name, atol=1e-12)


@torch.no_grad()
def test_positions_are_added_to_new_memories():
    """One for all nodes of a hidden layer, one for each output; where they are zero it is the paper's encoder."""
    spec = NetworkSpec.mlp([2, 4, 3])
    encoder, weights = encoder_for(spec, positional=True), random_weights(spec, 2, seed=0, dtype=torch.float64)
    twin = encoder_for(spec)
    twin.load_state_dict({name: x for name, x in encoder.state_dict().items() if "positions" not in name})
    table = encoder.positions.table
    assert table.shape == (1 + 3, 5)
    assert_close(encoder(weights).nodes[1], twin(weights).nodes[1] + table[0], what="hidden", atol=1e-12)
    table[0] = 0
    assert_close(encoder(weights).nodes[2], twin(weights).nodes[2] + table[1:], what="outputs", atol=1e-12)


def test_wrong_twin_with_a_position_for_every_hidden_node():
    spec = NetworkSpec.mlp([2, 4, 3])
    encoder, weights = encoder_for(spec, positional=True).float(), random_weights(spec, 2, seed=0)
    encoder.positions.of = lambda layer: torch.randn(spec.layers[layer].fan_out, 5, dtype=torch.float64).float()
    places = [encoder.positions.of(0), encoder.positions.of(1)]
    encoder.positions.of = lambda layer: places[layer].to(encoder.input_memory.dtype)
    with pytest.raises(AssertionError, match="node group 1 is not equivariant"):
        assert_equivariant(encoder, weights)


def test_every_default_is_the_encoder_without_the_control():
    """No parameter and no random number more."""
    spec, off = SPECS["conv"], {"edges": False, "backward": False, "order": "sequential", "cell": "gru"}
    torch.manual_seed(0)
    first, after = DNGEncoder(spec, **SMALL), torch.randn(1)
    torch.manual_seed(0)
    second = DNGEncoder(spec, **SMALL, **off, target=False, positional=False)
    assert torch.equal(after, torch.randn(1))
    assert list(first.state_dict()) == list(second.state_dict())
    owners = {name.split(".")[0] for name in first.state_dict()}
    assert owners == {"features", "input_memory", "passes"}
    assert {name.split(".")[4] for name in first.state_dict() if "steps.0" in name} == {
        *("edge", "source", "mix", "input", "norm")
    }


REFUSED = [
    ({"cell": "gruu"}, "unknown cell 'gruu'; known: gru, lstm, mingru, residual; did you mean 'gru'"),
    ({"edge_dim": 4}, "edge_dim=4 is of edge outputs; set edges=true as well"),
    ({"edge_dim": -1, "edges": True}, "edge_dim must be"),
    ({"order": "random"}, "order.*'random'"),
    ({"order_seed": 1}, "order_seed=1 is of shuffled layers; set order=shuffled as well"),
    ({"backward": True, "kinds": ("norm",)}, "of chains, whose steps are of the kind 'message', got kinds=norm"),
    ({"positional": True, "shared": True}, "positions count the layers of one architecture"),
    ({"target": True, "preset": "release-cnn-zoo"}, "preset 'release-cnn-zoo' has no messages that know"),
    ({"backward": True, "preset": "release-vit"}, "preset 'release-vit' has no walk backward"),
]


@pytest.mark.parametrize(("options", "sentence"), REFUSED, ids=str)
def test_options_that_make_no_encoder_are_refused(options, sentence):
    with pytest.raises(InputError, match=sentence):
        DNGEncoder(SPECS["siren"], **options)
    with pytest.raises(InputError, match=sentence):
        EncoderConfig.named("dng", **options)
    texts = {key: ",".join(x) if isinstance(x, tuple) else str(x).replace("True", "true") for key, x in options.items()}
    settings = [f"encoder.{key}={text}" for key, text in texts.items()]
    with pytest.raises(InputError, match=sentence):
        config.override(RECIPES["digits_classify"](), settings)


def test_positions_need_outputs_that_are_nodes_of_the_last_layer():
    spec = NetworkSpec(SPECS["vit"].steps[:19])
    with pytest.raises(InputError, match=r"but step 18 \(add\) of .* stands between them; set positional=false"):
        DNGEncoder(spec, **SMALL, positional=True)


@pytest.mark.parametrize("options", [{"order": "shuffled"}, {"target": True}, {"cell": "lstm"}], ids=str)
@torch.no_grad()
def test_prepared_for_networks_the_answers_stay(options):
    spec = NetworkSpec.mlp([2, 5, 4, 1])
    encoder = DNGEncoder(spec, dim=5, num_frequencies=64, backward=True, **options).double()
    weights = random_weights(spec, 3, seed=0, dtype=torch.float64)
    expected = encoder(weights)
    encoder.prepare([weights])
    assert encoder.backward_pass.steps[1].edge.on_basis().covers(weights.weights[1])
    assert_close(encoder(weights).pooled, expected.pooled, what="prepared", atol=1e-10)
    twice = Weights(spec, 20 * weights.flat)
    assert encoder(twice).pooled.isfinite().all()
