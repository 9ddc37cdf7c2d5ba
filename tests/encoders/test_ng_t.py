"""NG-T in blocks is the plain form, at a bounded memory."""

import pytest
import torch

from weightwalk import InputError, NetworkSpec
from weightwalk.bench.costs import PeakBytes
from weightwalk.encoders import EncoderConfig, NGTEncoder, pieces, relational
from weightwalk.encoders.relational import RelationalAttention, RelationalLayer, survivors
from weightwalk.testing import assert_close, plain_graphs, random_weights, tiny_specs

SMALL = {
    **{"node_dim": 8, "edge_dim": 4, "attention_dim": 8, "node_hidden": 8, "edge_hidden": 6},
    **{"num_layers": 2, "num_heads": 2, "num_frequencies": 4},
}
SPEC = tiny_specs()["siren"]


def answers(encoder, weights, read):
    """Tensors, and the gradients of a loss of them in the weights and in all parameters."""
    given = weights[:]
    leaf = given.flat.detach().clone().requires_grad_()
    tensors = read(type(weights)(weights.spec, leaf))
    loss = sum((x.sin() * x).sum() for x in tensors)
    return [*tensors, *torch.autograd.grad(loss, [*encoder.parameters(), leaf])]


@pytest.mark.parametrize("piece_bytes", [600, 2**20])
@pytest.mark.parametrize("modulated", [True, False])
def test_blocks_are_the_plain_form(monkeypatch, piece_bytes, modulated):
    monkeypatch.setitem(pieces.PIECE_BYTES, "cpu", piece_bytes)
    weights = random_weights(SPEC, 2, seed=0, dtype=torch.float64)
    encoder = NGTEncoder(SPEC, **SMALL, modulated=modulated, edges=True).double().eval()
    encoder.prepare([weights])
    expected = answers(encoder, weights, lambda given: plain_graphs.state(encoder, given))
    ours = answers(encoder, weights, lambda given: list(encoder.states(given))[-1])
    for one, other in zip(ours, expected, strict=True):
        assert_close(one.detach(), other.detach(), what="blocks")


def test_what_nobody_reads_changes_nothing():
    weights = random_weights(SPEC, 2, seed=0)
    for num_layers in (1, 3):
        encoder = NGTEncoder(SPEC, **SMALL | {"num_layers": num_layers}).eval()
        *_, (nodes, _) = encoder.states(weights)
        assert nodes.shape[1] == sum(SPEC.widths)
        assert_close(encoder(weights).pooled, nodes[:, -1], what="pooled")


def test_derivatives_of_derivatives():
    attention = RelationalAttention(2, 3, 4, num_heads=2).double()
    given = [torch.randn(1, 3, 2, dtype=torch.float64), torch.randn(1, 3, 3, 3, dtype=torch.float64)]
    leaves = [x.requires_grad_() for x in given]
    assert torch.autograd.gradgradcheck(lambda n, pairs: attention(n, n, pairs), leaves, fast_mode=True)


def test_no_projection_of_all_pairs_is_ever_whole(monkeypatch):
    monkeypatch.setitem(pieces.PIECE_BYTES, "cpu", 2**16)
    layer = RelationalLayer(8, 4, 64, 8, 16, num_heads=2, dropout=0.2, modulated=True, edges=True)
    nodes, pairs = torch.randn(1, 64, 8, requires_grad=True), torch.randn(1, 64, 64, 4, requires_grad=True)
    for call in (
        lambda: layer.attention(nodes, nodes, pairs).sum().backward(),
        lambda: layer.edges(pairs, pairs.transpose(1, 2), nodes, nodes).sum().backward(),
    ):
        call()
        with PeakBytes([nodes, pairs, nodes.grad, pairs.grad]) as memory:
            call()
        assert memory.peak < 64 * 64 * 64 * 4  # one head's q of every pair would be half of that


def test_a_block_that_is_made_again_drops_the_same(monkeypatch):
    monkeypatch.setitem(pieces.PIECE_BYTES, "cpu", 600)
    layer = RelationalLayer(8, 4, 8, 8, 6, num_heads=2, dropout=0.3, modulated=True, edges=True).double()
    nodes, pairs = torch.randn(2, 5, 8).double(), torch.randn(2, 5, 5, 4).double().requires_grad_()

    def gradient():
        torch.manual_seed(1)
        return torch.autograd.grad(layer.edges(pairs, pairs.transpose(1, 2), nodes, nodes).sin().sum(), pairs)[0]

    ours = gradient()
    monkeypatch.setattr(relational, "in_blocks", lambda total, *operands: total.function(*operands))
    assert_close(ours, gradient(), what="the gradient through dropout")
    monkeypatch.setattr(relational, "survivors", lambda like, share: torch.ones_like(like, dtype=torch.uint8))
    assert (ours - gradient()).abs().max() > 0.1


def test_dropout_s_share():
    stays = survivors(torch.empty(3, 33333), 0.3)
    assert stays.shape == (3, 33333)
    assert set(stays.flatten().tolist()) == {0, 1}
    assert abs(stays.double().mean() - 0.7) < 0.01


@torch.no_grad()
def test_a_mixture_is_each_architecture_alone():
    specs = [NetworkSpec.mlp([2, 5, 4, 1]), NetworkSpec.mlp([2, 6, 1])]
    encoder = EncoderConfig.named("ng_t", **SMALL).build(*specs).eval()
    batches = [random_weights(spec, 2, seed=seed) for seed, spec in enumerate(specs)]
    together = encoder.encode([batches[0][:1], batches[1], batches[0][1:]])
    alone = [encoder.encode(batches[0]), encoder.encode(batches[1])]
    assert_close(together, torch.cat([alone[0][:1], alone[1], alone[0][1:]]), what="a mixture")


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"num_heads": 3}, "attention_dim that num_heads divides, got 128 and 3"),
        ({"edge_hidden": 0}, "edge_hidden"),
        ({"pool": "all"}, "pool"),
        ({"shared": True, "num_probes": 2}, "probes have maps for every layer of one architecture"),
    ],
)
def test_options_that_make_no_encoder_are_refused(options, sentence):
    with pytest.raises(InputError, match=sentence):
        EncoderConfig.named("ng_t", **options)
    with pytest.raises(InputError, match=sentence):
        NGTEncoder(SPEC, **options)


def test_probes_need_networks_of_vectors():
    with pytest.raises(InputError, match="probes are points that a network of vectors is run on"):
        NGTEncoder(tiny_specs()["conv"], **SMALL, num_probes=2)
