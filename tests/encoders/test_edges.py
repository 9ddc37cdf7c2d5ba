"""Message sums in pieces against the same in one piece: values, and derivatives of every kind."""

import pytest
import torch
from torch import nn
from torch.func import functional_call, grad, jacrev, vmap

from weightwalk.encoders import pieces
from weightwalk.encoders.edges import EdgeMap, FourierMap
from weightwalk.encoders.messages import mean_features, messages
from weightwalk.graphs.features import FourierFeatures
from weightwalk.testing import assert_close
from weightwalk.testing.plain import messages as plain_messages


class TanhEdges(EdgeMap):
    """A map of someone's own, with nothing written by hand."""

    def __init__(self):
        super().__init__()
        self.channels, self.dim, self.map = 2, 3, nn.Linear(2, 3)

    def forward(self, values):
        return self.map(values).tanh()


class ValuesThemselves(EdgeMap):
    """Answers with the tensor that it was given, which nobody may change."""

    channels = dim = 2

    def forward(self, values):
        return values


def plain(values, edge, sources, mix=None, offset=None):
    """Eq 4 and Eq 5, with all edges at once."""
    mlp = None if mix is None else lambda heads: (heads @ mix.T + offset[:, None]).relu()
    return plain_messages(edge(values), sources, mlp)


class Sum(nn.Module):
    def __init__(self, form, edge):
        super().__init__()
        self.form, self.edge = form, edge

    def forward(self, *tensors):
        return self.form(tensors[0], self.edge, *tensors[1:])


def problem(edge, taps, b=3, o=4, i=5):
    """A function (form, *tensors) -> messages, differentiable in the edge map's parameters too, and its tensors."""
    torch.manual_seed(0)
    edge = edge.double()
    values, sources = torch.randn(b, o, i, edge.channels), torch.randn(b, i, edge.dim)
    tensors = [values, sources]
    if taps:
        values, sources = torch.randn(b, o, i, taps, edge.channels), torch.randn(b, i, taps, edge.dim)
        tensors = [values, sources, torch.randn(7, taps * edge.dim), torch.randn(b, i, 7)]
    names = [f"edge.{name}" for name, _ in edge.named_parameters()]
    count = len(tensors)

    def summed(form, *tensors):
        return functional_call(Sum(form, edge), dict(zip(names, tensors[count:], strict=True)), tensors[:count])

    return summed, [x.double() for x in (*tensors, *(p.detach() for p in edge.parameters()))]


def on_basis(channels, dim, reach):
    """A map of more features than it takes polynomials; values beyond `reach` take the plain path."""
    edge = FourierMap(channels, FourierFeatures(40, 0.04), dim)
    edge.cover(torch.full((channels,), reach))
    return edge


EDGES = {
    "basis": lambda: on_basis(1, 3, 4.0),
    "basis of two": lambda: on_basis(2, 3, 4.0),
    "beyond the basis": lambda: on_basis(1, 3, 0.5),
    "Fourier": lambda: FourierMap(2, FourierFeatures(4, 1.0), 3),
    "one channel": lambda: FourierMap(1, FourierFeatures(3, 2.0), 6),
    "tanh": TanhEdges,
    "identity": ValuesThemselves,
}
CASES = [pytest.param(name, taps, id=f"{name}-{taps}") for name in EDGES for taps in (0, 3)]


def agree(ours, expected):
    for one, other in zip(ours, expected, strict=True):
        assert_close(one, other, what="gradient", atol=1e-10, rtol=1e-10)


@pytest.mark.parametrize("piece_bytes", [1, 300, 1_500, 9_000, 2**20])  # sources, targets, networks at a time, all
@pytest.mark.parametrize(("name", "taps"), CASES)
def test_in_pieces_is_in_one_forward_and_backward(monkeypatch, name, taps, piece_bytes):
    monkeypatch.setitem(pieces.PIECE_BYTES, "cpu", piece_bytes)
    summed, tensors = problem(EDGES[name](), taps)
    found = []
    for form in (messages, plain):
        leaves = [x.clone().requires_grad_() for x in tensors]
        answer = summed(form, *leaves)
        found.append([answer.detach(), *torch.autograd.grad((answer.sin() * answer).sum(), leaves)])
    agree(*found)


