import copy
import json

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import nn

from weightwalk import InputError
from weightwalk.training import checkpoint


class Odd(nn.Module):
    """Every kind of tensor that a state dict may hold."""

    def __init__(self, seed=0):
        super().__init__()
        torch.manual_seed(seed)
        self.conv = nn.Conv2d(3, 4, 3).to(memory_format=torch.channels_last)
        self.norm = nn.BatchNorm2d(4)
        self.tied, self.knot = nn.Linear(4, 4), nn.Linear(4, 4)
        self.knot.weight = self.tied.weight
        self.scale = nn.Parameter(torch.randn(()))
        self.turned = nn.Parameter(torch.randn(4, 6).t())
        self.unused = nn.Parameter(torch.randn(2))
        self.frozen = nn.Parameter(torch.randn(3, dtype=torch.float64), requires_grad=False)
        self.register_buffer("mask", torch.rand(5) > 0.5)
        self.register_buffer("count", torch.tensor(seed + 2**40))
        self.register_buffer("halves", torch.randn(3).to(torch.bfloat16))
        self.register_buffer("spread", torch.randn(1, 3).expand(2, 3))
        self.register_buffer("nothing", torch.zeros(0, 3))
        self.register_buffer("edges", torch.tensor([float("nan"), float("inf"), -0.0, 1e-45]))

    def forward(self, x):
        x = self.norm(self.conv(x)).mean(dim=(2, 3))
        return self.scale * self.knot(self.tied(x) @ self.turned[:4, :]).pow(2).mean()


def bits(tensor):
    return str(tensor.dtype), tuple(tensor.shape), tensor.detach().contiguous().reshape(-1).view(torch.uint8).tolist()


def state_bits(module):
    return {name: bits(tensor) for name, tensor in module.state_dict().items()}


def make_optimizer(model, kind=torch.optim.AdamW):
    return kind([parameter for parameter in model.parameters() if parameter.requires_grad], lr=0.01)


def step(model, optimizer, number):
    optimizer.zero_grad()
    model(torch.randn(2, 3, 5, 5, generator=torch.Generator().manual_seed(number))).backward()
    optimizer.step()


def test_save_is_load_bitwise(tmp_path):
    model, twin = Odd(0), Odd(1)
    checkpoint.save(tmp_path / "a.safetensors", {"step": 3, "figures": {"loss": 0.1}}, model)
    loaded = checkpoint.load(tmp_path / "a.safetensors")
    assert loaded.metadata == {"step": 3, "figures": {"loss": 0.1}}
    assert {name.removeprefix("model."): bits(tensor) for name, tensor in loaded.tensors.items()} == state_bits(model)

    twin.spread = twin.spread.clone()  # torch itself cannot copy into expanded memory
    loaded.restore(twin)
    assert state_bits(twin) == state_bits(model)
    assert twin.knot.weight is twin.tied.weight


@pytest.mark.parametrize("kind", [torch.optim.Adam, torch.optim.AdamW])
def test_training_goes_on_from_a_checkpoint_as_if_nothing_had_happened(tmp_path, kind):
    model, twin = Odd(0), Odd(1)
    twin.spread = twin.spread.clone()
    optimizer, twin_optimizer = make_optimizer(model, kind), make_optimizer(twin, kind)
    for number in range(3):
        step(model, optimizer, number)
        step(twin, twin_optimizer, number + 100)
    checkpoint.save(tmp_path / "a.safetensors", {}, model, optimizer)
    checkpoint.load(tmp_path / "a.safetensors").restore(twin, twin_optimizer)
    for number in range(3, 6):
        step(model, optimizer, number)
        step(twin, twin_optimizer, number)
    assert state_bits(twin) == state_bits(model)
    checkpoint.save(tmp_path / "b.safetensors", {}, model, optimizer)
    checkpoint.save(tmp_path / "c.safetensors", {}, twin, twin_optimizer)
    assert (tmp_path / "b.safetensors").read_bytes() == (tmp_path / "c.safetensors").read_bytes()
    assert twin_optimizer.state[twin.conv.weight]["exp_avg"].stride() == twin.conv.weight.stride()


