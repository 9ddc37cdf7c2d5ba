"""Recipes of fitting: what network one signal becomes, where it starts, how it is fitted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from weightwalk import config
from weightwalk.errors import InputError
from weightwalk.networks.starts import Scheme, resolve
from weightwalk.registry import Registry, unknown
from weightwalk.spec import Dense, NetworkSpec
from weightwalk.steps import ACTIVATIONS, FITTED, SCALED
from weightwalk.zoos.inr.engine import Descent
from weightwalk.zoos.inr.pixels import Fourier, PixelFormat


@dataclass(frozen=True)
class FitRecipe:
    """How one signal (a picture, a sound, a volume) becomes one INR: an MLP with a linear last layer.

    `omega` holds one frequency for all hidden layers or one for each; left out, it is the activation's own. So is the
    `scheme` of starts `auto` (see `networks.starts`); the recipe then has its name.
    """

    name: str
    hidden: tuple[int, ...] = (32, 32)
    activation: str = "sine"
    omega: tuple[float, ...] = ()
    scheme: Scheme = "auto"
    pixels: PixelFormat = PixelFormat()  # noqa: RUF009 (frozen)
    descent: Descent = Descent(steps=400, learning_rate=6.25e-4, betas=(0.4, 0.97), decay=0.1)  # noqa: RUF009 (frozen)

    def __post_init__(self) -> None:
        if self.activation not in FITTED:
            raise InputError(unknown("activation of a fit", self.activation, list(FITTED)))
        object.__setattr__(self, "hidden", tuple(self.hidden))
        object.__setattr__(self, "omega", tuple(self.omega) or (ACTIVATIONS[self.activation].omega,))
        object.__setattr__(self, "scheme", resolve(self.scheme, {self.activation}))
        config.bounded(self, "hidden", 1)
        config.bounded(self, "omega", above=0)
        if not self.hidden:
            raise InputError(f"expected at least one hidden layer in the fit recipe {self.name!r}, got none")
        if len(self.omega) not in (1, len(self.hidden)):
            raise InputError(
                f"expected one omega for all {len(self.hidden)} hidden layers or one for each, got {self.omega}"
            )
        if self.activation not in SCALED and set(self.omega) != {1.0}:
            raise InputError(
                f"omega scales {' and '.join(SCALED)} layers, got {self.omega} for {self.activation}; leave it out"
            )

    def spec(self, num_axes: int, channels: int) -> NetworkSpec:
        """The network of a signal on `num_axes` axes: coordinates (or their features) in, one output per channel."""
        omegas = self.omega * len(self.hidden) if len(self.omega) == 1 else self.omega
        widths = pairwise([self.pixels.num_inputs(num_axes), *self.hidden])
        hidden = [Dense(i, o, self.activation, omega) for (i, o), omega in zip(widths, omegas, strict=True)]
        return NetworkSpec((*hidden, Dense(self.hidden[-1], channels)))


FIT_RECIPES: Registry[FitRecipe] = Registry("fit recipe")
# Ours: `nfn`'s descent in 400 steps of twelve times the length. Rate and memories of Adam scale together (1 - beta by
# twelve, then some for sharpness), so that the weights go where nfn's go: displacements have a cosine of .77 to nfn's,
# where other descents to the same PSNR in as many steps have .4 to .6. That is what keeps them readable: classifiers of
# weights do as well on these as on nfn's.
FIT_RECIPES.register("fast")(FitRecipe("fast"))
# Pictures of 8 x 8: 40 dB after 30 steps. More would only move the weights away from what the picture says.
FIT_RECIPES.register("tiny")(FitRecipe("tiny", descent=Descent(steps=30, learning_rate=3e-3, decay=1.0)))
# The NFN zoo's protocol (spec: DNG paper, appendix): Adam 5e-5, 5,000 whole-image steps.
FIT_RECIPES.register("nfn")(FitRecipe("nfn", descent=Descent(steps=5000, learning_rate=5e-5)))
# The DWS zoo's, as it is reported: outputs are offset by half (black is -.5, white is .5), coordinate 0 is the column,
# stop above 40 dB. That makes 24 dB, and hidden weights that spread 8 and 14 % less than the published MNIST networks'
# (`overview.py`), which look like 1,500 to 2,000 such steps; those of Fashion-MNIST look like 10,000.
FIT_RECIPES.register("dws")(
    FitRecipe(
        "dws",
        scheme="dws",
        pixels=PixelFormat(-0.5, 0.5, "xy"),
        descent=Descent(steps=1000, learning_rate=5e-4, stop_loss=1e-4),
    )
)
# Ours, other activations: 44 and 41 dB on 48 pictures of MNIST, the worst of them 32. ReLU reads Fourier features of
# the coordinates (Tancik et al. 2020), because of coordinates alone it makes 15 dB. Gaussians (Ramasinghe & Lucey 2022,
# Beyond Periodicity) need none.
FIT_RECIPES.register("fourier")(
    FitRecipe(
        "fourier",
        activation="relu",
        pixels=PixelFormat(fourier=Fourier(32, 2.0)),
        descent=Descent(steps=400, learning_rate=1e-2, decay=1.0),
    )
)
FIT_RECIPES.register("gaussian")(
    FitRecipe("gaussian", activation="gaussian", descent=Descent(steps=1000, learning_rate=1e-2, decay=1.0))
)
# Sounds of a second at 8 kHz: 49 dB on synthetic speech, plucked strings, a chord, a chirp and white noise, the worst
# 45. The first omega is that of Sitzmann et al. 2020; it should grow with the number of samples.
FIT_RECIPES.register("audio")(
    FitRecipe(
        "audio",
        hidden=(64, 64, 64),
        omega=(3000.0, 30.0, 30.0),
        descent=Descent(steps=500, learning_rate=1e-3, decay=1.0),
    )
)
# Volumes of 32^3: occupancy 33 to 40 dB, at which 99.9 % of the full voxels are right, signed distances 42 to 52.
FIT_RECIPES.register("grid")(
    FitRecipe("grid", hidden=(32, 32, 32), descent=Descent(steps=400, learning_rate=3e-3, decay=1.0))
)

_USUAL = {"digits": "tiny", "audio": "audio", "grids": "grid"}


def usual(dataset: str) -> str:
    """The recipe that suits a data set's signals."""
    return _USUAL.get(dataset, "fast")


def changed(recipe: FitRecipe, settings: Sequence[str]) -> FitRecipe:
    """A recipe with other settings, `KEY=VALUE`; a new activation brings its own omega and scheme unless given."""
    if not settings:
        return recipe
    for activation in [
        text.partition("=")[2].strip() for text in settings if text.partition("=")[0].strip() == "activation"
    ]:
        recipe = replace(recipe, activation=activation, omega=(), scheme="auto")
    return replace(config.override(recipe, settings), name=f"{recipe.name} (changed)")
