"""A module as a graph of ATen operations, by torch.export; what doesn't depend on the input is already computed."""

from __future__ import annotations

import io
import logging
import re
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stderr
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.fx import Node

from weightwalk.errors import InputError
from weightwalk.networks.trace.layout import Unreadable
from weightwalk.networks.trace.pointwise import is_in_place, operation

_SHAPE_ALONE = frozenset({
    *("zeros_like", "ones_like", "full_like", "empty_like", "new_zeros", "new_ones", "new_full"),
    *("new_empty", "new_tensor"),
    *("type_as", "expand_as", "view_as", "reshape_as"),
})  # fmt: skip

_PARTS = frozenset({
    *("select", "slice", "view", "reshape", "transpose", "permute", "narrow", "unsqueeze"),
    *("squeeze", "flatten", "expand", "t", "diagonal"),
    *("split", "chunk", "unbind", "getitem", "<built-in function getitem>", "split_with_sizes"),
    *("unflatten", "as_strided"),
})  # fmt: skip


@dataclass(frozen=True)
class Captured:
    """`nodes` in order, between the module's `input` and `output`; there are `num_examples` examples.

    `constants` are the values of nodes that don't depend on the input, `learned` those that depend on parameters.
    """

    nodes: tuple[Node, ...]
    constants: dict[Node, Any]
    learned: frozenset[Node]
    input: Node
    output: Node
    num_examples: int


def where(node: Node) -> str:
    """The path of the module that a node belongs to, and its class."""
    stack = list((node.meta.get("nn_module_stack") or {}).values())
    path, kind = stack[-1] if stack else ("", "")
    name = str(getattr(kind, "__name__", kind)).rsplit(".", 1)[-1]
    return f"module {path!r} ({name})" if path else f"the module itself ({name})" if name else "the module itself"


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """The module in evaluation mode, without gradients, and without fused kernels of attention, which can't be read."""
    training = {child: child.training for child in module.modules()}
    stacks = [child for child in module.modules() if isinstance(child, (nn.TransformerEncoder, nn.TransformerDecoder))]
    hooks = [stack.register_forward_pre_hook(_with_plain_mask, with_kwargs=True) for stack in stacks]
    fused = torch.backends.mha.get_fastpath_enabled()
    module.eval()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with torch.no_grad():
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fused)
        for hook in hooks:
            hook.remove()
        for child, was in training.items():
            child.training = was


