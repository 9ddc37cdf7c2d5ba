"""What both encoders of the release begin with, `construct_graph`, as our `GraphInput`, and its settings."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

import torch
from torch import Tensor

from weightwalk.errors import InputError
from weightwalk.heads.mlp import MLPHead
from weightwalk.interop.dng_release.names import both, get
from weightwalk.spec import NetworkSpec

INR_OFFSET = 0.5
"""What the release's INRs, which probes run, add to their output."""
_FIXED = {
    "zero_out_bias": False,
    "zero_out_weights": False,
    "input_layers": 1,
    "use_cls_token": False,
    "use_ln": True,
    "disable_edge_updates": False,
    "normalize": False,
}
"""Settings of the release that have one value here."""
_POOLS = {("cat", "last"): "last", ("mean", "all"): "mean", ("max", "all"): "max"}
"""Our `pool` for its `pooling_method` and `pooling_layer_idx`."""


def settings(config: Mapping[str, Any]) -> dict[str, Any]:
    """The release's settings in one dictionary: groups of them are opened, and texts of JSON read."""
    found: dict[str, Any] = {}
    for key, value in config.items():
        if isinstance(value, str):
            with suppress(json.JSONDecodeError):
                value = json.loads(value)
        if isinstance(value, Mapping) and key != "stats":
            found |= settings(value)
        else:
            found[key] = value
    return found


def network(widths: Sequence[int], config: Mapping[str, Any]) -> NetworkSpec:
    """The networks that are read; probes are run on them."""
    return NetworkSpec.mlp(widths, str(config.get("activation", "sine")), float(config.get("omega", 30.0)))


def check_settings(config: Mapping[str, Any]) -> None:
    """InputError for what no published run uses, and our encoders have not."""
    for name, value in _FIXED.items():
        if (found := config.get(name, value)) != value:
            raise InputError(f"expected {name}={value!r} in the release's settings, got {found!r}; no other is read")
    if _pooling(config) not in _POOLS:
        raise InputError(f"expected pooling_method and pooling_layer_idx of {[*_POOLS]}, got {_pooling(config)}")


def _pooling(config: Mapping[str, Any]) -> tuple[str, str]:
    return config.get("pooling_method", "cat"), config.get("pooling_layer_idx", "last")


def graph_options(state_dict: Mapping[str, Tensor], config: Mapping[str, Any]) -> dict[str, Any]:
    """The options of `GraphInput` that the parameters tell, and the settings where they don't."""
    check_settings(config)
    place = "construct_graph."
    fourier = f"{place}proj_weight.0.b" in state_dict
    if fourier:
        num_frequencies, channels = get(state_dict, f"{place}proj_weight.0.b", 2).shape
    else:
        num_frequencies, channels = 0, get(state_dict, f"{place}proj_weight.0.weight", 2).shape[1]
    probes = state_dict.get(f"{place}gpf.inputs")
    return {
        "num_frequencies": num_frequencies,
        "reverse": channels == 3,
        "num_probes": 0 if probes is None else probes.shape[-2],
        "output_offset": 0.0 if probes is None else float(config.get("output_offset", INR_OFFSET)),
        "pool": _POOLS[_pooling(config)],
        "positional": bool(config.get("use_pos_embed", True)),
    }


def graph_parameters(
    state_dict: Mapping[str, Tensor], widths: Sequence[int], config: Mapping[str, Any]
) -> tuple[dict[str, str], dict[str, Tensor], set[str]]:
    """Of `GraphInput`: our names and theirs, tensors of ours that are made of theirs, and theirs that these are of."""
    place, own = "construct_graph.", "graph_input."
    names: dict[str, str] = {}
    made = {f"{own}standardise.{role}": x for role, x in _statistics(len(widths) - 1, config).items()}
    spent: set[str] = set()
    for ours, theirs in (("of_biases", "proj_bias"), ("of_kernels", "proj_weight")):
        frequencies = state_dict.get(f"{place}{theirs}.0.b")
        if frequencies is None:
            made[f"{own}{ours}.frequencies"] = torch.zeros(get(state_dict, f"{place}{theirs}.0.weight", 2).shape[1], 0)
            names |= both(f"{own}{ours}.linear", f"{place}{theirs}.0")
            continue
        made[f"{own}{ours}.frequencies"] = frequencies.T
        of_cosines, of_sines = get(state_dict, f"{place}{theirs}.1.weight", 2).chunk(2, 1)  # theirs begin with these
        made[f"{own}{ours}.linear.weight"] = torch.cat([of_sines, of_cosines], dim=1)
        names[f"{own}{ours}.linear.bias"] = f"{place}{theirs}.1.bias"
        spent |= {f"{place}{theirs}.0.b", f"{place}{theirs}.1.weight"}
    names |= both(f"{own}node_map", f"{place}proj_node_in") | both(f"{own}edge_map", f"{place}proj_edge_in")
    if config.get("use_pos_embed", True):
        names[f"{own}positions"] = f"{place}pos_embed"
    else:
        spent.add(f"{place}pos_embed")
    if f"{place}gpf.inputs" in state_dict:
        made[f"{own}probes.points"] = state_dict[f"{place}gpf.inputs"].flatten(0, -2)
        spent.add(f"{place}gpf.inputs")
        for stage in range(len(widths)):
            for part in (0, 1):
                names |= both(f"{own}probes.stages.{stage}.{part}", f"{place}gpf.proj.{stage}.{part}")
    return names, made, spent


def _statistics(num_layers: int, config: Mapping[str, Any]) -> dict[str, Tensor]:
    """The means and deviations of `stats`, as `GraphInput.standardise` has them: of each layer's weight, then bias."""
    stats = config.get("stats") or {}
    found = {}
    for ours, missing in (("mean", 0.0), ("std", 1.0)):
        rows = [
            [float(x) for x in stats.get(f"{role}_{ours}", [missing] * num_layers)] for role in ("weights", "biases")
        ]
        if any(len(row) != num_layers for row in rows):
            raise InputError(
                f"expected stats of {num_layers} layers, got {[len(row) for row in rows]}; are the widths right?"
            )
        found[ours] = torch.tensor(rows).T.flatten()
    return found


def counted(state_dict: Mapping[str, Tensor], pattern: str) -> int:
    """One more than the largest number in names of `pattern`; 0 if there are none."""
    numbers = [int(found[1]) for name in state_dict if (found := re.match(pattern, name))]
    return 1 + max(numbers, default=-1)


def head(state_dict: Mapping[str, Tensor], pooled_dim: int) -> tuple[MLPHead, dict[str, str]]:
    """The head `proj_out`, linear maps with ReLU between them, and its names."""
    places = sorted(int(found[1]) for name in state_dict if (found := re.fullmatch(r"proj_out\.(\d+)\.weight", name)))
    if not places or places != list(range(0, 2 * len(places), 2)):
        raise InputError(f"expected a head of linear maps proj_out.0, proj_out.2, ..., got the numbers {places}")
    rows = [len(get(state_dict, f"proj_out.{place}.weight", 2)) for place in places]
    made = MLPHead((pooled_dim,), rows[-1], hidden_dim=rows[0], num_hidden=len(places) - 1)
    names: dict[str, str] = {}
    for number, place in enumerate(places):
        names |= both(f"head.layers.{3 * number}", f"proj_out.{place}")
    return made, names
