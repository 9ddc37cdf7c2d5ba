"""The DNG-Encoder at every kind of step, against formulas written out node by node; and what it keeps while it
reads.
"""

import pytest
import torch
from test_dng import affine, encoder_for, gru, layer_norm, phi

from weightwalk import InputError, NetworkSpec, Weights
from weightwalk.encoders import DNGEncoder, pieces
from weightwalk.spec import Conv, Dense, MeanPool
from weightwalk.steps import Add, Attention, Learned, Multiply, Norm, Pad, Patches, Rearrange, Slice
from weightwalk.testing import assert_close, assert_invariant, random_weights, tiny_specs


def memories(encoder: DNGEncoder, weights: Weights) -> list[list[torch.Tensor]]:
    """Per layer, the memories of the first network's nodes."""
    return [list(nodes[0]) for nodes in encoder(weights).nodes]


def updated(encoder: DNGEncoder, maps, message: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
    x = affine(maps.input, phi(bias, encoder.features.frequencies))
    return layer_norm(maps.norm, gru(encoder.passes[0].cell, x, message))


@pytest.mark.parametrize("preset", ["paper", "release-cnn-zoo"])
@torch.no_grad()
def test_kernels_are_equation_5(preset):
    """A kernel of six taps, then a dense layer of one: its missing heads are empty, or their edge map's bias acts."""
    spec = NetworkSpec((Conv(2, 3, "relu", kernel=(2, 3)), MeanPool(3), Dense(3, 2)))
    encoder, weights = (
        encoder_for(spec, head_dim=2, preset=preset),
        random_weights(spec, 1, seed=0, dtype=torch.float64),
    )
    groups = [list(encoder.input_memory)]
    for layer, maps in enumerate(encoder.passes[0].steps):
        w, heads = (
            weights.weights[layer][0].reshape(*spec.layers[layer].weight_shape[:2], -1),
            maps.source.out_features // 2,
        )
        assert heads == (6 if preset == "release-cnn-zoo" or layer == 0 else 1)
        group = []
        for i in range(w.shape[0]):
            message = 0
            for j in range(w.shape[1]):
                source, parts = affine(maps.source, groups[-1][j]).reshape(heads, 2), []
                for n in range(heads):
                    here = n < w.shape[2]
                    edge = affine(maps.edge, phi(w[i, j, n], encoder.features.frequencies)) if here else maps.edge.bias
                    parts.append(edge * source[n])
                message = message + affine(maps.mix[2], affine(maps.mix[0], torch.cat(parts)).relu())
            group.append(updated(encoder, maps, message, weights.biases[layer][0, i]))
        groups.append(group)
    for ours, expected in zip(memories(encoder, weights), groups, strict=True):
        assert_close(torch.stack(ours), torch.stack(expected), what="memories", atol=1e-10, rtol=0.0)


@torch.no_grad()
def test_a_block_of_a_grouped_convolution_hears_its_own_block():
    """The same as a convolution of one group whose other weights send nothing: blocks apart, as networks of their
    own.
    """
    spec = NetworkSpec((Conv(4, 6, groups=2), MeanPool(6), Dense(6, 2)))
    encoder, weights = encoder_for(spec), random_weights(spec, 1, seed=0, dtype=torch.float64)
    half = NetworkSpec((Conv(2, 3), MeanPool(3), Dense(3, 2)))
    twin = encoder_for(half)
    for block in range(2):
        state = encoder.state_dict() | {"input_memory": encoder.input_memory[2 * block : 2 * block + 2]}
        twin.load_state_dict(state)
        rows = slice(3 * block, 3 * block + 3)
        alone = Weights.of(
            half,
            [weights.weights[0][:, rows], weights.weights[1][:, :, rows]],
            [weights.biases[0][:, rows], weights.biases[1]],
        )
        assert_close(twin(alone).nodes[1], encoder(weights).nodes[1][:, rows], what=f"block {block}")


@torch.no_grad()
def test_norms_scale_and_shift_by_features_of_their_parameters():
    spec = NetworkSpec((Dense(2, 4), Norm(4, 4), Dense(4, 1)))
    encoder, weights = encoder_for(spec), random_weights(spec, 1, seed=0, dtype=torch.float64)
    maps, (_, before, ours, _) = encoder.passes[0].steps[1], memories(encoder, weights)
    for i in range(4):
        scale, shift = (
            affine(linear, phi(parameters[1][0, i], encoder.features.frequencies))
            for linear, parameters in ((maps.scale, weights.weights), (maps.shift, weights.biases))
        )
        assert_close(ours[i], before[i] * scale + shift, what="memory", atol=1e-10, rtol=0.0)


@pytest.mark.parametrize("sources", [(3, 4), (4, 3)])
@torch.no_grad()
def test_residual_messages_go_to_the_newest_nodes_and_padding_sends_none(sources):
    steps = (Dense(2, 4), Slice(4, 3), Dense(3, 5), Pad(3, 5, sources=(2,)), Add(5, sources=sources), Dense(5, 1))
    spec = NetworkSpec(steps)
    encoder, weights = encoder_for(spec), random_weights(spec, 1, seed=0, dtype=torch.float64)
    _, first, second, _ = memories(encoder, weights)
    residual = encoder.passes[0].between["5"].residual
    plain = NetworkSpec((*steps[:3], Dense(5, 1)))
    twin = encoder_for(plain)
    state = encoder.state_dict()
    twin.load_state_dict({name: tensor for name, tensor in state.items() if "between" not in name})
    _, _, bare, _ = memories(twin, Weights.of(plain, weights.weights, weights.biases))
    for i in range(5):
        expected = bare[i] + affine(residual, first[i]) if i < 3 else bare[i]
        assert_close(second[i], expected, what=f"memory {i}", atol=1e-10, rtol=0.0)


@torch.no_grad()
def test_attention_pairs_queries_with_keys_and_gates_the_values():
    spec = NetworkSpec((
        Dense(2, 4),
        Dense(2, 4, sources=(0,)),
        Dense(2, 6, sources=(0,)),
        Attention(4, heads=2, values=6, sources=(1, 2, 3)),
        Dense(6, 1),
    ))  # fmt: skip
    encoder, weights = encoder_for(spec), random_weights(spec, 1, seed=0, dtype=torch.float64)
    maps, seen = encoder.passes[0].between["4"], []
    maps.register_forward_hook(lambda module, given, answer: seen.append(answer[0]))
    _, q, k, v, _ = memories(encoder, weights)
    for i in range(6):
        head = i // 3
        met = sum(affine(maps.query, q[j]) * affine(maps.key, k[j]) for j in (2 * head, 2 * head + 1)) / 2
        expected = layer_norm(maps.norm, affine(maps.value, v[i]) + affine(maps.gate, v[i]) * affine(maps.pair, met))
        assert_close(seen[0][i], expected, what=f"memory {i}", atol=1e-10, rtol=0.0)


def test_published_attention_counts_places_and_so_is_not_invariant():
    spec = NetworkSpec((Dense(2, 4), Attention(4, heads=2, sources=(1, 1, 1)), Dense(4, 1)))
    weights = random_weights(spec, 2, seed=0)
    ours, published = encoder_for(spec).float(), encoder_for(spec, preset="release-vit").float()
    assert (ours.invariant, published.invariant) == (True, False)
    assert DNGEncoder(NetworkSpec.mlp([2, 4, 1]), preset="release-vit").invariant  # nothing in it has heads
    assert_invariant(ours, weights)
    with pytest.raises(AssertionError, match="not invariant"):
        assert_invariant(published, weights)
    uneven = tiny_specs()["vit"]
    with pytest.raises(
        InputError, match=r"published attention needs as many queries as values in a head, unlike step 12 \(attention\)"
    ):
        DNGEncoder(uneven, preset="release-vit")


@torch.no_grad()
def test_patches_learned_values_gates_and_rearrangements():
    spec = NetworkSpec((
        Patches(2, 8, size=(2, 2)),
        Dense(8, 3),
        Learned(1, 3, bias=False, grid=(4,), sources=(0,)),
        Multiply(3, sources=(2, 3)),
        Rearrange(3, 6, sizes=(3, 2), order=(0, 1)),
        Dense(6, 1),
    ))  # fmt: skip
    encoder, weights = encoder_for(spec), random_weights(spec, 1, seed=0, dtype=torch.float64)
    walk, seen = encoder.passes[0], {}
    walk.steps[0].source.register_forward_hook(lambda module, given, answer: seen.update(patches=given[0][0]))
    walk.steps[2].source.register_forward_hook(lambda module, given, answer: seen.update(flat=given[0][0]))
    _, dense, learned, _ = memories(encoder, weights)
    for number in range(8):  # a number of a patch: pixel by pixel, each with its channels
        assert_close(
            seen["patches"][number], encoder.input_memory[number % 2] + walk.between["1"].place[number], what="patch"
        )
    for i in range(3):
        features = torch.stack([phi(x, encoder.features.frequencies) for x in weights.weights[1][0, i, 0]]).mean(0)
        assert_close(
            learned[i],
            layer_norm(walk.steps[1].norm, affine(walk.steps[1].value, features)),
            what="learned",
            atol=1e-10,
        )
        assert_close(seen["flat"][2 * i + 1], dense[i] * learned[i], what="gate, flattened", atol=1e-10)


@torch.no_grad()
def test_layers_without_biases_may_pass_their_messages_on():
    spec = NetworkSpec((Dense(2, 3, bias=False), Dense(3, 1)))
    encoder, weights = encoder_for(spec, preset="release-vit"), random_weights(spec, 1, seed=0, dtype=torch.float64)
    maps = encoder.passes[0].steps[0]
    message = sum(
        affine(maps.edge, phi(weights.weights[0][0, 1, j], encoder.features.frequencies))
        * affine(maps.source, encoder.input_memory[j])
        for j in range(2)
    )
    assert_close(memories(encoder, weights)[1][1], layer_norm(maps.norm, message), what="memory", atol=1e-10, rtol=0.0)


@pytest.mark.parametrize("name", ["gpt", "residual", "deep"])
@torch.no_grad()
def test_a_large_layer_is_read_in_small_pieces(monkeypatch, name):
    """The same encoding with a few pairs at a time; what it holds at a time is a piece."""
    spec = tiny_specs()[name]
    encoder, weights = encoder_for(spec), random_weights(spec, 2, seed=0, dtype=torch.float64)
    expected = encoder.encode(weights)
    monkeypatch.setitem(pieces.PIECE_BYTES, "cpu", 600)
    assert_close(encoder.encode(weights), expected, what="encoding", atol=1e-10, rtol=0.0)
