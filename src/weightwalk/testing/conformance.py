"""What every encoder must keep: the suite that the registered ones pass, for other people's as well."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any
from unittest import mock

import torch

from weightwalk import config, evaluate, symmetry
from weightwalk.encoders import Encoder, EncoderConfig
from weightwalk.errors import InputError
from weightwalk.spec import NetworkSpec
from weightwalk.testing.laws import (
    assert_batch_alone,
    assert_captured,
    assert_equivariant,
    assert_invariant,
    assert_save_load,
    assert_vmap,
)
from weightwalk.testing.tiny import random_weights, tiny_specs
from weightwalk.weights import Weights

NUM_NETWORKS = 3


def check_encoder(encoder: str | type[Encoder], **options: Any) -> list[str]:
    """Try an encoder, a registered name or a class, with `options` on every tiny spec; the names of those it reads.

    It may refuse a spec with an InputError when it is made, but not all of them. For the others it must keep:

    - shapes: one (B, n_l, d) per node group or none at all, one (B, O, I[, K], d) per layer's edges or none at all,
      pooled (B, pooled_dim), finite, in the dtype of the networks;
    - nodes(permute(w)) = permute(nodes(w)), edges(permute(w)) = permute(edges(w)) and pooled(permute(w)) = pooled(w),
      in float32 and float64, unless it says `invariant = False`: then pooled must indeed change;
    - a network in a batch = the network alone; save = load, bitwise;
    - gradients are finite, also for networks whose parameters are all zero, and reach every parameter;
    - it works under torch.func.vmap over networks, with the gradients of every network alone; and, tried on the
      smallest spec that it reads, under torch.compile(fullgraph=True), forward and backward, and torch.export;
    - networks of another shape are refused with an InputError, unless it is `shared`;
    - `access` is what it does: a network is evaluated (`Weights.run`) if and only if it says "query".

    By name also: its options survive a configuration file. AssertionError: the first law that is broken, and the spec.
    """
    build: Callable[[NetworkSpec], Encoder]
    if isinstance(encoder, str):
        settings = EncoderConfig.named(encoder, **options)
        again = EncoderConfig.named(**config.to_dict(settings))
        assert again == settings, (
            f"the options of encoder {encoder!r} must be plain values; {settings} came back from JSON as {again}"
        )
        build = settings.build
    else:
        kind: Any = encoder
        build = partial(kind, **options)
    passed = []
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        for name, spec in tiny_specs().items():
            try:
                build(spec)
            except InputError:
                continue
            with _named(encoder, name, spec):
                _check(partial(build, spec), random_weights(spec, NUM_NETWORKS, seed=1))
            passed.append(name)
        assert passed, f"{encoder} refuses every spec of {', '.join(tiny_specs())}"
        name, spec = min(((name, tiny_specs()[name]) for name in passed), key=lambda one: one[1].num_parameters)
        with _named(encoder, name, spec):  # compiling takes seconds
            assert_captured(build(spec), random_weights(spec, NUM_NETWORKS, seed=1))
    return passed


@contextmanager
def _named(encoder: str | type[Encoder], name: str, spec: NetworkSpec) -> Iterator[None]:
    """An AssertionError says on which spec the law was broken."""
    try:
        yield
    except AssertionError as error:
        raise AssertionError(f"{encoder} on the tiny spec {name!r} ({spec}): {error}") from error


def _check(make: Callable[[], Encoder], weights: Weights) -> None:
    model = make()
    _assert_access(model.eval(), weights)
    _assert_shapes(model, weights)
    if model.invariant:
        assert_invariant(model, weights)
    elif symmetry.hidden_widths(weights.spec):
        _assert_not_invariant(model, weights)
    assert_equivariant(model, weights)
    assert_batch_alone(model, weights)
    assert_save_load(make, weights)
    if any(True for _ in model.parameters()):
        _assert_gradients(model.train(), weights)
    if not model.shared:
        _assert_refusal(model, weights)
    assert_vmap(model, weights)


def _assert_not_invariant(model: Encoder, weights: Weights) -> None:
    try:
        assert_invariant(model, weights)
    except AssertionError:
        return
    raise AssertionError(
        "it says invariant = False, but the order of hidden neurons does not change its answer; leave that out"
    )


def _assert_access(model: Encoder, weights: Weights) -> None:
    with mock.patch.object(evaluate, "run", wraps=evaluate.run) as run:
        model(weights)
    done, right = ("evaluates", "query") if run.called else ("never evaluates", "weights")
    assert model.access == right, (
        f"it {done} the networks that it reads but says access = {model.access!r}; say {right!r}, as rows of results do"
    )


def _assert_shapes(model: Encoder, weights: Weights) -> None:
    encoding, spec = model(weights), weights.spec
    expected: dict[str, list[tuple[int, ...]]] = {
        "pooled": [(len(weights), model.pooled_dim)],
        "nodes": [],
        "edges": [],
    }
    if encoding.nodes:
        expected["nodes"] = [(len(weights), width, encoding.nodes[0].shape[-1]) for width in spec.widths]
    if encoding.edges:
        d = encoding.edges[0].shape[-1]
        expected["edges"] = [(len(weights), *layer.weight_shape, d) for layer in spec.layers]
    parts = {"pooled": [encoding.pooled], "nodes": encoding.nodes, "edges": encoding.edges}
    got = {name: [tuple(tensor.shape) for tensor in tensors] for name, tensors in parts.items()}
    assert got == expected, f"expected the shapes {expected}, got {got}"
    for tensor in (encoding.pooled, *encoding.nodes, *encoding.edges):
        assert tensor.dtype == weights.dtype, f"expected {weights.dtype} like the networks, got {tensor.dtype}"
        assert tensor.isfinite().all(), "expected finite numbers, got NaN or infinity"


def _assert_gradients(model: Encoder, weights: Weights) -> None:
    zeros = Weights(weights.spec, torch.zeros_like(weights.flat))
    for networks, what in ((weights, "random networks"), (zeros, "networks of zeros")):
        model.zero_grad()
        encoding = model(networks)
        tensors = (encoding.pooled, *encoding.nodes, *encoding.edges)
        torch.stack([tensor.pow(3).sum() for tensor in tensors]).sum().backward()
        for name, parameter in model.named_parameters():
            assert parameter.grad is not None, f"{name} has no part in the encoding: no gradient reaches it from {what}"
            assert parameter.grad.isfinite().all(), f"the gradient of {name} is not finite for {what}"


def _assert_refusal(model: Encoder, weights: Weights) -> None:
    widths = [width + 1 for width in weights.spec.widths]
    try:
        model(random_weights(NetworkSpec.mlp(widths), 1, seed=0))
    except InputError:
        return
    raise AssertionError(
        f"networks of the widths {widths} were read, but the encoder was made for {weights.spec.widths}; expected an "
        "InputError"
    )
