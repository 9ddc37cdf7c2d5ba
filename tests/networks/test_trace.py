"""The tracer's two laws: what is read computes what the module computes, and neurons that may change places leave that
as it is.
"""

import json
import subprocess
import sys

import pytest
import torch
import trace_rarer_modules  # noqa: F401  (they join MODULES)
from torch import nn
from trace_modules import GPT, MODULES, SimpleViT, Siren, resnet_of, shaken

from weightwalk import NetworkSpec, Weights, trace
from weightwalk.steps import (
    ACTIVATIONS,
    Activate,
    Add,
    Affine,
    Attention,
    Conv,
    Dense,
    Embed,
    MeanPool,
    Move,
    Norm,
    Pool,
)
from weightwalk.symmetry import hidden_widths, random_permutations
from weightwalk.testing import assert_close


def output(model, x):
    """What the module gives in evaluation mode."""
    model.eval()
    with torch.no_grad():
        y = model(x)
    return y[0] if isinstance(y, tuple) else y


def assert_laws(model, x, *, seed=1):
    """Both laws, in float64."""
    model = model.double()
    x = x.double() if x.is_floating_point() else x
    spec, weights = trace(model, x)
    wanted = output(model, x)
    assert weights.dtype == torch.float64
    assert len(weights) == 1
    assert_close(weights.run(x)[0], wanted, what="the module's output", atol=1e-6, rtol=1e-5)
    assert NetworkSpec.from_dict(json.loads(json.dumps(spec.to_dict()))) == spec
    assert torch.equal(Weights(spec, weights.flat).run(x), weights.run(x))
    permuted = weights.permute(random_permutations(spec, 1, generator=torch.Generator().manual_seed(seed)))
    assert_close(permuted.run(x), weights.run(x), what="after neurons have changed places")
    return spec, weights


@pytest.mark.parametrize("name", MODULES)
def test_what_is_read_computes_the_same_whatever_the_order_of_its_neurons(name):
    model, x = MODULES[name]()
    spec, weights = assert_laws(shaken(model), x)
    if max(hidden_widths(spec), default=1) > 1:
        permuted = weights.permute(random_permutations(spec, 1, generator=torch.Generator().manual_seed(1)))
        assert not torch.equal(permuted.flat, weights.flat)


def test_a_wrong_order_does_change_the_function():
    """What the second law would miss if it could not fail."""
    model, x = MODULES["resnet"]()
    spec, weights = trace(model, x)
    conv = next(index for index, layer in enumerate(spec.layers) if layer.kind == "conv" and layer.fan_in > 3)
    wrong = Weights.of(
        spec, [w.flip(2) if index == conv else w for index, w in enumerate(weights.weights)], weights.biases
    )
    assert not torch.allclose(wrong.run(x), weights.run(x), atol=1e-3)


def test_plain_modules_give_the_specs_that_people_write():
    x = torch.randn(4, 2)
    for name, function in (
        ("relu", nn.ReLU()),
        ("tanh", nn.Tanh()),
        ("gelu_tanh", nn.GELU("tanh")),
        ("silu", nn.SiLU()),
    ):
        model = nn.Sequential(nn.Linear(2, 8), function, nn.Linear(8, 8), function, nn.Linear(8, 1))
        assert trace(model, x)[0] == NetworkSpec.mlp([2, 8, 8, 1], name)
    steps = trace(Siren(), x)[0].steps
    assert steps[:2] == (Dense(2, 8, "sine", 30.0), Dense(8, 7, "sine", 30.0))
    layers = [
        nn.Conv2d(1, 4, 3, 2, 1),
        nn.ReLU(),
        nn.Conv2d(4, 6, (1, 3), bias=False),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
    ]
    convolutional = nn.Sequential(*layers, nn.Linear(6, 3))
    wanted = (Conv(1, 4, "relu", stride=2, padding=1), Conv(4, 6, kernel=(1, 3), bias=False), MeanPool(6), Dense(6, 3))
    assert trace(convolutional, torch.randn(1, 1, 8, 8))[0] == NetworkSpec(wanted)


