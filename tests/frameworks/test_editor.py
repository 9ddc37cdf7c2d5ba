"""Editors of networks: equivariant, nothing at scale zero, trained through what the edited network shows."""

import pytest
import torch

import weightwalk
from weightwalk import InputError, NetworkSpec, Weights
from weightwalk.encoders import EncoderConfig
from weightwalk.frameworks.answers import Classes, Picture
from weightwalk.frameworks.editor import Editor, OffsetSizes, PictureEditor
from weightwalk.frameworks.inr2jls import LatentSizes
from weightwalk.frameworks.pretrained import Description, Latents, Offsets, Pretrained
from weightwalk.heads import HeadConfig
from weightwalk.heads.edit import OffsetHead
from weightwalk.networks.starts import Key, initialise
from weightwalk.symmetry import random_permutations
from weightwalk.testing import assert_batch_alone, assert_close
from weightwalk.zoos.inr.pixels import PixelFormat

SPEC = NetworkSpec.mlp([2, 5, 5, 1])
SHAPE = (1, 4, 6)
DWS = PixelFormat(-0.5, 0.5, "xy")
ENCODER = EncoderConfig.named("dng", dim=6, num_frequencies=3, edges=True, backward=True)
WEIGHTS = initialise(SPEC, [Key(0, 0, number, 0) for number in range(4)], "nfn")
OFFSETS = Description((SPEC,), ENCODER, None, Picture(op="dilate", image_shape=SHAPE), None,
                      Offsets(OffsetSizes(scale=0.3), SHAPE, DWS))  # fmt: skip
SMALL = LatentSizes(("identity",), theta_dim=4, generator_dim=4, latent_dim=4, decoder_dim=4, latent_stride=2)
DECODE = Description((SPEC,), EncoderConfig.named("dng", dim=4, num_frequencies=2), None, OFFSETS.answer,
                     Latents(SMALL, SHAPE))  # fmt: skip


@pytest.fixture
def editor():
    made = OFFSETS.build().eval()
    assert isinstance(made, Editor)
    return made


class Misread(OffsetHead):
    """Bias outputs from node 0 on, as the release's GNN has them."""

    def forward(self, encoding):
        nodes = torch.cat(encoding.nodes, 1)
        sizes = [0, *(group.shape[1] for group in encoding.nodes[1:])]
        groups = [
            nodes[:, start : start + size]
            for start, size in zip(torch.tensor(sizes).cumsum(0), sizes[1:], strict=False)
        ]
        return super().forward(type(encoding)(pooled=encoding.pooled, nodes=(None, *groups), edges=encoding.edges))


