"""The release's predictor of SimpleViTs' accuracy (appendix F.2), whose maps are named by the steps of a block."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from weightwalk.encoders.dng import DNGEncoder
from weightwalk.encoders.dng.passes import Pass
from weightwalk.errors import InputError
from weightwalk.interop.dng_release.names import fill, get
from weightwalk.interop.dng_release.predictors import AccuracyPredictor, common_sizes, head_names
from weightwalk.networks.architectures import simple_vit
from weightwalk.spec import NetworkSpec
from weightwalk.steps import Attention, Patches

_BLOCK = ("att", "qkv", "out", "fc", "fc1", "fc2")
_BLOCK_KINDS = ("norm", "dense", "dense", "norm", "dense", "dense")
_UNUSED = ("emb_norm_{}_0", "emb_norm_{}_5", "node_lin_{}_5")  # of a block: without effect on the release's answer


def vit(state_dict: Mapping[str, Tensor], spec: NetworkSpec | None) -> AccuracyPredictor:
    """The ViT zoo's. Its encoder ignores the norm after the patch embedding and positions: it has no place for them."""
    inputs, dim, frequencies, outputs, hidden = common_sizes(state_dict, "encoder.fourier_layer.b")
    depth = len([name for name in state_dict if re.fullmatch(r"encoder\.qkv_edge_lin_\d+\.weight", name)])
    places = get(state_dict, "encoder.qkv_comp_dict.qkv_comp_edges_0", 3).shape[0]
    if spec is None:
        patch = math.isqrt(inputs // 3)
        if 3 * patch**2 != inputs:
            raise InputError(f"{inputs} input nodes are not square patches of colour pictures; give the networks' spec")
        spec = simple_vit((3, 8 * patch, 8 * patch), outputs, depth=depth, dim_head=places, patch=patch)
    encoder = DNGEncoder(spec, dim=dim, num_frequencies=frequencies, preset="release-vit")
    layers, attentions, patches = _roles(spec, depth)
    walk = encoder.passes[0]
    assert isinstance(walk, Pass)
    maps: dict[str, str] = {}  # our linear maps and LayerNorms -> theirs
    scales = {layers["init"]: "init_norm_{}", layers["last"]: "last_norm_{}"}
    for role in ("to_emb", "head"):
        maps |= _message(layers[role], f"{role}_edge_lin", f"{role}_node_lin", f"{role}_emb_norm", f"{role}_input_lin")
    maps[f"steps.{layers['last']}.norm"] = "last_emb_norm"
    walk.steps[layers["last"]].norm = nn.LayerNorm(dim)
    for i in range(depth):
        scales |= {layers[f"att_{i}"]: f"att_norm_{{}}_{i}", layers[f"fc_{i}"]: f"fc_norm_{{}}_{i}"}
        maps |= _message(layers[f"qkv_{i}"], f"qkv_edge_lin_{i}", f"node_lin_{i}_0", f"emb_norm_{i}_1")
        between = f"between.{attentions[i]}"
        maps |= {f"{between}.source": f"node_lin_{i}_1", f"{between}.norm": f"emb_norm_{i}_2"}
        maps |= _message(layers[f"out_{i}"], f"out_edge_lin_{i}", f"node_lin_{i}_2", f"emb_norm_{i}_3")
        fc1 = layers[f"fc1_{i}"]
        maps |= _message(fc1, f"fc1_edge_lin_{i}", f"node_lin_{i}_3", f"emb_norm_{i}_4", f"fc1_input_lin_{i}")
        # The norm that the release means for these nodes is applied to those of fc1, which nobody reads any more.
        maps |= _message(layers[f"fc2_{i}"], f"fc2_edge_lin_{i}", f"node_lin_{i}_4", None, f"fc2_input_lin_{i}")
        walk.steps[layers[f"fc2_{i}"]].norm = nn.Identity()

    names = {"features.frequencies": "fourier_layer.b", f"between.{patches}.place": "input_init_node"}
    names |= {f"between.{value}.mix": f"qkv_comp_dict.qkv_comp_edges_{i}" for i, value in enumerate(attentions)}
    for ours, theirs in {**maps, "cell.ih": "rnn.input_map", "cell.hh": "rnn.hidden_map"}.items():
        for kind in ("weight", "bias"):
            place = f"cell.{kind}_{ours[-2:]}" if ours.startswith("cell") else f"{ours}.{kind}"
            names[place] = f"{theirs}.{kind}"
    for layer, theirs in scales.items():
        for ours, what in (("scale", "std"), ("shift", "mean")):
            names[f"steps.{layer}.{ours}.bias"] = f"norm_dict.{theirs.format(what)}"
    prefix = {ours: "" if ours.startswith("features") else "passes.0." for ours in names}
    own = {f"encoder.{prefix[ours]}{ours}": f"encoder.{theirs}" for ours, theirs in names.items()}
    parameters = {f"encoder.{name}": tensor for name, tensor in encoder.state_dict().items()}
    made = {name: torch.zeros_like(tensor) for name, tensor in parameters.items() if name not in own}
    if "norm" in layers:  # of the patch embedding: passed through
        bias = f"encoder.passes.0.steps.{layers['norm']}.scale.bias"
        made[bias] = torch.ones_like(made[bias])
    idle = [f"encoder.{name.format(i)}" for name in _UNUSED for i in range(depth)]
    unused = {f"{name}.{kind}" for name in idle for kind in ("weight", "bias")}
    return fill(AccuracyPredictor(encoder, hidden), own | head_names(), state_dict, made, unused)


def _message(layer: int, edge: str, source: str, norm: str | None, update: str | None = None) -> dict[str, str]:
    """The maps of a dense layer: ours -> theirs."""
    maps = {"edge": edge, "source": source, "norm": norm, "input": update}
    return {f"steps.{layer}.{ours}": theirs for ours, theirs in maps.items() if theirs is not None}


def _roles(spec: NetworkSpec, depth: int) -> tuple[dict[str, int], list[int], int]:
    """The number of each layer of a SimpleViT by its role, the values of attentions and of patches; else InputError."""
    block = list(zip(_BLOCK, _BLOCK_KINDS, strict=True))
    wanted = {"init": "norm", "to_emb": "dense", "norm": "norm", "positions": "learned"}
    wanted |= {f"{role}_{i}": kind for i in range(depth) for role, kind in block} | {"last": "norm", "head": "dense"}
    attentions = [value for value, step in enumerate(spec.steps, 1) if isinstance(step, Attention)]
    patches = [value for value, step in enumerate(spec.steps, 1) if isinstance(step, Patches)]
    kinds = [layer.kind for layer in spec.layers]
    for absent in ((), ("norm",), ("positions",), ("norm", "positions")):
        roles = [role for role in wanted if role not in absent]
        if kinds == [wanted[role] for role in roles] and (len(attentions), len(patches)) == (depth, 1):
            return {role: layer for layer, role in enumerate(roles)}, attentions, patches[0]
    raise InputError(f"expected a SimpleViT of {depth} blocks, as architectures.simple_vit makes them, got {spec}")
