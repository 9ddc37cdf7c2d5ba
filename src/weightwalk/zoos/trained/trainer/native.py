"""`trainer.cpp` from Python: a network's steps as it wants them, and its calls."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache, lru_cache
from pathlib import Path

import torch
from torch import Tensor

from weightwalk import memory
from weightwalk import steps as kinds
from weightwalk.spec import NetworkSpec
from weightwalk.steps import Layer, Step
from weightwalk.zoos.compiled import address, library, loads
from weightwalk.zoos.trained.trainer.settings import OPTIMIZERS, Samples, Trained, Training, dropped, moving

_LINEAR, _ACTIVATE, _NORM, _MEAN_POOL, _ADD, _SLICE, _CONCAT, _LEARNED, _PATCHES, _ATTENTION = range(10)
_NORMS = ("layer", "rms", "batch")
_MAX_SOURCES = 3
_LANES = 16
_MOST = 2**30  # numbers of a value or of gradients: trainer.cpp counts them in 32 bits, borders included
_SOURCE = Path(__file__).with_name("trainer.cpp")
_HEADERS = (
    *(Path(__file__).with_name(name) for name in ("activations.h", "products.h", "linear.h", "fourier.h", "others.h")),
    Path(__file__).parents[2] / "vectors.h",
)


class _Record(ctypes.Structure):
    """`Record` of trainer.cpp."""

    _fields_ = [
        *((name, ctypes.c_int32) for name in ("kind", "out", "num_sources")),
        ("source", ctypes.c_int32 * _MAX_SOURCES),
        *((name, ctypes.c_int32) for name in ("weight", "bias", "activation")),
        *((name, ctypes.c_int32 * 2) for name in ("kernel", "stride", "padding")),
        *((name, ctypes.c_int32) for name in ("groups", "first", "heads", "causal", "norm", "drops")),
        *((name, ctypes.c_float) for name in ("omega", "scale", "eps")),
    ]


class _Shape(ctypes.Structure):
    _fields_ = [(name, ctypes.c_int32) for name in ("channels", "rows", "columns")]


class _Settings(ctypes.Structure):
    _fields_ = [
        *((name, ctypes.c_int32) for name in ("optimizer", "batch")),
        *((name, ctypes.c_float) for name in ("rate", "decay", "dropout")),
    ]


class _RefusedError(Exception):
    """Steps that trainer.cpp doesn't have."""


