"""When a Function whose derivative is written out for CPUs may stand for the operations of torch that define it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.autograd import forward_ad
from torch.nn import Parameter

from weightwalk.watched import watched

DTYPES = ({torch.float32}, {torch.float64}, {torch.bfloat16})


def possible(*operands: Tensor) -> bool:
    """Whether these are ordinary tensors of a CPU, all of one of `DTYPES`, and nothing but autograd looks on.

    Where something else does (`watched`, or forward mode), it gets operations that torch knows all about.
    """
    if watched():
        return False
    return {dtype_of(x) for x in operands} in DTYPES and all(
        type(x) in (Tensor, Parameter) and x.is_cpu and forward_ad.unpack_dual(x).tangent is None for x in operands
    )


def dtype_of(x: Tensor) -> torch.dtype:
    """In which torch's matrix products would take it: autocast's, where that is on."""
    cast = torch.is_autocast_enabled(x.device.type) and x.dtype != torch.float64
    return torch.get_autocast_dtype(x.device.type) if cast else x.dtype


def gradients(
    function: Callable[..., Tensor], operands: Sequence[Tensor], gradient: Tensor
) -> tuple[Tensor | None, ...]:
    """The gradients of a function's operands by autograd, which can differentiate them again."""
    wanted = [x for x in operands if x.requires_grad]
    found = iter(torch.autograd.grad(function(*operands), wanted, gradient, create_graph=True))
    return tuple(next(found) if x.requires_grad else None for x in operands)
