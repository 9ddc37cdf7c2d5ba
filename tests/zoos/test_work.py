import dataclasses
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from weightwalk import InputError, devices
from weightwalk.zoos.inr.engine import Descent
from weightwalk.zoos.inr.job import FitJob, FitTask
from weightwalk.zoos.inr.recipe import FitRecipe
from weightwalk.zoos.work import ENGINES, Inline, Processes, Ray

RECIPE = FitRecipe("quick", hidden=(6, 5), descent=Descent(steps=4, learning_rate=3e-3))
JOB = FitJob(RECIPE.spec(2, 1), RECIPE.scheme, "independent", 0, RECIPE.pixels, RECIPE.descent, (5, 4))


def tasks(count, size=3):
    rng = np.random.default_rng(0)
    return [
        FitTask(
            "all",
            fit=0,
            images=np.arange(size * k, size * (k + 1)),
            signals=rng.integers(0, 255, (size, 1, 5, 4), dtype=np.uint8),
        )
        for k in range(count)
    ]


def by_image(results):
    return {
        int(image): (params.tobytes(), psnr)
        for r in results
        for image, params, psnr in zip(r.images, r.params, r.psnr, strict=True)
    }


EXPECTED = by_image(Inline().results(JOB, tasks(12)))


@pytest.mark.slow
def test_processes_do_what_this_process_does_whoever_dies():
    """Also if one of them is killed in the middle: its tasks are done again."""
    results = Processes(2).results(JOB, tasks(12))
    found = [next(results)]
    victim = multiprocessing.active_children()[0]
    os.kill(victim.pid, signal.SIGKILL)
    found += results
    assert by_image(found) == EXPECTED
    assert len(found) >= 12


class DyingPool:
    """A pool in this process, of which one worker dies after 5 tasks: then nothing more can be submitted."""

    pools = 0

    def __init__(self, *arguments, **options):
        DyingPool.pools += 1
        self._left, self._processes = 5 if DyingPool.pools == 1 else 1000, {}

    def submit(self, function, *arguments):
        if not self._left:
            raise BrokenProcessPool
        self._left -= 1
        future = Future()
        future.set_result(function(*arguments))
        return future

    def shutdown(self, **options):
        pass


def test_no_task_is_lost_when_a_worker_dies_between_two_tasks(monkeypatch):
    monkeypatch.setattr("weightwalk.zoos.work.ProcessPoolExecutor", DyingPool)
    monkeypatch.setattr(DyingPool, "pools", 0)
    found = list(Processes(1).results(JOB, tasks(12)))
    assert DyingPool.pools == 2
    assert by_image(found) == EXPECTED


@pytest.mark.slow
def test_a_sentence_arrives_as_it_was_and_nobody_waits_for_the_rest():
    """The worker's own, and one of the source of the tasks, while a worker is busy for minutes."""
    bad = dataclasses.replace(tasks(1)[0], signals=np.full((3, 1, 5, 4), np.nan, np.float32))
    with pytest.raises(InputError, match=r"^targets must be finite numbers, but signal 0 is not"):
        list(Processes(1).results(JOB, [bad]))

    def source():
        yield from tasks(1)
        yield from tasks(2, size=100_000)
        raise InputError("picture 7 cannot be read")

    job = dataclasses.replace(JOB, descent=Descent(steps=1000, learning_rate=3e-3))
    results = Processes(1).results(job, source())
    next(results)
    (worker,) = multiprocessing.active_children()
    with pytest.raises(InputError, match=r"^picture 7 cannot be read$"):
        next(results)
    deadline = time.monotonic() + 10
    while worker.is_alive() and time.monotonic() < deadline:  # the pool's thread may reap it while `join` looks
        time.sleep(0.05)
    assert not worker.is_alive()


def test_ray_s_trace_of_a_sentence_is_the_sentence():
    class WrappedError(InputError):
        cause = InputError("expected a C++ compiler")

    def get(reference):
        raise WrappedError("ray::work() ... Traceback ...")

    workers = Ray.__new__(Ray)
    remote = SimpleNamespace(remote=lambda *arguments: "reference")
    workers.count = 1
    workers._ray = SimpleNamespace(
        remote=lambda **options: lambda function: remote,
        put=lambda job: job,
        get=get,
        wait=lambda under_way, num_returns: (under_way, []),
    )
    with pytest.raises(InputError, match=r"^expected a C\+\+ compiler$"):
        list(workers.results(JOB, tasks(1)))


def test_few_tasks_are_taken_ahead():
    taken = []

    def source():
        for task in tasks(12):
            taken.append(task)
            yield task

    results = Inline().results(JOB, source())
    next(results)
    assert len(taken) == 1


def test_a_shared_start_is_one_start_and_a_given_one_is_that_one():
    signals = np.full((3, 1, 5, 4), 128, np.uint8)
    task = FitTask("all", 0, np.arange(3), signals)
    one, two, three = JOB.do(task).params
    assert not np.array_equal(one, two)
    given = np.linspace(-1, 1, JOB.spec.num_parameters, dtype=np.float32)
    for start in ("shared", given):
        job = FitJob(JOB.spec, JOB.scheme, start, 0, JOB.pixels, JOB.descent, JOB.grid)
        one, two, three = job.do(task).params
        assert np.array_equal(one, two)
        assert np.array_equal(one, three)


def die(job, task):
    os._exit(1)


@pytest.mark.slow
def test_workers_that_keep_dying_end_in_a_sentence(monkeypatch):
    monkeypatch.setattr("weightwalk.zoos.work.TRIES", 2)
    monkeypatch.setattr("weightwalk.zoos.work.do", die)
    with pytest.raises(InputError, match="workers died 2 times in a row"):
        list(Processes(1).results(JOB, tasks(1)))


PARENT = """
import sys
sys.path.insert(0, {folder!r})
from test_work import JOB, tasks
from weightwalk.zoos.work import Processes
if __name__ == "__main__":
    results = Processes(1).results(JOB, tasks(1000))
    next(results)
    import multiprocessing
    print(multiprocessing.active_children()[0].pid, flush=True)
    list(results)
    print("waiting", flush=True)
    import time
    time.sleep(60)
"""


@pytest.mark.slow
def test_no_worker_outlives_a_parent_that_was_killed(tmp_path):
    script = tmp_path / "parent.py"
    script.write_text(PARENT.format(folder=str(Path(__file__).parent)))
    with subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, text=True) as parent:
        worker = int(parent.stdout.readline())
        parent.kill()
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline and alive(worker):
        time.sleep(0.05)
    assert not alive(worker)


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_engines_by_name(monkeypatch):
    assert isinstance(ENGINES["local"](1), Inline)
    assert ENGINES["local"](3).count == 3
    assert ENGINES["local"](None).count == devices.cores()
    with pytest.raises(InputError, match="unknown engine 'slurm'"):
        ENGINES["slurm"]
    with pytest.raises(InputError, match="at least 1 worker, got 0"):
        Processes(0)


def test_ray_is_an_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(InputError, match=r"pip install 'weightwalk\[ray\]'"):
        ENGINES["ray"](None)
