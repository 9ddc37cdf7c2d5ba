"""What the tracer can't read it names: the operation, the path of the module, and the reason."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from weightwalk import InputError, trace


class Around(nn.Module):
    """A function between two layers, inside a module `middle`."""

    def __init__(self, function, width=6):
        super().__init__()
        self.first, self.middle, self.last = nn.Linear(4, 6), Calls(function), nn.Linear(width, 2)

    def forward(self, x):
        return self.last(self.middle(self.first(x)))


class Calls(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)


def branching(x):
    return x * 2 if x.sum() > 0 else x


def looping(x):
    for _ in range(int(x.abs().max())):
        x = x / 2
    return x


def written_into(x):
    y = x * 1.5
    y[:, 0] = 0
    return y


@pytest.mark.parametrize(
    ("function", "sentence"),
    [
        (torch.erfinv, r"module 'middle' \(Calls\): can't read erfinv: no step computes it"),
        (torch.exp, r"module 'middle' \(Calls\): can't read exp"),
        (lambda x: x / (1 + x.abs().sum(-1, keepdim=True)), "can't read sum: it goes over channels"),
        (lambda x: x / x.relu(), "can't read div: it divides by a value that depends on the input"),
        (lambda x: x - x.mean(0), "can't read mean: it goes over the examples"),
        (lambda x: x.flip(0), "can't read flip"),
        (lambda x: x[:1], "can't read slice: it takes some of the examples"),
        (lambda x: x + torch.rand(6), "module 'middle' .*: can't read rand: it draws random numbers"),
        (lambda x: F.dropout(x, 0.5), "can't read dropout: it drops numbers at random"),
        (lambda x: x[:, torch.tensor([3, 1, 0, 2, 5, 4])], "can't read index: it picks entries out of order"),
        (lambda x: x @ (x.T @ x), "can't read matmul: it multiplies two values"),
        (lambda x: torch.fft.fft(x).real, "can't read fft_fft"),
        (lambda x: x.sort(-1)[0], "can't read sort"),
        (lambda x: x.softmax(0), "can't read softmax: it is over positions or examples"),
        (written_into, r"module 'middle' \(Calls\): can't read fill: it writes into a part of a tensor"),
        (branching, "control flow depends on its data"),
        (looping, "control flow depends on its data"),
        (lambda x: F.batch_norm(x, None, None, training=True), "can't read batch_norm: it normalises by the examples"),
    ],
)
def test_operations_that_no_step_computes_are_named(function, sentence):
    with pytest.raises(InputError, match=sentence):
        trace(Around(function), torch.randn(3, 4))


class Relative(nn.Module):
    def __init__(self, change):
        super().__init__()
        self.qkv, self.change, self.bias = nn.Linear(4, 12), change, nn.Parameter(torch.randn(5, 5))

    def forward(self, x):
        q, k, v = self.qkv(x).chunk(3, -1)
        return self.change(self, q @ k.transpose(1, 2)) @ v


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda module, scores: (scores + module.bias).softmax(-1), "can't read add: it adds numbers to the scores"),
        (lambda module, scores: scores.softmax(1), "can't read softmax: it is not over the keys"),
        (lambda module, scores: scores, "used without a softmax"),
        (lambda module, scores: scores.relu(), "can't read relu: it puts the scores of an attention through relu"),
        (
            lambda module, scores: scores.softmax(-1) * 2,
            "can't read mul: it changes the scores of an attention by more than a scale",
        ),
        (
            lambda module, scores: scores.masked_fill(torch.eye(5) > 0, -1e9).softmax(-1),
            "its mask is neither causal nor empty",
        ),
        (
            lambda module, scores: scores.masked_fill(torch.eye(5) > 0, 0.0).softmax(-1),
            "it fills in 0.0, not minus infinity",
        ),
    ],
)
def test_attention_of_other_kinds_is_named(change, sentence):
    with pytest.raises(InputError, match=sentence):
        trace(Relative(change), torch.randn(2, 5, 4))


@pytest.mark.parametrize(
    ("model", "example", "sentence"),
    [
        (nn.Conv2d(1, 2, 3, padding=1, padding_mode="reflect"), (1, 1, 8, 8), "can't read pad: it pads by 'reflect'"),
        (
            nn.Sequential(nn.Conv2d(1, 2, 1), nn.MaxPool2d(2, dilation=2)),
            (1, 1, 8, 8),
            "module '1' .*: can't read max_pool2d: its windows have",
        ),
        (
            nn.Sequential(nn.Conv2d(1, 2, 1), nn.Upsample(size=12, mode="nearest-exact")),
            (1, 1, 8, 8),
            '"nearest-exact" is read for whole',
        ),
        (
            nn.Sequential(nn.Conv2d(1, 2, 1), nn.Upsample(scale_factor=1.3)),
            (1, 1, 8, 8),
            "by a factor that is not their ratio",
        ),
        (
            nn.Sequential(nn.Conv2d(1, 2, 1), nn.Upsample(scale_factor=2, mode="bicubic")),
            (1, 1, 8, 8),
            "can't read upsample_bicubic2d",
        ),
        (nn.TransformerEncoderLayer(4, 2, 8), (5, 2, 4), "it attends across examples"),
        (nn.Sequential(nn.LSTM(4, 3)), (5, 2, 4), "returns 2 things; wrap it"),
    ],
)
def test_modules_that_no_step_computes_are_named(model, example, sentence):
    with pytest.raises(InputError, match=sentence):
        trace(model, torch.randn(example))


class Recurrent(nn.Module):
    def __init__(self):
        super().__init__()
        self.rnn, self.out = nn.GRU(4, 3, batch_first=True), nn.Linear(3, 2)

    def forward(self, x):
        return self.out(self.rnn(x)[0])


def test_recurrent_modules_are_named():
    with pytest.raises(InputError, match=r"module 'rnn' \(GRU\): can't read gru"):
        trace(Recurrent(), torch.randn(2, 5, 4))


def damaged(value):
    model = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3))
    with torch.no_grad():
        model[0].weight[1, 2] = value
    return model


class Whole(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(3, 4, dtype=torch.int8), requires_grad=False)

    def forward(self, x):
        return x @ self.weight.T.float()


class Two(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 3)

    def forward(self, x):
        return self.layer(x), self.layer(-x)


class Noisy(nn.Module):
    """Computes otherwise in every call, behind torch's back."""

    def __init__(self):
        super().__init__()
        self.layer, self.calls = nn.Linear(4, 3), 0

    def forward(self, x):
        self.calls += 1
        return self.layer(x) + self.calls


