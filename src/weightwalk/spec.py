"""The frozen architecture of an input network (the network that is read): the steps of its forward pass.

Steps are in the order of inference; `weightwalk.steps` has their kinds. Step s writes value s, counted from 1, and
value 0 is the input. A network whose every step reads the one before it is a chain, such as an MLP; residual
connections and attention read others as well.

This module is pure Python: describing a network never imports torch.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import Any, Generic, NamedTuple, TypeVar

from weightwalk import config
from weightwalk.errors import InputError
from weightwalk.flow import Flow, Scheduled, flow, schedule
from weightwalk.registry import unknown
from weightwalk.steps import ACTIVATIONS, SCALED, STEPS, Conv, Dense, Embed, Layer, MeanPool, Step

T = TypeVar("T")

__all__ = ["ACTIVATIONS", "Conv", "Dense", "Field", "Layer", "MeanPool", "NetworkSpec", "Scheduled", "Step"]


class fact(Generic[T]):
    """A method without arguments as an attribute that is computed once.

    As `functools.cached_property`, whose lock in Python 3.11 torch.compile(fullgraph=True) does not see through.
    """

    def __init__(self, method: Callable[[Any], T]):
        self.method, self.__doc__ = method, method.__doc__

    def __get__(self, owner: Any, kind: type) -> T:
        if owner is None:
            return self  # type: ignore[return-value]
        value: T = self.method(owner)
        owner.__dict__[self.method.__name__] = value
        return value


class Field(NamedTuple):
    """Where one tensor lies in a network's flat parameter vector: elements start:stop, row-major."""

    layer: int
    role: str
    shape: tuple[int, ...]
    start: int
    stop: int

    @property
    def name(self) -> str:
        """What the tensor is called in a state dict and in sentences."""
        return f"layers.{self.layer}.{self.role}"


