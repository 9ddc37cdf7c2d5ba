"""What a computation costs, where it can be told by hand."""

import torch
from torch import nn

from weightwalk.bench.costs import PeakBytes, bytes_of, counted, flops, tensors_of

KIB = 1024  # bytes of the tensors below: 256 numbers


def numbers(times=1):
    return torch.ones(256 * times)


def peak(call, *there):
    return counted(call, there).peak_bytes


def test_what_is_alive_at_once_counts():
    def chain():
        x = numbers()
        for _ in range(10):
            x = x + 1  # the old and the new

    def kept():
        found = [numbers()]
        for _ in range(10):
            found.append(found[-1] + 1)

    assert peak(chain) == 2 * KIB
    assert peak(kept) == 11 * KIB
    assert peak(lambda: None) == 0


def test_the_wrong_twin_adds_up_what_is_gone():
    class Sum(PeakBytes):
        def _see(self, tensor):
            self.peak += tensor.untyped_storage().nbytes()

    with Sum() as wrong:
        x = numbers()
        for _ in range(10):
            x = x + 1
    assert wrong.peak > 2 * KIB


def test_what_is_kept_from_the_time_before_is_memory_and_no_work():
    weight, batch = torch.ones(16, 16), torch.ones(16, 16)
    store = []

    def reads():
        if not store:
            store.append(weight @ weight)
        return batch @ store[0].T

    found = counted(reads, [weight, batch])
    assert (found.flops, found.peak_bytes) == (2 * 16**3, 2 * KIB)
    store.clear()
    assert flops(reads) == 2 * found.flops  # the first time


def test_views_and_what_was_there_are_not_new():
    x = numbers()
    assert peak(lambda: x.view(2, 128).T.add_(1), x) == 0
    assert peak(lambda: [numbers().view(16, 16)[i] for i in range(5)]) == 5 * KIB  # a row keeps all of it
    assert peak(lambda: (x + 1)[:4], x) == KIB
    assert peak(lambda: x.view(2, 128)) == KIB  # who does not say that it was there


def test_what_autograd_keeps_is_alive():
    x = numbers().requires_grad_()

    def forward():
        y = x
        for _ in range(5):
            y = y.sin()
        return y

    with torch.no_grad():
        assert peak(forward, x) == 2 * KIB
    assert peak(forward, x) == 5 * KIB
    assert 6 * KIB <= peak(lambda: forward().sum().backward(), x) <= 8 * KIB  # and gradients


def test_products_are_counted_forward_and_backward():
    layer = nn.Linear(32, 16, bias=False)
    batch = torch.randn(8, 32)
    one = 2 * 8 * 32 * 16
    assert counted(lambda: layer(batch).sin(), ()).flops == one
    assert counted(lambda: layer(batch).sum().backward(), ()).flops == 2 * one  # of the weight alone
    batch.requires_grad_()
    assert counted(lambda: layer(batch).sum().backward(), ()).flops == 3 * one


def test_parameters_count_once():
    one, other = nn.Linear(4, 4, bias=False), nn.Linear(4, 4, bias=False)
    assert bytes_of(tensors_of(nn.Sequential(one, other))) == 2 * 4 * 16
    other.weight = one.weight
    assert bytes_of([*tensors_of(one), *tensors_of(other)]) == 4 * 16
