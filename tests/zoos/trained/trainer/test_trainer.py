"""The engine that trains: its gradients are autograd's, its optimisers torch's, and a network is the same whatever is
trained beside it.
"""

import shutil
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from weightwalk import InputError, NetworkSpec, Weights
from weightwalk.spec import Dense, MeanPool
from weightwalk.steps import TRAINED, Activate, Add, Attention, Concat, Conv, Learned, Norm, Pad, Patches, Pool, Slice
from weightwalk.testing import assert_close, random_weights
from weightwalk.zoos.trained.trainer import (
    OPTIMIZERS,
    Samples,
    Training,
    begin,
    choose,
    epoch,
    native,
    score,
    score_many,
    train_many,
)

needs_compiler = pytest.mark.skipif(shutil.which("g++") is None, reason="no C++ compiler")
MODES = ["torch", pytest.param("native", marks=needs_compiler)]
SCALE, OFFSET = (1 / 64, 1 / 50, 1 / 80), (-1.9, -2.0, -1.5)

SMALL_CNN = NetworkSpec((
    *(Conv(1, 6, "relu", stride=2, padding=1), Conv(6, 5, "tanh", stride=2), Conv(5, 7, "relu", stride=2, padding=1)),
    *(MeanPool(7), Dense(7, 4)),
))  # fmt: skip
WILD_PARK = NetworkSpec((
    Conv(3, 4, "leaky_relu", padding=1),
    Conv(4, 8, kernel=(5, 5), padding=2),
    Pad(4, 8, sources=(1,)),
    Add(8, sources=(2, 3)),
    Activate(8, activation="gelu"),
    Conv(8, 3, kernel=(7, 7), padding=3),
    Slice(8, 3, sources=(5,)),
    Slice(4, 3, start=1, sources=(1,)),
    Add(3, sources=(6, 7, 8)),
    Activate(3, activation="sigmoid"),
    MeanPool(3),
    Dense(3, 5),
))  # fmt: skip
GROUPED = NetworkSpec((
    Conv(2, 6, "silu", padding=1),
    Conv(6, 12, "sine", 1.5, kernel=(3, 2), stride=(2, 1), padding=(0, 1), groups=3),
    Norm(12, 12, "gaussian", norm="rms", bias=False),
    Learned(1, 12, bias=False, grid=(3, 9), sources=(0,)),
    Add(12, sources=(3, 4)),
    Concat(24, sources=(5, 3), widths=(12, 12)),
    Norm(24, 24, norm="batch"),
    Dense(24, 6, "tanh"),
    Norm(6, 6),
    Dense(6, 5, "relu", positions=27, bias=False),
    Dense(5, 4),
))  # fmt: skip


def vit(dim: int = 12, heads: int = 3, inner: int = 18, causal: bool = False) -> NetworkSpec:
    """One block of a SimpleViT with learned positions."""
    return NetworkSpec((
        Patches(3, 48, size=(4, 4)),
        Norm(48, 48),
        Dense(48, dim),
        Learned(1, dim, bias=False, grid=(6,), sources=(0,)),
        Add(dim, sources=(3, 4)),
        Norm(dim, dim),
        Dense(dim, 3 * inner, bias=False),
        *(Slice(3 * inner, inner, start=start, sources=(7,)) for start in (0, inner, 2 * inner)),
        Attention(inner, heads=heads, causal=causal, sources=(8, 9, 10)),
        Dense(inner, dim, bias=False),
        Add(dim, sources=(5, 12)),
        Norm(dim, dim),
        Dense(dim, 20, "gelu"),
        Dense(20, dim),
        Add(dim, sources=(13, 16)),
        Norm(dim, dim),
        MeanPool(dim),
        Dense(dim, 4),
    ))  # fmt: skip


NETWORKS = {
    "small cnn": (SMALL_CNN, (1, 11, 13)),
    "wild park": (WILD_PARK, (3, 7, 6)),
    "grouped, normed, flattened": (GROUPED, (2, 7, 8)),
    "vit": (vit(), (3, 8, 12)),
    "causal vit": (vit(17, 2, 34, causal=True), (3, 12, 8)),
    "no hidden layer": (NetworkSpec((MeanPool(2), Dense(2, 3)), input_axes=3), (2, 4, 4)),
}


