"""`weightwalk reproduce` runs; what it says on a busy machine is no test."""

import json

import pytest


def test_the_command_has_the_published_cells_beside_ours(call, tmp_path):
    page = tmp_path / "page.html"
    found = json.loads(call("reproduce", "efficiency", "--quick", "--json", "--out", page).stdout)
    published = [row for row in found["rows"] if row["source"] == "published"]
    here = [row for row in found["rows"] if row["source"] == "here"]
    assert len(published) == 5 + 3
    assert all(row["recipe"] is None for row in published)
    assert all(row["recipe"] and row["ms"] > 0 and row["gflops"] > 0 for row in here)
    assert all(row["mb"] > row["parameters_mb"] > 0 for row in here)
    assert {row["does"] for row in here} == {"inference"}
    [nft] = [row for row in published if row["reader"] == "NFT"]
    assert (nft["ms"], nft["mb"], nft["gflops"]) == (52.7, 241, 10.60)
    [plain] = [row for row in here if row["table"].startswith("Table 5") and row["reader"] == "INR2JLS, plain form"]
    assert plain["gflops"] == pytest.approx(1.31, abs=0.05)  # so it is this that the paper counts
    assert all(title in page.read_text() for title in {row["table"] for row in found["rows"]})
    assert found["quick"]


def test_a_table_that_nobody_knows(call, tmp_path):
    for arguments, words in (
        (("table9",), "known: table1"),
        (("efficiency", "--out", tmp_path / "a.doc"), ".html"),
    ):
        result = call("reproduce", *arguments)
        assert result.exit_code == 2
        assert words in result.stderr
