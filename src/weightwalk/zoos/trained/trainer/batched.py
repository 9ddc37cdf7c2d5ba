"""Many small networks of one architecture trained side by side in plain torch: on CUDA, and on machines without a
compiler.

The arithmetic is that of `trainer.cpp` up to rounding, dropout's random bits included. Networks step together, so they
share images, order and batch size; everything else is each one's own.

Axes: B networks, N images, M images in the order of use, n images of a mini-batch, C channels, P parameters.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from weightwalk import evaluate
from weightwalk.errors import InputError
from weightwalk.spec import NetworkSpec
from weightwalk.weights import Weights
from weightwalk.zoos.trained.trainer.settings import Samples, Trained, Training, dropped, moving

_WORD = 0xFFFFFFFF
_SCORED_AT_ONCE = 512  # images


def train_many(
    spec: NetworkSpec,
    state: Trained,
    samples: Samples,
    order: Tensor,
    trainings: Sequence[Training],
    *,
    seeds: Sequence[int] | None = None,
    shifts: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """`epochs.epoch` of B networks at once: `state` of (B, P) moves, mean losses and accuracies (B,) come back. Runs
    where `state` lives.

    `order` is (M,), or (B, M) for each network its own (and `shifts` (M, 3) or (B, M, 3) accordingly); `trainings` and
    `seeds` are one per network, of one batch size. Raises InputError otherwise.
    """
    networks, device = len(state.params), state.params.device
    seeds = [0] * networks if seeds is None else seeds
    if (
        len(trainings) != networks
        or len(seeds) != networks
        or len({training.batch_size for training in trainings}) != 1
    ):
        raise InputError(
            f"expected hyperparameters and a seed for each of {networks} networks, of one batch size, got {trainings}, "
            f"{seeds}"
        )
    ranges = torch.zeros(spec.num_parameters, device=device)
    for start, stop in moving(spec):
        ranges[start:stop] = 1
    step = _Optimizers(trainings, ranges, device)
    rates = torch.tensor([training.dropout for training in trainings], device=device)
    (losses, right), size = torch.zeros(2, networks, device=device), trainings[0].batch_size
    for first in range(0, order.shape[-1], size):
        rows = order[..., first : first + size].to(samples.pixels.device).long()
        x = _pictures(samples, rows, None if shifts is None else shifts[..., first : first + size, :], device)
        y = samples.labels[rows].to(device).expand(networks, -1)
        drop = _dropout(spec, rates, _keys(seeds, state.step, device)) if bool(rates.any()) else None
        flat = state.params.requires_grad_()
        try:
            of_batch, answered = _answers(spec, flat, x, y, drop)
            (gradient,) = torch.autograd.grad((of_batch / y.shape[1]).sum(), flat)
        finally:
            state.params.requires_grad_(False)
        state.step += 1
        step.take(state, gradient)
        losses += of_batch.detach()
        right += answered
    return losses / order.shape[-1], right / order.shape[-1]


@torch.no_grad()
def score_many(spec: NetworkSpec, params: Tensor, samples: Samples) -> tuple[Tensor, Tensor]:
    """Mean losses and accuracies (B,) of the networks `params` (B, P) on all samples."""
    losses = right = torch.zeros(len(params), device=params.device)
    for first in range(0, len(samples), _SCORED_AT_ONCE):
        rows = slice(first, first + _SCORED_AT_ONCE)
        x = _pictures(samples, rows, None, params.device)
        y = samples.labels[rows].to(params.device).expand(len(params), -1)
        of_batch, answered = _answers(spec, params, x, y, None)
        losses, right = losses + of_batch, right + answered
    return losses / len(samples), right / len(samples)


def _answers(
    spec: NetworkSpec, flat: Tensor, x: Tensor, y_Bn: Tensor, change: Callable[[int, Tensor], Tensor] | None
) -> tuple[Tensor, Tensor]:
    """Sums of losses and numbers of right answers (B,)."""
    weights = Weights(spec, flat)
    outputs = evaluate.run(spec, weights.weights, weights.biases, x, change)
    losses = F.cross_entropy(outputs.flatten(0, 1), y_Bn.flatten(), reduction="none").view(y_Bn.shape)
    return losses.sum(dim=1), (outputs.detach().argmax(dim=2) == y_Bn).sum(dim=1)


def _pictures(samples: Samples, rows: Tensor | slice, shifts: Tensor | None, device: torch.device) -> Tensor:
    """Normalised pictures (..., n, C, H, W), mirrored and cut to the windows that `shifts` (..., n, 3) says."""
    constants = (samples.scale, samples.offset)
    scale, offset = (torch.tensor(list(values), device=device).view(-1, 1, 1) for values in constants)
    x = samples.pixels[rows].to(device).float() * scale + offset
    if shifts is None:
        return x
    mirrored, down, along = shifts.to(device).long().unsqueeze(-1).unbind(-2)  # (..., n, 1) each
    height, width = x.shape[-2:]
    rows, columns = (
        torch.arange(height, device=device) + down,
        torch.arange(width, device=device).expand(*mirrored.shape[:-1], width),
    )
    columns = torch.where(mirrored != 0, width - 1 - columns, columns) + along
    inside = ((rows >= 0) & (rows < height)).unsqueeze(-1) & ((columns >= 0) & (columns < width)).unsqueeze(-2)
    x = torch.take_along_dim(x, rows.clamp(0, height - 1)[..., None, :, None], dim=-2)
    x = torch.take_along_dim(x, columns.clamp(0, width - 1)[..., None, None, :], dim=-1)
    return x * inside.unsqueeze(-3)


class _Optimizers:
    """A step of each network's own optimiser; `moves` (P,) is 0 where parameters stay."""

    def __init__(self, trainings: Sequence[Training], moves: Tensor, device: torch.device):
        self.moves = moves
        self.names = {training.optimizer for training in trainings}
        self.chosen = {
            name: torch.tensor([training.optimizer == name for training in trainings], device=device).unsqueeze(1)
            for name in self.names
        }
        self.rate = torch.tensor([training.learning_rate for training in trainings], device=device).unsqueeze(1)
        self.decay = torch.tensor([training.weight_decay for training in trainings], device=device).unsqueeze(1)

    @torch.no_grad()
    def take(self, state: Trained, gradient: Tensor) -> None:
        """Step number `state.step`, counted from 1, by `gradient` (B, P)."""
        p, m, v = state.params, state.first, state.second
        for name in sorted(self.names):
            new_p, new_m, new_v = self._next(name, p, m, v, gradient, state.step)
            mine = self.chosen[name] & (self.moves != 0)
            for old, new in ((p, new_p), (m, new_m), (v, new_v)):
                old.copy_(torch.where(mine, new, old))

    def _next(self, name: str, p: Tensor, m: Tensor, v: Tensor, g: Tensor, step: int) -> tuple[Tensor, Tensor, Tensor]:
        if name == "adamw":
            p = p * (1 - self.rate * self.decay)
        else:
            g = g + self.decay * p
        if name == "sgd":
            return p - self.rate * g, m, v
        if name == "momentum":
            m = 0.9 * m + g
            return p - self.rate * m, m, v
        if name == "rmsprop":
            v = 0.99 * v + 0.01 * g * g
            return p - self.rate * g / (v.sqrt() + 1e-8), m, v
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g * g
        return p - self.rate / (1 - 0.9**step) * m / (v.sqrt() / (1 - 0.999**step) ** 0.5 + 1e-8), m, v