def pictures(shape: tuple[int, ...], count: int = 37, classes: int = 3) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (count, *shape), dtype=torch.uint8, generator=generator), torch.arange(count) % classes


def normalised(pixels: torch.Tensor) -> torch.Tensor:
    channels = pixels.shape[1]
    scale, offset = (torch.tensor(values[:channels], dtype=torch.float64).view(-1, 1, 1) for values in (SCALE, OFFSET))
    return pixels.double() * scale + offset


def samples(spec: NetworkSpec, pixels: torch.Tensor, labels: torch.Tensor) -> Samples:
    return Samples(pixels, labels, SCALE[: spec.widths[0]], OFFSET[: spec.widths[0]])


def autograd(spec: NetworkSpec, params: torch.Tensor, pixels: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """The gradient in float64."""
    flat = params.double()[None].requires_grad_()
    F.cross_entropy(Weights(spec, flat).run(normalised(pixels))[0], labels).backward()
    return flat.grad[0]


def step_of_one(
    spec: NetworkSpec, params: torch.Tensor, pixels: torch.Tensor, labels: torch.Tensor, mode: str
) -> torch.Tensor:
    """The gradient as a step of plain descent at rate 1 shows it."""
    state = begin(params)
    training = Training("sgd", learning_rate=1.0, batch_size=len(pixels))
    epoch(spec, state, samples(spec, pixels, labels), torch.arange(len(pixels)), training, mode=mode)
    return params.double() - state.params.double()


def assert_gradient(spec: NetworkSpec, shape: tuple[int, ...], mode: str = "native", count: int = 37) -> None:
    pixels, labels = pictures(shape, count)
    params = random_weights(spec, 1, seed=1).flat[0]
    expected = autograd(spec, params, pixels, labels)
    scale = max(1e-2, float(expected.abs().max()))
    assert_close(
        step_of_one(spec, params, pixels, labels, mode), expected, what="gradient", atol=1e-5 * scale + 5e-7, rtol=1e-4
    )


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", NETWORKS)
def test_gradients_are_autograd_s(name, mode):
    assert_gradient(*NETWORKS[name], mode)


@needs_compiler
@pytest.mark.parametrize("activation", TRAINED)
def test_gradients_through_every_activation(activation):
    for spec in (
        NetworkSpec((Conv(1, 3, activation, 1.3, padding=1), MeanPool(3), Dense(3, 4, activation))),
        NetworkSpec(
            (
                Patches(1, 4, size=(2, 2)),
                Dense(4, 3, activation),
                Dense(3, 3),
                Activate(3, activation),
                MeanPool(3),
                Dense(3, 3),
            )
        ),
    ):
        assert_gradient(spec, (1, 6, 4))


@needs_compiler
@settings(max_examples=60)
@given(
    widths=st.lists(st.sampled_from([1, 2, 3, 4, 5, 8, 9, 17]), min_size=3, max_size=3),
    kernel=st.tuples(st.integers(1, 5), st.integers(1, 5)),
    stride=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    padding=st.tuples(st.integers(0, 3), st.integers(0, 3)),
    grid=st.tuples(st.integers(5, 9), st.integers(5, 18)),
    residual=st.booleans(),
    count=st.sampled_from([1, 15, 16, 17, 33]),
)
def test_gradients_of_any_convolution(widths, kernel, stride, padding, grid, residual, count):
    channels, hidden, out = widths
    steps = [Conv(channels, hidden, "tanh", padding=1), Conv(hidden, hidden, padding=1)]
    if residual:
        steps += [Add(hidden, sources=(1, 2)), Activate(hidden, activation="relu")]
    steps += [Conv(hidden, out, "tanh", kernel=kernel, stride=stride, padding=padding), MeanPool(out), Dense(out, 3)]
    spec = NetworkSpec(steps)
    pixels, labels = pictures((channels, *grid), count)
    params = random_weights(spec, 1, seed=1).flat[0]
    state = begin(params)
    epoch(
        *(spec, state, Samples(pixels, labels, (1 / 100,) * channels, (-1.0,) * channels), torch.arange(count)),
        Training("sgd", 1.0, batch_size=count),
        mode="native",
    )
    flat = params.double()[None].requires_grad_()
    F.cross_entropy(Weights(spec, flat).run(pixels.double() / 100 - 1)[0], labels).backward()
    atol = 2e-5 * max(0.05, float(flat.grad.abs().max()))
    assert_close(params.double() - state.params.double(), flat.grad[0], what="gradient", atol=atol, rtol=2e-4)


# widths, kernel, padding and grid of convolutions that trainer.cpp does by Fourier transforms
FOURIER = {
    "Fourier": ([9, 16], (7, 7), (3, 3), (16, 15)),
    "Fourier, odd numbers of channels": ([17, 7], (5, 9), (2, 4), (9, 21)),
    "Fourier, without padding": ([16, 16], (7, 5), (0, 0), (20, 16)),
    "Fourier, more padding than it takes": ([16, 16], (5, 5), (4, 3), (10, 9)),
}


@needs_compiler
@pytest.mark.parametrize("residual", [False, True])
@pytest.mark.parametrize("case", FOURIER)
def test_gradients_of_convolutions_by_fourier_transforms(case, residual):
    (channels, out), kernel, padding, grid = FOURIER[case]
    steps = [Conv(1, channels, "tanh", padding=1), Conv(channels, out, "relu", kernel=kernel, padding=padding)]
    if residual:  # x has another reader, y another writer
        steps += [
            Slice(channels, 1, sources=(1,)),
            MeanPool(1),
            MeanPool(out, sources=(2,)),
            Dense(1, out, sources=(4,)),
            Add(out, sources=(5, 6)),
        ]
    else:
        steps += [MeanPool(out)]
    assert_gradient(NetworkSpec((*steps, Dense(out, 3))), (1, *grid), count=21)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_optimisers_are_torch_s(name, mode):
    spec, shape = NETWORKS["small cnn"]
    pixels, labels = pictures(shape, 90)
    params = random_weights(spec, 1, seed=0).flat[0]
    training = Training(name, learning_rate=0.01, weight_decay=0.03, batch_size=9)
    state = begin(params)
    loss, _ = epoch(spec, state, samples(spec, pixels, labels), torch.arange(90).flip(0), training, mode=mode)

    flat = params.clone()[None].requires_grad_()
    optimizer = {
        "sgd": torch.optim.SGD([flat], 0.01, weight_decay=0.03),
        "momentum": torch.optim.SGD([flat], 0.01, momentum=0.9, weight_decay=0.03),
        "adam": torch.optim.Adam([flat], 0.01, weight_decay=0.03),
        "rmsprop": torch.optim.RMSprop([flat], 0.01, weight_decay=0.03),
        "adamw": torch.optim.AdamW([flat], 0.01, weight_decay=0.03),
    }[name]
    losses = []
    for rows in torch.arange(90).flip(0).split(9):
        optimizer.zero_grad()
        losses.append(F.cross_entropy(Weights(spec, flat).run(normalised(pixels[rows]).float())[0], labels[rows]))
        losses[-1].backward()
        optimizer.step()
    assert state.step == 10
    assert_close(state.params, flat.detach()[0], what="parameters", atol=1e-4, rtol=0.0)
    assert loss == pytest.approx(float(torch.stack(losses).detach().mean()), rel=1e-5)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", ["small cnn", "vit"])
def test_epochs_go_on_where_the_last_one_ended(name, mode):
    """Two calls are one, also across a mini-batch that is not full."""
    spec, shape = NETWORKS[name]
    pixels, labels = pictures(shape, 40)
    params, training = (
        random_weights(spec, 1, seed=0).flat[0],
        Training("adamw", 0.01, 0.1, dropout=0.4, batch_size=20),
    )
    order = torch.arange(40).flip(0)
    once, twice = begin(params), begin(params)
    epoch(spec, once, samples(spec, pixels, labels), order, training, seed=3, mode=mode)
    for part in order.split(20):
        epoch(spec, twice, samples(spec, pixels, labels), part, training, seed=3, mode=mode)
    assert once.step == twice.step == 2
    assert torch.equal(once.params, twice.params)
    assert torch.equal(once.second, twice.second)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", NETWORKS)
def test_scores_are_torch_s(name, mode):
    spec, shape = NETWORKS[name]
    pixels, labels = pictures(shape)
    weights = random_weights(spec, 1, seed=2)
    loss, accuracy = score(spec, weights.flat[0], samples(spec, pixels, labels), mode=mode)
    outputs = weights.to(torch.float64).run(normalised(pixels))[0]
    assert loss == pytest.approx(float(F.cross_entropy(outputs, labels)), rel=1e-5)
    assert accuracy == pytest.approx(float((outputs.argmax(1) == labels).double().mean()))


@needs_compiler
@pytest.mark.parametrize("name", ["small cnn", "grouped, normed, flattened", "vit"])
def test_dropout_has_its_rate_and_the_same_bits_in_both_modes(name):
    spec, shape = NETWORKS[name]
    pixels, labels = pictures(shape)
    params = random_weights(spec, 1, seed=2).flat[0]

    def trained(mode: str, seed: int, dropout: float = 0.3) -> tuple[torch.Tensor, float]:
        state = begin(params)
        training = Training("sgd", 0.5, dropout=dropout, batch_size=20)
        loss, _ = epoch(spec, state, samples(spec, pixels, labels), torch.arange(37), training, seed=seed, mode=mode)
        return state.params, loss

    for seed in (0, 2**40 + 7):
        (found, loss), (expected, expected_loss) = trained("native", seed), trained("torch", seed)
        assert_close(found, expected, what="parameters", atol=2e-5, rtol=1e-4)
        assert loss == pytest.approx(expected_loss, rel=1e-4)
        assert torch.equal(found, trained("native", seed)[0])
    assert not torch.equal(trained("native", 0)[0], trained("native", 1)[0])
    assert not torch.equal(trained("native", 0)[0], trained("native", 0, 0.0)[0])


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("rate", [0.1, 0.5])
def test_a_share_of_the_units_is_dropped(rate, mode):
    """The head sees means of ones, each kept at its rate, and so its weight's gradient tells how many were."""
    spec = NetworkSpec((Conv(1, 40, kernel=(1, 1)), MeanPool(40), Dense(40, 2)))
    params = torch.zeros(spec.num_parameters)
    params[40:80] = 1  # the convolution's bias
    state, count = begin(params), 64
    epoch(
        *(
            spec,
            state,
            Samples(torch.zeros(count, 1, 5, 5, dtype=torch.uint8), torch.zeros(count).long(), (1.0,), (0.0,)),
            torch.arange(count),
        ),
        Training("sgd", 2.0, dropout=rate, batch_size=count),
        mode=mode,
    )
    means = state.params[80:120]  # of 1600 units per channel, scaled by 1 / (1 - rate)
    deviation = (rate / (1 - rate) / (25 * count)) ** 0.5
    assert means.mean() == pytest.approx(1.0, abs=4 * deviation / 40**0.5)
    assert means.std() == pytest.approx(deviation, rel=0.5)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", ["wild park", "vit"])
def test_pictures_are_cropped_and_mirrored_as_told(name, mode):
    spec, shape = NETWORKS[name]
    pixels, labels = pictures(shape, 19)
    generator = torch.Generator().manual_seed(4)
    shifts = torch.cat(
        [torch.randint(0, 2, (19, 1), generator=generator), torch.randint(-3, 4, (19, 2), generator=generator)], dim=1
    )
    params, order = random_weights(spec, 1, seed=2).flat[0], torch.arange(19).flip(0)
    moved = []
    for image, (mirrored, down, along) in zip(normalised(pixels)[order], shifts.tolist(), strict=True):
        window = F.pad(image, (4, 4, 4, 4))[:, 4 + down : 4 + down + shape[1], 4 + along : 4 + along + shape[2]]
        moved.append(window.flip(2) if mirrored else window)
    expected = F.cross_entropy(Weights(spec, params[None].double()).run(torch.stack(moved))[0], labels[order])
    loss, _ = epoch(
        *(spec, begin(params), samples(spec, pixels, labels), order, Training(batch_size=19)),
        shifts=shifts.to(torch.int8),
        mode=mode,
    )
    assert loss == pytest.approx(float(expected), rel=1e-5)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("optimizer", ["adamw", "momentum"])
def test_fixed_values_stay_and_the_others_move(optimizer, mode):
    spec, shape = NETWORKS["vit"]
    steps = [replace(step, fixed=True) if isinstance(step, Learned) else step for step in spec.steps]
    spec = NetworkSpec(steps)
    pixels, labels = pictures(shape)
    params = random_weights(spec, 1, seed=2).flat[0]
    table = next(number for number, layer in enumerate(spec.layers) if isinstance(layer, Learned))
    state = begin(params)
    training = Training(optimizer, 0.01, 0.1)
    epoch(spec, state, samples(spec, pixels, labels), torch.arange(37), training, mode=mode)
    for field in spec.fields:
        same = torch.equal(state.params[field.start : field.stop], params[field.start : field.stop])
        assert same == (field.layer == table), field


@needs_compiler
def test_training_learns_and_both_modes_agree():
    spec, shape = NETWORKS["small cnn"]
    pixels, labels = pictures(shape, 120, classes=4)
    pixels = (pixels // 4 + 60 * labels.view(-1, 1, 1, 1)).to(torch.uint8)
    found = {}
    for mode in ("native", "torch"):
        state = begin(random_weights(spec, 1, seed=0).flat[0])
        for number in range(8):
            order = torch.randperm(120, generator=torch.Generator().manual_seed(number))
            loss, _ = epoch(
                spec, state, samples(spec, pixels, labels), order, Training("adam", 0.02, batch_size=16), mode=mode
            )
        found[mode] = (loss, score(spec, state.params, samples(spec, pixels, labels), mode=mode)[1])
    assert found["native"][0] == pytest.approx(found["torch"][0], rel=0.02)
    assert found["native"][1] > 0.8


@pytest.mark.parametrize("mode", MODES)
def test_a_network_that_diverges_says_so_and_leaves_no_trace(mode):
    spec, shape = NETWORKS["small cnn"]
    pixels, labels = pictures(shape)
    params = random_weights(spec, 1, seed=0).flat[0]

    def alone() -> torch.Tensor:
        state = begin(params)
        epoch(spec, state, samples(spec, pixels, labels), torch.arange(37), Training(batch_size=16), mode=mode)
        return state.params

    before = alone()
    wild = begin(params * 1e20)
    loss, accuracy = epoch(
        spec, wild, samples(spec, pixels, labels), torch.arange(37), Training("sgd", 1e10, batch_size=16), mode=mode
    )
    assert not loss < 1e6
    assert 0 <= accuracy <= 1
    assert torch.equal(alone(), before)


def test_networks_side_by_side_are_networks_alone():
    """Each with its own optimiser, rate, dropout, seed and order."""
    spec, shape = NETWORKS["small cnn"]
    pixels, labels = pictures(shape)
    params = random_weights(spec, 3, seed=0).flat
    trainings = [
        Training("adam", 0.01, dropout=0.3, batch_size=16),
        Training("sgd", 0.1, 0.01, batch_size=16),
        Training("rmsprop", batch_size=16),
    ]
    order = torch.stack([torch.randperm(37, generator=torch.Generator().manual_seed(number)) for number in range(3)])
    shifts = torch.randint(0, 2, (3, 37, 3), generator=torch.Generator().manual_seed(9)).to(torch.int8)
    together = begin(params)
    losses, accuracies = train_many(
        *(spec, together, samples(spec, pixels, labels), order, trainings),
        seeds=[5, 6, 7],
        shifts=shifts,
    )
    for row in range(3):
        alone = begin(params[row])
        loss, accuracy = epoch(
            *(spec, alone, samples(spec, pixels, labels), order[row], trainings[row]),
            **{"seed": 5 + row, "shifts": shifts[row], "mode": "torch"},
        )
        assert_close(together.params[row], alone.params, what=f"network {row}", atol=2e-5, rtol=1e-3)
        assert (float(losses[row]), float(accuracies[row])) == pytest.approx((loss, accuracy), rel=1e-4)
    scores = score_many(spec, together.params, samples(spec, pixels, labels))
    assert float(scores[0][1]) == pytest.approx(
        score(spec, together.params[1], samples(spec, pixels, labels), mode="torch")[0], rel=1e-4
    )


def test_auto_is_native_where_it_can_be(monkeypatch):
    spec, shape = NETWORKS["small cnn"]
    pixels, _ = pictures(shape)
    params = torch.zeros(spec.num_parameters)
    monkeypatch.setattr(native, "available", lambda: True)
    assert choose(spec, "auto", params, pixels) == "native"
    assert choose(spec, "torch", params, pixels) == "torch"
    assert choose(spec, "auto", params.double(), pixels) == "torch"
    monkeypatch.setattr(native, "available", lambda: False)
    assert choose(spec, "auto", params, pixels) == "torch"
    with pytest.raises(InputError, match=r"expected a C\+\+ compiler .*; or use the mode 'torch'"):
        choose(spec, "native", params, pixels)
    with pytest.raises(InputError, match="float32 networks on the CPU"):
        choose(spec, "native", params.double(), pixels)


REFUSED = {
    "step 1 .pool.": (Conv(2, 3, padding=1), Pool(3), MeanPool(3), Dense(3, 2)),
    "step 0 .conv.": (Conv(2, 3, padding=1, dilation=2), MeanPool(3), Dense(3, 2)),
    r"step 0 .conv, a kernel of \(9, 9\) on a grid": (Conv(2, 3, kernel=(9, 9)), MeanPool(3), Dense(3, 2)),
    r"step 0 .conv, mish": (Conv(2, 3, "mish"), MeanPool(3), Dense(3, 2)),
    r"step 1 .norm.": (Conv(2, 4), Norm(4, 4, norm="group", groups=2), MeanPool(4), Dense(4, 2)),
    r"step 1 .dense, 9 positions for a grid \(6, 6\)": (Conv(2, 4), Dense(4, 2, positions=9)),
    r"step 2 .add, of values on unlike grids": (
        Conv(2, 4),
        Conv(4, 4),
        Add(4, sources=(1, 2)),
        MeanPool(4),
        Dense(4, 2),
    ),
    r"one value per class, got a grid \(6, 6\)": (Conv(2, 4),),
    r"step 1 .attention.": (Conv(2, 3), Attention(3, sources=(1, 1, 1)), MeanPool(3), Dense(3, 2)),
    r"step 2 .conv, beside patches": (
        Patches(2, 8, size=(2, 2)),
        MeanPool(8),
        Conv(2, 3, sources=(0,)),
        MeanPool(3),
        Dense(3, 2),
    ),
    r"step 0 .patches.": (Patches(2, 18, size=(3, 3)), MeanPool(18), Dense(18, 2)),
}


@pytest.mark.parametrize("words", REFUSED)
def test_steps_that_it_does_not_have_are_named(words):
    spec = NetworkSpec(REFUSED[words])
    assert native.refusal(spec, (2, 8, 8)) is not None
    with pytest.raises(InputError, match=f"the mode 'native' .*{words}.*; or use the mode 'torch'"):
        epoch(
            *(
                spec,
                begin(torch.zeros(spec.num_parameters)),
                Samples(*pictures((2, 8, 8), classes=2), (1.0, 1.0), (0.0, 0.0)),
                torch.arange(37),
                Training(),
            ),
            mode="native",
        )


def test_what_auto_refuses_natively_is_trained_by_torch():
    spec = NetworkSpec((Conv(2, 3, "mish"), Pool(3), MeanPool(3), Dense(3, 2)))
    pixels, labels = pictures((2, 8, 8), classes=2)
    params = random_weights(spec, 1, seed=1).flat[0]
    assert_close(
        step_of_one(spec, params, pixels, labels, "auto"),
        autograd(spec, params, pixels, labels),
        what="gradient",
        atol=1e-5,
        rtol=1e-4,
    )


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"pixels": torch.zeros(37, 1, 11, 13)}, "expected uint8 pictures"),
        ({"pixels": torch.zeros(37, 3, 11, 13, dtype=torch.uint8)}, r"expected uint8 pictures \(N, 1, H, W\)"),
        ({"labels": torch.full((37,), 4)}, "expected a label from 0 to 3"),
        ({"labels": torch.zeros(36, dtype=torch.int64)}, "for each of 37 images"),
        ({"order": torch.tensor([0, 37])}, "numbers from 0 to 36"),
        ({"order": torch.tensor([], dtype=torch.int32)}, "at least one image"),
        ({"scale": (1.0, 1.0)}, "a scale and an offset for each of 1 channels"),
        ({"shifts": torch.zeros(3, 3)}, r"expected shifts \(37, 3\)"),
        ({"state": begin(torch.zeros(7))}, "parameters, got 7"),
        ({"state": begin(torch.zeros(2, 7))}, "train_many takes"),
    ],
    ids=str,
)
def test_what_does_not_fit_is_refused(change, words):
    spec, shape = NETWORKS["small cnn"]
    pixels, labels = pictures(shape)
    given = {"state": begin(torch.zeros(spec.num_parameters)), "order": torch.arange(37), "training": Training()}
    changed = {name: change[name] for name in ("pixels", "labels", "scale") if name in change}
    given |= {name: value for name, value in change.items() if name not in changed}
    with pytest.raises(InputError, match=words):
        epoch(spec, samples=replace(samples(spec, pixels, labels), **changed), **given)


