import operator
import os
import time
from collections.abc import Iterator

import pytest
import torch

from weightwalk.bench.team import Team, median_ratio


@pytest.fixture(scope="module")
def team() -> Iterator[Team]:
    with Team(2) as team:
        yield team


def _where(state: object) -> tuple[int, int]:
    return os.getpid(), torch.get_num_threads()


def test_workers_are_processes_of_one_thread(team):
    _, [first, second] = team.run(_where)
    assert len({first[0], second[0], os.getpid()}) == 3
    assert first[1] == second[1] == 1


def test_each_works_on_its_own_state(team):
    team.give([1, 20])
    assert team.run(operator.add, 5)[1] == [6, 25]


def test_the_last_one_counts(team):
    team.give([0.0, 0.3])
    assert 0.3 <= team.run(time.sleep)[0] < 3


def test_a_failure_is_told_and_the_team_goes_on(team):
    team.give([1, 2])
    with pytest.raises(RuntimeError, match="ZeroDivisionError"):
        team.run(operator.truediv, 0)
    assert team.run(operator.add, 1)[1] == [2, 3]


def test_a_worker_that_dies_is_noticed():
    with Team(1) as team:
        team.give([3])
        with pytest.raises(RuntimeError, match="ended with code 3"):
            team.run(os._exit)


def test_the_ratio_of_neighbours():
    assert median_ratio([4.0, 40.0, 400.0], [2.0, 20.0, 100.0]) == 2.0  # a machine that is ten times slower for a while
