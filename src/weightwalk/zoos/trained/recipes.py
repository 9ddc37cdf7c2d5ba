"""Recipes of zoos of trained networks: which architectures, which hyperparameters a run draws, which checkpoints it
keeps.

Everything that a run draws is a function of (seed, run). The recipes named after a kind are meant for two cores: a
fifth of the training pictures and few epochs. Those that end in `-published` are the protocols of the papers.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from weightwalk import config
from weightwalk.errors import InputError
from weightwalk.networks.architectures import simple_vit, small_cnn, wild_park
from weightwalk.networks.starts import CLASSIFIER_SCHEMES, Key, uniform
from weightwalk.registry import Registry, unknown
from weightwalk.spec import ACTIVATIONS
from weightwalk.zoos.trained.draws import ORDERS, Draw, Drawn
from weightwalk.zoos.trained.trainer.settings import OPTIMIZERS, Optimizer

_SMALLEST = 15  # pixels a side of which three convolutions of the Small CNN Zoo leave one


@dataclass(frozen=True)
class TrainRecipe(ABC):
    """How one network becomes a run of a zoo.

    `checkpoints` are the numbers of epochs after which a checkpoint is kept (0: the start), of those up to `epochs`,
    and the last epoch is always one. `train_images` and `test_images` limit the pictures (none: all); train figures of
    checkpoints are taken over the first
    `scored_images` training pictures, without dropout or augmentation. Pixels become (x / 255 - mean) / std, of one
    mean and std for all channels or one for each. `drop_last` leaves out the pictures that would make a smaller last
    batch.
    """

    kind: ClassVar[str]

    name: str
    epochs: int
    checkpoints: tuple[int, ...]
    batch_size: int
    train_images: int | None = None
    test_images: int | None = None
    scored_images: int | None = 2_000
    grey: bool = False
    mean: tuple[float, ...] = (0.5,)
    std: tuple[float, ...] = (0.5,)
    augment: bool = False
    drop_last: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "checkpoints", tuple(self.checkpoints))
        object.__setattr__(self, "mean", tuple(self.mean))
        object.__setattr__(self, "std", tuple(self.std))
        config.bounded(self, "epochs batch_size train_images test_images scored_images", 1)
        config.bounded(self, "checkpoints", 0)
        config.bounded(self, "std", above=0)
        if not (self.mean and self.std):
            raise InputError(f"expected means and standard deviations, got mean={self.mean} std={self.std}")
        if list(self.checkpoints) != sorted(set(self.checkpoints)):
            raise InputError(f"expected increasing numbers of epochs from 0 as checkpoints, got {self.checkpoints}")

    @abstractmethod
    def drawn(self, image_shape: tuple[int, ...], classes: int, seed: int, run: int) -> Drawn:
        """What a run does with pictures (C, H, W)."""

    @property
    def kept(self) -> tuple[int, ...]:
        """The numbers of epochs after which a checkpoint is kept."""
        return (*(number for number in self.checkpoints if number < self.epochs), self.epochs)

    def normalisation(self, channels: int) -> tuple[list[float], list[float]]:
        """Scale and offset of the pixels 0 ... 255 of each channel."""
        if not {len(self.mean), len(self.std)} <= {1, channels}:
            raise InputError(
                f"expected one mean and std, or one for each of {channels} channels, got {self.mean} and {self.std}; "
                "give others with --set mean=0.5 --set std=0.5"
            )
        mean, std = (values * channels if len(values) == 1 else values for values in (self.mean, self.std))
        return [1 / (255 * s) for s in std], [-m / s for m, s in zip(mean, std, strict=True)]


def _check(name: str, values: Sequence[str], known: Collection[str]) -> None:
    for value in values:
        if value not in known:
            raise InputError(unknown(name, value, list(known)))
    if not values:
        raise InputError(f"expected at least one {name}, got none; known: {', '.join(known)}")


@dataclass(frozen=True)
class SmallCNN(TrainRecipe):
    """The Small CNN Zoo (Unterthiner et al. 2020): one architecture, many hyperparameters; ranges log-uniform, dropout
    uniform.

    Grey is the mean of the three colours, pixels are in [-1, 1], MNIST and Fashion-MNIST stay 28 x 28, all as in the
    release, which the network, that takes a mean over all positions, allows. The ranges are those that the paper
    reports. `l2` is Keras's factor of the sum of squares, so that the weight decay is twice as much; unlike there, it
    also acts on biases.
    """

    kind: ClassVar[str] = "cnn"

    grey: bool = True
    drop_last: bool = True
    optimizers: tuple[str, ...] = ("adam", "sgd", "rmsprop")
    learning_rate: tuple[float, ...] = (5e-4, 5e-2)
    l2: tuple[float, ...] = (1e-8, 1e-2)
    init_std: tuple[float, ...] = (1e-3, 0.5)
    dropout: tuple[float, ...] = (0.0, 0.7)
    train_fractions: tuple[float, ...] = (0.1, 0.25, 0.5, 1.0)
    inits: tuple[str, ...] = ("glorot", "he", "orthogonal", "normal", "truncated")
    activations: tuple[str, ...] = ("relu", "tanh")

    def __post_init__(self) -> None:
        super().__post_init__()
        _check("optimizer", self.optimizers, OPTIMIZERS)
        _check("init", self.inits, CLASSIFIER_SCHEMES)
        _check("activation", self.activations, ACTIVATIONS)
        config.bounded(self, "learning_rate l2 init_std", above=0)
        config.bounded(self, "dropout", 0, below=1)
        config.bounded(self, "train_fractions", above=0, most=1)
        for name in ("learning_rate", "l2", "init_std", "dropout"):
            bounds = getattr(self, name)
            if len(bounds) != 2 or bounds[0] > bounds[1]:
                raise InputError(f"expected {name} as two numbers, the lower first, got {bounds}")
        if not self.train_fractions:
            raise InputError("expected at least one of train_fractions, got none")

    def drawn(self, image_shape: tuple[int, ...], classes: int, seed: int, run: int) -> Drawn:
        if min(image_shape[1:]) < _SMALLEST:
            raise InputError(
                f"expected pictures of at least {_SMALLEST} x {_SMALLEST} for three convolutions, got {image_shape[1:]}"
            )
        draw = Draw(seed, run)
        return Drawn(
            optimizer=draw.one_of(self.optimizers),
            learning_rate=draw.log_between(self.learning_rate),
            weight_decay=2.0 * draw.log_between(self.l2),
            std=draw.log_between(self.init_std),
            dropout=draw.between(self.dropout),
            train_fraction=draw.one_of(self.train_fractions),
            scheme=draw.one_of(self.inits),
            spec=small_cnn(image_shape[0], classes, draw.one_of(self.activations)),
            checkpoints=self.kept,
        )


@dataclass(frozen=True)
class WildPark(TrainRecipe):
    """The CNN Wild Park (Kofinas et al. 2024): many architectures, one set of hyperparameters.

    Uniform: the number of convolutions; of each its channels, its kernel, its activation, and for convolution i >= 1
    the source of a residual among -1 (none), 0, ..., i - 2. Mean and std are those of CIFAR-10; give others for other
    pictures.
    """

    kind: ClassVar[str] = "wild-park"

    mean: tuple[float, ...] = (0.4914, 0.4822, 0.4465)
    std: tuple[float, ...] = (0.2470, 0.2435, 0.2616)
    layers: tuple[int, ...] = (2, 3, 4, 5)
    channels: tuple[int, ...] = (4, 8, 16, 32)
    kernels: tuple[int, ...] = (3, 5, 7)
    activations: tuple[str, ...] = ("relu", "gelu", "tanh", "sigmoid", "leaky_relu")
    optimizer: Optimizer = "adamw"
    learning_rate: float = 1e-3
    weight_decay: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        _check("optimizer", [self.optimizer], OPTIMIZERS)
        _check("activation", self.activations, ACTIVATIONS)
        config.bounded(self, "layers", 1, most=12)
        config.bounded(self, "channels kernels", 1)
        config.bounded(self, "learning_rate", above=0)
        config.bounded(self, "weight_decay", 0)
        if not (self.layers and self.channels and self.kernels):
            raise InputError("expected at least one of layers, channels and kernels each, got none")
        if any(kernel % 2 == 0 for kernel in self.kernels):
            raise InputError(f"expected odd kernels, which keep the size of the values, got {self.kernels}")

    def drawn(self, image_shape: tuple[int, ...], classes: int, seed: int, run: int) -> Drawn:
        draw = Draw(seed, run)
        depth = draw.one_of(self.layers)
        widths, kernels, activations = (
            [draw.one_of(options) for _ in range(depth)] for options in (self.channels, self.kernels, self.activations)
        )
        residual = [-1, *(draw.one_of((-1, *range(i - 1))) for i in range(1, depth))]
        return Drawn(
            wild_park(widths, kernels, activations, residual, image_shape[0], classes),
            *("torch", 0.0, self.optimizer, self.learning_rate, self.weight_decay, 0.0, 1.0),
            checkpoints=self.kept,
        )


@dataclass(frozen=True)
class ViT(TrainRecipe):
    """The ViT zoo (Wu et al. 2026): one architecture, one set of hyperparameters, runs of different lengths.

    Run i ends after `stops`[i mod 9] epochs; `checkpoints` before that are kept as well (the published zoo has none).
    The release counts epochs from 0 and keeps a model when its epoch is over, so that its (0, 1, 2, 3, 5, 10, 13, 18,
    23) are one less than ours. Pictures are mirrored and shifted by up to 4 pixels, pixels are in [-1, 1]; what a shift
    brings in is 0 (in the release black, -1).
    """

    kind: ClassVar[str] = "vit"

    augment: bool = True
    stops: tuple[int, ...] = (1, 2, 3, 4, 6, 11, 14, 19, 24)
    dim: int = 32
    depth: int = 2
    heads: int = 4
    dim_head: int = 16
    mlp: int = 64
    patch: int = 4
    optimizer: Optimizer = "adam"
    learning_rate: float = 1e-3

    def __post_init__(self) -> None:
        super().__post_init__()
        _check("optimizer", [self.optimizer], OPTIMIZERS)
        config.bounded(self, "stops", 0)
        config.bounded(self, "dim depth heads dim_head mlp patch", 1)
        config.bounded(self, "learning_rate", above=0)
        if not self.stops:
            raise InputError("expected numbers of epochs as stops, got none")

    def drawn(self, image_shape: tuple[int, ...], classes: int, seed: int, run: int) -> Drawn:
        stop = min(self.epochs, self.stops[run % len(self.stops)])
        return Drawn(
            simple_vit(image_shape, classes, self.dim, self.depth, self.heads, self.dim_head, self.mlp, self.patch),
            *("torch", 0.0, self.optimizer, self.learning_rate, 0.0, 0.0, 1.0),
            checkpoints=(*(number for number in self.checkpoints if number < stop), stop),
        )


TRAIN_RECIPES: Registry[TrainRecipe] = Registry("recipe of trained networks")
# For two cores: fewer pictures, but smaller batches, so that a run takes about as many steps as a published one (cnn),
# or at least enough to learn something. See `RUNS` for how long they take.
TRAIN_RECIPES.register("cnn")(SmallCNN("cnn", 20, (1, 2, 5, 10), 64, train_images=20_000))
TRAIN_RECIPES.register("wild-park")(WildPark("wild-park", 8, (1, 2, 4), 64, train_images=5_000, test_images=5_000))
TRAIN_RECIPES.register("vit")(ViT("vit", 24, (1, 2, 4, 8, 16), 64, train_images=10_000, test_images=5_000))
# The papers'. Checkpoints of the Wild Park every 10 of up to 1,000 epochs are what is reported; the released generator
# stops at 200.
TRAIN_RECIPES.register("cnn-published")(
    SmallCNN("cnn-published", 86, (0, 1, 2, 3, 20, 40, 60, 80), 512, scored_images=None)
)
TRAIN_RECIPES.register("wild-park-published")(WildPark("wild-park-published", 1000, tuple(range(10, 1000, 10)), 512))
TRAIN_RECIPES.register("vit-published")(ViT("vit-published", 24, (), 128, scored_images=None))

RUNS = {"cnn": 1_000, "wild-park": 500, "vit": 100}
"""The kinds of zoos, and how many runs one has where nobody says: two cores train them in half an hour, the Wild Park
in 1.5 hours.
"""


def recipe(kind: str, name: str | None, settings: Sequence[str]) -> TrainRecipe:
    """The recipe of a kind by its name (default: the one for two cores), with other settings, `KEY=VALUE`."""
    if kind not in RUNS:
        raise InputError(unknown("kind of zoo", kind, list(RUNS)))
    found = TRAIN_RECIPES[name or kind]
    if found.kind != kind:
        fitting = [key for key, other in TRAIN_RECIPES.items() if other.kind == kind]
        raise InputError(f"expected a recipe of {kind} networks ({', '.join(fitting)}), got {name!r} of {found.kind}")
    return replace(config.override(found, settings), name=f"{found.name} (changed)") if settings else found


def order(drawn: Drawn, recipe: TrainRecipe, images: int, seed: int, run: int, epoch: int) -> NDArray[np.int32]:
    """Which pictures one epoch (from 1) sees, in which order: (M,). Those of a fraction are the first ones."""
    count = max(1, int(drawn.train_fraction * images))
    numbers = np.argsort(uniform(Key(seed, ORDERS, run, epoch), count), kind="stable").astype(np.int32)
    return (
        numbers[: count // recipe.batch_size * recipe.batch_size]
        if recipe.drop_last and count > recipe.batch_size
        else numbers
    )
