"""`export` of trained runs, as people type it and as programs use what it wrote."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys

import numpy as np
import torch

import weightwalk
from weightwalk.zoos.store import Zoo

PLAIN = """
import json, sys
import numpy as np, onnxruntime
session = onnxruntime.InferenceSession(sys.argv[1])
told = json.loads(session.get_modelmeta().custom_metadata_map["weightwalk"])
probabilities = session.run(["probabilities"], {"weights": np.load(sys.argv[2])})[0]
assert not {"torch", "weightwalk"} & {*sys.modules}
print(json.dumps([told["answer"]["labels"][best] for best in probabilities.argmax(1)]))
"""


def test_both_programs_of_a_run_beside_it(call, run, shared_zoo, tmp_path):
    found = json.loads(call("export", run, "--json").stdout)
    assert [(one["path"], one["format"], one["output"], one["sizes"]) for one in found["programs"]] == [
        (f"{run}/model.pt2", "torch", "probabilities", [1, 2, 7, 64]),
        (f"{run}/model.onnx", "onnx", "probabilities", [1, 2, 7, 64]),
    ]
    for one in found["programs"]:
        assert one["difference"] <= found["tolerance"]["absolute"] + found["tolerance"]["relative"]
    zoo = Zoo.open(shared_zoo)
    weights = zoo.weights(zoo.rows("test"))
    np.save(tmp_path / "weights.npy", weights.flat.numpy())
    said = subprocess.run(
        [sys.executable, "-c", PLAIN, run / "model.onnx", tmp_path / "weights.npy"],
        capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    reader = weightwalk.load(run)
    assert json.loads(said) == [answer["class"] for answer in reader.predict(weights)]
    program = torch.export.load(run / "model.pt2").module()
    torch.testing.assert_close(program(weights.flat).double(), reader.values(weights), rtol=1e-4, atol=1e-5)
    assert call("evaluate", run, "--quiet").exit_code == 0  # nobody minds them in the run's folder
    table = call("export", run, "--out", tmp_path / "mine.pt2").stdout
    assert "weights (networks, " in table
    assert "allowed" in table
    assert (tmp_path / "mine.pt2").exists()


def test_the_model_file_alone_is_enough(call, run, tmp_path):
    (run / "model.safetensors").rename(tmp_path / "reader.safetensors")
    result = call("export", tmp_path / "reader.safetensors", "torch", "-q")
    assert result.stdout == f"wrote {tmp_path}/model.pt2\n"
    assert not result.stderr


def test_what_can_t_be_exported_is_told_in_a_sentence(call, run, shared_zoo, tmp_path, monkeypatch):
    find = importlib.util.find_spec
    (tmp_path / "spec.json").write_text(json.dumps(weightwalk.NetworkSpec.mlp([3, 4, 1]).to_dict()))
    for arguments, words in [
        ((run, "--to", "onxx"), "unknown format 'onxx'; known: torch, onnx; did you mean 'onnx'?"),
        ((run, "onnx", "--to", "torch"), "FORMAT was given twice, as onnx and as torch"),
        ((run, "onnx", "--out", tmp_path / "model.pt2"), "expected a .onnx as --out"),
        ((run, "--out", tmp_path / "model.txt"), "expected a .pt2 as --out"),
        ((run, "--out", shared_zoo / "model.pt2"), "lies in a zoo"),
        ((run, "torch", "--spec", tmp_path / "spec.json"), "got 3 inputs and 1 outputs"),
        ((run, "torch", "--spec", shared_zoo), "expected a spec .json or a file of one network's parameters"),
        ((run, "torch", "--activation", "relu"), "unknown activation 'relu'; known: sine"),
        ((tmp_path / "nowhere", "torch"), "found no such file"),
        ((shared_zoo,), "expected whose files to write and where to"),
        ((shared_zoo, "onnx", tmp_path / "out"), "unknown layout 'onnx'"),
        ((run, "nfn", tmp_path / "out"), "expected a zoo's manifest"),
    ]:
        result = call("export", *arguments)
        assert result.exit_code == 2, arguments
        assert words in result.stderr.splitlines()[-1], result.stderr
        assert [*json.loads(call("export", *arguments, "--json").stdout)] == ["error"]
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "onnx" else find(name))
    result = call("export", run)
    assert result.exit_code == 2
    assert "pip install 'weightwalk[export]'" in result.stderr
    assert {path.name for path in tmp_path.iterdir()} == {"run", "spec.json"}
    assert not [*run.glob("*.pt2"), *run.glob("*.onnx")]
