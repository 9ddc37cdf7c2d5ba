"""What a reader's outputs mean, registered by name: classes, a share such as a test accuracy, a number with a unit.

Axes: B networks, K classes.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from weightwalk.errors import InputError
from weightwalk.registry import Registry
from weightwalk.zoos.inr.pixels import to_unit

ANSWERS: Registry[type[Answer]] = Registry("kind of answer")

Told = Mapping[str, Any]
"""An answer about one network as plain values."""


@dataclass(frozen=True)
class Answer(ABC):
    """What outputs mean. Subclasses are frozen dataclasses of plain values with defaults, `name` being the first."""

    ranked: ClassVar[bool] = False
    """Whether networks are shown in the order of what is said of them, from much to little."""
    tells: ClassVar[bool] = True
    """Whether what is said of a network is a line of a table."""
    columns: ClassVar[tuple[str, ...]]
    """The heads of the columns that `cells` fills."""
    output: ClassVar[str] = "values"
    """What `values` are called where a program of a reader gives them (`export`)."""

    name: str

    @staticmethod
    def named(name: str, **settings: Any) -> Answer:
        """The kind of answer of that name."""
        return ANSWERS[name](name, **settings)

    @property
    @abstractmethod
    def num_outputs(self) -> int:
        """How many numbers a head gives."""

    @property
    @abstractmethod
    def subject(self) -> str:
        """What is told, in words; readers of equal subjects may be asked about the same zoos."""

    @abstractmethod
    def values(self, outputs: Tensor) -> Tensor:
        """Outputs (B, num_outputs) as what they mean, in their dtype: probabilities (B, K), or a number each (B,)."""

    @abstractmethod
    def tell(self, values: Tensor) -> list[dict[str, Any]]:
        """Values as plain answers, one for every network."""

    @abstractmethod
    def truth(self, target: float) -> object:
        """A task's target of one network as a plain answer; None where it is not known."""

    @abstractmethod
    def cells(self, told: Told) -> list[str]:
        """An answer as cells of a table, one for each of `columns`."""

    @abstractmethod
    def agreement(self, told: Sequence[Told], truths: Sequence[Any]) -> tuple[str, float, str]:
        """How well answers agree with what is true: the name of the figure, the figure, and it in words."""

    def demand_told(self) -> None:
        """InputError where what is said of a network is no line of a table."""
        if not self.tells:
            raise InputError(
                f"expected a model that tells something of networks, got one that makes {self.subject}; use "
                "`weightwalk edit`, or .edit(networks) of what weightwalk.load gives"
            )


@ANSWERS.register("classes")
@dataclass(frozen=True)
class Classes(Answer):
    """Which of several classes: outputs are logits."""

    columns = ("class", "probability", "runner-up", "its probability")
    output = "probabilities"

    name: str = "classes"
    labels: tuple[str, ...] = ()

    @property
    def num_outputs(self) -> int:
        return len(self.labels)

    @property
    def subject(self) -> str:
        return f"the classes {', '.join(self.labels)}"

    def values(self, outputs: Tensor) -> Tensor:
        return outputs.softmax(1)

    def tell(self, values: Tensor) -> list[dict[str, Any]]:
        """`class` and `runner_up` with `probability` and `runner_up_probability`."""
        top, classes = values.topk(min(2, values.shape[1]))
        return [
            {
                "class": self.labels[order[0]],
                "probability": probabilities[0],
                "runner_up": self.labels[order[-1]],
                "runner_up_probability": probabilities[-1],
            }
            for probabilities, order in zip(top.tolist(), classes.tolist(), strict=True)
        ]

    def truth(self, target: float) -> object:
        return self.labels[int(target)]

    def cells(self, told: Told) -> list[str]:
        probabilities = (f"{100 * told[key]:.1f} %" for key in ("probability", "runner_up_probability"))
        return [told["class"], next(probabilities), told["runner_up"], next(probabilities)]

    def agreement(self, told: Sequence[Told], truths: Sequence[Any]) -> tuple[str, float, str]:
        """The share of classes told right."""
        right = [answer["class"] == truth for answer, truth in zip(told, truths, strict=True)]
        accuracy = sum(right) / len(right)
        return "accuracy", accuracy, f"{100 * accuracy:.1f} % right"


