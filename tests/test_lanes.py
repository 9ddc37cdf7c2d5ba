"""Laws of lanes: how a batch is cut changes nothing, and how many threads there are changes no bit."""

import os
import threading
import time

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from weightwalk import InputError, NetworkSpec, Weights, lanes
from weightwalk.encoders import EncoderConfig
from weightwalk.frameworks.inr2jls import LatentSizes
from weightwalk.frameworks.reader import Reader
from weightwalk.heads import HeadConfig

SPEC = NetworkSpec.mlp([2, 8, 8, 1])


@pytest.fixture(params=[1, 2, 3])
def threads(request):
    torch.set_num_threads(request.param)
    yield request.param
    assert torch.get_num_threads() == request.param
    torch.set_num_threads(1)


@pytest.fixture
def two_threads():
    torch.set_num_threads(2)
    yield
    assert torch.get_num_threads() == 2
    torch.set_num_threads(1)


def networks(count, dtype=torch.float32):
    flat = torch.randn(count, SPEC.num_parameters, generator=torch.Generator().manual_seed(1), dtype=dtype)
    return Weights(SPEC, 0.3 * flat)


def readers():
    encoder = EncoderConfig.named("dng", dim=8, num_frequencies=4).build(SPEC)
    sizes = LatentSizes(theta_dim=4, generator_dim=8, latent_dim=4, decoder_dim=4)
    latents = sizes.build(encoder, (1, 8, 8))
    head = HeadConfig.named("latent_cnn", hidden_dim=4).build(latents.encoding_shape, 3)
    return encoder, latents, Reader(latents, head)


@given(st.integers(1, 500), st.integers(1, 100))
def test_cuts_are_the_batch_in_order_and_an_even_number(num_samples, lane):
    parts = lanes.cut(num_samples, lane)
    assert [place for part in parts for place in range(num_samples)[part]] == list(range(num_samples))
    assert len(parts) == 1 or len(parts) % 2 == 0
    sizes = {part.stop - part.start for part in parts}
    assert max(sizes) - min(sizes) <= 1
    assert min(sizes) >= lane // 2 or len(parts) == 1


def test_answers_come_in_order_from_as_many_threads_as_torch_has(threads):
    names, counts = set(), set()

    def task(number):
        time.sleep(0.01)
        names.add(threading.current_thread().name)
        counts.add(torch.get_num_threads())
        return number

    assert lanes.run([lambda number=number: task(number) for number in range(12)]) == list(range(12))
    assert counts == {1}
    assert len(names) == threads
    assert threads == 1 or all(name.startswith("lane-") for name in names)


def test_a_lane_has_the_callers_modes(two_threads):
    def modes():
        lowered = torch.mm(torch.ones(2, 2), torch.ones(2, 2)).dtype
        return torch.is_grad_enabled(), torch.is_inference_mode_enabled(), lowered

    assert lanes.run([modes] * 2) == [(True, False, torch.float32)] * 2
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        assert lanes.run([modes] * 2) == [(False, False, torch.bfloat16)] * 2
    with torch.inference_mode():
        assert lanes.run([modes] * 2) == [(False, True, torch.float32)] * 2
    assert lanes.run([modes] * 2) == [(True, False, torch.float32)] * 2


def test_a_lane_in_a_lane_is_a_plain_call(two_threads):
    inner = lanes.run([lambda: lanes.run([threading.get_ident] * 3), lambda: lanes.run([threading.get_ident] * 3)])
    assert all(len(set(found)) == 1 for found in inner)


def test_the_first_error_is_raised_and_nothing_more_is_begun(threads):
    begun = []

    def task(number):
        begun.append(number)
        time.sleep(0.02 if number == 1 else 0.0)
        if number in (1, 2):
            raise InputError(f"lane {number}")
        time.sleep(0.05)

    with pytest.raises(InputError, match="lane 1"):
        lanes.run([lambda number=number: task(number) for number in range(30)])
    assert len(begun) < 8
    assert lanes.run([lambda: 1, lambda: 2]) == [1, 2]


def test_one_task_is_done_here_with_one_torch_thread(two_threads):
    assert lanes.run([lambda: (threading.get_ident(), torch.get_num_threads())]) == [(threading.get_ident(), 1)]
    with pytest.raises(ZeroDivisionError):
        lanes.run([lambda: 1 // 0])


def test_a_fork_has_lanes_of_its_own(two_threads):
    lanes.run([lambda: 0] * 2)
    child = os.fork()
    if child == 0:
        os._exit(lanes.run([lambda: 3, lambda: 4])[1])
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 4


# ---------------------------------------------------------------- reading


def plainly(monkeypatch, call, *arguments):
    with monkeypatch.context() as patch:
        patch.setattr(lanes, "possible", lambda: False)
        return call(*arguments)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 2e-6), (torch.float64, 1e-12)])
