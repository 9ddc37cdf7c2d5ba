"""Predicting accuracy end to end, on zoos that are made in a moment: every encoder, stopped and resumed, evaluated,
asked.
"""

from __future__ import annotations

import json
import re
from dataclasses import asdict, replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from weightwalk import InputError, NetworkSpec
from weightwalk.config import override
from weightwalk.encoders import EncoderConfig
from weightwalk.heads import HeadConfig
from weightwalk.symmetry import random_permutations
from weightwalk.tasks import TASKS, pages, stages
from weightwalk.tasks.generalization import metrics
from weightwalk.tasks.generalization.task import GeneralizationConfig, share_loss
from weightwalk.tasks.runs import Run
from weightwalk.tasks.stages import Data, HeadObjective
from weightwalk.tasks.supervised import describe, evaluate, read, train
from weightwalk.testing import assert_close, random_weights
from weightwalk.testing.trained import tiny_trained_zoo
from weightwalk.training import checkpoint
from weightwalk.training.stage import StageConfig
from weightwalk.zoos.store import Zoo

CPU = torch.device("cpu")
ENCODERS = {
    "dng": EncoderConfig.named("dng", dim=16, num_frequencies=8, scale=1.0, head_dim=8),
    "statnn": EncoderConfig.named("statnn"),
    "flat": EncoderConfig.named("flat"),
}
ENOUGH = {"dng": 0.5, "statnn": 0.5, "flat": -1.0}
STAGE = "regress"
STAGE_CONFIG = StageConfig(steps=120, batch_size=16, learning_rate=5e-3, schedule="cosine", eval_every=40)


def config(encoder: str, **changes) -> GeneralizationConfig:
    return replace(
        GeneralizationConfig(
            recipe="tiny",
            kind="cnn",
            encoder=ENCODERS[encoder],
            checkpoints="all",
            seed=0,
            loss="bce",
            head=HeadConfig.named("mlp", hidden_dim=32, num_hidden=2, dropout=0.1),
            regress=STAGE_CONFIG,
        ),
        **changes,
    )


@pytest.fixture(scope="module", params=[False, True], ids=["one architecture", "mixed"])
def zoo(request, tmp_path_factory) -> Zoo:
    return tiny_trained_zoo(tmp_path_factory.mktemp("zoos") / "zoo", mixed=request.param)


@pytest.fixture(scope="module", params=ENCODERS)
def trained(request, zoo, tmp_path_factory) -> Run:
    folder = tmp_path_factory.mktemp("runs") / "run"
    outcome = train(config(request.param), zoo, folder, device=CPU)[STAGE]
    assert outcome.finished
    return Run.open(folder)


def state(run: Run) -> dict:
    """All that a run holds, but for the time that it took."""
    found = {}
    for name in ("last", "best"):
        saved = checkpoint.load(run.path / STAGE / f"{name}.safetensors")
        found |= {f"{name}/{key}": tensor for key, tensor in saved.tensors.items()}
    return found | {"rows": [{k: v for k, v in row.items() if k != "seconds"} for row in run.logs()[STAGE]]}


def test_a_run_goes_from_a_zoo_to_an_evaluation(trained, zoo):
    found = evaluate(trained, zoo, device=CPU)
    assert asdict(found) == json.loads((trained.path / "evaluation.json").read_text())
    assert found == trained.evaluation(zoo)
    assert found.networks == {"train": 210, "val": 30, "test": 60}
    assert found.groups == {"train": 70, "val": 10, "test": 20}
    assert found.access == "weights"
    assert found.test["tau"] > ENOUGH[trained.config.encoder.name]
    groups = found.details["groups"]
    for row in groups["optimizer"]:
        assert row["networks"] == 30
    assert [row["value"] for row in groups["activation"]] == ["relu", "tanh"]
    assert [row["networks"] for row in groups["epoch"]] == [20, 20, 20]
    assert "learning_rate" not in groups

    answers = load_file(trained.path / "predictions.safetensors")
    assert answers["rows"].tolist() == zoo.rows("test").tolist()
    assert answers["true"].tolist() == zoo.column("test_accuracy")[zoo.rows("test")].tolist()
    assert found.test["tau"] <= found.details["tau_max"] == metrics.tau_max(answers["true"].numpy()) <= 1
    mae = float((answers["values"] - answers["true"]).abs().mean())
    assert found.test["mae"] == pytest.approx(mae, abs=1e-6)


