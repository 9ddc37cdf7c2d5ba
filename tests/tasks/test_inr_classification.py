"""The task end to end, on a zoo that is made in a moment: both methods, stopped and resumed, evaluated, asked about
networks.
"""

import json
import shutil
from dataclasses import asdict, replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from weightwalk import InputError, NetworkSpec
from weightwalk.config import override
from weightwalk.encoders import EncoderConfig
from weightwalk.frameworks.inr2jls import LatentSizes
from weightwalk.frameworks.reader import Reader
from weightwalk.heads import HeadConfig
from weightwalk.symmetry import random_permutations
from weightwalk.tasks import TASKS, pages, stages
from weightwalk.tasks.inr_classification.task import EncoderOnlyConfig, INR2JLSConfig
from weightwalk.tasks.runs import Run
from weightwalk.tasks.stages import Data, HeadObjective, Stage
from weightwalk.tasks.supervised import describe, evaluate, train
from weightwalk.testing import assert_close, random_weights, tiny_zoo
from weightwalk.training import checkpoint
from weightwalk.training.stage import StageConfig
from weightwalk.zoos.images import ImageSet
from weightwalk.zoos.inr.engine import Descent
from weightwalk.zoos.inr.fit import fit_zoo
from weightwalk.zoos.inr.recipe import FitRecipe
from weightwalk.zoos.store import Zoo

CPU = torch.device("cpu")
ENCODER = EncoderConfig.named("dng", dim=8, num_frequencies=4, dropout=0.1)
STAGE = StageConfig(steps=60, batch_size=8, learning_rate=1e-2, eval_every=20)
CONFIGS = {
    "inr2jls": INR2JLSConfig(
        recipe="tiny",
        dataset="tiny",
        encoder=ENCODER,
        fits=None,
        seed=0,
        head=HeadConfig.named("latent_cnn", hidden_dim=16),
        latents=LatentSizes(theta_dim=5, generator_dim=8, latent_dim=6, decoder_dim=8),
        pretrain=STAGE,
        classify=STAGE,
    ),
    "encoder": EncoderOnlyConfig(
        recipe="tiny",
        dataset="tiny",
        encoder=ENCODER,
        fits=None,
        seed=0,
        head=HeadConfig.named("mlp", hidden_dim=16, dropout=0.1),
        classify=STAGE,
    ),
}


@pytest.fixture(scope="module")
def zoo(tmp_path_factory) -> Zoo:
    return tiny_zoo(tmp_path_factory.mktemp("zoos") / "zoo", num_images=60, fits=2)


@pytest.fixture(scope="module", params=CONFIGS)
def trained(request, zoo, tmp_path_factory):
    """A finished run of each method, and its outcomes."""
    folder = tmp_path_factory.mktemp("runs") / request.param
    outcomes = train(CONFIGS[request.param], zoo, folder, device=CPU)
    return Run.open(folder), outcomes


def state(run: Run) -> dict:
    """All that a run holds, but for the time that it took."""
    found = {}
    for stage in run.config.stages:
        for name in ("last", "best"):
            saved = checkpoint.load(run.path / stage / f"{name}.safetensors")
            found |= {f"{stage}/{name}/{key}": tensor for key, tensor in saved.tensors.items()}
        found[f"{stage}/rows"] = [{k: v for k, v in row.items() if k != "seconds"} for row in run.logs()[stage]]
    return found


def classify(run: Run, weights) -> torch.Tensor:
    """Probabilities (B, K)."""
    return run.load().values(weights).float()


def assert_same_state(one: dict, two: dict) -> None:
    assert one.keys() == two.keys()
    for key, value in one.items():
        assert torch.equal(value, two[key]) if isinstance(value, torch.Tensor) else value == two[key], key