def test_a_parameter_that_is_no_longer_trained_is_named(tmp_path):
    model = Odd()
    optimizer = make_optimizer(model)
    step(model, optimizer, 0)
    checkpoint.save(tmp_path / "a.safetensors", {}, model, optimizer)
    model = Odd()
    model.scale.requires_grad_(False)
    with pytest.raises(InputError, match="scale was trained and is not now"):
        checkpoint.load(tmp_path / "a.safetensors").restore(model, make_optimizer(model))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda m: m.tied.register_parameter("bias", nn.Parameter(torch.zeros(5))),
            r"tied.bias is \(4,\) float32 in the file and \(5,\)",
        ),
        (lambda m: m.tied.double(), r"tied.weight is \(4, 4\) float32 in the file and \(4, 4\) float64 in the model"),
        (
            lambda m: m.register_parameter("more", nn.Parameter(torch.zeros(2))),
            r"more is absent in the file and \(2,\) float32",
        ),
        (lambda m: m.register_parameter("scale", None), r"scale is \(\) float32 in the file and absent in the model"),
    ],
)
def test_another_model_is_refused_and_left_as_it_was(tmp_path, change, message):
    checkpoint.save(tmp_path / "a.safetensors", {}, Odd(0))
    model = Odd(1)
    change(model)
    before = copy.deepcopy(state_bits(model))
    with pytest.raises(InputError, match=f"a.safetensors does not fit the model: {message}"):
        checkpoint.load(tmp_path / "a.safetensors").restore(model)
    assert state_bits(model) == before


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    path = tmp_path_factory.mktemp("whole") / "a.safetensors"
    model = nn.Linear(3, 2)
    optimizer = make_optimizer(model)
    model(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    checkpoint.save(path, {"step": 1, "rows": [{"loss": 0.25}]}, model, optimizer)
    return path.read_bytes()


@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_any_changed_byte_is_noticed(tmp_path_factory, whole, data):
    position = data.draw(st.integers(0, len(whole) - 1))
    value = data.draw(st.integers(0, 255).filter(lambda value: value != whole[position]))
    path = tmp_path_factory.getbasetemp() / "flipped.safetensors"
    path.write_bytes(whole[:position] + bytes([value]) + whole[position + 1 :])
    with pytest.raises(InputError, match=r"flipped\.safetensors.*(delete it and train again|give another path)"):
        checkpoint.load(path)


@settings(max_examples=50, deadline=None)
@given(data=st.data())
def test_any_truncation_is_noticed(tmp_path_factory, whole, data):
    path = tmp_path_factory.getbasetemp() / "short.safetensors"
    path.write_bytes(whole[: data.draw(st.integers(0, len(whole) - 1))])
    with pytest.raises(InputError, match=r"whole checkpoint at .*short\.safetensors.*delete it and train again"):
        checkpoint.load(path)


def test_files_that_are_no_checkpoints_are_refused(tmp_path):
    with pytest.raises(InputError, match=r"missing\.safetensors, found no such file"):
        checkpoint.load(tmp_path / "missing.safetensors")
    with pytest.raises(InputError, match="whole checkpoint"):
        checkpoint.load(tmp_path)
    save_file({"a": torch.zeros(2)}, tmp_path / "foreign.safetensors")
    with pytest.raises(InputError, match="weightwalk did not write"):
        checkpoint.load(tmp_path / "foreign.safetensors")


def test_a_newer_format_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoint, "FORMAT", 2)
    checkpoint.save(tmp_path / "a.safetensors", {}, nn.Linear(1, 1))
    monkeypatch.undo()
    with pytest.raises(InputError, match="has format 2, expected 1"):
        checkpoint.load(tmp_path / "a.safetensors")


def test_a_failed_save_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "a.safetensors"
    checkpoint.save(path, {"step": 1}, nn.Linear(1, 1))
    with pytest.raises(TypeError):
        checkpoint.save(path, {"step": json}, nn.Linear(1, 1))
    assert checkpoint.load(path).metadata == {"step": 1}
    assert [file.name for file in tmp_path.iterdir()] == ["a.safetensors"]