def _mixed(x: Tensor) -> Tensor:
    """Well mixed bits of 32-bit words in int64; activations.h has the same."""
    x = ((x ^ (x >> 16)) * 0x7FEB352D) & _WORD
    x = ((x ^ (x >> 15)) * 0x846CA68B) & _WORD
    return x ^ (x >> 16)


def _keys(seeds: Sequence[int], step: int, device: torch.device) -> Tensor:
    """(B,): what random bits of this step begin with."""
    low, high = (torch.tensor([seed % 2**64 >> shift & _WORD for seed in seeds], device=device) for shift in (0, 32))
    return _mixed((_mixed((_mixed(low) + high) & _WORD) + step) & _WORD)


def _dropout(spec: NetworkSpec, rates: Tensor, keys: Tensor) -> Callable[[int, Tensor], Tensor]:
    """Dropout for `evaluate.run` at each network's own rate, with bits that are counted, not drawn."""
    dropping = dropped(spec)
    thresholds = (rates * 2**24).long()  # exact: a float32 times a power of two

    def change(value: int, x: Tensor) -> Tensor:
        if value not in dropping:
            return x
        images = torch.arange(x.shape[1], device=x.device) * 0x85EBCA6B & _WORD
        units = torch.arange(x.shape[2:].numel(), device=x.device) * 0x9E3779B9 & _WORD
        of_image = _mixed((_mixed((keys + value) & _WORD).unsqueeze(1) + images) & _WORD)  # (B, n)
        bits = _mixed(of_image.unsqueeze(-1) ^ units).view(x.shape) >> 8
        shape = [-1] + [1] * (x.dim() - 1)
        return torch.where(bits < thresholds.view(shape), 0.0, x / (1 - rates.view(shape)))

    return change