@dataclass(frozen=True)
class _OneNumber(Answer):
    """What shares and other numbers have in common: `of` says of what it is."""

    ranked = True
    columns = ("predicted",)

    name: str = ""
    of: str = "what was trained on"

    @property
    def num_outputs(self) -> int:
        return 1

    @property
    def subject(self) -> str:
        return self.of

    def tell(self, values: Tensor) -> list[dict[str, Any]]:
        """`predicted`."""
        return [{"predicted": value} for value in values.tolist()]

    def truth(self, target: float) -> object:
        return target if target == target else None

    def cells(self, told: Told) -> list[str]:
        return [self.written(told["predicted"])]

    @abstractmethod
    def written(self, value: float) -> str:
        """A value in words."""

    def agreement(self, told: Sequence[Told], truths: Sequence[Any]) -> tuple[str, float, str]:
        """The mean absolute error."""
        errors = [abs(answer["predicted"] - truth) for answer, truth in zip(told, truths, strict=True)]
        error = sum(errors) / len(errors)
        return "mean_absolute_error", error, f"off by {self.written(error)} on average"


@ANSWERS.register("share")
@dataclass(frozen=True)
class Share(_OneNumber):
    """A share between 0 and 1: the sigmoid of the one output."""

    output = "share"

    name: str = "share"

    def values(self, outputs: Tensor) -> Tensor:
        return outputs.sigmoid().squeeze(1)

    def written(self, value: float) -> str:
        return f"{100 * value:.1f} %"


@ANSWERS.register("number")
@dataclass(frozen=True)
class Number(_OneNumber):
    """A number with a unit: offset + scale * output. `standard` has the outputs' own scale, for a loss."""

    output = "number"

    name: str = "number"
    unit: str = ""
    offset: float = 0.0
    scale: float = 1.0

    @staticmethod
    def of_targets(of: str, unit: str, targets: Tensor) -> Number:
        """That of training targets (N,): outputs have their mean at 0 and their deviation at 1."""
        scale = float(targets.double().std(correction=0))
        return Number("number", of, unit, float(targets.double().mean()), scale if scale > 0 else 1.0)

    def __post_init__(self) -> None:
        if not (self.scale > 0 and torch.tensor([self.offset, self.scale]).isfinite().all()):
            raise InputError(f"expected a finite offset and a positive scale, got {self.offset} and {self.scale}")

    def values(self, outputs: Tensor) -> Tensor:
        return self.offset + self.scale * outputs.squeeze(1)

    def standard(self, targets: Tensor) -> Tensor:
        """Targets (B,) as outputs (B, 1)."""
        return ((targets - self.offset) / self.scale)[:, None]

    def written(self, value: float) -> str:
        return f"{value:.4g} {self.unit}".rstrip()


@ANSWERS.register("picture")
@dataclass(frozen=True)
class Picture(Answer):
    """A picture (C, H, W) after the operation `op`, -1 black and 1 white: outputs are pixels, not words."""

    tells = False
    columns = ("brightness",)
    output = "pictures"

    name: str = "picture"
    op: str = ""
    image_shape: tuple[int, ...] = ()

    @property
    def num_outputs(self) -> int:
        return math.prod(self.image_shape)

    @property
    def subject(self) -> str:
        return f"pictures {'x'.join(map(str, self.image_shape))} after {self.op}"

    def values(self, outputs: Tensor) -> Tensor:
        """As they are, in float32, of which there may be many."""
        return outputs.float()

    def tell(self, values: Tensor) -> list[dict[str, Any]]:
        """`picture`, its pixels as nested lists."""
        return [{"picture": picture} for picture in values.tolist()]

    def truth(self, target: Any) -> object:
        """A picture of bytes in the range of `values`."""
        return to_unit(torch.as_tensor(target).to(torch.uint8)).tolist()

    def cells(self, told: Told) -> list[str]:
        """The mean over all pixels."""
        return [f"{float(torch.tensor(told['picture']).mean()):.3f}"]

    def agreement(self, told: Sequence[Told], truths: Sequence[Any]) -> tuple[str, float, str]:
        """The mean squared error over all pixels."""
        pairs = zip(told, truths, strict=True)
        errors = [(torch.tensor(one["picture"]) - torch.tensor(true)).square().mean() for one, true in pairs]
        error = float(torch.stack(errors).mean())
        return "mse", error, f"a mean squared error of {error:.4f}"