def test_reading_in_lanes_is_reading_at_once(monkeypatch, threads, dtype, tolerance):
    monkeypatch.setattr(lanes, "size", lambda *_: 3)
    cuts, run = [], lanes.run
    monkeypatch.setattr(lanes, "run", lambda tasks, seeds=None: (cuts.append(len(tasks)), run(tasks, seeds))[1])
    weights = networks(23, dtype)
    with torch.no_grad():
        encoder, latents, reader = (module.to(dtype).eval() for module in readers())
        calls = [encoder.encode, latents.latents, latents.encode, latents, reader, lambda w: encoder(w).nodes[2]]
        for call in calls:
            wanted = plainly(monkeypatch, call, weights)
            cuts.clear()
            torch.testing.assert_close(call(weights), wanted, rtol=tolerance, atol=tolerance)
            assert cuts[0] == 4


def test_reading_has_the_same_bits_with_any_number_of_threads(monkeypatch):
    monkeypatch.setattr(lanes, "size", lambda *_: 3)
    reader, found = readers()[2].eval(), []
    for count in (1, 2, 3, 2):
        torch.set_num_threads(count)
        with torch.no_grad():
            found.append(reader(networks(23)))
    torch.set_num_threads(1)
    assert all(torch.equal(one, found[0]) for one in found)


@pytest.mark.filterwarnings("ignore:There is a performance drop")
def test_where_lanes_would_be_in_the_way_there_are_none(monkeypatch, two_threads):
    monkeypatch.setattr(lanes, "size", lambda *_: 2)
    monkeypatch.setattr(lanes, "run", lambda *_: pytest.fail("lanes"))
    monkeypatch.setattr(lanes, "_LARGE", SPEC.num_parameters - 1)
    encoder, _, reader = readers()
    weights = networks(8)
    encoder(weights)  # gradients are on
    assert not lanes.separable(reader)  # BatchNorm in training mode
    assert lanes.separable(reader.eval())
    with torch.no_grad():
        encoder(networks(0))
        encoder(networks(1))  # a large network
        encoder.requires_grad_(False)
        with FlopCounterMode(display=False) as counter:
            encoder(weights)
        assert counter.get_total_flops()
        torch.func.vmap(lambda flat: encoder(Weights(SPEC, flat[None])).pooled)(weights.flat)
        assert torch.export.export(encoder, (weights,)).module()(weights).pooled.shape == (8, 8)


def test_a_large_network_is_a_lane_and_small_ones_share_one():
    encoder = readers()[0]
    small, large = NetworkSpec.mlp([2, 32, 32, 3]), NetworkSpec.mlp([2, 1000, 1000, 3])
    assert lanes.size(encoder, [small]) > 100
    paper = nn.Linear(2_000, 3_000)
    assert 12 <= lanes.size(paper, [small]) <= 18
    assert lanes.size(paper, [large]) == 1


# ---------------------------------------------------------------- random numbers


def draws():
    x = torch.ones(50)
    return [
        F.dropout(x, 0.5),
        nn.Dropout(0.3)(x),
        torch.rand(5),
        torch.randn(3),
        torch.randperm(9),
        torch.bernoulli(x / 2),
        x.clone().uniform_(),
        torch.empty(4).normal_(),
        torch.normal(x, x),
        torch.multinomial(x, 4),
        torch.rand_like(x),
        F.gumbel_softmax(x),
        torch.distributions.Gamma(x, x).sample(),
        F.scaled_dot_product_attention(x.view(1, 10, 5), x.view(1, 10, 5), x.view(1, 10, 5), dropout_p=0.5),
        nn.init.kaiming_uniform_(torch.empty(3, 3)),
        torch.ops.aten.bernoulli(x / 2),
        *nn.LSTM(5, 5, num_layers=2, dropout=0.5)(x.view(10, 5))[1],
    ]


def test_what_a_lane_draws_is_a_function_of_its_seed_and_torchs_generator_stays(threads):
    before = torch.get_rng_state()
    found = lanes.run([draws] * 8, seeds=range(8))
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(99)
    again = [lanes.run([draws], seeds=[seed])[0] for seed in range(8)]
    for one, other in zip(found, again, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))
    assert not torch.equal(found[0][0], found[1][0])
    torch.manual_seed(7)
    assert all(torch.equal(a, b) for a, b in zip(found[7], draws(), strict=True))


def test_a_wrong_twin_that_knows_no_names_draws_from_the_shared_generator(monkeypatch):
    monkeypatch.setattr(lanes, "_draws_numbers", lambda name: False)
    before = torch.get_rng_state()
    lanes.run([draws] * 2, seeds=range(2))
    assert not torch.equal(torch.get_rng_state(), before)
