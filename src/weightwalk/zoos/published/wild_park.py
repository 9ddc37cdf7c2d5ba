"""The CNN Wild Park (Kofinas et al. 2024; Zenodo 12797219): a folder per run, in it one per checkpoint.

    <zoo>/<run>/<checkpoint>/checkpoint.pt   model (a state dict), config (the architecture),
                                             iteration, last_result (test/acc, test/loss)
    cnn_park_splits.json                     {"train": {"path": [...], "score": ..., "step": ...}, ...}

`iteration` counts from 0, so that iteration k has seen k + 1 epochs. Runs that the split does not name are left out;
without a split runs are numbered in the order of their names, and split by their last digits.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from weightwalk import files
from weightwalk.errors import InputError
from weightwalk.networks.architectures import wild_park
from weightwalk.networks.files import Inert, unpickled
from weightwalk.spec import NetworkSpec
from weightwalk.zoos.published.reading import LAYOUTS, Told
from weightwalk.zoos.published.trained import Runs, by_split, flattened
from weightwalk.zoos.shards import Group
from weightwalk.zoos.splits import SPLITS, SplitRule
from weightwalk.zoos.trained.train import checkpoints

_FILE, _SPLITS = "checkpoint.pt", "cnn_park_splits.json"


@LAYOUTS.register("wild-park")
class WildParkZoo(Runs):
    """The runs below `folder`, in the order of the split in `splits`, else in `cnn_park_splits.json`, if it exists."""

    def __init__(self, folder: Path, told: Told):
        self.runs: dict[Path, list[Path]] = {}
        for path in sorted(folder.rglob(_FILE)):
            self.runs.setdefault(path.parent.parent, []).append(path)
        if not self.runs:
            raise InputError(
                f"expected runs of the Wild Park in {folder} (<run>/<checkpoint>/{_FILE}), found none; name the "
                "unpacked download"
            )
        split = told.splits or next(iter(sorted(folder.rglob(_SPLITS))), None)
        if split is None:
            self.ordered, rule = list(self.runs), SplitRule()
        else:
            parts = _parts(split, list(self.runs))
            self.ordered, rule = [run for part in parts for run in part], by_split(*map(len, parts))
        super().__init__(told, "wild-park", "cifar10", len(self.ordered), rule)

    def run(self, number: int) -> Group:
        return _run(number, self.ordered[number], self.runs[self.ordered[number]])


def _parts(path: Path, runs: Sequence[Path]) -> list[list[Path]]:
    """The runs of train, val and test, each in the order in which the split first names one of its checkpoints."""
    value = files.read_json(path, "the split of the Wild Park")
    by_name = {run.name: run for run in runs}
    try:
        names = [
            list(dict.fromkeys(Path(entry).parent.parent.name for entry in value[part]["path"])) for part in SPLITS
        ]
    except (KeyError, TypeError):
        raise InputError(f"expected train, val and test with a list path each in {path}, got other JSON") from None
    absent = [name for part in names for name in part if name not in by_name]
    if absent:
        raise InputError(
            f"{path} names {len(absent):,} runs that are not there, the first is {absent[0]}; unpack the whole download"
        )
    both = [name for name in names[0] + names[1] if name in {*names[2]} or (name in names[0] and name in names[1])]
    if both:
        raise InputError(f"expected every run in one split in {path}, got {both[0]} in two")
    return [[by_name[name] for name in part] for part in names]


def _run(number: int, folder: Path, paths: Sequence[Path]) -> Group:
    rows, spec = [], None
    for path in paths:
        content = _loaded(path)
        try:
            own = _spec(content["config"])
            state = dict(content["model"])
            said = content["last_result"]
            figures = {"test_accuracy": float(said["test/acc"]), "test_loss": float(said.get("test/loss", "nan"))}
            epochs = int(content["iteration"]) + 1
        except (KeyError, TypeError, ValueError, IndexError) as error:
            raise InputError(
                f"expected model, config, iteration and last_result in {path}, got other contents ({error!r})"
            ) from None
        if spec is not None and own != spec:
            raise InputError(f"expected one architecture per run, got another one in {path} than in {paths[0]}")
        spec = own
        rows.append((epochs, flattened(spec, _tensors(state, len(spec.layers), path), str(path)), figures))
    assert spec is not None
    return checkpoints(number, spec, {"run": folder.name}, rows)


def _loaded(path: Path) -> dict[str, Any]:
    """The dictionary in a checkpoint, saved with OmegaConf's objects: tensors and plain values; no code is run."""
    content = unpickled(path, "a checkpoint", inert=True)
    if not isinstance(content, dict):
        raise InputError(f"expected a dictionary in {path}, got {type(content).__name__}; get a whole copy")
    plain: dict[str, Any] = _plain(content)
    return plain


def _plain(value: Any) -> Any:
    """Dictionaries, lists and values, taken out of OmegaConf's containers (`_content`) and nodes (`_val`)."""
    if isinstance(value, Inert):
        state = value.state
        if not isinstance(state, dict):
            return _plain(state)
        return _plain(next((state[key] for key in ("_content", "_val") if key in state), state))
    if isinstance(value, dict):
        return {key: _plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(entry) for entry in value]
    return value


def _spec(config: Mapping[str, Any]) -> NetworkSpec:
    channels = [int(width) for width in config["channels"]]
    activations = ["identity" if name == "none" else str(name) for name in config["activation"]]
    if any(int(stride) != 1 for stride in config["stride"]):
        raise InputError(f"expected convolutions of stride 1, as in the Wild Park, got {config['stride']}")
    kernels, residual = (list(map(int, config[name])) for name in ("kernel_size", "residual"))
    return wild_park(channels[1:], kernels, activations, residual, channels[0], int(config["n_classes"]))


def _tensors(state: Mapping[str, torch.Tensor], layers: int, path: Path) -> dict[tuple[int, str], torch.Tensor]:
    names = [*(f"layers.{i}" for i in range(layers - 1)), "fc"]
    wanted = {(i, role): f"{name}.{role}" for i, name in enumerate(names) for role in ("weight", "bias")}
    absent = [name for name in wanted.values() if name not in state]
    if absent:
        raise InputError(f"expected the tensor {absent[0]} in {path}, got {', '.join(map(str, state))}")
    return {place: state[name] for place, name in wanted.items()}