@pytest.mark.parametrize(("name", "taps"), CASES)
def test_every_transform_of_torch_func(monkeypatch, name, taps):
    monkeypatch.setitem(pieces.PIECE_BYTES, "cpu", 400)
    summed, tensors = problem(EDGES[name](), taps)
    every = tuple(range(len(tensors)))
    one_batched = (0, *(None for _ in tensors[1:]))
    stacked, first = [torch.stack([x, 0.5 * x]) for x in tensors], torch.stack([tensors[0], 2 * tensors[0]])

    def answers(form):
        def loss(*x):
            return summed(form, *x).pow(3).sum()

        gradient = grad(loss, every)
        yield gradient(*tensors)
        yield grad(lambda *x: sum(g.square().sum() for g in gradient(*x)), every)(*tensors)
        yield (vmap(lambda *x: summed(form, *x), in_dims=one_batched)(first, *tensors[1:]),)
        yield vmap(gradient, in_dims=one_batched)(first, *tensors[1:])  # of shared parameters, a gradient per copy
        yield vmap(gradient)(*stacked)
        yield grad(lambda *x: vmap(lambda v: summed(form, v, *x[1:]))(x[0] * first).pow(2).sum(), every)(*tensors)
        yield (jacrev(lambda v: summed(form, v, *tensors[1:]))(tensors[0]),)

    for ours, expected in zip(answers(messages), answers(plain), strict=True):
        agree(ours, expected)


@pytest.mark.parametrize("name", ["basis", "basis of two"])
def test_these_cases_are_on_the_basis(name):
    edge = EDGES[name]().double()
    _, tensors = problem(edge, 0)
    assert edge.on_basis().covers(tensors[0])
    assert not edge.on_basis().covers(tensors[0] * 2)
    assert not edge.on_basis().covers(tensors[0] * float("nan"))


@pytest.mark.parametrize("shape", [(3, 9, 4), (3, 4, 9), (3, 2, 9), (3, 5, 1), (1, 4, 4)])
@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("common", [False, True])
def test_products_are_the_sum_over_edges(monkeypatch, shape, channels, common):
    monkeypatch.setitem(pieces.PIECE_BYTES, "cpu", 2_000)
    torch.manual_seed(0)
    edge = on_basis(channels, 6, 4.0).double()
    sources = torch.randn(1 if common else shape[0], shape[2], 6)
    leaves = [x.double().requires_grad_() for x in (torch.randn(*shape, channels), sources)]
    assert edge.on_basis().covers(leaves[0])
    leaves += edge.parameters()
    answers = [form(leaves[0], edge, leaves[1]) for form in (messages, plain)]
    agree(*([x.detach(), *torch.autograd.grad(x.sin().sum(), leaves)] for x in answers))


def test_a_reach_that_lies_gives_other_numbers():
    edge, values, sources = on_basis(1, 3, 1.0), torch.full((1, 1, 1, 1), 20.0), torch.ones(1, 1, 3)
    assert_close(messages(values, edge, sources), plain(values, edge, sources), what="plain path", rtol=1e-5)
    basis = edge.on_basis()
    basis.covers = lambda values: True
    edge.on_basis = lambda: basis
    assert (messages(values, edge, sources) - plain(values, edge, sources)).abs().max() > 1


def test_a_map_of_biases_and_what_comes_behind_it_are_one_map():
    edge, values = on_basis(1, 3, 4.0).double(), torch.randn(5, 2, 1).double()
    outer, shift = torch.randn(7, 3).double(), torch.randn(80).double()
    for x in (values, 4 * values):  # on the basis, and beyond it
        expected = (edge(x) + edge.weight @ shift) @ outer.T
        assert_close(edge.through(x, outer, shift), expected, what="through", atol=1e-10, rtol=1e-10)


def test_half_numbers_are_read_by_features():
    edge = on_basis(1, 3, 4.0)
    assert edge.on_basis() is not None
    assert edge.bfloat16().on_basis() is None


