"""Whether something else than autograd looks on while torch computes."""

from __future__ import annotations

import torch


def watched() -> bool:
    """Whether a compiler, an exporter, a tracer, a transform of torch.func or a mode that sees every operation (such as
    the counter of FLOPs) is at work here.

    These have to see operations of torch that they know, in this thread. What is written out by hand, and what is cut
    over threads, is hidden from them.
    """
    return bool(
        torch.compiler.is_compiling()
        or torch._C._get_tracing_state() is not None
        or torch._C._are_functorch_transforms_active()
        or torch._C._len_torch_dispatch_stack()
    )
