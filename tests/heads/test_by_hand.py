"""What is written out for CPUs is what torch defines: the decoder's transposed convolutions, the generator's layers."""

from itertools import pairwise

import pytest
import torch
from torch import nn
from torch.autograd import forward_ad
from torch.func import functional_call, grad, vmap

from weightwalk.heads import by_hand, doubling
from weightwalk.heads.latents import ConvDecoder, LatentGenerator
from weightwalk.testing import assert_close

# channels of the layers, grid, pictures
CASES = [
    ((8, 6, 3), (8, 8), 5),
    ((8, 6, 1), (7, 7), 5),
    ((4, 3, 2), (9, 1), 2),
    ((3, 4, 5, 2), (3, 5), 3),
    ((2, 3, 4, 3, 1), (2, 1), 1),
]


def decoder_for(channels, dtype=torch.float64) -> ConvDecoder:
    decoder = ConvDecoder(channels[0], 1, channels[-1], len(channels) - 1)
    decoder.layers = nn.Sequential(
        *(layer for ends in pairwise(channels) for layer in (nn.ConvTranspose2d(*ends, 4, 2, 1), nn.ReLU()))
    )[:-1]
    return decoder.to(dtype)


def generator_for(dtype=torch.float64) -> LatentGenerator:
    return LatentGenerator(num_latents=5, memory_dim=3, encoding_dim=4, hidden_dim=6, latent_dim=2).to(dtype)


def of(pictures, *wanted):
    """Pictures, and gradients of a sum of them under fixed signs."""
    signs = torch.linspace(-1, 2, pictures.numel(), dtype=pictures.dtype).view(pictures.shape)
    return [pictures.detach(), *torch.autograd.grad(pictures, wanted, signs)]


def agree(found, expected, what):
    for k, (x, y) in enumerate(zip(found, expected, strict=True)):
        assert_close(
            x, y, what=f"{what} {k}", atol=(1e-10 if y.dtype == torch.float64 else 1e-5) * float(y.abs().max())
        )


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("channels", "grid", "pictures"), CASES)
def test_few_products_make_torch_s_transposed_convolutions(channels, grid, pictures, dtype, monkeypatch):
    decoder = decoder_for(channels, dtype)
    for layer in decoder.layers[:-1:2]:  # far from zero, or two roundings may disagree on what ReLU lets through
        nn.init.constant_(layer.bias[::2], 30.0)
        nn.init.constant_(layer.bias[1::2], -30.0)
    maps = torch.randn(pictures, channels[0], *grid, dtype=dtype, requires_grad=True)
    wanted = (maps, *decoder.parameters())
    expected = of(decoder.layers(maps), *wanted)
    agree(of(doubling.decode(*wanted), *wanted), expected, "at once")
    monkeypatch.setattr(doubling, "_CHUNK_BYTES", 1)
    agree(of(doubling.decode(*wanted), *wanted), expected, "a picture at a time")


def test_tiles_that_do_not_overlap_are_no_transposed_convolution(monkeypatch):
    def alone(length, dtype):
        found = true_axis(length, dtype)
        found.interpolate[0, 4] = found.interpolate[0, 4] * (found.evaluate @ torch.ones(length, dtype=dtype) > 5)
        return found

    true_axis = doubling.axis.__wrapped__
    decoder, maps = decoder_for((3, 4, 2)), torch.randn(2, 3, 8, 8, dtype=torch.float64)
    monkeypatch.setattr(doubling, "axis", alone)
    difference = doubling.decode(maps, *decoder.parameters()) - decoder.layers(maps)
    assert difference.abs().max() > 0.01


@pytest.mark.parametrize("grid", [(2, 3), (5, 1)])
def test_the_decoder_s_first_and_second_derivatives(grid):
    operands = [x.detach().requires_grad_() for x in decoder_for((2, 3, 1)).parameters()]
    maps = torch.randn(2, 2, *grid, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(doubling.decode, (maps, *operands))
    assert torch.autograd.gradgradcheck(doubling.decode, (maps, *operands))


def test_the_generator_s_first_and_second_derivatives():
    generator = generator_for()
    encoding = torch.randn(3, 4, dtype=torch.float64, requires_grad=True)
    assert by_hand.possible(encoding, *generator.parameters())

    def latents(encoding, *parameters):
        return functional_call(
            generator, dict(zip(dict(generator.named_parameters()), parameters, strict=True)), encoding
        )

    operands = [x.detach().requires_grad_() for x in generator.parameters()]
    assert torch.autograd.gradcheck(latents, (encoding, *operands))
    assert torch.autograd.gradgradcheck(latents, (encoding, *operands))


def test_the_generator_keeps_no_hidden_layer():
    generator = LatentGenerator(num_latents=50, memory_dim=3, encoding_dim=4, hidden_dim=64, latent_dim=2)
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda x: kept.append(x) or x, lambda x: x):
        generator(torch.randn(9, 4))
    assert max(x.numel() for x in kept) <= 50 * 64 < 9 * 50 * 64


MODULES = {
    "decoder": (lambda: decoder_for((2, 3, 1)), lambda: torch.randn(40, 2, 7, 8, dtype=torch.float64)),
    "generator": (generator_for, lambda: torch.randn(3, 4, dtype=torch.float64)),
}


@pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")  # Dynamo's own doing
@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated:DeprecationWarning")  # forward mode's
@pytest.mark.parametrize("name", MODULES)
def test_what_looks_on_sees_operations_of_torch(name, monkeypatch):
    module, x = (make() for make in MODULES[name])
    monkeypatch.setattr(doubling, "pays", lambda *operands: True)
    parameters = dict(module.named_parameters())
    names, values = parameters.keys(), [p.detach() for p in parameters.values()]

    def loss(x, *values):
        return functional_call(module, dict(zip(names, values, strict=True)), x).sin().sum()

    expected = [x.detach() for x in torch.autograd.grad(loss(x, *parameters.values()), list(parameters.values()))]
    agree(grad(loss, tuple(range(1, 1 + len(values))))(x, *values), expected, "torch.func.grad")
    agree([vmap(module)(x[:, None])[:, 0].detach()], [module(x).detach()], "vmap")
    compiled = torch.compile(module, fullgraph=True, backend="aot_eager")
    agree(torch.autograd.grad(compiled(x).sin().sum(), list(parameters.values())), expected, "torch.compile")
    agree([torch.export.export(module, (x,)).module()(x).detach()], [module(x).detach()], "torch.export")
    with forward_ad.dual_level():
        tangent = forward_ad.unpack_dual(module(forward_ad.make_dual(x, torch.ones_like(x)))).tangent
    agree([tangent.detach()], [torch.autograd.functional.jvp(module, x, torch.ones_like(x))[1]], "forward mode")
    module, x = module.float(), x.float()
    with torch.autocast("cpu", torch.bfloat16):
        assert module(x).dtype == torch.bfloat16
    assert module.bfloat16()(x.bfloat16()).dtype == torch.bfloat16
