"""What edited INRs should show: operations by their definitions, and as OpenCV does them."""

import numpy as np
import pytest
from scipy import ndimage

from weightwalk import ImageSet, InputError, fit
from weightwalk.tasks.inr_editing import contrast, ops
from weightwalk.tasks.inr_editing.wanted import Wanted

DOT = np.zeros((1, 1, 5, 5), np.uint8)
DOT[0, 0, 2, 1] = 200
CORNER = np.zeros((1, 1, 3, 3), np.uint8)
CORNER[0, 0, 0, 0] = 9


def test_dilation_is_the_maximum_over_what_lies_in_the_picture():
    wanted = np.zeros((5, 5), np.uint8)
    wanted[1:4, 0:3] = 200
    assert np.array_equal(ops.OPS["dilate"](DOT)[0, 0], wanted)
    assert ops.OPS["dilate"](CORNER)[0, 0].tolist() == [[9, 9, 0], [9, 9, 0], [0, 0, 0]]  # nothing comes from outside
    pictures = np.random.default_rng(0).integers(0, 256, (3, 3, 9, 11), np.uint8)
    each = [[ndimage.grey_dilation(channel, (3, 3), mode="nearest") for channel in picture] for picture in pictures]
    assert np.array_equal(ops.OPS["dilate"](pictures), each)


def test_a_window_of_two_reaches_up_and_to_the_left():
    white = 255 - DOT
    eroded = np.full((5, 5), 255, np.uint8)
    eroded[2:4, 1:3] = 55  # the pixels below and to the right see the dot
    assert np.array_equal(ops.OPS["erode"](white)[0, 0], eroded)
    assert ops.OPS["erode"](np.full_like(DOT, 7)).min() == 7  # beyond the border there is nothing, not black
    assert np.array_equal(ops.OPS["gradient"](DOT)[0, 0], np.where(eroded == 55, 200, 0))


def test_turns_and_inversion():
    pictures = np.arange(6, dtype=np.uint8).reshape(1, 1, 2, 3)
    assert ops.OPS["invert"](pictures)[0, 0, 0].tolist() == [255, 254, 253]
    assert ops.OPS["hflip"](pictures)[0, 0].tolist() == [[2, 1, 0], [5, 4, 3]]
    assert ops.OPS["vflip"](pictures)[0, 0].tolist() == [[3, 4, 5], [0, 1, 2]]
    assert np.array_equal(ops.OPS["rotate"](DOT)[0, 0], np.rot90(DOT[0, 0]))


GREY = np.frombuffer(
    bytes.fromhex(
        "28335169829cabc5dbff1c364f677c95b3cdefff1b405f7892b1d8f2ffff152f506f8babb5d7ecfd1d3d556a86a1c5e5ffff1a2f4f6e889ebb"
        "c7e7ff112d42627187a7cad8f0"
    ),
    np.uint8,
).reshape(1, 7, 10)
EQUALISED = (  # by OpenCV 5.0
    "4055aab0948f80afd4ff2a6a959f8a80aac4dfff1c80bfbfa0adeaf9ffff1555a0b79aa0a0cfdfef4e7cbca28c8fbfe8ffff3c6a98b29882aa"
    "bae1ff15558a97856080c4c5e7"
)
STEPS = {
    1.0: (
        "2a2a6a65a09a95d4d4d42a2a6a65609a95d4d4d42a6a6a64a09ad4d4d4d42a2a6a62a09a95d4d4d42a2a6a60a09ad4d4d4d42a2a6a60a09a"
        "95d4d4d42a2a6a625a9a95d4d4d4"
    ),
    60.0: (
        "40409580aaa095e4dfda404095806aa095e4dfda40959580aaa0eae4dfda40409580aaa095e4dfda40409580aaa0eae4dfda40409580aaa0"
        "95e4dfda404095806aa095e4dfda"
    ),
    400.0: (
        "6a6affc4d4bfaaffffff6a6affc48abfaaffffff6effffc4d4bfffffffff7575ffc2d4bfaaffffff7c7cffc0d4bfffffffff8080ffc0d4bf"
        "aaffffff8080ffc285bfaaffffff"
    ),
}


def test_contrast_is_opencv_s():
    assert contrast.equalise(GREY, 1.0, 3).tobytes().hex() == EQUALISED
    for limit, wanted in STEPS.items():  # with few levels, which a limit cuts
        assert contrast.equalise(GREY // 64 * 64, limit, 3).tobytes().hex() == wanted


def test_colours_are_opencv_s():
    rgb = [[0, 0, 0], [255, 255, 255], [255, 0, 0], [0, 255, 0], [0, 0, 255], [128, 64, 32], [3, 5, 7], [200, 190, 10]]
    lab = [[0, 128, 128], [255, 128, 128], [136, 208, 195], [224, 42, 211], [82, 207, 20], [89, 153, 159]]
    lab += [[3, 128, 127], [193, 115, 204]]
    back = [[0, 0, 0], [255, 255, 255], [255, 2, 1], [7, 255, 3], [0, 1, 255], [128, 64, 33], [3, 4, 6], [200, 191, 8]]
    assert contrast.to_lab(np.array(rgb, np.uint8)).tolist() == lab
    assert np.abs(contrast.from_lab(np.array(lab, np.uint8)).astype(int) - back).max() <= 1
    picture = np.moveaxis(np.array([rgb] * 8, np.uint8), -1, 0)[None]
    assert ops.OPS["contrast"](picture).shape == picture.shape
    assert np.array_equal(ops.OPS["contrast"](GREY[:, None])[:, 0], contrast.equalise(GREY, 1.0, 3))


def test_floats_become_the_nearest_level():
    assert ops.to_bytes(np.array([-1.0, 0.0, 1.0, 1.3, 0.0041], np.float32)).tolist() == [0, 128, 255, 255, 128]


def test_every_source_is_done_once(tmp_path, monkeypatch):
    pictures = np.random.default_rng(0).random((6, 5, 5))
    zoo = fit(pictures, tmp_path / "zoo", "tiny", init="shared", fits=2)
    done = []
    op = ops.OPS["dilate"]
    monkeypatch.setitem(ops.OPS._entries, "counted", lambda some: done.append(len(some)) or op(some))
    wanted = Wanted(zoo, "counted")
    rows = zoo.rows()
    first = wanted.of(rows[[3, 1, 3]])
    assert np.array_equal(first, op(zoo.images(rows[[3, 1, 3]]).numpy()))
    assert np.array_equal(wanted.of(rows), op(zoo.images(rows).numpy()))
    assert np.array_equal(wanted.of(rows), op(zoo.images(rows).numpy()))
    assert done == [2, 4]


def test_what_is_no_picture_is_refused(tmp_path):
    for op in ops.OPS:
        ops.check(op, (3, 8, 8))
    sounds = fit(ImageSet.from_arrays(np.zeros((4, 16), np.float32), keep_floats=True), tmp_path / "zoo", "audio")
    with pytest.raises(
        InputError, match=r"'dilate' is one of grey or RGB pictures, got signals of the shape \(1, 16\)"
    ):
        Wanted(sounds, "dilate")
    with pytest.raises(InputError, match="'rotate' needs square pictures, got 4 x 5"):
        ops.check("rotate", (1, 4, 5))
    with pytest.raises(InputError, match=r"unknown operation 'dilat'; .* did you mean 'dilate'"):
        ops.check("dilat", (1, 5, 5))
