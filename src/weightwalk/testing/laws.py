"""Laws of reading networks, each an assertion.

A `function` is anything from `Weights` to a tensor or an `Encoding`. If it is a module or a method of one, a copy in
evaluation mode is tested, in float32 and in float64; another one is given networks of both and follows their dtype.
"""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import deepcopy
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap
from torch.utils._pytree import tree_map

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
    actual, expected = actual.detach(), expected.detach()
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


def assert_vmap(module: nn.Module, weights: Weights) -> None:
    """Under torch.func.vmap networks one by one are their batch, and stacked models on stacked batches are each alone;
    vmap(grad) of a loss of one network, in its weights and in the module's parameters, is that network's alone.
    """
    for dtype in TOLERANCE:
        _assert_vmap(_cast(module, dtype), weights.to(dtype))


def _assert_vmap(module: Any, networks: Weights) -> None:
    parameters = dict(module.named_parameters())

    def read(parameters: dict[str, Tensor], networks: Weights) -> Tensor:
        return _first(functional_call(module, parameters, (networks,)))

    def of_one(parameters: dict[str, Tensor], network: Weights) -> Tensor:
        return read(parameters, network[None])[0]

    def loss(parameters: dict[str, Tensor], network: Weights) -> Tensor:
        return _loss(of_one(parameters, network))

    models = [(parameters, networks), tree_map(lambda x: x / 2, (parameters, networks))]
    with _demanded("torch.func.vmap"):
        each = vmap(of_one, in_dims=(None, 0))(parameters, networks)
        stacked = vmap(read)(*tree_map(lambda *x: torch.stack(x), *models))
    with _demanded("torch.func.vmap over torch.func.grad"):
        slopes, in_weights = vmap(grad(loss, (0, 1)), in_dims=(None, 0))(parameters, networks)
    assert_close(each, read(parameters, networks), what="networks under torch.func.vmap")
    for model, answer in zip(models, stacked, strict=True):
        assert_close(answer, read(*model), what="models under torch.func.vmap")
    for number in range(len(networks)):
        flat = networks.flat[number, None].detach().clone().requires_grad_()
        alone = _gradients(read(parameters, Weights(networks.spec, flat)), module, flat)
        found = {"the weights": in_weights.flat[number, None], **{name: x[number] for name, x in slopes.items()}}
        for name, gradient in alone.items():
            _assert_near(found[name], gradient, f"the gradient of {name} of network {number} under torch.func.vmap")


def assert_captured(module: nn.Module, weights: Weights) -> None:
    """Under torch.compile(fullgraph=True), without a call before it, answers and gradients are as they are, and
    torch.export gives a program for any number of networks.
    """
    read: Any = _cast(module, weights.dtype)
    flat = weights.flat.detach().clone().requires_grad_()
    torch.compiler.reset()  # or earlier modules count against the limit of compilations
    with _demanded("torch.compile(fullgraph=True)"):
        compiled: Callable[[Weights], Any] = torch.compile(read, fullgraph=True, backend="aot_eager")
        answer = _first(compiled(Weights(weights.spec, flat)))
        gradients = _gradients(answer, read, flat)
    expected = _first(read(Weights(weights.spec, flat)))
    assert_close(answer, expected, what="under torch.compile")
    for name, gradient in _gradients(expected, read, flat).items():
        _assert_near(gradients[name], gradient, f"the gradient of {name} under torch.compile")
    networks = torch.export.Dim("networks")
    with _demanded("torch.export, for any number of networks"), torch.no_grad():
        exported = torch.export.export(
            _OfFlat(read, weights), (weights.flat,), dynamic_shapes=({0: networks},), strict=True
        )
    for count in (1, len(weights)):
        found = exported.module()(weights.flat[:count])
        assert_close(found, expected[:count], what=f"the program of {count} networks")


class _OfFlat(nn.Module):
    """A module of networks as one of their flat weights."""

    def __init__(self, module: nn.Module, weights: Weights):
        super().__init__()
        self.module, self.spec = module, weights.spec

    def forward(self, flat: Tensor) -> Tensor:
        return _first(self.module(Weights(self.spec, flat)))


@contextmanager
def _demanded(what: str) -> Iterator[None]:
    """Whatever is raised inside means that a law is broken."""
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", ".*should not be instantiated", DeprecationWarning)  # Dynamo's own doing
            warnings.filterwarnings("ignore", "There is a performance drop", UserWarning)  # vmap does it one by one
            yield
    except Exception as error:
        told = (str(error).strip().splitlines() or [""])[0]
        raise AssertionError(
            f"it does not work under {what}: {type(error).__name__}: {told}; what it does may not depend on the values "
            "that it reads"
        ) from error


def _first(answer: Tensor | Encoding) -> Tensor:
    return answer if isinstance(answer, Tensor) else answer.pooled


def _loss(answer: Tensor) -> Tensor:
    return answer.pow(3).sum()


def _gradients(answer: Tensor, module: nn.Module, flat: Tensor) -> dict[str, Tensor]:
    """Of a loss of an answer, in the weights and in every parameter of the module."""
    leaves = {"the weights": flat, **dict(module.named_parameters())}
    found = torch.autograd.grad(_loss(answer), [*leaves.values()], allow_unused=True, materialize_grads=True)
    return dict(zip(leaves, found, strict=True))


def _assert_near(actual: Tensor, expected: Tensor, what: str) -> None:
    """As `assert_close`, of tensors whose small numbers are sums of large ones."""
    atol, rtol = TOLERANCE[expected.dtype]
    assert_close(actual, expected, what=what, atol=atol * max(1.0, float(expected.abs().max())), rtol=rtol)


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
