"""Tiny downloads of exactly the published layouts."""

from __future__ import annotations

import csv
import gzip
import json
import sys
import types
from pathlib import Path

import numpy as np
import torch
from torch import nn


def small_cnn_zoo(folder: Path, nets: int = 12, steps: tuple[int, ...] = (0, 86)) -> np.ndarray:
    """TensorFlow's order, biases before kernels; a row per net and step. Gives the weights."""
    folder.mkdir(parents=True, exist_ok=True)
    shapes = [(3, 3, 1, 16), (3, 3, 16, 16), (3, 3, 16, 16), (16, 10)]
    chance = np.random.default_rng(0)
    start, lines = 0, []
    for name, shape in zip(("conv2d", "conv2d_1", "conv2d_2", "dense"), shapes, strict=True):
        for role, own in (("bias", shape[-1:]), ("kernel", shape)):
            stop = start + int(np.prod(own))
            lines.append([f"sequential/{name}/{role}:0", start, stop, stop - start, str(own)])
            start = stop
    with (folder / "layout.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["varname", "start_idx", "end_idx", "size", "shape"], *lines])
    weights = chance.standard_normal((nets * len(steps), start)).astype(np.float32)
    np.save(folder / "weights.npy", weights)
    header = [
        "",
        "config.activation",
        "config.b_init",
        "config.dataset",
        "config.dropout",
        "config.learning_rate",
        "config.optimizer",
    ]
    header += [
        "config.train_fraction",
        "modeldir",
        "step",
        "test_accuracy",
        "test_loss",
        "train_accuracy",
        "train_loss",
    ]
    with gzip.open(folder / "metrics.csv.gz", "wt", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        for row in range(len(weights)):
            net, step = row // len(steps), steps[row % len(steps)]
            config = [("relu", "tanh")[net % 2], "zeros", "svhn_cropped", 0.25, 1e-3 * (net + 1), "adam", 0.5]
            writer.writerow([row, *config, f"/a/b/{net}", step, row / 100, 2.0, row / 200, 1.0])
    return weights


class Park(nn.Module):
    """The released class, forward and all, but for its name."""

    def __init__(self, config):
        super().__init__()
        self.config = config
        channels, kernels = config["channels"], config["kernel_size"]
        self.layers = nn.ModuleList(
            nn.Conv2d(i, o, kernel_size=k, padding=k // 2)
            for i, o, k in zip(channels, channels[1:], kernels, strict=False)
        )
        self.fc = nn.Linear(channels[-1], config["n_classes"])

    def forward(self, x):
        functions = {"relu": torch.relu, "tanh": torch.tanh, "gelu": nn.functional.gelu}
        kept = []
        for i, layer in enumerate(self.layers):
            x, source = layer(x), self.config["residual"][i]
            if source >= 0:
                common = min(x.shape[1], kept[source].shape[1])
                x = torch.cat([x[:, :common] + kept[source][:, :common], x[:, common:]], 1)
            x = functions[self.config["activation"][i]](x)
            kept.append(x)
        return self.fc(x.mean((2, 3)))


CONFIGS = (
    {"n_layers": 2, "channels": [3, 4, 8], "kernel_size": [3, 5], "residual": [-1, -1], "activation": ["relu", "tanh"]},
    {
        "n_layers": 3,
        "channels": [3, 8, 4, 4],
        "kernel_size": [3, 7, 3],
        "residual": [-1, -1, 0],
        "activation": ["gelu", "relu", "tanh"],
    },
)


def omega(value):
    """A configuration as OmegaConf pickles it: containers with `_content`, nodes with `_val`, and classes in their
    metadata.
    """

    def make(name, **state):
        module, _, kind = name.rpartition(".")
        cls = getattr(sys.modules[module], kind)
        instance = cls.__new__(cls)
        instance.__dict__.update(state)
        return instance

    metadata = make("omegaconf.base.ContainerMetadata", object_type=sys.modules["sampler"].CNNConfig, optional=True)
    if isinstance(value, dict):
        return make(
            "omegaconf.dictconfig.DictConfig",
            _metadata=metadata,
            _parent=None,
            _content={k: omega(v) for k, v in value.items()},
        )
    if isinstance(value, list):
        return make(
            "omegaconf.listconfig.ListConfig", _metadata=metadata, _parent=None, _content=[omega(v) for v in value]
        )
    return make("omegaconf.nodes.AnyNode", _metadata=metadata, _parent=None, _val=value)


MODULES: dict[str, list[str]] = {
    "omegaconf": [],
    "omegaconf.base": ["ContainerMetadata"],
    "omegaconf.dictconfig": ["DictConfig"],
    "omegaconf.listconfig": ["ListConfig"],
    "omegaconf.nodes": ["AnyNode"],
    "sampler": ["CNNConfig"],
}


def wild_park(
    folder: Path, runs: int = 6, epochs: tuple[int, ...] = (0, 9), with_omegaconf: bool = False, split: bool = True
) -> list[Park]:
    """Gives the networks, a list over runs and epochs."""
    names, networks = [f"NN_tune_trainable_{run:05d}" for run in range(runs)], []
    for name, names_of in MODULES.items():
        module = types.ModuleType(name)
        for kind in names_of:
            setattr(module, kind, type(kind, (), {"__module__": name}))
        sys.modules[name] = module
    try:
        for run, name in enumerate(names):
            config = {
                **CONFIGS[run % 2],
                "n_classes": 10,
                "stride": [1] * CONFIGS[run % 2]["n_layers"],
                "padding": [1, 2, 1],
            }
            for epoch in epochs:
                network = Park(config)
                networks.append(network)
                path = folder / "cifar10_zooV2" / name / f"checkpoint_{epoch:06d}" / "checkpoint.pt"
                path.parent.mkdir(parents=True)
                result = {"test/acc": run / 10 + epoch / 100, "test/loss": 2.0, "training_iteration": epoch + 1}
                content = {
                    "model": network.state_dict(),
                    "optimizer": {},
                    "config": omega(config) if with_omegaconf else config,
                }
                torch.save({**content, "iteration": epoch, "last_result": result}, path)
    finally:
        for name in MODULES:
            del sys.modules[name]
    if split:
        parts = {"train": names[3:], "val": names[:1], "test": names[1:3]}
        path = "cifar10_zooV2/{}/checkpoint_{:06d}/checkpoint.pt"
        value = {
            part: {"path": [path.format(name, epoch) for epoch in epochs for name in own]}
            for part, own in parts.items()
        }
        (folder / "cnn_park_splits.json").write_text(json.dumps(value))
    return networks


class Attention(nn.Module):
    def __init__(self, dim, heads, dim_head):
        super().__init__()
        self.heads = heads
        self.norm = nn.LayerNorm(dim)
        self.to_qkv, self.to_out = (
            nn.Linear(dim, 3 * heads * dim_head, bias=False),
            nn.Linear(heads * dim_head, dim, bias=False),
        )

    def forward(self, x):
        q, k, v = (
            part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in self.to_qkv(self.norm(x)).chunk(3, -1)
        )
        return self.to_out(nn.functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))


class FeedForward(nn.Module):
    def __init__(self, dim, hidden):
        super().__init__()
        self.net = nn.Sequential(nn.LayerNorm(dim), nn.Linear(dim, hidden), nn.GELU(), nn.Linear(hidden, dim))

    def forward(self, x):
        return self.net(x)


class Transformer(nn.Module):
    def __init__(self, dim, depth, heads, dim_head, hidden):
        super().__init__()
        self.norm = nn.LayerNorm(dim)
        self.layers = nn.ModuleList(
            nn.ModuleList([Attention(dim, heads, dim_head), FeedForward(dim, hidden)]) for _ in range(depth)
        )

    def forward(self, x):
        for attention, feed in self.layers:
            x = attention(x) + x
            x = feed(x) + x
        return self.norm(x)


class ViT(nn.Module):
    """SimpleViT under the names of vit-pytorch."""

    def __init__(self, dim=16, depth=1, heads=2, dim_head=4, hidden=12, patch=4):
        super().__init__()
        width = 3 * patch**2
        self.patch, self.dim = patch, dim
        self.to_patch_embedding = nn.Sequential(
            nn.Identity(), nn.LayerNorm(width), nn.Linear(width, dim), nn.LayerNorm(dim)
        )
        self.transformer = Transformer(dim, depth, heads, dim_head, hidden)
        self.linear_head = nn.Linear(dim, 10)

    def forward(self, x):
        p, side = self.patch, x.shape[-1] // self.patch
        tokens = x.unfold(2, p, p).unfold(3, p, p).permute(0, 2, 3, 4, 5, 1).flatten(3).flatten(1, 2)
        w = 10000 ** -(torch.arange(self.dim // 4) / (self.dim // 4 - 1))
        rows, columns = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
        table = torch.cat(
            [f(place.flatten()[:, None] * w) for place in (columns, rows) for f in (torch.sin, torch.cos)], 1
        )
        return self.linear_head(self.transformer(self.to_patch_embedding(tokens) + table).mean(1))


def vit_zoo(folder: Path, models: int = 10, split: bool = True) -> list[ViT]:
    (folder / "vit_models").mkdir(parents=True)
    (folder / "stat").mkdir()
    networks, results = [], []
    for model in range(1, models + 1):
        networks.append(ViT())
        torch.save(networks[-1].state_dict(), folder / "vit_models" / f"model_{model}_{model % 3}.pth")
        results.append(
            {"model_id": model, "epoch": model % 3, "train_accuracy": 10.0 * model, "test_accuracy": 9.0 * model}
        )
    values = {
        "image_size": 16,
        "patch_size": 4,
        "num_classes": 10,
        "dim": 16,
        "dim_head": 4,
        "depth": 1,
        "heads": 2,
        "mlp_dim": 12,
    }
    (folder / "stat" / "vit_hyperparameters.json").write_text(
        json.dumps({**values, "learning_rate": 1e-3, "batch_size": 128})
    )
    (folder / "stat" / "results.json").write_text(json.dumps(results))
    if split:
        parts = {"train": list(range(2, 9)), "val": [1], "test": [9, 10]}
        (folder / "stat" / "splits.json").write_text(json.dumps(parts))
    return networks
