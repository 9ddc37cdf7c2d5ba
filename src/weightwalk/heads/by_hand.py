"""When a Function whose derivative is written out for CPUs may stand for the operations of torch that define it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.autograd import forward_ad
from torch.nn import Parameter


def possible(*operands: Tensor) -> bool:
    """Whether a Function that is written out for CPUs may take these, or only operations that torch knows all about.

    Not while something else than autograd looks on: torch.compile and export, transforms of torch.func, forward mode,
    modes that watch what torch does (such as its counter of FLOPs).
    """
    watched = (
        torch.compiler.is_compiling()
        or torch._C._are_functorch_transforms_active()
        or torch._C._len_torch_dispatch_stack() > 0
    )
    return (
        not watched
        and not torch.is_autocast_enabled("cpu")
        and all(
            type(x) in (Tensor, Parameter)
            and x.is_cpu
            and x.dtype == operands[0].dtype in (torch.float32, torch.float64)
            and forward_ad.unpack_dual(x).tangent is None
            for x in operands
        )
    )


def gradients(
    function: Callable[..., Tensor], operands: Sequence[Tensor], gradient: Tensor
) -> tuple[Tensor | None, ...]:
    """The gradients of a function's operands by autograd, which can differentiate them again."""
    wanted = [x for x in operands if x.requires_grad]
    found = iter(torch.autograd.grad(function(*operands), wanted, gradient, create_graph=True))
    return tuple(next(found) if x.requires_grad else None for x in operands)
