"""One file tells everything: a reader that is saved and loaded says the same of everything that may be asked about."""

from __future__ import annotations

import copy
import json
import random
from contextlib import suppress

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader

import weightwalk
from weightwalk import InputError, NetworkSpec
from weightwalk.encoders import EncoderConfig
from weightwalk.frameworks.answers import ANSWERS, Answer, Classes, Number, Share
from weightwalk.frameworks.inr2jls import LatentSizes
from weightwalk.frameworks.pretrained import Description, Latents, Pretrained
from weightwalk.frameworks.reader import Reader
from weightwalk.heads import HeadConfig, MLPHead
from weightwalk.testing import assert_batch_alone, assert_close, assert_invariant, random_weights, tiny_zoo
from weightwalk.training import checkpoint

SPEC = NetworkSpec.mlp([2, 6, 5, 1], activation="relu")
TWIN = NetworkSpec.mlp([2, 6, 5, 1], activation="tanh")
SIZES = LatentSizes(views=("identity", "hflip"), theta_dim=3, generator_dim=4, latent_dim=2, decoder_dim=3)
DNG = EncoderConfig.named("dng", dim=4, num_frequencies=2)
DESCRIPTIONS = {
    "classes": Description((SPEC,), DNG, HeadConfig.named("mlp", hidden_dim=3), Classes(labels=("a", "b", "c"))),
    "share": Description((SPEC, TWIN), EncoderConfig.named("statnn"), HeadConfig.named("mlp"), Share(of="accuracy")),
    "number": Description((SPEC,), DNG, HeadConfig.named("mlp"), Number(of="light", unit="lx", offset=3.0, scale=2.0)),
    "inr2jls": Description(
        (SPEC,),
        DNG,
        HeadConfig.named("latent_cnn", hidden_dim=4),
        Classes(labels=("a", "b")),
        Latents(SIZES, (1, 8, 8)),
    ),
}


@pytest.fixture(params=DESCRIPTIONS)
def model(request) -> Pretrained:
    description = DESCRIPTIONS[request.param]
    return Pretrained(description.build().eval(), description)


def test_a_model_survives_its_file(model, tmp_path):
    path = tmp_path / "model.safetensors"
    model.save(path)
    state = torch.get_rng_state()
    again = weightwalk.load(path)
    assert torch.equal(torch.get_rng_state(), state)
    assert again.description == model.description
    assert not again.training
    weights = random_weights(SPEC, 3, seed=0)
    assert_close(again(weights), model(weights), what="outputs")
    assert again.predict(weights) == model.predict(weights)
    again.save(tmp_path / "again.safetensors")
    assert (tmp_path / "again.safetensors").read_bytes() == path.read_bytes()


def test_a_reader_keeps_the_laws_of_its_encoder(model):
    weights = random_weights(SPEC, 3, seed=0)
    assert_batch_alone(model.reader, weights)
    assert_invariant(model.reader, weights)
    assert_close(model.reader([weights[2], weights[:2]]), model.reader(weights[[2, 0, 1]]), what="a sequence")


class Module(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(2, 6), nn.ReLU(), nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 1))

    def forward(self, x):
        return self.layers(x)


def test_networks_state_dicts_and_modules_get_the_same_answer(model):
    module = Module()
    state = module.state_dict()
    asked = (
        model.predict(weightwalk.Weights.from_state_dicts(SPEC, [state])),
        model.predict(state),
        model.predict(module, torch.zeros(1, 2)),
        model.predict([weightwalk.Weights.from_state_dicts(SPEC, [state])]),
    )
    for told in asked:
        assert len(told) == 1
        for name, value in told[0].items():
            assert value == (pytest.approx(asked[0][0][name], abs=1e-6) if isinstance(value, float) else value)
    with pytest.raises(InputError, match=r"ask predict\(module, example_input\)"):
        model.predict(module)
    with pytest.raises(InputError, match="weight"):
        model.predict({**state, "layers.0.weight": torch.zeros(7, 2)})
    with pytest.raises(InputError, match="holds NaN or infinity"):
        model.predict({**state, "layers.0.bias": torch.full((6,), torch.nan)})
    with pytest.raises(InputError, match="knows networks of 2 inputs and 1 outputs"):
        model.predict(random_weights(NetworkSpec.mlp([3, 6, 5, 1]), 1, seed=0))
    with pytest.raises(InputError, match="at least one network"):
        model.predict([])


def test_a_state_dict_that_fits_several_architectures():
    """An encoder that does not look at activations need not be told; one that does asks for it."""
    state = random_weights(SPEC, 1, seed=0).to_state_dict()
    blind = DESCRIPTIONS["share"]
    assert len(Pretrained(blind.build().eval(), blind).predict(state)) == 1
    seeing = Description((SPEC, TWIN), EncoderConfig.named("dng", dim=4, num_frequencies=2, activation_embedding=True),
                         blind.head, blind.answer)  # fmt: skip
    model = Pretrained(seeing.build().eval(), seeing)
    with pytest.raises(InputError, match=r"fits 2 architectures .*\(with relu; tanh\).* give its activation"):
        model.predict(state)
    assert model.network(state, "it", activation="tanh").spec == TWIN