def moved(editor, dtype):
    """Editing and then reordering hidden neurons, and the other way round."""
    networks, editor = WEIGHTS.to(dtype), editor.to(dtype)
    orders = random_permutations(SPEC, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        return editor.edit(networks).permute(orders).flat, editor.edit(networks.permute(orders)).flat


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_edit_of_a_reordered_network_is_the_edit_reordered(editor, dtype):
    first, second = moved(editor, dtype)
    assert_close(second, first, what="edited and permuted")
    editor.head.__class__ = Misread
    first, second = moved(editor, dtype)
    with pytest.raises(AssertionError, match="edited and permuted"):
        assert_close(second, first, what="edited and permuted")


def test_what_it_shows_is_the_edited_network_on_the_pixels_of_its_zoo(editor):
    with torch.no_grad():
        edited, shown = editor.edit(WEIGHTS), editor(WEIGHTS)
        assert not torch.equal(edited.flat, WEIGHTS.flat)
        rows, columns = torch.meshgrid(torch.linspace(-1, 1, 4), torch.linspace(-1, 1, 6), indexing="ij")
        points = torch.stack([columns, rows], -1).reshape(-1, 2)
        assert_close(shown.flatten(1), 2 * (edited.run(points)[..., 0] + 0.5) - 1, what="pictures")
        assert_batch_alone(editor, WEIGHTS)
        assert_close(editor([WEIGHTS[2], WEIGHTS[:2]]), shown[[2, 0, 1]], what="a sequence")


def test_scale_zero_changes_nothing():
    sizes = OffsetSizes(scale=0.0)
    editor = sizes.build(ENCODER.build(SPEC), SHAPE, DWS)
    assert torch.equal(editor.edit(WEIGHTS).flat, WEIGHTS.flat)


def test_the_head_has_the_published_parts():
    head = OffsetHead(SPEC, node_dim=3, edge_dim=4)
    assert [tuple(p.shape) for p in head.edges.parameters()] == [(4, 4), (4,), (1, 4), (1,)]
    assert head.weight_scales.tolist() == head.bias_scales.tolist() == pytest.approx([0.01] * 3)


def test_gradients_go_through_what_is_shown(editor):
    editor, networks = editor.double(), WEIGHTS.to(torch.float64)

    def loss():
        return (editor(networks) - 0.3).square().mean()

    loss().backward()
    grads = {name: p.grad for name, p in editor.named_parameters() if p.grad is not None}
    assert all(name in grads for name, _ in editor.head.named_parameters(prefix="head"))
    assert sum(name.startswith("encoder") for name in grads) > 10
    before, slope, step = loss().item(), sum(grad.square().sum().item() for grad in grads.values()), 1e-8
    with torch.no_grad():
        for name, parameter in editor.named_parameters():
            if name in grads:
                parameter -= step * grads[name]
    assert (before - loss().item()) / step == pytest.approx(slope, rel=1e-2)


@pytest.mark.parametrize("description", [OFFSETS, DECODE])
def test_it_is_one_file(description, tmp_path):
    made = Pretrained(description.build(), description).eval()
    made.save(tmp_path / "model.safetensors")
    loaded = weightwalk.load(tmp_path / "model.safetensors")
    assert loaded.description == description
    assert torch.equal(loaded.values(WEIGHTS), made.values(WEIGHTS))
    assert loaded.values(WEIGHTS).shape == (4, *SHAPE)
    told = loaded.predict(WEIGHTS)
    assert torch.tensor(told[2]["picture"]).shape == SHAPE
    wanted = [loaded.description.answer.truth([[[0, 255] * 3] * 4])] * 4
    error = (loaded.values(WEIGHTS) - torch.tensor([-1.0, 1.0] * 3)).square().mean().item()
    assert loaded.description.answer.agreement(told, wanted)[:2] == ("mse", pytest.approx(error))
    if description is OFFSETS:
        edited = loaded.edit(WEIGHTS)
        assert isinstance(edited, Weights)
        assert edited.spec == SPEC
        assert torch.equal(loaded.edit(WEIGHTS.to_state_dict(1)).flat, loaded.edit(WEIGHTS[1]).flat)
        assert_close(loaded.edit([WEIGHTS[1], WEIGHTS[3]]).flat, edited.flat[[1, 3]], what="edits of a sequence")
        with pytest.raises(InputError, match="not finite"):
            loaded.edit(Weights(SPEC, WEIGHTS.flat / 0))


def test_what_edits_nothing_is_refused():
    told = Pretrained(*(lambda d: (d.build(), d))(
        Description((SPEC,), EncoderConfig.named("statnn"), HeadConfig.named("mlp"), Classes(labels=("a", "b")))
    ))  # fmt: skip
    with pytest.raises(InputError, match=r"expected a model that edits networks, got one that tells: ask \.predict"):
        told.edit(WEIGHTS)
    decoding = Pretrained(DECODE.build(), DECODE)
    assert isinstance(decoding.reader, PictureEditor)
    with pytest.raises(InputError, match=r"decodes edited pictures: ask \.values\(networks\)"):
        decoding.edit(WEIGHTS)
    with pytest.raises(InputError, match="but StatNNEncoder gives only pooled encodings; choose an encoder with"):
        OffsetSizes().build(EncoderConfig.named("statnn").build(SPEC), SHAPE, DWS)
    for description in (
        Description((SPEC,), ENCODER, None, OFFSETS.answer),
        Description((SPEC,), ENCODER, HeadConfig.named("mlp"), OFFSETS.answer, None, OFFSETS.offsets),
    ):
        with pytest.raises(InputError, match="expected a model with a head, or one that edits networks or decodes"):
            description.build()
    with pytest.raises(InputError, match="expected one view of an edited picture, got 2"):
        PictureEditor(
            LatentSizes(("identity", "hflip"), latent_stride=2).build(EncoderConfig.named("statnn").build(SPEC), SHAPE)
        )
