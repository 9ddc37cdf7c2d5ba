"""The DNG-Encoder against its equations, written out edge by edge."""

import math

import pytest
import torch
from torch import Tensor

from weightwalk import InputError, NetworkSpec, Weights, config
from weightwalk.encoders import DNGEncoder, EncoderConfig, Encoding
from weightwalk.recipes import RECIPES
from weightwalk.spec import ACTIVATIONS
from weightwalk.steps import Conv, Dense, MeanPool
from weightwalk.testing import assert_close, random_weights, tiny_specs

SMALL = {"dim": 5, "num_frequencies": 3}
DENSE = {name: spec for name, spec in tiny_specs().items() if all(step.kind == "dense" for step in spec.steps)}


def encoder_for(spec: NetworkSpec, **options) -> DNGEncoder:
    """In float64, with parameters of which none is at a value that would hide it (ones and zeros of LayerNorm)."""
    encoder = DNGEncoder(spec, **{**SMALL, **options}).double()
    for parameter in encoder.parameters():
        parameter.data += 0.2 * torch.randn_like(parameter)
    return encoder


def phi(x: Tensor, frequencies: Tensor) -> Tensor:
    angles = [2 * math.pi * float(x) * float(f) for f in frequencies]
    return torch.tensor([math.sin(a) for a in angles] + [math.cos(a) for a in angles], dtype=torch.float64)


def affine(module, x: Tensor) -> Tensor:
    return module.weight @ x + module.bias


def gru(cell, x: Tensor, h: Tensor) -> Tensor:
    """Gates in the order reset, update, new; the reset acts on the hidden map's output."""
    xr, xz, xn = (cell.weight_ih @ x + cell.bias_ih).chunk(3)
    hr, hz, hn = (cell.weight_hh @ h + cell.bias_hh).chunk(3)
    reset, update = torch.sigmoid(xr + hr), torch.sigmoid(xz + hz)
    return (1 - update) * torch.tanh(xn + reset * hn) + update * h


def layer_norm(norm, x: Tensor) -> Tensor:
    centred = x - x.mean()
    return centred / torch.sqrt((centred**2).mean() + 1e-5) * norm.weight + norm.bias


def naive(encoder: DNGEncoder, weights: Weights, index: int) -> list[list[Tensor]]:
    """Memories of every node of one network after the last pass, by loops over nodes and edges (Eq 4 and 6)."""
    frequencies = encoder.features.frequencies
    earlier = None
    for walk in encoder.passes:
        memory = [list(encoder.input_memory)]
        for layer, maps in zip(range(len(weights.spec.layers)), walk.steps, strict=True):
            w, b = weights.weights[layer][index], weights.biases[layer]
            group = []
            for i in range(w.shape[0]):
                message = torch.zeros(len(memory[0][0]), dtype=torch.float64)
                for j in range(w.shape[1]):
                    message = message + affine(maps.edge, phi(w[i, j], frequencies)) * affine(
                        maps.source, memory[layer][j]
                    )
                feature = phi(torch.zeros(()) if b is None else b[index, i], frequencies)
                if encoder.activations is not None:
                    feature = (
                        feature
                        + encoder.activations.weight[list(ACTIVATIONS).index(weights.spec.layers[layer].activation)]
                    )
                x = affine(maps.input, feature if earlier is None else earlier[layer + 1][i])
                group.append(layer_norm(maps.norm, gru(walk.cell, x, message)))
            memory.append(group)
        earlier = memory
    return memory


@pytest.mark.parametrize("options", [{}, {"num_passes": 3}, {"activation_embedding": True}, {"dropout": 0.5}], ids=str)
@pytest.mark.parametrize("name", DENSE)
@torch.no_grad()
def test_the_module_is_its_equations(name, options):
    spec = DENSE[name]
    encoder = encoder_for(spec, **options).eval()
    weights = random_weights(spec, 2, seed=0, dtype=torch.float64)
    encoding = encoder(weights)
    for index in range(2):
        expected = [torch.stack(group) for group in naive(encoder, weights, index)]
        for group, nodes in enumerate(expected):
            assert_close(encoding.nodes[group][index], nodes, what=f"group {group}", atol=1e-10, rtol=0.0)
        assert_close(encoding.pooled[index], expected[-1].flatten(), what="pooled", atol=1e-10, rtol=0.0)


@torch.no_grad()
def test_wrong_twin_with_the_roles_in_the_recurrence_swapped():
    spec = DENSE["siren"]
    encoder, weights = encoder_for(spec), random_weights(spec, 1, seed=0, dtype=torch.float64)
    expected = encoder.encode(weights)
    cell = encoder.passes[0].cell
    cell.weight_ih, cell.weight_hh = cell.weight_hh, cell.weight_ih
    assert (encoder.encode(weights) - expected).abs().max() > 0.01


