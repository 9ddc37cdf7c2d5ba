"""Pretext tasks keep the laws of encoders, whatever the encoder, and say what they want."""

from types import SimpleNamespace

import pytest
import torch

from weightwalk import InputError, NetworkSpec, Weights
from weightwalk.encoders import EncoderConfig, encoders
from weightwalk.frameworks.answers import Classes
from weightwalk.frameworks.inr2jls import LatentSizes
from weightwalk.frameworks.inr_inr import WeightSizes
from weightwalk.frameworks.no_generator import ChannelSizes
from weightwalk.frameworks.pretrained import Description, Latents, Pretrained
from weightwalk.frameworks.pretraining import PRETEXTS, Pretext
from weightwalk.frameworks.reader import Reader
from weightwalk.heads import HeadConfig
from weightwalk.testing import assert_batch_alone, assert_close, assert_invariant, random_weights

SPEC = NetworkSpec.mlp([2, 5, 4, 3], activation="sine")
SHAPE = (3, 8, 8)
SIZES = {"theta_dim": 3, "generator_dim": 4, "latent_dim": 2, "decoder_dim": 5}
SMALL = {
    "inr2jls": LatentSizes(views=("identity", "hflip"), **SIZES),
    "inr_inr": WeightSizes(**SIZES),
    "no_generator": ChannelSizes(decoder_dim=5),
}
HEADS = {"inr2jls": "latent_cnn", "inr_inr": "latent_cnn", "no_generator": "mlp"}
OPTIONS = {
    "dng": {"dim": 4, "num_frequencies": 2},
    "ng_gnn": {"dim": 4, "num_frequencies": 2, "num_layers": 2},
    "ng_t": {
        **{"node_dim": 4, "edge_dim": 4, "attention_dim": 8, "node_hidden": 4, "edge_hidden": 4},
        **{"num_layers": 2, "num_heads": 2, "num_frequencies": 2},
    },
    "nfn": {"dim": 4, "num_frequencies": 2},
    "query": {"num_points": 5, "dim": 6},
}
WEIGHTS = random_weights(SPEC, 4, seed=0, dtype=torch.float64)


def built(pretext: str, encoder: str = "dng", **options):
    torch.manual_seed(0)
    config = EncoderConfig.named(encoder, **{**OPTIONS.get(encoder, {}), **options})
    model = SMALL[pretext].build(config.build(SPEC), SHAPE).double().eval()
    model.prepare(iter([WEIGHTS[:2], WEIGHTS[2:]]))
    return model


def shown(weights: Weights, pictures: torch.Tensor | None = None) -> SimpleNamespace:
    return SimpleNamespace(networks=lambda: weights, pictures=lambda: pictures)


def test_every_pretext_task_is_tried_here():
    assert set(SMALL) == set(PRETEXTS) == set(HEADS)
    assert all(Pretext.named(name) == type(one)() and one.name == name for name, one in SMALL.items())


@pytest.mark.parametrize("pretext", SMALL)
@pytest.mark.parametrize("encoder", encoders)
def test_any_encoder_goes_under_any_pretext_task(pretext, encoder):
    if pretext == "no_generator" and built("inr2jls", encoder).encoder.pooled_dim % 3:
        with pytest.raises(InputError, match="expected an encoding with a part for each of the picture's 3 channels"):
            built(pretext, encoder)
        return
    model = built(pretext, encoder)
    assert model.access == model.encoder.access == ("query" if encoder == "query" else "weights")
    outputs, pictures = model(WEIGHTS), torch.rand(4, *SHAPE, dtype=torch.float64)
    assert outputs.shape == SMALL[pretext].wanted(model, shown(WEIGHTS, pictures), training=True).shape
    assert model.encode(WEIGHTS).shape == (4, *model.encoding_shape)
    assert_batch_alone(model, WEIGHTS)
    if model.encoder.invariant:
        assert_invariant(model, WEIGHTS)
    head = HeadConfig.named(HEADS[pretext], hidden_dim=4).build(model.encoding_shape, 2).double().eval()
    reader = Reader(model, head)
    torch.nn.functional.mse_loss(model(WEIGHTS), torch.zeros_like(outputs)).backward()
    untrained = {name for name, one in model.named_parameters() if one.grad is None or not one.grad.any()}
    assert all(name.startswith("encoder.") for name in untrained), untrained
    assert reader(WEIGHTS).shape == (4, 2)


