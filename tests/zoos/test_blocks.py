"""When results become shards."""

from contextlib import nullcontext

import numpy as np

from weightwalk.zoos.blocks import WAITING, Blocks, block_size, blocks


class Writer:
    """Writes nothing."""

    together = nullcontext


def made(missing):
    written = []
    return Blocks(Writer(), missing, lambda key, results: written.append((key, results))), written


def test_all_blocks_of_a_result_are_written_with_it():
    """The next result may take a minute, in which the command may be killed."""
    shards, written = made({0: 2, 1: 2, 2: 2, 3: 2})
    for key in (0, 1, 2):
        shards.add(key, "first", 2)
    shards.add(3, "first", 1)
    shards.settle()
    assert [key for key, _ in written] == [0, 1, 2]
    shards.add(3, "second", 1)
    shards.write()
    assert written[-1] == (3, ["first", "second"])


def test_what_is_not_lacking_is_dropped():
    shards, written = made({0: 1})
    for key in (0, 0, 7):
        shards.add(key, "again")
    shards.write()
    assert written == [(0, ["again"])]


def test_few_blocks_wait():
    shards, written = made(dict.fromkeys(range(3 * WAITING), 1))
    shards._next = np.inf  # as after a write that took very long
    for key in range(2 * WAITING):
        shards.add(key, "result")
        shards.settle()
    assert len(written) >= WAITING


def test_blocks_begin_at_multiples_of_their_size():
    assert [block.tolist() for block in blocks(np.array([1, 15, 16, 40]), 16)] == [[1, 15], [16], [40]]
    assert [block_size(cost) for cost in (1, 5e8, 1e12)] == [512, 64, 16]
