"""Predicting accuracy end to end, on zoos that are made in a moment: every encoder, stopped and resumed, evaluated,
asked.
"""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from weightwalk.tasks.generalization.config import GeneralizationConfig
from weightwalk.tasks.generalization.model import AccuracyObjective, Data, networks, rows_of
from weightwalk.tasks.generalization.run import STAGE, Run, evaluate, predict, predict_rows, train

from weightwalk import InputError, NetworkSpec
from weightwalk.config import override
from weightwalk.encoders import EncoderConfig
from weightwalk.symmetry import random_permutations
from weightwalk.tasks.generalization import model as models
from weightwalk.tasks.generalization import report
from weightwalk.testing import assert_close, random_weights
from weightwalk.testing.trained import tiny_trained_zoo
from weightwalk.training import checkpoint
from weightwalk.training.stage import StageConfig
from weightwalk.zoos.trained.store import TrainedZoo

CPU = torch.device("cpu")
ENCODERS = {
    "dng": EncoderConfig.named("dng", dim=16, num_frequencies=8, scale=1.0, head_dim=8),
    "statnn": EncoderConfig.named("statnn"),
    "flat": EncoderConfig.named("flat"),
}
ENOUGH = {"dng": 0.5, "statnn": 0.5, "flat": -1.0}
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
            head_dim=32,
            head_dropout=0.1,
            regress=STAGE_CONFIG,
        ),
        **changes,
    )


@pytest.fixture(scope="module", params=[False, True], ids=["one architecture", "mixed"])
def zoo(request, tmp_path_factory) -> TrainedZoo:
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
    assert found == json.loads((trained.path / "evaluation.json").read_text()) == trained.evaluation(zoo.settings)
    assert found["networks"] == {"train": 210, "val": 30, "test": 60}
    assert found["runs"] == {"train": 70, "val": 10, "test": 20}
    assert found["access"] == "weights"
    assert found["test"]["tau"] > ENOUGH[trained.config.encoder.name]
    for row in found["groups"]["optimizer"]:
        assert row["networks"] == 30
    assert [row["value"] for row in found["groups"]["activation"]] == ["relu", "tanh"]
    assert [row["networks"] for row in found["groups"]["epoch"]] == [20, 20, 20]
    assert "learning_rate" not in found["groups"]

    answers = load_file(trained.path / "predictions.safetensors")
    assert answers["rows"].tolist() == zoo.rows("test").tolist()
    assert answers["true"].tolist() == zoo.column("test_accuracy")[zoo.rows("test")].tolist()
    mae = float((answers["predicted"] - answers["true"]).abs().mean())
    assert found["test"]["mae"] == pytest.approx(mae, abs=1e-6)


def test_on_another_zoo_what_was_found_on_its_own_stays(trained, zoo, tmp_path):
    """And weights that give no number are named."""
    other = tiny_trained_zoo(tmp_path / "zoo", num_runs=20, mixed=len(zoo.specs) > 2, seed=1)
    if len(zoo.specs) == 2:
        own = trained.evaluation(zoo.settings)
        found = evaluate(trained, other, device=CPU)
        assert (found["networks"], found["runs"]) == (
            {"train": 210, "val": 6, "test": 12},
            {"train": 70, "val": 2, "test": 4},
        )
        assert trained.evaluation(other.settings) == found != trained.evaluation(zoo.settings) == own
        assert len(trained.predictions(other.settings)["rows"]) == 12
        assert (trained.answers(other.settings) / "evaluation.json").parent.name.startswith(
            f"on-{other.settings['dataset']}-"
        )
    other._views = [np.full_like(view, np.nan) for view in other._views]
    with pytest.raises(InputError, match="run-8-e1: the weights are not finite or too large"):
        predict_rows(trained.load(CPU), other, other.rows("test"))


def test_every_answer_is_of_its_own_row(trained, zoo):
    """Whatever buckets the rows fall into."""
    model, rows = trained.load(CPU), zoo.rows("test")
    together = predict_rows(model, zoo, rows)
    order = np.random.default_rng(0).permutation(len(rows))
    np.testing.assert_allclose(predict_rows(model, zoo, rows[order]), together[order], atol=1e-5)
    for position in (0, 17, 41):
        alone = predict(model, [weights for _, weights in zoo.buckets(rows[[position]])])
        assert alone == pytest.approx([together[position]], abs=1e-5)


def test_the_order_of_hidden_neurons_changes_the_flat_baseline_alone(trained, zoo):
    model = trained.load(CPU)
    weights = zoo.buckets(zoo.rows("test")[:3])[0][1]
    permuted = weights.permute(
        random_permutations(weights.spec, len(weights), generator=torch.Generator().manual_seed(1))
    )
    before, after = (torch.tensor(predict(model, [each])) for each in (weights, permuted))
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


