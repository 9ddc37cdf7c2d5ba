"""The authors' parameters in our layers give the authors' numbers."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from weightwalk import InputError, NetworkSpec
from weightwalk.encoders.nfn_layers import Features
from weightwalk.interop import nfn_release
from weightwalk.testing import assert_close, random_weights

GOLDEN = Path(__file__).parents[1] / "golden"
TOLERANCE = {"atol": 1e-5, "rtol": 1e-5}
FILES = {"nfn_np_ioembed_2-6-5-3": (2, 6, 5, 3), "nfn_hnp_2-6-5-3": (2, 6, 5, 3), "nfn_hnp_cnn_1-4-5-3": (1, 4, 5, 3)}


def golden(name: str) -> dict[str, dict[str, torch.Tensor]]:
    parts: dict[str, dict[str, torch.Tensor]] = {"param": {}, "in": {}, "out": {}}
    for key, tensor in load_file(GOLDEN / f"{name}.safetensors").items():
        part, _, rest = key.partition(".")
        parts[part][rest] = tensor
    return parts


def answers(parameters, given, widths):
    weights, biases = ([given[f"{role}.{layer}"] for layer in range(3)] for role in ("weight", "bias"))
    model = nfn_release.load(parameters, widths)
    return model, *model(weights, biases)


@pytest.mark.parametrize("name", FILES)
@torch.no_grad()
def test_layers_and_pools_give_the_release_s_numbers(name):
    parts = golden(name)
    model, weights, biases = answers(parts["param"], parts["in"], FILES[name])
    for layer in range(3):
        assert_close(weights[layer], parts["out"][f"weight.{layer}"], what=f"weight {layer}", **TOLERANCE)
        assert_close(biases[layer], parts["out"][f"bias.{layer}"], what=f"bias {layer}", **TOLERANCE)
    of_weights = tuple(weight.reshape(*weight.shape[:4], -1).movedim(1, -1) for weight in weights)
    features = Features(of_weights, tuple(bias.transpose(1, 2) for bias in biases))
    for variant in ("np", "hnp"):
        assert_close(
            model.pool(features, variant), parts["out"][f"{variant}_pool"], what=f"{variant} pool", **TOLERANCE
        )


@torch.no_grad()
def test_wrong_twins_miss_the_release_s_numbers():
    parts = golden("nfn_np_ioembed_2-6-5-3")
    given = parts["param"]

    def largest_error(changes) -> float:
        _, weights, biases = answers({**given, **changes}, parts["in"], FILES["nfn_np_ioembed_2-6-5-3"])
        wanted = [parts["out"][f"{role}.{layer}"] for role in ("weight", "bias") for layer in range(3)]
        return max(float((x - y).abs().max()) for x, y in zip([*weights, *biases], wanted, strict=True))

    assert largest_error({}) < 1e-5
    for changes in (
        {"layer_1_r.weight": given["layer_1_c.weight"], "layer_1_c.weight": given["layer_1_r.weight"]},
        {"layer_1_r.weight": given["layer_1_r.weight"].roll(2, 1)},
        {"bias_2_rc.weight": given["bias_2_rc.weight"].roll(2, 1)},
        {"in_embed": given["in_embed"].flip(3)},
    ):
        assert largest_error(changes) > 1e-3


@torch.no_grad()
def test_frequencies_stand_in_front():
    """Of networks as they are, whose frequencies the layer reads."""
    layer = golden("nfn_hnp_2-6-5-3")["param"]
    front = {"0._B": torch.randn(1, 1)}
    spec = NetworkSpec.mlp([2, 6, 5, 3])
    networks = random_weights(spec, 2, seed=0)
    stack = nfn_release.load(front | {f"1.{name}": tensor for name, tensor in layer.items()}, spec.widths)
    features = stack.features(networks)
    first = nfn_release.load(layer, spec.widths)
    angles = [2 * torch.pi * front["0._B"] * x.unsqueeze(1) for x in (*networks.weights, *networks.biases)]
    waves = [torch.cat([x.sin(), x.cos()], dim=1) for x in angles]
    weights, biases = first(waves[:3], waves[3:])
    assert_close(features.weights[1].squeeze(3).movedim(-1, 1), weights[1], what="weights", **TOLERANCE)
    assert_close(features.biases[1].transpose(1, 2), biases[1], what="biases", **TOLERANCE)


@pytest.mark.parametrize(
    ("changes", "widths", "sentence"),
    [
        ({"head.weight": torch.zeros(1)}, (2, 6, 5, 3), "no place for the release's parameter 'head.weight'"),
        ({}, (2, 6, 5, 4, 3), "expected the release's parameter|must be"),
        ({}, (3, 6, 5, 3), "expected a multiple of 9 rows of w0_rpt.weight, got 6"),
        ({}, (2, 3), "two layers or more"),
    ],
)
def test_parameters_of_something_else_are_refused(changes, widths, sentence):
    with pytest.raises(InputError, match=sentence):
        nfn_release.load(golden("nfn_hnp_2-6-5-3")["param"] | changes, widths)
    with pytest.raises(InputError, match="expected parameters of the release's NPLinear or HNPLinear"):
        nfn_release.load({"0._B": torch.zeros(1, 2)}, widths)
