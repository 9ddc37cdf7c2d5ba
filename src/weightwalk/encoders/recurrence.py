"""The recurrent cell's gates, without what autograd keeps and copies between them.

Axes: B networks, O nodes, D memory.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def recurrence(of_input: Tensor, of_hidden: Tensor, hidden: Tensor) -> Tensor:
    """h' = (1 - z) * n + z * h with r = sigma(x_r + h_r), z = sigma(x_z + h_z), n = tanh(x_n + r * h_n), as
    torch.nn.GRUCell, from [x_r, x_z, x_n] and [h_r, h_z, h_n], (B, O, 3 D) each, and h (B, O, D).
    """
    dtype = torch.promote_types(torch.promote_types(of_input.dtype, of_hidden.dtype), hidden.dtype)  # of autocast
    operands = [x.to(dtype) for x in (of_input, of_hidden, hidden)]
    if torch.compiler.is_compiling():  # a compiler sees to its own memory, and an exported program has no Function
        return _Recurrence.forward(*operands)
    memory: Tensor = _Recurrence.apply(*operands)  # type: ignore[no-untyped-call]
    return memory


def _gates(of_input: Tensor, of_hidden: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """r, z and n."""
    both = of_input.shape[-1] // 3 * 2
    reset, keep = (of_input[..., :both] + of_hidden[..., :both]).sigmoid_().chunk(2, dim=-1)
    return reset, keep, torch.addcmul(of_input[..., both:], reset, of_hidden[..., both:]).tanh_()


class _Recurrence(torch.autograd.Function):
    """The gates are computed again for the gradient, whose formula torch can derive in turn."""

    generate_vmap_rule = True

    @staticmethod
    def forward(of_input: Tensor, of_hidden: Tensor, hidden: Tensor) -> Tensor:
        _, keep, new = _gates(of_input, of_hidden)
        return torch.lerp(new, hidden, keep)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        of_input, of_hidden, hidden = ctx.saved_tensors
        reset, keep, new = _gates(of_input, of_hidden)
        of_new = gradient * (1 - keep) * (1 - new * new)
        of_keep = gradient * (hidden - new) * keep * (1 - keep)
        of_reset = of_new * of_hidden[..., -reset.shape[-1] :] * reset * (1 - reset)
        return (
            torch.cat([of_reset, of_keep, of_new], dim=-1),
            torch.cat([of_reset, of_keep, of_new * reset], dim=-1),
            gradient * keep,
        )
