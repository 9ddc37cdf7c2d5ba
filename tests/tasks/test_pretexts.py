"""The ablations of INR2JLS as runs: trained, evaluated, reported; noise is the same however a run goes."""

import pytest
import torch

from weightwalk.config import override
from weightwalk.recipes import RECIPES
from weightwalk.tasks import TASKS, pages
from weightwalk.tasks.inr_classification import report
from weightwalk.tasks.runs import Run
from weightwalk.tasks.stages import Data
from weightwalk.tasks.supervised import describe, evaluate, train
from weightwalk.testing import assert_close, tiny_zoo
from weightwalk.training import checkpoint
from weightwalk.zoos.store import Zoo

CPU = torch.device("cpu")
SHORT = ("encoder.dim=4", "encoder.num_frequencies=2", "dataset=tiny", "head.hidden_dim=4")
SHORT += tuple(f"{stage}.{key}" for stage in ("pretrain", "classify") for key in ("steps=6", "batch_size=8"))
SHORT += ("pretrain.eval_every=3", "classify.eval_every=3")


@pytest.fixture(scope="module")
def zoo(tmp_path_factory) -> Zoo:
    return tiny_zoo(tmp_path_factory.mktemp("zoos") / "zoo")


def config(recipe: str, *settings: str):
    return override(RECIPES[recipe](), [*SHORT, *settings])


def rows(run: Run) -> list:
    return [[{**row, "seconds": 0} for row in log] for log in run.logs().values()]


@pytest.mark.parametrize("recipe", ["digits_inr_inr", "digits_no_generator"])
def test_an_ablation_is_a_run_like_others(recipe, zoo, tmp_path):
    own = config(recipe)
    train(own, zoo, tmp_path / "run", device=CPU)
    run = Run.open(tmp_path / "run")
    assert run.config == own
    found = evaluate(run, zoo, device=CPU)
    assert set(found.num_parameters) == {"encoder", "head"}
    log = run.logs()["pretrain"]
    assert log[-1]["val_loss"] < log[0]["val_loss"]
    [seen] = report._seen(report._Told(pages.Evaluated.of(run, zoo)))
    assert ("decoded, as it is" in seen.alt) == (recipe == "digits_no_generator")


def test_noise_is_a_function_of_the_seed_the_step_and_the_place(zoo, tmp_path):
    """So a run that is stopped, or has more threads, is the same; what is validated has none."""
    noisy = config("digits_inr2jls", "latents.noise=0.3", "latents.views=identity", "pretrain.batch_size=20")
    train(noisy, zoo, tmp_path / "one", device=CPU)
    calls = iter(range(1000))
    threads = torch.get_num_threads()
    torch.set_num_threads(3 - min(threads, 2))
    try:
        while len(train(noisy, zoo, tmp_path / "two", device=CPU, should_stop=lambda: next(calls) % 5 == 4)) < 2:
            pass
        train(noisy, zoo, tmp_path / "two", device=CPU)
    finally:
        torch.set_num_threads(threads)
    one, two = Run.open(tmp_path / "one"), Run.open(tmp_path / "two")
    assert rows(one) == rows(two)
    states = [checkpoint.load(run.path / "pretrain" / "last.safetensors").tensors for run in (one, two)]
    assert all(torch.equal(tensor, states[1][name]) for name, tensor in states[0].items())
    train(override(noisy, ["latents.noise=0"]), zoo, tmp_path / "clean", device=CPU)
    assert rows(Run.open(tmp_path / "clean")) != rows(one)


def test_the_noisy_target_is_of_training_alone(zoo):
    noisy = config("digits_inr2jls", "latents.noise=0.3", "latents.views=identity")
    task = TASKS[noisy.task]
    data = Data(zoo, task.rows(noisy, zoo, "train"), task.rows(noisy, zoo, "val"), CPU)
    description = describe(task, noisy, zoo, data.train)
    reader = description.build()
    pretrain, classify = task.stages(noisy, reader, description.answer, data)
    clean = zoo.images(data.val).float() / 127.5 - 1
    assert_close(pretrain.target(data.val), clean[:, None], what="what is validated")
    torch.manual_seed(0)
    one = pretrain.trained_target(data.val)
    assert 0.1 < (one - clean[:, None]).std() < 0.3
    assert classify.trained_target is None
    objective = pretrain.objective(data)
    reader.eval()
    with torch.no_grad():
        torch.manual_seed(0)
        loss = objective.loss(torch.arange(3))
        torch.manual_seed(0)
        wanted = pretrain.trained_target(data.train[:3])
        assert_close(loss, (reader.encoder(zoo.weights(data.train[:3])) - wanted).square().mean(), what="loss")
