import dataclasses
import os
import re
import subprocess
import threading

import pytest

from weightwalk import InputError
from weightwalk.report import tables
from weightwalk.report.tables import ResultRow


def row(**changes) -> ResultRow:
    values = {
        "task": "inr_classification",
        "dataset": "mnist",
        "zoo": "fast@12",
        "method": "inr2jls, small",
        "access": "weights",
        "init": "shared",
        "fits": 2,
        "metric": "test accuracy",
        "value": 0.1 + 0.2,
        "std": None,
        "seeds": (0, 1),
        "recipe": "4f1c",
        "commit": "abc1234",
        "hardware": "2 x Intel",
        "minutes": 12.5,
    }
    return ResultRow(**(values | changes))


@pytest.mark.parametrize("cell", ["94.7 %", "-3", "1,797", "0.93 ± 0.01", "1e-05", "1 min 12 s", "37.2 dB"])
def test_numbers_are_known(cell):
    assert tables.numeric([[cell]], 1) == [True]


@pytest.mark.parametrize("cell", ["4fc7ea5", "digits", "2 x Intel Xeon", "0.3, shared", ""])
def test_words_are_known(cell):
    assert tables.numeric([[cell]], 1) == [False]


def test_cells_read_well():
    assert tables.cells(["c"], [[None], [True], [123456.7], [1e-5], [float("nan")], [1438]]) == [
        [""],
        ["yes"],
        ["123,457"],
        ["1e-05"],
        ["nan"],
        ["1438"],
    ]


def test_csv_keeps_every_digit():
    assert tables.csv(["a", "b"], [[0.1 + 0.2, 'x,"y"'], [None, 1]]) == 'a,b\n0.30000000000000004,"x,""y"""\n,1\n'


def test_results_come_back_as_they_were_written(tmp_path):
    path = tmp_path / "results" / "mnist.csv"
    rows = [row(), row(init="independent", std=0.01, seeds=[3]), row(access="query", method='odd "name"\nof two lines')]
    for one in rows:
        tables.append(path, one)
    assert tables.read(path) == rows
    assert path.read_text().splitlines()[0] == ",".join(field.name for field in dataclasses.fields(ResultRow))


def test_a_new_measurement_of_the_same_takes_the_old_ones_place(tmp_path):
    path = tmp_path / "results.csv"
    tables.append(path, row())
    tables.append(path, row(fits=1))
    newer = row(value=0.5, seeds=(7,), commit="def", hardware="a GPU", minutes=1.0, std=0.1)
    tables.append(path, newer)
    assert tables.read(path) == [newer, row(fits=1)]
    for name in ("task", "dataset", "method", "init", "metric", "recipe"):
        tables.append(path, row(**{name: "other"}))
    tables.append(path, row(access="query"))
    assert len(tables.read(path)) == 9


def test_writers_at_once_lose_nothing(tmp_path):
    path = tmp_path / "results.csv"
    threads = [threading.Thread(target=tables.append, args=(path, row(task=f"task {k}"))) for k in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(one.task for one in tables.read(path)) == [f"task {k}" for k in range(8)]
    assert os.listdir(tmp_path) == ["results.csv"]


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"access": "both"}, "access must be 'weights' .* or 'query' .*, got 'both'"),
        ({"seeds": ()}, "at least one seed"),
        ({"fits": 0}, "0 fits"),
        ({"value": float("nan")}, "value of inr_classification, mnist, .* finite number, got nan"),
        ({"std": float("inf")}, "std of"),
    ],
)
def test_a_number_without_its_conditions_does_not_exist(changes, sentence):
    with pytest.raises(InputError, match=sentence):
        row(**changes)


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        (lambda text: "", "got an empty file"),
        (lambda text: text.replace("task,", "tusk,"), "expected the columns task,dataset.*got tusk,dataset"),
        (lambda text: text.replace(",weights,", ",peeking,"), "row 2 of .* got 'peeking'"),
        (lambda text: text.replace("12.5", "long"), "row 2 of .* 'long'"),
        (lambda text: text.rstrip() + ",more\n", "row 2 of .* is not a result"),
        (lambda text: text + '"open', "not CSV"),
        (lambda text: text.replace("mnist", "\udcff"), "not CSV"),
    ],
)
def test_damaged_results_are_named_and_kept(tmp_path, damage, sentence):
    path = tmp_path / "results.csv"
    tables.append(path, row())
    damaged = damage(path.read_text()).encode(errors="surrogateescape")
    path.write_bytes(damaged)
    with pytest.raises(InputError, match=sentence):
        tables.append(path, row(fits=5))
    assert path.read_bytes() == damaged


def test_missing_results_are_named(tmp_path):
    with pytest.raises(InputError, match="found no such file"):
        tables.read(tmp_path / "results.csv")


def test_hardware_is_short_and_says_how_much():
    assert re.fullmatch(r"\d+ x \S.*", tables.hardware())
    assert len(tables.hardware()) < 80


def test_hardware_where_there_is_no_proc(monkeypatch):
    def absent(*_):
        raise FileNotFoundError

    monkeypatch.setattr(tables.Path, "read_text", absent)
    monkeypatch.delattr(tables.os, "sched_getaffinity", raising=False)
    monkeypatch.delattr(tables.os, "sysconf")
    monkeypatch.setattr(tables.platform, "processor", lambda: "arm (TM)")
    assert re.fullmatch(r"\d+ x arm", tables.hardware())


def test_commit_knows_clean_dirty_and_foreign_sources(tmp_path):
    source = tmp_path / "src"
    source.mkdir()
    (source / "a.py").write_text("1\n")

    def git(*arguments: str) -> str:
        identity = (
            "-c",
            "user.name=t",
            "-c",
            "user.email=t@example.org",
            "-c",
            "commit.gpgsign=false",
            "-c",
            "core.hooksPath=/dev/null",
        )
        clean = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
        return subprocess.run(
            ["git", *identity, *arguments], cwd=tmp_path, env=clean, check=True, capture_output=True, text=True
        ).stdout.strip()

    assert tables.commit(source) == "unknown"
    git("init", "-q")
    assert tables.commit(source) == "unknown"
    git("add", "src")
    git("commit", "-qm", "first")
    short = git("rev-parse", "--short", "HEAD")
    (tmp_path / "results.csv").write_text("beside the source\n")
    assert tables.commit(source) == short
    (source / "b.py").write_text("2\n")
    assert tables.commit(source) == f"{short}+dirty"
    assert tables.commit(tmp_path / "absent") == "unknown"
