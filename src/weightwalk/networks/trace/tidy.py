"""From a program to a spec: steps that belong together become one, idle steps go, values are numbered anew."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from weightwalk.networks.trace.program import Parameters, Program
from weightwalk.spec import NetworkSpec
from weightwalk.steps import Activate, Add, Conv, Dense, Embed, Layer, Learned, Norm, Pad, Step
from weightwalk.weights import Weights


def finish(program: Program, output: int, dtype: torch.dtype) -> tuple[NetworkSpec, Weights]:
    """The spec, and the weights of a batch of one network, of what computes value `output`."""
    tidy = _Tidy(program, output)
    output = tidy.joined(output)
    order = sorted(_live(tidy.steps, output))
    number = {0: 0} | {value: place for place, value in enumerate(order, start=1)}
    steps: list[Step] = []
    ties, kept = _ties(order, tidy.steps, program.parameters), []
    for value in order:
        step = tidy.steps[value]
        sources = tuple(number[source] for source in step.sources)
        chained = sources == (len(steps),) and step.num_sources == (1, 1) and not isinstance(step, Learned)
        tied = {"ties": ties[value]} if value in ties else {}
        steps.append(replace(step, sources=() if chained else sources, **tied))
        if isinstance(step, Layer):
            kept.append(program.parameters[value])
    spec = NetworkSpec(tuple(steps), len(program.shapes[0]) if not isinstance(steps[0], Embed) else 1)
    return spec, _weights(spec, kept, dtype)


def _live(steps: dict[int, Step], output: int) -> set[int]:
    """Values that `output` depends on."""
    live, waiting = set(), [output]
    while waiting:
        value = waiting.pop()
        if value and value not in live:
            live.add(value)
            waiting += steps[value].sources
    return live


class _Tidy:
    """Joins steps: activations, shifts and scales into the layer before them, zeros around pictures into padding."""

    def __init__(self, program: Program, output: int):
        self.parameters = program.parameters
        self.steps: dict[int, Step] = dict(enumerate(program.steps, start=1))
        self.into: dict[int, int] = {}
        self.readers = dict.fromkeys(range(len(program.steps) + 1), 0)
        self.readers[output] += 1
        live = _live(self.steps, output)
        for value in live:
            if not isinstance(self.steps[value], Learned):  # which only counts the examples of its source
                for source in self.steps[value].sources:
                    self.readers[source] += 1
        for value in sorted(live):
            step = self.steps[value]
            self.steps[value] = replace(step, sources=tuple(map(self.joined, step.sources)))
            self._join(value, self.steps[value])

    def joined(self, value: int) -> int:
        """The value that another has become part of."""
        return self.into.get(value, value)

    def _join(self, value: int, step: Step) -> None:
        source = step.sources[0]
        before = self.steps.get(source)
        if before is None or self.readers[source] != 1:
            return
        plain = isinstance(before, (Dense, Conv, Norm)) and before.activation == "identity"
        match step:
            case Activate() if plain:
                chosen = {name: getattr(step, name) for name in ("activation", "omega", "slope")}
                self._become(value, source, replace(before, **chosen), self.parameters[source])
            case Norm(norm="batch", bias=False, activation="identity") if (
                isinstance(before, Norm) and plain and not before.bias
            ):
                scaled = self.parameters[source].weight * self.parameters[value].weight
                self._become(value, source, before, Parameters(scaled, None))
            case Add(sources=(_, term)) if plain and not getattr(before, "bias", True) and self._is_vector(term):
                own = self.parameters[source]
                shift = self.parameters[term].weight.reshape(-1)
                self._become(value, source, replace(before, bias=True), replace(own, bias=shift))  # type: ignore[call-arg]
            case Conv(transposed=False) if (
                isinstance(before, Pad) and before.fan_in == before.fan_out and before.grid[::2] == before.grid[1::2]
            ):
                padding = tuple(a + b for a, b in zip(step.per_axis("padding"), before.grid[::2], strict=True))
                self.steps[value] = replace(step, padding=padding, sources=before.sources)

    def _is_vector(self, value: int) -> bool:
        step = self.steps.get(value)
        return isinstance(step, Learned) and step.grid == () and not step.fixed and self.readers[value] == 1

    def _become(self, value: int, source: int, step: Step, parameters: Parameters) -> None:
        """`step`, in the place of the one that wrote `source`, writes what `value` was."""
        self.steps[source], self.parameters[source] = step, parameters
        self.into[value] = source
        self.readers[source] = self.readers[value]


def _ties(order: list[int], steps: dict[int, Step], parameters: dict[int, Parameters]) -> dict[int, int]:
    """Per dense step whose weight is the table of an embedding before it, that one's number among the layers."""
    tables: dict[object, int] = {}
    ties = {}
    for index, value in enumerate(value for value in order if isinstance(steps[value], Layer)):
        tensor = parameters[value].tensor
        memory = None if tensor is None else (tensor.data_ptr(), tensor.stride(), tensor.shape)
        if memory is not None and isinstance(steps[value], Embed):
            tables.setdefault(memory, index)
        elif memory in tables and isinstance(steps[value], Dense):
            ties[value] = tables[memory]
    return ties


def _weights(spec: NetworkSpec, kept: list[Parameters], dtype: torch.dtype) -> Weights:
    """Detached copies, each with the axis of networks in front."""
    weights: list[Tensor] = []
    biases: list[Tensor | None] = []
    for layer, own in zip(spec.layers, kept, strict=True):
        shaped = own.weight.reshape(layer.weight_shape)
        weights.append(weights[layer.tied].transpose(1, 2) if layer.tied is not None else _copy(shaped, dtype))
        biases.append(None if own.bias is None else _copy(own.bias, dtype))
    return Weights.of(spec, weights, biases)


def _copy(tensor: Tensor, dtype: torch.dtype) -> Tensor:
    return tensor.detach().to(dtype, copy=True, memory_format=torch.contiguous_format).unsqueeze(0)
