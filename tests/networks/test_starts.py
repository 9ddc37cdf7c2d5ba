import math

import pytest
import torch

from weightwalk import InputError, NetworkSpec, Weights
from weightwalk.networks.architectures import simple_vit, small_cnn
from weightwalk.networks.starts import SHARED, Key, classifier, initialise
from weightwalk.spec import Dense

SPEC = NetworkSpec.mlp([2, 32, 24, 3], omega=30.0)
KEYS = [Key(0, 0, image, fit) for image in range(40) for fit in range(3)]

W1, W2, W3 = (math.sqrt(6 / fan_in) / 30 for fan_in in (2, 32, 24))
BOUNDS = {
    "nfn": [(1 / 2, 1 / math.sqrt(2)), (W2, 1 / math.sqrt(32)), (W3, 1 / math.sqrt(24))],
    "dws": [(W1, 0.0), (W2, 0.0), (1 / math.sqrt(24), 1 / math.sqrt(24))],
    "default": [(1 / math.sqrt(n), 1 / math.sqrt(n)) for n in (2, 32, 24)],
    "kaiming": [(math.sqrt(6 / 2), 0.0), (math.sqrt(6 / 32), 0.0), (1 / math.sqrt(24), 1 / math.sqrt(24))],
}
SPECS = {"kaiming": NetworkSpec.mlp([2, 32, 24, 3], "relu")}


def assert_uniform(tensor: torch.Tensor, bound: float) -> None:
    """On (-bound, bound), filling it."""
    assert tensor.abs().max() <= bound
    if bound:
        assert tensor.max() > 0.95 * bound
        assert tensor.min() < -0.95 * bound
        assert float(tensor.std()) == pytest.approx(bound / math.sqrt(3), rel=0.05)
        assert abs(float(tensor.mean())) < 0.1 * bound


@pytest.mark.parametrize("scheme", BOUNDS)
def test_every_layer_has_its_bounds(scheme):
    weights = initialise(SPECS.get(scheme, SPEC), KEYS, scheme)
    assert weights.dtype == torch.float32
    assert len(weights) == len(KEYS)
    for layer, (weight_bound, bias_bound) in enumerate(BOUNDS[scheme]):
        assert_uniform(weights.weights[layer], weight_bound)
        assert_uniform(weights.biases[layer], bias_bound)


@pytest.mark.parametrize("scheme", BOUNDS)
def test_a_start_depends_on_its_key_alone(scheme):
    spec = SPECS.get(scheme, SPEC)
    together = initialise(spec, KEYS, scheme).flat
    for index in (0, 17, 119):
        assert torch.equal(initialise(spec, [KEYS[index]], scheme).flat[0], together[index])
    assert torch.equal(initialise(spec, KEYS[::-1], scheme).flat, together.flip(0))


def test_other_keys_give_other_starts():
    base = Key(1, 1, 1, 1)
    keys = [
        base,
        *(base._replace(**{name: 2}) for name in Key._fields),
        base._replace(image=SHARED),
        base._replace(seed=2**40),
    ]
    flat = initialise(SPEC, keys).flat
    assert len(flat.unique(dim=0)) == len(keys)
    correlation = torch.corrcoef(flat / initialise(SPEC, KEYS).flat.std(0)) - torch.eye(len(keys))
    assert correlation.abs().max() < 0.15


def test_the_stream_never_changes():
    """Pinned: zoos that were begun with an older version have to go on with the same starts."""
    spec = NetworkSpec.mlp([2, 4, 1])
    weights = initialise(spec, [Key(0, 0, 0, 0), Key(7, 2, SHARED, 1)])
    assert weights.flat[:, :4].tolist() == [
        [-0.4884532392024994, -0.25845080614089966, -0.38857415318489075, 0.0644146203994751],
        [-0.022676434367895126, -0.1785489320755005, 0.4973234534263611, 0.13624806702136993],
    ]


def test_a_network_without_hidden_layers_and_a_frequency_of_its_own():
    spec = NetworkSpec.mlp([9, 500])
    weights = initialise(spec, KEYS[:2])
    assert_uniform(weights.weights[0], 1 / 9)
    assert_uniform(weights.biases[0], 1 / 3)
    slow = initialise(NetworkSpec.mlp([2, 32, 32, 1], omega=5.0), KEYS)
    assert_uniform(slow.weights[1], math.sqrt(6 / 32) / 5)


def test_every_layer_has_a_frequency_of_its_own_and_the_last_one_that_before_it():
    """Sitzmann et al. 2020 for sounds: omega_0 is 3000, all further ones 30."""
    spec = NetworkSpec((Dense(1, 64, "sine", 3000.0), Dense(64, 64, "sine", 30.0), Dense(64, 1)))
    weights = initialise(spec, KEYS).weights
    for layer, bound in enumerate((1.0, math.sqrt(6 / 64) / 30, math.sqrt(6 / 64) / 30)):
        assert_uniform(weights[layer], bound)


