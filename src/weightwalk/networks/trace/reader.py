"""Reads a captured graph node by node and writes the steps of a program.

A handler reads one operation: `@reads("linear")` registers it under the operation's ATen name, and it gets the reader,
the node and the operation's arguments by their names. An argument is a `View` where it depends on the input, and a
plain tensor or number where not.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor
from torch.fx import Node, map_arg

from weightwalk.errors import InputError
from weightwalk.networks.trace.capture import Captured, shortened, where
from weightwalk.networks.trace.formulas import match_norm, normalise
from weightwalk.networks.trace.layout import Unreadable, View
from weightwalk.networks.trace.pointwise import Curves, Form, operation
from weightwalk.networks.trace.program import Program
from weightwalk.networks.trace.scores import Scores

Handler = Callable[["Reader", Node, dict[str, Any]], Any]
HANDLERS: dict[str, Handler] = {}
"""What reads an operation, by its ATen name."""


def reads(*names: str) -> Callable[[Handler], Handler]:
    """Registers a handler under the names of the operations that it reads."""

    def register(handler: Handler) -> Handler:
        HANDLERS.update(dict.fromkeys(names, handler))
        return handler

    return register


class Reader:
    """One pass over a graph. `program` has the steps that were found."""

    def __init__(self, captured: Captured, *, moves: bool):
        self.captured = captured
        example = captured.input.meta["val"]
        tokens = not example.dtype.is_floating_point
        shape = (1, *example.shape[1:]) if tokens else tuple(example.shape[1:]) or (1,)
        self.tokens = tokens
        self.program = Program(captured.num_examples, [shape], moves)
        entrance = self.program.view(0)
        if tokens or example.dim() == 1:  # without an axis of channels
            entrance = View(0, (entrance.axes[0], *entrance.axes[2:]))
        self.results: dict[Node, Any] = {**captured.constants, captured.input: entrance}
        self.forms: dict[Node, tuple[Node, Any]] = {}

    def read(self) -> View:
        """The view that the module returns. InputError: an operation can't be read; it says which, where and why."""
        constants, curves = self.captured.constants, Curves(self.captured.constants, self.captured.learned)
        for node in self.captured.nodes:
            if node.op == "call_function" and node not in constants:
                form: Any = curves.add(node) or match_norm(node, constants)
                if form is not None and form[0].meta["val"].shape == node.meta["val"].shape:
                    self.forms[node] = form
        needed = self._needed()
        for node in self.captured.nodes:
            if node in needed and node not in self.results:
                self.results[node] = self._read(node)
        result = self.results.get(self.captured.output)
        if not isinstance(result, View) or not isinstance(result.source, int):
            raise InputError(
                "the module's output does not depend on its input, or is no tensor of numbers that a step writes"
            )
        return result

    def _needed(self) -> set[Node]:
        """Nodes that the output depends on, past those that a recognised formula makes idle."""
        needed, waiting = set(), [self.captured.output]
        while waiting:
            node = waiting.pop()
            if node in needed or node in self.captured.constants:
                continue
            needed.add(node)
            waiting += [self.forms[node][0]] if node in self.forms else node.all_input_nodes
        return needed

    def _read(self, node: Node) -> Any:
        name = operation(node)
        for parent in node.all_input_nodes:
            if isinstance(self.captured.constants.get(parent), Unreadable):
                raise refusal(parent, str(self.captured.constants[parent]))
        try:
            if node in self.forms:
                origin, form = self.forms[node]
                view = self.value(origin)
                recognised = isinstance(form, Form)
                return self._formed(view, form) if recognised else normalise(self.program, view_of(view), form)
            if name not in HANDLERS:
                raise Unreadable("no step computes it")
            return HANDLERS[name](self, node, self._arguments(node))
        except Unreadable as error:
            raise refusal(node, str(error)) from None
        except (InputError, RuntimeError, ValueError, TypeError, LookupError, AttributeError) as error:
            reason = f"it is used in a way that the tracer does not know ({shortened(str(error))})"
            raise refusal(node, reason) from error

    def _formed(self, view: View, form: Form) -> View:
        if form.name == "same":
            return view
        if isinstance(view.source, Scores):
            if form.name != "affine":
                raise Unreadable(f"it puts the scores of an attention through {form.name}")
            return View(view.source.scaled(form.factor, form.offset), view.axes)
        self.check_numbers(view)
        if form.name == "affine":
            return self.program.affine(view, form.factor, form.offset)
        view = self.program.activate(view, form.name, form.omega, form.slope)
        return self.program.affine(view, form.factor, 0.0)

    def check_numbers(self, view: View) -> None:
        """Unreadable: the view is of tokens, which are names, not numbers."""
        if self.tokens and view.source == 0:
            raise Unreadable("it computes with tokens, which only an embedding reads")

    def value(self, node: Any) -> Any:
        """What a node of the graph, or a list of them, stands for here."""
        return map_arg(
            node, lambda own: (self.captured.constants if own in self.captured.constants else self.results)[own]
        )

    def _arguments(self, node: Node) -> dict[str, Any]:
        schema = getattr(node.target, "_schema", None)
        if schema is None:  # operator.getitem
            return {str(place): self.value(arg) for place, arg in enumerate(node.args)}
        found = {argument.name: argument.default_value for argument in schema.arguments}
        given = dict(zip(found, node.args, strict=False)) | dict(node.kwargs)
        return found | {name: self.value(arg) for name, arg in given.items()}

    def is_learned(self, argument: Any) -> bool:
        """Whether an argument of a node is made of parameters."""
        return argument in self.captured.learned


def refusal(node: Node, reason: str) -> InputError:
    """What can't be read, where, and why."""
    return InputError(f"{where(node)}: can't read {operation(node)}: {reason}")


def shape_of(node: Node) -> tuple[int, ...]:
    """The shape of what a node computes, with the examples first where they are."""
    return tuple(node.meta["val"].shape)


def per_axis(value: Any, count: int) -> tuple[int, ...]:
    """A size for each of `count` axes: one number is for all of them."""
    sizes = (value,) if isinstance(value, int) else tuple(value)
    return sizes * count if len(sizes) == 1 else sizes


def view_of(value: Any) -> View:
    """A view of a value. Unreadable: the argument doesn't depend on the input, or is scores of an attention."""
    if isinstance(value, View) and isinstance(value.source, int):
        return value
    unwritten = "it is not a value that a step wrote"
    raise Unreadable(unwritten if isinstance(value, View) else "it does not depend on the input")


def constant(value: Any, what: str) -> Tensor:
    """A constant tensor. Unreadable: it depends on the input."""
    if isinstance(value, Tensor):
        return value
    raise Unreadable(f"{what} depends on the input")
