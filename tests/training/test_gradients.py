"""Laws of gradients in lanes: those of one backward pass, with the same bits however many threads there are."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from weightwalk import InputError, NetworkSpec, Weights, lanes
from weightwalk.encoders import EncoderConfig
from weightwalk.training import gradients as module
from weightwalk.training.gradients import gradients
from weightwalk.training.loop import StageConfig, train
from weightwalk.training.samplers import batch_indices, step_seed

SPEC = NetworkSpec.mlp([2, 8, 8, 3])


@pytest.fixture(autouse=True)
def _one_thread_again():
    yield
    torch.set_num_threads(1)


def setting(dtype=torch.float32, dropout=0.0, count=24):
    torch.manual_seed(3)
    model = EncoderConfig.named("dng", dim=8, num_frequencies=4, dropout=dropout).build(SPEC).to(dtype)
    samples = {
        "weights": Weights(SPEC, 0.3 * torch.randn(count, SPEC.num_parameters, dtype=dtype)),
        "target": torch.randn(count, model.pooled_dim, dtype=dtype),
    }
    return model, samples, lambda batch: F.mse_loss(model(batch["weights"]).pooled, batch["target"])


def found(model):
    return [parameter.grad for parameter in model.parameters()]


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-6), (torch.float64, 1e-12)])
@pytest.mark.parametrize("lane", [4, 7, 10])
def test_lanes_are_one_backward_pass(dtype, tolerance, lane):
    torch.set_num_threads(2)
    model, samples, loss = setting(dtype)
    plain = loss(samples)
    plain.backward()
    wanted = found(model)
    model.zero_grad()
    torch.testing.assert_close(gradients(model, loss, samples, lane), plain.detach(), rtol=tolerance, atol=tolerance)
    torch.testing.assert_close(found(model), wanted, rtol=tolerance, atol=tolerance)
    gradients(model, loss, samples, lane)  # which are added to those that are there
    torch.testing.assert_close(found(model), [2 * gradient for gradient in wanted], rtol=2e-6, atol=1e-6)


def test_a_wrong_twin_that_forgets_the_sizes_of_lanes_is_another_mean(monkeypatch):
    model, samples, loss = setting(count=25)
    wanted = loss(samples).detach()
    assert abs(gradients(model, loss, samples, 4) - wanted) < 1e-6
    equal = lambda parts: sum(loss(module._of(samples, part)).detach() for part in parts) / len(parts)  # noqa: E731
    assert abs(equal(lanes.cut(25, 4)) - wanted) > 1e-6


@pytest.mark.parametrize("dropout", [0.0, 0.5])
def test_one_thread_or_many_the_bits_are_the_same(dropout):
    bits = []
    for threads in (1, 2, 3, 2):
        torch.set_num_threads(threads)
        model, samples, loss = setting(dropout=dropout)
        torch.manual_seed(11)
        bits.append([gradients(model, loss, samples, 3), *found(model)])
    for other in bits[1:]:
        assert all(torch.equal(one, two) for one, two in zip(bits[0], other, strict=True))
    torch.manual_seed(12)
    assert torch.equal(gradients(model, loss, samples, 3), bits[0][0]) == (dropout == 0)


def test_a_wrong_twin_that_adds_as_lanes_come_changes_bits():
    """The order of lanes matters to the last bit: that is why they wait for one another's turn."""
    values = [torch.tensor(value) for value in (1e8, 1.0, -1e8, 1.0)]
    sums = []
    for order in ((0, 1, 2, 3), (3, 1, 2, 0), (2, 0, 3, 1)):
        total = module._Sums([nn.Parameter(torch.zeros(()))])
        for number in order:
            total.put(number, values[number], (values[number],), {})
        total.given()
        sums.append((float(total.loss), float(total.parameters[0].grad)))
    assert set(sums) == {(1.0, 1.0)}
    assert float(values[0] + values[2] + values[1] + values[3]) == 2.0


def test_gradients_that_share_memory_and_parameters_without_any():
    class Sum(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b, self.late, self.unused = (nn.Parameter(torch.zeros(3)) for _ in range(4))

        def forward(self, x):
            late = self.late.sum() if float(x[0, 0]) > 3 else 0.0
            return ((self.a + self.b) * x).sum(1) + late

    model, x = Sum(), torch.arange(24.0).view(8, 3)
    gradients(model, lambda x: model(x).mean(), x, 2)
    assert torch.equal(model.a.grad, x.mean(0))
    assert torch.equal(model.b.grad, x.mean(0))
    assert model.unused.grad is None
    assert torch.allclose(model.late.grad, torch.full((3,), 0.75))


def test_a_batch_that_must_be_seen_whole_is_not_split():
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 1))
    seen = []
    samples = torch.randn(32, 3)
    loss = lambda x: (seen.append(len(x)), model(x).square().mean())[1]  # noqa: E731
    gradients(model, loss, samples, 4)
    assert seen == [32]
    model.eval()
    gradients(model, loss, samples, 4)
    assert seen[1:] == [4] * 8
    model[1] = nn.GroupNorm(2, 4)
    gradients(model.train(), loss, samples, 4)
    assert seen[9:] == [4] * 8
    gradients(model, loss, samples, 0)
    gradients(model, loss, samples)  # no networks among the samples
    assert seen[17:] == [32, 32]