@dataclass
class _Program:
    """A network as trainer.cpp takes it: one record per value but the input, and the grid of every value."""

    tokens: bool
    channels: list[int]
    grids: list[tuple[int, ...]]
    records: list[_Record] = field(default_factory=list)

    def add(self, kind: int, sources: Sequence[int], channels: int, grid: tuple[int, ...], **entries: object) -> int:
        """Append a step; gives the number of its value."""
        record = _Record(
            kind=kind, out=len(self.records) + 1, num_sources=len(sources), weight=-1, bias=-1, groups=1, omega=1.0
        )
        record.source[: len(sources)] = list(sources)
        record.kernel[:] = record.stride[:] = [1, 1]
        for name, value in entries.items():
            if isinstance(value, tuple):
                getattr(record, name)[:] = list(value)
            else:
                setattr(record, name, value)
        self.records.append(record)
        self.channels.append(channels)
        self.grids.append(grid)
        return int(record.out)

    def shapes(self) -> list[tuple[int, int, int]]:
        """(channels, rows, columns) of every value; tokens are columns."""
        return [(channels, *(1, 1, *grid)[-2:]) for channels, grid in zip(self.channels, self.grids, strict=True)]  # type: ignore[misc]

    def vectors(self) -> list[int]:
        """How many vectors of 16 numbers every value takes at least: one per position, or per 16 tokens."""
        lanes = _LANES if self.tokens else 1
        return [channels * -(-rows * columns // lanes) for channels, rows, columns in self.shapes()]

    def num_bytes(self) -> int:
        """What its values and their gradients take at least; slices lie in what they are cut of."""
        own = [count for record, count in zip(self.records, self.vectors()[1:], strict=True) if record.kind != _SLICE]
        return 4 * _LANES * sum(own) * 2


def refusal(spec: NetworkSpec, example: tuple[int, ...]) -> str | None:
    """Why trainer.cpp can't train `spec` on pictures `example` (C, H, W), or None if it can."""
    try:
        _lowered(spec, example, False)
    except _RefusedError as error:
        return str(error)
    return None


def check_memory(spec: NetworkSpec, example: tuple[int, ...]) -> None:
    """InputError if training `spec` on pictures `example` (C, H, W) takes more memory than there is."""
    memory.check(
        _lowered(spec, example, False).num_bytes() + 4 * spec.num_parameters,
        f"training a network of {spec.num_parameters:,} parameters on pictures {example}",
        "choose a smaller one",
    )


@cache
def available() -> bool:
    """Whether trainer.cpp can be built and loaded here, found out by doing it."""
    return loads(_library)


@cache
def _library() -> ctypes.CDLL:
    return library(_SOURCE, _HEADERS)


def epoch(
    spec: NetworkSpec,
    state: Trained,
    samples: Samples,
    order: Tensor,
    training: Training,
    seed: int,
    shifts: Tensor | None,
    fourier: bool = True,
) -> tuple[float, float]:
    """`epochs.epoch`; with `fourier` large convolutions go through Fourier transforms."""
    state.params, state.first, state.second = (
        tensor.contiguous() for tensor in (state.params, state.first, state.second)
    )
    found = _run(spec, state, samples, order, fourier, training, seed, shifts)
    state.step += -(-len(order) // training.batch_size)
    return found


def score(spec: NetworkSpec, params: Tensor, samples: Samples, fourier: bool = True) -> tuple[float, float]:
    """`epochs.score`."""
    order = torch.arange(len(samples), dtype=torch.int32)
    state = Trained(params.detach().contiguous(), params, params)
    return _run(spec, state, samples, order, fourier)


def _run(
    spec: NetworkSpec,
    state: Trained,
    samples: Samples,
    order: Tensor,
    fourier: bool,
    training: Training | None = None,
    seed: int = 0,
    shifts: Tensor | None = None,
) -> tuple[float, float]:
    """One pass over `order`, which trains if `training` is given."""
    settings = training or Training(batch_size=max(1, len(order)))
    program = _lowered(spec, samples.shape, settings.dropout > 0)
    shapes = program.shapes()
    pictures, classes = samples.pixels.contiguous(), samples.labels.to(torch.int64).contiguous()
    numbers = order.to(torch.int32).contiguous()
    moves = None if shifts is None else shifts.to(torch.int8).contiguous()
    ranges = moving(spec) if training else []
    flat = [bound for pair in ranges for bound in pair]
    found = (ctypes.c_double * 2)()
    short = _library().weightwalk_train(
        (_Record * len(program.records))(*program.records),
        len(program.records),
        (_Shape * len(shapes))(*(_Shape(*shape) for shape in shapes)),
        int(program.tokens),
        int(fourier),
        int(training is not None),
        *(address(tensor) for tensor in (state.params, state.first, state.second)),
        (ctypes.c_int32 * len(flat))(*flat),
        len(ranges),
        address(pictures),
        *pictures.shape[1:],
        (ctypes.c_float * len(samples.scale))(*samples.scale),
        (ctypes.c_float * len(samples.offset))(*samples.offset),
        address(classes),
        address(numbers),
        None if moves is None else address(moves),
        len(numbers),
        ctypes.byref(
            _Settings(
                OPTIMIZERS.index(settings.optimizer),
                min(settings.batch_size, len(numbers)),
                settings.learning_rate,
                settings.weight_decay,
                settings.dropout,
            )
        ),
        ctypes.c_int64(state.step),
        ctypes.c_uint64(seed % 2**64),
        found,
    )
    if short:
        raise MemoryError(f"training {spec}")
    return found[0] / len(numbers), found[1] / len(numbers)


@lru_cache(maxsize=16)
def _lowered(spec: NetworkSpec, example: tuple[int, ...], drops: bool) -> _Program:
    """The program of `spec` for pictures `example` (C, H, W); kept, since a network is trained by many calls."""
    tokens = any(isinstance(step, kinds.Patches) for step in spec.steps)
    program = _Program(tokens, [example[0]], [tuple(example[1:])])
    fields = {(entry.layer, entry.role): entry.start for entry in spec.fields}
    numbers = [0]  # of each value of the spec: its number in the program
    dropping = dropped(spec) if drops else ()
    for at in spec.schedule:
        entries: dict[str, object] = {}
        if at.layer is not None:
            entries = {role: fields.get((at.layer, role), -1) for role in ("weight", "bias")}
            entries["drops"] = int(at.value in dropping)
        try:
            numbers.append(_lower(program, at.step, [numbers[source] for source in at.sources], entries))
        except _RefusedError as error:
            what = f"step {at.value - 1} ({at.step.kind}{f', {error}' if str(error) else ''})"
            raise _RefusedError(f"the mode 'native' can't train {what} of {spec}") from None
    if max(*program.vectors(), spec.num_parameters) * _LANES > _MOST:
        raise _RefusedError(f"the mode 'native' counts up to {_MOST:,} numbers in 16 examples of a value, got {spec}")
    if program.grids[-1]:
        raise _RefusedError(
            f"the mode 'native' trains networks that end in one value per class, got a grid {program.grids[-1]} from "
            f"{spec}"
        )
    return program


def _lower(program: _Program, step: Step, sources: list[int], entries: dict[str, object]) -> int:
    """Append `step`, give the number of its value; _RefusedError has a reason, if the kind alone is none."""
    source = sources[0]
    grid, tokens = program.grids[source], program.tokens
    if isinstance(step, Layer | kinds.Activate):
        if step.activation not in kinds.TRAINED:
            raise _RefusedError(step.activation)
        if step.activation == "leaky_relu" and step.slope != kinds.LEAK:
            raise _RefusedError(f"leaky_relu of slope {step.slope}")
        entries |= {"activation": kinds.TRAINED.index(step.activation), "omega": step.omega}
    if tokens and source == 0 and not isinstance(step, kinds.Patches | kinds.Learned):
        raise _RefusedError("beside patches of the same picture")
    match step:
        case kinds.Dense(ties=None, positions=1):
            return program.add(_LINEAR, sources, step.fan_out, grid, **entries)
        case kinds.Dense(ties=None) if not tokens:
            if len(grid) != 2 or step.positions != grid[0] * grid[1]:
                raise _RefusedError(f"{step.positions} positions for a grid {grid}")
            return program.add(_LINEAR, sources, step.fan_out, (), kernel=grid, **entries)
        case kinds.Conv(dilation=1, transposed=False) if not tokens and len(step.kernel) == len(grid) == 2:
            kernel, stride, padding = step.kernel, step.per_axis("stride"), step.per_axis("padding")
            sizes = tuple(
                (size + 2 * p - k) // s + 1 for size, k, s, p in zip(grid, kernel, stride, padding, strict=True)
            )
            if min(sizes) < 1:
                raise _RefusedError(f"a kernel of {kernel} on a grid {grid}")
            entries |= {"kernel": kernel, "stride": stride, "padding": padding, "groups": step.groups}
            return program.add(_LINEAR, sources, step.fan_out, sizes, **entries)
        case kinds.Norm() if step.norm in _NORMS:
            return program.add(
                _NORM, sources, step.fan_out, grid, norm=_NORMS.index(step.norm), eps=step.eps, **entries
            )
        case kinds.Learned() if len(step.grid) == (1 if tokens else 2):
            return program.add(_LEARNED, (), step.fan_out, step.grid, **entries)
        case kinds.Activate():
            return program.add(_ACTIVATE, sources, step.fan_out, grid, **entries)
        case kinds.MeanPool():
            return program.add(_MEAN_POOL, sources, step.fan_out, ())
        case kinds.Add():
            if any(program.grids[other] != grid for other in sources):
                raise _RefusedError("of values on unlike grids")
            for other in sources[1:]:
                source = program.add(_ADD, (source, other), step.fan_out, grid)
            return source
        case kinds.Slice():
            return program.add(_SLICE, sources, step.fan_out, grid, first=step.start)
        case kinds.Pad(before=0, grid=()) | kinds.Concat():
            if any(program.grids[other] != grid for other in sources):
                raise _RefusedError("of values on unlike grids")
            for other in sources[1:]:
                source = program.add(_CONCAT, (source, other), program.channels[source] + program.channels[other], grid)
            if len(sources) > 1:
                return source
            return program.add(_CONCAT, sources, step.fan_out, grid)
        case kinds.Patches() if source == 0 and all(
            size % part == 0 for size, part in zip(grid, step.size, strict=True)
        ):
            positions = grid[0] // step.size[0] * (grid[1] // step.size[1])
            return program.add(_PATCHES, sources, step.fan_out, (positions,), kernel=step.size)
        case kinds.Attention() if tokens and step.kv_heads in (0, step.heads):
            scale = step.scale or (step.fan_in // step.heads) ** -0.5
            return program.add(
                _ATTENTION, sources, step.fan_out, grid, heads=step.heads, causal=int(step.causal), scale=scale
            )
    raise _RefusedError