@pytest.mark.parametrize(
    "change",
    [
        {"optimizer": "lion"},
        {"learning_rate": 0.0},
        {"weight_decay": -1.0},
        {"dropout": 1.0},
        {"batch_size": 0},
        {"learning_rate": float("nan")},
    ],
    ids=str,
)
def test_hyperparameters_that_make_no_sense_are_refused(change):
    with pytest.raises(InputError):
        Training(**change)


@needs_compiler
def test_what_does_not_fit_in_memory_is_said(monkeypatch):
    spec, shape = NETWORKS["small cnn"]
    pixels, labels = pictures(shape)
    given = (spec, begin(torch.zeros(spec.num_parameters)), samples(spec, pixels, labels), torch.arange(37), Training())
    monkeypatch.setattr(native.memory, "available", lambda: 1_000)
    with pytest.raises(InputError, match=r"a network of [\d,]+ parameters on pictures .* takes .* are free"):
        epoch(*given, mode="native")
    monkeypatch.undo()
    monkeypatch.setattr(native, "_library", lambda: SimpleNamespace(weightwalk_train=lambda *arguments: 1))
    with pytest.raises(MemoryError):
        epoch(*given, mode="native")


def test_networks_too_large_to_count_are_left_to_torch():
    wide = NetworkSpec((Conv(1, 70_000, padding=1), MeanPool(70_000), Dense(70_000, 3)))
    assert "counts up to" in native.refusal(wide, (1, 32, 32))
    assert native.refusal(wide, (1, 8, 8)) is None


@pytest.mark.parametrize("mode", MODES)
def test_a_batch_larger_than_all_images_is_all_images(mode):
    spec, shape = NETWORKS["small cnn"]
    pixels, labels = pictures(shape)
    states = [begin(random_weights(spec, 1, seed=0).flat[0]) for _ in range(2)]
    for state, size in zip(states, (37, 2**32 + 5), strict=True):
        epoch(spec, state, samples(spec, pixels, labels), torch.arange(37), Training(batch_size=size), mode=mode)
    assert torch.equal(states[0].params, states[1].params)
    assert states[0].step == states[1].step == 1
