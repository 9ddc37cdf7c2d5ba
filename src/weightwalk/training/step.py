"""One step of training: loss and gradients of a batch, cut over processes, over parts one after another, over lanes.

What a part of a batch draws is a function of (seed, step, the place of its first sample), so it is the same however the
batch is cut, as long as it is cut there.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Protocol

import torch
from torch import Tensor, nn

from weightwalk import lanes
from weightwalk.errors import InputError
from weightwalk.training.distributed import team
from weightwalk.training.gradients import part_gradients, seed_at
from weightwalk.training.stage import StageConfig


class Objective(Protocol):
    """What is trained, on what, and how well it does.

    Answers must be functions of the model, the indices and torch's global generators; a state of its own (a counter, a
    generator, numpy's or Python's random numbers) would be lost in a resume.
    """

    @property
    def model(self) -> nn.Module:
        """What is trained: its parameters with `requires_grad`. All state lives here."""
        ...

    num_samples: int
    """Training samples; `loss` gets indices below it."""
    monitor: str
    """The key in the answer of `validate` that picks the best checkpoint."""
    maximise: bool
    """Whether more of the monitored figure is better."""
    mean: bool
    """Whether the loss is the mean of what each sample adds, so that a batch may be cut. Left out, it is not."""

    @property
    def lane(self) -> int:
        """Then, how many samples are worth a thread for themselves (`weightwalk.lanes`); 0, or left out: none are."""
        ...

    def loss(self, indices: Tensor) -> Tensor:
        """The loss on those training samples, (B,) int64 on the CPU -> (); the model is in training mode."""
        ...

    def validate(self) -> dict[str, float]:
        """Figures on held-out samples; the model is in evaluation mode and gradients are off."""
        ...


class Step:
    """How one stage makes loss and gradients of its batches."""

    def __init__(self, objective: Objective, config: StageConfig, label: str, parameters: Sequence[nn.Parameter]):
        self._objective, self._config, self._label, self._team = objective, config, label, team()
        self._parameters = parameters
        self.cuda_devices = sorted({parameter.device.index for parameter in parameters if parameter.is_cuda})

    @property
    def _may_cut(self) -> bool:
        """Whether loss and gradients of a batch are the mean of its parts'."""
        return getattr(self._objective, "mean", False) and lanes.separable(self._objective.model)

    def check(self, step: int) -> None:
        """InputError for settings that this model cannot be trained with."""
        pieces = self._team.size * self._config.accumulate
        if self._config.accumulate > 1 and not self._may_cut:
            raise InputError(
                f"{self._label}: expected a batch that may be cut for accumulate={self._config.accumulate}, got a "
                "model or loss that looks at the whole batch (BatchNorm does); leave accumulate out"
            )
        if self._may_cut and self._config.batch_size < pieces:
            raise InputError(
                f"{self._label}: expected batches of at least {pieces} samples, one for each of {self._team.size} "
                f"processes and {self._config.accumulate} parts, got batch_size={self._config.batch_size}; enlarge it"
            )
        dtypes = {parameter.dtype for parameter in self._parameters}
        if self._config.precision == "bf16" and dtypes != {torch.float32}:
            raise InputError(
                f"{self._label}: expected parameters in float32 for precision=bf16, got "
                f"{', '.join(sorted(str(dtype).removeprefix('torch.') for dtype in dtypes))}; leave precision out"
            )
        if not self._team.agrees(step):
            raise InputError(
                f"{self._label}: expected the same state in every process, got others; let all machines see "
                "the same folders"
            )

    def _seed(self, value: int) -> None:
        torch.default_generator.manual_seed(value)
        for device in self.cuda_devices:
            torch.cuda.default_generators[device].manual_seed(value)

    def _loss(self, indices: Tensor) -> Tensor:
        """The objective's, in the stage's precision."""
        lowered = self._config.precision == "bf16"
        # the cache is shared by all threads, and emptied by the first that ends
        with torch.autocast(self._parameters[0].device.type, torch.bfloat16, enabled=lowered, cache_enabled=False):
            return self._objective.loss(indices)

    def gradients(self, indices: Tensor, key: int) -> Tensor:
        """The loss of a batch; its gradients are the parameters' `.grad`, the same in every process."""
        may_cut = self._may_cut
        mine = self._team.share(len(indices)) if may_cut else slice(0, len(indices))
        count, lane = mine.stop - mine.start, getattr(self._objective, "lane", 0) if may_cut else 0
        ends = [mine.start + count * part // self._config.accumulate for part in range(self._config.accumulate + 1)]
        losses = []
        for start, stop in pairwise(ends):
            self._seed(seed_at(key, start))
            part = slice(start, stop)
            losses.append(part_gradients(self._objective.model, self._loss, indices, part, len(indices), lane, key))
        loss = sum(losses[1:], losses[0])
        return self._team.sum_gradients(loss, self._parameters) if may_cut else loss
