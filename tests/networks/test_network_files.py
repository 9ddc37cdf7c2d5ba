"""Networks out of files: read rightly or refused in one sentence."""

import re
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from weightwalk import InputError, NetworkSpec, Weights
from weightwalk.networks.files import ModuleFactory, load_network, read_state
from weightwalk.networks.trace import trace
from weightwalk.steps import Conv, Dense, Embed, MeanPool
from weightwalk.testing import assert_close, random_weights

CNN = NetworkSpec((Conv(1, 8, "relu"), Conv(8, 8, "relu"), Conv(8, 8, "relu"), MeanPool(8), Dense(8, 3)))
MLP = NetworkSpec.mlp([2, 8, 8, 1])
WORDS, NUMBERS = ("conv_one", "conv_two", "conv_three", "fc"), ("c1", "c2", "c3", "fc")


def state_of(weights: Weights, names: tuple[str, ...]) -> OrderedDict[str, Tensor]:
    """One network's tensors under the names of a module's attributes."""
    own = weights.to_state_dict()
    return OrderedDict((f"{names[int(key.split('.')[1])]}.{key.split('.')[2]}", value) for key, value in own.items())


def refused(path: Path, architecture: Any, *words: str) -> str:
    with pytest.raises(InputError) as caught:
        load_network(path, architecture)
    sentence = str(caught.value)
    assert "\n" not in sentence
    assert "weights_only" not in sentence
    for word in (str(path), *words):
        assert word in sentence, sentence
    return sentence


# which tensor is which layer's


@pytest.mark.parametrize("names", [WORDS, NUMBERS, ("a", "b", "c", "d"), ("z", "y", "x", "w")])
def test_one_network_under_any_names_is_one_network(tmp_path, names):
    weights = random_weights(CNN, 1, seed=0)
    torch.save(state_of(weights, names), tmp_path / "net.pt")
    assert torch.equal(load_network(tmp_path / "net.pt", CNN).flat, weights.flat)
    assert torch.equal(Weights.from_state_dicts(CNN, [state_of(weights, names)]).flat, weights.flat)


def test_without_an_order_numbers_decide_and_words_are_refused(tmp_path):
    """A .safetensors keeps no order: `conv_three` comes before `conv_two`, which is what was read once."""
    weights, path = random_weights(CNN, 1, seed=0), tmp_path / "net.safetensors"
    save_file(state_of(weights, NUMBERS), path)
    assert torch.equal(load_network(path, CNN).flat, weights.flat)
    save_file(state_of(weights, WORDS), path)
    refused(path, CNN, "conv_three, conv_two have the same shapes, and nothing tells their order", "--module")
    sorted_by_the_reader = dict(sorted(state_of(weights, WORDS).items()))
    with pytest.raises(InputError, match="nothing tells their order"):
        Weights.from_state_dicts(CNN, [sorted_by_the_reader])


def test_wrong_twin_sorts_names():
    weights = random_weights(CNN, 1, seed=0)
    state = state_of(weights, WORDS)
    twin = OrderedDict((name, state[name]) for name in sorted(state))
    assert not torch.equal(Weights.from_state_dicts(CNN, [twin]).flat, weights.flat)


def test_shapes_decide_where_all_are_different(tmp_path):
    spec = NetworkSpec.mlp([2, 3, 4, 1])
    weights = random_weights(spec, 1, seed=0)
    save_file(state_of(weights, ("one", "two", "three")), tmp_path / "net.safetensors")
    assert torch.equal(load_network(tmp_path / "net.safetensors", spec).flat, weights.flat)


def test_numbers_that_contradict_the_order_are_refused():
    backwards = state_of(random_weights(NetworkSpec.mlp([2, 8, 8, 8, 1]), 1, seed=0), ("n.0", "n.4", "n.2", "n.6"))
    with pytest.raises(InputError, match=r"n.4, n.2 have the same shapes, and their numbers contradict their order"):
        Weights.from_state_dicts(NetworkSpec.mlp([2, 8, 8, 8, 1]), [backwards])


