"""Laws of reading networks, each an assertion.

A `function` is anything from `Weights` to a tensor or an `Encoding`. If it is a module or a method of one, a copy in
evaluation mode is tested, in float32 and in float64; another one is given networks of both and follows their dtype.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from weightwalk.encoders import Encoding
from weightwalk.symmetry import permuted, permuted_nodes, random_permutations
from weightwalk.training import checkpoint
from weightwalk.weights import Weights

T = TypeVar("T")
Function = Callable[[Weights], Tensor | Encoding]

TOLERANCE = {torch.float32: (1e-5, 1e-4), torch.float64: (1e-11, 1e-10)}
"""(atol, rtol) per dtype: room for another order of summation, and for nothing else."""


def assert_close(
    actual: Tensor, expected: Tensor, *, what: str, atol: float | None = None, rtol: float | None = None
) -> None:
    """|actual - expected| <= atol + rtol |expected| everywhere, or an AssertionError with the largest difference.

    Both have the same shape and dtype; the tolerances default to the dtype's.
    """
    got, wanted = (f"{tuple(t.shape)} {t.dtype}" for t in (actual, expected))
    assert got == wanted, f"{what}: expected {wanted}, got {got}"
    default_atol, default_rtol = TOLERANCE.get(expected.dtype, (0.0, 0.0))
    atol, rtol = default_atol if atol is None else atol, default_rtol if rtol is None else rtol
    difference = (actual - expected).abs()
    far = ~((difference <= atol + rtol * expected.abs()) | (actual == expected))  # NaN is far from everything
    if far.any():
        worst = int(torch.where(far, difference.nan_to_num(nan=torch.inf), -1.0).argmax())
        place = tuple(int(i) for i in torch.unravel_index(torch.tensor(worst), expected.shape))
        raise AssertionError(
            f"{what}: {int(far.sum())} of {far.numel()} numbers differ in {expected.dtype}; the largest difference is "
            f"{float(difference.flatten()[worst]):.3g} at {place}: expected {float(expected[place]):.6g}, got "
            f"{float(actual[place]):.6g}"
        )


def assert_invariant(function: Function, weights: Weights, *, seed: int = 0) -> None:
    """f(permute(w)) = f(w): the order of hidden neurons does not change a tensor, or the `pooled` of an encoding.

    Every network gets permutations of its own.
    """
    for dtype in TOLERANCE:
        read, networks = _cast(function, dtype), weights.to(dtype)
        permuted = networks.permute(_permutations(networks, seed))
        before, after = (_pooled(read, batch) for batch in (networks, permuted))
        assert_close(after, before, what="not invariant to the order of hidden neurons")


def assert_equivariant(function: Callable[[Weights], Encoding], weights: Weights) -> None:
    """nodes(permute(w)) = permute(nodes(w)), edges(permute(w)) = permute(edges(w)); input and output neurons stay.

    Features of nodes (B, n_l, d) and of edges (B, O, I[, K], d) move with their neurons.
    """
    for dtype in TOLERANCE:
        read, networks = _cast(function, dtype), weights.to(dtype)
        permutations = _permutations(networks, seed=0)
        with torch.no_grad():
            before, after = read(networks), read(networks.permute(permutations))
        spec, no_biases = networks.spec, [None] * len(before.edges)
        nodes = permuted_nodes(spec, before.nodes, permutations) if before.nodes else ()
        edges = permuted(spec, before.edges, no_biases, permutations)[0] if before.edges else ()
        for what, moved, found in (("node group", nodes, after.nodes), ("edges of layer", edges, after.edges)):
            for number, (old, new) in enumerate(zip(moved, found, strict=True)):
                assert_close(new, old, what=f"{what} {number} is not equivariant to the order of hidden neurons")


def assert_batch_alone(function: Function, weights: Weights) -> None:
    """f(w)[b] = f(w[b]): what is beside a network in a batch does not change how it is read."""
    for dtype in TOLERANCE:
        read, networks = _cast(function, dtype), weights.to(dtype)
        together = _tensors(read, networks)
        for index in range(len(networks)):
            for name, tensor in _tensors(read, networks[index]).items():
                what = f"{name} of network {index} alone is not what it is in a batch of {len(networks)}"
                assert_close(tensor[0], together[name][index], what=what)


def assert_save_load(make: Callable[[], nn.Module], weights: Weights) -> None:
    """A module and another one that its checkpoint was restored into answer with the same bits.

    `make` gives a freshly initialised module at every call, so that only what is saved can make two agree.
    """
    saved, restored = make().eval(), make().eval()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "module.safetensors"
        checkpoint.save(path, {}, saved)
        checkpoint.load(path).restore(restored)
    before, after = (_tensors(module, weights) for module in (saved, restored))
    for name, tensor in before.items():
        assert_close(after[name], tensor, what=f"{name} after save and load", atol=0.0, rtol=0.0)


def _cast(function: Callable[[Weights], T], dtype: torch.dtype) -> Callable[[Weights], T]:
    """A module, or a method of one, as that of a copy in `dtype` and evaluation mode; another function as it is."""
    owner = getattr(function, "__self__", function)
    if not isinstance(owner, nn.Module):
        return function
    copy: Any = deepcopy(owner).to(dtype).eval()
    method: Callable[[Weights], T] = copy if owner is function else getattr(copy, function.__name__)
    return method


def _permutations(weights: Weights, seed: int) -> list[Tensor]:
    return random_permutations(weights.spec, len(weights), generator=torch.Generator().manual_seed(seed))


@torch.no_grad()
def _tensors(function: Function, weights: Weights) -> dict[str, Tensor]:
    """What a function answers, by name."""
    answer = function(weights)
    if isinstance(answer, Tensor):
        return {"the answer": answer}
    parts = {"nodes": answer.nodes, "edges": answer.edges}
    named = {f"{name}[{place}]": x for name, tensors in parts.items() for place, x in enumerate(tensors)}
    return {"pooled": answer.pooled, **named}


def _pooled(function: Function, weights: Weights) -> Tensor:
    return next(iter(_tensors(function, weights).values()))
