"""Laws of a step: however a batch is cut over processes and parts, loss and gradients are those of the whole."""

import pytest
import torch
from torch import nn

from weightwalk import InputError
from weightwalk.config import override
from weightwalk.training import step as module
from weightwalk.training.distributed import Team
from weightwalk.training.loop import StageConfig, train
from weightwalk.training.step import Step

STAGE = StageConfig(steps=4, batch_size=12, learning_rate=0.05, eval_every=2)
INDICES = torch.arange(12)


class Mean:
    """A mean over samples; `seen` are the numbers of samples that were asked for at once."""

    num_samples, monitor, maximise, mean, lane = 40, "loss", False, True, 0

    def __init__(self, *layers, dropout=0.0):
        generator = torch.Generator().manual_seed(0)
        self.x = torch.randn(40, 6, generator=generator)
        self.model = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), *layers, nn.Dropout(dropout), nn.Linear(8, 3))
        for parameter in self.model.parameters():
            parameter.data.normal_(0, 0.5, generator=generator)
        self.seen = []

    def loss(self, indices):
        self.seen.append(len(indices))
        self.drawn = self.model[-2](torch.ones(8))
        self.product = torch.mm(torch.ones(2, 2), torch.ones(2, 2)).dtype
        return self.model(self.x[indices]).square().mean()

    def validate(self):
        self.validated = torch.mm(torch.ones(2, 2), torch.ones(2, 2)).dtype
        return {"loss": self.model(self.x).square().mean()}


def made(objective, monkeypatch, rank=0, size=1, **settings):
    """Loss and gradients of one process, as it would have them before they are summed."""
    monkeypatch.setattr(module, "team", lambda: Team(rank, size))
    monkeypatch.setattr(Team, "sum_gradients", lambda self, loss, parameters: loss)
    changes = [f"{name}={value}" for name, value in settings.items()]
    objective.model.zero_grad()
    parameters = list(objective.model.parameters())
    loss = Step(objective, override(STAGE, changes), "toy", parameters).gradients(INDICES, key=5)
    return [loss, *(parameter.grad.clone() for parameter in parameters)]


@pytest.mark.parametrize("accumulate", [1, 2, 4])
@pytest.mark.parametrize("size", [1, 2, 3])
def test_parts_and_processes_add_up_to_the_whole(monkeypatch, accumulate, size):
    objective = Mean()
    whole = made(objective, monkeypatch)
    assert objective.seen == [12]
    objective.seen.clear()
    shares = [made(objective, monkeypatch, rank, size, accumulate=accumulate) for rank in range(size)]
    assert len(objective.seen) == size * accumulate
    assert sum(objective.seen) == 12
    summed = [sum(tensors) for tensors in zip(*shares, strict=True)]
    torch.testing.assert_close(summed, whole, rtol=1e-6, atol=1e-6)


def test_a_wrong_twin_that_weighs_uneven_parts_alike_is_another_mean(monkeypatch):
    objective = Mean()
    whole = made(objective, monkeypatch)[0]
    parts = [objective.loss(INDICES[start:stop]).detach() for start, stop in ((0, 2), (2, 4), (4, 7), (7, 9), (9, 12))]
    assert abs(sum(parts) / 5 - whole) > 1e-5


def test_processes_draw_different_numbers_and_a_lane_the_same_wherever_it_is(monkeypatch):
    objective, drawn = Mean(dropout=0.5), []
    for rank in (0, 1, 0):
        made(objective, monkeypatch, rank, 2)
        drawn.append(objective.drawn)
    assert not torch.equal(drawn[0], drawn[1])
    assert torch.equal(drawn[0], drawn[2])
    monkeypatch.setattr(Mean, "lane", 3)
    lanes = made(objective, monkeypatch)
    two = [made(objective, monkeypatch, rank, 2) for rank in range(2)]
    for whole, first, second in zip(lanes, *two, strict=True):
        torch.testing.assert_close(first + second, whole, rtol=1e-6, atol=1e-7)


def test_a_batch_that_must_be_seen_whole_is_whole_in_every_process(monkeypatch):
    objective = Mean(nn.BatchNorm1d(8))
    whole = made(objective, monkeypatch)
    assert all(
        torch.equal(*pair)
        for rank in range(2)
        for pair in zip(made(objective, monkeypatch, rank, 2), whole, strict=True)
    )
    assert objective.seen == [12] * 3


def test_bf16_is_for_the_loss_alone(tmp_path):
    exact, lowered = Mean(), Mean()
    train(exact, STAGE, tmp_path / "fp32", seed=1)
    train(lowered, override(STAGE, ["precision=bf16"]), tmp_path / "bf16", seed=1)
    assert (exact.product, lowered.product) == (torch.float32, torch.bfloat16)
    assert lowered.validated == torch.float32
    assert {parameter.dtype for parameter in lowered.model.parameters()} == {torch.float32}
    ours, theirs = (objective.model[0].weight for objective in (lowered, exact))
    assert not torch.equal(ours, theirs)
    torch.testing.assert_close(ours, theirs, rtol=0.1, atol=0.05)


@pytest.mark.parametrize(
    ("make", "setting", "message"),
    [
        (lambda: Mean(nn.BatchNorm1d(8)), "accumulate=2", r"may be cut for accumulate=2, got a .*BatchNorm.*leave"),
        (Mean, "accumulate=13", "accumulate must be a number of at most 12, got 13"),
        (Mean, "precision=fp16", "precision must be one of fp32, bf16, got 'fp16'"),
    ],
)
def test_what_makes_no_sense_is_refused(tmp_path, make, setting, message):
    with pytest.raises(InputError, match=message):
        train(make(), override(STAGE, [setting]), tmp_path, seed=1)
    assert not list(tmp_path.iterdir())


def test_bf16_of_a_model_in_float64_is_refused(tmp_path):
    objective = Mean()
    objective.model.double()
    with pytest.raises(InputError, match="parameters in float32 for precision=bf16, got float64; leave"):
        train(objective, override(STAGE, ["precision=bf16"]), tmp_path, seed=1)


def test_a_loss_that_does_not_say_that_it_is_a_mean_is_not_cut(tmp_path, monkeypatch):
    monkeypatch.delattr(Mean, "mean")
    with pytest.raises(InputError, match="may be cut"):
        train(Mean(), override(STAGE, ["accumulate=2"]), tmp_path, seed=1)


def test_batches_too_small_for_a_team_are_refused(monkeypatch):
    monkeypatch.setattr(module, "team", lambda: Team(0, 7))
    objective = Mean()
    with pytest.raises(
        InputError, match="at least 14 samples, one for each of 7 processes and 2 parts, got batch_size=12"
    ):
        Step(objective, override(STAGE, ["accumulate=2"]), "toy", list(objective.model.parameters())).check(0)