def test_a_residual_block_and_an_attention_are_the_steps_that_people_write():
    spec, _ = trace(resnet_of([4], 1, 2, stem=False), torch.randn(1, 3, 8, 8))
    norm = {"norm": "batch"}
    assert spec.steps == (
        Conv(3, 4, padding=1, bias=False), Norm(4, 4, "relu", **norm), Conv(4, 4, padding=1, bias=False),
        Norm(4, 4, "relu", **norm),
        Conv(4, 4, padding=1, bias=False), Norm(4, 4, **norm), Add(4, sources=(6, 2)), Activate(4),
        MeanPool(4), Dense(4, 2),
    )  # fmt: skip
    spec, weights = trace(GPT(11, 8, 12, 3, 1), torch.randint(0, 11, (1, 6)))
    assert spec.steps[0] == Embed(11, 12, bias=False)
    assert spec.steps[-2:] == (Dense(12, 11, bias=False, ties=0), Move(11))
    assert [step for step in spec.steps if step.kind == "attention"] == [
        Attention(12, heads=3, causal=True, sources=(6, 7, 8))
    ]
    assert [layer.activation for layer in spec.layers if layer.activation != "identity"] == ["gelu_tanh"]
    assert weights.weights[0].data_ptr() == weights.weights[-1].data_ptr()
    assert spec.widths[0] == 11


@pytest.mark.parametrize("name", [name for name in ACTIVATIONS if name != "identity"])
def test_every_activation_is_recognised_as_a_module_a_function_and_a_formula(name):
    modules = {
        "sine": (lambda z: torch.sin(7 * z), lambda z: torch.sin(z * 14 / 2)),
        "gaussian": (lambda z: torch.exp(-0.5 * (7 * z) ** 2), lambda z: torch.exp(-torch.square(z * 7) / 2)),
        "silu": (nn.SiLU(), lambda z: z * torch.sigmoid(z), lambda z: z / (1 + torch.exp(-z))),
        "gelu": (nn.GELU(), lambda z: z * 0.5 * (1 + torch.erf(z / 2**0.5))),
        "mish": (nn.Mish(), lambda z: z * torch.tanh(nn.functional.softplus(z))),
        "relu6": (nn.ReLU6(), lambda z: z.clamp(0, 6), lambda z: nn.functional.hardtanh(z, 0.0, 6.0)),
        "hardswish": (nn.Hardswish(), lambda z: z * nn.functional.relu6(z + 3) / 6),
        "relu": (
            nn.ReLU(True),
            torch.relu,
            lambda z: z.clamp(min=0),
            lambda z: nn.functional.relu(z.clone(), inplace=True),
        ),
        "leaky_relu": (nn.LeakyReLU(), lambda z: nn.functional.leaky_relu_(z.clone())),
        "gelu_tanh": (nn.GELU("tanh"),),
        "hardtanh": (nn.Hardtanh(), lambda z: z.clamp(-1, 1)),
    }
    functions = modules.get(name) or (getattr(torch, name, None) or getattr(nn.functional, name),)

    class Uses(nn.Module):
        def __init__(self, function):
            super().__init__()
            self.layer, self.function = nn.Linear(2, 3), function

        def forward(self, x):
            return self.function(self.layer(x))

    for function in functions:
        omega = 7.0 if name in ("sine", "gaussian") else 1.0
        assert trace(Uses(function), torch.randn(3, 2))[0].steps == (Dense(2, 3, name, omega),)


