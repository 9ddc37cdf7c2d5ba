import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from weightwalk import InputError
from weightwalk.zoos.engine import Descent
from weightwalk.zoos.recipe import FitRecipe
from weightwalk.zoos.work import ENGINES, Inline, Job, Processes, Task, work

RECIPE = FitRecipe("quick", hidden=(6, 5), descent=Descent(steps=4, learning_rate=3e-3))
JOB = Job(RECIPE.spec(2, 1), RECIPE.scheme, "independent", 0, RECIPE.pixels, RECIPE.descent, (5, 4))


def tasks(count, size=3):
    rng = np.random.default_rng(0)
    return [
        Task("all", fit=0, images=np.arange(size * k, size * (k + 1)), signals=rng.integers(0, 255, (size, 1, 5, 4), dtype=np.uint8))
        for k in range(count)
    ]


def by_image(results):
    return {int(image): (params.tobytes(), psnr) for r in results for image, params, psnr in zip(r.images, r.params, r.psnr, strict=True)}


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
    task = Task("all", 0, np.arange(3), signals)
    one, two, three = work(JOB, task).params
    assert not np.array_equal(one, two)
    given = np.linspace(-1, 1, JOB.spec.num_parameters, dtype=np.float32)
    for start in ("shared", given):
        job = Job(JOB.spec, JOB.scheme, start, 0, JOB.pixels, JOB.descent, JOB.grid)
        one, two, three = work(job, task).params
        assert np.array_equal(one, two)
        assert np.array_equal(one, three)


def die(job, task):
    os._exit(1)


@pytest.mark.slow
def test_workers_that_keep_dying_end_in_a_sentence(monkeypatch):
    monkeypatch.setattr("weightwalk.zoos.work.TRIES", 2)
    monkeypatch.setattr("weightwalk.zoos.work.work", die)
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
    assert ENGINES["local"](None).count == len(os.sched_getaffinity(0))
    with pytest.raises(InputError, match="unknown engine 'slurm'"):
        ENGINES["slurm"]
    with pytest.raises(InputError, match="at least 1 worker, got 0"):
        Processes(0)


def test_ray_is_an_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(InputError, match=r"pip install 'weightwalk\[ray\]'"):
        ENGINES["ray"](None)
