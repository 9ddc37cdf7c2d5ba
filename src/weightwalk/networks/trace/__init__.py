"""Any nn.Module in: `trace` reads a module into a `NetworkSpec` and `Weights`.

The module is captured as a graph of ATen operations (`capture`), whose nodes are read one after another (`reader`; by
kind of operation `viewing`, `meeting`, `layers`, `attention`, `pooling`) into a `program` of steps, which is then put
in order (`tidy`). What a tensor of user code holds is followed exactly (`layout`), so that reshapes, heads and fused
projections need no steps. Formulas are recognised by their values (`pointwise`) or by how they are built (`formulas`).
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from weightwalk.errors import InputError
from weightwalk.networks.trace import attention, layers, meeting, pooling, viewing  # noqa: F401  (they register what they read)
from weightwalk.networks.trace.capture import Captured, capture, evaluating, export, shortened
from weightwalk.networks.trace.layout import BATCH, CHANNELS, Unreadable, View, size
from weightwalk.networks.trace.program import Program
from weightwalk.networks.trace.reader import Reader
from weightwalk.networks.trace.tidy import finish
from weightwalk.spec import NetworkSpec
from weightwalk.state_dicts import DTYPES
from weightwalk.steps import Embed, Move
from weightwalk.weights import Weights

_TOLERANCE = 1e-4
_HALF = (torch.float16, torch.bfloat16)


def trace(module: nn.Module, example_input: Tensor, *, check: bool = True) -> tuple[NetworkSpec, Weights]:
    """The architecture of a module, and its parameters as a batch of one network, as it computes in evaluation mode.

    `example_input` (N, ...) is an input of the size that the network is made for: its first axis is that of examples,
    and whole numbers are tokens. `Weights.run` takes inputs of the same layout and gives the module's outputs; with
    `check` both are computed, on the example and on random inputs like it, and compared (relative error 1e-4). The
    module stays as it is, and what is returned are copies. Running statistics are folded into the scale and shift of
    batch norms; whatever depends on parameters alone is computed (a weight norm, positions that are looked up), and
    constants that meet values become learned ones, marked as fixed where they are no parameters; a module that is
    called twice has its parameters twice; modules of 16 bits become float32. An axis of channels that the module drops
    at the end, because it has one channel, stays.

    InputError: the module, or the operation that can't be read, by its path and with the reason.

    >>> module = nn.Sequential(nn.Linear(2, 8), nn.ReLU(), nn.Linear(8, 1))
    >>> trace(module, torch.zeros(4, 2))[0] == NetworkSpec.mlp([2, 8, 1], "relu")
    True
    """
    return Tracing(module, example_input).read(check=check)


class Tracing:
    """A module captured once, which `read` reads with the parameters that it has then: see `trace`.

    `module` is the one whose parameters are read: a copy in float32 where the module given has 16 bits.
    """

    def __init__(self, module: nn.Module, example_input: Tensor):
        _check_module(module)
        _check_example(example_input)
        if any(parameter.dtype in _HALF for parameter in module.parameters()):
            module = copy.deepcopy(module).float()
            example_input = example_input.float() if example_input.is_floating_point() else example_input
        self.module, self.example = module, example_input
        with evaluating(module):
            _output(module, example_input)  # which tells what is wrong with the example
            self.exported = export(module, example_input)

    def read(self, *, check: bool = True) -> tuple[NetworkSpec, Weights]:
        """The spec and the weights, as `trace` gives them."""
        module, example = self.module, self.example
        _check_module(module)
        with evaluating(module):
            real = (p.dtype for p in module.parameters() if p.is_floating_point())
            spec, weights = _read(capture(*self.exported), max(real, key=lambda dtype: dtype.itemsize))
            for x in (example, _another_example(spec, example)) if check else ():
                _compare(weights, x, _output(module, x))
        return spec, weights


def _check_example(example_input: Tensor) -> None:
    if not isinstance(example_input, Tensor) or example_input.dim() < 1 or not example_input.numel():
        got = f"{tuple(example_input.shape)}" if isinstance(example_input, Tensor) else type(example_input).__name__
        raise InputError(f"expected an example input, a tensor (N, ...) with examples along its first axis, got {got}")
    if example_input.layout != torch.strided:
        raise InputError("expected a dense example input, got a sparse one; make it dense with `.to_dense()`")


def _check_module(module: nn.Module) -> None:
    if not isinstance(module, nn.Module):
        raise InputError(f"expected a torch.nn.Module, got {type(module).__name__}")
    for path, child in module.named_modules():
        if "quantized" in type(child).__module__:
            kind = type(child).__name__
            raise InputError(f"module {path!r} ({kind}) is quantised; trace the module of floating-point numbers")
        if isinstance(child, nn.modules.lazy.LazyModuleMixin) and child.has_uninitialized_params():  # type: ignore[misc]
            raise InputError(f"module {path!r} ({type(child).__name__}) has no weights yet; run it once on an example")
    parameters, buffers = dict(module.named_parameters()), dict(module.named_buffers())
    if not parameters:
        raise InputError(f"{type(module).__name__} has no parameters, so there are no weights to read")
    for name, tensor in (parameters | buffers).items():
        if tensor.is_meta:
            raise InputError(f"{name} has no values (it is on the meta device); load the weights first")
        if tensor.layout != torch.strided:
            raise InputError(f"{name} is sparse; make it dense with `.to_dense()`")
    statistics = {name: b for name, b in buffers.items() if name.endswith(("running_mean", "running_var"))}
    for name, tensor in (parameters | statistics).items():
        if tensor.is_complex():
            raise InputError(f"{name} is complex ({tensor.dtype}); only networks of real numbers are read")
        if tensor.dtype not in DTYPES:
            raise InputError(f"{name} is {tensor.dtype}; quantised and whole-number weights are not read")
        if not bool(torch.isfinite(tensor).all()):
            kind = "NaN" if bool(torch.isnan(tensor).any()) else "infinite numbers"
            raise InputError(f"{name} holds {kind}; the network diverged, or its file is damaged")


def _output(module: nn.Module, example: Tensor) -> Tensor:
    try:
        result = module(example)
    except Exception as error:  # whatever other people's code raises
        raise InputError(
            f"{type(module).__name__} does not take an example of shape {tuple(example.shape)}, {example.dtype}: "
            f"{type(error).__name__}: {shortened(str(error))}"
        ) from error
    while not isinstance(result, Tensor):
        result = list(result.values()) if isinstance(result, dict) else result
        parts = result if isinstance(result, (tuple, list)) else ()
        tensors = [part for part in parts if part is not None]
        if len(tensors) != 1:
            what = f"{len(tensors)} things" if parts else f"a {type(result).__name__}"
            raise InputError(
                f"{type(module).__name__} returns {what}; wrap it in a module whose forward returns one tensor"
            )
        result = tensors[0]
    return result


def _read(captured: Captured, dtype: torch.dtype) -> tuple[NetworkSpec, Weights]:
    """The spec and the weights; a step moves the input's channels to the front if not all can read them at the back."""
    for moves in (True, False):
        reader = Reader(captured, moves=moves)
        result = reader.read()
        try:
            return finish(reader.program, _laid_out(reader.program, result), dtype)
        except InputError:
            if not moves:
                raise
    raise AssertionError


