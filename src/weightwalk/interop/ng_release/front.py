"""What both of the release's models share: settings, the graph's features, the head."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

import torch
from torch import Tensor

from weightwalk.encoders.neural_graph import GraphInput
from weightwalk.errors import InputError
from weightwalk.heads.mlp import MLPHead
from weightwalk.interop.dng_release.names import both, get
from weightwalk.spec import NetworkSpec

FRONT = "construct_graph"


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


def network(widths: Sequence[int], given: Mapping[str, Any]) -> NetworkSpec:
    """The networks that are read."""
    return NetworkSpec.mlp(widths, str(given.get("activation", "sine")), float(given.get("omega", 30.0)))


def counted(state_dict: Mapping[str, Tensor], pattern: str) -> int:
    """One more than the largest number in names of `pattern`; 0 if there are none."""
    numbers = [int(found[1]) for name in state_dict if (found := re.match(pattern, name))]
    return 1 + max(numbers, default=-1)


def options(state_dict: Mapping[str, Tensor], given: Mapping[str, Any]) -> dict[str, Any]:
    """The encoder's options that its front end is built with, as the parameters tell them."""
    frequencies = state_dict.get(f"{FRONT}.proj_weight.0.b")
    first = get(state_dict, f"{FRONT}.proj_weight.0.weight", 2) if frequencies is None else frequencies
    if first.dim() != 2 or first.shape[1] not in (1, 3):
        raise InputError(f"expected edges of one number, or of three with reverse edges, got {tuple(first.shape)}")
    points = state_dict.get(f"{FRONT}.gpf.inputs")
    return {
        "num_frequencies": 0 if frequencies is None else len(frequencies),
        "reverse": first.shape[1] == 3,
        "num_probes": 0 if points is None else points.shape[-2],
        "output_offset": float(given.get("output_offset", 0.5)),
        "positional": f"{FRONT}.pos_embed" in state_dict,
        "pool": _pool(given),
    }


def _pool(given: Mapping[str, Any]) -> str:
    method, where = given.get("pooling_method", "cat"), given.get("pooling_layer_idx", "last")
    pools = {("cat", "last"): "last", ("mean", "all"): "mean", ("max", "all"): "max"}
    if (method, where) not in pools:
        raise InputError(
            f"expected pooling_method and pooling_layer_idx of {', '.join(map(str, pools))}, got {(method, where)}"
        )
    return pools[method, where]


def front(
    graph_input: GraphInput, state_dict: Mapping[str, Tensor], given: Mapping[str, Any]
) -> tuple[dict[str, str], dict[str, Tensor], set[str]]:
    """Of the front end: our names -> theirs, our tensors that are made of theirs, and what these are made of.

    Their frequencies are the transpose of ours, and their features have cosines first.
    """
    names: dict[str, str] = {}
    made: dict[str, Tensor] = {}
    spent: set[str] = set()
    for ours, theirs in (("of_biases", "proj_bias"), ("of_kernels", "proj_weight")):
        place = f"{FRONT}.{theirs}"
        if not graph_input.of_biases.frequencies.numel():
            names |= both(f"{ours}.linear", f"{place}.0")
            made[f"{ours}.frequencies"] = getattr(graph_input, ours).frequencies
            continue
        cosines, sines = get(state_dict, f"{place}.1.weight", 2).chunk(2, 1)
        made[f"{ours}.frequencies"] = get(state_dict, f"{place}.0.b", 2).T
        made[f"{ours}.linear.weight"] = torch.cat([sines, cosines], dim=1)
        names[f"{ours}.linear.bias"] = f"{place}.1.bias"
        spent |= {f"{place}.0.b", f"{place}.1.weight"}
    names |= both("node_map", f"{FRONT}.proj_node_in") | both("edge_map", f"{FRONT}.proj_edge_in")
    if graph_input.positions is not None:
        names["positions"] = f"{FRONT}.pos_embed"
    if graph_input.probes is not None:
        made["probes.points"] = get(state_dict, f"{FRONT}.gpf.inputs").flatten(0, -2)
        spent.add(f"{FRONT}.gpf.inputs")
        for stage in range(len(graph_input.probes.stages)):
            for part in (0, 1):
                names |= both(f"probes.stages.{stage}.{part}", f"{FRONT}.gpf.proj.{stage}.{part}")
    made |= _statistics(graph_input, given.get("stats"))
    prefix = "encoder.graph_input."
    return {prefix + name: x for name, x in names.items()}, {prefix + name: x for name, x in made.items()}, spent


def _statistics(graph_input: GraphInput, stats: Mapping[str, Sequence[float]] | None) -> dict[str, Tensor]:
    assert graph_input.standardise is not None
    mean, std = graph_input.standardise.mean.clone(), graph_input.standardise.std.clone()
    for place, role in enumerate(("weights", "biases")) if stats is not None else ():
        for ours, what in ((mean, "mean"), (std, "std")):
            theirs = stats.get(f"{role}_{what}", ())  # type: ignore[union-attr]
            if len(theirs) != len(ours) // 2:
                raise InputError(
                    f"expected {role}_{what} in stats with a number for each of {len(ours) // 2} layers, got {theirs}"
                )
            ours[place::2] = torch.tensor(theirs)
    return {"standardise.mean": mean, "standardise.std": std}


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
