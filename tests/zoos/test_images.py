"""Image files and arrays -> ImageSet: every layout, and one sentence for everything that can be wrong with a file."""

from __future__ import annotations

import gzip
import os
import pickle
import re
import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from weightwalk.errors import InputError
from weightwalk.zoos import images
from weightwalk.zoos.images import ImageSet

RNG = np.random.default_rng(0)
GREY = RNG.integers(0, 256, (4, 5, 3), dtype=np.uint8)  # (N, H, W)
RECORDS = RNG.integers(0, 256, (10, 3072), dtype=np.uint8)  # two images per CIFAR-10 batch
CLASSES = [7, 0, 3, 9, 1, 2, 4, 5, 6, 8]


def fails(*words: str):
    """An InputError of one sentence that has all `words`, in any order."""
    return pytest.raises(InputError, match="(?s)" + "".join(f"(?=.*{word})" for word in words))


def write(path: Path, content: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


# ---------------------------------------------------------------- arrays


def test_from_arrays_takes_grey_and_coloured_bytes():
    grey = ImageSet.from_arrays(GREY, [0, 2, 1, 2])
    assert (len(grey), grey.image_shape, grey.num_classes, grey.label_names) == (4, (1, 5, 3), 3, ("0", "1", "2"))
    assert (grey.dataset, grey.part, grey.labels.dtype) == ("arrays", "all", np.int64)
    np.testing.assert_array_equal(grey.pixels[:, 0], GREY)
    colour = ImageSet.from_arrays(np.stack([GREY] * 3, axis=1), dataset="mine", part="train")
    assert (colour.image_shape, colour.label_names, colour.labels.tolist()) == ((3, 5, 3), ("unlabelled",), [0] * 4)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_from_arrays_rounds_floats_to_bytes(dtype):
    x = np.array([0, 0.4 / 255, 0.6 / 255, 1], dtype).reshape(1, 2, 2)
    assert ImageSet.from_arrays(x).pixels.ravel().tolist() == [0, 0, 1, 255]
    every = np.arange(256).reshape(1, 16, 16)
    np.testing.assert_array_equal(ImageSet.from_arrays((every / 255).astype(dtype)).pixels[:, 0], every)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1.001, -0.001, 255.0])
def test_from_arrays_names_the_first_bad_pixel(value):
    x = np.full((3, 2, 4, 5), 0.5)
    x[1, 1, 2, 3] = x[2, 0, 0, 0] = value
    with fails("image 1, channel 1, row 2, column 3", f"{value:g}"):
        ImageSet.from_arrays(x)


def test_from_arrays_keeps_floats_where_it_is_told_to():
    sounds = RNG.normal(size=(3, 7))
    kept = ImageSet.from_arrays(sounds, keep_floats=True)
    assert (kept.image_shape, kept.image_dtype, kept.pixels[:, 0].tolist()) == (
        (1, 7),
        "float32",
        sounds.astype(np.float32).tolist(),
    )
    assert ImageSet.from_arrays(GREY, keep_floats=True).image_dtype == "uint8"


@pytest.mark.parametrize(
    ("shape", "num_axes", "expected"),
    [
        ((2, 5), 1, (1, 5)),
        ((2, 3, 5), 1, (3, 5)),
        ((2, 3, 5), None, (1, 3, 5)),
        ((2, 3, 4, 5), None, (3, 4, 5)),
        ((2, 3, 4, 5), 3, (1, 3, 4, 5)),
        ((2, 1, 3, 4, 5), None, (1, 3, 4, 5)),
    ],
)
def test_the_axes_of_arrays(shape, num_axes, expected):
    solid = RNG.random(shape) > 0.5
    loaded = ImageSet.from_arrays(solid, num_axes=num_axes)
    assert (loaded.image_shape, loaded.image_dtype) == (expected, "uint8")
    np.testing.assert_array_equal(loaded.pixels[:].reshape(shape), np.where(solid, 255, 0))


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e39])
@pytest.mark.parametrize(("axes", "place"), [(1, "sample 2"), (2, "row 2, column 1"), (3, "plane 2, row 1, column 0")])
def test_kept_floats_are_finite(value, axes, place):
    x = np.zeros((3, 2, *range(3, 3 - axes, -1)))
    x[(1, 1, 2, 1, 0)[: axes + 2]] = value
    with fails(f"finite pixels, got {value:g} in image 1, channel 1, {place}".replace("+", r"\+")):
        ImageSet.from_arrays(x, keep_floats=True, num_axes=axes)


