"""Parameters saved by the authors' release of Dynamic Neural Graphs (TMLR 2026), brought into our modules.

The release names the maps of pass p and layer l `edge_lin_p_l`, `node_lin_p_l` (sources), `input_lin_p_l` (bias or earlier memory),
`norm_p_l`, and the recurrent cell of pass p `rnn_p`, whose gates lie as in torch.nn.GRUCell.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Literal, TypeVar, overload

from torch import Tensor, nn

from weightwalk.encoders.dng import DNGEncoder
from weightwalk.errors import InputError
from weightwalk.frameworks.inr2jls import INR2JLS
from weightwalk.spec import NetworkSpec

M = TypeVar("M", bound=nn.Module)
_MAPS = {"edge_lin": "edge", "node_lin": "source", "input_lin": "input", "norm": "norm"}


@overload
def load(
    state_dict: Mapping[str, Tensor], widths: Sequence[int], kind: Literal["encoder"] = "encoder", image_shape: None = None
) -> DNGEncoder: ...
@overload
def load(
    state_dict: Mapping[str, Tensor], widths: Sequence[int], kind: Literal["inr2jls"], image_shape: tuple[int, int, int] | None = None
) -> INR2JLS: ...
def load(
    state_dict: Mapping[str, Tensor],
    widths: Sequence[int],
    kind: Literal["encoder", "inr2jls"] = "encoder",
    image_shape: tuple[int, int, int] | None = None,
) -> DNGEncoder | INR2JLS:
    """A module in evaluation mode with the release's parameters; all sizes are read off them.

    `widths` are n_0 ... n_L of the MLPs that it reads. kind "encoder" gives a `DNGEncoder` (`.encode(weights)` -> (B, n_L d));
    "inr2jls" gives an `INR2JLS` (also `.latents` and `.decode`) and needs `image_shape` (C, H, W), which the parameters do not tell;
    without it, 49 or 64 latents in each of the paper's six views mean 28 x 28 or 32 x 32. InputError where names or shapes do not fit.
    """
    spec = NetworkSpec.mlp(widths)
    if kind == "encoder":
        return _fill(_encoder(state_dict, "", spec), _encoder_names(state_dict, ""), state_dict)
    if kind != "inr2jls":
        raise InputError(f"unknown kind {kind!r}; known: encoder, inr2jls")
    encoder = _encoder(state_dict, "encoder.", spec)
    theta, fuse, project = (
        _get(state_dict, f"latent_gen.{name}", 2) for name in ("latent_init", "src_fusion.0.weight", "src_fusion.2.weight")
    )
    first, last = _get(state_dict, "decoder.conv.0.weight", 4), _get(state_dict, "decoder.conv.2.weight", 4)
    channels, height, width = image_shape or _guess_shape(len(theta), last.shape[1])
    if channels != last.shape[1]:
        raise InputError(f"image_shape has {channels} channels but the decoder writes {last.shape[1]}")
    per_view = (height // 4) * (width // 4)
    if not per_view or len(theta) % per_view:
        raise InputError(f"{len(theta)} latents do not make whole views of {height // 4} x {width // 4}; check image_shape {image_shape}")
    model = INR2JLS(
        encoder,
        (channels, height, width),
        num_views=len(theta) // per_view,
        theta_dim=theta.shape[1],
        generator_dim=len(fuse),
        latent_dim=len(project),
        decoder_dim=first.shape[1],
    )
    names = {f"encoder.{ours}": theirs for ours, theirs in _encoder_names(state_dict, "encoder.").items()}
    names["generator.theta"] = "latent_gen.latent_init"
    for ours, theirs in {
        "generator.fuse": "latent_gen.src_fusion.0",
        "generator.project": "latent_gen.src_fusion.2",
        "decoder.layers.0": "decoder.conv.0",
        "decoder.layers.2": "decoder.conv.2",
    }.items():
        names |= {f"{ours}.{role}": f"{theirs}.{role}" for role in ("weight", "bias")}
    return _fill(model, names, state_dict)


def _get(state_dict: Mapping[str, Tensor], name: str, dims: int | None = None) -> Tensor:
    if name not in state_dict:
        raise InputError(f"expected the release's parameter {name!r}, found {', '.join(list(state_dict)[:5])}, ...; is `kind` right?")
    if dims is not None and state_dict[name].dim() != dims:
        raise InputError(f"{name} must have {dims} axes, got {tuple(state_dict[name].shape)}")
    return state_dict[name]


def _guess_shape(num_latents: int, channels: int) -> tuple[int, int, int]:
    for size in (28, 32):
        if num_latents == 6 * (size // 4) ** 2:
            return channels, size, size
    raise InputError(f"{num_latents} latents are not six views of 28 x 28 or 32 x 32 images; give image_shape=(C, H, W)")


def _encoder(state_dict: Mapping[str, Tensor], prefix: str, spec: NetworkSpec) -> DNGEncoder:
    passes = {int(found[1]) for name in state_dict if (found := re.fullmatch(re.escape(prefix) + r"edge_lin_(\d+)_\d+\.weight", name))}
    return DNGEncoder(
        spec,
        dim=_get(state_dict, f"{prefix}input_init_node", 2).shape[1],
        num_frequencies=_get(state_dict, f"{prefix}fourier_layer.b").numel(),
        num_passes=max(passes, default=0) + 1,
    )


def _encoder_names(state_dict: Mapping[str, Tensor], prefix: str) -> dict[str, str]:
    """Our name of every encoder parameter -> theirs."""
    names = {"input_memory": f"{prefix}input_init_node", "features.frequencies": f"{prefix}fourier_layer.b"}
    for name in state_dict:
        if not name.startswith(prefix):
            continue
        if found := re.fullmatch(r"(\w+?)_(\d+)_(\d+)\.(weight|bias)", name[len(prefix) :]):
            kind, walk, layer, role = found.groups()
            if kind in _MAPS:
                names[f"passes.{walk}.steps.{layer}.{_MAPS[kind]}.{role}"] = name
        elif found := re.fullmatch(r"rnn_(\d+)\.(input|hidden)_map\.(weight|bias)", name[len(prefix) :]):
            walk, side, role = found.groups()
            names[f"passes.{walk}.cell.{role}_{'ih' if side == 'input' else 'hh'}"] = name
    return names


def _fill(model: M, names: Mapping[str, str], state_dict: Mapping[str, Tensor]) -> M:
    own = model.state_dict()
    missing = [name for name in own if name not in names]
    if missing:
        raise InputError(f"the release's parameters have nothing for {missing[0]} ({len(missing)} missing); are the widths right?")
    strangers = set(state_dict) - set(names.values())
    if strangers:
        raise InputError(
            f"no place for the release's parameter {sorted(strangers)[0]!r} ({len(strangers)} too many); are the widths right?"
        )
    for ours, theirs in names.items():
        if ours not in own:
            raise InputError(f"no place for the release's parameter {theirs!r}; are the widths right?")
        given = _get(state_dict, theirs)
        if given.numel() != own[ours].numel() or (given.dim() > 1 and own[ours].dim() > 1 and given.shape != own[ours].shape):
            raise InputError(f"{theirs} must be {tuple(own[ours].shape)} for these widths, got {tuple(given.shape)}")
    model.load_state_dict({ours: _get(state_dict, theirs).reshape(own[ours].shape) for ours, theirs in names.items()})
    return model.eval()
