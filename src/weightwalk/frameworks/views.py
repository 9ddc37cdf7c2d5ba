"""The views of INR2JLS: transforms of a picture that a network is asked to show besides the picture itself."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import Tensor

from weightwalk.errors import InputError
from weightwalk.registry import Registry

VIEWS: Registry[Callable[[Tensor], Tensor]] = Registry("view")
VIEWS.register("identity")(lambda pictures: pictures)
VIEWS.register("hflip")(lambda pictures: pictures.flip(-1))
VIEWS.register("vflip")(lambda pictures: pictures.flip(-2))
VIEWS.register("rot90")(lambda pictures: pictures.rot90(1, (-2, -1)))
VIEWS.register("rot270")(lambda pictures: pictures.rot90(-1, (-2, -1)))
VIEWS.register("rot180")(lambda pictures: pictures.rot90(2, (-2, -1)))

PAPER_VIEWS = ("identity", "hflip", "vflip", "rot90", "rot270", "rot180")


def check(names: Sequence[str], image_shape: Sequence[int]) -> tuple[int, int, int]:
    """The shape (C, H, W); InputError for no picture, an unknown view, none at all, or a quarter turn of one that is
    not square.
    """
    if len(image_shape) != 3:
        raise InputError(
            f"INR2JLS decodes pictures (C, H, W), got signals of the shape {tuple(image_shape)}; "
            "choose a recipe of the encoder alone, such as digits_classify"
        )
    channels, height, width = image_shape
    if not names:
        raise InputError("expected at least one view, got none; 'identity' is the picture itself")
    for name in names:
        VIEWS[name]
        if name in ("rot90", "rot270") and height != width:
            raise InputError(f"view {name!r} needs square pictures, got {height} x {width}; leave quarter turns out")
    return channels, height, width


def transform(pictures: Tensor, names: Sequence[str]) -> Tensor:
    """(B, C, H, W) -> (B, V, C, H, W): every picture under every view."""
    found = pictures.new_empty(len(pictures), len(names), *pictures.shape[1:])
    for view, name in enumerate(names):
        found[:, view] = VIEWS[name](pictures)
    return found