def test_a_run_goes_from_a_zoo_to_an_evaluation(trained, zoo):
    run, outcomes = trained
    assert all(outcome.finished and outcome.steps == 60 for outcome in outcomes.values())
    assert list(outcomes) == list(run.config.stages)
    found = evaluate(run, zoo, device=CPU)
    assert asdict(found) == json.loads((run.path / "evaluation.json").read_text())
    assert found == run.evaluation(zoo) == run.evaluation()
    assert found.networks == {"train": 84, "val": 6, "test": 12}
    assert found.groups == {"train": 42, "val": 6, "test": 12}
    assert (found.access, found.details["init"]) == ("weights", "shared")
    assert np.array(found.details["confusion"]).sum() == 12
    assert found.test["accuracy"] == np.trace(found.details["confusion"]) / 12
    assert found.test["accuracy"] > 0.6, "three classes that differ this much can be learnt from 84 networks"
    assert set(found.num_parameters) == {"encoder", "head"}

    answers = load_file(run.path / "predictions.safetensors")
    assert answers["rows"].tolist() == zoo.rows("test", 1).tolist()
    assert answers["true"].tolist() == zoo.labels[zoo.rows("test", 1)].tolist()
    assert torch.allclose(answers["values"].sum(1), torch.ones(12))
    assert float((answers["values"].argmax(1) == answers["true"]).float().mean()) == pytest.approx(
        found.test["accuracy"]
    )
    assert len(answers["features"]) == 12


def test_classifying_is_what_evaluation_did(trained, zoo):
    run, _ = trained
    evaluate(run, zoo, device=CPU)
    answers = load_file(run.path / "predictions.safetensors")
    probabilities = classify(run, zoo.weights(zoo.rows("test", 1)))
    assert_close(probabilities, answers["values"], what="probabilities")


def test_the_order_of_hidden_neurons_leaves_every_answer_unchanged(trained, zoo):
    run, _ = trained
    weights = zoo.weights(zoo.rows("test"))
    permuted = weights.permute(random_permutations(zoo.spec, len(weights), generator=torch.Generator().manual_seed(0)))
    answers = classify(run, weights)
    assert answers.shape == (12, 3)
    assert_close(classify(run, permuted), answers, what="probabilities", atol=1e-4, rtol=1e-3)


def test_a_network_is_classified_alone_as_among_others(trained, zoo):
    run, _ = trained
    weights = zoo.weights(zoo.rows("test"))
    together = classify(run, weights)
    assert_close(torch.cat([classify(run, weights[index]) for index in range(3)]), together[:3], what="probabilities")


def test_stopped_anywhere_and_resumed_is_the_uninterrupted_run(trained, zoo, tmp_path):
    run, _ = trained
    calls = 0

    def should_stop() -> bool:
        nonlocal calls
        calls += 1
        return calls % 29 == 0

    for _ in range(20):
        outcomes = train(run.config, zoo, tmp_path / "run", device=CPU, should_stop=should_stop)
        if all(outcome.finished for outcome in outcomes.values()) and len(outcomes) == len(run.config.stages):
            break
    assert calls > 60
    again = Run.open(tmp_path / "run")
    assert_same_state(state(again), state(run))
    one, two = (evaluate(each, zoo, device=CPU) for each in (run, again))
    assert replace(one, seconds={}) == replace(two, seconds={})
    for name in ("predictions.safetensors", "model.safetensors"):
        assert (run.path / name).read_bytes() == (again.path / name).read_bytes()


def test_a_finished_run_is_not_trained_again(trained, zoo, monkeypatch):
    run, outcomes = trained
    before = state(run)
    monkeypatch.setattr(torch.Tensor, "backward", lambda self: pytest.fail("trained again"))
    assert {
        name: outcome.steps for name, outcome in train(run.config, zoo, run.path, device=CPU).items()
    } == dict.fromkeys(outcomes, 60)
    assert_same_state(state(Run.open(run.path)), before)


def test_other_settings_are_refused_and_named(trained, zoo, tmp_path):
    run, _ = trained
    with pytest.raises(
        InputError, match=r"other settings \(config.seed was 0, now 1; config.classify.steps was 60, now 70\)"
    ):
        train(override(run.config, ["seed=1", "classify.steps=70"]), zoo, run.path, device=CPU)
    with pytest.raises(InputError, match=r"config.encoder.dim was 8, now 9"):
        train(override(run.config, ["encoder.dim=9"]), zoo, run.path, device=CPU)
    other = tiny_zoo(tmp_path / "zoo", seed=5)
    with pytest.raises(InputError, match=r"zoo.seed was 0, now 5; networks.train was 84, now 21"):
        train(run.config, other, run.path, device=CPU)


