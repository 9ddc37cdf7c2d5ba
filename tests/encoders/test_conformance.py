"""Every registered encoder passes the suite; every law has a twin of the DNG-Encoder that breaks it, and that the suite
catches.
"""

from copy import deepcopy
from dataclasses import replace

import pytest
import torch
from torch import nn

from weightwalk import InputError, NetworkSpec, Weights
from weightwalk.encoders import DNGEncoder, Encoder, Encoding, FlatEncoder, StatNNEncoder, encoders
from weightwalk.spec import Layer
from weightwalk.symmetry import hidden_widths
from weightwalk.testing import check_encoder, random_weights, tiny_specs

SMALL = {"dim": 8, "num_frequencies": 4}


SIZES = {  # of those that take long: the transformer has features for all pairs of 100 nodes and more
    "ng_gnn": {"dim": 8, "num_layers": 2, "num_frequencies": 4},
    "ng_t": {
        **{"node_dim": 8, "edge_dim": 4, "attention_dim": 8, "node_hidden": 8, "edge_hidden": 6},
        **{"num_layers": 2, "num_heads": 2, "num_frequencies": 4},
    },
}


@pytest.mark.parametrize("name", encoders)
def test_registered_encoders_conform(name):
    assert check_encoder(name, **SIZES.get(name, {}))


@pytest.mark.parametrize(
    "options",
    [
        {"num_passes": 2, "dropout": 0.5, "activation_embedding": True, "scale": 1.0},
        {"max_taps": 12, "preset": "release-cnn-zoo", "readout": "layers"},
        {"shared": True, "activation_embedding": True, "readout": "layers", "num_passes": 2, "max_taps": 12},
    ],
    ids=str,
)
def test_the_dng_encoder_conforms_with_its_options(options):
    assert check_encoder("dng", **SMALL, **options) == list(tiny_specs())


class Small(DNGEncoder):
    def __init__(self, spec):
        super().__init__(spec, **SMALL)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")  # Dynamo's own doing
def test_a_compiler_sees_through_every_kind_of_step():
    spec = tiny_specs()["vit"]
    encoder, weights = DNGEncoder(spec, **SMALL), random_weights(spec, 2, seed=0)
    found = torch.compile(encoder, fullgraph=True, backend="eager")(weights)
    torch.testing.assert_close(found.pooled, encoder(weights).pooled)


def test_a_class_needs_no_name():
    assert "siren" in check_encoder(StatNNEncoder)


class WeighsSourcesByPosition(Small):
    """Sources count by where they stand: neither pooled nor nodes survive another order."""

    def read(self, weights):
        scaled = [w * torch.linspace(0.5, 1, w.shape[2], dtype=w.dtype).reshape(1, 1, -1) for w in weights.weights]
        return super().read(Weights.of(weights.spec, scaled, weights.biases))


class SortsNodes(Small):
    """Invariant and wrong: nodes that do not move with their neurons."""

    def read(self, weights):
        encoding = super().read(weights)
        return replace(encoding, nodes=tuple(nodes.sort(dim=1).values for nodes in encoding.nodes))


class LooksAtItsBatch(Small):
    """Statistics over the minibatch, as the released NG-GNN has them."""

    def read(self, weights):
        encoding = super().read(weights)
        return replace(encoding, pooled=encoding.pooled - encoding.pooled.mean(0))


class ForgetsATensor(Small):
    """Random numbers that are in no state dict."""

    def __init__(self, spec):
        super().__init__(spec)
        self.shift = torch.randn(self.pooled_dim)

    def read(self, weights):
        encoding = super().read(weights)
        return replace(encoding, pooled=encoding.pooled + self.shift.to(encoding.pooled.dtype))


class ComputesInSingle(Small):
    """Silently float32 inside, whatever goes in and comes out."""

    def read(self, weights):
        if weights.dtype == torch.float32:
            return super().read(weights)
        encoding = deepcopy(self).float().read(weights.to(torch.float32))
        return Encoding(nodes=tuple(nodes.double() for nodes in encoding.nodes), pooled=encoding.pooled.double())


class PoolsHidden(Small):
    """The first hidden memories in order: shapes are right, the order of hidden neurons shows."""

    def __init__(self, spec):
        super().__init__(spec)
        self.pooled_dim = spec.widths[1] * 8

    def read(self, weights):
        encoding = super().read(weights)
        return replace(encoding, pooled=encoding.nodes[1].flatten(1))


class HasADeadParameter(Small):
    def __init__(self, spec):
        super().__init__(spec)
        self.unused = nn.Linear(2, 2)


class ReadsAnything(Small):
    """A network of another shape gets some answer."""

    def forward(self, weights):
        try:
            return super().forward(weights)
        except InputError:
            return self.read(random_weights(self.spec, len(weights), seed=0))


class DividesByZero(Small):
    """The gradient of a norm at zero."""

    def read(self, weights):
        encoding = super().read(weights)
        sizes = (self.input_memory.sum() * 0 + weights.weights[0]).flatten(1).pow(2).sum(1).sqrt()
        return replace(encoding, pooled=encoding.pooled + sizes[:, None])


class SaysAnotherWidth(Small):
    def __init__(self, spec):
        super().__init__(spec)
        self.pooled_dim += 1


class HasEdges(StatNNEncoder):
    """Edges of the weights and their squares, which is right."""

    def read(self, weights):
        edges = tuple(torch.stack([w, w * w], dim=-1) for w in weights.weights)
        return replace(super().read(weights), edges=edges)


