"""torch.func takes a gradient with respect to the weights that the DNG-Encoder reads, and nothing is kept per edge.

The encoder's plain form, as a twin in another process, takes more than 500 MB.
"""

import subprocess
import sys

import pytest
import torch
from torch.func import functional_call, grad, vmap

from weightwalk import NetworkSpec, Weights
from weightwalk.encoders import DNGEncoder
from weightwalk.testing import assert_close, random_weights

SCRIPT = """
import sys, torch
from weightwalk import NetworkSpec, Weights
from weightwalk.bench.load import memory_mib
from weightwalk.encoders import DNGEncoder
from weightwalk.testing import plain

torch.set_num_threads(1)
spec = NetworkSpec.mlp([2, 64, 64, 1])
encoder, flat = DNGEncoder(spec), 0.1 * torch.randn(32, spec.num_parameters)
encode = {"plain": plain.pooled, "ours": DNGEncoder.encode}[sys.argv[1]]

def loss(flat):
    return encode(encoder, Weights(spec, flat)).square().sum()

torch.func.grad(loss)(flat[:1])  # torch has loaded what it loads once
before = memory_mib()
assert torch.func.grad(loss)(flat).abs().sum() > 0
print(memory_mib(reset=False)[0] - before[0])
"""


def peak_mib(form: str) -> float:
    """By how much a process's peak memory grows while it takes the gradient for 32 networks of 4,288 weights."""
    return float(subprocess.run([sys.executable, "-c", SCRIPT, form], capture_output=True, check=True).stdout)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux says what a process's peak memory was")
def test_memory_is_bounded():
    plain, ours = peak_mib("plain"), peak_mib("ours")
    assert plain > 500
    assert ours < plain / 8


def test_the_gradient_is_that_of_differences_and_each_network_s_own():
    torch.manual_seed(0)
    spec = NetworkSpec.mlp([2, 5, 1])
    encoder = DNGEncoder(spec, dim=4, num_frequencies=3, scale=0.5).double()
    flat = random_weights(spec, 3, seed=0, dtype=torch.float64).flat

    def loss(flat):
        return encoder.encode(Weights(spec, flat)).sin().sum()

    direction = torch.randn_like(flat)
    slope = (loss(flat + 1e-6 * direction) - loss(flat - 1e-6 * direction)) / 2e-6
    assert_close((grad(loss)(flat) * direction).sum(), slope.detach(), what="slope", rtol=1e-6)
    assert_close(vmap(grad(lambda one: loss(one[None])))(flat), grad(loss)(flat), what="per network")


def test_parameters_of_the_encoder_for_each_network():
    spec = NetworkSpec.mlp([2, 5, 1])
    encoder = DNGEncoder(spec, dim=4, num_frequencies=3).double()
    weights = random_weights(spec, 3, seed=0, dtype=torch.float64)
    parameters = dict(encoder.named_parameters())

    def loss(parameters, weights):
        return functional_call(encoder, parameters, (weights[None],)).pooled.sum()

    each = vmap(grad(loss), in_dims=(None, 0))(parameters, weights)
    encoder.encode(weights).sum().backward()
    for name, parameter in encoder.named_parameters():
        assert_close(each[name].sum(0), parameter.grad, what=name)