def test_two_comes_before_ten_in_any_file(tmp_path):
    spec = NetworkSpec.mlp([2, *[8] * 11, 1])
    weights = random_weights(spec, 1, seed=0)
    for names in (tuple(f"net.{n}.linear" for n in range(12)), tuple(f"module.seq.{2 * n}" for n in range(12))):
        save_file(state_of(weights, names), tmp_path / "net.safetensors")
        assert torch.equal(load_network(tmp_path / "net.safetensors", spec).flat, weights.flat)


def test_tensors_lie_as_in_torchs_modules():
    """Kernels, flattened positions, transposed kernels (square ones too) and tables."""
    modules = [nn.Conv2d(1, 2, (2, 3)), nn.ConvTranspose2d(2, 2, (2, 3)), nn.ConvTranspose1d(4, 4, 3, groups=2)]
    specs = [Conv(1, 2, kernel=(2, 3)), Conv(2, 2, kernel=(2, 3), transposed=True)]
    specs.append(Conv(4, 4, kernel=(3,), groups=2, transposed=True))
    examples = [torch.randn(2, 1, 5, 5), torch.randn(2, 2, 5, 5), torch.randn(2, 4, 6)]
    modules.append(nn.Sequential(nn.Flatten(), nn.Linear(12, 5)))
    specs.append(Dense(3, 5, positions=4))
    examples.append(torch.randn(2, 3, 4))
    for module, step, example in zip(modules, specs, examples, strict=True):
        spec = NetworkSpec((step,), input_axes=example.dim() - 1)
        weights = Weights.from_state_dicts(spec, [module.state_dict()])
        assert_close(weights.run(example)[0].flatten(1), module(example).flatten(1), what="outputs", atol=1e-6)
        again = Weights.from_state_dicts(spec, [weights.to_state_dict()])
        assert torch.equal(again.flat, weights.flat)
        list(module.modules())[-1].load_state_dict({k.split(".")[2]: v for k, v in weights.to_state_dict().items()})
    table, tokens = nn.Embedding(4, 4), torch.tensor([[0, 3, 1]])
    weights = Weights.from_state_dicts(NetworkSpec((Embed(4, 4, bias=False),)), [table.state_dict()])
    assert torch.equal(weights.run(tokens)[0], table(tokens).mT)
    with pytest.raises(InputError, match=r"0.weight must be \(8, 1, 3, 3\) for layer 0 .* got \(8, 1, 9\)"):
        Weights.from_state_dicts(
            NetworkSpec((Conv(1, 8),)), [{"0.weight": torch.zeros(8, 1, 9), "0.bias": torch.zeros(8)}]
        )


# what a file holds


@pytest.mark.parametrize("nest", ["net", "model", "state_dict", "model_state_dict", "model/state_dict"])
@pytest.mark.parametrize("suffix", [".pt", ".pth", ".ckpt", ".bin"])
def test_state_dicts_lie_under_names(tmp_path, nest, suffix):
    weights = random_weights(MLP, 1, seed=0)
    content: Any = state_of(weights, ("_orig_mod.module.n.0", "_orig_mod.module.n.2", "_orig_mod.module.n.4"))
    for name in reversed(nest.split("/")):
        content = {name: content, "epoch": 3, "optimizer": {"state": {}, "param_groups": []}}
    torch.save(content, tmp_path / f"net{suffix}")
    assert torch.equal(load_network(tmp_path / f"net{suffix}", MLP).flat, weights.flat)


class Hyperparameters:
    """Stands in for an object of Lightning's."""

    def __init__(self, **values: float):
        self.values = values


class Evil:
    def __reduce__(self) -> Any:
        return print, ("run",)


def test_a_checkpoint_may_hold_objects_which_stay_inert(tmp_path, capsys):
    weights = random_weights(MLP, 1, seed=0)
    beside = {"hyper_parameters": Hyperparameters(rate=1.0), "evil": Evil()}
    content = {"state_dict": state_of(weights, ("n.0", "n.2", "n.4")), **beside}
    torch.save(content, tmp_path / "net.ckpt")
    assert torch.equal(load_network(tmp_path / "net.ckpt", MLP).flat, weights.flat)
    torch.save({"state_dict": Evil()}, tmp_path / "bad.ckpt")
    refused(tmp_path / "bad.ckpt", MLP, "expected 3 weights", "got 0")
    torch.save(content, tmp_path / "net.pt")
    refused(tmp_path / "net.pt", MLP, "a pickle that would call", "which was not run")
    assert capsys.readouterr().out == ""


