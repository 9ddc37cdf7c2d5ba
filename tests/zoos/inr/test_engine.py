import os
import shutil
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from weightwalk import InputError, NetworkSpec, Weights
from weightwalk.networks.starts import Key, initialise
from weightwalk.spec import Conv, Dense
from weightwalk.steps import FITTED
from weightwalk.testing import assert_close, random_weights
from weightwalk.zoos import compiled
from weightwalk.zoos.inr import batched as steps
from weightwalk.zoos.inr import engine, kernel
from weightwalk.zoos.inr.engine import Descent, fit
from weightwalk.zoos.inr.pixels import PixelFormat

SPEC = NetworkSpec.mlp([2, 7, 6, 3], omega=20.0)
COORDINATES = PixelFormat().coordinates((5, 4))
needs_compiler = pytest.mark.skipif(shutil.which("g++") is None, reason="no C++ compiler")
MODES = ["eager", pytest.param("native", marks=needs_compiler)]


def problem(
    count: int, spec: NetworkSpec = SPEC, dtype: torch.dtype = torch.float32
) -> tuple[Weights, torch.Tensor, torch.Tensor]:
    """Starts, coordinates and smooth random targets in [-1, 1]."""
    start = initialise(spec, [Key(0, 0, image, 0) for image in range(count)]).to(dtype)
    directions = torch.randn(count, spec.widths[-1], 2, generator=torch.Generator().manual_seed(1))
    return start, COORDINATES.to(dtype), torch.sin(3 * directions @ COORDINATES.T).to(dtype)


def by_autograd(start: Weights, x: torch.Tensor, targets: torch.Tensor, descent: Descent) -> Weights:
    """The same descent with torch's own gradients and its own Adam, one network after another."""
    fitted = []
    for index in range(len(start)):
        flat = start[index].flat.clone().requires_grad_()
        optimizer = torch.optim.Adam([flat], lr=descent.learning_rate, betas=descent.betas)
        falling = max(1, round(descent.decay * descent.steps))
        decay = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, falling)
        for step in range(descent.steps):
            optimizer.zero_grad()
            F.mse_loss(Weights(start.spec, flat).run(x)[0].T, targets[index]).backward()
            optimizer.step()
            if step >= descent.steps - descent.decay * descent.steps:
                decay.step()
        fitted.append(flat.detach())
    return Weights(start.spec, torch.cat(fitted))


@pytest.mark.parametrize("activation", FITTED)
@pytest.mark.parametrize("widths", [[2, 5, 1], [2, 7, 6, 3], [3, 4, 5, 6, 2]], ids=str)
def test_gradients_by_hand_are_autograd_s(widths, activation):
    spec = NetworkSpec.mlp(widths, activation, omega=1.5)
    weights = random_weights(spec, 4, seed=0, dtype=torch.float64)
    x, targets = torch.randn(9, widths[0], dtype=torch.float64), torch.randn(4, widths[-1], 9, dtype=torch.float64)
    flat = weights.flat.clone().requires_grad_()
    expected = (Weights(spec, flat).run(x).mT - targets).square().mean(dim=(1, 2))
    expected.sum().backward()
    values = [t for w, b in zip(weights.weights, weights.biases, strict=True) for t in (w, b.unsqueeze(-1))]
    loss, gradients = steps.Step(spec, (0.9, 0.999), 0.0, False).gradients(values, x.T.contiguous(), targets)
    assert_close(loss, expected.detach(), what="loss")
    assert_close(torch.cat([gradient.flatten(1) for gradient in gradients], dim=1), flat.grad, what="gradients")


@pytest.mark.parametrize(
    "change", [{}, {"decay": 1.0}, {"decay": 0.2, "betas": (0.5, 0.97)}, {"betas": (0.0, 0.9)}], ids=str
)
def test_a_descent_is_torch_s_adam(change):
    descent = Descent(steps=25, learning_rate=2e-3, **change)
    start, x, targets = problem(3, dtype=torch.float64)
    fitted, errors = fit(start, x, targets, descent)
    expected = by_autograd(start, x, targets, descent)
    assert_close(fitted.flat, expected.flat, what="parameters", atol=1e-6, rtol=1e-5)
    assert_close(errors, (expected.run(x).mT - targets).square().mean(dim=(1, 2)), what="errors", atol=1e-6, rtol=1e-4)
    assert (errors < 0.9 * (start.run(x).mT - targets).square().mean(dim=(1, 2))).all()


