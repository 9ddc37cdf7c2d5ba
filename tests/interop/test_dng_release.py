"""The authors' parameters in our modules give the authors' numbers; and an oracle of our own checks what the three
files do not.
"""

import math
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from weightwalk import InputError, NetworkSpec, Weights
from weightwalk.interop import dng_release
from weightwalk.testing import assert_close, random_weights

GOLDEN = Path(__file__).parents[1] / "golden"
TOLERANCE = {"atol": 1e-5, "rtol": 1e-5}


def golden(name: str) -> tuple[dict, Weights, dict]:
    """The release's parameters, the networks that it read and what it answered."""
    tensors = load_file(GOLDEN / f"{name}.safetensors")
    parameters = {key.removeprefix("param."): tensor for key, tensor in tensors.items() if key.startswith("param.")}
    count = sum(key.startswith("in.weight.") for key in tensors)
    weights, biases = ([tensors[f"in.{role}.{layer}"] for layer in range(count)] for role in ("weight", "bias"))
    spec = NetworkSpec.mlp([weights[0].shape[2], *(weight.shape[1] for weight in weights)])
    return (
        parameters,
        Weights.of(spec, weights, biases),
        {key.removeprefix("out."): t for key, t in tensors.items() if key.startswith("out.")},
    )


@pytest.mark.parametrize("name", ["dng_mlp_2-8-8-1", "dng_mlp_deep_3-10-12-7-4"])
@torch.no_grad()
def test_the_encoder_gives_the_release_s_numbers(name):
    parameters, weights, out = golden(name)
    encoder = dng_release.load(parameters, weights.spec.widths)
    assert not encoder.training
    assert_close(encoder.encode(weights), out["y"], what="encoding", **TOLERANCE)


@pytest.mark.parametrize("image_shape", [None, (1, 28, 28)])
@torch.no_grad()
def test_inr2jls_gives_the_release_s_numbers(image_shape):
    parameters, weights, out = golden("inr2jls_mnist")
    model = dng_release.load(parameters, weights.spec.widths, "inr2jls", image_shape)
    assert_close(model.encoder.encode(weights), out["encoding"], what="encoding", **TOLERANCE)
    assert_close(model.latents(weights), out["latent"], what="latents", **TOLERANCE)
    assert_close(model(weights), out["y"].unflatten(1, (6, 1)), what="pictures", **TOLERANCE)


@torch.no_grad()
def test_wrong_twins_miss_the_release_s_numbers():
    parameters, weights, out = golden("dng_mlp_2-8-8-1")

    def largest_error(changes) -> float:
        encoder = dng_release.load({**parameters, **changes}, weights.spec.widths)
        return float((encoder.encode(weights) - out["y"]).abs().max())

    def swapped(one: str, two: str) -> dict:
        return {one: parameters[two], two: parameters[one]}

    gates = {key: parameters[key].roll(16, 0) for key in parameters if key.startswith("rnn_0")}
    roles = {
        key: t
        for role in ("weight", "bias")
        for key, t in swapped(f"rnn_0.input_map.{role}", f"rnn_0.hidden_map.{role}").items()
    }
    cosine_first = {
        key: tensor.roll(8, 1) for key, tensor in parameters.items() if "edge_lin" in key and tensor.dim() == 2
    }
    assert largest_error({}) < 1e-5
    for wrong in (
        gates,
        roles,
        cosine_first,
        swapped("edge_lin_0_1.weight", "node_lin_0_1.weight"),
        swapped("edge_lin_0_1.bias", "edge_lin_0_2.bias"),
    ):
        assert largest_error(wrong) > 1e-3


# Other sizes: parameters under the release's names, drawn here, and their meaning written out without our modules.


def draw(widths, dim=6, num_frequencies=4, num_passes=1, prefix=""):
    linear = {}
    for walk in range(num_passes):
        for layer in range(len(widths) - 1):
            inputs = 2 * num_frequencies if walk == 0 else dim
            for kind, fan_in in (("edge_lin", 2 * num_frequencies), ("node_lin", dim), ("input_lin", inputs)):
                linear[f"{kind}_{walk}_{layer}"] = (dim, fan_in)
            linear[f"norm_{walk}_{layer}"] = (dim,)
        linear[f"rnn_{walk}.input_map"] = linear[f"rnn_{walk}.hidden_map"] = (3 * dim, dim)
    state = {f"{prefix}{name}.weight": 0.5 * torch.randn(shape) for name, shape in linear.items()}
    state |= {f"{prefix}{name}.bias": 0.5 * torch.randn(shape[0]) for name, shape in linear.items()}
    state |= {
        f"{prefix}fourier_layer.b": torch.randn(1, num_frequencies),
        f"{prefix}input_init_node": torch.randn(widths[0], dim),
    }
    return dict(sorted(state.items()))


