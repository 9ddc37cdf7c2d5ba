import contextlib
import json
import pickle
import subprocess
import sys
from dataclasses import fields
from weakref import ref

import numpy as np
import pytest

from weightwalk import InputError, NetworkSpec
from weightwalk.spec import Conv, Dense, MeanPool
from weightwalk.steps import Affine, Learned, Patches
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
        (lambda: Dense(1, 1, "sine", omega=float("nan")), "dense.omega must be a number that is finite, got nan"),
        (lambda: Conv(1, 1, kernel=(3, 0)), "a conv step needs"),
        (lambda: Conv(1, 1, stride=0), "a conv step needs"),
        (lambda: NetworkSpec.from_dict({}), "expected a network spec"),
        (
            lambda: NetworkSpec.from_dict({"steps": [{"kind": "rnn"}]}),
            "expected a network spec with steps of the kinds dense, conv",
        ),
        (
            lambda: NetworkSpec.from_dict({"steps": [{"kind": "dense", "fan_in": 1}]}),
            r"expected a Dense with a value for steps\[0\].fan_out, found none",
        ),
        (
            lambda: NetworkSpec.from_dict({"steps": [{"kind": "dense", "fan_in": 1, "fan_out": "2"}]}),
            r"steps\[0\].fan_out must be a whole number, got '2'",
        ),
        (lambda: NetworkSpec.from_dict({"steps": [["dense", 1, 2]]}), "expected a network spec"),
        (lambda: NetworkSpec.from_dict({"steps": [{"kind": []}]}), "expected a network spec"),
        (lambda: NetworkSpec.from_dict({"steps": [], "widths": 3}), "unknown key of a network spec 'widths'"),
        (lambda: NetworkSpec.from_dict([1]), "expected a network spec"),
        (lambda: NetworkSpec((3,)), "expected the steps of a network, got"),
        (lambda: NetworkSpec(3), "expected the steps of a network, got 3"),
        (lambda: NetworkSpec((Dense(2, 3),), input_axes=1.5), "input_axes must be a whole number, got 1.5"),
        (lambda: NetworkSpec((Dense(2, 3),), input_axes=-1), "input_axes >= 0"),
        (lambda: NetworkSpec((Learned(1, 3, bias=False, sources=(0,)),)), "has a step that reads its input"),
        (lambda: NetworkSpec((Dense(2, 3, sources=(-1,)),)), r"step 0 \(dense\) reads the values \(-1,\)"),
        (lambda: NetworkSpec.mlp([2, 3.5, 1]), "dense.fan_out must be a whole number, got 3.5"),
        (lambda: NetworkSpec.mlp(3), "an input and an output width, got .3."),
        (lambda: Dense(2, 3, positions=0), "reads at least one position, got 0"),
        (lambda: Learned(1, 3, bias=False, grid=(-1,), sources=(0,)), "sizes of a grid"),
        (lambda: NetworkSpec.mlp([2, True, 1]), "dense.fan_out must be a whole number, got True"),
        (lambda: NetworkSpec.mlp([2, float("inf"), 1]), "dense.fan_out must be a whole number, got inf"),
        (lambda: NetworkSpec.mlp([2, 2**63, 1]), "dense.fan_out must be a whole number of 64 bits"),
        (lambda: NetworkSpec.mlp([2, "3", 1]), "dense.fan_out must be a whole number, got '3'"),
        (lambda: Dense(1, 1, bias=1), "dense.bias must be true or false, got 1"),
        (lambda: Dense(1, 1, activation=["relu"]), "dense.activation must be text"),
        (lambda: Dense(1, 1, slope=float("nan")), "dense.slope must be a number that is finite"),
        (lambda: Conv(1, 1, kernel=3), "conv.kernel must be a list"),
        (lambda: Conv(1, 1, kernel=(3, 3.0)), r"conv.kernel\[1\] must be a whole number, got 3.0"),
        (lambda: Conv(1, 1, padding="same"), "conv.padding must be a whole number or a list"),
        (lambda: Affine(1, offset=float("-inf")), "affine.offset must be a number that is finite"),
        (lambda: Patches(1, 4, size=(2, 2, 1)), "patches.size must be a list of 2"),
    ],
)
def test_what_describes_no_network_is_refused(make, sentence):
    with pytest.raises(InputError, match=sentence):
        make()


@pytest.mark.parametrize("name", ["shuffled", "vit"])
def test_any_value_in_json_makes_a_spec_or_a_sentence(name):
    made, kinds = 0, {step["kind"]: step for step in tiny_specs()[name].to_dict()["steps"]}
    for step in kinds.values():
        for key in [*step, "new"]:
            for wrong in (None, "relu", -1, 2, 1.5, True, [], [1, 2.5], float("inf"), 2**64, {"a": 1}, [[[]]]):
                with contextlib.suppress(InputError):
                    NetworkSpec.from_dict({"steps": [step | {key: wrong}]})
                    made += 1
    assert made


def test_numbers_of_numpy_are_numbers_and_lists_are_tuples():
    spec = NetworkSpec.mlp(np.array([2, 3, 1]), omega=np.float32(2.0))
    assert spec == NetworkSpec.mlp([2, 3, 1], omega=2)
    assert type(spec.steps[0].fan_in) is int
    assert type(spec.steps[0].omega) is float
    assert Conv(2, 3, kernel=[3, 3], stride=[2, 2]) == Conv(2, 3, kernel=(3, 3), stride=2)


def test_a_pickled_spec_carries_nothing_that_was_worked_out():
    spec = tiny_specs()["vit"]
    size = len(pickle.dumps(NetworkSpec(spec.steps)))
    assert spec.flow.groups
    assert spec.fields
    assert len(pickle.dumps(spec)) == size
    again = pickle.loads(pickle.dumps(spec))
    assert (again, again.flow, again.schedule) == (spec, spec.flow, spec.schedule)


def test_json_has_every_field():
    for spec in tiny_specs().values():
        for step, entries in zip(spec.steps, spec.to_dict()["steps"], strict=True):
            assert list(entries) == ["kind", *(field.name for field in fields(step))]


def test_a_walk_keeps_a_value_while_somebody_reads_it():
    spec = tiny_specs()["residual"]
    written, alive = {}, []

    class Value:
        pass

    def visit(at, read):
        assert [id(value) for value in read] == [id(written[source]()) for source in at.sources]
        alive.append([value for value, reference in written.items() if reference() is not None])
        value = Value()
        written[at.value] = ref(value)
        return value

    first = Value()
    written[0] = ref(first)
    assert spec.walk(first, visit) is written[len(spec.steps)]()
    for at in spec.schedule:
        later = {source for other in spec.schedule[at.value - 1 :] for source in other.sources}
        assert set(alive[at.value - 1]) == later & set(range(at.value)) | {0}  # `first` is ours


def test_describing_a_network_imports_no_torch():
    code = "import sys, weightwalk; weightwalk.NetworkSpec.mlp([2, 3, 1]); assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
