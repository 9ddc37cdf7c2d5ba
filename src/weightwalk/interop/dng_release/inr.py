"""The release's encoder of INRs and its INR2JLS.

Maps of pass p and layer l are `edge_lin_p_l`, `node_lin_p_l` (of sources), `input_lin_p_l` (of biases), `norm_p_l`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from torch import Tensor

from weightwalk.encoders.dng import DNGEncoder
from weightwalk.errors import InputError
from weightwalk.frameworks.inr2jls import INR2JLS
from weightwalk.interop.dng_release.names import both, encoder_names, fill, get, inside
from weightwalk.spec import NetworkSpec

_MAPS = {"edge_lin": "edge", "node_lin": "source", "input_lin": "input", "norm": "norm"}


def encoder(state_dict: Mapping[str, Tensor], widths: Sequence[int]) -> DNGEncoder:
    """An encoder of MLPs of these widths."""
    return fill(_encoder(state_dict, "", NetworkSpec.mlp(widths)), _encoder_names(state_dict, ""), state_dict)


def inr2jls(
    state_dict: Mapping[str, Tensor], widths: Sequence[int], image_shape: tuple[int, int, int] | None
) -> INR2JLS:
    """The framework; without `image_shape`, 49 or 64 latents in each of six views mean 28 x 28 or 32 x 32."""
    own = _encoder(state_dict, "encoder.", NetworkSpec.mlp(widths))
    theta, fuse, project = (
        get(state_dict, f"latent_gen.{name}", 2)
        for name in ("latent_init", "src_fusion.0.weight", "src_fusion.2.weight")
    )
    first, last = get(state_dict, "decoder.conv.0.weight", 4), get(state_dict, "decoder.conv.2.weight", 4)
    channels, height, width = image_shape or _guess_shape(len(theta), last.shape[1])
    if channels != last.shape[1]:
        raise InputError(f"image_shape has {channels} channels but the decoder writes {last.shape[1]}")
    per_view = (height // 4) * (width // 4)
    if not per_view or len(theta) % per_view:
        raise InputError(
            f"{len(theta)} latents do not make whole views of {height // 4} x {width // 4}; check image_shape "
            f"{image_shape}"
        )
    model = INR2JLS(
        own,
        (channels, height, width),
        num_views=len(theta) // per_view,
        theta_dim=theta.shape[1],
        generator_dim=len(fuse),
        latent_dim=len(project),
        decoder_dim=first.shape[1],
    )
    names = inside("encoder", _encoder_names(state_dict, "encoder."))
    names["generator.theta"] = "latent_gen.latent_init"
    for ours, theirs in {
        "generator.fuse": "latent_gen.src_fusion.0",
        "generator.project": "latent_gen.src_fusion.2",
        "decoder.layers.0": "decoder.conv.0",
        "decoder.layers.2": "decoder.conv.2",
    }.items():
        names |= both(ours, theirs)
    return fill(model, names, state_dict)


def _guess_shape(num_latents: int, channels: int) -> tuple[int, int, int]:
    for size in (28, 32):
        if num_latents == 6 * (size // 4) ** 2:
            return channels, size, size
    raise InputError(
        f"{num_latents} latents are not six views of 28 x 28 or 32 x 32 images; give image_shape=(C, H, W)"
    )


def _encoder(state_dict: Mapping[str, Tensor], prefix: str, spec: NetworkSpec) -> DNGEncoder:
    passes = {
        int(found[1])
        for name in state_dict
        if (found := re.fullmatch(re.escape(prefix) + r"edge_lin_(\d+)_\d+\.weight", name))
    }
    return DNGEncoder(
        spec,
        dim=get(state_dict, f"{prefix}input_init_node", 2).shape[1],
        num_frequencies=get(state_dict, f"{prefix}fourier_layer.b").numel(),
        num_passes=max(passes, default=0) + 1,
    )


def _encoder_names(state_dict: Mapping[str, Tensor], prefix: str) -> dict[str, str]:
    return encoder_names(state_dict, prefix, "fourier_layer.b", _MAPS, r"_(\d+)_(\d+)", "steps.{}.")