class NumbersEdges(HasEdges):
    """Edges that know where they stand."""

    def read(self, weights):
        encoding = super().read(weights)
        numbered = [edge + torch.arange(edge.shape[1]).reshape(-1, *[1] * (edge.dim() - 2)) for edge in encoding.edges]
        return replace(encoding, edges=tuple(numbered))


class Probes(Small):
    """Looks at answers and does not say so."""

    def read(self, weights):
        encoding = super().read(weights)
        if weights.spec.input_axes > 1 or weights.spec.first.kind == "embed":
            return encoding
        x = torch.ones(1, weights.spec.widths[0], dtype=weights.dtype)
        return replace(encoding, pooled=encoding.pooled + weights.run(x).flatten(1).mean(1, keepdim=True))


class SaysThatItProbes(Small):
    """And does not."""

    access = "query"


class Queries(Encoder):
    """The answers at learned points, and it says so."""

    access = "query"

    def __init__(self, spec: NetworkSpec):
        super().__init__(spec)
        if spec.input_axes > 1 or spec.first.kind == "embed":
            raise InputError("it queries networks of vectors")
        self.points = nn.Parameter(torch.randn(4, spec.widths[0]))
        self.pooled_dim = 4 * spec.num_outputs

    def read(self, weights):
        return Encoding(pooled=weights.run(self.points).flatten(1))


@pytest.mark.parametrize("kind", [HasEdges, Queries])
def test_right_ones_pass(kind):
    assert "siren" in check_encoder(kind)


class SaysItIsNotInvariant(Small):
    """And is."""

    invariant = False


class SaysTheFlatVectorIsInvariant(FlatEncoder):
    invariant = True


class LooksAtValues(Small):
    """A branch on the numbers that it reads, each side of which is right."""

    def read(self, weights):
        encoding = super().read(weights)
        return encoding if weights.flat.sum() > 0 else replace(encoding, pooled=encoding.pooled * 1)


class ForgetsUnderVmap(Small):
    """Another answer where torch.func is at work."""

    def read(self, weights):
        scale = 2 if torch._C._are_functorch_transforms_active() else 1
        encoding = super().read(weights)
        return replace(encoding, pooled=scale * encoding.pooled)


class ForgetsGradients(Small):
    """The right answer where torch.func is at work, with half the gradient."""

    def read(self, weights):
        encoding = super().read(weights)
        if torch._C._are_functorch_transforms_active():
            encoding = replace(encoding, pooled=(encoding.pooled + encoding.pooled.detach()) / 2)
        return encoding


class CompilesToSomethingElse(Small):
    def read(self, weights):
        encoding = super().read(weights)
        return replace(encoding, pooled=encoding.pooled + 1) if torch.compiler.is_compiling() else encoding


class IsAProgramOfThreeNetworks(Small):
    def read(self, weights):
        encoding = super().read(weights)
        if torch.compiler.is_exporting():
            encoding = replace(encoding, pooled=encoding.pooled.expand(3, -1))
        return encoding


class RefusesAll(Encoder):
    def __init__(self, spec: NetworkSpec):
        raise InputError("no")

    def read(self, weights):
        raise NotImplementedError


@pytest.mark.parametrize(
    ("twin", "sentence"),
    [
        (WeighsSourcesByPosition, "not invariant to the order of hidden neurons"),
        (PoolsHidden, "not invariant to the order of hidden neurons"),
        (ComputesInSingle, "numbers differ in torch.float64"),
        (SortsNodes, "node group 1 is not equivariant"),
        (LooksAtItsBatch, "alone is not what it is in a batch of 3"),
        (ForgetsATensor, "pooled after save and load"),
        (HasADeadParameter, "unused.weight has no part in the encoding"),
        (DividesByZero, "the gradient of input_memory is not finite for networks of zeros"),
        (ReadsAnything, "expected an InputError"),
        (SaysAnotherWidth, "expected the shapes"),
        (NumbersEdges, "edges of layer 0 is not equivariant to the order of hidden neurons"),
        (Probes, "it evaluates the networks that it reads but says access = 'weights'"),
        (SaysThatItProbes, "it never evaluates the networks that it reads but says access = 'query'"),
        (SaysItIsNotInvariant, "says invariant = False, but the order of hidden neurons does not change its answer"),
        (SaysTheFlatVectorIsInvariant, "not invariant to the order of hidden neurons"),
        (LooksAtValues, "does not work under torch.func.vmap: RuntimeError: vmap"),
        (ForgetsUnderVmap, "networks under torch.func.vmap"),
        (ForgetsGradients, "the gradient of the weights of network 0 under torch.func.vmap"),
        (CompilesToSomethingElse, "under torch.compile"),
        (IsAProgramOfThreeNetworks, "does not work under torch.export, for any number of networks"),
        (RefusesAll, "refuses every spec"),
    ],
)
def test_wrong_twins_are_caught(twin, sentence):
    with pytest.raises(AssertionError, match=sentence):
        check_encoder(twin)


def test_the_tiny_specs_are_of_every_kind():
    layers = [layer for spec in tiny_specs().values() for layer in spec.layers]
    assert {layer.kind for layer in layers} >= {kind.kind for kind in Layer.__subclasses__()}
    assert {layer.bias for layer in layers} == {True, False}
    for spec in tiny_specs().values():
        assert len(set(hidden_widths(spec))) == len(hidden_widths(spec))
