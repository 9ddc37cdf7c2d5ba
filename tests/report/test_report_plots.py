import io
import sys

import matplotlib
import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits

from weightwalk import InputError
from weightwalk.report import pictures, plots
from weightwalk.report.look import MAX_BYTES, PAPER, encode


def pixels(png: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB"))


def find(canvas: np.ndarray, picture: np.ndarray) -> list[tuple[int, int]]:
    """Where (h, w) bytes stand on a grey canvas, pixel for pixel."""
    windows = np.lib.stride_tricks.sliding_window_view(canvas[..., 0], picture.shape)
    corners = np.argwhere((windows[:, :, 0, 0] == picture[0, 0]) & (windows[:, :, -1, -1] == picture[-1, -1]))
    return [(int(y), int(x)) for y, x in corners if np.array_equal(windows[y, x], picture)]


def enlarged(picture: np.ndarray, scale: int) -> np.ndarray:
    return picture.repeat(scale, 0).repeat(scale, 1)


@pytest.fixture(scope="module")
def digits() -> np.ndarray:
    return (load_digits().images[:12, None] * 15).astype(np.uint8)


def ink(png: bytes, color: str, tolerance: int = 12) -> int:
    """How many pixels have about this colour."""
    wanted = np.array([int(color[at : at + 2], 16) for at in (1, 3, 5)])
    return int((np.abs(pixels(png).astype(int) - wanted).max(-1) < tolerance).sum())


def test_picture_rows_shows_every_pixel_in_its_place(digits):
    second = 255 - digits[4:7]
    canvas = pixels(pictures.picture_rows({"first": digits[:4], "second": second}, list("abcd")))
    places = [[find(canvas, enlarged(picture[0], 16)) for picture in row] for row in (digits[:4], second)]
    assert all(len(place) == 1 for row in places for place in row)
    first, other = ([place[0] for place in row] for row in places)
    assert len({y for y, _ in first}) == 1
    assert len({y for y, _ in other}) == 1
    assert first[0][0] < other[0][0]
    assert [x for _, x in first] == sorted(x for _, x in first)
    assert [x for _, x in first[:3]] == [x for _, x in other]


def test_picture_rows_with_floats_colours_and_broken_pixels():
    picture = np.full((1, 3, 2, 2), -1.0)
    picture[0, 0, 0, 0], picture[0, 1, 0, 1], picture[0, :, 1, 0], picture[0, 2, 1, 1] = 1, 7.5, 0, np.nan
    png = pictures.picture_rows({"": picture})
    for color in ("#ff0000", "#00ff00", "#808080", "#e76300"):
        assert ink(png, color, 2) == 64 * 64, color


def test_rows_of_other_sizes_line_up(digits):
    canvas = pixels(pictures.picture_rows({"small": digits[:2], "twice": enlarged(digits[0, 0], 2)[None, None]}))
    (top, left), *more = find(canvas, enlarged(digits[0, 0], 16))
    assert [x for _, x in more] == [left]
    assert more[0][0] > top + 127


def test_labels_and_captions_make_ink(digits):
    bare = pictures.contact_sheet(digits, 6)
    assert (
        pixels(bare).shape[0]
        < pixels(pictures.contact_sheet(digits, 6, ["a caption far wider than the picture"] * 12)).shape[0]
    )
    assert (
        pixels(pictures.picture_rows({"": digits})).shape[1]
        < pixels(pictures.picture_rows({"a long label": digits})).shape[1]
    )


def test_contact_sheet_of_several_sizes(digits):
    """Each is enlarged by a whole factor to the size of the largest."""
    large = np.zeros((3, 128, 128), np.uint8)
    canvas = pixels(pictures.contact_sheet([large, digits[0]], 2))
    shown = digits[0, 0] if digits.dtype == np.uint8 else ((digits[0, 0] + 1) * 127.5).round().astype(np.uint8)
    step = 128 // shown.shape[0]
    assert np.array_equal(canvas[14 : 14 + 128 : step, 14 + 142 : 14 + 142 + 128 : step, 0], shown)


def test_contact_sheet_reads_like_a_page(digits):
    canvas = pixels(pictures.contact_sheet(digits, 5, [f"{k}" for k in range(12)]))
    places = [find(canvas, enlarged(picture[0], 16))[0] for picture in digits]
    assert places == sorted(places)
    assert [len([y for y, _ in places if y == row]) for row in sorted({y for y, _ in places})] == [5, 5, 2]


def test_a_sheet_of_many_pictures_fits_a_page(digits):
    canvas = pixels(pictures.contact_sheet(np.concatenate([digits, digits]), 24))
    assert canvas.shape[1] < 2000
    assert find(canvas, enlarged(digits[0, 0], 7))


def test_a_busy_picture_is_reduced_to_fewer_colours():
    noise = np.random.default_rng(0).integers(0, 256, (400, 400, 3), dtype=np.uint8)
    png = encode(Image.fromarray(noise))
    assert len(png) < MAX_BYTES
    assert len(np.unique(pixels(png).reshape(-1, 3), axis=0)) == 256
    assert np.array_equal(pixels(encode(Image.fromarray(noise[:99]))), noise[:99])


def test_curves_make_a_panel_per_kind_of_quantity():
    log = [
        {"step": s, "loss": 2.0 * 0.9**s + 0.01, "val_loss": 2.1 * 0.9**s + 0.02, "accuracy": 1 - 0.9**s}
        for s in range(50)
    ]
    one, two = plots.curves(log, y=["loss", "val_loss"]), plots.curves(log)
    assert pixels(one).shape[1] < pixels(two).shape[1]
    assert pixels(one).shape[0] == pixels(two).shape[0]
    assert ink(one, plots.PALETTE[1]) > 500
    assert ink(plots.curves(log, y=["loss"]), plots.PALETTE[1]) == 0
    four = plots.curves([row | {"lr": 1e-3, "seconds": 0.1} for row in log])
    assert abs(pixels(four).shape[0] - 2 * pixels(one).shape[0]) < 3


def test_curves_of_long_noisy_broken_and_short_logs():
    noise = np.random.default_rng(0).normal(size=1000)
    plots.curves(
        [{"epoch": i / 10, "loss": float("nan") if i == 7 else value} for i, value in enumerate(noise)], x="epoch"
    )
    plots.curves([{"step": 1, "loss": 0.0}, {"step": 2}, {"loss": 3.0}])
    plots.curves([{"step": 0, "cost in $": 1e9}, {"step": 10_000_000, "cost in $": 1e-9}])


def test_confusion_tells_right_from_wrong():
    matrix = np.diag([40] * 10)
    right = plots.confusion(matrix, [str(k) for k in range(10)])
    matrix[3, 8] = 12
    wrong = plots.confusion(matrix, [str(k) for k in range(10)])
    assert ink(right, "#174f8f") > 10 * 60**2
    assert ink(right, "#a83c00") == 0
    assert ink(wrong, "#a83c00") > 50**2


def test_confusion_writes_its_counts():
    names = [str(k) for k in range(10)]
    sevens, eights = (plots.confusion(np.diag([count] * 10), names) for count in (777, 888))
    assert pixels(sevens).shape == pixels(eights).shape
    assert (pixels(sevens) != pixels(eights)).any(-1).sum() > 500
    large = [plots.confusion(np.diag([count] * 40), [f"class {k}" for k in range(40)]) for count in (7, 8)]
    assert large[0] == large[1]


def test_confusion_of_classes_without_examples_and_with_long_names():
    plots.confusion(np.zeros((2, 2), dtype=int), ["T-shirt, top and $other$ things", "Ankle boot"])
    plots.confusion(np.array([[3]]), ["only"])


def test_scatter_map_colours_classes_and_rings_mistakes():
    points = np.random.default_rng(0).normal(size=(60, 2))
    labels = np.arange(60) % 3
    plain = plots.scatter_map(points, labels, ["a", "b", "c"])
    assert all(ink(plain, color) > 20 * 30 for color in plots.PALETTE[:3])
    assert ink(plain, plots.PALETTE[4]) == 0
    ringed = plots.scatter_map(points, labels, ["a", "b", "c"], labels == 1)
    assert ink(ringed, plots.INK) > ink(plain, plots.INK) + 1000
    assert (
        len(
            plots.scatter_map(
                np.random.default_rng(0).normal(size=(5000, 2)), np.arange(5000) % 100, [str(k) for k in range(100)]
            )
        )
        < MAX_BYTES
    )


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: pictures.picture_rows({}), "at least one row"),
        (
            lambda: pictures.picture_rows({"r": np.zeros((2, 2, 8, 8))}),
            r"row 'r' must be pictures \(n, C, H, W\).*\(2, 2, 8, 8\)",
        ),
        (lambda: pictures.picture_rows({"r": np.zeros((2, 1, 8, 8), dtype=int)}), "uint8 or floats"),
        (
            lambda: pictures.picture_rows({"r": np.zeros((2, 1, 8, 8))}, ["one"]),
            "expected 2 column captions, one per picture, got 1",
        ),
        (lambda: pictures.contact_sheet(np.zeros((0, 1, 8, 8)), 3), r"\(0, 1, 8, 8\)"),
        (lambda: pictures.contact_sheet(np.zeros((2, 1, 8, 8)), 0), "at least one column"),
        (lambda: pictures.contact_sheet([], 3), "at least one picture"),
        (lambda: pictures.contact_sheet(np.zeros((2, 1, 8, 8)), 2, ["one"]), "expected 2 captions"),
        (lambda: plots.curves([{"step": 1, "loss": 2.0}], y=["los"]), "did you mean 'loss'"),
        (lambda: plots.curves([]), "got 0 rows"),
        (lambda: plots.confusion(np.eye(3), ["a", "b", "c"]), "whole counts"),
        (lambda: plots.confusion(np.eye(3, dtype=int), ["a", "b"]), r"\(2, 2\) for 2 names"),
        (lambda: plots.scatter_map(np.zeros((3, 3)), np.zeros(3, dtype=int), ["a"]), r"points \(n, 2\)"),
        (lambda: plots.scatter_map(np.zeros((3, 2)), np.full(3, 4), ["a"]), r"0\.\.0 for 1 names, got 4\.\.4"),
    ],
)
def test_bad_input_gets_one_sentence(call, sentence):
    with pytest.raises(InputError, match=sentence):
        call()


def test_drawing_leaves_matplotlib_as_it_was():
    before, imported = matplotlib.rcParams.copy(), "matplotlib.pyplot" in sys.modules
    plots.curves([{"step": 0, "loss": 1.0}])
    assert matplotlib.rcParams.copy() == before
    assert ("matplotlib.pyplot" in sys.modules) == imported


def test_paper_is_the_background(digits):
    for png in (plots.curves([{"step": 0, "loss": 1.0}]), pictures.contact_sheet(digits, 4)):
        assert tuple(pixels(png)[0, 0]) == tuple(int(PAPER[at : at + 2], 16) for at in (1, 3, 5))