@pytest.mark.parametrize(
    ("function", "name", "omega"),
    [
        (nn.Softplus(beta=100), "softplus", 100.0),
        (lambda z: z * torch.sigmoid(1.702 * z), "silu", 1.702),
        (nn.CELU(0.5), "elu", 2.0),
        (nn.Hardtanh(-4, 4), "hardtanh", 0.25),
        (lambda z: z.clamp(0, 1), "relu6", 6.0),
    ],
)
def test_stretched_activations_are_an_activation_and_a_factor(function, name, omega):
    class Uses(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(2, 3)

        def forward(self, x):
            return function(self.layer(x))

    spec, _ = assert_laws(Uses(), torch.randn(3, 2))
    assert spec.steps == (Dense(2, 3, name, omega), Affine(3, 1 / omega))


class Slopes(nn.Module):
    def __init__(self):
        super().__init__()
        self.one, self.two = nn.Linear(2, 3), nn.Linear(3, 2)

    def forward(self, x):
        return self.two(nn.functional.leaky_relu(self.one(x), 0.25)).abs()


def test_slopes_of_leaky_relu_are_kept():
    spec, _ = assert_laws(Slopes(), torch.randn(2, 2))
    assert spec.steps == (Dense(2, 3, "leaky_relu", slope=0.25), Dense(3, 2, "leaky_relu", slope=-1.0))


def test_a_flatten_keeps_channels_for_nodes():
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(4 * 3 * 2, 5))
    spec, _ = assert_laws(model, torch.randn(2, 1, 8, 6))
    assert spec.steps == (Conv(1, 4, "relu"), Pool(4), Dense(4, 5, positions=6))
    assert hidden_widths(spec) == (4,)


def test_the_module_stays_as_it_is():
    model, x = MODULES["vgg"]()
    model[4].requires_grad_(False)
    model.train()
    model[1].eval()
    modes, before = (
        [child.training for child in model.modules()],
        {name: tensor.clone() for name, tensor in model.state_dict().items()},
    )
    state = torch.random.get_rng_state()
    _, weights = trace(model, x)
    assert [child.training for child in model.modules()] == modes
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert torch.equal(torch.random.get_rng_state(), state)
    assert torch.backends.mha.get_fastpath_enabled()
    assert all(parameter.grad is None for parameter in model.parameters())
    with torch.no_grad():
        model[0].weight.zero_()
    assert weights.weights[0].abs().sum() > 0
    assert not any(weight.requires_grad for weight in weights.weights)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_precision_is_the_module_s(dtype):
    model, x = MODULES["mlp"]()
    _, weights = trace(model.to(dtype), x.to(dtype))
    assert weights.dtype == (torch.float32 if dtype == torch.bfloat16 else dtype)


def test_examples_of_zeros_and_of_any_number_will_do():
    for name in ("vgg", "gpt", "transformer encoder", "mlp"):
        model, x = MODULES[name]()
        specs = [trace(model, example)[0] for example in (x, torch.zeros_like(x[:1]), x[:1].expand(7, *x.shape[1:]))]
        assert specs[0] == specs[1] == specs[2], name


def test_constants_that_are_no_parameters_are_fixed():
    spec, _ = trace(SimpleViT(), torch.randn(1, 3, 8, 8))
    assert [step.fixed for step in spec.steps if step.kind == "learned"] == [True]


def test_published_shapes_are_read_in_seconds():
    spec, weights = trace(resnet_of([16, 32, 64, 128], 2, 10, stem=True), torch.randn(1, 3, 64, 64))
    assert [sum(layer.kind == kind for layer in spec.layers) for kind in ("conv", "norm", "dense")] == [20, 20, 1]
    spec, weights = trace(GPT(300, 32, 96, 12, 12), torch.randint(0, 300, (1, 32)))
    assert sum(step.kind == "attention" for step in spec.steps) == 12
    assert spec.num_parameters == 300 * 96 + 32 * 96 + 12 * (12 * 96**2 + 12 * 96) + 2 * 96
    assert len(weights) == 1


def test_torch_is_imported_only_by_those_who_use_it():
    code = "import sys, weightwalk; assert 'torch' not in sys.modules; weightwalk.trace; assert 'torch' in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
