import pytest
import torch
from torch import nn
from torch.nn import functional as F

from weightwalk import InputError, NetworkSpec
from weightwalk.encoders import DNGEncoder
from weightwalk.frameworks import views
from weightwalk.frameworks.inr2jls import INR2JLS
from weightwalk.frameworks.reader import Reader
from weightwalk.heads import LatentCNN
from weightwalk.heads.latents import ConvDecoder, LatentGenerator, num_doublings
from weightwalk.testing import (
    assert_batch_alone,
    assert_captured,
    assert_close,
    assert_invariant,
    assert_save_load,
    assert_vmap,
    random_weights,
)

SPEC = NetworkSpec.mlp([2, 5, 4, 1])
SIZES = {"theta_dim": 3, "generator_dim": 7, "latent_dim": 4, "decoder_dim": 6}


def model_for(image_shape=(1, 8, 12), **options) -> INR2JLS:
    return INR2JLS(DNGEncoder(SPEC, dim=4, num_frequencies=2), image_shape, **{**SIZES, **options})


@pytest.mark.parametrize(
    ("image_shape", "num_views", "stride", "grid"),
    [
        ((1, 8, 8), 6, 4, (2, 2)),
        ((3, 8, 12), 2, 4, (2, 3)),
        ((1, 28, 28), 6, 4, (7, 7)),
        ((3, 32, 32), 1, 2, (16, 16)),
        ((2, 16, 8), 3, 8, (2, 1)),
    ],
)
def test_sizes_come_from_data_and_options(image_shape, num_views, stride, grid):
    model = model_for(image_shape, num_views=num_views, latent_stride=stride)
    weights = random_weights(SPEC, 3, seed=0)
    assert model.grid == grid
    assert model.latents(weights).shape == (3, num_views * grid[0] * grid[1], 4)
    assert model.encode(weights).shape == (3, *model.encoding_shape) == (3, num_views, 4, *grid)
    assert model(weights).shape == (3, num_views, *image_shape)


def test_compilers_and_torch_func_see_through_it_and_a_reader_of_it():
    spec = NetworkSpec.mlp([2, 3])  # compiling takes seconds per layer
    weights, encoder = random_weights(spec, 2, seed=0), DNGEncoder(spec, dim=4, num_frequencies=2)
    model = INR2JLS(encoder, (1, 8, 8), num_views=2, **SIZES)
    for module in (model, Reader(model, LatentCNN(model.encoding_shape, 3, hidden_dim=4))):
        assert_vmap(module, weights)
        assert_captured(module, weights)


def test_latents_are_ordered_by_view_then_row_then_column():
    model = model_for((1, 8, 12), num_views=2)
    weights = random_weights(SPEC, 2, seed=0)
    latents, maps = model.latents(weights), model.encode(weights)
    for view in range(2):
        for row in range(2):
            for column in range(3):
                assert torch.equal(maps[:, view, :, row, column], latents[:, (view * 2 + row) * 3 + column])


def test_every_view_is_decoded_alone():
    model = model_for().double()
    weights = random_weights(SPEC, 2, seed=0, dtype=torch.float64)
    maps, pictures = model.encode(weights), model(weights)
    for view in range(6):
        assert_close(pictures[:, view], model.decoder(maps[:, view]), what=f"view {view}")


def test_the_split_first_layer_is_the_mlp_of_the_concatenation():
    generator = LatentGenerator(num_latents=5, memory_dim=3, encoding_dim=4, hidden_dim=6, latent_dim=2).double()
    encoding = torch.randn(7, 4, dtype=torch.float64)
    both = torch.cat([generator.theta.expand(7, -1, -1), encoding[:, None].expand(-1, 5, -1)], dim=2)
    expected = F.linear(
        F.relu(F.linear(both, generator.fuse.weight, generator.fuse.bias)),
        generator.project.weight,
        generator.project.bias,
    )
    assert_close(generator(encoding), expected, what="latents")
    swapped = torch.cat([both[..., 3:], both[..., :3]], dim=2)
    twin = generator.project(F.relu(generator.fuse(swapped)))
    assert (twin - expected).abs().max() > 0.01, "the order of the concatenation must matter"


def test_the_decoder_is_torch_s_transposed_convolutions():
    decoder = ConvDecoder(latent_dim=4, hidden_dim=6, image_channels=3).double()
    first, last = decoder.layers[0], decoder.layers[2]
    x = torch.randn(2, 4, 7, 5, dtype=torch.float64)
    hidden = F.relu(F.conv_transpose2d(x, first.weight, first.bias, stride=2, padding=1))
    expected = F.conv_transpose2d(hidden, last.weight, last.bias, stride=2, padding=1)
    assert expected.shape == (2, 3, 28, 20)
    assert_close(decoder(x), expected, what="pictures")
    assert [type(layer) for layer in decoder.layers] == [nn.ConvTranspose2d, nn.ReLU, nn.ConvTranspose2d]
    assert [type(layer) for layer in ConvDecoder(4, 6, 3, num_doublings=1).layers] == [nn.ConvTranspose2d]


@torch.no_grad()
def test_the_decoder_s_parameters_are_the_paper_s():
    model = INR2JLS(DNGEncoder(SPEC, dim=512, num_frequencies=2), (1, 28, 28))
    assert model.generator.theta.shape == (6 * 49, 512)
    assert model.generator.fuse.weight.shape == (1024, 1024)
    assert model.generator.project.weight.shape == (128, 1024)
    assert [tuple(layer.weight.shape) for layer in model.decoder.layers if hasattr(layer, "weight")] == [
        (128, 256, 4, 4),
        (256, 1, 4, 4),
    ]