def test_a_run_survives_its_file(trained):
    run, _ = trained
    assert Run.open(run.path).config == run.config
    assert type(run.config) is TASKS["inr_classification"].methods[run.record.method]


def test_networks_of_another_shape_are_refused(trained, zoo, tmp_path):
    run, _ = trained
    with pytest.raises(InputError, match="reads networks"):
        evaluate(run, tiny_zoo(tmp_path / "wide", hidden=(9, 8)), device=CPU)
    with pytest.raises(
        InputError,
        match=r"tells the classes class 0, class 1, class 2, of .*: the classes class 0, class 1; use",
    ):
        evaluate(run, tiny_zoo(tmp_path / "two", num_classes=2), device=CPU)
    with pytest.raises(InputError, match="of the shape MLP 2-8-8-1"):
        classify(run, random_weights(NetworkSpec.mlp([2, 8, 9, 1]), 2, seed=0))


def test_what_is_no_run_is_refused(trained, zoo, tmp_path):
    run, _ = trained
    with pytest.raises(InputError, match="expected a run's description at"):
        Run.open(tmp_path)
    shutil.copytree(run.path, tmp_path / "run")
    (tmp_path / "run" / "model.safetensors").unlink()
    with pytest.raises(InputError, match=r"expected a finished run at .*run the train command again"):
        Run.open(tmp_path / "run").load(CPU)
    record = json.loads((run.path / "run.json").read_text())
    for change, sentence in (
        ({"schema_version": 99}, "upgrade weightwalk"),
        ({"schema_version": 1}, "got schema 1; train again"),
        ({"networks": 3}, "networks must be a JSON object, got 3"),
        ({"method": "x"}, "unknown method 'x'"),
        ({"task": "other"}, "unknown task 'other'"),
    ):
        (tmp_path / "run" / "run.json").write_text(json.dumps({**record, **change}))
        with pytest.raises(InputError, match=sentence):
            Run.open(tmp_path / "run")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").write_text("mine")
    with pytest.raises(InputError, match="found something else"):
        train(run.config, zoo, tmp_path / "full", device=CPU)


def test_a_zoo_of_another_data_set_or_without_a_split_is_refused(zoo, tmp_path):
    config = CONFIGS["encoder"]
    with pytest.raises(InputError, match=r"reads a zoo of mnist, got one of tiny; .*--set dataset=tiny"):
        train(replace(config, dataset="mnist"), zoo, tmp_path / "run", device=CPU)
    few = tiny_zoo(tmp_path / "few", num_images=5)
    with pytest.raises(InputError, match=r"expected validation INRs in .*, got 0; add more"):
        train(config, few, tmp_path / "run", device=CPU)
    assert not (tmp_path / "run").exists()


def test_networks_of_sounds_are_read_and_reported_like_others(tmp_path):
    """By the encoder alone: what decodes pictures says so."""
    time, classes = np.linspace(0, 1, 30), np.arange(40) % 3
    sounds = ImageSet.from_arrays(np.sin(6 * (1 + classes[:, None]) * time), classes, dataset="tiny", keep_floats=True)
    recipe = FitRecipe("tones", hidden=(8,), descent=Descent(steps=20, learning_rate=5e-3))
    fit_zoo([sounds], tmp_path / "zoo", recipe)
    zoo = Zoo.open(tmp_path / "zoo")
    with pytest.raises(
        InputError, match=r"decodes pictures \(C, H, W\), got signals of the shape \(1, 30\); choose a recipe"
    ):
        train(CONFIGS["inr2jls"], zoo, tmp_path / "jls", device=CPU)
    train(replace(CONFIGS["encoder"], classify=replace(STAGE, steps=2)), zoo, tmp_path / "run", device=CPU)
    run = Run.open(tmp_path / "run")
    assert evaluate(run, zoo, device=CPU).test["accuracy"] < 1
    page = pages.write(run, zoo, tmp_path / "report.html").read_text()
    assert "Signals of the shape (1, 30), which are no pictures" in page
    assert "Held-out INRs that got a wrong class, all" in page


