import json
import subprocess
import sys

import pytest

from weightwalk import InputError, NetworkSpec
from weightwalk.spec import Conv, Dense, MeanPool
from weightwalk.symmetry import hidden_widths
from weightwalk.testing import tiny_specs

CNN = NetworkSpec((Conv(1, 4, "relu"), Conv(4, 5, kernel=(2, 3), bias=False), MeanPool(5), Dense(5, 3)))


def test_an_mlp_has_its_activation_on_hidden_layers_only():
    spec = NetworkSpec.mlp([2, 32, 16, 1], omega=20.0)
    assert [(layer.fan_in, layer.fan_out) for layer in spec.layers] == [(2, 32), (32, 16), (16, 1)]
    assert [layer.activation for layer in spec.layers] == ["sine", "sine", "identity"]
    assert [layer.omega for layer in spec.layers] == [20.0, 20.0, 1.0]
    assert (spec.widths, hidden_widths(spec)) == ((2, 32, 16, 1), (32, 16))
    assert str(spec) == "MLP 2-32-16-1 (sine)"


def test_omega_belongs_to_sine_and_gaussian():
    assert NetworkSpec.mlp([2, 3, 1], "relu").layers[0].omega == 1.0
    assert NetworkSpec.mlp([2, 3, 1], "gaussian", omega=5.0).layers[0].omega == 5.0


def test_steps_without_parameters_are_no_layers():
    assert [layer.kind for layer in CNN.layers] == ["conv", "conv", "dense"]
    assert (CNN.widths, hidden_widths(CNN)) == ((1, 4, 5, 3), (4, 5))
    assert str(CNN) == "conv 1-4 > conv 4-5 > mean_pool 5-5 > dense 5-3"


def test_fields_lie_one_behind_the_other():
    assert [(field.layer, field.role, field.shape) for field in CNN.fields] == [
        (0, "weight", (4, 1, 9)),
        (0, "bias", (4,)),
        (1, "weight", (5, 4, 6)),
        (2, "weight", (3, 5)),
        (2, "bias", (3,)),
    ]
    assert [field.start for field in CNN.fields] == [0, 36, 40, 160, 175]
    assert CNN.num_parameters == 178
    assert NetworkSpec.mlp([2, 32, 32, 1]).num_parameters == 1185


@pytest.mark.parametrize("spec", tiny_specs().values(), ids=list(tiny_specs()))
def test_a_spec_survives_json(spec):
    again = NetworkSpec.from_dict(json.loads(json.dumps(spec.to_dict())))
    assert again == spec
    assert hash(again) == hash(spec)


def test_shape_is_what_does_not_depend_on_activations():
    assert NetworkSpec.mlp([2, 5, 1], "relu").shape == NetworkSpec.mlp([2, 5, 1]).shape
    shapes = [
        NetworkSpec.mlp([2, 5, 1]).shape,
        NetworkSpec.mlp([2, 5, 1], bias=False).shape,
        NetworkSpec.mlp([2, 6, 1]).shape,
    ]
    assert len({*shapes, CNN.shape}) == 4


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: NetworkSpec(()), "at least one step with parameters"),
        (lambda: NetworkSpec((MeanPool(3),)), "at least one step with parameters"),
        (
            lambda: NetworkSpec((Dense(2, 3), Dense(4, 1))),
            r"step 0 \(dense\) writes 3 nodes but step 1 \(dense\) reads 4",
        ),
        (lambda: NetworkSpec.mlp([3]), "an input and an output width"),
        (lambda: NetworkSpec.mlp([3, 0, 1]), "at least one node on each side, got 3 -> 0"),
        (lambda: NetworkSpec.mlp([3, 4, 1], "sin"), "unknown activation 'sin'; known: .*did you mean 'sine'"),
        (lambda: NetworkSpec.mlp([3, 4, 1], omega=0.0), "omega must be a positive number"),
        (lambda: Dense(1, 1, "sine", omega=float("nan")), "omega must be a positive number"),
        (lambda: Conv(1, 1, kernel=(3, 0)), "a conv step needs"),
        (lambda: Conv(1, 1, stride=0), "a conv step needs"),
        (lambda: NetworkSpec.from_dict({}), "expected a network spec"),
        (
            lambda: NetworkSpec.from_dict({"steps": [{"kind": "rnn"}]}),
            "expected a network spec with steps of the kinds dense, conv",
        ),
        (lambda: NetworkSpec.from_dict({"steps": [{"kind": "dense", "fan_in": 1}]}), r"steps\[0\].fan_out, found none"),
    ],
)
def test_what_describes_no_network_is_refused(make, sentence):
    with pytest.raises(InputError, match=sentence):
        make()


def test_describing_a_network_imports_no_torch():
    code = "import sys, weightwalk; weightwalk.NetworkSpec.mlp([2, 3, 1]); assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
