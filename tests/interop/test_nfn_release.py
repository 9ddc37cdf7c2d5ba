"""The authors' parameters in our layers give the authors' numbers."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from weightwalk.encoders.nfn_layers import Features
from weightwalk.interop import nfn_release
from weightwalk.testing import assert_close

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
