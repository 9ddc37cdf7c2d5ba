"""The ViT zoo of Dynamic Neural Graphs (Wu et al. 2026): `SimpleViT` state dicts, and what is known of them.

vit_models/model_<id>_<epoch>.pth     a state dict; epochs are counted from 0, so that epoch k has seen k + 1
stat/results.json                     [{"model_id": 1, "epoch": 0, "train_accuracy": 31.2...}, ...], in percent
stat/vit_hyperparameters.json         the architecture
stat/splits.json                      {"train": [ids], "val": [ids], "test": [ids]}; without it 80 / 10 / 10 %
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from weightwalk import files
from weightwalk.errors import InputError
from weightwalk.networks.architectures import simple_vit
from weightwalk.networks.files import read_state
from weightwalk.networks.starts import sincos
from weightwalk.spec import NetworkSpec
from weightwalk.steps import Learned
from weightwalk.zoos.published.reading import LAYOUTS, Told
from weightwalk.zoos.published.trained import Runs, by_split, flattened
from weightwalk.zoos.shards import Group
from weightwalk.zoos.splits import SPLITS
from weightwalk.zoos.trained.train import checkpoints

_NAME = re.compile(r"model_(\d+)_(\d+)\.pth")


@LAYOUTS.register("vit-zoo")
class ViTZoo(Runs):
    """The runs in `folder`, in the order of the split in `splits` or in `stat/splits.json`."""

    def __init__(self, folder: Path, told: Told):
        self.models = {
            int(found[1]): (int(found[2]), path)
            for path in folder.rglob("*.pth")
            if (found := _NAME.fullmatch(path.name))
        }
        if not self.models:
            raise InputError(
                f"expected vit_models/model_<id>_<epoch>.pth in {folder}, found none; name the folder of the ViT zoo"
            )
        hyperparameters = files.read_json(
            folder / "stat" / "vit_hyperparameters.json", "the hyperparameters of the ViT zoo"
        )
        results = files.read_json(folder / "stat" / "results.json", "the accuracies of the ViT zoo")
        try:
            self.spec = _spec(hyperparameters)
            self.scores = {int(entry["model_id"]): _figures(entry) for entry in results}
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(f"expected the ViT zoo's JSON in {folder / 'stat'}, got other JSON ({error!r})") from None
        unknown = sorted(self.models.keys() - self.scores.keys())
        if unknown:
            raise InputError(
                f"expected an accuracy of every network in {folder / 'stat' / 'results.json'}, found none of model "
                f"{unknown[0]}"
            )
        parts = _parts(told.splits or folder / "stat" / "splits.json", sorted(self.models), told.splits is not None)
        self.ordered = [model for part in parts for model in part]
        self.kept = {key: hyperparameters[key] for key in ("learning_rate", "batch_size") if key in hyperparameters}
        super().__init__(told, "vit", "cifar10", len(self.ordered), by_split(*map(len, parts)))

    def run(self, number: int) -> Group:
        model = self.ordered[number]
        epoch, path = self.models[model]
        params = flattened(self.spec, _tensors(self.spec, read_state(path), path), str(path))
        info = {"optimizer": "adam", **self.kept, "model_id": model}
        return checkpoints(number, self.spec, info, [(epoch + 1, params, self.scores[model])])


def _spec(values: Mapping[str, Any]) -> NetworkSpec:
    size = int(values["image_size"])
    names = ("num_classes", "dim", "depth", "heads", "dim_head", "mlp_dim", "patch_size")
    return simple_vit((3, size, size), *(int(values[name]) for name in names))


def _figures(entry: Mapping[str, Any]) -> dict[str, float]:
    told = {"train_accuracy": entry.get("train_accuracy", "nan"), "test_accuracy": entry["test_accuracy"]}
    return {name: float(percent) / 100 for name, percent in told.items()}


def _parts(path: Path, models: list[int], named: bool) -> list[list[int]]:
    """The ids of train, val and test that are there."""
    if not named and not path.exists():
        cuts = [int(0.8 * len(models)), int(0.9 * len(models))]
        return [models[: cuts[0]], models[cuts[0] : cuts[1]], models[cuts[1] :]]
    value = files.read_json(path, "the split of the ViT zoo")
    try:
        parts = [[int(model) for model in value[part]] for part in SPLITS]
    except (KeyError, TypeError, ValueError):
        raise InputError(f"expected train, val and test as lists of ids in {path}, got other JSON") from None
    every = [model for part in parts for model in part]
    if len(set(every)) != len(every):
        raise InputError(f"expected every id once in {path}, got some twice")
    there = set(models)
    return [[model for model in part if model in there] for part in parts]


def _tensors(spec: NetworkSpec, state: Mapping[str, Any], path: Path) -> dict[tuple[int, str], Tensor]:
    """A SimpleViT's state dict (vit-pytorch) by (layer, role); the table of positions, which it lacks, is computed."""
    depth = (len(spec.layers) - 6) // 6
    blocks = [
        f"transformer.layers.{block}.{name}"
        for block in range(depth)
        for name in ("0.norm", "0.to_qkv", "0.to_out", "1.net.0", "1.net.1", "1.net.3")
    ]
    embedding = [f"to_patch_embedding.{place}" for place in (1, 2, 3)]
    names = [*embedding, "", *blocks, "transformer.norm", "linear_head"]
    tensors = {}
    for field in spec.fields:
        layer, name = spec.layers[field.layer], f"{names[field.layer]}.{field.role}"
        if isinstance(layer, Learned):
            tensors[field.layer, field.role] = torch.from_numpy(sincos(layer).astype(np.float32)).unsqueeze(1)
        elif not isinstance(state.get(name), Tensor):
            raise InputError(f"expected the tensor {name} of a SimpleViT in {path}, got {', '.join(map(str, state))}")
        else:
            tensors[field.layer, field.role] = state[name]
    return tensors