def test_polynomials_follow_the_frequencies_and_the_reach():
    edge, other = on_basis(1, 3, 4.0), on_basis(1, 3, 2.0)
    values, sources = torch.randn(2, 3, 4, 1), torch.randn(2, 4, 3)
    messages(values, edge, sources)  # keeps the expansion of its own frequencies
    edge.load_state_dict(other.state_dict())
    assert_close(messages(values, edge, sources), plain(values, edge, sources), what="loaded", rtol=1e-4, atol=1e-5)
    edge = edge.double()
    values, sources = values.double(), sources.double()
    assert_close(messages(values, edge, sources), plain(values, edge, sources), what="float64", atol=1e-12)


def test_the_values_that_were_given_stay_as_they_are():
    summed, tensors = problem(ValuesThemselves(), 0)
    before = tensors[0].clone()
    summed(messages, *tensors)
    assert torch.equal(tensors[0], before)


def test_frequencies_that_want_a_gradient_get_one():
    edge = FourierMap(2, FourierFeatures(4, 1.0), 3).double()
    values, sources = torch.randn(2, 3, 4, 2).double(), torch.randn(2, 4, 3).double()
    edge.features.frequencies.requires_grad_()
    agree(
        *(
            torch.autograd.grad(form(values, edge, sources).square().sum(), edge.operands())
            for form in (messages, plain)
        )
    )


def test_shared_features_are_saved_by_whom_they_belong_to():
    features = FourierFeatures(4, 1.0)
    shared, own = FourierMap(1, features, 3, shared=True), FourierMap(1, features, 3)
    assert list(shared.state_dict()) == ["weight", "bias", "reach"]
    assert set(own.state_dict()) == {"weight", "bias", "reach", "features.frequencies"}
    own.load_state_dict({**shared.state_dict(), "features.frequencies": features.frequencies})
    values = torch.randn(5, 1)
    assert torch.equal(own(values), shared(values))


@pytest.mark.parametrize("piece_bytes", [1, 250, 2**20])
def test_mean_features_are_means_of_features(monkeypatch, piece_bytes):
    monkeypatch.setitem(pieces.PIECE_BYTES, "cpu", piece_bytes)
    features, values = FourierFeatures(3, 1.0).double(), torch.randn(2, 3, 50).double().requires_grad_()
    forms = (mean_features(values, features), features(values).mean(2))
    agree(*([form.detach(), *torch.autograd.grad(form.pow(3).sum(), [values])] for form in forms))


def test_no_networks_give_no_messages():
    edge = FourierMap(1, FourierFeatures(4, 1.0), 3)
    assert messages(torch.zeros(0, 2, 4, 1), edge, torch.zeros(0, 4, 3)).shape == (0, 2, 3)
    sources, mix, offset = torch.zeros(0, 4, 9, 3), torch.zeros(5, 27), torch.zeros(0, 4, 5)
    assert messages(torch.zeros(0, 2, 4, 9, 1), edge, sources, mix, offset).shape == (0, 2, 5)


@pytest.mark.parametrize("pairs", [1, 2, 3, 6, 7, 20, 21, 22, 50, 1000])
def test_pieces_cover_every_pair_once_and_are_as_large_as_they_may(monkeypatch, pairs):
    monkeypatch.setitem(pieces.PIECE_BYTES, "cpu", pairs * 4 * 10)
    counts = torch.zeros(5, 7, 3)
    for piece in pieces.pieces(counts, 10):
        place = tuple(piece.values())
        assert counts[place].numel() <= max(pairs, 1)
        counts[place] += 1
    assert (counts == 1).all()


@pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")  # Dynamo's own doing
@pytest.mark.parametrize("taps", [0, 3])
@pytest.mark.parametrize("wants_gradient", [True, False])
def test_a_compiler_sees_through_them(taps, wants_gradient):
    edge = EDGES["Fourier"]()
    count, module = 4 if taps else 2, Sum(messages, edge)
    tensors = problem(edge, taps)[1][:count]
    compiled = torch.compile(module, fullgraph=True, backend="aot_eager")
    with torch.set_grad_enabled(wants_gradient):
        answers = [form(*tensors) for form in (compiled, module)]
    agree(*([answer.detach()] for answer in answers))
    if wants_gradient:
        agree(*(torch.autograd.grad(answer.pow(3).sum(), list(edge.parameters())) for answer in answers))
