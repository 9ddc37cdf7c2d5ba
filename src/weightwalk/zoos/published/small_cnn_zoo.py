"""The Small CNN Zoo (Unterthiner et al. 2020): `weights.npy`, `metrics.csv.gz` and `layout.csv` of one data set.

    weights.npy      (rows, parameters) float32: a row per checkpoint
    metrics.csv.gz   a line per row: config.* (hyperparameters), step (epochs), train_loss, train_accuracy,
                     test_loss, test_accuracy
    layout.csv       varname, start_idx, end_idx, size, shape: where each tensor lies in a row, as TensorFlow keeps it

Only the rows of step 86, the end of training, are read, as in all later work. The split that later work uses (Zhou et
al. 2023, NFN) needs its list of row numbers in a fixed random order, one per line: of those of step 86 in that order
the last half tests; the first half, shuffled by Python's Random(0), trains (80 %) and validates. Without that file runs
are split by their last digits.
"""

from __future__ import annotations

import csv
import gzip
import random
import re
import zlib
from collections.abc import Container, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from weightwalk.errors import InputError
from weightwalk.networks.architectures import small_cnn
from weightwalk.spec import NetworkSpec
from weightwalk.zoos.formats import opened, read_bytes
from weightwalk.zoos.published.reading import LAYOUTS, Told
from weightwalk.zoos.published.trained import Runs, by_split, flattened
from weightwalk.zoos.shards import Group
from weightwalk.zoos.splits import SplitRule
from weightwalk.zoos.trained.train import FIGURES, checkpoints

STEP = 86
_CONSTANT = ("b_init", "dataset", "dnn_architecture", "num_layers", "num_units", "random_seed")  # the same in every row


@LAYOUTS.register("small-cnn-zoo")
class SmallCNNZoo(Runs):
    """The runs in `folder`, in the order of the split in the list `splits`, else of their rows."""

    def __init__(self, folder: Path, told: Told):
        self.folder, self.weights = folder, _weights(folder / "weights.npy")
        self.layout = _layout(folder / "layout.csv", self.weights.shape[1])
        count, self.metrics = 0, dict[int, dict[str, str]]()  # of the rows that are read: the table is large
        for count, line in enumerate(
            _table(folder / "metrics.csv.gz", ("step", "test_accuracy", "config.activation")), start=1
        ):
            if _number(line["step"]) == STEP:
                self.metrics[count - 1] = line
        if count != len(self.weights):
            raise InputError(
                f"expected a line of metrics per row of weights in {folder}, got {count:,} and {len(self.weights):,}"
            )
        if not self.metrics:
            raise InputError(f"expected rows of step {STEP} in {folder / 'metrics.csv.gz'}, got none")
        self.rows, rule = list(self.metrics), SplitRule()
        if told.splits is not None:
            self.rows, rule = _published_split(told.splits, self.metrics, count)
        dataset = _dataset(self.metrics[self.rows[0]].get("config.dataset", ""))
        super().__init__(told, "cnn", dataset, len(self.rows), rule)

    def run(self, number: int) -> Group:
        row = self.rows[number]
        line = self.metrics[row]
        spec = _spec(self.layout, line["config.activation"], self.folder)
        hyperparameters = {key.removeprefix("config."): value for key, value in line.items() if key[:7] == "config."}
        info = {key: _number(value) for key, value in hyperparameters.items() if key not in _CONSTANT}
        figures = {name: float(line.get(name) or "nan") for name in FIGURES}
        params = _params(spec, np.asarray(self.weights[row]), self.layout, self.folder)
        return checkpoints(number, spec, {**info, "row": row}, [(STEP, params, figures)])


def _dataset(name: str) -> str:
    """TensorFlow's name as ours."""
    return {"fashion_mnist": "fashion-mnist", "svhn_cropped": "svhn"}.get(name, name or "cifar10")


def _weights(path: Path) -> NDArray[np.float32]:
    with opened(path):  # which tells what the system has against it
        pass
    try:
        weights = np.load(path, mmap_mode="r")
    except (ValueError, EOFError):  # numpy would advise to unpickle it
        raise InputError(
            f"expected an array of numbers in {path}, got a file that cannot be read; get a whole copy of it"
        ) from None
    if weights.ndim != 2 or weights.dtype.kind != "f":
        raise InputError(f"expected weights (rows, parameters) in {path}, got {weights.dtype} {weights.shape}")
    return weights  # type: ignore[no-any-return]


