import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from weightwalk import InputError
from weightwalk.training import samplers
from weightwalk.training.samplers import batch_indices, check_sampling, step_seed


@given(st.integers(1, 40), st.integers(1, 90), st.integers(0, 2**64 - 1))
def test_every_epoch_has_every_sample_once_and_none_is_dropped(num_samples, batch_size, seed):
    num_batches = -(-3 * num_samples // batch_size)
    batches = [batch_indices(num_samples, batch_size, step, seed) for step in range(num_batches)]
    assert all(batch.shape == (batch_size,) and batch.dtype == torch.int64 for batch in batches)
    for epoch in torch.cat(batches)[: 3 * num_samples].split(num_samples):
        assert torch.equal(epoch.sort().values, torch.arange(num_samples))


def test_a_batch_depends_on_nothing_but_its_arguments():
    forward = [batch_indices(50, 7, step, 3) for step in range(30)]
    samplers._permutation.cache_clear()
    for step in reversed(range(30)):
        batch_indices(11, 4, step, 9)
        assert torch.equal(batch_indices(50, 7, step, 3), forward[step])


def test_epochs_and_seeds_differ():
    epochs = [batch_indices(100, 100, step, seed).tolist() for step in range(3) for seed in range(3)]
    assert len(set(map(tuple, epochs))) == 9


def test_what_a_caller_does_to_a_batch_stays_with_the_caller():
    batch_indices(10, 10, 0, 0).zero_()
    assert batch_indices(10, 10, 0, 0).sum() == 45


def test_the_cache_is_bounded():
    for step in range(100):
        batch_indices(5, 5, step, 0)
    assert samplers._permutation.cache_info().currsize <= 2


def test_orders_and_seeds_stay_what_they_were_in_earlier_releases():
    assert torch.cat([batch_indices(5, 4, step, 7) for step in range(3)]).tolist() == GOLDEN_BATCHES
    assert [step_seed(7, step) for step in range(3)] == GOLDEN_SEEDS


GOLDEN_BATCHES = [4, 1, 3, 2, 0, 3, 1, 2, 4, 0, 4, 0]
GOLDEN_SEEDS = [16920295385781661272, 6635463128224577688, 18279110831140952437]


def test_the_order_is_the_argsort_of_philox():
    bits = np.random.Philox(key=[4, 1]).random_raw(20)
    assert batch_indices(20, 20, 1, 4).tolist() == np.argsort(bits).tolist()


@pytest.mark.parametrize(
    ("num_samples", "seed", "message"),
    [(0, 0, "at least one sample"), (3, -1, "a seed from 0"), (3, 2**64, "a seed from 0")],
)
def test_what_cannot_be_sampled_is_refused(num_samples, seed, message):
    with pytest.raises(InputError, match=message):
        check_sampling(num_samples, 1, seed)
