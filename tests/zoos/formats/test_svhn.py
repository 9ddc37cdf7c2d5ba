import numpy as np
import pytest
from scipy.io import savemat

from weightwalk import InputError
from weightwalk.zoos.images import load, parts

LABELS = np.array([[1], [10], [9], [5]], np.uint8)
X = np.random.default_rng(0).integers(0, 256, (32, 32, 3, 4), dtype=np.uint8)


@pytest.mark.parametrize("folder", ["", "svhn"])
def test_cropped_digits(tmp_path, folder):
    (tmp_path / folder).mkdir(exist_ok=True)
    for part, compressed in (("train", True), ("test", False)):
        savemat(tmp_path / folder / f"{part}_32x32.mat", {"X": X, "y": LABELS}, do_compression=compressed)
        images = load("svhn", tmp_path, part)
        assert images.labels.tolist() == [1, 0, 9, 5]
        assert images.image_shape == (3, 32, 32)
        np.testing.assert_array_equal(images.pixels[2][1], X[:, :, 1, 2])  # picture 2, green
        assert images.label_names == tuple("0123456789")
    assert parts("svhn") == ("train", "test")


@pytest.mark.parametrize(
    ("values", "match"),
    [
        ({"X": X[..., :3], "y": LABELS}, "for each of 3 pictures"),
        ({"X": X, "y": LABELS + 5}, "one of 1 ... 10"),
        ({"X": X[:, :, :1], "y": LABELS}, "expected X"),
        ({"X": X.astype(np.float32), "y": LABELS}, "of uint8"),
        ({"pixels": X}, "expected X and y"),
        ({"X": X, "y": np.array(["one"] * 4)}, "one of 1 ... 10"),
    ],
)
def test_other_contents_are_refused(tmp_path, values, match):
    savemat(tmp_path / "train_32x32.mat", values)
    with pytest.raises(InputError, match=match):
        load("svhn", tmp_path, "train")


def test_damaged_files_are_refused(tmp_path):
    path = tmp_path / "train_32x32.mat"
    with pytest.raises(InputError, match="found no such file"):
        load("svhn", tmp_path, "train")
    savemat(path, {"X": X, "y": LABELS}, do_compression=True)
    whole = path.read_bytes()
    damaged = [b"", b"no Matlab at all" * 20, whole[: len(whole) // 2], whole[:200] + bytes(50) + whole[250:]]
    for content in damaged:
        path.write_bytes(content)
        with pytest.raises(InputError, match="expected"):
            load("svhn", tmp_path, "train")