@dataclass(frozen=True)
class NetworkSpec:
    """A frozen architecture: its steps, in the order of inference.

    `input_axes` are the axes of one example, without those of batches; left out (0), the first step that reads the
    input decides.

    >>> NetworkSpec.mlp([2, 32, 32, 1], activation="sine", omega=30.0).num_parameters
    1185
    """

    steps: tuple[Step, ...]
    input_axes: int = 0

    def __post_init__(self) -> None:
        steps = tuple(self.steps) if isinstance(self.steps, Iterable) else (self.steps,)
        if not all(isinstance(step, Step) for step in steps):
            raise InputError(f"expected the steps of a network, got {config.short(self.steps)}")
        object.__setattr__(self, "steps", steps)
        object.__setattr__(self, "input_axes", config.typed(int, self.input_axes, "input_axes"))
        if not self.layers:
            raise InputError("a network needs at least one step with parameters, got none")
        if self.steps[0].kind == "mean_pool" and not self.input_axes:
            raise InputError("a network begins with a step that has parameters, got mean_pool")
        for value, step, sources in ((at.value, at.step, at.sources) for at in self.schedule):
            if any(not 0 <= source < value for source in sources):
                raise InputError(
                    f"step {value - 1} ({step.kind}) reads the values {sources}; a step reads values before its own, "
                    f"{value}"
                )
        readers = self._input_readers
        if not readers or self.input_axes < 0:
            raise InputError(f"a network has a step that reads its input, value 0, and input_axes >= 0, got {self!r}")
        if not self.input_axes:
            decided = next((step.input_axes for step in readers if step.input_axes is not None), 1)
            object.__setattr__(self, "input_axes", decided)
        widths = [readers[0].reads[0]]
        for value, step, sources in ((at.value, at.step, at.sources) for at in self.schedule):
            for source, wanted in zip(sources, step.reads, strict=True):
                if wanted not in (0, widths[source]):
                    writer = f"step {source - 1} ({self.steps[source - 1].kind}) writes" if source else "the input has"
                    raise InputError(
                        f"{writer} {widths[source]} nodes but step {value - 1} ({step.kind}) reads {wanted}; make the "
                        "two widths equal"
                    )
            widths.append(step.fan_out)
        for index, layer in enumerate(self.layers):
            self._check_tie(index, layer)

    def __getstate__(self) -> dict[str, Any]:
        return {"steps": self.steps, "input_axes": self.input_axes}  # without what is cached

    def _check_tie(self, index: int, layer: Layer) -> None:
        if layer.tied is None:
            return
        other = self.layers[layer.tied] if 0 <= layer.tied < index else None
        matrices = other is not None and len(other.weight_shape) == len(layer.weight_shape) == 2
        if other is None or not matrices or other.tied is not None or other.weight_shape != layer.weight_shape[::-1]:
            raise InputError(
                f"layer {index} can only be tied to an earlier layer of the transposed weight, got ties={layer.tied}"
            )

    @classmethod
    def mlp(
        cls, widths: Sequence[int], activation: str = "sine", omega: float = 30.0, bias: bool = True
    ) -> NetworkSpec:
        """A fully connected network: `activation` (scaled by `omega` if it is sine or gaussian) on every hidden layer,
        none on the last.
        """
        widths = list(widths) if isinstance(widths, Iterable) else [widths]
        if len(widths) < 2:
            raise InputError(f"an MLP needs at least an input and an output width, got {widths}")
        scale = omega if activation in SCALED else 1.0
        hidden = [Dense(i, o, activation, scale, bias) for i, o in pairwise(widths[:-1])]
        return cls((*hidden, Dense(widths[-2], widths[-1], bias=bias)))

    @fact
    def schedule(self) -> tuple[Scheduled, ...]:
        """The steps in the order of inference: what each writes and reads, its number among the layers, and which
        values nobody reads afterwards.
        """
        return schedule(self.steps)

    @property
    def activations(self) -> tuple[str, ...]:
        """The activations of all steps, each once; of nothing but the identity, that."""
        names = [str(vars(step)["activation"]) for step in self.steps if "activation" in vars(step)]
        return tuple(dict.fromkeys(name for name in names if name != "identity")) or ("identity",)

    @fact
    def flow(self) -> Flow:
        """Where the nodes of every value come from."""
        return flow(self.schedule, self.widths[0])

    def walk(self, first: T, visit: Callable[[Scheduled, list[T]], T]) -> T:
        """The last value of a walk over the steps in the order of inference, each value kept while somebody reads it.

        Value 0 is `first`; `visit(at, read)` gives the value that the step `at` writes, from those that it reads.
        """
        values = {0: first}
        for at in self.schedule:
            values[at.value] = visit(at, [values[source] for source in at.sources])
            for value in at.done:
                del values[value]
        return values[len(self.steps)]

    def sources(self, value: int) -> tuple[int, ...]:
        """The values that the step that writes `value` reads."""
        return self.schedule[value - 1].sources

    @fact
    def layers(self) -> tuple[Layer, ...]:
        """The steps that have parameters; `Weights.weights[l]` belongs to `layers[l]`."""
        return tuple(step for step in self.steps if isinstance(step, Layer))

    @fact
    def layer_values(self) -> tuple[int, ...]:
        """The value that each layer writes."""
        return tuple(at.value for at in self.schedule if at.layer is not None)

    @property
    def is_chain(self) -> bool:
        """Whether every step reads the value before it alone."""
        return all(at.sources == (at.value - 1,) for at in self.schedule)

    @fact
    def _input_readers(self) -> list[Step]:
        return [at.step for at in self.schedule if 0 in at.sources and not at.step.is_constant]

    @property
    def first(self) -> Step:
        """The first step that reads the input."""
        return self._input_readers[0]

    @fact
    def widths(self) -> tuple[int, ...]:
        """Nodes per group of the layers: n_0 (tokens known, for a network that reads tokens), then what each layer
        writes.
        """
        first = self.first
        return (first.fan_in if isinstance(first, Embed) else first.reads[0], *(layer.fan_out for layer in self.layers))

    @property
    def num_outputs(self) -> int:
        """Channels of the last value."""
        return self.steps[-1].fan_out

    @fact
    def fields(self) -> tuple[Field, ...]:
        """The flat layout of one network's parameters: per layer its weight (unless it is another layer's), then its
        bias.
        """
        fields: list[Field] = []
        start = 0
        for index, layer in enumerate(self.layers):
            shapes = [("weight", layer.weight_shape)] if layer.tied is None else []
            for role, shape in shapes + ([("bias", (layer.fan_out,))] if layer.bias else []):
                stop = start + math.prod(shape)
                fields.append(Field(index, role, shape, start, stop))
                start = stop
        return tuple(fields)

    @property
    def shape(self) -> tuple[tuple[Any, ...], ...]:
        """What two specs have in common whose parameters can be exchanged: kinds, widths, taps, biases and sources of
        the steps.

        In which order values are added or multiplied does not count, nor what learned values count their examples by.
        """
        shapes: list[tuple[Any, ...]] = []
        for step, sources in ((at.step, at.sources) for at in self.schedule):
            own = (step.weight_shape, step.bias, step.tied) if isinstance(step, Layer) else (step.fan_in, step.fan_out)
            counted = () if step.is_constant else tuple(sorted(sources)) if step.commutes else sources
            shapes.append((step.kind, *own, counted))
        return tuple(shapes)

    @property
    def num_parameters(self) -> int:
        return self.fields[-1].stop

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values; `from_dict` is its inverse."""
        return {"steps": [step.to_dict() for step in self.steps], "input_axes": self.input_axes}

    @classmethod
    def from_dict(cls, value: dict[str, Any]) -> NetworkSpec:
        """The spec that JSON values describe; what is left out of a step has its default."""
        steps = value.get("steps") if isinstance(value, dict) else None
        if not isinstance(steps, list) or not all(
            isinstance(step, dict) and step.get("kind") in [*STEPS] for step in steps
        ):
            raise InputError(
                f"expected a network spec with steps of the kinds {', '.join(STEPS)}, got {config.short(value)}"
            )
        for stranger in value.keys() - {"steps", "input_axes"}:
            raise InputError(unknown("key of a network spec", stranger, ["steps", "input_axes"]))
        made = []
        for number, step in enumerate(steps):
            kind, entries = STEPS[step["kind"]], {key: step[key] for key in step if key != "kind"}
            try:
                made.append(kind(**entries))
            except (TypeError, InputError):  # again, for a sentence that names the step and the key
                made.append(config.from_dict(kind, entries, f"steps[{number}]"))
        return cls(tuple(made), value.get("input_axes", 0))

    def __str__(self) -> str:
        if (
            all(isinstance(step, Dense) and step.taps == 1 and step.tied is None for step in self.steps)
            and self.is_chain
        ):
            hidden = self.layers[0].activation if len(self.layers) > 1 else "linear"
            return f"MLP {'-'.join(map(str, self.widths))} ({hidden})"
        if len(self.steps) > 12:
            kinds = ", ".join(
                f"{sum(s.kind == kind for s in self.layers)} {kind}"
                for kind in dict.fromkeys(s.kind for s in self.layers)
            )
            return f"network of {len(self.steps)} steps ({kinds}), {self.widths[0]} in, {self.num_outputs} out"
        return " > ".join(f"{step.kind} {step.fan_in}-{step.fan_out}" for step in self.steps)


@lru_cache(4096)
def text_of_spec(spec: NetworkSpec) -> str:
    """A spec as JSON."""
    return json.dumps(spec.to_dict())


@lru_cache(4096)
def spec_of_text(text: str) -> NetworkSpec:
    """The inverse of `text_of_spec`: the same object for equal texts."""
    return NetworkSpec.from_dict(json.loads(text))
