"""A program of a trained reader says what the reader says, to those who have only the file."""

from __future__ import annotations

import importlib.util
import json

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

import weightwalk
from weightwalk import InputError, NetworkSpec
from weightwalk.encoders import EncoderConfig
from weightwalk.frameworks import export as exports
from weightwalk.frameworks.answers import Classes, Number, Share
from weightwalk.frameworks.export import FORMATS, SIZES, architecture, described, export
from weightwalk.frameworks.inr2jls import LatentSizes
from weightwalk.frameworks.pretrained import Description, Latents, Pretrained
from weightwalk.heads import HeadConfig
from weightwalk.networks import starts
from weightwalk.steps import Conv, Embed
from weightwalk.testing import random_weights, tiny_specs
from weightwalk.weights import Weights

SPEC = NetworkSpec.mlp([2, 4, 1])
RELU, TANH = (NetworkSpec.mlp([2, 4, 1], activation=name) for name in ("relu", "tanh"))
DNG = EncoderConfig.named("dng", dim=4, num_frequencies=2)
AWARE = EncoderConfig.named("dng", dim=4, num_frequencies=2, activation_embedding=True)
MLP = HeadConfig.named("mlp", hidden_dim=3)
SIZES_OF_LATENTS = LatentSizes(("identity", "hflip"), theta_dim=3, generator_dim=4, latent_dim=2, decoder_dim=3)
DESCRIPTIONS = {
    "classes": Description(
        (SPEC,), DNG, HeadConfig.named("latent_cnn", hidden_dim=4), Classes(labels=("a", "b")),
        Latents(SIZES_OF_LATENTS, (1, 8, 8)), task="inr_classification", zoo={"dataset": "digits"},
    ),
    "share": Description((RELU, TANH), EncoderConfig.named("statnn"), MLP, Share(of="accuracy")),
    "number": Description((SPEC,), EncoderConfig.named("flat"), MLP, Number(of="light", offset=3.0, scale=2.0)),
}  # fmt: skip


def model_of(description: Description) -> Pretrained:
    return Pretrained(description.build().eval(), description)


def run_torch(path, flat):
    files = {"weightwalk.json": ""}
    program = torch.export.load(path, extra_files=files).module()
    return program(flat).detach().numpy(), json.loads(files["weightwalk.json"])


def run_onnx(path, flat):
    onnx.checker.check_model(onnx.load(path), full_check=True)
    session = onnxruntime.InferenceSession(path)
    (given,), (got,) = session.get_inputs(), session.get_outputs()
    told = json.loads(session.get_modelmeta().custom_metadata_map["weightwalk"])
    assert given.name == told["input"]["name"]
    assert given.shape == told["input"]["shape"]
    assert got.name == told["output"]["name"]
    return session.run([told["output"]["name"]], {"weights": flat.numpy()})[0], told


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("name", DESCRIPTIONS)
def test_a_program_says_what_the_reader_says(tmp_path, name, kind):
    model = model_of(DESCRIPTIONS[name])
    path = tmp_path / f"model{FORMATS[kind].suffix}"
    made = export(model, path, kind)
    assert made.sizes == SIZES
    spec = model.description.specs[0]
    for count in (1, 3, 65):
        weights = random_weights(spec, count, seed=count)
        values, told = {"torch": run_torch, "onnx": run_onnx}[kind](str(path), weights.flat)
        assert values.dtype == np.float32
        np.testing.assert_allclose(values, model.values(weights), rtol=1e-4, atol=1e-5)
    assert told["weightwalk"] == weightwalk.__version__
    assert NetworkSpec.from_dict(told["spec"]) == spec
    assert told["output"] == {"name": made.output, "of": model.description.answer.subject}
    assert told["answer"].get("labels", []) == list(getattr(model.description.answer, "labels", ()))
    assert told["zoo"] == model.description.zoo
    content = path.read_bytes()
    assert weightwalk.__file__.removesuffix("__init__.py").encode() not in content
    assert b"decoder.layers.0.weight" not in content  # outputs don't come from it


@pytest.mark.parametrize("kind", FORMATS)
def test_a_program_that_says_something_else_leaves_no_file(tmp_path, monkeypatch, kind):
    model, form = model_of(DESCRIPTIONS["number"]), FORMATS[kind]
    path, load = tmp_path / f"model{form.suffix}", form.load
    path.write_bytes(b"an earlier one")
    for wrong in (lambda said: said + 0.02, lambda said: said[:1], lambda said: said * torch.nan):
        monkeypatch.setattr(form, "load", lambda self, path, wrong=wrong: lambda x: wrong(load(self, path)(x)))
        with pytest.raises(InputError, match=f"the {kind} program of .* nothing was written"):
            export(model, path, kind)
    assert [one.read_bytes() for one in tmp_path.iterdir()] == [b"an earlier one"]


