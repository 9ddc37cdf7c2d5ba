"""A table of cells end to end on the embedded digits: made, refused, stopped, gone on with, written."""

import csv
import json
from types import SimpleNamespace

import pytest

from weightwalk import InputError
from weightwalk.recipes.tables import Cell
from weightwalk.report import tables
from weightwalk.reproduce import TABLES, Request, beside, cells, published, zoos

SMALL = ("classify.steps=4", "classify.eval_every=2")
MADE = (
    Cell("StatNN", "digits", "digits_classify", ("encoder=statnn", *SMALL)),
    Cell("refuses", "digits", "digits_classify", ("encoder=statnn", "encoder.dim=3")),
    Cell("MLP", "digits", "digits_classify", ("encoder=flat", "head.hidden_dim=8", *SMALL)),
)


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    return tmp_path_factory.mktemp("reproduce")


@pytest.fixture
def few(monkeypatch):
    """Three cells, 60 of the digits."""
    monkeypatch.setitem(cells.CELLS, "table1", lambda scale: MADE)
    load = zoos.load_sets
    monkeypatch.setattr(
        zoos, "load_sets", lambda dataset, root, split="all", limit=None: load(dataset, root, split, 60)
    )


def asked(work, **more) -> Request:
    return Request(scale="tiny", work=work, rows=work / "rows.csv", **more)


@pytest.mark.usefixtures("few")
def test_a_stopped_table_is_gone_on_with(work):
    answers = iter([False] * 3 + [True] * 9)
    told = []
    table = TABLES["table1"](asked(work, seeds=(0, 1)))
    found = table.measure(lambda label, *rest: told.append(label), lambda: next(answers))
    assert not found.finished
    assert "not yet" in str(found.parts[0].rows)
    found = table.measure(lambda label, *rest: told.append(label))
    assert found.finished
    assert told[-1].startswith("3/3 MLP, digits: ")
    by_row = {cell["row"]: cell for cell in found.values["cells"]}
    assert "encoder.dim" in by_row["refuses"]["refused"]
    assert by_row["StatNN"]["seeds"] == (0, 1)
    assert by_row["StatNN"]["steps"] == {"classify": 4}
    assert 0 <= by_row["MLP"]["value"] <= 100
    told.clear()
    assert table.measure(lambda label, *rest: told.append(label)).parts == found.parts
    assert not any("classify" in label for label in told)  # nothing is trained twice
    rows = tables.read(work / "rows.csv")
    assert {row.metric for row in rows} == {"test_accuracy %", "val_accuracy %", "parameters", "steps of classify"}
    assert {(row.seeds, row.init, row.fits, row.access) for row in rows} == {((0, 1), "shared", 2, "weights")}
    assert len(rows) == 8


@pytest.mark.usefixtures("few")
def test_the_command_writes_every_format(call, work, tmp_path):
    for ending, words in (("md", "| INR2JLS |"), ("csv", "INR2JLS,"), ("tex", r"INR2JLS & "), ("html", "<table>")):
        out = tmp_path / f"table.{ending}"
        arguments = ["--scale", "tiny", "--work", work, "--only", "StatNN", "--out", out, "--json"]
        found = json.loads(call("reproduce", "table1", *arguments).stdout)
        assert [cell["row"] for cell in found["cells"]] == ["StatNN"]
        assert words in out.read_text()
        assert "98.6" in out.read_text()
    assert len(list(csv.reader((tmp_path / "table.csv").read_text().splitlines()))) > 6


@pytest.mark.usefixtures("few")
def test_what_the_command_refuses(call, work, tmp_path):
    for arguments, words in (
        (("--only", "StatNN/CIFAR"), "rows: StatNN; refuses; MLP; columns: digits"),
        (("--seeds", "a"), "0,1,2"),
        (("--minutes", "0"), "--minutes"),
        (("--rows", tmp_path / "rows.txt"), ".csv"),
        (("--only", "refuses"), "encoder.dim"),
        (("--only", "refuses", "--out", tmp_path / "a.doc"), ".tex"),
    ):
        result = call("reproduce", "table1", "--scale", "tiny", "--work", work, *arguments)
        assert result.exit_code == 2
        assert words in result.stderr
    result = call("reproduce", "efficiency", "--minutes", 3)
    assert result.exit_code == 2
    assert "efficiency has no --minutes" in result.stderr


def test_data_that_is_not_there_is_asked_for():
    with pytest.raises(InputError, match="--root"):
        zoos.folder_of(None, "mnist")
    with pytest.raises(InputError, match="--root"):  # once, and not for every cell
        TABLES["table1"](Request(scale="small")).measure()


def test_zoos_of_every_scale():
    assert zoos.plan("digits", "tiny").name == "digits-tiny-shared-f2"
    assert zoos.plan("cifar10", "small").recipe == "fast"


def test_ours_stand_beside_the_published_cells_of_the_same_name():
    ours = {("inr2jls", "mnist"): "97.0", ("ours", "digits"): "1.0"}
    access = {("NFN", "MNIST"): "query", ("ours", "digits"): "query"}
    found = beside.part("Table", ours, published.TABLES["table1"], access)
    assert found.header[:4] == ["method", "access", "MNIST, here", "MNIST, published"]
    by_row = {row[0]: row for row in found.rows}
    assert by_row["INR2JLS"][1:4] == ["weights", "97.0", "98.6"]
    assert by_row["NG-T, 64 probes"][1] == by_row["ours"][1] == "query"
    assert by_row["NFN"][1] == "query (published: weights)"
    assert by_row["ours"][-1] == "1.0"
    assert len(found.rows) == 6
    assert [beside.number(value) for value in (54.0, 86.53, 0.93, 0.8743)] == ["54.0", "86.53", "0.930", "0.8743"]


def test_every_published_number_has_its_source():
    assert cells._sources(published.TABLES["table1"]) == f"{published.DNG} (second hand)"
    assert "NFN, NeurIPS 2023 (suspect): NFN-HNP; " in cells._sources(published.TABLES["table2"])


def test_a_figure_stands_beside_what_bounds_it():
    for metrics, text in (
        ({"kendall_tau test": [0.8, 0.82], "kendall_tau_max test": [0.99, 0.99]}, "0.8100 ± 0.0141 (at most 0.9900)"),
        ({"dilate: MSE x 1e-2 test": [2.0], "dilate: MSE x 1e-2 of doing nothing": [5.0]}, "2.0000 (unedited 5.0000)"),
        ({"test_accuracy %": [50.0]}, "50.0"),
    ):
        found = SimpleNamespace(metrics=metrics, headline=next(iter(metrics)), values=metrics.__getitem__)
        assert beside.in_words(found) == text


@pytest.mark.parametrize("table", cells.CELLS)
@pytest.mark.parametrize("scale", ["tiny", "small", "full"])
def test_every_cell_is_a_configuration_with_a_zoo(table, scale):
    made = cells.CELLS[table](scale)
    assert len({(cell.row, cell.column) for cell in made}) == len(made)
    for cell in made:
        config = cell.make()
        assert zoos.plan(config.reads, scale, column=cell.column, fit=cell.fit, init=cell.init).name
        if scale == "tiny" and config.encoder.name in ("ng_gnn", "ng_t"):  # whose own sizes are seconds a step
            assert all(stage.batch_size == 16 for name, stage in config.stages.items()), cell
            assert config.encoder.options.get("node_dim", config.encoder.options.get("dim")) <= 32, cell
    if scale != "tiny" and published.TABLES[table]:
        rows = {beside.key(cell.row) for cell in published.TABLES[table]}
        assert rows & {beside.key(cell.row) for cell in made} or not made