def oracle(state, weights: Weights, prefix="") -> torch.Tensor:
    """The encoding, on the graph as a list of edges, source-major, as the release has it."""
    p = {key.removeprefix(prefix): tensor.double() for key, tensor in state.items() if key.startswith(prefix)}

    def apply(name, x):
        return x @ p[f"{name}.weight"].T + p[f"{name}.bias"]

    def phi(x):
        angles = 2 * math.pi * x[:, None] * p["fourier_layer.b"]
        return torch.cat([angles.sin(), angles.cos()], dim=1)

    widths = weights.spec.widths
    num_passes = 1 + max(int(key.split("_")[-2]) for key in p if key.startswith("norm_"))
    encodings = []
    for index in range(len(weights)):
        earlier = None
        for walk in range(num_passes):
            groups = [p["input_init_node"]]
            for layer, (fan_in, fan_out) in enumerate(pairwise(widths)):
                source = torch.arange(fan_in).repeat_interleave(fan_out)
                target = torch.arange(fan_out).repeat(fan_in)
                values = weights.weights[layer][index].double()[target, source]
                messages = (
                    apply(f"edge_lin_{walk}_{layer}", phi(values))
                    * apply(f"node_lin_{walk}_{layer}", groups[-1])[source]
                )
                h = torch.zeros(fan_out, messages.shape[1], dtype=torch.float64).index_add(0, target, messages)
                x = apply(
                    f"input_lin_{walk}_{layer}",
                    phi(weights.biases[layer][index].double()) if earlier is None else earlier[layer + 1],
                )
                r_x, z_x, n_x = apply(f"rnn_{walk}.input_map", x).chunk(3, dim=1)
                r_h, z_h, n_h = apply(f"rnn_{walk}.hidden_map", h).chunk(3, dim=1)
                z = (z_x + z_h).sigmoid()
                h = (1 - z) * (n_x + (r_x + r_h).sigmoid() * n_h).tanh() + z * h
                norm = (h - h.mean(1, keepdim=True)) / (h.var(1, unbiased=False, keepdim=True) + 1e-5).sqrt()
                groups.append(norm * p[f"norm_{walk}_{layer}.weight"] + p[f"norm_{walk}_{layer}.bias"])
            earlier = groups
        encodings.append(groups[-1].flatten())
    return torch.stack(encodings).float()


@pytest.mark.parametrize(
    ("widths", "sizes"),
    [
        ((2, 3), {}),
        ((1, 4, 1), {"dim": 3, "num_frequencies": 5}),
        ((3, 5, 4, 2), {"num_passes": 2}),
        ((2, 4, 3, 5, 2), {"dim": 7, "num_passes": 4}),
        ((2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 3), {"dim": 2}),  # eleven layers: names in natural, not in alphabetic order
    ],
    ids=str,
)
@torch.no_grad()
def test_any_widths_sizes_and_passes(widths, sizes):
    state = draw(widths, **sizes)
    weights = random_weights(NetworkSpec.mlp(widths), 3, seed=0)
    assert_close(
        dng_release.load(state, widths).encode(weights), oracle(state, weights), what="encoding", atol=1e-4, rtol=1e-4
    )


def draw_inr2jls(widths=(2, 4, 3), views=2, grid=6, dim=6, latent_dim=3, channels=2):
    state = draw(widths, dim=dim, prefix="encoder.")
    state |= {
        "latent_gen.latent_init": torch.randn(views * grid, 5),
        "latent_gen.src_fusion.0.weight": torch.randn(7, 5 + dim * widths[-1]),
        "latent_gen.src_fusion.0.bias": torch.randn(7),
        "latent_gen.src_fusion.2.weight": torch.randn(latent_dim, 7),
        "latent_gen.src_fusion.2.bias": torch.randn(latent_dim),
        "decoder.conv.0.weight": torch.randn(latent_dim, 8, 4, 4),
        "decoder.conv.0.bias": torch.randn(8),
        "decoder.conv.2.weight": torch.randn(8, channels, 4, 4),
        "decoder.conv.2.bias": torch.randn(channels),
    }
    return state


@torch.no_grad()
def test_any_image_and_views():
    state, weights = draw_inr2jls(), random_weights(NetworkSpec.mlp([2, 4, 3]), 2, seed=0)
    model = dng_release.load(state, [2, 4, 3], "inr2jls", image_shape=(2, 8, 12))
    encoding = oracle(state, weights, "encoder.")
    both = torch.cat([state["latent_gen.latent_init"].expand(2, -1, -1), encoding[:, None].expand(-1, 12, -1)], dim=2)
    hidden = (both @ state["latent_gen.src_fusion.0.weight"].T + state["latent_gen.src_fusion.0.bias"]).relu()
    latents = hidden @ state["latent_gen.src_fusion.2.weight"].T + state["latent_gen.src_fusion.2.bias"]
    assert_close(model.encoder.encode(weights), encoding, what="encoding", atol=1e-4, rtol=1e-4)
    assert_close(model.latents(weights), latents, what="latents", atol=1e-3, rtol=1e-3)
    assert model(weights).shape == (2, 2, 2, 8, 12)