def test_the_rate_stays_until_it_decays_to_near_zero():
    cosine = Descent(steps=100, learning_rate=0.5, decay=1.0).table()
    assert cosine.shape == (100, 3)
    assert [cosine[t, 0].item() for t in (0, 50)] == pytest.approx([0.5, 0.25])
    assert cosine[-1, 0] < 2e-4
    assert (Descent(steps=5, learning_rate=0.5).table()[:, 0] == 0.5).all()
    late = Descent(steps=100, learning_rate=0.5, decay=0.2).table()[:, 0]
    assert [late[t].item() for t in (0, 80, 90)] == pytest.approx([0.5, 0.5, 0.25])
    assert late[-1] < 0.004
    assert Descent(steps=2, learning_rate=0.5, betas=(0.5, 0.9)).table()[:, 1:].tolist() == [
        pytest.approx(row) for row in ([0.5, 0.1], [0.75, 0.19])
    ]


def assert_alone_is_together(mode: engine.Mode, count: int = 64) -> None:
    """The law: network i fitted alone, in another batch, or among 64, ends the same."""
    start, x, targets = problem(count)
    descent = Descent(steps=20, learning_rate=3e-3, decay=1.0)
    together, errors = fit(start, x, targets, descent, mode)
    for rows in ([0], [count - 1], [5, 40, 17], list(range(steps.GROUP_CPU + 3))):
        few, few_errors = fit(start[rows], x, targets[rows], descent, mode)
        assert_close(few.flat, together[rows].flat, what=f"rows {rows}", atol=1e-5, rtol=0.0)
        assert_close(few_errors, errors[rows], what=f"errors of {rows}", atol=1e-5, rtol=0.0)


def test_a_fit_alone_is_the_fit_in_a_batch():
    assert_alone_is_together("eager")


@needs_compiler
def test_the_kernel_gives_the_same_bits_in_any_batch_and_order():
    start, x, targets = problem(9)
    descent = Descent(steps=20, learning_rate=3e-3, decay=1.0)
    together, errors = fit(start, x, targets, descent, "native")
    for rows in ([4], [8, 0, 3], list(range(9))[::-1]):
        few, few_errors = fit(start[rows], x, targets[rows], descent, "native")
        assert torch.equal(few.flat, together[rows].flat)
        assert torch.equal(few_errors, errors[rows])


@needs_compiler
@pytest.mark.parametrize("activation", FITTED)
@pytest.mark.parametrize(
    "widths", [[2, 32, 32, 1], [2, 7, 6, 3], [3, 5, 1], [1, 40, 17, 9, 2], [20, 16, 33, 16, 18]], ids=str
)
@pytest.mark.parametrize("pixels", [1, 16, 90])
def test_the_kernel_takes_the_steps_of_torch(widths, activation, pixels):
    spec = NetworkSpec.mlp(widths, activation, omega=3.0)
    generator = torch.Generator().manual_seed(0)
    start = random_weights(spec, 3, seed=1)
    x, targets = (
        torch.rand(pixels, widths[0], generator=generator) * 2 - 1,
        torch.randn(3, widths[-1], pixels, generator=generator),
    )
    descent = Descent(steps=12, learning_rate=1e-3, decay=1.0)
    expected, expected_errors = fit(start.to(torch.float64), x.double(), targets.double(), descent, "eager")
    found, errors = fit(start, x, targets, descent, "native")
    assert_close(found.flat.double(), expected.flat, what="parameters", atol=2e-4, rtol=1e-3)
    assert_close(errors.double(), expected_errors, what="errors", atol=1e-6, rtol=1e-4)