def test_the_laws_of_encoders_hold_for_the_framework():
    weights = random_weights(SPEC, 3, seed=0)
    model = model_for()
    for answer in (model.latents, model.encode, model):
        assert_invariant(answer, weights)
        assert_batch_alone(answer, weights)
    assert_save_load(model_for, weights)


def test_doublings():
    assert [num_doublings((1, 32, 32), (size, size)) for size in (16, 8, 4, 1)] == [1, 2, 3, 5]
    assert num_doublings((1, 8, 12), (2, 3)) == 2


@pytest.mark.parametrize("grid", [(32, 32), (10, 10), (8, 16), (31, 31), (64, 64), (0, 0)])
def test_a_grid_that_never_doubles_to_the_image_is_refused(grid):
    with pytest.raises(InputError, match=r"the image's size \(32 x 32\) divided by 2, 4, 8, .*latent_stride"):
        num_doublings((1, 32, 32), grid)


@pytest.mark.parametrize("stride", [0, 1, 3, 5, 16, 64])
def test_a_stride_that_does_not_fit_is_refused(stride):
    with pytest.raises(InputError, match="latent_stride"):
        model_for((1, 12, 12), latent_stride=stride)


# views, on a picture without symmetry, row by row

PICTURE = torch.tensor([[1.0, 2.0], [3.0, 4.0]])[None, None]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("identity", [[1, 2], [3, 4]]),
        ("hflip", [[2, 1], [4, 3]]),
        ("vflip", [[3, 4], [1, 2]]),
        ("rot90", [[2, 4], [1, 3]]),
        ("rot270", [[3, 1], [4, 2]]),
        ("rot180", [[4, 3], [2, 1]]),
    ],
)
def test_views_of_a_picture(name, expected):
    assert views.transform(PICTURE, [name])[0, 0, 0].tolist() == expected


def test_views_keep_channels_and_order():
    pictures = torch.randn(3, 2, 4, 4)
    seen = views.transform(pictures, views.PAPER_VIEWS)
    assert seen.shape == (3, 6, 2, 4, 4)
    assert torch.equal(seen[:, 0], pictures)
    assert torch.equal(seen[1, 3, 1], pictures[1, 1].rot90())
    assert len(views.PAPER_VIEWS) == 6
    assert set(views.PAPER_VIEWS) == set(views.VIEWS)


def test_views_that_cannot_be_are_refused():
    views.check(["identity", "rot180"], (1, 8, 12))
    with pytest.raises(InputError, match="'rot90' needs square pictures, got 8 x 12"):
        views.check(["identity", "rot90"], (1, 8, 12))
    with pytest.raises(InputError, match="unknown view 'rot45'"):
        views.check(["rot45"], (1, 8, 8))
    with pytest.raises(InputError, match="at least one view"):
        views.check([], (1, 8, 8))


# classifier of the frozen latents

CONV, CONV_STRIDE_2 = ("Conv2d", (3, 3), (1, 1)), ("Conv2d", (3, 3), (2, 2))
ACTIVATED = ["BatchNorm2d", "ReLU"]
END = [("Conv2d", (1, 1), (1, 1)), *ACTIVATED, "AdaptiveMaxPool2d", "Flatten"]


def layer_list(trunk: nn.Sequential) -> list:
    return [
        (type(layer).__name__, layer.kernel_size, layer.stride)
        if isinstance(layer, nn.Conv2d)
        else type(layer).__name__
        for layer in trunk
    ]


@pytest.mark.parametrize("grid", [1, 2, 3, 5, 7, 8, 16])
def test_the_classifier_reads_any_grid(grid):
    classifier = LatentCNN((2, 4, grid, grid), 3, hidden_dim=6)
    assert classifier(torch.randn(5, 2, 4, grid, grid)).shape == (5, 3)


def test_the_classifier_is_the_paper_s_for_its_two_grids():
    """A last max pool of 2 on a 2 x 2 map is the adaptive one of ours."""
    small, large = (LatentCNN((6, 128, grid, grid), 10) for grid in (7, 8))
    assert layer_list(small.trunk) == [CONV_STRIDE_2, *ACTIVATED, "MaxPool2d", "Dropout", *END]
    assert layer_list(large.trunk) == [
        CONV,
        *ACTIVATED,
        "MaxPool2d",
        "Dropout",
        CONV,
        *ACTIVATED,
        "MaxPool2d",
        "Dropout",
        *END,
    ]
    for classifier, grid in ((small, 7), (large, 8)):
        before_pool = classifier.trunk[:-2](torch.randn(2, 128, grid, grid))
        assert before_pool.shape == (2, 256, 2, 2)
        assert [layer.p for layer in classifier.modules() if isinstance(layer, nn.Dropout)][-2:] == [0.5, 0.5]
        assert [layer.p for layer in classifier.trunk if isinstance(layer, nn.Dropout)] == [0.2] * (
            1 if grid == 7 else 2
        )
    linears = [(layer.in_features, layer.out_features) for layer in large.mlp.layers if isinstance(layer, nn.Linear)]
    assert linears == [(256, 256), (256, 256), (256, 10)]