def lazy() -> Any:
    return nn.Sequential(nn.LazyLinear(8), nn.Linear(8, 8), nn.Linear(8, 1)).state_dict()


def changed(change: Any) -> Any:
    def make() -> Any:
        state = state_of(random_weights(MLP, 1, seed=0), ("n.0", "n.1", "n.2"))
        return state | {"n.1.weight": change(state["n.1.weight"])}

    return make


BAD = {
    "float8": (changed(lambda w: w.to(torch.float8_e4m3fn)), "n.1.weight, got float8_e4m3fn; save the network with"),
    "sparse": (changed(lambda w: w.to_sparse()), "n.1.weight, got a sparse or nested tensor"),
    "compressed": (changed(lambda w: w.to_sparse_csr()), "n.1.weight, got a sparse or nested tensor"),
    "meta": (changed(lambda w: w.to("meta")), "n.1.weight, got a tensor without values"),
    "complex": (changed(lambda w: w + 1j), "n.1.weight, got complex64"),
    "int8": (changed(lambda w: w.to(torch.int8)), "n.1.weight, got int8"),
    "int64": (changed(lambda w: w.to(torch.int64)), "n.1.weight, got int64"),
    "quantised": (changed(lambda w: torch.quantize_per_tensor(w, 0.1, 0, torch.qint8)), "n.1.weight, got qint8"),
    "lazy": (lazy, "is of a lazy module without values"),
    "nan": (changed(lambda w: w * torch.nan), "n.1.weight holds NaN or infinity"),
    "huge": (changed(lambda w: w.double() + 1e300), "n.1.weight holds numbers beyond 3.4e+38"),
    "stray": (lambda: changed(lambda w: w)() | {"scale": torch.ones(3)}, "has no place for scale"),
    "several": (lambda: {"net": {}, "model": {}}, "got several (model, net)"),
    "a number": (lambda: 3, "expected a state dict in"),
    "numbered": (lambda: {1: torch.ones(3)}, "expected a state dict in"),
}


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("what", BAD)
def test_what_is_no_network_gets_one_sentence(tmp_path, what):
    make, sentence = BAD[what]
    torch.save(make(), tmp_path / "net.pt")
    refused(tmp_path / "net.pt", MLP, sentence)


def test_damaged_files_get_one_sentence(tmp_path):
    good = tmp_path / "good.safetensors"
    save_file(changed(lambda w: w.to(torch.float8_e5m2))(), good)
    refused(good, MLP, "got float8_e5m2")
    for suffix in (".safetensors", ".pt", ".ckpt", ".bin"):
        (tmp_path / f"net{suffix}").write_bytes(good.read_bytes()[:100])
        refused(tmp_path / f"net{suffix}", MLP)
        refused(tmp_path / f"none{suffix}", MLP, "found no such file")
    (tmp_path / "folder.pt").mkdir()
    refused(tmp_path / "folder.pt", MLP)
    refused(tmp_path / "net.json", MLP, ".safetensors, .pt, .pth, .ckpt, .bin")
    with zipfile.ZipFile(tmp_path / "script.pt", "w") as archive:
        archive.writestr("script/constants.pkl", b"")  # as TorchScript has it
    refused(tmp_path / "script.pt", MLP, "cannot read")


def test_counters_and_16_bits_are_read_in_float32(tmp_path):
    weights = random_weights(MLP, 1, seed=0).to(torch.bfloat16)
    torch.save(state_of(weights, ("a", "b", "c")) | {"steps": torch.tensor(3)}, tmp_path / "net.pt")
    network = load_network(tmp_path / "net.pt", MLP)
    assert network.dtype == torch.float32
    assert torch.equal(network.flat, weights.flat.float())


# with a module


def classifier() -> nn.Module:
    layers = [nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 4, 3), nn.BatchNorm2d(4), nn.ReLU()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3))


@pytest.fixture(scope="module")
def trained() -> list[nn.Module]:
    """Classifiers with running statistics of their own."""
    modules = []
    for seed in range(3):
        torch.manual_seed(seed)
        modules.append(classifier())
        modules[-1](3 * torch.randn(8, 1, 8, 8) + seed)
        modules[-1].eval()
    return modules


