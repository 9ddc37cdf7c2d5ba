"""What all tasks share: what is checked before anything is written, what an evaluation belongs to, what is prepared."""

from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

import weightwalk
from weightwalk import InputError, config
from weightwalk.encoders import EncoderConfig
from weightwalk.frameworks.inr2jls import LatentSizes
from weightwalk.frameworks.reader import Reader
from weightwalk.heads import HeadConfig
from weightwalk.tasks import TASKS, stages
from weightwalk.tasks.inr_classification.task import EncoderOnlyConfig, INR2JLSConfig
from weightwalk.tasks.runs import Run
from weightwalk.tasks.stages import Data, HeadObjective, ModuleObjective
from weightwalk.tasks.supervised import describe, evaluate, read, train
from weightwalk.testing import assert_close, tiny_zoo
from weightwalk.training import checkpoint
from weightwalk.training.stage import StageConfig
from weightwalk.zoos.store import Zoo

CPU = torch.device("cpu")
CONFIG = EncoderOnlyConfig(
    recipe="tiny",
    encoder=EncoderConfig.named("statnn"),
    head=HeadConfig.named("mlp", hidden_dim=16, dropout=0.1),
    seed=0,
    dataset="tiny",
    fits=None,
    classify=StageConfig(steps=40, batch_size=8, learning_rate=1e-2, eval_every=20),
)


@pytest.fixture(scope="module")
def zoo(tmp_path_factory) -> Zoo:
    return tiny_zoo(tmp_path_factory.mktemp("zoos") / "zoo", num_images=60)


@pytest.fixture(scope="module", params=["statnn", "flat"])
def run(request, zoo, tmp_path_factory) -> Run:
    folder = tmp_path_factory.mktemp("runs") / "run"
    train(replace(CONFIG, encoder=EncoderConfig.named(request.param)), zoo, folder, device=CPU)
    return Run.open(folder)


def with_a_value(zoo: Zoo, path, row: int, value: float) -> Zoo:
    """A copy of a zoo in which one parameter of one row is another; its manifest knows."""
    shutil.copytree(zoo.path, path)
    manifest = json.loads((path / "manifest.json").read_text())
    (shard,) = (file for file in (path / "rows").glob("*.safetensors"))
    tensors = load_file(shard)
    tensors["params.0"][row, 3] = value
    save_file(tensors, shard)
    for entry in manifest["shards"]:
        if entry["table"] == "rows":
            entry["sha256"] = hashlib.sha256(shard.read_bytes()).hexdigest()
    del manifest["checksum"]
    (path / "manifest.json").write_text(json.dumps({**manifest, "checksum": config.fingerprint(manifest)}))
    return Zoo.open(path)


def test_encoders_of_inrs_see_the_training_networks_first(run, zoo):
    """StatNN and the flat baseline read standardised numbers, for INRs as for any networks."""
    encoder = run.load().reader.encoder
    features = encoder.encode(zoo.weights(zoo.rows("train")))
    varies = features.std(0) > 0
    assert varies.any()
    assert_close(features.mean(0), torch.zeros(features.shape[1]), what="mean", atol=1e-3)
    assert_close(features[:, varies].std(0, correction=0), torch.ones(int(varies.sum())), what="deviation", atol=1e-2)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_networks_that_are_not_finite_are_named_and_nothing_is_done(run, zoo, tmp_path, value):
    test, val = (int(zoo.rows(split)[1]) for split in ("test", "val"))
    for row, split in ((test, "test"), (val, "val")):
        broken = with_a_value(zoo, tmp_path / split, row, value)
        name = zoo.names([row])[0]
        with pytest.raises(InputError, match=f"got NaN or infinity in {name}; make the zoo again"):
            evaluate(run, broken, device=CPU)
        with pytest.raises(InputError, match=f"{name}: the weights are not finite"):
            read(run.load(), broken, broken.rows(split))
        with pytest.raises(InputError, match="network 1: its weights are not finite"):
            run.load().predict(broken.weights(broken.rows(split)))
        assert not run.folder(broken).exists()
    with pytest.raises(InputError, match=f"got NaN or infinity in {zoo.names([val])[0]}"):
        train(run.config, broken, tmp_path / "run", device=CPU)
    assert not (tmp_path / "run").exists()


def test_an_evaluation_belongs_to_what_is_in_a_zoo(run, zoo, tmp_path):
    """A larger zoo of equal settings does not replace the run's own evaluation."""
    found = evaluate(run, zoo, device=CPU)
    own = (run.path / "evaluation.json").read_bytes()
    larger = tiny_zoo(tmp_path / "larger", num_images=80)
    assert larger.settings == zoo.settings
    assert evaluate(run, larger, device=CPU).networks["test"] == 16
    assert run.folder(larger) != run.folder(zoo) == run.path
    assert (run.path / "evaluation.json").read_bytes() == own
    assert run.evaluation() == run.evaluation(zoo) == found != run.evaluation(larger)
    other = with_a_value(zoo, tmp_path / "other", int(zoo.rows("test")[0]), 0.25)
    assert run.folder(other) not in (run.path, run.folder(larger))
    moved = shutil.copytree(zoo.path, tmp_path / "moved")
    assert run.folder(Zoo.open(moved)) == run.path
    with pytest.raises(InputError, match=r"networks.train was 42, now 56"):
        train(run.config, larger, run.path, device=CPU)