@pytest.mark.parametrize("pretext", SMALL)
def test_a_model_of_it_survives_its_file(pretext, tmp_path):
    description = Description(
        (SPEC,),
        EncoderConfig.named("dng", **OPTIONS["dng"]),
        HeadConfig.named(HEADS[pretext], hidden_dim=4),
        Classes(labels=("a", "b")),
        Latents(SMALL[pretext], SHAPE),
    )
    model = Pretrained(description.build().eval(), description)
    weights = WEIGHTS.to(torch.float32)
    model.reader.encoder.prepare([weights])
    model.save(tmp_path / "model.safetensors")
    again = Pretrained.load(tmp_path / "model.safetensors")
    assert again.description == description
    assert torch.equal(again(weights), model(weights))
    if pretext == "inr2jls":
        values = description.to_dict()
        del values["latents"]["sizes"]["name"]  # as in files that are older than the others
        assert Description.from_dict(values, tmp_path) == description


def test_inr_inr_wants_every_tensor_standardised_where_it_lies():
    model = built("inr_inr", "flat")  # an encoder that looks at the same batches
    wanted = SMALL["inr_inr"].wanted(model, shown(WEIGHTS), training=True)
    assert wanted.shape == WEIGHTS.flat.shape
    found = Weights(SPEC, wanted)
    for own, raw in zip((*found.weights, *found.biases), (*WEIGHTS.weights, *WEIGHTS.biases), strict=True):
        assert_close(own, (raw - raw.mean()) / raw.std(correction=0), what="standardised")
    assert_close(model.encoder.standardise.mean, WEIGHTS.flat.mean(0), what="the encoder's own")
    both = [decoder(model.encode(WEIGHTS)) for decoder in model.decoders]
    said = Weights(SPEC, model(WEIGHTS))
    for tensors, decoded in zip((said.weights, said.biases), both, strict=True):
        assert_close(torch.cat([x.flatten(1) for x in tensors], dim=1), decoded, what="weights, then biases")


def test_without_a_generator_a_channel_is_decoded_from_its_neuron_s_memory():
    model = built("no_generator")
    memories = model.encoder(WEIGHTS).nodes[-1]
    pictures = model(WEIGHTS)
    for channel in range(3):
        alone = model.decoder(memories[:, channel]).reshape(4, 8, 8)
        assert_close(pictures[:, 0, channel], alone, what=f"channel {channel}")
    with pytest.raises(InputError, match="of the picture's 1 channels, got 12 numbers of networks of 3 outputs"):
        SMALL["no_generator"].build(model.encoder, (1, 8, 8))


def test_noise_is_in_training_alone_and_drawn_anew():
    sizes = LatentSizes(views=("identity", "hflip"), noise=0.5)
    pictures = torch.full((2, 1, 4, 4), 0.9)

    def wanted(seed: int, training: bool = True) -> torch.Tensor:
        torch.manual_seed(seed)
        return sizes.wanted(None, shown(WEIGHTS, pictures), training)

    assert torch.equal(wanted(0, training=False), pictures[:, None].expand(-1, 2, -1, -1, -1))
    one = wanted(0)
    assert one.abs().max() <= 1
    assert torch.equal(one, wanted(0))
    assert not torch.equal(one, wanted(1))
    assert not torch.equal(one[0], one[1])
    assert torch.equal(one[:, 1], one[:, 0].flip(-1)), "the noisy picture is what is turned"
    with pytest.raises(InputError, match="noise must be a number of at least 0"):
        LatentSizes(noise=-1.0)


def test_a_method_has_its_own_pretext_task():
    with pytest.raises(InputError, match=r"got inr_inr; choose a recipe of the method inr_inr, such as digits_inr_inr"):
        LatentSizes().named("inr_inr")
    with pytest.raises(InputError, match="unknown pretext task 'x'"):
        LatentSizes().named("x")
    with pytest.raises(InputError, match=r"decodes pictures \(C, H, W\)"):
        WeightSizes().build(EncoderConfig.named("statnn").build(SPEC), (1, 30))