def test_an_encoder_that_looks_at_values_is_refused(tmp_path, monkeypatch):
    model = model_of(DESCRIPTIONS["number"])
    encode = model.reader.encoder.encode
    looks = lambda networks: encode(networks) if networks.flat.sum() > 0 else -encode(networks)  # noqa: E731
    monkeypatch.setattr(model.reader.encoder, "encode", looks)
    with pytest.raises(InputError, match="must not depend on the values that it reads"):
        export(model, tmp_path / "model.pt2", "torch")
    assert not [*tmp_path.iterdir()]


def test_what_is_missing_is_told_with_its_remedy(tmp_path, monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "onnxruntime" else find(name))
    with pytest.raises(InputError, match=r"expected onnxruntime .*pip install 'weightwalk\[export\]'"):
        export(model_of(DESCRIPTIONS["number"]), tmp_path / "model.onnx", "onnx")
    FORMATS["torch"].check()


def test_one_architecture_is_chosen_or_asked_for():
    assert architecture(model_of(DESCRIPTIONS["share"])) == RELU  # statistics are the same whatever the activation
    aware = model_of(Description((RELU, TANH), AWARE, MLP, Share(of="accuracy")))
    assert architecture(aware, "tanh") == TANH
    with pytest.raises(InputError, match=r"on 2 \(MLP 2-4-1 \(relu\) with relu; MLP 2-4-1 \(tanh\) with tanh\)"):
        architecture(aware)
    with pytest.raises(InputError, match="unknown activation 'sine'; known: relu, tanh"):
        architecture(aware, "sine")
    several = tuple(NetworkSpec.mlp([2, width, 1]) for width in (3, 4, 5, 6))
    mixed = model_of(Description(several, DNG, MLP, Share(of="accuracy")))
    with pytest.raises(InputError, match=r"trained on 4 \(.*; \.\.\.\); choose by --spec"):
        architecture(mixed)
    with pytest.raises(InputError, match="3 inputs"):
        export(mixed, "nowhere.pt2", "torch", NetworkSpec.mlp([3, 4, 1]))


def test_networks_too_large_for_a_program_are_refused_and_large_ones_tried_in_small_batches(tmp_path, monkeypatch):
    model = model_of(DESCRIPTIONS["number"])
    network = 2 * 4 * SPEC.num_parameters * 4
    monkeypatch.setattr(exports.memory, "available", lambda: 10 * network)
    assert export(model, tmp_path / "model.pt2", "torch").sizes == (1, 2, 7)
    monkeypatch.setattr(exports.memory, "available", lambda: network - 1)
    with pytest.raises(InputError, match="a program that reads MLP 2-4-1"):
        export(model, tmp_path / "model.pt2", "torch")


TRANSPOSED = NetworkSpec((Conv(4, 6, kernel=(3, 2), groups=2, transposed=True), Conv(6, 3, kernel=(1, 1))))


@pytest.mark.parametrize("spec", [*tiny_specs().values(), TRANSPOSED], ids=str)
def test_the_metadata_say_how_a_state_dict_becomes_a_row_of_the_input(spec):
    weights = Weights(spec, starts.classifier(spec, starts.Key(0, 0, 0, 0)).flat)
    state = {name: tensor.numpy() for name, tensor in weights.to_state_dict().items()}
    model = model_of(Description((spec,), EncoderConfig.named("flat"), MLP, Share(of="accuracy")))
    row = np.full(spec.num_parameters, np.nan, np.float32)
    for entry in json.loads(json.dumps(described(model, spec, torch.float32)))["parameters"]:
        tensor = state.pop(entry["name"])
        assert list(tensor.shape) == entry["shape"]
        if "view" in entry:
            tensor = tensor.reshape(entry["view"]).transpose(entry["axes"])
        row[entry["start"] : entry["stop"]] = tensor.ravel()
    assert not state
    assert np.array_equal(row, weights.flat[0].numpy())


def test_some_of_these_specs_lie_in_another_order():
    kinds = {type(layer) for spec in (*tiny_specs().values(), TRANSPOSED) for layer in spec.layers}
    assert Embed in kinds