X = torch.randn(2, 4)


@pytest.mark.parametrize(
    ("model", "example", "sentence"),
    [
        (damaged(float("nan")), X, "0.weight holds NaN"),
        (damaged(float("inf")), X, "0.weight holds infinite numbers"),
        (nn.Linear(4, 3, dtype=torch.complex64), X, r"weight is complex \(torch.complex64\)"),
        (Whole(), X, "weight is torch.int8; quantised"),
        (nn.ReLU(), X, "ReLU has no parameters"),
        (nn.LazyLinear(3), X, "has no weights yet"),
        (nn.Linear(4, 3, device="meta"), X, "weight has no values"),
        (
            nn.Linear(4, 3),
            torch.randn(2, 5),
            r"Linear does not take an example of shape \(2, 5\), torch.float32: RuntimeError: mat1",
        ),
        (nn.Linear(4, 3), torch.randn(4), "it computes across examples"),
        (nn.Linear(4, 3), [1.0], "expected an example input, .* got list"),
        (nn.Linear(4, 3), torch.zeros(0, 4), r"expected an example input, .* got \(0, 4\)"),
        (nn.Linear(4, 3).forward, X, "expected a torch.nn.Module, got method"),
        (Two(), X, "Two returns 2 things; wrap it in a module"),
        (Noisy(), X, "read, but does not compute the same"),
        (
            nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3, track_running_stats=False)),
            X,
            r"module '1' \(BatchNorm1d\): can't read batch_norm",
        ),
    ],
)
def test_what_is_no_network_is_refused(model, example, sentence):
    with pytest.raises(InputError, match=sentence):
        trace(model, example)


def test_a_running_variance_that_diverged_is_named():
    model = damaged(0.0)
    model[1].running_var[0] = float("nan")
    with pytest.raises(InputError, match=r"1\.running_var holds NaN"):
        trace(model, X)


def test_the_comparison_can_be_left_out():
    spec, _ = trace(Noisy(), X, check=False)
    assert spec.num_outputs == 3