def test_nothing_that_a_zoo_says_is_a_path(run, zoo, monkeypatch):
    monkeypatch.setitem(zoo.settings, "dataset", "x/../../../outside")
    monkeypatch.setitem(vars(zoo.manifest), "fingerprint", "../../outside")
    folder = run.folder(zoo)
    assert folder.parent == run.path
    assert set(folder.name) <= set("on-0123456789abcdef")


@pytest.mark.parametrize(
    ("setting", "sentence"),
    [
        ("encoder.dropout=2", "dropout"),
        ("head.dropout=1", "dropout must be a number of at least 0 and below 1"),
        ("head.hidden_dim=0", "hidden_dim must be a number of at least 1"),
        ("head=latent_cnn", "reads a map for each view"),
    ],
)
def test_a_model_that_cannot_be_leaves_nothing_behind(zoo, tmp_path, setting, sentence):
    begun = replace(CONFIG, encoder=EncoderConfig.named("dng", dim=4, num_frequencies=2))
    with pytest.raises(InputError, match=sentence):
        train(config.override(begun, [setting]), zoo, tmp_path / "run", device=CPU)
    assert not (tmp_path / "run").exists()
    short = replace(begun, classify=replace(CONFIG.classify, steps=1))
    assert train(short, zoo, tmp_path / "run", device=CPU)["classify"].finished


def stage_of(zoo: Zoo, encoder: str) -> tuple[Reader, stages.Stage, Data]:
    begun = replace(CONFIG, encoder=EncoderConfig.named(encoder))
    task = TASKS[begun.task]
    data = Data(zoo, task.rows(begun, zoo, "train"), task.rows(begun, zoo, "val"), CPU)
    description = describe(task, begun, zoo, data.train)
    reader = description.build()
    return reader, task.stages(begun, reader, description.answer, data)[0], data


def test_objectives_call_the_module_as_it_is_given(zoo):
    """So it can be wrapped: its own forward is called, and its encoder and head by nothing else."""

    class Wrapped(torch.nn.Module):
        def __init__(self, module):
            super().__init__()
            self.inner, self.calls = module, 0

        def forward(self, networks):
            self.calls += 1
            return self.inner(networks)

    reader, stage, data = stage_of(zoo, "dng")
    wrapped = Wrapped(reader)
    objective = replace(stage, module=wrapped).objective(data)
    assert isinstance(objective, ModuleObjective)
    objective.loss(torch.arange(4)).backward()
    assert wrapped.calls == 1
    assert all(parameter.grad is not None for parameter in reader.parameters())
    with torch.no_grad():
        objective.validate()
    assert wrapped.calls == 2


@torch.no_grad()
def test_an_encoder_without_parameters_is_read_once(zoo, monkeypatch):
    reader, stage, data = stage_of(zoo, "statnn")
    objective = stage.objective(data)
    assert isinstance(objective, HeadObjective)
    assert objective.model is reader.head
    objective.validate()
    monkeypatch.setattr(reader.encoder, "encode", lambda networks: pytest.fail("read again"))
    objective.loss(torch.arange(4))
    objective.validate()


def test_a_zoo_is_read_in_three_lines(run, zoo):
    rows = zoo.rows("test")
    answers = weightwalk.load(run.path).predict(zoo.weights(rows))
    accuracy = np.mean(
        [one["class"] == zoo.label_names[zoo.labels[row]] for one, row in zip(answers, rows, strict=True)]
    )
    assert accuracy == evaluate(run, zoo, device=CPU).test["accuracy"]


def test_a_run_that_was_killed_before_its_model_was_written_writes_it(run, zoo, tmp_path):
    again = shutil.copytree(run.path, tmp_path / "run")
    (again / "model.safetensors").unlink()
    assert train(run.config, zoo, again, device=CPU)["classify"].finished
    assert (again / "model.safetensors").read_bytes() == (run.path / "model.safetensors").read_bytes()


@pytest.mark.parametrize("head", ["mlp", "latent_cnn"])
def test_any_head_reads_latents(zoo, tmp_path, head):
    """One that averages over views is trained on views, another on networks."""
    short = replace(CONFIG.classify, steps=2)
    latents = LatentSizes(theta_dim=3, generator_dim=4, latent_dim=2, decoder_dim=3)
    dng, named = EncoderConfig.named("dng", dim=4, num_frequencies=2), HeadConfig.named(head)
    begun = INR2JLSConfig("tiny", dng, named, 0, "tiny", None, latents, short, short)
    train(begun, zoo, tmp_path / "run", device=CPU)
    last = checkpoint.load(tmp_path / "run" / "classify" / "last.safetensors")
    assert last.metadata["settings"]["num_samples"] == 42 * (6 if head == "latent_cnn" else 1)
    assert len(weightwalk.load(tmp_path / "run").predict(zoo.weights([0, 1]))) == 2