@torch.no_grad()
def test_the_recurrence_is_torch_s_cell():
    walk = encoder_for(DENSE["siren"]).passes[0]
    x, hidden = torch.randn(2, 3, 5).double(), torch.randn(2, 3, 5).double()
    expected = walk.cell(x.flatten(0, 1), hidden.flatten(0, 1)).view(2, 3, 5)
    assert_close(walk.update(x @ walk.cell.weight_ih.T, hidden), expected, what="cell", atol=1e-12)


@torch.no_grad()
def test_prepared_for_networks_it_reads_them_by_polynomials_and_others_as_well():
    spec = DENSE["siren"]
    encoder, twin = (DNGEncoder(spec, dim=5, num_frequencies=64).double() for _ in range(2))
    twin.load_state_dict(encoder.state_dict())
    weights = random_weights(spec, 3, seed=0, dtype=torch.float64)
    encoder.prepare([weights[:2], weights[2:]])
    for walk in encoder.passes:
        for maps, w, b in zip(walk.steps, weights.weights, weights.biases, strict=True):
            assert float(maps.edge.reach) == pytest.approx(1.05 * float(w.abs().max()), rel=1e-6)
            assert float(maps.input.reach) == pytest.approx(1.05 * float(b.abs().max()), rel=1e-6)
    for factor in (1, 10):
        networks = Weights(spec, factor * weights.flat)
        assert_close(encoder.encode(networks), twin.encode(networks), what=f"times {factor}", atol=1e-10)
    copy = DNGEncoder(spec, dim=5, num_frequencies=64).double()
    copy.load_state_dict(encoder.state_dict())
    assert torch.equal(copy.encode(weights), encoder.encode(weights))


def test_what_the_first_layer_hears_goes_through_the_cell_s_map_with_the_parameters():
    """Where all networks have the same sources and there are enough of them, it is the same function and gradient."""
    spec = NetworkSpec.mlp([2, 8, 1])
    encoder = DNGEncoder(spec, dim=40, num_frequencies=64, scale=0.3).double()
    weights = random_weights(spec, 40, seed=0, dtype=torch.float64)
    encoder.prepare([weights])
    maps, cell = encoder.passes[0].steps[0], encoder.passes[0].cell
    assert maps.gather_through(weights.weights[0], encoder.input_memory[None], cell.weight_hh) is not None
    assert maps.gather_through(weights.weights[0][:1], encoder.input_memory[None], cell.weight_hh) is None
    answers = []
    for form in (type(maps).gather_through, lambda *given: None):
        maps.gather_through = form.__get__(maps)
        encoding = encoder.encode(weights)
        answers.append([encoding, *torch.autograd.grad(encoding.sin().sum(), [*encoder.parameters()])])
    for ours, expected in zip(*answers, strict=True):
        assert_close(ours.detach(), expected.detach(), what="through", atol=1e-9, rtol=1e-9)


def test_a_first_layer_in_groups_hears_its_own_inputs_alone():
    spec = NetworkSpec((Conv(4, 6, "tanh", kernel=(1,), groups=2), MeanPool(6), Dense(6, 2)))
    encoder = DNGEncoder(spec, dim=120, num_frequencies=64, scale=0.3).double()
    weights = random_weights(spec, 3, seed=0, dtype=torch.float64)
    encoder.prepare([weights])
    with torch.no_grad():
        found = encoder.encode(weights)
        encoder.passes[0].steps[0].gather_through = lambda *given: None
        assert_close(found, encoder.encode(weights), what="in groups", atol=1e-12)


def test_sizes_are_the_paper_s_where_they_are_not_given():
    encoder = DNGEncoder(NetworkSpec.mlp([2, 8, 8, 3]))
    assert encoder.pooled_dim == 3 * 128
    assert encoder.features.dim == 256
    encoding = encoder(random_weights(encoder.spec, 4, seed=0))
    assert isinstance(encoding, Encoding)
    assert [tuple(nodes.shape) for nodes in encoding.nodes] == [(4, 2, 128), (4, 8, 128), (4, 8, 128), (4, 3, 128)]
    assert abs(float(DNGEncoder(encoder.spec, num_frequencies=20000).features.frequencies.std()) - 3.0) < 0.1


def test_frequencies_are_saved_and_not_trained():
    encoder = DNGEncoder(DENSE["siren"], **SMALL)
    assert "features.frequencies" in encoder.state_dict()
    assert "features.frequencies" not in dict(encoder.named_parameters())


def test_dropout_works_in_training_only():
    encoder, weights = (
        encoder_for(DENSE["siren"], dropout=0.5),
        random_weights(DENSE["siren"], 2, seed=0, dtype=torch.float64),
    )
    encoder.train()
    nodes = encoder(weights).nodes
    assert all((group == 0).any() for group in nodes[1:])
    assert not (nodes[0] == 0).any()
    assert not torch.equal(encoder.encode(weights), encoder.encode(weights))
    encoder.eval()
    assert torch.equal(encoder.encode(weights), encoder.encode(weights))


