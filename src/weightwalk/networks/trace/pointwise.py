"""Functions of single numbers, recognised by their values: x * sigmoid(x) is silu, however it is written.

Every operation on single numbers is computed at `POINTS` as well, as a function of each tensor that it comes from. What
comes out is compared with the activations and with a x + b, the farthest origin first, so that a formula of many
operations is one activation.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.fx import Node

from weightwalk.evaluate import activate
from weightwalk.steps import ACTIVATIONS, SCALED

_NEAR = 1e-4
POINTS = torch.cat([
    torch.tensor([0.0, 1.0, -1.0, _NEAR], dtype=torch.float64),
    torch.linspace(-11.3, 12.1, 301, dtype=torch.float64),
    torch.tensor([-60.0, -25.0, 25.0, 60.0], dtype=torch.float64),
])  # fmt: skip
_TOLERANCE = 1e-6
_MAX_ORIGINS = 24  # a formula of a handful of operations reaches no farther back

SAME = frozenset({
    *("alias", "clone", "contiguous", "detach", "lift_fresh", "lift_fresh_copy", "to", "_to_copy"),
    *("type_as", "float", "double"),
    *("dropout", "feature_dropout", "alpha_dropout", "feature_alpha_dropout", "native_dropout"),
    *("dropout_", "alpha_dropout_"),
})  # fmt: skip
POINTWISE = frozenset({
    *("add", "sub", "subtract", "mul", "multiply", "div", "divide", "true_divide", "neg"),
    *("negative", "rsub", "pow", "sqrt", "rsqrt"),
    *("exp", "expm1", "log", "log1p", "sigmoid", "tanh", "relu", "relu6", "erf", "gelu", "silu"),
    *("mish", "softplus", "elu", "selu"),
    *("celu", "leaky_relu", "hardswish", "hardsigmoid", "hardtanh", "clamp", "clamp_min"),
    *("clamp_max", "clip", "sin", "cos", "abs"),
    *("square", "reciprocal", "log_sigmoid", "threshold", "maximum", "minimum", "sign", "softsign"),
    *("atan", "sinh", "cosh", "prelu"),
})  # fmt: skip


@dataclass(frozen=True)
class Form:
    """What was recognised: "same", "affine" (factor x + offset), or factor a(omega x) of the activation `name`."""

    name: str
    factor: float = 1.0
    offset: float = 0.0
    omega: float = 1.0
    slope: float | None = None  # leaky_relu's


@dataclass
class Curves:
    """Per node, its values at `POINTS` of each tensor that it is a function of, the nearest first."""

    constants: dict[Node, Any]  # nodes that don't depend on the input
    learned: frozenset[Node]  # those that are made of parameters: no part of a formula
    found: dict[Node, dict[Node, Tensor]] = field(default_factory=dict)

    def add(self, node: Node) -> tuple[Node, Form] | None:
        """Note a node's curves; gives the farthest node of which it is a known function, and that function."""
        name = operation(node)
        tracked = [parent for parent in node.all_input_nodes if parent not in self.constants]
        if not tracked or name not in (POINTWISE | SAME):
            return None
        if name not in SAME:
            curves = self._curves(node, tracked)
        elif _is_same(node, tracked[0]):
            curves = {tracked[0]: POINTS, **self.found.get(tracked[0], {})}
        else:
            return None
        self.found[node] = dict(list(curves.items())[:_MAX_ORIGINS])
        for origin in reversed(self.found[node]):
            form = recognise(self.found[node][origin])
            if form is not None:
                return origin, form
        return None

    def _curves(self, node: Node, tracked: list[Node]) -> dict[Node, Tensor]:
        numbers: dict[Node, Tensor] = {}
        for parent in node.all_input_nodes:
            if parent in self.constants:
                constant = self.constants[parent]
                single = isinstance(constant, Tensor) and constant.numel() == 1 and not constant.is_complex()
                if parent in self.learned or not single:
                    return {}
                numbers[parent] = constant.detach().to("cpu", torch.float64).reshape(())
        chains = [{parent: POINTS, **self.found.get(parent, {})} for parent in tracked]
        curves = {}
        for origin in [origin for origin in chains[0] if all(origin in chain for chain in chains)]:
            here = {parent: chain[origin] for parent, chain in zip(tracked, chains, strict=True)} | numbers
            args, kwargs = torch.fx.map_arg((node.args, dict(node.kwargs)), here.__getitem__)
            target: Any = node.target
            try:
                curves[origin] = _pure(target)(*args, **kwargs)
            except (RuntimeError, TypeError, ValueError):
                return {}
        return curves