@needs_compiler
@settings(max_examples=60)
@given(
    widths=st.lists(st.sampled_from([1, 2, 3, 15, 16, 17, 31, 32, 33, 40]), min_size=3, max_size=5),
    activation=st.sampled_from(FITTED),
    pixels=st.sampled_from([1, 2, 15, 16, 17, 33, 90]),
    seed=st.integers(0, 2**16),
)
def test_the_kernel_s_gradients_are_those_of_torch_in_float64(widths, activation, pixels, seed):
    """Without Adam: a bias correction of infinity takes the root away, so that one step is 1e8 rate gradient."""
    spec = NetworkSpec.mlp(widths, activation, omega=2.0)
    generator = torch.Generator().manual_seed(seed)
    start, x = random_weights(spec, 2, seed=seed), torch.rand(pixels, widths[0], generator=generator) * 2 - 1
    targets = torch.randn(2, widths[-1], pixels, generator=generator)
    fitted, _ = kernel.fit(start, x, targets, torch.tensor([[1e-8, 0.1, torch.inf]]), (0.9, 0.999), 0.0)
    exact = start.to(torch.float64)
    values = [t for w, b in zip(exact.weights, exact.biases, strict=True) for t in (w, b.unsqueeze(-1))]
    _, gradients = steps.Step(spec, (0.9, 0.999), 0.0, False).gradients(values, x.double().T, targets.double())
    expected = torch.cat([gradient.flatten(1) for gradient in gradients], dim=1)
    atol = 2e-5 * max(1.0, float(expected.abs().max()))
    assert_close(start.flat.double() - fitted.flat.double(), expected, what="gradients", atol=atol, rtol=1e-4)


@needs_compiler
@pytest.mark.parametrize("activation", FITTED)
def test_a_network_that_diverges_leaves_those_after_it_alone(activation):
    start, x, targets = problem(3, NetworkSpec.mlp([2, 7, 6, 3], activation, omega=20.0))
    flat = start.flat.clone()
    flat[1] *= 1e25
    descent = Descent(steps=5, learning_rate=1e-3)
    together, errors = fit(Weights(start.spec, flat), x, targets, descent, "native")
    assert not errors[1].isfinite()
    for row in (0, 2):
        alone, error = fit(start[[row]], x, targets[[row]], descent, "native")
        assert torch.equal(alone.flat[0], together.flat[row])
        assert torch.equal(error[0], errors[row])


@needs_compiler
@pytest.mark.parametrize("activation", FITTED)
def test_the_kernel_s_functions_are_torch_s_over_a_wide_range(activation):
    """A network that is one neuron: its error at a target of 0 is the mean square of a(z)."""
    spec = NetworkSpec.mlp([1, 1, 1], activation, omega=1.0)
    one = Weights(spec, torch.tensor([[1.0, 0.0, 1.0, 0.0]]))
    for z in (0.0, 1e-4, 0.7, -1.5, 3.2, 10.0, -88.0, 1000.0):
        x = torch.tensor([[z]])
        _, (error,) = fit(one, x, torch.zeros(1, 1, 1), Descent(1, 1e-30), "native")
        assert error.sqrt().item() == pytest.approx(
            abs(one.to(torch.float64).run(x.double()).item()), abs=2e-6, rel=1e-5
        )


def test_wrong_twin_that_weighs_its_loss_by_the_batch(monkeypatch):
    class Twin(steps.Step):
        def gradients(self, values, inputs, targets):
            loss, gradients = super().gradients(values, inputs, targets)
            return loss, [gradient / (loss.max() + 0.01 * loss[:, None, None]) for gradient in gradients]

    monkeypatch.setattr(steps, "_stepper", Twin)
    with pytest.raises(AssertionError, match="largest difference"):
        assert_alone_is_together("eager")


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # torch's compiler imports what torch deprecates
@needs_compiler
def test_compiled_is_eager_and_alone_is_together():
    assert_alone_is_together("compiled", count=41)
    start, x, targets = problem(3)
    descent = Descent(steps=20, learning_rate=3e-3, decay=1.0)
    one, two = (fit(start, x, targets, descent, mode)[0].flat for mode in ("eager", "compiled"))
    assert_close(two, one, what="compiled", atol=1e-4, rtol=1e-3)


