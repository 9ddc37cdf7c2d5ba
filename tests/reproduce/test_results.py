"""docs/results.md: what the generator makes of the committed rows; and how it lays ours beside what is published."""

import importlib.util
from dataclasses import replace
from pathlib import Path

import pytest

from weightwalk.report.tables import ResultRow
from weightwalk.reproduce import published, results

ROOT = Path(__file__).parents[2]
ROW = ResultRow(
    *("inr_classification", "mnist", "fast@1", "INR2JLS", "weights", "independent", 2, "test_accuracy %"),
    *(97.25, 0.5, (0, 1), "mnist_inr2jls_small@2", "abc", "here", 12.0),
)


def line(page: str, *words: str) -> list[str]:
    """The cells of the one line that has all words."""
    [found] = [line for line in page.splitlines() if all(word in line for word in words)]
    return [cell.strip() for cell in found.strip("|").split("|")]


def test_the_committed_page_is_what_the_generator_makes():
    spec = importlib.util.spec_from_file_location("benchmarks_results", ROOT / "benchmarks" / "results.py")
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    assert script.PAGE.read_text() == script.made(), "run python benchmarks/results.py"


def test_ours_have_the_published_number_of_their_name_and_what_was_spent():
    page = results.page({"inr_classification": [ROW, replace(ROW, metric="steps of classify", value=500.0, std=None)]})
    assert line(page, "INR2JLS", "97.2 ± 0.5")[:4] == ["INR2JLS", "weights", "97.2 ± 0.5", "98.6"]
    assert line(page, "INR2JLS", "97.2 ± 0.5")[-3:] == ["500", "12.0", "mnist_inr2jls_small@2, abc"]
    assert all(trap in page for trap in published.TRAPS)
    assert "(recalled)" in line(page, "NG-T, K = 0", "92.4 ± 0.3")[-1]
    again = results.page({"inr_classification": [ROW, replace(ROW, method="the same run")]})
    assert "the same run" not in again  # one run, which two tables have
    dws = replace(ROW, zoo="dws@1", value=11.5)
    page = results.page({"inr_classification": [ROW, dws]})
    assert page.index("97.2") < page.index("### MNIST, test accuracy %, INRs by the DWS") < page.index("11.5")


def test_two_formulations_of_editing_never_share_a_table():
    weights = replace(ROW, task="inr_editing", method="NG-T, K = 64", metric="dilate: MSE x 1e-2 test", value=1.9)
    decoded = replace(
        weights, method="INR2JLS", metric="dilate, decoded: MSE in [-1, 1] test", value=0.0123, recipe="r@3"
    )
    page = results.page(
        {"inr_editing": [weights, replace(weights, metric="dilate: MSE in [-1, 1] test", value=0.076), decoded]}
    )
    first, second = page.split("## Decoding the edited picture")
    assert line(first, "NG-T, K = 64", "1.90")[3] == "1.75"
    assert "0.0123" not in first
    assert "0.0123" in second
    assert "1.75" not in second


def test_tau_stands_beside_the_largest_that_ties_allow():
    tau = replace(ROW, task="generalization", dataset="svhn", zoo="cnn@1", method="dng", metric="kendall_tau test")
    most = replace(tau, metric="kendall_tau_max test", value=0.9, std=None)
    page = results.page({"generalization": [replace(tau, value=0.45), most]})
    assert line(page, "DNG-Encoder", "0.450")[2:5] == ["0.450 ± 0.500", "0.900", "0.500"]
    assert "(suspect)" in line(page, "NFN-HNP", "0.931")[-1]


def test_notes_stand_below_the_tables_of_their_heading():
    notes = "said to nobody\n\n## Efficiency\nBelow.\n\n## Is it the graph?\nLast.\n"
    page = results.page({}, notes)
    assert "said to nobody" not in page
    assert page.index("### Table 8") < page.index("Below.") < page.index("## Is it the graph?\nLast.")


@pytest.mark.parametrize("table", published.TABLES)
def test_no_cell_is_published_twice(table):
    places = [(cell.row, cell.column) for cell in published.TABLES[table]]
    assert len(set(places)) == len(places)
    assert table in published.TITLES