def test_files_of_one_module_are_read_exactly_and_captured_once(tmp_path, trained, monkeypatch):
    from weightwalk.networks import trace as tracing

    captured = []
    export = tracing.export
    monkeypatch.setattr(tracing, "export", lambda *given: captured.append(1) or export(*given))
    factory = ModuleFactory(classifier(), torch.zeros(1, 1, 8, 8))
    save_file(trained[0].state_dict(), tmp_path / "0.safetensors")
    torch.save({"model": {f"module.{name}": t for name, t in trained[1].state_dict().items()}}, tmp_path / "1.pt")
    torch.save(trained[2].double().state_dict(), tmp_path / "2.pt")
    (tmp_path / "3.pt").write_bytes(b"PK")
    torch.save(nn.Linear(2, 1).state_dict(), tmp_path / "4.pt")
    x = torch.randn(5, 1, 8, 8)
    for path, module in zip(sorted(tmp_path.iterdir()), trained, strict=False):
        network = load_network(path, factory)
        assert network.dtype == torch.float32
        assert_close(network.run(x)[0], module.float()(x), what=path.name, atol=1e-6)
    refused(tmp_path / "3.pt", factory, "cannot read")
    refused(tmp_path / "4.pt", factory, "4.pt is not of the module Sequential: it lacks 0.bias")
    assert captured == [1]


def test_wrong_twin_keeps_the_statistics_of_another(tmp_path, trained):
    """Running statistics matter: without them, the outputs would be others."""
    factory, x = ModuleFactory(classifier(), torch.zeros(1, 1, 8, 8)), torch.randn(5, 1, 8, 8)
    one, two = (trained[k].float().state_dict() for k in (0, 1))
    mixed = {name: (two if "running" in name else one)[name] for name in one}
    with pytest.raises(AssertionError, match="largest difference"):
        assert_close(factory.network(mixed, "mixed").run(x)[0], trained[0](x).detach(), what="outputs")


def test_running_statistics_need_the_module(tmp_path, trained):
    spec = trace(trained[0].float(), torch.zeros(1, 1, 8, 8))[0]
    torch.save(trained[0].state_dict(), tmp_path / "net.pt")
    refused(tmp_path / "net.pt", spec, "1.running_mean belongs to a batch norm", "--module PACKAGE.MODULE:FUNCTION")


def test_shapes_and_modules_that_do_not_fit(tmp_path, trained):
    factory = ModuleFactory(classifier(), torch.zeros(1, 1, 8, 8))
    state = trained[0].float().state_dict()
    with pytest.raises(InputError, match=r"it lacks 8.bias, and the module has no scale"):
        factory.network({k: v for k, v in state.items() if k != "8.bias"} | {"scale": torch.ones(1)}, "file")
    with pytest.raises(InputError, match=r"8.weight must be \(3, 4\), got \(4, 3\)"):
        factory.network(state | {"8.weight": torch.ones(4, 3)}, "file")
    with pytest.raises(InputError, match=r"8.weight holds numbers beyond"):
        factory.network(state | {"8.weight": torch.full((3, 4), 1e300, dtype=torch.float64)}, "file")
    with pytest.raises(InputError, match="has no weights yet"):
        ModuleFactory(nn.LazyLinear(3), torch.zeros(1, 2))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda w: w.to(torch.float8_e4m3fn), "float8_e4m3fn"),
        (lambda w: w.to_sparse(), "is sparse"),
        (lambda w: w.to("meta"), "meta device"),
        (lambda w: w.to(torch.complex64), "complex"),
    ],
)
def test_modules_of_other_numbers_are_refused(change, words):
    module = nn.Linear(2, 1)
    module.weight = nn.Parameter(change(module.weight.detach()), requires_grad=False)
    with pytest.raises(InputError, match=re.escape(words)):
        trace(module, torch.zeros(1, 2))


def test_the_order_of_a_safetensors_is_that_of_names(tmp_path):
    save_file({name: torch.zeros(1) for name in ("b", "a", "c")}, tmp_path / "net.safetensors")
    assert list(read_state(tmp_path / "net.safetensors")) == ["a", "b", "c"]
