"""Edit INRs: from the weights of a network that holds a picture to a network, or a picture, after an operation.

Two methods, whose figures never stand in one column:

- `weights`: theta' = theta + scale * Delta; what is measured is the edited network, evaluated on its pixel grid (Neural
  Graphs, ICLR 2024). Gradients go through that evaluation. The wanted picture is never an input.
- `decode`: INR2JLS with one view whose target is the edited picture; no network is edited (Dynamic Neural Graphs, an
  earlier version).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from weightwalk.encoders import encoders
from weightwalk.errors import InputError
from weightwalk.frameworks.answers import Answer, Picture
from weightwalk.frameworks.editor import OffsetSizes
from weightwalk.frameworks.inr2jls import LatentSizes
from weightwalk.frameworks.pretrained import Model
from weightwalk.report.words import shell
from weightwalk.tasks.base import Goal, INRTask, register
from weightwalk.tasks.config import DatasetConfig
from weightwalk.tasks.inr_editing import ops
from weightwalk.tasks.inr_editing.wanted import Wanted
from weightwalk.tasks.stages import Data, Rows, Stage
from weightwalk.training.samplers import batches
from weightwalk.training.stage import StageConfig
from weightwalk.zoos.inr.overview import render
from weightwalk.zoos.inr.pixels import to_unit
from weightwalk.zoos.store import Zoo

if TYPE_CHECKING:
    from weightwalk.tasks.pages import Evaluated, Page
    from weightwalk.tasks.runs import Evaluation

NAME = "inr_editing"


@dataclass(frozen=True)
class EditConfig(DatasetConfig):
    """An operation `op` (`ops.OPS`), and what learns to do it."""

    task: ClassVar[str] = NAME
    head: None
    op: str

    def __post_init__(self) -> None:
        super().__post_init__()
        ops.OPS[self.op]


@dataclass(frozen=True)
class OffsetsConfig(EditConfig):
    """An encoder with an equivariant head that changes the parameters; the encoder's option `edges` is set."""

    method: ClassVar[str] = "weights"
    offsets: OffsetSizes
    edit: StageConfig

    def __post_init__(self) -> None:
        super().__post_init__()
        if "edges" not in self.encoder.options:
            able = [name for name in encoders if "edges" in type(self.encoder).named(name).options]
            raise InputError(
                f"an editing head reads what an encoder says of edges, but the encoder {self.encoder.name!r} gives "
                f"none; choose one with the option edges: {', '.join(able) or 'none here'}"
            )
        edged = type(self.encoder).named(self.encoder.name, **{**self.encoder.options, "edges": True})
        object.__setattr__(self, "encoder", edged)

    @property
    def offset_sizes(self) -> OffsetSizes | None:
        return self.offsets


@dataclass(frozen=True)
class DecodeConfig(EditConfig):
    """INR2JLS with one view, whose target is the edited picture."""

    method: ClassVar[str] = "decode"
    latents: LatentSizes
    edit: StageConfig

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.latents.views != ("identity",) or self.latents.noise:
            noise = f" with noise {self.latents.noise:g}" if self.latents.noise else ""
            raise InputError(
                f"expected one view of an edited picture, got {', '.join(self.latents.views)}{noise}; set "
                "latents.views=identity latents.noise=0"
            )


