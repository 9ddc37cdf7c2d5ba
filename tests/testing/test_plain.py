"""The plain form says what the encoder, INR2JLS and the authors' release say."""

from copy import deepcopy
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file

from weightwalk import INR2JLS, NetworkSpec, Weights
from weightwalk.encoders import DNGEncoder
from weightwalk.interop import dng_release
from weightwalk.testing import assert_close, plain, random_weights, tiny_specs

GOLDEN = Path(__file__).parents[1] / "golden"
CHAINS = ("siren", "deep", "no hidden layer", "no bias", "mixed", "conv")
OPTIONS = {
    "paper": {},
    "two passes": {"num_passes": 2},
    "activations": {"activation_embedding": True},
    "shared": {"shared": True},
}


def encoder_for(spec: NetworkSpec, **options) -> DNGEncoder:
    """In float64, no parameter at a value that would hide it."""
    encoder = DNGEncoder(spec, dim=5, num_frequencies=3, **options).double()
    for parameter in encoder.parameters():
        parameter.data += 0.2 * torch.randn_like(parameter)
    return encoder


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
@pytest.mark.parametrize("name", CHAINS)
def test_memories_and_gradients_are_the_encoder_s(name, options):
    weights = random_weights(tiny_specs()[name], 3, seed=0, dtype=torch.float64)
    encoder = encoder_for(weights.spec, **options)
    weights.flat.requires_grad_()
    found = []
    for nodes in (plain.memories(encoder, weights), encoder(weights).nodes):
        loss = sum((node.sin() * node).sum() for node in nodes)
        leaves = [*encoder.parameters(), weights.flat]
        found.append([*nodes, *torch.autograd.grad(loss, leaves, allow_unused=True, materialize_grads=True)])
    for expected, ours in zip(*found, strict=True):
        assert_close(ours, expected, what="ours")


def test_wrong_forms_are_told_apart(monkeypatch):
    wrong = {
        "features": lambda x, f: plain.torch.cat([(x.unsqueeze(-1) * f).sin(), (x.unsqueeze(-1) * f).cos()], -1),
        "messages": lambda edges, sources, mlp=None: (edges * sources[:, None]).mean(2),
    }
    weights = random_weights(tiny_specs()["siren"], 2, seed=0, dtype=torch.float64)
    encoder = encoder_for(weights.spec)
    for name, form in wrong.items():
        with monkeypatch.context() as context:
            context.setattr(plain, name, form)
            assert (plain.pooled(encoder, weights) - encoder.encode(weights)).abs().max() > 1e-3


@torch.no_grad()
def test_the_release_s_numbers():
    tensors = load_file(GOLDEN / "inr2jls_mnist.safetensors")
    parameters = {key.removeprefix("param."): tensor for key, tensor in tensors.items() if key.startswith("param.")}
    count = sum(key.startswith("in.weight.") for key in tensors)
    given = [[tensors[f"in.{role}.{layer}"] for layer in range(count)] for role in ("weight", "bias")]
    spec = NetworkSpec.mlp([given[0][0].shape[2], *(weight.shape[1] for weight in given[0])])
    model, weights = dng_release.load(parameters, spec.widths, "inr2jls", (1, 28, 28)), Weights.of(spec, *given)
    tolerance = {"atol": 1e-5, "rtol": 1e-5}
    assert_close(plain.pooled(model.encoder, weights), tensors["out.encoding"], what="encoding", **tolerance)
    assert_close(plain.encode(model, weights), tensors["out.latent"], what="latents", **tolerance)
    assert_close(plain.pictures(model, weights), tensors["out.y"].unflatten(1, (6, 1)), what="pictures", **tolerance)


def test_a_step_is_a_step_of_inr2jls():
    spec = NetworkSpec.mlp([2, 5, 3])
    sizes = {"num_views": 2, "theta_dim": 4, "generator_dim": 6, "latent_dim": 3, "decoder_dim": 4}
    model = INR2JLS(encoder_for(spec), (3, 8, 8), **sizes).double()
    weights, targets = random_weights(spec, 3, seed=1, dtype=torch.float64), torch.randn(3, 2, 3, 8, 8).double()
    ours, twin = deepcopy(model), deepcopy(model)
    optimizer = torch.optim.Adam(ours.parameters(), lr=1e-2)
    loss = F.mse_loss(ours(weights), targets)
    loss.backward()
    optimizer.step()
    assert_close(
        plain.train_step(twin, torch.optim.Adam(twin.parameters(), lr=1e-2), weights, targets),
        loss.detach(),
        what="loss",
    )
    for one, other, before in zip(twin.parameters(), ours.parameters(), model.parameters(), strict=True):
        assert_close(one.detach(), other.detach(), what="parameter")
        assert not torch.equal(one, before)


@pytest.mark.parametrize("name", ["residual", "grouped", "vit"])
def test_what_is_no_chain_is_refused(name):
    weights = random_weights(tiny_specs()[name], 1, seed=0, dtype=torch.float64)
    with pytest.raises(ValueError, match="expected a chain"):
        plain.memories(encoder_for(weights.spec), weights)


def test_other_presets_are_refused():
    spec = NetworkSpec.mlp([2, 3])
    for options in ({"preset": "release-vit"}, {"readout": "layers"}):
        with pytest.raises(ValueError, match="preset 'paper' and readout 'output'"):
            plain.memories(encoder_for(spec, **options), random_weights(spec, 1, seed=0, dtype=torch.float64))
