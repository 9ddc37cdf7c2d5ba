"""The house keeps its plan: imports go one way, files stay short, and nothing unpickles."""

import ast
import re
from pathlib import Path

import pytest

import weightwalk

SOURCE = Path(__file__).parents[1] / "src" / "weightwalk"
ROOMS = [
    *(
        "errors",
        "files",
        "memory",
        "registry",
        "config",
        "options",
        "devices",
        "progress",
        "steps",
        "flow",
        "spec",
        "symmetry",
        "evaluate",
        "state_dicts",
        "weights",
        "watched",
        "lanes",
        "kept",
    ),
    *("networks", "zoos", "graphs", "encoders", "heads", "training", "frameworks"),
    *("report", "tasks", "recipes", "interop", "testing", "bench", "reproduce", "cli", "__main__"),
]
"""In the order of docs/architecture.md: a room imports from itself and from rooms before it."""

OWN = {"InputError": "errors", "NetworkSpec": "spec", "__version__": "errors"} | {
    name: home.split(".")[0] for name, home in weightwalk._HOMES.items()
}
ENTRANCE = {*OWN.values()}
"""What the package itself gives: `weightwalk/__init__.py`, and so `from weightwalk import ...` elsewhere."""

MAX_LINES = 330
UNPICKLERS = {"zoos/formats/pickles.py"}


def modules() -> dict[str, str]:
    return {str(path.relative_to(SOURCE)): path.read_text() for path in sorted(SOURCE.rglob("*.py"))}


def room_of(path: str) -> str:
    return path.split("/")[0].removesuffix(".py")


def imported_rooms(source: str) -> list[tuple[int, str]]:
    """(line, room) of every import from the package, wherever it stands; what comes from the package itself is read by
    name.
    """
    found: list[tuple[int, str]] = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found += [
                (node.lineno, alias.name.split(".")[1]) for alias in node.names if alias.name.startswith("weightwalk.")
            ]
        elif isinstance(node, ast.ImportFrom) and node.level:
            found.append((node.lineno, "a relative import"))
        elif isinstance(node, ast.ImportFrom) and node.module == "weightwalk":
            found += [(node.lineno, OWN.get(alias.name, alias.name)) for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module is not None and node.module.startswith("weightwalk."):
            found.append((node.lineno, node.module.split(".")[1]))
    return found


def wrong_imports(path: str, source: str) -> list[str]:
    """One sentence per import that goes up the list."""
    room = room_of(path)
    if room == "__init__":
        return [f"{path}:{line} imports {other}" for line, other in imported_rooms(source) if other not in ENTRANCE]
    if room not in ROOMS:
        return [f"{path} is in no room of {', '.join(ROOMS)}"]
    allowed = ROOMS[: ROOMS.index(room) + 1]
    return [
        f"{path}:{line} imports {other}, which does not come before {room}"
        for line, other in imported_rooms(source)
        if other not in allowed
    ]


def too_long(path: str, source: str) -> list[str]:
    """A file of more than some 300 lines has to say why: "... lines because ...", in its docstring."""
    count, docstring = len(source.splitlines()), ast.get_docstring(ast.parse(source)) or ""
    return [f"{path} has {count} lines"] if count > MAX_LINES and not re.search(r"lines,? because", docstring) else []


def unpicklers(path: str, source: str) -> list[str]:
    """Imports of pickle and its kin, and torch.load or numpy's with anything but `weights_only=True` and
    `allow_pickle=False`.
    """
    found = []
    for node in ast.walk(ast.parse(source)):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        found += [
            f"{path}:{node.lineno} imports {name}"
            for name in names
            if name.split(".")[0] in {"pickle", "cloudpickle", "dill", "joblib", "shelve"}
        ]
        if isinstance(node, ast.Call) and ast.unparse(node.func) in {"torch.load", "np.load", "numpy.load"}:
            arguments = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
            safe = (
                arguments.get("weights_only") == "True"
                if "torch" in ast.unparse(node.func)
                else arguments.get("allow_pickle", "False") == "False"
            )
            found += [] if safe else [f"{path}:{node.lineno} calls {ast.unparse(node.func)}"]
    return [] if path in UNPICKLERS else found


@pytest.mark.parametrize("check", [wrong_imports, too_long, unpicklers])
def test_the_house_is_in_order(check):
    assert [sentence for path, source in modules().items() for sentence in check(path, source)] == []


def test_every_room_of_the_plan_is_there():
    there = {room_of(path) for path in modules()} - {"__init__"}
    assert there == set(ROOMS)


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("spec.py", "from weightwalk.weights import Weights"),
        ("encoders/mine.py", "import torch\n\ndef f():\n    from weightwalk.frameworks.inr2jls import INR2JLS"),
        ("zoos/store.py", "import weightwalk.training.loop"),
        ("training/loop.py", "from weightwalk import tasks"),
        ("graphs/dynamic.py", "from weightwalk import Weights, encoders"),
        ("heads/classify.py", "from ..frameworks import inr2jls"),
        ("__init__.py", "from weightwalk.training import loop"),
        ("magic/spells.py", ""),
    ],
)
def test_an_import_against_the_direction_is_found(path, source):
    assert len(wrong_imports(path, source)) == 1


def test_imports_down_the_list_are_fine():
    for path, source in [
        (
            "cli/fit.py",
            "from weightwalk.zoos.inr.fit import fit_zoo\nfrom weightwalk.cli import common\nimport weightwalk",
        ),
        ("weights.py", "from weightwalk import evaluate\nfrom weightwalk.spec import NetworkSpec"),
        ("graphs/dynamic.py", "from weightwalk import NetworkSpec, InputError"),
    ]:
        assert wrong_imports(path, source) == []


def test_long_files_and_unpicklers_are_found():
    long = "x = 1\n" * (MAX_LINES + 1)
    assert too_long("a.py", long)
    assert not too_long("a.py", '"""A table.\n\n400 lines because the table is one thing.\n"""\n' + long)
    for source in (
        "import pickle",
        "from pickle import load",
        "import torch\ntorch.load(x)",
        "torch.load(x, weights_only=False)",
        "np.load(x, allow_pickle=True)",
    ):
        assert unpicklers("a.py", source)
    for source in ("torch.load(x, weights_only=True)", "np.load(x)", "import pickletools"):
        assert not unpicklers("a.py", source)
    assert not unpicklers(next(iter(UNPICKLERS)), "import pickle")