def test_fewer_fits_can_be_asked_for(zoo, tmp_path):
    stage = replace(STAGE, steps=1)
    train(replace(CONFIGS["encoder"], fits=1, classify=stage), zoo, tmp_path / "run", device=CPU)
    assert Run.open(tmp_path / "run").record.networks == {"train": 42, "val": 6}
    with pytest.raises(InputError, match="fits must be a number of at least 1"):
        replace(CONFIGS["encoder"], fits=0)


def stages_of(config, zoo: Zoo) -> tuple[Reader, tuple[Stage, ...], Data]:
    """A fresh reader, its stages, and the data that they are trained on."""
    task = TASKS[config.task]
    data = Data(zoo, task.rows(config, zoo, "train"), task.rows(config, zoo, "val"), CPU)
    description = describe(task, config, zoo, data.train)
    torch.manual_seed(config.seed)
    reader = description.build()
    return reader, task.stages(config, reader, description.answer, data), data


def latent_objective(zoo: Zoo) -> HeadObjective:
    reader, (_, classify), data = stages_of(CONFIGS["inr2jls"], zoo)
    objective = classify.objective(data)
    assert objective.model is reader.head
    objective.model.eval()
    return objective


@torch.no_grad()
def test_latents_that_are_kept_and_latents_that_are_not_give_the_same_losses(zoo, monkeypatch):
    kept = latent_objective(zoo)
    assert kept._kept is not None
    monkeypatch.setattr(stages, "CACHE_BYTES", 4 * 6 * 6 * 2 * 2 * 90 - 1)  # one byte less than 84 + 6 networks take
    made = latent_objective(zoo)
    assert made._kept is None
    assert kept.num_samples == made.num_samples == 84 * 6
    indices = torch.tensor([0, 5, 6, 83 * 6 + 2, 17, 17])
    assert_close(made.loss(indices), kept.loss(indices), what="loss")
    assert made.validate() == pytest.approx(kept.validate(), abs=1e-5)


@torch.no_grad()
def test_a_sample_of_the_classifier_is_one_view_of_one_network(zoo):
    objective = latent_objective(zoo)
    network, view = 11, 4
    row = zoo.rows("train")[[network]]
    maps = objective._encoder.encode(zoo.weights(row))
    logits = objective.model(maps[:, [view]])
    expected = torch.nn.functional.cross_entropy(logits, torch.from_numpy(zoo.labels[row]))
    assert_close(objective.loss(torch.tensor([network * 6 + view])), expected, what="loss")
    summed = sum(objective.model(maps[:, [v]]) for v in range(6))
    assert_close(objective.model(maps), summed / 6, what="mean logits")


@torch.no_grad()
def test_the_first_stage_decodes_the_pictures_under_their_views(zoo):
    reader, (pretrain, _), data = stages_of(CONFIGS["inr2jls"], zoo)
    assert pretrain.module is reader.encoder
    objective = pretrain.objective(data)
    reader.eval()
    row = zoo.rows("train")[[3]]
    picture = zoo.images(row).float() / 127.5 - 1
    flips = (
        picture,
        picture.flip(-1),
        picture.flip(-2),
        picture.rot90(1, (2, 3)),
        picture.rot90(-1, (2, 3)),
        picture.flip(-1, -2),
    )
    decoded = reader.encoder(zoo.weights(row))
    errors = [(decoded[:, view] - flipped).square().mean() for view, flipped in enumerate(flips)]
    assert_close(objective.loss(torch.tensor([3])), torch.stack(errors).mean(), what="loss")


def test_the_seed_decides_the_start(zoo):
    def start(seed: int) -> dict:
        torch.rand(seed + 1)
        return stages_of(replace(CONFIGS["encoder"], seed=seed), zoo)[0].state_dict()

    one, same, other = start(0), start(0), start(1)
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert not all(torch.equal(one[name], other[name]) for name in one)