def _table(path: Path, needed: Sequence[str]) -> Iterator[dict[str, str]]:
    """The lines of a table, packed or not, by the names of their columns."""
    content = read_bytes(path)
    try:
        text = (gzip.decompress(content) if content[:2] == b"\x1f\x8b" else content).decode()
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        raise InputError(
            f"expected a whole table in {path}, got a file that does not unpack ({error}); get a whole copy of it"
        ) from None
    lines = csv.DictReader(text.splitlines())
    absent = set(needed) - set(lines.fieldnames or ())
    if absent:
        raise InputError(
            f"expected a table with the columns {', '.join(needed)} in {path}, found none for "
            f"{', '.join(sorted(absent))}"
        )
    yield from lines


Layout = list[tuple[str, int, int, tuple[int, ...]]]
"""Per tensor: kernel or bias, where it starts and ends, its shape in TensorFlow's order."""


def _layout(path: Path, width: int) -> Layout:
    found: Layout = []
    for line in _table(path, ("varname", "start_idx", "end_idx", "shape")):
        role = line["varname"].rpartition("/")[2].partition(":")[0]
        shape = tuple(map(int, re.findall(r"\d+", line["shape"])))
        try:
            start, stop = int(line["start_idx"]), int(line["end_idx"])
        except ValueError:
            raise InputError(f"expected whole numbers as start_idx and end_idx in {path}, got {line}") from None
        if role not in ("kernel", "bias") or not 0 <= start < stop <= width or stop - start != int(np.prod(shape)):
            raise InputError(f"expected kernels and biases within the {width} numbers of a row in {path}, got {line}")
        found.append((role, start, stop, shape))
    return found


def _spec(layout: Layout, activation: str, folder: Path) -> NetworkSpec:
    """The network whose tensors a layout lists: convolutions of equal width, then one dense layer."""
    kernels = [shape for role, _, _, shape in layout if role == "kernel"]
    convolutions = [shape for shape in kernels if len(shape) == 4]
    if len(convolutions) != len(kernels) - 1 or len(kernels[-1]) != 2 or len({shape[3] for shape in convolutions}) != 1:
        raise InputError(
            f"expected convolutions of one width and a dense layer in {folder / 'layout.csv'}, got kernels {kernels}"
        )
    return small_cnn(convolutions[0][2], kernels[-1][1], activation, convolutions[0][3], len(convolutions))


def _params(spec: NetworkSpec, row: NDArray[Any], layout: Layout, folder: Path) -> NDArray[np.float32]:
    """(P,) of one row: kernels (H, W, I, O) become (O, I, H, W), dense ones (I, O) become (O, I)."""
    tensors = {}
    seen = {"kernel": 0, "bias": 0}
    for role, start, stop, shape in layout:
        array = torch.from_numpy(np.array(row[start:stop], np.float32).reshape(shape))
        if role == "kernel":
            array = array.permute(3, 2, 0, 1) if array.dim() == 4 else array.T
        tensors[seen[role], "weight" if role == "kernel" else "bias"] = array
        seen[role] += 1
    if seen != {"kernel": len(spec.layers), "bias": len(spec.layers)}:
        raise InputError(f"expected a kernel and a bias per layer in {folder / 'layout.csv'}, got {seen}")
    return flattened(spec, tensors, str(folder / "layout.csv"))


def _published_split(path: Path, final: Container[int], rows: int) -> tuple[list[int], SplitRule]:
    """Rows in the order train, val, test; one listed twice (row 0, for the list begins with a header) counts once."""
    content = read_bytes(path)
    try:
        order = [int(line) for line in content.decode().split()]
    except (ValueError, UnicodeDecodeError):
        raise InputError(f"expected one row number per line in {path}, got something else") from None
    if any(not 0 <= row < rows for row in order):
        raise InputError(
            f"expected row numbers from 0 to {rows - 1} in {path}, got {max(order)}; it belongs to another zoo"
        )
    kept = [row for row in order if row in final]
    half = len(kept) // 2
    first = list(range(half))
    random.Random(0).shuffle(first)
    cut = int(0.8 * half)
    parts = [[kept[place] for place in places] for places in (first[:cut], first[cut:], range(half, len(kept)))]
    seen: set[int] = set()
    for part in parts:
        part[:] = [row for row in part if not (row in seen or seen.add(row))]  # type: ignore[func-returns-value]
    return [row for part in parts for row in part], by_split(*map(len, parts))


def _number(text: str) -> Any:
    """A number, where a column holds one."""
    try:
        value = float(text)
    except ValueError:
        return text
    return int(value) if value.is_integer() and "." not in text else value