def test_on_another_zoo_what_was_found_on_its_own_stays(trained, zoo, tmp_path):
    """And weights that give no number are named."""
    other = tiny_trained_zoo(tmp_path / "zoo", num_runs=20, mixed=len(zoo.specs) > 2, seed=1)
    if len(zoo.specs) == 2:
        own = evaluate(trained, zoo, device=CPU)
        found = evaluate(trained, other, device=CPU)
        assert found.networks == {"train": 210, "val": 6, "test": 12}
        assert found.groups == {"train": 70, "val": 2, "test": 4}
        assert trained.evaluation(other) == found != trained.evaluation(zoo) == own
        assert re.fullmatch(r"on-[0-9a-f]{10}", trained.folder(other).name)
    networks = [weights for _, weights in other.buckets(other.rows("test"))]
    networks[-1].flat[-1, 3] = np.inf
    with pytest.raises(InputError, match="network 11: its weights are not finite or too large"):
        trained.load().predict(networks)
    again = tiny_trained_zoo(tmp_path / "again", num_runs=20, mixed=len(zoo.specs) > 2)
    row = again.rows("test")[4]
    again._views = [memoryview(bytearray(view)) for view in again._views]
    at = again._at[row]
    again._views[again._view[row]][at : at + 4] = np.float32(np.nan).tobytes()
    for work in (lambda: evaluate(trained, again, device=CPU), lambda: read(trained.load(), again, again.rows("test"))):
        with pytest.raises(InputError, match=r"in run-9-e2; make|run-9-e2: the weights are not finite"):
            work()


def test_every_answer_is_of_its_own_row(trained, zoo):
    """Whatever buckets the rows fall into."""
    model, rows = trained.load(CPU), zoo.rows("test")
    together = read(model, zoo, rows)[0].numpy()
    order = np.random.default_rng(0).permutation(len(rows))
    np.testing.assert_allclose(read(model, zoo, rows[order])[0], together[order], atol=1e-5)
    for position in (0, 17, 41):
        (alone,) = model.predict(zoo.weights(rows[[position]]))
        assert alone["predicted"] == pytest.approx(together[position], abs=1e-5)


def test_the_order_of_hidden_neurons_changes_the_flat_baseline_alone(trained, zoo):
    model = trained.load(CPU)
    weights = zoo.buckets(zoo.rows("test")[:3])[0][1]
    permuted = weights.permute(
        random_permutations(weights.spec, len(weights), generator=torch.Generator().manual_seed(1))
    )
    before, after = (model.values(each) for each in (weights, permuted))
    if trained.config.encoder.name == "flat":
        assert (before - after).abs().max() > 1e-3
    else:
        assert_close(after, before, what="predictions", atol=1e-4, rtol=1e-3)


def test_stopped_anywhere_and_resumed_is_the_uninterrupted_run(trained, zoo, tmp_path):
    calls = 0

    def should_stop() -> bool:
        nonlocal calls
        calls += 1
        return calls % 49 == 0

    while not train(trained.config, zoo, tmp_path / "run", device=CPU, should_stop=should_stop)[STAGE].finished:
        assert calls < 200
    assert calls > 120
    one, two = state(trained), state(Run.open(tmp_path / "run"))
    assert one.keys() == two.keys()
    for key, value in one.items():
        assert torch.equal(value, two[key]) if isinstance(value, torch.Tensor) else value == two[key], key
    for run in (trained, Run.open(tmp_path / "run")):
        evaluate(run, zoo, device=CPU)
    names = [run.path / "predictions.safetensors" for run in (trained, Run.open(tmp_path / "run"))]
    assert names[0].read_bytes() == names[1].read_bytes()


def rows_of(zoo, split: str, checkpoints: str) -> np.ndarray:
    return TASKS["generalization"].rows(config("dng", checkpoints=checkpoints), zoo, split)


def test_checkpoints_of_a_run_are_in_one_split(zoo):
    runs = {split: set(zoo.groups[rows_of(zoo, split, "all")].tolist()) for split in ("train", "val", "test")}
    assert sum(map(len, runs.values())) == len(set.union(*runs.values())) == 100
    last = rows_of(zoo, "train", "last")
    assert set(zoo.column("epoch")[last].tolist()) == {4}
    assert zoo.groups[last].tolist() == sorted(runs["train"])


def objective_of(zoo, encoder: str, **changes) -> HeadObjective:
    """Of a fresh reader whose encoder has seen the training networks."""
    run_config = config(encoder, **changes)
    task = TASKS["generalization"]
    data = Data(zoo, task.rows(run_config, zoo, "train"), task.rows(run_config, zoo, "val"), CPU)
    description = describe(task, run_config, zoo, data.train)
    reader = description.build().eval()
    reader.encoder.prepare(data.batches(data.train))
    return task.stages(run_config, reader, description.answer, data)[0].objective(data)