@register(NAME)
class INREditing(INRTask[EditConfig]):
    """What the picture behind an INR is after an operation."""

    methods: ClassVar = {config.method: config for config in (OffsetsConfig, DecodeConfig)}

    def __init__(self, op: str = "dilate"):
        self.op = op
        self._wanted: tuple[Zoo, Wanted] | None = None

    def of(self, settings: EditConfig | Answer) -> INREditing:
        """The task for the operation of a configuration, or of a model's answers."""
        assert isinstance(settings, EditConfig | Picture), settings
        return INREditing(settings.op)

    def how_to_ask(self, run: Path, zoo: Path) -> str:
        return shell("edit", run, zoo, "--out", Path(f"{zoo}-{self.op}"))

    def answer(self, zoo: Zoo, train: Rows) -> Answer:
        ops.check(self.op, zoo.image_shape)
        return Picture(op=self.op, image_shape=zoo.image_shape)

    def target(self, zoo: Zoo, rows: Rows) -> Tensor:
        """The picture that the INR was fitted to, after the operation: (n, C, H, W) uint8."""
        if self._wanted is None or self._wanted[0] is not zoo:
            self._wanted = (zoo, Wanted(zoo, self.op))
        return self._wanted[1].of(rows)

    def goal(self, config: EditConfig, answer: Answer) -> Goal:
        """The mean squared error of what is shown, in [-1, 1]."""
        return Goal(lambda outputs, target: F.mse_loss(outputs, to_unit(target)), "val_loss", maximise=False)

    def stages(self, config: EditConfig, reader: Model, answer: Answer, data: Data) -> tuple[Stage, ...]:
        """One: all of the editor."""
        goal, ((name, stage),) = self.goal(config, answer), config.stages.items()
        zoo = data.zoo
        return (Stage(name, stage, reader, target=lambda rows: self.target(zoo, rows), loss=goal.loss),)

    def figures(self, values: Tensor, target: Tensor) -> dict[str, float]:
        """Mean squared errors over all pixels: `mse` in [-1, 1], `mse_unit` in [0, 1] as published (there x 1e-2)."""
        return errors(float(per_picture(values, target).mean()) if len(values) else float("nan"))

    def details(self, zoo: Zoo, rows: Rows, values: Tensor, target: Tensor) -> dict[str, Any]:
        """The same errors of doing nothing, which is to show the INR as it is; and how the INRs were made."""
        undone = float(self.undone(zoo, rows).mean())
        return {"op": self.op, "unedited": errors(undone), "init": zoo.settings.get("init")}

    def undone(self, zoo: Zoo, rows: Rows) -> Tensor:
        """`per_picture` (n,) of INRs that are shown as they are."""
        return torch.cat([per_picture(render(zoo, part), self.target(zoo, part)) for part in batches(rows)])

    def headline(self, found: Evaluation) -> str:
        return (
            f"{self.named(found)} of {found.networks['test']:,} test INRs: MSE {_published(found.test['mse_unit'])}, "
            f"of doing nothing {_published(found.details['unedited']['mse_unit'])} (pixels from 0 to 1)"
        )

    def named(self, found: Evaluation) -> str:
        """The operation that an evaluation is of."""
        return str(found.details["op"])

    def facts(self, found: Evaluation) -> dict[str, object]:
        undone = found.details["unedited"]
        return {
            "operation": self.named(found),
            "MSE, pixels from 0 to 1": _published(found.test["mse_unit"]),
            "the same of doing nothing": _published(undone["mse_unit"]),
            "MSE, pixels from -1 to 1": _four(found.test["mse"]),
            "that of doing nothing": _four(undone["mse"]),
            "MSE, pixels from 0 to 1, validation": _published(found.val.get("mse_unit")),
            "init of the INRs": found.details["init"],
        }

    def page(self, evaluated: Evaluated) -> Page:
        from weightwalk.tasks.inr_editing.report import page  # draws, which training need not load

        return page(evaluated)


def per_picture(values: Tensor, target: Tensor) -> Tensor:
    """The mean squared error (n,) of pictures in [-1, 1] against others in uint8 (n, C, H, W), in float64."""
    return torch.cat(
        [
            (some.double() - to_unit(wanted).double()).square().flatten(1).mean(1)
            for some, wanted in zip(values.split(_AT_ONCE), target.split(_AT_ONCE), strict=True)
        ]
    )


def errors(mse: float) -> dict[str, float]:
    """A mean squared error in [-1, 1] in both ranges."""
    return {"mse": mse, "mse_unit": mse / 4}


def _published(value: float | None) -> str:
    return "" if value is None else f"{100 * value:.3f} x 1e-2"


def _four(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"


_AT_ONCE = 1024  # pictures