def test_groups_are_chosen_by_device_and_signal():
    cuda = torch.device("cuda")
    assert [steps.group_size(cuda, pixels) for pixels in (64, 1024, 32**3, 2**22)] == [512, 512, 16, 1]
    assert {steps.group_size(torch.device("cpu"), pixels) for pixels in (64, 2**22)} == {16}


def test_auto_looks_at_the_machine_and_the_dtype_only(monkeypatch):
    cpu, cuda = torch.device("cpu"), torch.device("cuda")
    monkeypatch.setattr(steps, "can_compile", lambda device: True)
    monkeypatch.setattr(kernel, "available", lambda: True)
    assert [engine.choose("auto", *where) for where in ((cpu,), (cpu, torch.float64), (cuda,))] == [
        "native",
        "eager",
        "compiled",
    ]
    monkeypatch.setattr(steps, "can_compile", lambda device: False)
    monkeypatch.setattr(kernel, "available", lambda: False)
    assert [engine.choose("auto", device) for device in (cpu, cuda)] == ["eager", "eager"]
    assert engine.choose("compiled", cpu) == "compiled"
    with pytest.raises(InputError, match=r"expected a C\+\+ compiler"):
        engine.choose("native", cpu)
    for where in ((cuda,), (cpu, torch.float64)):
        with pytest.raises(InputError, match="the mode 'native' fits float32 networks on the CPU"):
            engine.choose("native", *where)


@pytest.mark.parametrize("mode", MODES)
def test_a_network_below_stop_loss_stands_still_and_the_others_go_on(mode):
    start, x, targets = problem(3)
    targets[1] = start[1].run(x)[0].T + 1e-3
    fitted, errors = fit(start, x, targets, Descent(steps=30, learning_rate=3e-3, stop_loss=1e-4), mode)
    assert torch.equal(fitted.flat[1], start.flat[1])
    assert errors[1] < 1e-4
    moved = (fitted.flat - start.flat).abs().amax(dim=1)
    assert moved[0] > 0.01
    assert moved[2] > 0.01


@pytest.mark.parametrize("mode", MODES)
def test_one_that_reaches_stop_loss_stays_there(mode):
    start, x, targets = problem(2)
    short, long = (
        fit(start, x, targets, Descent(steps=steps, learning_rate=5e-3, stop_loss=0.05), mode)[0].flat
        for steps in (400, 500)
    )
    assert torch.equal(short, long)
    assert not torch.equal(short, fit(start, x, targets, Descent(steps=500, learning_rate=5e-3), mode)[0].flat)


@pytest.mark.parametrize("mode", MODES)
def test_starts_and_targets_are_left_as_they_were(mode):
    start, x, targets = problem(2)
    before = start.flat.clone(), targets.clone()
    fit(start, x, targets, Descent(steps=3, learning_rate=1e-2), mode)
    assert torch.equal(start.flat, before[0])
    assert torch.equal(targets, before[1])


@pytest.mark.parametrize(
    ("spec", "sentence"),
    [
        (NetworkSpec.mlp([2, 4, 1], "gelu"), "hidden layers of relu, tanh, sine, gaussian with a linear last one"),
        (NetworkSpec.mlp([2, 1]), "with a linear last one"),
        (NetworkSpec((Dense(2, 3, "sine"), Dense(3, 1, "sine"))), "with a linear last one"),
        (NetworkSpec((Dense(2, 3, "sine"), Dense(3, 1, omega=2.0))), "with a linear last one"),
        (NetworkSpec.mlp([2, 4, 1], bias=False), "dense layers with biases"),
        (NetworkSpec((Conv(2, 3, "sine"), Conv(3, 1))), "dense layers with biases"),
    ],
    ids=str,
)
def test_other_networks_are_refused(spec, sentence):
    with pytest.raises(InputError, match=sentence):
        fit(random_weights(spec, 1, seed=0), COORDINATES, torch.zeros(1, 1, 20), Descent(1, 1e-3))


