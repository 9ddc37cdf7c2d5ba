"""The release's three predictors: its own numbers for the CNN zoo, and oracles written out in the release's names for
the other two.
"""

import math
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from weightwalk import InputError, NetworkSpec, Weights
from weightwalk.interop import dng_release
from weightwalk.networks.architectures import simple_vit, small_cnn, wild_park
from weightwalk.testing import assert_close, random_weights

GOLDEN = Path(__file__).parents[1] / "golden" / "dng_cnn_zoo.safetensors"


def golden() -> tuple[dict, list[Weights], dict]:
    tensors = load_file(GOLDEN)
    parameters = {key.removeprefix("param."): tensor for key, tensor in tensors.items() if key.startswith("param.")}
    networks = []
    for index, number in enumerate(tensors["in.activation"].tolist()):
        weights = [tensors[f"in.weight.{layer}"][index : index + 1].permute(0, 3, 2, 1) for layer in range(4)]
        biases = [tensors[f"in.bias.{layer}"][index : index + 1] for layer in range(4)]
        networks.append(
            Weights.of(small_cnn(activation=("relu", "tanh")[number]), [*weights[:3], weights[3].squeeze(3)], biases)
        )
    return parameters, networks, tensors


@torch.no_grad()
def test_the_cnn_zoo_s_predictor_gives_the_release_s_numbers():
    parameters, networks, out = golden()
    for given in ({}, {"widths": [1, 16, 16, 16, 10]}, {"spec": small_cnn()}):
        model = dng_release.load(parameters, kind="cnn_zoo", **given)
        assert not model.training
        for index, weights in enumerate(networks):
            assert_close(model.encode(weights)[0], out["out.encoding"][index], what="encoding", atol=1e-5, rtol=1e-5)
            assert_close(model(weights)[0], out["out.y"][index], what="accuracy", atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_wrong_twins_miss_the_release_s_numbers():
    parameters, networks, out = golden()

    def error(changes=None, **attributes) -> float:
        model = dng_release.load({**parameters, **(changes or {})}, kind="cnn_zoo")
        for module in model.encoder.passes[0].steps:
            for name, value in attributes.items():
                setattr(module, name, value)
        return max(
            float((model.encode(weights)[0] - out["out.encoding"][i]).abs().max()) for i, weights in enumerate(networks)
        )

    assert error() < 1e-5
    assert error(padded=False) > 1e-3  # missing taps count here
    assert error({"encoder.act_emb": parameters["encoder.act_emb"].flip(0)}) > 1e-3
    heads = parameters["encoder.src_node_lin_0_1.weight"].unflatten(0, (9, 4)).flip(0).flatten(0, 1)
    assert error({"encoder.src_node_lin_0_1.weight": heads}) > 1e-3


@torch.no_grad()
def test_layer_embeddings_are_added_to_the_bias_features():
    """Vectors for convolutions and dense layers: a network's activation vector plus its layer's, wherever they come
    from.
    """
    parameters, networks, _ = golden()
    vectors = torch.randn(2, 16)
    both_alike = {"encoder.layer_embeddings": vectors[:1].repeat(2, 1)}
    shifted = {"encoder.act_emb": parameters["encoder.act_emb"] + vectors[0]}
    one, other = (dng_release.load({**parameters, **changes}, kind="cnn_zoo") for changes in (both_alike, shifted))
    unlike = dng_release.load({**parameters, "encoder.layer_embeddings": vectors}, kind="cnn_zoo")
    for weights in networks:
        assert_close(one.encode(weights), other.encode(weights), what="encoding", atol=1e-5, rtol=1e-5)
        assert (unlike.encode(weights) - one.encode(weights)).abs().max() > 1e-3


def draw(
    shapes: dict[str, tuple[int, ...]], linear: dict[str, tuple[int, int]], norms: list[str], dim: int, inputs: int
) -> dict:
    """Random parameters: `linear` maps are (out, in)."""
    state = {name: torch.randn(shape) for name, shape in shapes.items()}
    for name, (rows, columns) in linear.items():
        state |= {f"{name}.weight": torch.randn(rows, columns) / columns**0.5, f"{name}.bias": 0.5 * torch.randn(rows)}
    for name in norms:
        state |= {f"{name}.weight": 1 + 0.5 * torch.randn(dim), f"{name}.bias": 0.5 * torch.randn(dim)}
    head = {"head.0": (9, inputs * dim), "head.3": (9, 9), "head.6": (1, 9)}
    for name, (rows, columns) in head.items():
        state |= {f"{name}.weight": torch.randn(rows, columns) / columns**0.5, f"{name}.bias": torch.randn(rows)}
    return dict(sorted(state.items()))


class Oracle:
    """The release's parameters in float64, and what its modules do with them."""

    def __init__(self, state: dict, frequencies: str):
        self.p = {name: tensor.double() for name, tensor in state.items()}
        self.frequencies = self.p[frequencies].flatten()

    def linear(self, name, x):
        return x @ self.p[f"{name}.weight"].T + self.p[f"{name}.bias"]

    def norm(self, name, x):
        x = (x - x.mean(-1, keepdim=True)) / (x.var(-1, unbiased=False, keepdim=True) + 1e-5).sqrt()
        return x * self.p[f"{name}.weight"] + self.p[f"{name}.bias"]

    def phi(self, x):
        angles = 2 * math.pi * x.double()[..., None] * self.frequencies
        return torch.cat([angles.sin(), angles.cos()], dim=-1)

    def gru(self, name, x, h):
        r_x, z_x, n_x = self.linear(f"{name}.input_map", x).chunk(3, dim=-1)
        r_h, z_h, n_h = self.linear(f"{name}.hidden_map", h).chunk(3, dim=-1)
        z = (z_x + z_h).sigmoid()
        return (1 - z) * (n_x + (r_x + r_h).sigmoid() * n_h).tanh() + z * h

    def head(self, x):
        return self.linear("head.6", self.linear("head.3", self.linear("head.0", x).relu()).relu()).sigmoid()


# Wild Park

DIM, HEADS, HEAD_DIM, FREQUENCIES, CLASSES = 6, 25, 3, 4, 5
NUMBERS = {"relu": 0, "gelu": 1, "tanh": 2, "sigmoid": 3, "leaky_relu": 4, "identity": 5}
PARKS = [
    ((4, 3), (3, 5), ("relu", "gelu"), (-1, -1)),
    (
        (4, 5, 6, 3),
        (3, 5, 3, 3),
        ("tanh", "identity", "sigmoid", "leaky_relu"),
        (-1, -1, 0, 1),
    ),  # 4 of 6 channels, 3 of 5
    ((4, 3, 4, 5, 4), (5, 3, 3, 3, 5), ("gelu", "relu", "relu", "tanh", "identity"), (-1, -1, 0, -1, 2)),
]


def draw_park(num_passes: int) -> dict:
    features = 2 * FREQUENCIES
    shapes = {
        "encoder.input_init_node": (3, DIM),
        "encoder.fourier.b": (1, FREQUENCIES),
        "encoder.act_emb.weight": (6, features),
    }
    linear = {"encoder.res_lin": (DIM, DIM)}
    for p in range(num_passes):
        linear |= {f"encoder.rnn_{p}.{side}_map": (3 * DIM, DIM) for side in ("input", "hidden")}
        linear |= {
            f"encoder.edge_lin_{p}": (HEAD_DIM, features),
            f"encoder.src_node_lin_{p}": (HEADS * HEAD_DIM, DIM),
            f"encoder.mapping_{p}.0": (DIM, HEADS * HEAD_DIM),
            f"encoder.mapping_{p}.2": (DIM, DIM),
            f"encoder.dst_node_lin_{p}": (DIM, DIM if p else features),
        }
    return draw(shapes, linear, [f"encoder.norm_{p}" for p in range(num_passes)], DIM, CLASSES)


def park_oracle(state: dict, weights: Weights, index: int, park: tuple) -> torch.Tensor:
    """One network, node by node. A residual source's memory is the one after its own residual message."""
    model = Oracle(state, "encoder.fourier.b")
    _, _, activations, residual = park
    earlier = None
    for p in range(sum(name.startswith("encoder.norm_") and name.endswith("weight") for name in state)):
        groups = [list(model.p["encoder.input_init_node"])]
        for layer, (w, b) in enumerate(zip(weights.weights, weights.biases, strict=True)):
            w = w[index].double().reshape(*w.shape[1:3], -1)
            name = activations[layer] if layer < len(activations) else "identity"
            group = []
            for i in range(w.shape[0]):
                message = torch.zeros(DIM, dtype=torch.float64)
                for j in range(w.shape[1]):
                    heads = model.linear(f"encoder.src_node_lin_{p}", groups[-1][j]).reshape(HEADS, HEAD_DIM)
                    product = torch.zeros(HEADS, HEAD_DIM, dtype=torch.float64)
                    for n in range(w.shape[2]):  # taps beyond are masked
                        product[n] = model.linear(f"encoder.edge_lin_{p}", model.phi(w[i, j, n])) * heads[n]
                    hidden = model.linear(f"encoder.mapping_{p}.0", product.flatten()).relu()
                    message += model.linear(f"encoder.mapping_{p}.2", hidden)
                if earlier is None:
                    bias = model.phi(b[index, i]) + model.p["encoder.act_emb.weight"][NUMBERS[name]]
                else:
                    bias = earlier[layer + 1][i]
                memory = model.gru(f"encoder.rnn_{p}", model.linear(f"encoder.dst_node_lin_{p}", bias), message)
                group.append(model.norm(f"encoder.norm_{p}", memory))
            if layer < len(residual) and residual[layer] >= 0:
                source = groups[residual[layer] + 1]
                for channel in range(min(len(source), len(group))):
                    group[channel] = group[channel] + model.linear("encoder.res_lin", source[channel])
            groups.append(group)
        earlier = groups
    return torch.cat(groups[-1])


@pytest.mark.parametrize("num_passes", [1, 2])
@torch.no_grad()
def test_the_wild_park_s_predictor_is_the_release_s_of_any_architecture(num_passes):
    state = draw_park(num_passes)
    model = dng_release.load(state, kind="wild_park")
    oracle = Oracle(state, "encoder.fourier.b")
    for park in PARKS:
        weights = random_weights(wild_park(*park, classes=CLASSES), 2, seed=0)
        expected = torch.stack([park_oracle(state, weights, index, park) for index in range(2)])
        assert_close(model.encode(weights), expected.float(), what=f"encoding of {park}", atol=1e-4, rtol=1e-4)
        assert_close(model(weights), oracle.head(expected).float(), what="accuracy", atol=1e-5, rtol=1e-4)


# ViT

VIT = {"dim": 6, "depth": 2, "heads": 2, "dim_head": 3, "mlp": 7}


def draw_vit(dim: int = 5, frequencies: int = 4, inputs: int = 12, places: int = 3, depth: int = 2) -> dict:
    features, linear, norms = 2 * frequencies, {}, []
    shapes = {"encoder.input_init_node": (inputs, dim), "encoder.fourier_layer.b": (1, frequencies)}
    names = ["init_norm_{}", "last_norm_{}", *(f"{kind}_norm_{{}}_{i}" for kind in ("att", "fc") for i in range(depth))]
    shapes |= {f"encoder.norm_dict.{name.format(what)}": (1, 1, dim) for name in names for what in ("std", "mean")}
    for role in ("to_emb", "head"):
        linear |= {
            f"encoder.{role}_{kind}_lin": (dim, dim if kind == "node" else features)
            for kind in ("node", "edge", "input")
        }
        norms.append(f"encoder.{role}_emb_norm")
    for i in range(depth):
        shapes[f"encoder.qkv_comp_dict.qkv_comp_edges_{i}"] = (places, 3 * places, dim)
        edges = ("qkv_edge", "out_edge", "fc1_edge", "fc2_edge", "fc1_input", "fc2_input")
        linear |= {f"encoder.{kind}_lin_{i}": (dim, features) for kind in edges}
        linear |= {f"encoder.node_lin_{i}_{j}": (dim, dim) for j in range(6)}
        norms += [f"encoder.emb_norm_{i}_{j}" for j in range(6)]
    linear |= {f"encoder.rnn.{side}_map": (3 * dim, dim) for side in ("input", "hidden")}
    return draw(shapes, linear, [*norms, "encoder.last_emb_norm"], dim, CLASSES)


def vit_oracle(state: dict, weights: Weights, index: int, heads: int) -> torch.Tensor:
    """One network. `head_ids`: a head's queries, keys and values, each a block of the fused projection."""
    model = Oracle(state, "encoder.fourier_layer.b")
    layers = zip(weights.spec.layers, weights.weights, weights.biases, strict=True)
    dense = iter([(w[index], None if b is None else b[index]) for layer, w, b in layers if layer.kind == "dense"])

    def scaled(name, x):
        std, mean = (model.p[f"encoder.norm_dict.{name.format(what)}"].flatten() for what in ("std", "mean"))
        return x * std + mean

    def message(w, edge, node, x):
        return (model.linear(f"encoder.{edge}", model.phi(w)) * model.linear(f"encoder.{node}", x)[None]).sum(1)

    def step(names, x, norm):
        w, b = next(dense)
        edge, node, bias = names
        memory = model.gru("encoder.rnn", model.linear(f"encoder.{bias}", model.phi(b)), message(w, edge, node, x))
        return memory if norm is None else model.norm(f"encoder.{norm}", memory)

    x = scaled("init_norm_{}", model.p["encoder.input_init_node"])
    x = step(("to_emb_edge_lin", "to_emb_node_lin", "to_emb_input_lin"), x, "to_emb_emb_norm")
    for i in range(VIT["depth"]):
        w, _ = next(dense)
        qkv = message(w, f"qkv_edge_lin_{i}", f"node_lin_{i}_0", scaled(f"att_norm_{{}}_{i}", x))
        qkv = model.norm(f"encoder.emb_norm_{i}_1", qkv)
        mix = model.p[f"encoder.qkv_comp_dict.qkv_comp_edges_{i}"]
        size, third = len(mix), len(qkv) // 3
        z = []
        for h in range(heads):
            ids = [part * third + h * size + k for part in range(3) for k in range(size)]
            z.append((mix * model.linear(f"encoder.node_lin_{i}_1", qkv[ids])[None]).sum(1))
        z = model.norm(f"encoder.emb_norm_{i}_2", torch.cat(z))
        w, _ = next(dense)
        x = x + model.norm(f"encoder.emb_norm_{i}_3", message(w, f"out_edge_lin_{i}", f"node_lin_{i}_2", z))
        y = scaled(f"fc_norm_{{}}_{i}", x)
        y = step((f"fc1_edge_lin_{i}", f"node_lin_{i}_3", f"fc1_input_lin_{i}"), y, f"emb_norm_{i}_4")
        x = x + step((f"fc2_edge_lin_{i}", f"node_lin_{i}_4", f"fc2_input_lin_{i}"), y, None)
    x = model.norm("encoder.last_emb_norm", scaled("last_norm_{}", x))
    return step(("head_edge_lin", "head_node_lin", "head_input_lin"), x, "head_emb_norm").flatten()


@torch.no_grad()
def test_the_vit_s_predictor_is_the_release_s():
    state, spec = draw_vit(), simple_vit((3, 4, 4), CLASSES, patch=2, **VIT)
    model = dng_release.load(state, kind="vit", spec=spec)
    weights = random_weights(spec, 2, seed=0)
    expected = torch.stack([vit_oracle(state, weights, index, VIT["heads"]) for index in range(2)])
    assert_close(model.encode(weights), expected.float(), what="encoding", atol=1e-4, rtol=1e-4)
    assert_close(
        model(weights),
        Oracle(state, "encoder.fourier_layer.b").head(expected).float(),
        what="accuracy",
        atol=1e-5,
        rtol=1e-4,
    )
    default = dng_release.load(draw_vit(inputs=48, places=16), kind="vit")  # of the published size
    assert default(random_weights(simple_vit(classes=CLASSES), 1, seed=0)).shape == (1, 1)


CNN, PARK, VITS = golden()[0], draw_park(1), draw_vit()


def without(state: dict, name: str) -> dict:
    return {key: tensor for key, tensor in state.items() if key != name}


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (
            lambda: dng_release.load(PARK, kind="cnn_zoo"),
            "expected the release's parameter 'encoder.fourier_layer.b'.* is `kind` right",
        ),
        (lambda: dng_release.load(CNN, kind="wild_park"), "expected the release's parameter 'encoder.fourier.b'"),
        (
            lambda: dng_release.load(VITS, kind="cnn_zoo"),
            "expected the release's parameter 'encoder.edge_lin_0_0.weight'",
        ),
        (
            lambda: dng_release.load(CNN, kind="vit"),
            "expected the release's parameter 'encoder.qkv_comp_dict.qkv_comp_edges_0'",
        ),
        (lambda: dng_release.load({}, kind="wild_park"), "expected the release's parameter"),
        (lambda: dng_release.load(without(CNN, "head.6.bias"), kind="cnn_zoo"), "'head.6.bias'"),
        (
            lambda: dng_release.load(without(CNN, "encoder.mapping_0_1.2.bias"), kind="cnn_zoo"),
            "nothing for encoder.passes.0.steps.1.mix.2",
        ),
        (
            lambda: dng_release.load({**CNN, "more": torch.zeros(1)}, kind="cnn_zoo"),
            "no place for the release's parameter 'more'",
        ),
        (
            lambda: dng_release.load(CNN, [1, 16, 10], kind="cnn_zoo"),
            "no place for the release's parameter|are the widths right",
        ),
        (lambda: dng_release.load(CNN, [1], kind="cnn_zoo"), "needs input, hidden and output widths"),
        (
            lambda: dng_release.load({**CNN, "encoder.act_emb": torch.zeros(3, 16)}, kind="cnn_zoo"),
            "a vector for each of relu, tanh, got 3",
        ),
        (
            lambda: dng_release.load(CNN, kind="cnn_zoo")(random_weights(small_cnn(activation="gelu"), 1, seed=0)),
            "relu or tanh, got gelu",
        ),
        (lambda: dng_release.load(without(PARK, "encoder.res_lin.bias"), kind="wild_park"), "'encoder.res_lin.bias'"),
        (
            lambda: dng_release.load(PARK, kind="wild_park")(
                random_weights(wild_park([4], [7], ["relu"], [-1], classes=5), 1, seed=0)
            ),
            "up to 25 taps, but step 0 .* has 49",
        ),
        (
            lambda: dng_release.load(PARK, kind="wild_park")(
                random_weights(wild_park([4], [3], ["relu"], [-1]), 1, seed=0)
            ),
            "3 inputs and 5 outputs, got 3 and 10",
        ),
        (lambda: dng_release.load(VITS, kind="vit", spec=NetworkSpec.mlp([12, 5])), "expected a SimpleViT of 2 blocks"),
        (
            lambda: dng_release.load(
                without(VITS, "encoder.node_lin_1_4.bias"), kind="vit", spec=simple_vit((3, 4, 4), 5, patch=2, **VIT)
            ),
            "encoder.node_lin_1_4.bias",
        ),
        (lambda: dng_release.load(draw_vit(inputs=50), kind="vit"), "50 input nodes are not square patches"),
        (lambda: dng_release.load(CNN), "needs `widths`"),
    ],
)
def test_what_does_not_fit_is_refused_with_a_name(call, sentence):
    with pytest.raises(InputError, match=sentence):
        call()
