"""Train one small network on pictures, an epoch at a time; thousands are trained by as many calls, in as many processes
as there are cores.

On a CPU with a C++ compiler a network goes through `trainer.cpp` (mode `native`), elsewhere through torch
(`batched.py`, mode `torch`).
`auto` is native where the network lies on the CPU, a compiler works and `trainer.cpp` has every step of the network. A
network's result is the same whatever is trained beside it, in any order and process of one mode on one kind of machine.

Axes: N images, M images in the order of use, C channels, P parameters.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from weightwalk.errors import InputError
from weightwalk.spec import NetworkSpec
from weightwalk.zoos.trained.trainer import batched, native
from weightwalk.zoos.trained.trainer.settings import Samples, Trained, Training

Mode = Literal["auto", "native", "torch"]


def epoch(
    spec: NetworkSpec,
    state: Trained,
    samples: Samples,
    order: Tensor,
    training: Training,
    *,
    seed: int = 0,
    shifts: Tensor | None = None,
    mode: Mode = "auto",
) -> tuple[float, float]:
    """One pass over the images `order` (M,) in mini-batches, of which the last may be smaller.

    It moves `state` and gives mean loss and accuracy as seen in training. `shifts` (M, 3) are, per image in `order`,
    whether to mirror it, and the row and column where a window of the picture's size begins; the window is taken first,
    and what lies outside of the picture is 0 after the normalisation. `seed` decides what is dropped. Learned values
    that are fixed stay as they are. A network that diverges ends with a loss of NaN.
    """
    if state.params.dim() != 1:
        raise InputError(
            f"expected the parameters (P,) of one network, got {tuple(state.params.shape)}; train_many takes (B, P)"
        )
    _check(spec, state.params, samples, order)
    if shifts is not None and tuple(shifts.shape) != (len(order), 3):
        raise InputError(f"expected shifts ({len(order)}, 3), a row per image in order, got {tuple(shifts.shape)}")
    if choose(spec, mode, state.params, samples.pixels) == "native":
        return native.epoch(spec, state, samples, order, training, seed, shifts)
    together = Trained(state.params[None], state.first[None], state.second[None], state.step)
    losses, accuracies = batched.train_many(spec, together, samples, order, [training], seeds=[seed], shifts=shifts)
    state.step = together.step
    return float(losses[0]), float(accuracies[0])


def score(spec: NetworkSpec, params: Tensor, samples: Samples, *, mode: Mode = "auto") -> tuple[float, float]:
    """Mean loss and accuracy of the network `params` (P,) on all samples."""
    _check(spec, params, samples, torch.arange(len(samples)))
    if choose(spec, mode, params, samples.pixels) == "native":
        return native.score(spec, params, samples)
    losses, accuracies = batched.score_many(spec, params[None], samples)
    return float(losses[0]), float(accuracies[0])


def choose(spec: NetworkSpec, mode: Mode, params: Tensor, pixels: Tensor) -> Literal["native", "torch"]:
    """What `auto` is for this network here. Raises InputError where `native` can't be had, with the step that it
    doesn't have, and for a network that takes more memory than there is.
    """
    if mode not in ("auto", "native"):
        return "torch"
    reason: str | None
    if params.device.type != "cpu" or params.dtype != torch.float32:
        reason = f"the mode 'native' trains float32 networks on the CPU, got {params.dtype} on {params.device}"
    elif not native.available():
        reason = "expected a C++ compiler for the mode 'native', found none that works; install g++"
    else:
        reason = native.refusal(spec, tuple(pixels.shape[1:]))
    if reason is None:
        native.check_memory(spec, tuple(pixels.shape[1:]))
        return "native"
    if mode == "native":
        raise InputError(f"{reason}; or use the mode 'torch'")
    return "torch"


def _check(spec: NetworkSpec, params: Tensor, samples: Samples, order: Tensor) -> None:
    pixels, labels = samples.pixels, samples.labels
    if params.shape[-1] != spec.num_parameters:
        raise InputError(f"{spec} has {spec.num_parameters} parameters, got {params.shape[-1]}")
    if pixels.dtype != torch.uint8 or pixels.dim() != 4 or spec.input_axes != 3 or pixels.shape[1] != spec.widths[0]:
        raise InputError(
            f"expected uint8 pictures (N, {spec.widths[0]}, H, W) and a network that reads pictures, "
            f"got {pixels.dtype} {tuple(pixels.shape)} and {spec}"
        )
    if not len(samples.scale) == len(samples.offset) == pixels.shape[1]:
        raise InputError(
            f"expected a scale and an offset for each of {pixels.shape[1]} channels, got {len(samples.scale)} and "
            f"{len(samples.offset)}"
        )
    if not len(order) or not 0 <= int(order.min()) <= int(order.max()) < len(pixels):
        raise InputError(f"expected at least one image, with numbers from 0 to {len(pixels) - 1}, got {order}")
    if labels.shape != pixels.shape[:1] or not 0 <= int(labels.min()) <= int(labels.max()) < spec.num_outputs:
        raise InputError(
            f"expected a label from 0 to {spec.num_outputs - 1} for each of {len(pixels)} images, got {labels}"
        )
