"""From a zoo of trained networks to a ranking of files, through the command line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

import weightwalk
from weightwalk.testing.trained import tiny_trained_zoo
from weightwalk.zoos.store import Zoo

SETTINGS = {
    "encoder.dim": 8,
    "encoder.num_frequencies": 4,
    "head.hidden_dim": 8,
    "regress.steps": 20,
    "regress.eval_every": 10,
}
MODULE = """
import torch
from torch import nn

def net(inputs=1, activation=nn.ReLU):
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(inputs, 4, 3, padding=1), activation(), nn.Conv2d(4, 5, 3, padding=1), activation(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(5, 3),
    )

def with_example():
    return net(), torch.zeros(1, 1, 8, 8)

def coloured():
    return net(3)

def broken():
    made = net()
    made[2].weight.data[0, 0, 0, 0] = float("nan")
    return made

def wants(inputs):
    return net(inputs)

def raises(): raise RuntimeError("no such card")

alone = net()
number = 3
"""


def train(call, recipe: str, zoo: Path, out: Path, *more: str, settings=SETTINGS) -> Path:
    sets = [part for key, value in settings.items() for part in ("--set", f"{key}={value}")]
    result = call("train", recipe, "--zoo", zoo, "--out", out, *more, *sets)
    assert result.exit_code == 0, result.stderr
    return out


@pytest.fixture(scope="module")
def zoo(tmp_path_factory) -> Path:
    return tiny_trained_zoo(tmp_path_factory.mktemp("generalization") / "zoo").path


@pytest.fixture(scope="module")
def trained(call, zoo) -> Path:
    run = train(call, "cnn_accuracy_small", zoo, zoo.parent / "run")
    assert call("evaluate", run, "--quiet").exit_code == 0
    return run


@pytest.fixture(scope="module")
def blind(call, zoo) -> Path:
    """A run whose encoder does not look at activations."""
    settings = {key: value for key, value in SETTINGS.items() if not key.startswith("encoder")}
    return train(call, "cnn_accuracy_small", zoo, zoo.parent / "blind", "--set", "encoder=statnn", settings=settings)


@pytest.fixture(scope="module")
def files(zoo) -> dict[str, Path]:
    """The best and the worst network of the zoo as files, and one with a NaN."""
    opened = Zoo.open(zoo)
    order = opened.column("test_accuracy").argsort()
    made = {}
    for name, row in (("worst", order[0]), ("best", order[-1])):
        state = opened.weights([row]).to_state_dict()
        made[name] = zoo.parent / f"{name}.safetensors"
        save_file(state, made[name])
    torch.save({f"net.{name}": tensor for name, tensor in state.items()}, zoo.parent / "best.pt")
    broken = dict(state)
    broken["layers.1.weight"] = broken["layers.1.weight"].clone()
    broken["layers.1.weight"][0] = float("nan")
    save_file(broken, zoo.parent / "broken.safetensors")
    return {**made, "torch": zoo.parent / "best.pt", "broken": zoo.parent / "broken.safetensors"}


def test_a_program_of_one_of_several_architectures(call, trained, blind, files, tmp_path):
    refused = call("export", trained, "torch")
    assert refused.exit_code == 2
    assert "and this model was trained on 2 (conv 1-4" in refused.stderr
    assert "with relu; conv 1-4" in refused.stderr
    reader, state = weightwalk.load(trained), load_file(files["best"])
    for chosen in (["--activation", "tanh"], ["--spec", files["best"], "--activation", "tanh"]):
        out = tmp_path / "tanh.pt2"
        assert call("export", trained, "--out", out, *chosen, "-q").exit_code == 0
        network = reader.network(state, "the best", "tanh")
        said = torch.export.load(out).module()(network.flat)
        torch.testing.assert_close(said.double(), reader.values(network), rtol=1e-4, atol=1e-5)
    assert call("export", blind, "--out", tmp_path / "any.pt2", "-q").exit_code == 0  # reads both activations alike


@pytest.mark.parametrize(("recipe", "kind"), [("wild_park_accuracy_small", "wild-park"), ("vit_accuracy_small", "vit")])
def test_train_evaluate_report_of_every_kind(call, tmp_path, recipe, kind):
    zoo = tiny_trained_zoo(tmp_path / "zoo", num_runs=50, mixed=kind == "wild-park", kind=kind)
    run = train(call, recipe, zoo.path, tmp_path / "run", "--seed", "2")
    found = json.loads(call("evaluate", run, "--json").stdout)
    assert found["networks"] == {"train": 105, "val": 15, "test": 30}
    assert -1 <= found["test"]["tau"] <= 1
    text = call("evaluate", run).stdout
    assert "Kendall's tau" in text
    assert f"weightwalk predict {run}" in text
    assert call("report", run).exit_code == 0
    assert "Predicted and true" in (run / "report.html").read_text()


def test_another_encoder_is_one_setting_away(call, blind):
    config = json.loads((blind / "run.json").read_text())["config"]
    assert config["encoder"] == {"name": "statnn", "shared": None}
    assert json.loads(call("evaluate", blind, "--json").stdout)["access"] == "weights"


def test_ranking_a_zoo(call, trained, zoo):
    models = json.loads(call("predict", trained, zoo, "--json").stdout)["networks"]
    assert len(models) == 300
    predicted = [model["predicted"] for model in models]
    assert predicted == sorted(predicted, reverse=True)
    assert [model["rank"] for model in models] == list(range(1, 301))
    assert {model["network"] for model in models} == {
        f"{zoo}/run-{run}-e{epoch}" for run in range(100) for epoch in (1, 2, 4)
    }
    assert all(0.1 <= model["true"] <= 0.9 for model in models)
    of_split = {model["network"].split("/run-")[1][-4]: model["split"] for model in models}  # by the run's last digit
    assert of_split == {**dict.fromkeys("0123456", "train"), "7": "val", "8": "test", "9": "test"}
    text = call("predict", trained, zoo).stdout
    assert "true" in text
    assert "300 networks, the first 40" in text


def test_networks_of_other_zoos_are_in_no_split(call, trained, tmp_path):
    other = tiny_trained_zoo(tmp_path / "other", num_runs=3, seed=5)
    assert "split" not in json.loads(call("predict", trained, other.path, "--json").stdout)["networks"][0]


def test_a_zoo_that_was_moved_is_named_again(call, tmp_path):
    zoo = tiny_trained_zoo(tmp_path / "zoo", num_runs=30)
    settings = {key: value for key, value in SETTINGS.items() if not key.startswith("encoder")}
    run = train(call, "cnn_accuracy_small", zoo.path, tmp_path / "run", "--set", "encoder=statnn", settings=settings)
    moved = zoo.path.rename(tmp_path / "moved")
    result = call("evaluate", run)
    assert (result.exit_code, "name the folder that it is in now with --zoo" in result.stderr) == (2, True)
    assert call("evaluate", run, "--zoo", moved).exit_code == 0
    assert call("report", run).exit_code == 0


def test_files_get_what_they_get_in_the_zoo(call, blind, zoo, files):
    of_zoo = {m["true"]: m["predicted"] for m in json.loads(call("predict", blind, zoo, "--json").stdout)["networks"]}
    asked = [files["worst"], files["best"], files["torch"]]
    models = {
        m["network"]: m["predicted"] for m in json.loads(call("predict", blind, *asked, "--json").stdout)["networks"]
    }
    assert models[str(files["best"])] == pytest.approx(of_zoo[max(of_zoo)], abs=1e-5)
    assert models[str(files["torch"])] == models[str(files["best"])]
    assert models[str(files["worst"])] == pytest.approx(of_zoo[min(of_zoo)], abs=1e-5)
    quiet = call("predict", blind, files["best"], "--quiet")
    assert quiet.stdout.startswith(f"first of 1: {files['best']}, test accuracy ")
    assert quiet.stderr == ""


def test_one_bad_network_does_not_stop_the_others(call, blind, files, tmp_path):
    asked = [files["worst"], files["broken"], files["best"], tmp_path / "nothing.pt"]
    result = call("predict", blind, *asked, "--json")
    found = json.loads(result.stdout)
    assert result.exit_code == 2
    assert {model["network"] for model in found["networks"]} == {str(files["best"]), str(files["worst"])}
    assert list(found["unread"]) == [str(files["broken"]), str(tmp_path / "nothing.pt")]
    errors = [f"error: {sentence}" for sentence in found["unread"].values()]
    assert [line for line in result.stderr.splitlines() if line.startswith("error")] == errors
    assert "layers.1.weight holds NaN or infinity" in errors[0]
    assert json.loads(call("predict", blind, files["best"], "--json").stdout)["unread"] == {}


def test_each_network_that_can_t_be_read_has_a_sentence_of_its_own(call, blind, files, tmp_path):
    asked = [tmp_path / "one.pt", tmp_path / "two.pt"]
    result = call("predict", blind, *asked, "--json")
    assert result.exit_code == 2
    assert [line.split(" at ")[1].split(",")[0] for line in result.stderr.splitlines()] == list(map(str, asked))
    assert all(str(path) in json.loads(result.stdout)["error"] for path in asked)


def test_a_state_dict_does_not_say_its_activation(call, trained, files, tmp_path, zoo):
    result = call("predict", trained, files["best"])
    assert result.exit_code == 2
    assert "fits 2 architectures" in result.stderr
    assert "(with relu; tanh)" in result.stderr
    assert "give its activation" in result.stderr
    assert "did you mean 'tanh'?" in call("predict", trained, files["best"], "--activation", "tahn").stderr
    answers = [
        json.loads(call("predict", trained, files["best"], *more, "--json").stdout)["networks"][0]["predicted"]
        for more in (("--activation", "relu"), ("--activation", "tanh"))
    ]
    spec = tmp_path / "spec.json"
    spec.write_text(json.dumps(Zoo.open(zoo).specs[0].to_dict()))
    given = json.loads(call("predict", trained, files["best"], "--spec", spec, "--json").stdout)["networks"][0][
        "predicted"
    ]
    assert given == pytest.approx(answers[0], abs=1e-6)
    assert answers[0] != answers[1]


def test_wrong_networks_are_named(call, trained, blind, files, tmp_path):
    def refused(*arguments) -> str:
        result = call("predict", *arguments)
        assert result.exit_code == 2
        assert result.stderr.count("\n") == 1
        return result.stderr

    assert "layers.1.weight holds NaN or infinity" in refused(blind, files["broken"])
    coloured = tiny_trained_zoo(tmp_path / "coloured", num_runs=30, inputs=3)
    assert "knows networks of 1 inputs and 3 outputs (channels), got 3 inputs" in refused(trained, coloured.path)
    save_file(coloured.weights(coloured.rows()[:1]).to_state_dict(), tmp_path / "coloured.safetensors")
    assert "weight must be (4, 1, 3, 3)" in refused(trained, tmp_path / "coloured.safetensors")
    mixed = tiny_trained_zoo(tmp_path / "mixed", num_runs=30, mixed=True)
    assert "reads networks of the shape" in refused(trained, mixed.path)
    assert "found no such file" in refused(trained, tmp_path / "nothing.pt")
    assert "in a file" in refused(trained, tmp_path / "nothing.txt")


def test_an_unknown_architecture_of_many_is_named(call, tmp_path):
    mixed = tiny_trained_zoo(tmp_path / "zoo", num_runs=50, mixed=True)
    settings = {key: value for key, value in SETTINGS.items() if not key.startswith("encoder")}
    run = train(
        call,
        "wild_park_accuracy_small",
        mixed.path,
        tmp_path / "run",
        "--set",
        "kind=cnn",
        "--set",
        "encoder=flat",
        settings=settings,
    )
    save_file({"a.weight": torch.zeros(3, 1), "b.weight": torch.zeros(3, 3)}, tmp_path / "odd.safetensors")
    result = call("predict", run, tmp_path / "odd.safetensors")
    assert result.exit_code == 2
    assert "fits none of the" in result.stderr
    assert "give its own spec" in result.stderr


def test_functions_are_traced(call, trained, tmp_path, monkeypatch):
    (tmp_path / "netsofmine.py").write_text(MODULE)
    monkeypatch.chdir(tmp_path)
    models = json.loads(
        call("predict", trained, "netsofmine:with_example", "netsofmine:net", "netsofmine:alone", "--json").stdout
    )
    assert len({model["predicted"] for model in models["networks"]}) == 1
    for name, sentence in (
        ("coloured", "netsofmine:coloured: this model knows networks of 1 inputs"),
        ("broken", "2.weight holds NaN or infinity"),
        ("number", "expected a torch.nn.Module"),
        ("nothing", "got netsofmine:nothing (AttributeError: module 'netsofmine' has no attribute 'nothing')"),
        ("wants", "wants() missing 1 required positional argument"),
        ("raises", "(RuntimeError: no such card, netsofmine.py:26)"),
    ):
        result = call("predict", trained, f"netsofmine:{name}")
        assert result.exit_code == 2
        assert sentence in result.stderr


def test_graph_of_a_function(call, tmp_path, monkeypatch):
    (tmp_path / "netsofyours.py").write_text(MODULE)
    monkeypatch.chdir(tmp_path)
    assert "3 snapshots" in call("graph", "netsofyours:with_example", "--quiet").stdout


def test_graph(call, zoo, shared_zoo, tmp_path):
    drawn = call("graph", zoo, "--png", tmp_path / "a.png", "--html", tmp_path / "a.html")
    assert drawn.exit_code == 0
    for words in ("conv relu", "v^1 -> v^2", "+V v^1 (4)", "180", "3 snapshots"):
        assert words in drawn.stdout, words
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
    page = (tmp_path / "a.html").read_text()
    assert "data:image/png" in page
    assert "conv relu" in page
    values = json.loads(call("graph", zoo, "--run", 1, "--json").stdout)
    assert [shot["edges"] for shot in values["snapshots"]] == [36, 180, 15]
    assert values["snapshots"][0]["step"]["activation"] == "tanh"
    assert "3 snapshots" in call("graph", shared_zoo, "--quiet").stdout
    spec = tmp_path / "spec.json"
    for written in (values, values["spec"]):
        spec.write_text(json.dumps(written))
        assert json.loads(call("graph", spec, "--json").stdout)["snapshots"] == values["snapshots"]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("nothing",), "expected a zoo's folder, a spec .json or PACKAGE.MODULE:FUNCTION, got nothing"),
        (("nothing.json",), "found no such file"),
        (("no.such.module:f",), "No module named 'no'"),
        (("nothing.pt",), "a state dict does not say its architecture"),
        (("json:decoder", "--run", "1"), "--run chooses among the runs of a zoo"),
    ],
)
def test_graph_of_nothing(call, arguments, sentence):
    result = call("graph", *arguments)
    assert result.exit_code == 2
    assert sentence in result.stderr


def test_training_on_nothing_says_how_to_make_it(call, tmp_path):
    result = call("train", "vit_accuracy", "--zoo", tmp_path / "no", "--out", tmp_path / "run")
    assert result.exit_code == 2
    assert f"make it with `weightwalk zoo vit --root DIR --out {tmp_path / 'no'}`" in result.stderr


def test_files_of_a_module_s_parameters(call, trained, tmp_path, monkeypatch):
    """One function makes the module, files hold its parameters under its names."""
    (tmp_path / "netsofours.py").write_text(MODULE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    from netsofours import net

    files = []
    for seed, suffix in enumerate((".pt", ".ckpt", ".bin", ".safetensors")):
        module = net()
        for parameter in module.parameters():
            torch.nn.init.normal_(parameter, std=0.1 + seed, generator=torch.Generator().manual_seed(seed))
        files.append(tmp_path / f"{seed}{suffix}")
        (save_file if suffix == ".safetensors" else torch.save)(module.state_dict(), files[-1])
    (tmp_path / "other.pt").write_bytes(b"words")
    asked = ("predict", trained, *files, tmp_path / "other.pt", "--json")
    result = call(*asked, "--module", "netsofours:with_example")
    told = {one["network"]: one["predicted"] for one in json.loads(result.stdout)["networks"]}
    assert result.exit_code == 2
    assert list(json.loads(result.stdout)["unread"]) == [str(tmp_path / "other.pt")]
    by_activation = json.loads(call("predict", trained, files[0], "--activation", "relu", "--json").stdout)
    assert told[str(files[0])] == pytest.approx(by_activation["networks"][0]["predicted"], abs=1e-5)
    assert len(set(told.values())) == 4
    spec = tmp_path / "spec.json"
    spec.write_text("{}")
    assert "give one of them" in call(*asked, "--module", "netsofours:net", "--spec", spec).stderr