def _laid_out(program: Program, view: View) -> int:
    """The value that lies as the module's output does."""
    try:
        if not view.axes or len(view.axes[0]) != 1 or view.axes[0][0].dim != BATCH:
            raise Unreadable("its first axis is not that of the examples")
        last = view.axes[-1]
        channels = all(f.dim == CHANNELS for f in last) and size(last) == program.shapes[view.source][0]
        if len(view.axes) == 1:
            return int(view.source)
        if channels and size(last) > 1 and len(view.axes) > 2:
            view = program.arrange(view, [last, *view.axes[1:-1]])
            shape = program.shapes[view.source]
            return program.emit(Move(shape[0], num_axes=len(shape) - 1, sources=(view.source,)), (*shape[1:], shape[0]))
        return int(program.channels_first(view).source)
    except Unreadable as error:
        raise InputError(f"can't read the module's output: {error}") from None


def _another_example(spec: NetworkSpec, example: Tensor) -> Tensor:
    """Random inputs like an example, which may be all zeros: always the same ones for the same network."""
    generator = torch.Generator().manual_seed(0)
    embedding = next((step for step in spec.steps if isinstance(step, Embed)), None)
    if embedding is not None:
        return torch.randint(0, embedding.fan_in, example.shape, generator=generator).to(example.device, example.dtype)
    return torch.randn(example.shape, generator=generator, dtype=torch.float64).to(example.device, example.dtype)


def _compare(weights: Weights, example: Tensor, wanted: Tensor) -> None:
    found = weights.run(example.to(weights.dtype) if example.is_floating_point() else example)[0]
    if found.squeeze().shape != wanted.squeeze().shape:
        raise InputError(
            f"read, but does not compute the same: the steps give {tuple(found.shape)}, the module "
            f"{tuple(wanted.shape)}; this is a fault of the tracer, please report the module"
        )
    wanted = wanted.to(found.dtype).reshape(found.shape)
    error = float((found - wanted).abs().max() / wanted.abs().max().clamp_min(1e-6))
    if not error <= _TOLERANCE:
        raise InputError(
            f"read, but does not compute the same: the steps' outputs differ from the module's by {error:.1e} of the "
            "largest; the module may compute differently from call to call, or this is a fault of the tracer"
        )