@pytest.mark.parametrize(
    ("pixels", "labels", "names", "word"),
    [
        (GREY.astype(np.int32), None, None, "int32"),
        (GREY[0], None, None, r"\(5, 3\)"),
        (GREY[:0], None, None, "at least one image"),
        (GREY, [0, 1], None, "expected 4 int64 labels"),
        (GREY, [0.0, 1.0, 2.0, 3.0], None, "integer labels"),
        (GREY, [0, 1, -1, 2], None, "from -1 to 2"),
        (GREY, [0, 1, 1, 2], ("a", "b"), "between 0 and 1"),
    ],
)
def test_from_arrays_refuses(pixels, labels, names, word):
    with fails(word):
        ImageSet.from_arrays(pixels, labels, label_names=names)


@pytest.mark.parametrize(
    ("shape", "num_axes"), [((3, 4), 2), ((3, 4, 5, 6), 1), ((3,), None), ((3, 4), 4), ((1, 1, 1, 1, 1, 1), None)]
)
def test_arrays_of_other_axes_are_refused(shape, num_axes):
    with fails("expected pixels", re.escape(str(shape)), "add the axis of images, or give num_axes"):
        ImageSet.from_arrays(np.zeros(shape), num_axes=num_axes)


def test_the_first_images_are_those_of_all():
    few = ImageSet.from_arrays(GREY, [0, 2, 1, 2]).first(3)
    np.testing.assert_array_equal(few.pixels[:, 0], GREY[:3])
    assert (few.labels.tolist(), few.num_classes) == ([0, 2, 1], 3)
    assert few.first(None) is few
    assert len(few.first(9)) == 3


def test_the_container_casts_nothing_silently():
    with fails("float64"):
        ImageSet("mine", "all", np.zeros((1, 1, 2, 2)), np.zeros(1, np.int64), ("a",))
    with fails("int32"):
        ImageSet("mine", "all", np.zeros((1, 1, 2, 2), np.uint8), np.zeros(1, np.int32), ("a",))
    with fails("train, test, all", "'validation'"):
        ImageSet("mine", "validation", np.zeros((1, 1, 2, 2), np.uint8), np.zeros(1, np.int64), ("a",))


# ---------------------------------------------------------------- names and parts


def test_digits_are_embedded():
    digits = images.load("digits", None, "all")
    assert (len(digits), digits.image_shape, digits.num_classes) == (1797, (1, 8, 8), 10)
    assert (digits.pixels.min(), digits.pixels.max(), digits.labels[:3].tolist()) == (0, 255, [0, 1, 2])
    assert len(np.unique(digits.pixels)) == 17


def test_names_and_parts():
    assert set(images.DATASETS) == {
        "digits",
        "mnist",
        "fashion-mnist",
        "cifar10",
        "cifar100",
        "svhn",
        "folder",
        "audio",
        "grids",
    }
    assert [name for name in images.DATASETS if images.parts(name) == ("all",)] == [
        "digits",
        "folder",
        "audio",
        "grids",
    ]
    assert images.parts("cifar10") == ("train", "test")
    with fails("unknown data set 'minst'", "did you mean 'mnist'"):
        images.parts("minst")
    with fails("train or test of mnist", "'all'"):
        images.load("mnist", Path(), "all")
    with fails("folder of the mnist files", "got none"):
        images.load("mnist", None, "train")


# ---------------------------------------------------------------- idx


def idx_bytes(array: np.ndarray) -> bytes:
    return struct.pack(f">{1 + array.ndim}I", 0x0800 + array.ndim, *array.shape) + array.astype(np.uint8).tobytes()


def write_idx(
    folder: Path, stem: str = "train", suffix: str = "", pixels=GREY, labels=(3, 1, 9, 0)
) -> tuple[Path, Path]:
    pack = gzip.compress if suffix else bytes
    return (
        write(folder / f"{stem}-images-idx3-ubyte{suffix}", pack(idx_bytes(pixels))),
        write(folder / f"{stem}-labels-idx1-ubyte{suffix}", pack(idx_bytes(np.array(labels)))),
    )