@pytest.mark.parametrize("name", ANSWERS)
def test_answers_are_plain(name):
    answer = {"classes": Classes(labels=("a", "b", "c"))}.get(name) or Answer.named(name)
    outputs = torch.randn(4, answer.num_outputs)
    told = answer.tell(answer.values(outputs))
    assert json.loads(json.dumps(told)) == told
    assert [len(answer.cells(one)) for one in told] == [len(answer.columns)] * 4
    truths = [answer.truth(1.0)] * 4
    assert len(answer.agreement(told, truths)) == 3


def test_what_answers_say():
    classes = Classes(labels=("a", "b", "c"))
    (told,) = classes.tell(classes.values(torch.tensor([[0.0, 2.0, 1.0]])))
    assert (told["class"], told["runner_up"]) == ("b", "c")
    assert told["probability"] == pytest.approx(0.6652, abs=1e-4)
    assert Share(of="x").values(torch.tensor([[0.0]])).tolist() == [0.5]
    number = Number.of_targets("light", "lx", torch.tensor([1.0, 3.0, 5.0]))
    assert number.values(number.standard(torch.tensor([1.0, 4.0])).double()).tolist() == pytest.approx([1.0, 4.0])
    assert number.written(1.25) == "1.25 lx"
    assert Number.of_targets("light", "", torch.tensor([2.0, 2.0])).scale == 1.0
    with pytest.raises(InputError, match="a positive scale"):
        Number(scale=0.0)


def edited(path, change) -> None:
    saved = checkpoint.load(path)
    metadata = change(copy.deepcopy(saved.metadata))
    model = nn.Module()
    model.state_dict = lambda: {name.removeprefix("model."): tensor for name, tensor in saved.tensors.items()}
    checkpoint.save(path, metadata, model)


def places(value, at=()):
    """The paths to every entry of a JSON value."""
    entries = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, entry in entries:
        yield (*at, key)
        yield from places(entry, (*at, key))


def test_a_description_of_other_types_is_one_sentence(tmp_path):
    """Whatever stands in the file, it is read, or refused in our words."""
    path = tmp_path / "model.safetensors"
    description = DESCRIPTIONS["inr2jls"]
    Pretrained(description.build(), description).save(path)
    content = path.read_bytes()
    whole = checkpoint.load(path).metadata
    every = [at for at in places(whole) if "specs" not in at or len(at) < 5]
    for at in random.Random(0).sample(every, 40):
        for value in (None, -1, "../../x", [], {}, 1e300):

            def change(metadata, at=at, value=value):
                entry = metadata
                for key in at[:-1]:
                    entry = entry[key]
                entry[at[-1]] = value
                return metadata

            path.write_bytes(content)
            edited(path, change)
            with suppress(InputError):
                weightwalk.load(path)


def test_what_is_no_model_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"found no model\.safetensors in it"):
        weightwalk.load(tmp_path)
    with pytest.raises(InputError, match="found no such file"):
        weightwalk.load(tmp_path / "model.safetensors")
    checkpoint.save(tmp_path / "best.safetensors", {"settings": {}}, nn.Linear(2, 2))
    with pytest.raises(InputError, match="got the state of a training"):
        weightwalk.load(tmp_path / "best.safetensors")


@pytest.mark.parametrize("asked", [None, 3, "net.pt", torch.zeros(2, 65), [1], {1, 2}, iter([])], ids=repr)
def test_what_is_no_network_is_refused(asked):
    model = Pretrained(DESCRIPTIONS["number"].build(), DESCRIPTIONS["number"])
    with pytest.raises(InputError, match="expected networks as Weights, a state dict or a module"):
        model.predict(asked)


def test_a_zoo_is_asked_by_its_weights(tmp_path):
    model = Pretrained(DESCRIPTIONS["number"].build(), DESCRIPTIONS["number"])
    with pytest.raises(InputError, match=r"got Zoo; of a zoo, ask predict\(zoo.weights\(rows\)\)"):
        model.predict(tiny_zoo(tmp_path / "zoo", num_images=4))


def test_a_reader_is_trained_in_a_loop_of_one_s_own(tmp_path):
    """Plain PyTorch over a DataLoader of a zoo; nothing of ours but the reader."""
    zoo = tiny_zoo(tmp_path / "zoo", num_images=60)
    encoder = EncoderConfig.named("dng", dim=8, num_frequencies=4).build(zoo.spec)
    reader = Reader(encoder, MLPHead(encoder.encoding_shape, len(zoo.label_names), hidden_dim=16))
    optimizer = torch.optim.Adam(reader.parameters(), lr=1e-2)
    losses = []
    for _ in range(6):
        for batch in DataLoader(zoo, batch_size=20, shuffle=True, generator=torch.Generator().manual_seed(0)):
            loss = F.cross_entropy(reader(batch["weights"]), batch["label"])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
    assert sum(losses[-3:]) < 0.8 * sum(losses[:3])