def _is_same(node: Node, parent: Node) -> bool:
    """Whether a dropout drops nothing, and a conversion rounds nothing."""
    if "dropout" in operation(node):
        return True not in node.args and not node.kwargs.get("train", False)
    return bool(node.meta["val"].dtype.is_floating_point == parent.meta["val"].dtype.is_floating_point)


def operation(node: Node) -> str:
    """The operation's name without overload and the underscore of writing in place: "relu" of aten.relu_.default."""
    name = str(node.target).removeprefix("aten.").split(".")[0] if node.op == "call_function" else node.op
    return name.removesuffix("_") if is_in_place(node) else name


def is_in_place(node: Node) -> bool:
    """Whether a node writes into the tensor that it reads."""
    schema = getattr(node.target, "_schema", None)
    return schema is not None and any(
        argument.alias_info is not None and argument.alias_info.is_write for argument in schema.arguments
    )


def _pure(target: Any) -> Any:
    """The operation, kept from writing into the points."""

    def computed(*args: Any, **kwargs: Any) -> Any:
        return target(*(arg.clone() if isinstance(arg, Tensor) else arg for arg in args), **kwargs)

    return computed


def recognise(curve: Tensor) -> Form | None:
    """The known function that has these values at `POINTS`."""
    if curve.shape != POINTS.shape or not bool(torch.isfinite(curve).all()):
        return None
    offset, factor = float(curve[0]), float(curve[1] - curve[0])
    if _close(curve, factor * POINTS + offset):
        return Form("same") if (factor, offset) == (1.0, 0.0) else Form("affine", factor, offset) if factor else None
    for name, known in _KNOWN.items():
        if _close(curve, known):
            return Form(name)
    slope = -float(curve[2])
    if _close(curve, torch.where(POINTS > 0, POINTS, slope * POINTS)):
        return Form("leaky_relu", slope=slope)
    near = float(curve[3])
    for name, omega in (("sine", _arcsine(near)), ("gaussian", _width(near))):
        if omega > 0 and _close(curve, activate(name, omega, POINTS)):
            return Form(name, omega=omega)
    return _stretched(curve)


def _stretched(curve: Tensor) -> Form | None:
    """a(omega x) / omega: softplus(beta=...), celu(alpha=...), clamp(-c, c), clamp(0, c), x sigmoid(1.702 x)."""
    middle, one, low, high = (float(curve[place]) for place in (0, 1, -4, -1))
    found = {
        "softplus": math.log(2) / middle if middle > 0 else 0.0,
        "silu": math.log(one / (1 - one)) if 0.5 < one < 1 else 0.0,
        "elu": -1 / low if low < 0 else 0.0,
        "hardtanh": 1 / high if high > 0 else 0.0,
        "relu6": 6 / high if high > 0 else 0.0,
    }
    for name, measured in found.items():
        omega = _round(measured)
        if omega > 0 and _close(curve, activate(name, omega, POINTS) / omega):
            return Form(name, 1 / omega, omega=omega)
    return None


def _arcsine(near: float) -> float:
    return _round(math.asin(near) / _NEAR) if 0 < near < 1 else 0.0


def _width(near: float) -> float:
    return _round(math.sqrt(-2 * math.log(near)) / _NEAR) if 0 < near < 1 else 0.0


def _round(omega: float) -> float:
    """A measured omega with the six digits that it was written with, if it is that close to them."""
    written = float(f"{omega:.6g}")
    return written if abs(written - omega) < 1e-7 * omega else omega


def _close(one: Tensor, two: Tensor) -> bool:
    return bool(((one - two).abs() <= _TOLERANCE * two.abs().clamp_min(1.0)).all())


_KNOWN = {name: activate(name, 1.0, POINTS) for name in ACTIVATIONS if name not in ("identity", *SCALED)}