def test_standardisation_comes_from_the_training_networks(zoo):
    features = objective_of(zoo, "statnn")._encode(zoo.rows("train"))
    varies = features.std(0) > 0
    assert varies.any()
    assert_close(features.mean(0), torch.zeros(features.shape[1]), what="mean", atol=1e-4)
    assert_close(features[:, varies].std(0, correction=0), torch.ones(int(varies.sum())), what="std", atol=1e-3)


@torch.no_grad()
def test_encodings_that_are_kept_and_those_that_are_not_give_the_same_losses(zoo, monkeypatch):
    for loss in ("bce", "mse"):
        torch.manual_seed(0)
        kept = objective_of(zoo, "statnn", loss=loss)
        assert kept._kept is not None
        monkeypatch.setattr(stages, "CACHE_BYTES", 0)
        torch.manual_seed(0)
        made = objective_of(zoo, "statnn", loss=loss)
        assert made._kept is None
        monkeypatch.undo()
        indices = torch.tensor([3, 200, 7, 7])
        assert_close(made.loss(indices), kept.loss(indices), what="loss")
        assert made.validate() == pytest.approx(kept.validate(), abs=1e-5)


def test_the_losses_are_what_they_say():
    logits, true = torch.tensor([0.0, 2.0, -1.0]), torch.tensor([0.5, 0.9, 0.1])
    p = logits.sigmoid()
    assert_close(share_loss(logits[:, None], true, "mse"), ((p - true) ** 2).mean(), what="mse")
    entropy = -(true * p.log() + (1 - true) * (1 - p).log()).mean()
    assert_close(share_loss(logits[:, None], true, "bce"), entropy, what="bce")


def test_the_page_shows_it_all(trained, zoo, tmp_path):
    evaluate(trained, zoo, device=CPU)
    page = pages.write(trained, zoo, tmp_path / "report.html", {"train the networks": 60.0}).read_text()
    for words in (
        "Kendall&#x27;s tau",
        "By optimizer.",
        "By activation",
        "The farthest off",
        "regress.learning_rate",
        "1 min 0 s",
        "tiny",
    ):
        assert words in page, words
    assert page.count("data:image/png") == 3 + (
        len(zoo.specs) > 2
    )  # by activation, by epoch, by layers if mixed, the curves
    other = tiny_trained_zoo(tmp_path / "other", num_runs=60, seed=3)
    with pytest.raises(InputError, match="expected the evaluation of a run on this zoo"):
        pages.write(trained, other, tmp_path / "other.html")
    changed = tiny_trained_zoo(tmp_path / "changed", num_runs=60)
    with pytest.raises(InputError, match="expected the evaluation of a run on this zoo"):
        pages.write(trained, changed, tmp_path / "report.html")


def test_other_settings_and_zoos_are_refused_and_named(trained, zoo, tmp_path):
    with pytest.raises(InputError, match=r"config.seed was 0, now 1; config.regress.steps was 120, now 70"):
        train(override(trained.config, ["seed=1", "regress.steps=70"]), zoo, trained.path, device=CPU)
    with pytest.raises(InputError, match=r"reads a zoo of the kind vit, got one of cnn; .* --set kind=cnn"):
        train(replace(trained.config, kind="vit"), zoo, tmp_path / "run", device=CPU)
    few = tiny_trained_zoo(tmp_path / "few", num_runs=5)
    with pytest.raises(
        InputError, match=r"expected validation networks of different values to tell in .*, got 0; add more"
    ):
        train(trained.config, few, tmp_path / "run", device=CPU)
    assert not (tmp_path / "run").exists()


def test_networks_that_it_does_not_know_are_refused(trained, tmp_path):
    model = trained.load(CPU)
    specs = model.description.specs
    spec = specs[0]
    other = NetworkSpec((replace(spec.steps[0], fan_in=3), *spec.steps[1:]))
    with pytest.raises(
        InputError, match=r"knows networks of 1 inputs and 3 outputs \(channels\), got 3 inputs and 3 outputs"
    ):
        model.predict(random_weights(other, 1, seed=0))
    if len(specs) == 2:  # two activations, one shape
        wide = NetworkSpec.mlp([1, 40, 3])
        with pytest.raises(InputError, match="reads networks"):
            model.predict(random_weights(wide, 1, seed=0))
    elif trained.config.encoder.name != "dng":
        wide = NetworkSpec.mlp([1, *[40] * 6, 3])
        with pytest.raises(InputError, match="reads networks of at most"):
            model.predict(random_weights(wide, 1, seed=0))
    coloured = tiny_trained_zoo(tmp_path / "zoo", num_runs=60, inputs=3)
    with pytest.raises(InputError, match="got 3 inputs and 3 outputs"):
        evaluate(trained, coloured, device=CPU)
