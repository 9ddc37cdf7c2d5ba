import pytest
import torch

from weightwalk import NetworkSpec
from weightwalk.bench import peers
from weightwalk.networks.starts import Key, initialise
from weightwalk.testing import assert_close
from weightwalk.zoos.inr import engine
from weightwalk.zoos.inr.engine import Descent
from weightwalk.zoos.inr.pixels import PixelFormat

STEPS, RATE = 30, 1e-3


def test_arithmetic_of_a_step_by_hand():
    spec, pixels = NetworkSpec.mlp([2, 32, 32, 1]), 28 * 28
    forward = 2 * pixels * (2 * 32 + 32 * 32 + 32 * 1)
    to_weights, to_inputs = forward, 2 * pixels * (32 * 32 + 32 * 1)
    assert peers.step_flops(spec, pixels) == forward + to_weights + to_inputs == 5_168_128
    assert peers.step_flops(spec, pixels) == pytest.approx(5.3e6, rel=0.03)


def test_every_way_ends_with_the_same_losses():
    spec, form = NetworkSpec.mlp([2, 9, 8, 3], omega=20.0), PixelFormat()
    start, x = initialise(spec, [Key(0, 0, image, 0) for image in range(4)]), form.coordinates((6, 5))
    targets = torch.sin(3 * torch.randn(4, 3, 2) @ x.T)
    published = peers.one_at_a_time(start, x, targets, STEPS, RATE)
    assert_close(peers.vmapped(start, x, targets, STEPS, RATE), published, what="vmap", rtol=1e-4)
    _, errors = engine.fit(start, x, targets, Descent(STEPS, RATE))
    assert_close(errors, published, what="engine", rtol=1e-4)
    assert (published < 0.9 * (start.run(x).mT - targets).square().mean(dim=(1, 2))).all()