ENCODER, INR2JLS = draw((2, 4, 3)), draw_inr2jls()


def without(state, name):
    return {key: tensor for key, tensor in state.items() if key != name}


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (
            lambda: dng_release.load(without(ENCODER, "input_init_node"), [2, 4, 3]),
            "expected the release's parameter 'input_init_node'",
        ),
        (
            lambda: dng_release.load(without(ENCODER, "edge_lin_0_1.bias"), [2, 4, 3]),
            "nothing for passes.0.steps.1.edge.bias",
        ),
        (
            lambda: dng_release.load({**ENCODER, "extra": torch.zeros(1)}, [2, 4, 3]),
            "no place for the release's parameter 'extra'",
        ),
        (lambda: dng_release.load({**ENCODER, "act_emb": torch.zeros(2, 8)}, [2, 4, 3]), "no place for .*'act_emb'"),
        (lambda: dng_release.load({}, [2, 4, 3]), "expected the release's parameter"),
        (lambda: dng_release.load(ENCODER, [2, 4]), "are the widths right"),
        (lambda: dng_release.load(ENCODER, [2, 4, 4, 3]), "are the widths right"),
        (
            lambda: dng_release.load(ENCODER, [3, 4, 3]),
            r"input_init_node must be \(3, 6\) for these widths, got \(2, 6\)",
        ),
        (
            lambda: dng_release.load({**ENCODER, "edge_lin_0_1.weight": torch.zeros(8, 6)}, [2, 4, 3]),
            r"edge_lin_0_1.weight must be \(6, 8\)",
        ),
        (
            lambda: dng_release.load({**ENCODER, "input_init_node": torch.zeros(12)}, [2, 4, 3]),
            r"input_init_node.* got \(12,\)",
        ),
        (lambda: dng_release.load(ENCODER, [2]), "an input and an output width"),
        (
            lambda: dng_release.load(ENCODER, [2, 4, 3], "decoder"),
            "unknown kind 'decoder'; known: encoder, inr2jls, cnn_zoo, wild_park, vit",
        ),
        (
            lambda: dng_release.load(ENCODER, [2, 4, 3], "inr2jls"),
            "expected the release's parameter 'encoder.input_init_node'.* is `kind` right",
        ),
        (
            lambda: dng_release.load(INR2JLS, [2, 4, 3]),
            "expected the release's parameter 'input_init_node'.* is `kind` right",
        ),
        (
            lambda: dng_release.load(INR2JLS, [2, 4, 3], "inr2jls"),
            "12 latents are not six views of 28 x 28 or 32 x 32 images; give image_shape",
        ),
        (
            lambda: dng_release.load(INR2JLS, [2, 4, 3], "inr2jls", (1, 8, 12)),
            "image_shape has 1 channels but the decoder writes 2",
        ),
        (
            lambda: dng_release.load(INR2JLS, [2, 4, 3], "inr2jls", (2, 20, 4)),
            "12 latents do not make whole views of 5 x 1",
        ),
        (lambda: dng_release.load(INR2JLS, [2, 4, 3], "inr2jls", (2, 2, 2)), "do not make whole views"),
        (lambda: dng_release.load(INR2JLS, [2, 4, 3], "inr2jls", (2, 9, 12)), "must be the image's size"),
        (
            lambda: dng_release.load(without(INR2JLS, "decoder.conv.2.bias"), [2, 4, 3], "inr2jls", (2, 8, 12)),
            "'decoder.conv.2.bias'",
        ),
        (
            lambda: dng_release.load(
                {**INR2JLS, "decoder.conv.2.weight": torch.zeros(2)}, [2, 4, 3], "inr2jls", (2, 8, 12)
            ),
            "decoder.conv.2.weight",
        ),
        (
            lambda: dng_release.load(
                {**INR2JLS, "latent_gen.latent_init": torch.zeros(12)}, [2, 4, 3], "inr2jls", (2, 8, 12)
            ),
            "latent_gen.latent_init",
        ),
    ],
)
def test_what_does_not_fit_is_refused_with_a_name(call, sentence):
    with pytest.raises(InputError, match=sentence):
        call()


def test_loading_copies():
    encoder = dng_release.load(ENCODER, [2, 4, 3])
    encoder.input_memory.data.zero_()
    assert ENCODER["input_init_node"].abs().sum() > 0