@pytest.mark.parametrize("suffix", ["", ".gz"])
@pytest.mark.parametrize(
    ("dataset", "folder"),
    [
        ("mnist", "."),
        ("mnist", "mnist"),
        ("mnist", "MNIST/raw"),
        ("fashion-mnist", "."),
        ("fashion-mnist", "fashion-mnist"),
        ("fashion-mnist", "FashionMNIST/raw"),
    ],
)
def test_idx_layouts(tmp_path, dataset, folder, suffix):
    write_idx(tmp_path / folder, suffix=suffix)
    write_idx(tmp_path / folder, "t10k", suffix, pixels=GREY[:1] // 2, labels=[4])
    train, test = (images.load(dataset, tmp_path, part) for part in ("train", "test"))
    np.testing.assert_array_equal(train.pixels[:, 0], GREY)
    np.testing.assert_array_equal(test.pixels[:, 0], GREY[:1] // 2)
    assert isinstance(train.pixels, np.memmap)
    assert (train.labels.tolist(), test.labels.tolist(), train.dataset, test.part) == (
        [3, 1, 9, 0],
        [4],
        dataset,
        "test",
    )
    assert train.label_names[9] == {"mnist": "9", "fashion-mnist": "Ankle boot"}[dataset]
    train.pixels[:] = 0  # in memory alone; torch.from_numpy warns about arrays that are not writeable
    np.testing.assert_array_equal(images.load(dataset, tmp_path, "train").pixels[:, 0], GREY)


def test_idx_prefers_the_folder_with_the_name_of_the_data_set(tmp_path):
    write_idx(tmp_path / "mnist", pixels=GREY)
    write_idx(tmp_path / "fashion-mnist", pixels=GREY // 2)
    write_idx(tmp_path, pixels=GREY // 3)
    np.testing.assert_array_equal(images.load("fashion-mnist", tmp_path, "train").pixels[:, 0], GREY // 2)


def test_idx_unzipped_under_the_name_of_the_zipped_file(tmp_path):
    write_idx(tmp_path)
    for path in list(tmp_path.iterdir()):
        path.rename(path.with_name(f"{path.name}.gz"))
    assert len(images.load("mnist", tmp_path, "train")) == 4


def test_missing_idx_files_are_named_with_every_place_that_was_searched(tmp_path):
    with fails("t10k-images-idx3-ubyte.gz", f"{tmp_path}/MNIST/raw", f"{tmp_path}/mnist", "nothing is downloaded"):
        images.load("mnist", tmp_path, "test")
    _, labels = write_idx(tmp_path / "mnist")
    labels.unlink()
    with fails("train labels", f"train-labels-idx1-ubyte or .* in {tmp_path}/mnist, found no such file"):
        images.load("mnist", tmp_path, "train")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (idx_bytes(GREY)[:-1], ["expected 76 bytes", "4 x 5 x 3", "got 75"]),
        (idx_bytes(GREY) + b"?", ["expected 76 bytes", "got 77"]),
        (struct.pack(">4I", 0x803, 5, 5, 3) + GREY.tobytes(), ["expected 91 bytes", "5 x 5 x 3", "got 76"]),
        (struct.pack(">4I", 0x803, 0, 5, 3), ["at least one value", "0 x 5 x 3"]),
        (struct.pack(">4I", 0xD03, 4, 5, 3) + GREY.tobytes(), ["0x00000803", "0x00000d03"]),
        (idx_bytes(GREY[0]) + bytes(9), ["0x00000803", "0x00000802"]),
        (b"<!DOCTYPE html>not found", ["0x00000803", "0x3c21444f"]),
        (b"\0\0\x08", ["header of 16 bytes", "got 3 bytes"]),
        (b"", ["header of 16 bytes", "got 0 bytes"]),
        (gzip.compress(idx_bytes(GREY))[:-10], ["whole gzip file", "do not unpack"]),
        (gzip.compress(idx_bytes(GREY))[:-8] + bytes(8), ["whole gzip file", "CRC"]),
        (gzip.compress(idx_bytes(GREY))[:10] + b"\xff" * 60, ["whole gzip file", "invalid block type"]),
        (b"\x1f\x8bnot gzip after all", ["whole gzip file", "20 bytes"]),
    ],
)
def test_a_damaged_idx_file(tmp_path, content, words):
    path, _ = write_idx(tmp_path)
    path.write_bytes(content)
    with fails(path.name, *words):
        images.load("mnist", tmp_path, "train")


def test_idx_labels_that_do_not_fit(tmp_path):
    write_idx(tmp_path, labels=[1, 2, 3])
    with fails("4 images in .*train-images", "3 labels in .*train-labels"):
        images.load("mnist", tmp_path, "train")
    write_idx(tmp_path, labels=[1, 2, 10, 3])
    with fails("labels 0 to 9", "train-labels", "got 10 for image 2"):
        images.load("mnist", tmp_path, "train")


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_every_truncation_of_an_idx_file_is_an_input_error(tmp_path, suffix):
    path, _ = write_idx(tmp_path, suffix=suffix)
    whole = path.read_bytes()
    for size in range(len(whole)):
        path.write_bytes(whole[:size])
        with fails(path.name):
            images.load("mnist", tmp_path, "train")


def test_a_file_that_may_not_be_read(tmp_path, monkeypatch):
    write_idx(tmp_path)
    monkeypatch.setattr(
        Path, "open", lambda *arguments: (_ for _ in ()).throw(PermissionError(13, "Permission denied"))
    )
    with fails("readable file", "train-images", "Permission denied"):
        images.load("mnist", tmp_path, "train")


# ---------------------------------------------------------------- CIFAR


def cifar_files(dataset: str, part: str) -> list[str]:
    if dataset == "cifar100":
        return [part]
    return [f"data_batch_{number}" for number in range(1, 6)] if part == "train" else ["test_batch"]


def write_binary(folder: Path, dataset: str, part: str = "train", records=RECORDS, labels=CLASSES) -> list[Path]:
    """Records over the files of one part; CIFAR-100 gets a coarse label that must not be taken for the fine one."""
    names = cifar_files(dataset, part)
    label_bytes = np.array(labels, np.uint8)[:, None]
    rows = np.hstack([*([label_bytes // 5] if dataset == "cifar100" else []), label_bytes, records])
    return [
        write(folder / f"{name}.bin", rows[chunk].tobytes())
        for name, chunk in zip(names, chunks(len(rows), names), strict=True)
    ]


def chunks(num_records: int, names: list[str]) -> list[slice]:
    size = num_records // len(names)
    return [slice(start, start + size) for start in range(0, num_records, size)]


def python2_pickle(value) -> bytes:
    """What Python 2's cPickle wrote for dictionaries of numbers, texts, lists and uint8 arrays (protocol 2), as in the
    published files.
    """

    def text(content: bytes) -> bytes:
        return b"T" + struct.pack("<i", len(content)) + content

    def encode(value) -> bytes:
        if isinstance(value, dict):
            return b"}(" + b"".join(encode(key) + encode(entry) for key, entry in value.items()) + b"u"
        if isinstance(value, list):
            return b"](" + b"".join(map(encode, value)) + b"e"
        if isinstance(value, np.ndarray):
            minus_one = b"J\xff\xff\xff\xff"
            shape = encode(value.shape[0]) + encode(value.shape[1]) + b"\x86"
            dtype = b"cnumpy\ndtype\nU\x02u1K\x00K\x01\x87R(K\x03U\x01|NNN" + minus_one + minus_one + b"K\x00tb"
            made = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R"
            return made + b"(K\x01" + shape + dtype + b"\x89" + text(value.tobytes()) + b"tb"
        return b"M" + struct.pack("<H", value) if isinstance(value, int) else text(value.encode())

    return b"\x80\x02" + encode(value) + b"."


def python3_pickle(value) -> bytes:
    return pickle.dumps(value, protocol=4)


def old_numpy_pickle(value) -> bytes:
    return pickle.dumps(value, protocol=2).replace(b"numpy._core", b"numpy.core")


def column_major_pickle(value) -> bytes:
    return pickle.dumps(
        {key: np.asfortranarray(v) if isinstance(v, np.ndarray) else v for key, v in value.items()}, protocol=3
    )


def write_python(
    folder: Path, dataset: str, part: str = "train", dump=python2_pickle, records=RECORDS, labels=CLASSES
) -> list[Path]:
    names, key = cifar_files(dataset, part), "fine_labels" if dataset == "cifar100" else "labels"
    other = {"coarse_labels": [label // 5 for label in labels]} if dataset == "cifar100" else {"batch_label": "a batch"}
    return [
        write(folder / name, dump({**other, "data": records[chunk], key: labels[chunk]}))
        for name, chunk in zip(names, chunks(len(records), names), strict=True)
    ]


BINARY_FOLDER = {"cifar10": "cifar-10-batches-bin", "cifar100": "cifar-100-binary"}
PYTHON_FOLDER = {"cifar10": "cifar-10-batches-py", "cifar100": "cifar-100-python"}
cifars = pytest.mark.parametrize("dataset", ["cifar10", "cifar100"])


def check_cifar(loaded: ImageSet, records=RECORDS, labels=CLASSES) -> None:
    order = np.arange(len(records))[::-1]
    np.testing.assert_array_equal(loaded.pixels[order], records.reshape(-1, 3, 32, 32)[::-1])
    assert loaded.labels.tolist() == labels
    assert loaded.num_classes == {"cifar10": 10, "cifar100": 100}[loaded.dataset]
    assert loaded.pixels[:].flags.writeable  # torch.from_numpy warns about arrays that are not


@cifars
@pytest.mark.parametrize("inside", [False, True])
def test_cifar_binary_layout(tmp_path, dataset, inside):
    folder = tmp_path / BINARY_FOLDER[dataset]
    write_binary(folder, dataset)
    write_binary(folder, dataset, "test", RECORDS[:2] // 2, [5, 6])
    root = folder if inside else tmp_path
    check_cifar(images.load(dataset, root, "train"))
    check_cifar(images.load(dataset, root, "test"), RECORDS[:2] // 2, [5, 6])


@cifars
@pytest.mark.parametrize("inside", [False, True])
@pytest.mark.parametrize("dump", [python2_pickle, python3_pickle, old_numpy_pickle, column_major_pickle])
def test_cifar_python_layout(tmp_path, dataset, inside, dump):
    folder = tmp_path / PYTHON_FOLDER[dataset]
    write_python(folder, dataset, dump=dump)
    write_python(folder, dataset, "test", dump, RECORDS[:2] // 2, [5, 6])
    root = folder if inside else tmp_path
    check_cifar(images.load(dataset, root, "train"))
    check_cifar(images.load(dataset, root, "test"), RECORDS[:2] // 2, [5, 6])


def test_the_python_2_pickles_of_these_tests_are_pickles():
    loaded = pickle.loads(python2_pickle({"data": RECORDS, "labels": CLASSES}), encoding="bytes")
    np.testing.assert_array_equal(loaded[b"data"], RECORDS)
    assert loaded[b"labels"] == CLASSES


@cifars
def test_cifar_label_names(tmp_path, dataset):
    num_classes = 10 if dataset == "cifar10" else 100
    built_in = ("airplane", "automobile") if dataset == "cifar10" else ("0", "1")
    names = [f"class {number}" for number in range(num_classes)]
    binary, python = tmp_path / BINARY_FOLDER[dataset], tmp_path / PYTHON_FOLDER[dataset]
    write_binary(binary, dataset)
    write_python(python, dataset)
    for folder in (binary, python):
        assert images.load(dataset, folder, "train").label_names[:2] == built_in
    text = binary / ("batches.meta.txt" if dataset == "cifar10" else "fine_label_names.txt")
    meta = python / ("batches.meta" if dataset == "cifar10" else "meta")
    key = "label_names" if dataset == "cifar10" else "fine_label_names"
    write(text, ("\n".join(names) + "\n\n").encode())
    for dump in (python2_pickle, python3_pickle):
        write(meta, dump({"num_vis": 3072, key: names}))
        for folder in (binary, python):
            assert images.load(dataset, folder, "train").label_names == tuple(names)
    write(text, b"one\ntwo\n")
    write(meta, python2_pickle({key: names[:3]}))
    for path, got in ((text, 2), (meta, 3)):
        with fails(path.name, f"expected {num_classes} label names", f"got {got}"):
            images.load(dataset, path.parent, "train")
    for hostile in ({"other": names}, {key: 3}):
        write(meta, python3_pickle(hostile))
        with fails(meta.name, "got 0"):
            images.load(dataset, python, "train")


@cifars
def test_missing_cifar_files_are_named_with_every_place_that_was_searched(tmp_path, dataset):
    first = cifar_files(dataset, "train")[0]
    with fails(
        f"{first}.bin or {first}", f"{tmp_path}/{BINARY_FOLDER[dataset]}", f"{tmp_path}/{PYTHON_FOLDER[dataset]}"
    ):
        images.load(dataset, tmp_path, "train")


@pytest.mark.parametrize("writer", [write_binary, write_python])
def test_one_missing_batch(tmp_path, writer):
    paths = writer(tmp_path, "cifar10")
    paths[3].unlink()
    with fails(f"{paths[3].name} in {tmp_path}, found no such file"):
        images.load("cifar10", tmp_path, "train")


@cifars
@pytest.mark.parametrize("cut", [1, 3000, -1])
def test_a_cifar_binary_of_the_wrong_size(tmp_path, dataset, cut):
    path = write_binary(tmp_path, dataset)[-1]
    whole = path.read_bytes()
    content = whole + b"?" if cut < 0 else whole[:-cut]
    path.write_bytes(content)
    with fails(path.name, "3,073" if dataset == "cifar10" else "3,074", f"{len(content):,} bytes"):
        images.load(dataset, tmp_path, "train")
    path.write_bytes(b"")
    with fails(path.name, "got 0 bytes"):
        images.load(dataset, tmp_path, "train")


@cifars
@pytest.mark.parametrize("writer", [write_binary, write_python])
def test_a_cifar_label_out_of_range(tmp_path, dataset, writer):
    path = writer(tmp_path, dataset, labels=[*CLASSES[:-1], 100])[-1]
    with fails(path.name, "labels 0 to 9", f"got 100 for image {1 if dataset == 'cifar10' else 9}"):
        images.load(dataset, tmp_path, "train")


@pytest.mark.parametrize(
    ("batch", "words"),
    [
        ([1, 2], ["dictionary", "AttributeError"]),
        ({"labels": [1, 2]}, ["'data'", "NoneType"]),
        ({"data": RECORDS[:2, :-1], "labels": [1, 2]}, ["'data'", r"uint8 \(2, 3071\)"]),
        ({"data": RECORDS[:2].astype(np.float32), "labels": [1, 2]}, ["'data'", "float32"]),
        ({"data": RECORDS[:2]}, ["'labels'", "2 integers", "NoneType"]),
        ({"data": RECORDS[:2], "labels": [1]}, ["'labels'", "2 integers", "a list of 1"]),
        ({"data": RECORDS[:2], "labels": [1, "2"]}, ["'labels'", "2 integers"]),
        ({"data": RECORDS[:2], "labels": [1, -1]}, ["labels 0 to 9", "got -1 for image 1"]),
        ({"data": RECORDS[:2], "labels": [2**70, 1]}, ["labels 0 to 9", f"got {2**70} for image 0"]),
        ({"data": np.array([None, "text"]), "labels": [1, 2]}, ["plain numbers", "O8"]),
        ({"data": np.zeros(2, "u1,f4"), "labels": [1, 2]}, ["plain numbers", "V5"]),
    ],
)
def test_a_pickle_of_something_else(tmp_path, batch, words):
    write(tmp_path / "test_batch", python3_pickle(batch))
    with fails("test_batch", *words):
        images.load("cifar10", tmp_path, "test")


@pytest.mark.parametrize("dump", [python2_pickle, python3_pickle])
def test_every_truncation_of_a_pickle_is_an_input_error(tmp_path, dump):
    (path,) = write_python(tmp_path, "cifar10", "test", dump, RECORDS[:1], [1])
    whole = path.read_bytes()
    for size in [*range(150), *range(150, len(whole), 97), *range(len(whole) - 50, len(whole))]:
        path.write_bytes(whole[:size])
        with fails("test_batch", f"{size:,} bytes", "fresh copy"):
            images.load("cifar10", tmp_path, "test")


def test_damaged_pickles_give_a_picture_or_an_input_error(tmp_path):
    (path,) = write_python(tmp_path, "cifar10", "test", old_numpy_pickle, RECORDS[:1], [1])
    whole = path.read_bytes()
    outcomes = set()
    for position in [*range(250), *range(len(whole) - 100, len(whole))]:
        path.write_bytes(whole[:position] + bytes([whole[position] ^ 0x15]) + whole[position + 1 :])
        try:
            outcomes.add(type(images.load("cifar10", tmp_path, "test")))
        except InputError:
            outcomes.add(InputError)
    assert InputError in outcomes


class Calls:
    """Pickles to a call of `function(*arguments)`."""

    def __init__(self, function, *arguments):
        self.call = (function, arguments)

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_pickle_with_code_is_named_and_not_run(tmp_path, protocol):
    victim = tmp_path / "victim"
    hostile = pickle.dumps(
        {"data": RECORDS[:1].tolist(), "labels": [1], "more": Calls(open, str(victim), "w")}, protocol
    )
    pickle.loads(hostile)["more"].close()
    assert victim.exists()  # the file is hostile indeed
    victim.unlink()
    write(tmp_path / "test_batch", hostile)
    with fails("^expected numpy arrays", "test_batch", r"asks for (io|_io)\.open", "not run"):
        images.load("cifar10", tmp_path, "test")
    assert not victim.exists()


@pytest.mark.parametrize("function", [eval, getattr, np.load, np.frombuffer, set, bytearray, pickle.loads])
def test_nothing_but_arrays_is_allowed(tmp_path, function):
    write(tmp_path / "test_batch", python3_pickle({"data": Calls(function)}))
    with fails(f"asks for .*{function.__name__}", "nothing else"):
        images.load("cifar10", tmp_path, "test")


def test_a_pickle_with_code_in_the_label_names(tmp_path):
    write_python(tmp_path, "cifar10")
    write(tmp_path / "batches.meta", python3_pickle({"label_names": Calls(eval, "1/0")}))
    with fails("batches.meta", "asks for builtins.eval"):
        images.load("cifar10", tmp_path, "train")


# ---------------------------------------------------------------- folders of pictures


def save(path: Path, pixels: np.ndarray, mode: str | None = None, **options) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(pixels)
    (image.convert(mode) if mode else image).save(path, **options)
    return path


@pytest.mark.parametrize("suffix", ["png", "bmp", "PNG"])
def test_a_folder_comes_in_the_order_of_names(tmp_path, suffix):
    for name, image in (("b/2", 0), ("b/1", 1), ("a/10", 2), ("a/9", 3)):
        save(tmp_path / f"{name}.{suffix}", GREY[image])
    write(tmp_path / "a" / ".hidden.png", b"")
    write(tmp_path / "a" / "notes.txt", b"")
    write(tmp_path / ".cache" / "x.png", b"")
    write(tmp_path / "README.md", b"")
    (tmp_path / "a" / "folder.png").mkdir()
    loaded = images.load("folder", tmp_path, "all")
    np.testing.assert_array_equal(loaded.pixels[:][:, 0], GREY[[2, 3, 1, 0]])
    assert (loaded.labels.tolist(), loaded.label_names, loaded.part) == ([0, 0, 1, 1], ("a", "b"), "all")


def test_a_folder_of_coloured_pictures(tmp_path):
    colour = RNG.integers(0, 256, (5, 3, 3), dtype=np.uint8)
    save(tmp_path / "a" / "1.png", colour)
    save(tmp_path / "a" / "2.png", colour, mode="P")
    save(tmp_path / "a" / "3.jpg", colour)
    save(tmp_path / "a" / "4.jpeg", colour)
    loaded = images.load("folder", tmp_path, "all")
    assert (loaded.image_shape, len(loaded)) == ((3, 5, 3), 4)
    np.testing.assert_array_equal(loaded.pixels[:1][0], colour.transpose(2, 0, 1))


def test_a_folder_of_bilevel_pictures(tmp_path):
    save(tmp_path / "a" / "1.png", np.uint8([[0, 255], [255, 0]]), mode="1")
    assert images.load("folder", tmp_path, "all").pixels[:].tolist() == [[[[0, 255], [255, 0]]]]


def test_pictures_of_different_sizes_or_kinds(tmp_path):
    first = save(tmp_path / "a" / "1.png", GREY[0])
    odd = save(tmp_path / "b" / "1.png", GREY[0].T)
    with fails(f"{odd} with 5 x 3 grey", f"{first} with 3 x 5 grey"):
        images.load("folder", tmp_path, "all")
    save(odd, np.stack([GREY[0]] * 3, axis=-1))
    with fails(f"{odd} with 3 x 5 RGB", f"{first} with 3 x 5 grey"):
        images.load("folder", tmp_path, "all")


@pytest.mark.parametrize(
    ("mode", "options"),
    [("RGBA", {}), ("LA", {}), ("I;16", {}), ("P", {"transparency": b"\0\x80"}), ("L", {"transparency": 3})],
)
def test_pictures_that_would_lose_something(tmp_path, mode, options):
    path = save(tmp_path / "a" / "1.png", GREY[0], mode=None if mode == "L" else mode, **options)
    with fails(str(path), f"got mode {mode}", "with transparency" if options else "convert it first"):
        images.load("folder", tmp_path, "all")


@pytest.mark.parametrize("suffix", ["png", "jpg", "bmp"])
def test_damaged_pictures(tmp_path, suffix):
    path = save(tmp_path / "a" / f"1.{suffix}", GREY[0])
    whole = path.read_bytes()
    for content in (b"", b"no picture", whole[:20], whole[: len(whole) // 2]):
        path.write_bytes(content)
        with fails(str(path), "cannot be read"):
            images.load("folder", tmp_path, "all").pixels[:]


def test_pictures_are_decoded_when_they_are_asked_for(tmp_path):
    """A damaged one is named then, and does not keep from the others."""
    for number, grey in enumerate(GREY):
        save(tmp_path / "a" / f"{number}.png", grey)
    damaged = tmp_path / "a" / "2.png"
    damaged.write_bytes(damaged.read_bytes()[:50])
    loaded = images.load("folder", tmp_path, "all")
    np.testing.assert_array_equal(loaded.pixels[np.array([3, 1])][:, 0], GREY[[3, 1]])
    np.testing.assert_array_equal(loaded.first(2).pixels[:][:, 0], GREY[:2])
    with fails(str(damaged), "cannot be read"):
        loaded.pixels[1:3]
    save(tmp_path / "a" / "0.png", GREY[0].T)
    with fails(r"expected \(1, 5, 3\)", "0.png", r"got \(1, 3, 5\): it has changed"):
        loaded.pixels[:1]


def test_other_formats_under_a_known_suffix(tmp_path):
    path = save(tmp_path / "a" / "1.png", GREY[0], format="GIF")
    with fails(str(path), "PNG, JPEG or BMP"):
        images.load("folder", tmp_path, "all")


@pytest.mark.parametrize("name", [b"two\nlines", b"\xff\xfe", b"tab\there", b"\x1b[31mred"])
def test_class_folders_that_cannot_be_printed(tmp_path, name):
    folder = os.path.join(os.fsencode(tmp_path), name)
    os.mkdir(folder)
    Image.fromarray(np.zeros((4, 4), np.uint8)).save(os.path.join(os.fsdecode(folder), "a.png"))
    with pytest.raises(InputError, match="expected names of classes that can be printed") as caught:
        images.load("folder", tmp_path, "all")
    assert str(caught.value).isprintable()


def test_an_embedded_data_set_has_no_folder(tmp_path):
    with pytest.raises(InputError, match=r"expected no folder of digits, .*; leave --root out"):
        images.load("digits", tmp_path / "nope", "all")


def test_folders_without_pictures(tmp_path):
    for root in (tmp_path, tmp_path / "missing", save(tmp_path / "x.png", GREY[0])):
        with fails("one folder per class", str(root)):
            images.load("folder", root, "all")
    save(tmp_path / "a" / "1.png", GREY[0])
    (tmp_path / "b").mkdir()
    with fails("expected pictures", str(tmp_path / "b"), "found none"):
        images.load("folder", tmp_path, "all")
