import gzip
import struct

import numpy as np

from weightwalk.bench.pictures import by_size


def test_pictures_without_files():
    sets = by_size(600)
    assert {name: pixels.shape for name, pixels in sets.items()} == {
        "28x28 grey": (600, 1, 28, 28),
        "32x32 RGB": (600, 3, 32, 32),
    }
    for pixels in sets.values():
        assert pixels.dtype == np.uint8
        assert (pixels.reshape(600, -1).std(axis=1) > 1).mean() > 0.99  # there is something to see
        assert len(np.unique(pixels.reshape(600, -1), axis=0)) >= 520
    digits = sets["28x28 grey"]
    assert not digits[:, :, [0, 1, 2, 3, 24, 25, 26, 27]].any()  # a black frame, as MNIST's
    assert np.isin(digits, (0, 255)).mean() > 0.8


def test_pictures_of_a_data_set_come_again(tmp_path):
    pixels = np.arange(3 * 28 * 28, dtype=np.uint8).reshape(3, 28, 28)
    for part in ("train", "t10k"):
        header = struct.pack(">IIII", 0x803, *pixels.shape)
        (tmp_path / f"{part}-images-idx3-ubyte.gz").write_bytes(gzip.compress(header + pixels.tobytes()))
        (tmp_path / f"{part}-labels-idx1-ubyte.gz").write_bytes(gzip.compress(struct.pack(">II", 0x801, 3) + bytes(3)))
    ((name, found),) = by_size(5, "mnist", tmp_path).items()
    assert name == "28x28 grey"
    assert np.array_equal(found[:, 0], pixels[[0, 1, 2, 0, 1]])