def test_the_activation_embedding_tells_activations_apart():
    """The same numbers under another activation: read by shape, told apart only with the embedding."""
    relu, tanh = (NetworkSpec.mlp([2, 4, 1], activation) for activation in ("relu", "tanh"))
    flat = random_weights(relu, 2, seed=0, dtype=torch.float64).flat
    for embeds in (True, False):
        encoder = encoder_for(relu, activation_embedding=embeds)
        answers = [encoder.encode(Weights(spec, flat)) for spec in (relu, tanh)]
        assert torch.equal(*answers) is not embeds


def test_a_layer_without_biases_enters_with_zero():
    spec = NetworkSpec.mlp([2, 4, 1], bias=False)
    weights = random_weights(spec, 2, seed=0, dtype=torch.float64)
    encoder = encoder_for(spec)
    biased = NetworkSpec.mlp([2, 4, 1])
    twin = DNGEncoder(biased, **SMALL).double()
    twin.load_state_dict(encoder.state_dict())
    zeros = Weights.of(biased, weights.weights, [torch.zeros(2, 4).double(), torch.zeros(2, 1).double()])
    assert_close(encoder.encode(weights), twin.encode(zeros), what="without biases", atol=1e-12, rtol=1e-12)


def test_gradients_reach_parameters_and_the_networks_that_are_read():
    spec = DENSE["deep"]
    encoder, weights = encoder_for(spec, num_passes=2), random_weights(spec, 2, seed=0, dtype=torch.float64)
    weights.flat.requires_grad_()
    encoder.encode(weights).pow(3).sum().backward()
    for name, tensor in [*encoder.named_parameters(), ("networks", weights.flat)]:
        assert tensor.grad is not None, name
        assert tensor.grad.abs().sum() > 0, name


def test_parallel_edges_are_refused_by_name_where_messages_have_one():
    encoder = DNGEncoder(NetworkSpec.mlp([1, 3]), shared=True, **SMALL)
    with pytest.raises(InputError, match=r"reads layers of up to 1 taps, but step 0 \(conv\) of conv 1-4 .* has 9"):
        encoder(random_weights(tiny_specs()["conv"], 1, seed=0))


REFUSED = [
    ({"dim": 0}, "dim must be a number of at least 1, got 0"),
    ({"num_frequencies": 0}, "num_frequencies must be"),
    ({"num_passes": 0}, "num_passes must be"),
    ({"head_dim": 0}, "head_dim must be"),
    ({"max_taps": -1}, "max_taps must be a number of at least 0, got -1"),
    ({"scale": -1.0}, "scale must be a number above 0, got -1.0"),
    ({"dropout": 2.0}, "dropout must be a number of at least 0 and below 1, got 2.0"),
    ({"dropout": -0.1}, "dropout must be"),
    ({"readout": "nodes"}, r"readout.* 'nodes'"),
    ({"kinds": ("foo",)}, "unknown kind of step 'foo'; known: message, norm, learned"),
    ({"preset": "realese-vit"}, "unknown preset 'realese-vit'; known: paper, .* did you mean 'release-vit'"),
]


@pytest.mark.parametrize(("options", "sentence"), REFUSED, ids=str)
def test_options_that_make_no_encoder_are_refused_before_there_is_a_spec(options, sentence):
    with pytest.raises(InputError, match=sentence):
        DNGEncoder(DENSE["siren"], **options)
    with pytest.raises(InputError, match=sentence):
        EncoderConfig.named("dng", **options)
    [(key, value)] = options.items()
    text = ",".join(value) if isinstance(value, tuple) else str(value)
    with pytest.raises(InputError, match=sentence):
        config.override(RECIPES["digits_classify"](), [f"encoder.{key}={text}"])


def test_options_of_another_type_are_refused():
    with pytest.raises(InputError, match=r"encoder.dim must be a whole number, got 2.5"):
        EncoderConfig.named("dng", dim=2.5)
    with pytest.raises(InputError, match=r"encoder.shared must be true or false or none, got 'x'"):
        EncoderConfig.named("flat", shared="x")


@pytest.mark.parametrize(
    "spec",
    [NetworkSpec.mlp([2, 5, 4, 2]), NetworkSpec.mlp([2, 5, 1]), NetworkSpec.mlp([2, 5, 4, 1], bias=False)],
    ids=str,
)
def test_networks_of_another_shape_are_refused(spec):
    encoder = DNGEncoder(NetworkSpec.mlp([2, 5, 4, 1]), **SMALL)
    with pytest.raises(InputError, match=r"reads networks of the shape MLP 2-5-4-1 \(sine\), got MLP"):
        encoder(random_weights(spec, 1, seed=0))