def test_checkpoints_of_a_run_are_in_one_split(zoo):
    runs = {split: set(zoo.column("run")[rows_of(zoo, split, "all")].tolist()) for split in ("train", "val", "test")}
    assert sum(map(len, runs.values())) == len(set.union(*runs.values())) == 100
    last = rows_of(zoo, "train", "last")
    assert set(zoo.column("epoch")[last].tolist()) == {4}
    assert zoo.column("run")[last].tolist() == sorted(runs["train"])


def test_standardisation_comes_from_the_training_networks(zoo):
    data = Data(zoo, rows_of(zoo, "train", "all"), rows_of(zoo, "val", "all"), CPU)
    model = models.build(config("statnn"), zoo.specs, CPU)
    model.encoder.prepare(networks(data, data.train))
    features = model.encode(zoo, data.train, CPU)
    varies = features.std(0) > 0
    assert varies.any()
    assert_close(features.mean(0), torch.zeros(features.shape[1]), what="mean", atol=1e-4)
    assert_close(features[:, varies].std(0, correction=0), torch.ones(int(varies.sum())), what="std", atol=1e-3)


@torch.no_grad()
def test_encodings_that_are_kept_and_those_that_are_not_give_the_same_losses(zoo, monkeypatch):
    data = Data(zoo, rows_of(zoo, "train", "all"), rows_of(zoo, "val", "all"), CPU)
    for loss in ("bce", "mse"):
        model = models.build(config("statnn"), zoo.specs, CPU).eval()
        kept = AccuracyObjective(model, data, loss)
        assert kept._encodings
        monkeypatch.setattr(models, "CACHE_BYTES", 0)
        made = AccuracyObjective(model, data, loss)
        assert not made._encodings
        monkeypatch.undo()
        indices = torch.tensor([3, 200, 7, 7])
        assert_close(made.loss(indices), kept.loss(indices), what="loss")
        assert made.validate() == pytest.approx(kept.validate(), abs=1e-5)


def test_the_losses_are_what_they_say():
    logits, true = torch.tensor([0.0, 2.0, -1.0]), torch.tensor([0.5, 0.9, 0.1])
    p = logits.sigmoid()
    assert_close(models.share_loss(logits, true, "mse"), ((p - true) ** 2).mean(), what="mse")
    entropy = -(true * p.log() + (1 - true) * (1 - p).log()).mean()
    assert_close(models.share_loss(logits, true, "bce"), entropy, what="bce")


def test_the_page_shows_it_all(trained, zoo, tmp_path):
    evaluate(trained, zoo, device=CPU)
    page = report.write(trained, zoo, tmp_path / "report.html", {"train the networks": 60.0}).read_text()
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
        report.write(trained, other, tmp_path / "other.html")
    changed = tiny_trained_zoo(tmp_path / "changed", num_runs=60)
    with pytest.raises(InputError, match="or a changed one; evaluate again"):
        report.write(trained, changed, tmp_path / "report.html")


def test_other_settings_and_zoos_are_refused_and_named(trained, zoo, tmp_path):
    with pytest.raises(InputError, match=r"config.seed was 0, now 1; config.regress.steps was 120, now 70"):
        train(override(trained.config, ["seed=1", "regress.steps=70"]), zoo, trained.path, device=CPU)
    with pytest.raises(InputError, match=r"reads a zoo of the kind vit, got one of cnn; .* --set kind=cnn"):
        train(replace(trained.config, kind="vit"), zoo, tmp_path / "run", device=CPU)
    few = tiny_trained_zoo(tmp_path / "few", num_runs=5)
    with pytest.raises(
        InputError, match=r"expected validation networks of different test accuracy in .*, got 0; add runs"
    ):
        train(trained.config, few, tmp_path / "run", device=CPU)
    assert not (tmp_path / "run").exists()


def test_networks_that_it_does_not_know_are_refused(trained, tmp_path):
    model = trained.load(CPU)
    spec = trained.specs[0]
    other = NetworkSpec((replace(spec.steps[0], fan_in=3), *spec.steps[1:]))
    with pytest.raises(
        InputError, match=r"knows networks of 1 inputs and 3 outputs \(channels\), got 3 inputs and 3 outputs"
    ):
        predict(model, [random_weights(other, 1, seed=0)])
    if len(trained.specs) == 2:  # two activations, one shape
        wide = NetworkSpec.mlp([1, 40, 3])
        with pytest.raises(InputError, match="reads networks"):
            predict(model, [random_weights(wide, 1, seed=0)])
    elif trained.config.encoder.name != "dng":
        wide = NetworkSpec.mlp([1, *[40] * 6, 3])
        with pytest.raises(InputError, match="reads networks of at most"):
            predict(model, [random_weights(wide, 1, seed=0)])
    coloured = tiny_trained_zoo(tmp_path / "zoo", num_runs=60, inputs=3)
    with pytest.raises(InputError, match="got 3 inputs and 3 outputs"):
        evaluate(trained, coloured, device=CPU)