@pytest.mark.parametrize(
    ("activation", "own"),
    [("sine", "nfn"), ("relu", "kaiming"), ("tanh", "default"), ("gaussian", "default"), (None, "default")],
)
def test_without_a_scheme_every_activation_has_its_own(activation, own):
    """None: two activations in one network."""
    hidden = [Dense(4, 4, activation or "sine"), Dense(4, 4, activation or "relu")]
    spec = NetworkSpec((*hidden, Dense(4, 1)))
    assert torch.equal(initialise(spec, KEYS[:2]).flat, initialise(spec, KEYS[:2], own).flat)


@pytest.mark.parametrize(
    ("activation", "scheme", "sentence"),
    [
        ("relu", "nfn", "'nfn' starts networks of sine layers, got relu; choose kaiming or default"),
        ("tanh", "kaiming", "'kaiming' starts networks of relu layers, got tanh; choose default"),
        ("sine", "kaiming", "choose nfn or dws or default"),
        ("sine", "kaimming", "unknown scheme 'kaimming'.*did you mean 'kaiming'"),
    ],
)
def test_schemes_for_other_activations_are_refused(activation, scheme, sentence):
    with pytest.raises(InputError, match=sentence):
        initialise(NetworkSpec.mlp([2, 4, 1], activation), KEYS[:1], scheme)


def test_the_default_is_torch_s():
    """Of the same bounds: `torch.nn.Linear` draws other numbers."""
    linear = torch.nn.Linear(32, 4000)
    ours = initialise(NetworkSpec.mlp([32, 4000]), KEYS[:1], "default")
    for got, expected in ((ours.weights[0], linear.weight), (ours.biases[0], linear.bias)):
        assert float(got.abs().max()) == pytest.approx(float(expected.detach().abs().max()), rel=0.01)


def test_layers_without_biases_are_left_without():
    assert initialise(NetworkSpec.mlp([2, 4, 1], bias=False), KEYS[:2]).biases == (None, None)
    assert isinstance(initialise(SPEC, KEYS[:1]), Weights)


CNN = small_cnn()


def stds(scheme: str, std: float = 0.05) -> list[float]:
    drawn = [classifier(CNN, Key(0, 0, run, 0), scheme, std) for run in range(20)]
    return [float(torch.cat([w.weights[layer] for w in drawn]).std()) for layer in range(4)]


@pytest.mark.parametrize(
    ("scheme", "wanted"),
    [
        ("torch", [1 / math.sqrt(3 * n) for n in (9, 144, 144, 16)]),
        ("glorot", [math.sqrt(2 / (n + m)) for n, m in ((9, 144), (144, 144), (144, 144), (16, 10))]),
        ("he", [math.sqrt(2 / n) for n in (9, 144, 144, 16)]),
        ("normal", [0.05] * 4),
        ("truncated", [0.05 * 0.8796] * 4),
        ("orthogonal", [1 / 4, 1 / 12, 1 / 12, 1 / 4]),
    ],
)
def test_classifiers_start_as_spread_as_they_should(scheme, wanted):
    assert stds(scheme) == pytest.approx(wanted, rel=0.04)
    start = classifier(CNN, Key(0, 0, 3, 0), scheme)
    assert all((bias == 0).all() != (scheme == "torch") for bias in start.biases)
    assert torch.equal(start.flat, classifier(CNN, Key(0, 0, 3, 0), scheme).flat)
    assert not torch.equal(start.flat, classifier(CNN, Key(0, 0, 4, 0), scheme).flat)


def test_orthogonal_and_truncated_starts():
    w = classifier(CNN, Key(1, 0, 0, 0), "orthogonal").weights
    torch.testing.assert_close(w[1][0].flatten(1) @ w[1][0].flatten(1).T, torch.eye(16))
    torch.testing.assert_close(w[0][0].flatten(1).T @ w[0][0].flatten(1), torch.eye(9))
    assert all(
        float(tensor.abs().max()) <= 0.1 for tensor in classifier(CNN, Key(1, 0, 0, 0), "truncated", 0.05).weights
    )
    with pytest.raises(InputError, match="unknown scheme"):
        classifier(CNN, Key(0, 0, 0, 0), "xavier")


def test_norms_start_as_the_identity():
    start = classifier(simple_vit(), Key(0, 0, 0, 0))
    assert (start.weights[0] == 1).all()
    assert (start.biases[0] == 0).all()
