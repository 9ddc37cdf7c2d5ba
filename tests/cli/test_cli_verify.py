"""`weightwalk verify` to people and to programs."""

from __future__ import annotations

import json

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

KEYS = {"zoo", "ok", "problems", "files", "bytes", "kind", "rows", "groups", "counts", "looked_at", "worst", "why_not"}


def shard(zoo, kind="rows"):
    return next((zoo / kind).glob("*.safetensors"))


def errors(result):
    return [line.removeprefix("error: ") for line in result.stderr.splitlines() if line.startswith("error: ")]


def test_a_zoo_that_is_well(call, shared_zoo):
    result = call("verify", shared_zoo)
    assert result.exit_code == 0
    for words in (
        "all as they were written",
        "lacking",
        "60 INRs of 60 images in 3 files",
        "60 evaluated anew are what it says",
    ):
        assert words in result.stdout
    assert "hashing MiB 1/1" in result.stderr
    assert "rendering 60/60" in result.stderr

    values = json.loads(call("verify", shared_zoo, "--json", "--sample", 7).stdout)
    assert set(values) == KEYS
    assert (values["ok"], values["problems"], values["files"], values["looked_at"]) == (True, [], 3, 7)
    assert [(count["split"], count["rows"]) for count in values["counts"]] == [("train", 42), ("val", 6), ("test", 12)]

    quiet = call("verify", shared_zoo, "--quiet")
    assert (len(quiet.stdout.splitlines()), quiet.stderr) == (1, "")


def test_it_changes_nothing(call, zoo):
    before = {path: (path.stat().st_mtime_ns, path.stat().st_size) for path in zoo.rglob("*")}
    assert call("verify", zoo).exit_code == 0
    assert {path: (path.stat().st_mtime_ns, path.stat().st_size) for path in zoo.rglob("*")} == before


def test_every_problem_is_a_sentence(call, zoo):
    tensors = load_file(shard(zoo))
    tensors["psnr"][7] -= 1
    save_file(tensors, shard(zoo))
    (zoo / "notes.txt").write_text("words")
    for arguments in ((), ("--quiet",), ("--json",)):
        result = call("verify", zoo, *arguments)
        assert result.exit_code == 2
        assert "Traceback" not in result.output
        first, second, third = errors(result)
        assert str(shard(zoo)) in first
        assert "is not as it was written" in first
        assert "notes.txt is not in the manifest" in second
        assert "all-7-f0" in third
        assert "are not what the zoo says" in third
    values = json.loads(call("verify", zoo, "--json").stdout)
    assert set(values) == KEYS
    assert not values["ok"]
    assert [(problem["what"], problem["rows"]) for problem in values["problems"]] == [
        ("changed", []),
        ("stranger", []),
        ("figures", ["all-7-f0"]),
    ]
    assert call("verify", zoo).stdout == ""


@pytest.mark.parametrize("kind", ["sources", "rows"])
def test_the_remedy_works(call, zoo, kind):
    before = shard(zoo, kind).read_bytes()
    shard(zoo, kind).write_bytes(before[:-1] + bytes([before[-1] ^ 1]))
    sentences = errors(call("verify", zoo))
    assert sentences
    for sentence in sentences:
        assert sentence.startswith(str(shard(zoo, kind)))
        assert sentence.endswith("delete it and run the command that made the zoo again, which puts it back")
    shard(zoo, kind).unlink()
    assert (
        call("fit", "digits", "--out", zoo, "--limit", 60, "--recipe", "tiny", "--init", "shared", "-q").exit_code == 0
    )
    assert shard(zoo, kind).read_bytes() == before
    assert call("verify", zoo).exit_code == 0


def test_a_broken_manifest_is_a_problem_and_no_zoo_is_an_error(call, zoo, tmp_path):
    (zoo / "manifest.json").write_text("{")
    values = json.loads(call("verify", zoo, "--json").stdout)
    assert [problem["file"] for problem in values["problems"]] == ["manifest.json"]
    for path in (tmp_path, tmp_path / "none"):
        result = call("verify", path, "--json")
        assert result.exit_code == 2
        assert list(json.loads(result.stdout)) == ["error"]
    assert call("verify", zoo, "--sample", "-1").exit_code == 2


def test_networks_that_nobody_can_render(call, tmp_path):
    from weightwalk import NetworkSpec
    from weightwalk.zoos.writer import ZooWriter

    settings = {
        **{"kind": "inr", "dataset": "x", "spec": NetworkSpec.mlp([2, 3, 1]).to_dict()},
        **{"image_shape": [1, 2, 2], "image_dtype": "uint8", "label_names": ["a"]},
    }
    figures = {"psnr": "float32"}
    writer = ZooWriter.open(tmp_path / "zoo", settings=settings, figures=figures, provenance={}, sources=True)
    writer.add_sources("all", np.arange(3), np.zeros((3, 1, 2, 2), np.uint8), np.zeros(3, np.int64))
    result = call("verify", tmp_path / "zoo", "-q")
    assert result.exit_code == 0
    assert "none was evaluated" in result.stdout
    assert "3 images have no fit yet" in result.stdout


def test_no_sample_is_no_claim(call, shared_zoo):
    assert "none was evaluated" in call("verify", shared_zoo, "--sample", 0, "--quiet").stdout
