"""What is written out for CPUs is what torch defines: the decoder's transposed convolutions, the generator's layers."""

from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from torch import nn
from torch.autograd import forward_ad
from torch.func import functional_call, grad, vmap
from torch.utils.flop_counter import FlopCounterMode

from weightwalk.heads import by_hand, doubling
from weightwalk.heads.latents import ConvDecoder, LatentGenerator
from weightwalk.testing import assert_close

compiled_here = pytest.mark.skipif(not doubling.available(), reason="needs a C++ compiler")
# channels of the layers, grid, pictures
CASES = [
    ((32, 80, 3), (8, 8), 5),
    ((16, 64, 1), (7, 7), 5),
    ((16, 16, 2), (9, 1), 2),
    ((16, 3), (4, 5), 3),
    ((48, 16, 32, 2), (3, 5), 3),
    ((16, 16, 16, 16, 1), (2, 1), 1),
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


@compiled_here
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


@compiled_here
def test_tiles_that_do_not_overlap_are_no_transposed_convolution(monkeypatch):
    whole = doubling.axis

    def apart(length, dtype):
        found = whole(length, dtype)
        one_tile = found.evaluate[:, length // 2 :].abs().sum(1) > 0
        cut = found.interpolate.clone()
        cut[:, : length // 2, one_tile] = 0
        return replace(found, interpolate=cut)

    decoder, maps = decoder_for((16, 16, 2)), torch.randn(2, 16, 8, 8, dtype=torch.float64)
    expected = decoder.layers(maps)
    assert_close(doubling.decode(maps, *decoder.parameters()), expected, what="pictures")
    monkeypatch.setattr(doubling, "axis", apart)
    assert (doubling.decode(maps, *decoder.parameters()) - expected).abs().max() > 0.01


@compiled_here
@pytest.mark.parametrize("grid", [(2, 3), (5, 1)])
def test_the_decoder_s_first_and_second_derivatives(grid):
    operands = [x.detach().requires_grad_() for x in decoder_for((16, 16, 1)).parameters()]
    maps = torch.randn(2, 16, *grid, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(doubling.decode, (maps, *operands), fast_mode=True)
    assert torch.autograd.gradgradcheck(doubling.decode, (maps, *operands), fast_mode=True)


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


@compiled_here
def test_the_decoder_takes_them_where_it_can(monkeypatch):
    taken = []
    monkeypatch.setattr(doubling, "decode", lambda maps, *parameters: taken.append(maps) or maps)
    for channels, pictures in [((16, 32, 1), 2), ((16, 1), 2), ((16, 32, 1), 0), ((16, 24, 1), 2)]:
        decoder_for(channels)(torch.randn(pictures, 16, 2, 3, dtype=torch.float64))
    assert len(taken) == 2
    monkeypatch.setattr(doubling, "available", lambda: False)
    decoder_for((16, 32, 1))(torch.randn(2, 16, 2, 3, dtype=torch.float64))
    assert len(taken) == 2


MODULES = {
    "decoder": (lambda: decoder_for((16, 32, 1)), lambda: torch.randn(4, 16, 3, 2, dtype=torch.float64)),
    "generator": (generator_for, lambda: torch.randn(3, 4, dtype=torch.float64)),
}


@pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")  # Dynamo's own doing
@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated:DeprecationWarning")  # forward mode's
@pytest.mark.parametrize("name", MODULES)
def test_what_looks_on_sees_operations_of_torch(name):
    module, x = (make() for make in MODULES[name])
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


@pytest.mark.parametrize("autocast", [True, False])
@pytest.mark.parametrize("name", MODULES)
def test_bfloat16_loses_what_its_eight_bits_lose(name, autocast):
    module, x = (make() for make in MODULES[name])
    x, parameters = x.requires_grad_(), list(module.parameters())
    expected = of(module(x), x, *parameters)
    if not autocast:
        module, x = module.bfloat16(), x.detach().bfloat16().requires_grad_()
    else:
        module, x = module.float(), x.detach().float().requires_grad_()
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        answer = module(x)
    assert answer.dtype == torch.bfloat16
    for k, (found, wanted) in enumerate(zip(of(answer, x, *module.parameters()), expected, strict=True)):
        assert (found - wanted).norm() < 0.05 * wanted.norm(), f"number {k}"


@compiled_here
def test_the_number_of_threads_changes_no_bit(monkeypatch):
    monkeypatch.setattr(doubling, "_CHUNK_BYTES", 2**13)
    decoder, threads = decoder_for((16, 32, 1), torch.float32), torch.get_num_threads()
    maps, answers = torch.randn(9, 16, 5, 4, requires_grad=True), []
    assert doubling._chunks(maps, list(decoder.parameters())) > 2
    generator, encoding = generator_for(torch.float32), torch.randn(20, 4, requires_grad=True)
    for count in (1, 2):
        torch.set_num_threads(count)
        answers.append(of(decoder(maps), maps, *decoder.parameters()))
        answers[-1] += of(generator(encoding), encoding, *generator.parameters())
    torch.set_num_threads(threads)
    assert all(torch.equal(one, two) for one, two in zip(*answers, strict=True))


@pytest.mark.parametrize("name", MODULES)
def test_a_counter_of_flops_sees_all_products(name, monkeypatch):
    module, x = (make() for make in MODULES[name])

    def flops():
        with FlopCounterMode(display=False) as counter:
            module(x).sum().backward()
        return counter.get_total_flops()

    seen = flops()
    monkeypatch.setattr(by_hand, "possible", lambda *operands: False)
    assert seen == flops() > 0


@compiled_here
def test_biases_may_lie_apart_in_memory():
    decoder, maps = decoder_for((16, 32, 2)), torch.randn(2, 16, 3, 3, dtype=torch.float64)
    parameters = [parameter.detach() for parameter in decoder.parameters()]
    apart = [x if x.dim() > 1 else torch.stack([x, x + 1], dim=1)[:, 0] for x in parameters]
    assert_close(doubling.decode(maps, *apart), decoder(maps).detach(), what="pictures", atol=1e-10, rtol=0.0)
