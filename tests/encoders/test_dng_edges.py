"""The DNG-Encoder's edge outputs, against their formula edge by edge; and its walk backward, node by node."""

import itertools

import pytest
import torch
from test_dng import affine, encoder_for, gru, layer_norm, phi

from weightwalk import InputError, NetworkSpec, Weights
from weightwalk.encoders import DNGEncoder, pieces
from weightwalk.spec import Conv, Dense, MeanPool
from weightwalk.steps import Norm
from weightwalk.testing import assert_close, random_weights, tiny_specs

CONV = NetworkSpec((Conv(4, 6, "tanh", kernel=(3,), groups=2), MeanPool(6), Dense(6, 2)))
NORMED = NetworkSpec((Dense(2, 4), Norm(4, 4), Dense(4, 3)))


def check_edges(encoder: DNGEncoder, weights: Weights, ends: list[tuple[torch.Tensor, torch.Tensor]]) -> None:
    """Every edge of the first network, from the memories at its ends (nodes, D)."""
    encoding, frequencies = encoder(weights), encoder.features.frequencies
    for number, (layer, (sources, targets)) in enumerate(zip(weights.spec.layers, ends, strict=True)):
        maps, found = encoder.edge_outputs.layers[number], encoding.edges[number][0]
        w = weights.weights[number][0]
        groups = layer.groups if isinstance(layer, Conv) else 1
        for place in torch.cartesian_prod(*map(torch.arange, w.shape)).reshape(-1, w.dim()).tolist():
            i, j = place[0], place[1] if w.dim() > 1 else place[0]
            source = sources[j if groups == 1 else j + i // (w.shape[0] // groups) * w.shape[1]]
            of_ends = maps.source.weight @ source + affine(maps.target, targets[i])
            if w.dim() == 3:
                of_ends = of_ends + maps.taps[place[2]]
            expected = affine(maps.edge, phi(w[tuple(place)], frequencies)) * of_ends
            assert_close(found[tuple(place)], expected, what=f"edge {place} of layer {number}", atol=1e-10, rtol=0.0)


@pytest.mark.parametrize("spec", [tiny_specs()["siren"], CONV, NORMED], ids=str)
@torch.no_grad()
def test_an_edge_is_made_of_its_weight_and_the_memories_of_both_ends(spec):
    encoder = encoder_for(spec, edges=True, edge_dim=3, head_dim=2)
    weights = random_weights(spec, 2, seed=0, dtype=torch.float64)
    nodes = [group[0] for group in encoder(weights).nodes]
    check_edges(encoder, weights, list(itertools.pairwise(nodes)))


@torch.no_grad()
def test_the_memories_at_an_edge_are_those_of_its_use_and_not_those_after_additions():
    spec = tiny_specs()["residual"]
    encoder = encoder_for(spec, edges=True)
    weights = random_weights(spec, 2, seed=0, dtype=torch.float64)
    encoder.passes[0].between["5"].residual.bias += 1
    before = encoder(weights)
    encoder.passes[0].between["5"].residual.bias += 1  # behind layers 0 to 3
    after = encoder(weights)
    same = [torch.equal(one, other) for one, other in zip(before.edges, after.edges, strict=True)]
    assert same == [True, True, True, True, False, False]
    assert not torch.equal(before.nodes[4], after.nodes[4])


def test_edges_by_polynomials_and_in_pieces_are_the_same_with_their_gradients(monkeypatch):
    spec = NetworkSpec.mlp([2, 8, 7, 1])
    encoder = DNGEncoder(spec, dim=6, num_frequencies=64, scale=0.3, edges=True).double()
    weights = random_weights(spec, 3, seed=0, dtype=torch.float64)
    answers = []
    for prepared, size in ((False, 2**20), (True, 2**20), (True, 2000)):
        if prepared:
            encoder.prepare([weights])
        monkeypatch.setitem(pieces.PIECE_BYTES, "cpu", size)
        edges = torch.cat([edge.flatten(1) for edge in encoder(weights).edges], dim=1)
        answers.append([edges, *torch.autograd.grad(edges.sin().sum(), [*encoder.edge_outputs.parameters()])])
    assert encoder.edge_outputs.layers[0].edge.on_basis().covers(weights.weights[0])
    for answer in answers[1:]:
        for ours, expected in zip(answer, answers[0], strict=True):
            assert_close(ours.detach(), expected.detach(), what="edges", atol=1e-9, rtol=1e-9)


@pytest.mark.parametrize("spec", [tiny_specs()["deep"], CONV], ids=str)
@torch.no_grad()
def test_the_walk_backward_goes_from_the_outputs_to_the_inputs(spec):
    """Eq 4 over the same edges the other way round, each node updated by what it remembers of the walk forward."""
    encoder = encoder_for(spec, backward=True, edges=True, head_dim=2)
    twin = DNGEncoder(spec, dim=5, num_frequencies=3, head_dim=2).double()
    twin.load_state_dict({name: x for name, x in encoder.state_dict().items() if name in twin.state_dict()})
    weights = random_weights(spec, 2, seed=0, dtype=torch.float64)
    forward = [group[0] for group in twin(weights).nodes]
    found = [forward[-1] + encoder.output_memory]
    maps = encoder.backward_pass
    for number in reversed(range(len(spec.layers))):
        own, w, group = maps.steps[number], weights.weights[number][0], []
        groups = spec.layers[number].groups if isinstance(spec.layers[number], Conv) else 1
        per_group = w.shape[0] // groups
        for j in range(len(forward[number])):
            message = 0
            block = j // w.shape[1]
            for i in range(block * per_group, (block + 1) * per_group):
                taps = w[i, j % w.shape[1]].reshape(-1)
                edges = [affine(own.edge, phi(tap, encoder.features.frequencies)) for tap in taps]
                if encoder.builder.taps:
                    sent = affine(own.source, found[0][i]).reshape(-1, 2)
                    parts = [edge * head for edge, head in zip(edges, sent, strict=True)]
                    message = message + affine(own.mix[2], affine(own.mix[0], torch.cat(parts)).relu())
                else:
                    message = message + edges[0] * affine(own.source, found[0][i])
            group.append(layer_norm(own.norm, gru(maps.cell, affine(own.input, forward[number][j]), message)))
        found.insert(0, torch.stack(group))
    encoding = encoder(weights)
    for number, nodes in enumerate(found):
        assert_close(encoding.nodes[number][0], nodes, what=f"group {number}", atol=1e-10, rtol=0.0)
    pooled = torch.cat([forward[-1].flatten(), found[0].flatten()])
    assert_close(encoding.pooled[0], pooled, what="pooled", atol=1e-10, rtol=0.0)
    both = [torch.cat(pair, dim=1) for pair in zip(forward, found, strict=True)]
    check_edges(encoder, weights, list(itertools.pairwise(both)))


@torch.no_grad()
def test_early_layers_know_what_comes_after_with_a_walk_backward_alone():
    spec = tiny_specs()["siren"]
    weights = random_weights(spec, 1, seed=0, dtype=torch.float64)
    changed = Weights(spec, weights.flat.clone())
    changed.weights[2].mul_(2)
    for backward in (False, True):
        encoder = encoder_for(spec, edges=True, backward=backward)
        before, after = encoder(weights).edges[0], encoder(changed).edges[0]
        assert torch.equal(before, after) is not backward


@pytest.mark.parametrize("options", [{"backward": True}, {"order": "shuffled"}], ids=str)
@pytest.mark.parametrize(("name", "step"), [("residual", r"step 1 \(norm\)"), ("dense block", r"step 2 \(concat\)")])
def test_other_orders_are_of_chains(options, name, step):
    with pytest.raises(InputError, match=rf"for chains of dense layers and convolutions, got {step} of .*; set back"):
        DNGEncoder(tiny_specs()[name], dim=4, num_frequencies=2, **options)