def _with_plain_mask(
    stack: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Keeps torch from asking whether a mask's values are causal, which no graph can hold; the mask is applied."""
    name, place = ("is_causal", 3) if isinstance(stack, nn.TransformerEncoder) else ("tgt_is_causal", 6)
    if len(args) <= place and kwargs.get(name) is None:
        kwargs = kwargs | {name: False}
    return args, kwargs


def export(module: nn.Module, example: Tensor) -> tuple[Any, int]:
    """The graph of a module in evaluation mode, on the module's own tensors, and its number of examples.

    Examples are repeated to a number that no other axis has, so that it can't be mistaken.
    """
    sizes = {*example.shape[1:], *(size for parameter in module.parameters() for size in parameter.shape)}
    counts = [count for count in (3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37) if all(size % count for size in sizes)]
    batch = [(counts or [41])[0], len(example)]
    for attempt, count in enumerate(batch):
        rows = example[torch.arange(count, device=example.device) % len(example)]
        try:
            with _quiet():
                return torch.export.export(module, (rows,), strict=False), count
        except Exception as error:  # whatever torch.export meets in other people's code
            if attempt == 0 and count != len(example):
                continue
            raise InputError(_export_error(error)) from error
    raise AssertionError


@contextmanager
def _quiet() -> Iterator[None]:
    """Silences torch.export's advice to authors of modules and its logs of attempts that fail; errors are raised."""
    names = ("torch._subclasses.fake_tensor", "torch.fx.experimental.symbolic_shapes")
    loggers = [logging.getLogger(name) for name in names]
    was = [logger.disabled for logger in loggers]
    for logger in loggers:
        logger.disabled = True
    try:
        with warnings.catch_warnings(), redirect_stderr(io.StringIO()):  # torch prints the graph that it has so far
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, disabled in zip(loggers, was, strict=True):
            logger.disabled = disabled


def _export_error(error: Exception) -> str:
    text, kind = str(error), type(error).__name__
    in_kind = "DataDependent" in kind or "Dynamic" in kind
    if in_kind or "data-dependent" in text.lower() or "aten._local_scalar_dense" in text:
        line = re.search(r'File "([^"]+)", line (\d+)', text)  # the user's; torch's own are written otherwise
        return (
            "the module's control flow depends on its data (an `if`, a loop or a size that is computed from the values "
            f"of a tensor), which no fixed sequence of steps is{f' ({line[1]}:{line[2]})' if line else ''}"
        )
    return f"torch.export can't read the module: {kind}: {shortened(text)}"


def shortened(text: str) -> str:
    """The first line of a message, at most 200 characters."""
    first = next((line.strip() for line in text.splitlines() if line.strip()), "no message")
    return first if len(first) <= 200 else first[:200] + " ..."


def capture(program: Any, count: int) -> Captured:
    """What `export` gave, with everything computed that depends on the parameters that it has now."""
    signature = program.graph_signature
    named = {**signature.inputs_to_parameters, **signature.inputs_to_buffers}
    tensors = {**program.state_dict, **program.constants}
    kept = frozenset(tensor.untyped_storage().data_ptr() for tensor in tensors.values() if isinstance(tensor, Tensor))
    nodes = tuple(program.graph.nodes)
    _follow_writes(nodes)
    constants: dict[Node, Any] = {}
    learned: set[Node] = set()
    inputs = []
    for node in nodes:
        if node.op == "placeholder":
            name = named.get(node.name) or signature.inputs_to_lifted_tensor_constants.get(node.name)
            if name is None:
                inputs.append(node)
            else:
                constants[node] = tensors[name]
                learned |= {node} if node.name in signature.inputs_to_parameters else set()
        elif node.op == "call_function" and _is_constant(node, constants):
            constants[node] = _computed(node, constants, kept)
            learned |= {node} if learned.intersection(node.all_input_nodes) else set()
    found = [node for node in nodes[-1].all_input_nodes if node.name in set(map(str, signature.user_outputs))]
    if len(inputs) != 1:
        raise InputError(f"the module reads {len(inputs)} inputs; wrap it in a module whose forward takes one tensor")
    if len(found) != 1:
        raise InputError(f"the module returns {len(found)} tensors; wrap it in a module whose forward returns one")
    return Captured(nodes, constants, frozenset(learned), inputs[0], found[0], count)


def _follow_writes(nodes: Sequence[Node]) -> None:
    """Make later readers of a tensor that an operation wrote into (relu_, +=) read what that operation returned.

    InputError: the operation wrote into a part of a tensor (x[:, 0] = ...) that is read later.
    """
    now: dict[Node, Node] = {}
    place = {node: number for number, node in enumerate(nodes)}
    for node in nodes:
        if node.op == "call_function" and is_in_place(node) and isinstance(node.args[0], Node):
            base, parts = node.args[0], 0
            while operation(base) in _PARTS and isinstance(base.args[0], Node):
                base, parts = base.args[0], parts + 1
            if parts and any(place[user] > place[node] for user in base.users):
                raise InputError(
                    f"{where(node)}: can't read {operation(node)}: it writes into a part of a tensor that is read later"
                )
        node.args = torch.fx.map_arg(node.args, lambda parent: now.get(parent, parent))
        node.kwargs = torch.fx.map_arg(node.kwargs, lambda parent: now.get(parent, parent))
        if node.op == "call_function" and is_in_place(node) and isinstance(node.args[0], Node):
            written = node.args[0]
            now.update({old: node for old, new in now.items() if new is written})
            now[written] = node


def _is_constant(node: Node, constants: dict[Node, Any]) -> bool:
    tracked = [parent for parent in node.all_input_nodes if parent not in constants]
    if operation(node) in _SHAPE_ALONE:
        first = node.args[0]
        return not tracked or "like" in str(node.target) or "new_" in str(node.target) or first in constants
    return not tracked


def _computed(node: Node, constants: dict[Node, Any], kept: frozenset[int]) -> Any:
    """The value of a node that depends on nothing of the input but its shape."""
    target: Any = node.target
    tags = getattr(target, "tags", ())
    if torch.Tag.nondeterministic_seeded in tags and "dropout" not in operation(node):
        return Unreadable("it draws random numbers")

    def value(parent: Node) -> Any:
        if parent in constants:
            return constants[parent]
        like = parent.meta["val"]
        return torch.zeros(like.shape, dtype=like.dtype, device=like.device)

    for parent in node.all_input_nodes:
        if isinstance(constants.get(parent), Unreadable):
            return constants[parent]
    args: Any
    args, kwargs = torch.fx.map_arg((node.args, dict(node.kwargs)), value)
    if is_in_place(node) and args[0].untyped_storage().data_ptr() in kept:  # the module's own tensors stay as they are
        args = (args[0].clone(), *args[1:])
    try:
        return target(*args, **kwargs)
    except Exception as error:  # reported where, and if, the value is used
        return error if isinstance(error, Unreadable) else Unreadable(f"computing it fails: {shortened(str(error))}")