def test_samples_of_several_architectures_and_samples_that_do_not_match():
    other = NetworkSpec.mlp([2, 4, 4, 3])
    model = EncoderConfig.named("dng", dim=8, num_frequencies=4).build(SPEC, other)
    batch = [Weights(spec, torch.randn(1, spec.num_parameters)) for spec in (SPEC, other) * 4]
    loss = lambda batch: model.encode(batch[0]).square().mean(1).mul(batch[1]).mean()  # noqa: E731
    plain = loss((batch, torch.ones(8))).detach()
    assert abs(gradients(model, loss, (batch, torch.ones(8)), 2) - plain) < 1e-6
    with pytest.raises(InputError, match=r"of one length, got lengths \[7, 8\]"):
        gradients(model, loss, (batch, torch.ones(7)), 2)
    with pytest.raises(InputError, match="tensor or networks"):
        gradients(model, loss, "networks", 2)


def test_a_model_that_draws_is_found_out_and_its_bits_do_not_depend_on_that(monkeypatch):
    model, samples, loss = setting()
    with monkeypatch.context() as patch:
        patch.setattr(lanes, "_Draws", lambda seed: pytest.fail("nothing is drawn"))
        gradients(model, loss, samples, 3)
    model, samples, loss = setting(dropout=0.5)
    found = []
    for known in (False, True):
        assert (model in module._drawing) == known
        torch.manual_seed(11)
        model.zero_grad()
        gradients(model, loss, samples, 3)
        found.append([*(p.grad for p in model.parameters()), torch.get_rng_state()])
    assert all(torch.equal(*pair) for pair in zip(*found, strict=True))


class Digits:
    """An objective in lanes, with dropout."""

    num_samples, monitor, maximise, mean, lane = 40, "loss", False, True, 3

    def __init__(self):
        generator = torch.Generator().manual_seed(0)
        self.x = torch.randn(40, 6, generator=generator)
        self.model = nn.Sequential(nn.Linear(6, 8), nn.Dropout(0.5), nn.Linear(8, 3))
        for parameter in self.model.parameters():
            parameter.data.normal_(0, 0.5, generator=generator)
        self.seen = []

    def loss(self, indices):
        self.seen.append(len(indices))
        return self.model(self.x[indices]).square().mean()

    def validate(self):
        return {"loss": self.model(self.x).square().mean()}


def test_a_stage_in_lanes_stops_resumes_and_ends_with_the_same_bits(tmp_path):
    stage = StageConfig(12, 13, 0.05, eval_every=4)
    ends = []
    for number, threads in enumerate((1, 2)):
        torch.set_num_threads(threads)
        stops = iter([False] * 5 + [True])
        for should_stop in (lambda: False,) if number == 0 else (lambda: next(stops), lambda: False):  # noqa: B023
            objective = Digits()
            train(objective, stage, tmp_path / str(number), seed=5, should_stop=should_stop)
            assert set(objective.seen) == {3, 4}
        ends.append(objective.model.state_dict())
    assert all(torch.equal(ends[0][name], ends[1][name]) for name in ends[0])


def test_dropout_is_a_function_of_seed_step_and_lane():
    torch.set_num_threads(2)
    objective = Digits()
    indices = batch_indices(40, 12, 3, 5)
    loss = module.part_gradients(objective.model, objective.loss, indices, slice(0, 12), 12, 3, step_seed(5, 3))
    wanted = 0.0
    for part in lanes.cut(12, 3):
        torch.manual_seed(module.seed_at(step_seed(5, 3), part.start))
        wanted = wanted + objective.loss(indices[part]).detach() * 0.25
    assert torch.equal(loss, wanted)


def test_random_numbers_that_a_backward_pass_would_draw_again_are_refused():
    weight = nn.Linear(3, 20)
    loss = lambda x: checkpoint(lambda x: F.dropout(weight(x), 0.5), x, use_reentrant=False).square().mean()  # noqa: E731
    gradients(weight, loss, torch.ones(8, 3), 0)
    with pytest.raises(InputError, match=r"no random numbers in the backward pass .* got dropout .*lane=0"):
        gradients(weight, loss, torch.ones(8, 3), 2)