def test_a_machine_that_cannot_compile_is_found_out(monkeypatch):
    def broken(function):
        raise RuntimeError("no compiler")

    monkeypatch.setattr(torch, "compile", broken)
    assert not steps.can_compile.__wrapped__(torch.device("cpu"))


@needs_compiler
def test_the_kernel_is_built_once_and_whole(monkeypatch, tmp_path):
    """Also by a compiler whose name is several words, as in "ccache g++"."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("CXX", "env g++")
    monkeypatch.setattr(shutil, "which", {"env": "/usr/bin/env"}.get)
    kernel._library.__wrapped__()
    (built,) = (tmp_path / "weightwalk").iterdir()
    before = built.stat().st_mtime_ns
    kernel._library.__wrapped__()
    assert [path.stat().st_mtime_ns for path in (tmp_path / "weightwalk").iterdir()] == [before]


@needs_compiler
def test_what_another_user_has_put_there_is_not_run(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(compiled.tempfile, "tempdir", str(tmp_path / "tmp"))
    mine = os.getuid()
    monkeypatch.setattr(os, "getuid", lambda: mine + 1)
    with pytest.raises(PermissionError, match="belongs to another user"):
        kernel._library.__wrapped__()
    assert not list(tmp_path.rglob("*.so"))


def test_without_a_home_there_is_a_folder_for_temporary_files(monkeypatch):
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)  # as for a user whom the system does not know
    assert list(compiled.folders()) == [Path(compiled.tempfile.gettempdir()) / f"weightwalk-{os.getuid()}"]


def test_a_machine_without_a_compiler_has_no_kernel(monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda name: None)
    kernel._library.cache_clear()
    assert not kernel.available.__wrapped__()


@needs_compiler
def test_a_compiler_that_fails_means_no_kernel(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(kernel, "_SOURCE", tmp_path / "broken.cpp")
    (tmp_path / "broken.cpp").write_text("this is no C++")
    kernel._library.cache_clear()
    assert not kernel.available.__wrapped__()
    assert not list((tmp_path / "weightwalk").iterdir())


def test_targets_that_do_not_fit_are_refused():
    start, x, targets = problem(3)
    with pytest.raises(InputError, match=r"expected coordinates \(pixels, 2\)"):
        fit(start, x[:, :1], targets, Descent(1, 1e-3))
    with pytest.raises(InputError, match=r"expected targets of shape \(3, 3, 20\) .*got \(2, 3, 20\)"):
        fit(start, x, targets[:2], Descent(1, 1e-3))
    for value in (torch.nan, torch.inf):
        targets[2, 0, 7] = value
        with pytest.raises(InputError, match="signal 2 is not"):
            fit(start, x, targets, Descent(1, 1e-3))


@pytest.mark.parametrize(
    "change",
    [
        {"steps": 0},
        {"learning_rate": 0.0},
        {"stop_loss": -1.0},
        {"betas": (0.9, 1.0)},
        {"betas": (0.9,)},
        {"decay": 1.5},
    ],
    ids=str,
)
def test_descents_that_go_nowhere_are_refused(change):
    with pytest.raises(InputError, match=r"(must be a number (of|above)|betas must be two numbers)"):
        Descent(**{"steps": 1, "learning_rate": 1e-3, **change})


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA")
@pytest.mark.parametrize("mode", ["eager", "auto"])
def test_a_device_fits_what_the_cpu_fits(mode):
    start, x, targets = problem(5)
    descent = Descent(steps=20, learning_rate=1e-3)
    here, errors = fit(start, x, targets, descent, "eager")
    there, their_errors = fit(start.to("cuda"), x.cuda(), targets.cuda(), descent, mode)
    assert_close(there.flat.cpu(), here.flat, what="parameters", atol=1e-4, rtol=1e-3)
    assert_close(their_errors.cpu(), errors, what="errors", atol=1e-5, rtol=1e-3)
