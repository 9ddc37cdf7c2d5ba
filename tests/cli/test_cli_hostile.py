"""What a hostile user gives: one sentence and exit code 2, nothing executed that was not asked for, nothing lost."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from weightwalk import InputError
from weightwalk.cli import app
from weightwalk.cli.common import printable
from weightwalk.tasks.runs import Run

WEIGHTWALK = [sys.executable, "-c", "from weightwalk.cli import main; main()"]
MODULES = """
import sys
import torch
from torch import nn

class Ends(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(2, 2)
    def forward(self, x):
        sys.exit(0)

class Buffered(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(2, 2)
        self.register_buffer("mask", torch.eye(2).to_sparse())
    def forward(self, x):
        return self.layer(x) + (self.mask @ x.T).T

def plain(): return nn.Linear(2, 3)
def of(weight):
    module = nn.Linear(2, 3)
    module.weight = nn.Parameter(weight(module.weight.data), requires_grad=False)
    return module
def float8(): return of(lambda w: w.to(torch.float8_e4m3fn))
def sparse(): return of(lambda w: w.to_sparse())
def meta(): return nn.Linear(2, 3, device="meta")
def lazy(): return nn.LazyLinear(3), torch.zeros(1, 2)
def sparse_buffer(): return Buffered(), torch.zeros(1, 2)
def sparse_example(): return nn.Linear(2, 3), torch.eye(2).to_sparse()
def ends(): return Ends(), torch.zeros(1, 2)
def exits(): sys.exit(0)
def interrupts(): raise KeyboardInterrupt
def huge(): return nn.Linear(9_999_999_999, 99)
def endless(): return endless()
"""


@pytest.fixture(scope="module")
def modules(tmp_path_factory):
    """A folder with a module of the user's own, which the commands run in."""
    folder = tmp_path_factory.mktemp("modules")
    (folder / "hostile_modules.py").write_text(MODULES)
    (folder / "exits_at_once.py").write_text("import sys\nsys.exit(0)\n")
    return folder


@pytest.fixture
def refused(call):
    """Calls the command line in this process, and expects one sentence with all `words`."""

    def refused(arguments, *words):
        result = call(*arguments)
        assert result.exit_code == 2, result.output
        assert "Traceback" not in result.output
        [sentence] = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
        for word in words:
            assert str(word) in sentence, sentence

    return refused


def content(folder: Path) -> dict[Path, bytes]:
    return {path.relative_to(folder): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


# ---------------------------------------------------------------- outputs


@pytest.fixture(scope="module")
def house(shared_zoo, shared_run, tmp_path_factory):
    """A zoo and a run, and what could be overwritten beside them."""
    folder = tmp_path_factory.mktemp("house")
    shutil.copytree(shared_zoo, folder / "zoo")
    shutil.copytree(shared_run, folder / "run")
    shard = next((folder / "zoo").rglob("*.safetensors"))
    for name, target in {
        "shard.png": shard,
        "record.html": folder / "run" / "run.json",
        "full.png": Path("/dev/full"),
        "loop.png": folder / "loop.png",
    }.items():
        (folder / name).symlink_to(target)
    os.mkfifo(folder / "pipe.png")
    (folder / "folder.png").mkdir()
    (folder / "file").write_bytes(b"mine")
    return folder


OUTPUTS = {
    ("graph", "ZOO", "--png"): ".png",
    ("graph", "ZOO", "--html"): ".html",
    ("inspect", "ZOO", "--sheet"): ".png",
    ("render", "ZOO", "0", "--size", "8", "--sheet"): ".png",
    ("render", "ZOO", "0", "--size", "8", "--out"): ".png",
    ("report", "RUN", "--zoo", "ZOO", "--out"): ".html",
}
PLACES = ["zoo/manifest.json", "run/run.json", "/dev/full", "zoo/x{}", "zoo/new/x{}", "file/x{}", "folder{}", "loop{}"]
LINKS = ["shard{}", "record{}", "full{}", "pipe{}"]


@pytest.mark.parametrize("command", OUTPUTS, ids=" ".join)
def test_no_output_harms_a_zoo_a_run_or_a_device(call, house, command):
    before, device = content(house), os.stat("/dev/full")
    arguments = [str(house / part.lower()) if part in ("ZOO", "RUN") else part for part in command]
    for place in [*PLACES, *LINKS]:
        path = house / place.format(OUTPUTS[command])
        if os.path.lexists(path) or place in PLACES[:-2]:
            result = call(*arguments, path)
            assert result.exit_code == 2, place
            assert "Traceback" not in result.output
            assert result.stderr.splitlines()[-1].startswith("error: ")
    assert content(house) == before
    assert os.stat("/dev/full") == device


FOLDERS = [
    ("fit", "digits", "--limit", "1", "--out"),
    ("zoo", "cnn", "--dataset", "digits", "--runs", "1", "--out"),
    ("import", "nfn", "ZOO", "--out"),
    ("train", "digits_classify", "--zoo", "ZOO", "--out"),
    ("demo", "--out"),
    ("export", "ZOO", "nfn"),
    ("render", "ZOO", "0", "--out"),
]


@pytest.mark.parametrize("command", FOLDERS, ids=" ".join)
def test_no_folder_is_made_in_a_zoo_or_a_run_or_of_a_file(call, house, command):
    before = content(house)
    arguments = [str(house / part.lower()) if part == "ZOO" else part for part in command]
    for place in ("zoo/inner", "run/inner", "file", "file/inner"):
        result = call(*arguments, house / place)
        assert result.exit_code == 2, place
        assert result.stderr.splitlines()[-1].startswith("error: ")
    assert content(house) == before


def test_a_link_is_written_through(call, house, tmp_path):
    (tmp_path / "link.png").symlink_to(tmp_path / "target.png")
    for _ in range(2):
        assert call("graph", house / "zoo", "--png", tmp_path / "link.png", "--quiet").exit_code == 0
        assert (tmp_path / "link.png").is_symlink()
        assert (tmp_path / "target.png").read_bytes().startswith(b"\x89PNG")


def test_a_page_may_lie_in_a_run_and_beside_a_stranger_s_manifest(call, run, tmp_path):
    assert call("report", run, "--out", run / "mine.html", "--quiet").exit_code == 0
    (tmp_path / "manifest.json").write_text('{"name": "a web page"}')
    assert call("report", run, "--out", tmp_path / "mine.html", "--quiet").exit_code == 0


# ---------------------------------------------------------------- too much


TOO_MUCH = [
    (("fit", "digits", "--limit", 5, "--set", "hidden=9999999999"), "networks of 39,999,999,997 parameters takes"),
    (("fit", "digits", "--limit", 5, "--fits", 10**13), "networks of 1,185 parameters takes"),
    (("train", "digits_classify", "--zoo", "ZOO", "--set", "encoder.dim=9999999999"), "fits in memory"),
    (("train", "digits_classify", "--zoo", "ZOO", "--set", "classify.batch_size=9999999999999"), "memory"),
    (("train", "digits_inr2jls", "--zoo", "ZOO", "--set", "latents.theta_dim=9999999999"), "fits in memory"),
    (("render", "ZOO", "0", "--size", "999999999"), "points"),
    (("fit", "digits", "--limit", 5, "--seed", 10**30), "seed"),
    (("train", "digits_classify", "--zoo", "ZOO", "--seed", 10**30), "seed must be a whole number of 64 bits"),
    (("train", "digits_classify", "--zoo", "ZOO", "--set", "seed=-1"), "seed must be a number of at least 0"),
]


@pytest.mark.parametrize(("arguments", "words"), TOO_MUCH, ids=lambda value: str(value[-1])[:30])
def test_what_does_not_fit_is_said_and_leaves_nothing(refused, shared_zoo, tmp_path, arguments, words):
    out = tmp_path / "out.png" if arguments[0] == "render" else tmp_path / "out"
    refused([str(part).replace("ZOO", str(shared_zoo)) for part in arguments] + ["--out", str(out)], words)
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_sigterm_leaves_no_scratch_file(shared_zoo, tmp_path):
    command = [*WEIGHTWALK, "render", str(shared_zoo), "0", "--size", "40000", "--out", str(tmp_path / "a.png")]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        end = time.monotonic() + 60
        while not list(tmp_path.glob("*.partial")) and time.monotonic() < end:
            time.sleep(0.05)
        assert list(tmp_path.glob("*.partial"))
        process.terminate()
        assert process.wait(30) == 128 + signal.SIGTERM
    assert not list(tmp_path.iterdir())


# ---------------------------------------------------------------- code of others


FUNCTIONS = {
    "hostile_modules:float8": "float8",
    "hostile_modules:sparse": "sparse",
    "hostile_modules:meta": "meta",
    "hostile_modules:lazy": "lazy",
    "hostile_modules:sparse_buffer": "sparse",
    "hostile_modules:sparse_example": "sparse",
    "hostile_modules:ends": "ends the program (SystemExit)",
    "hostile_modules:exits": "SystemExit: 0",
    "hostile_modules:interrupts": "KeyboardInterrupt",
    "hostile_modules:huge": "allocate",
    "hostile_modules:endless": "RecursionError",
    "exits_at_once:anything": "SystemExit: 0",
    "sys:exit": "SystemExit",
}


@pytest.mark.parametrize("function", FUNCTIONS)
def test_code_that_makes_no_network_is_a_sentence(refused, modules, monkeypatch, function):
    monkeypatch.chdir(modules)
    refused(("graph", function), function, FUNCTIONS[function])


def test_code_that_makes_one_is_run(call, modules, monkeypatch):
    monkeypatch.chdir(modules)
    assert call("graph", "hostile_modules:plain", "--quiet").exit_code == 0


def test_the_help_says_that_code_is_run(call):
    assert "Its code is run" in " ".join(call("graph", "--help").stdout.replace("│", " ").split())


# ---------------------------------------------------------------- what files say


def test_specs_in_files(refused, tmp_path):
    dense = '{"kind": "dense", "fan_in": 2, "fan_out": %s}'
    for fan_out in ("1e400", "NaN", "1.5", "true", '"3"', "-1", "99999999999999999999", "[3]", "null"):
        (tmp_path / "spec.json").write_text('{"steps": [' + dense % fan_out + "]}")
        refused(("graph", tmp_path / "spec.json"))
    for text in ("[" * 100_000, '{"a":' * 100_000, '{"steps": ' + "[" * 60 + "]" * 60 + "}", "", "\xff", "3", "[]"):
        (tmp_path / "spec.json").write_text(text, encoding="latin-1")
        refused(("graph", tmp_path / "spec.json"))


def edits(value, path=()):
    """Every place of a JSON value, as a path of keys."""
    if isinstance(value, dict | list):
        for key in value if isinstance(value, dict) else range(len(value)):
            yield (*path, key)
            yield from edits(value[key], (*path, key))


WRONG = (None, True, -1, 1.5, "x" * 200, [], {}, [[]], {"a": 1}, 10**12)


@pytest.mark.parametrize(("name", "reports"), [("run.json", 12), ("evaluation.json", 6)])
def test_wrongly_typed_values_of_a_run_are_no_tracebacks(call, run, name, reports):
    """Every place gets another value: it is read, or refused in a sentence. Some are also reported, which uses them."""
    path = run / name
    good = json.loads(path.read_text())
    places = list(edits(good))
    refusals = 0
    for number, place in enumerate(places):
        value = json.loads(json.dumps(good))
        within = value
        for key in place[:-1]:
            within = within[key]
        within[place[-1]] = WRONG[number % len(WRONG)]
        path.write_text(json.dumps(value))
        try:
            Run.open(run).evaluation()
        except InputError:
            refusals += 1
        if number % (len(places) // reports) == 0:
            assert call("report", run, "--quiet").exit_code in (0, 2), place
    assert refusals > 10


def test_the_seconds_of_a_zoo(refused, run, zoo):
    for text in ('{"seconds": "3"}', "[]", "3", '{"seconds": NaN}', '{"second": 3}'):
        (zoo / ".fit.json").write_text(text)
        refused(("report", run, "--zoo", zoo), ".fit.json")


# ---------------------------------------------------------------- configurations in files


def test_a_configuration_is_saved_and_read_back(call, refused, shared_zoo, tmp_path, train_arguments):
    saved = json.loads(call("recipes", "digits_classify", "--json").stdout)
    path, out = tmp_path / "mine.json", tmp_path / "run"
    path.write_text(json.dumps(saved))
    sets = train_arguments(shared_zoo, out, "digits_classify")[6:]
    assert call("train", "--config", path, "--zoo", shared_zoo, "--out", out, *sets, "--quiet").exit_code == 0
    again = json.loads((out / "run.json").read_text())
    assert again["config"]["encoder"]["dim"] == 8
    assert call("train", "--config", out / "run.json", "--zoo", shared_zoo, "--out", out, "--quiet").exit_code == 0
    refused(("train", "digits_classify", "--config", path), "got digits_classify and --config")
    refused(("train",), "expected a RECIPE", "got neither")
    for change in ({"task": "chess"}, {"method": "x"}, {"config": 3}, {"config": {**saved["config"], "seed": "a"}}):
        path.write_text(json.dumps(saved | change))
        refused(("train", "--config", path, "--zoo", shared_zoo, "--out", tmp_path / "no"))
    assert not (tmp_path / "no").exists()


# ---------------------------------------------------------------- streams, names, shells


def streams(arguments: str, redirection: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """A command in a shell that gives it a certain standard output."""
    line = f'"$@" {arguments} {redirection}'
    return subprocess.run(
        ["bash", "-o", "pipefail", "-c", line, "bash", *WEIGHTWALK],
        capture_output=True, text=True, env=os.environ | environment,
    )  # fmt: skip


@pytest.mark.parametrize("arguments", ["recipes", "recipes --json", "--help"])
def test_standard_output_that_is_full_or_closed(arguments):
    full = streams(arguments, ">/dev/full")
    assert (full.returncode, full.stderr) == (
        2,
        "error: cannot write to standard output: no space left on device\n",
    )
    closed = streams(arguments, ">&-")
    assert (closed.returncode, closed.stderr) == (0, "")


def test_a_reader_that_has_enough():
    done = streams("recipes", "| true")
    assert (done.returncode, done.stderr) in ((141, ""), (1, ""))
    assert "Traceback" not in done.stderr


def test_ascii_output_of_other_letters(tmp_path):
    done = streams(f"inspect {tmp_path}/Zoo-ä-漢", "", PYTHONIOENCODING="ascii")
    assert done.returncode == 2
    assert r"Zoo-\xe4-\u6f22; check the path" in done.stderr


def test_names_do_not_steer_the_terminal(call, tmp_path):
    name = "a\x1b[31m\x07\u202e\udcff\r"
    result = call("inspect", tmp_path / "\x1b[31mred")
    assert "\x1b" not in result.output
    assert r"\x1b[31mred" in result.stderr
    assert printable(name) == r"a\x1b[31m\x07\u202e\udcff\r"
    assert printable("zoos/Zoo ä 漢\nnext") == "zoos/Zoo ä 漢\nnext"


def test_the_next_commands_are_quoted(call, shared_zoo, tmp_path):
    path = tmp_path / "a zoo; $(rm -rf x)"
    text = call("fit", "digits", "--limit", 5, "--out", path, "--init", "shared").stdout
    assert f"weightwalk inspect '{path}'" in "".join(text.splitlines())


def test_every_command_has_short_help_and_completes_in_shells(call):
    for command in app.registered_commands:
        assert command.name is not None
        assert call(command.name, "-h").stdout == call(command.name, "--help").stdout
    assert "--install-completion" in call("--help").stdout
    assert "Usage" in call("bench", "fit", "-h").stdout


def test_a_zoo_in_a_folder_whose_name_is_no_utf8_is_not_called_damaged(call, shared_zoo, shared_run, tmp_path):
    folder = Path(os.fsdecode(os.fsencode(tmp_path) + b"/z\xff"))
    folder.mkdir()
    (folder / "zoo").symlink_to(shared_zoo)
    shutil.copy(shared_run / "model.safetensors", folder)
    for arguments in (("inspect", folder / "zoo"), ("predict", folder / "model.safetensors", shared_zoo)):
        result = call(*arguments)
        assert result.exit_code == 2
        assert "expected a path in UTF-8" in result.stderr
        assert "delete" not in result.stderr
