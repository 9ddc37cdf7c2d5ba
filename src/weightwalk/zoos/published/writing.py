"""A zoo -> a published tree: one file per network, under the names that the published code reads."""

from __future__ import annotations

import io
import time
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from weightwalk import config, files
from weightwalk.errors import InputError
from weightwalk.progress import Progress, silent
from weightwalk.registry import unknown
from weightwalk.spec import Dense
from weightwalk.weights import Weights
from weightwalk.zoos.inr.pixels import PixelFormat
from weightwalk.zoos.inr.rendering import pixel_format
from weightwalk.zoos.manifest import Manifest
from weightwalk.zoos.published.trees import RECORD, TREES, Layout, Listed, read_record
from weightwalk.zoos.splits import PARTS, SPLITS
from weightwalk.zoos.store import Zoo

NUMBERINGS = ("images", "splits")
_TRAINING_IMAGES = {"mnist": 60_000, "fashion-mnist": 60_000, "cifar10": 50_000, "cifar100": 50_000}
_CHUNK = 512  # networks taken out of the zoo at once
_WRITERS = 8  # threads: a file waits long for the disk, several wait together
_OMEGA = 30.0  # of every published zoo: the published code has no other


@dataclass(frozen=True)
class ExportOutcome:
    """What a call of `export_tree` did.

    `left_out`: networks that the layout has no place for, extra fits. `bounds`: the numbers at which validation and
    test begin, if that is what they do. `gaps`: numbers below the highest of a fit that no file has; NFN's code wants
    none.
    """

    written: int
    already_there: int
    left_out: int
    finished: bool
    bounds: tuple[int, int] | None
    gaps: int
    seconds: float


def export_tree(
    zoo: Zoo,
    layout: str,
    out: Path,
    *,
    number: str = "images",
    progress: Progress = silent,
    should_stop: Callable[[], bool] = lambda: False,
) -> ExportOutcome:
    """Write the networks of `zoo` into the folder `out` in a published layout (a name in `TREES`), those whose files
    are not there.

    Where the zoo's outputs or coordinates mean something else than the layout's, `convert` rewrites the first and last
    layer, so that the published code sees the same pictures.

    A layout that counts through all parts (nfn) numbers `images` as training and test part together do, which is how
    the published code finds their pictures; or `splits`: training, then validation, then test, without gaps however
    little the zoo holds.

    InputError for networks that are no SIRENs of omega 30 on pictures, and if `out` has something else in it.
    """
    began, out = time.monotonic(), Path(out)
    forms = TREES[layout]
    form = next((form for form in forms if zoo.settings["dataset"] in form.datasets), forms[-1])
    source = _checked(zoo)
    places = _places(zoo, form, number)
    _claim(zoo, layout, number, places, out)
    rows = zoo.rows(members=form.max_fits)
    listed: Listed = {split: [] for split in SPLITS}
    written = seen = 0
    with ThreadPoolExecutor(_WRITERS) as writers:
        for first in range(0, len(rows), _CHUNK):
            if should_stop():
                break
            progress("writing", first, len(rows), {})
            chunk = rows[first : first + _CHUNK]
            networks = convert(zoo.weights(chunk), source, form.pixels)
            new: dict[Path, bytes] = {}
            for index, row in enumerate(chunk.tolist()):
                label = int(zoo.labels[row])
                path = form.path(PARTS[places.parts[row]], int(zoo.members[row]), int(places.numbers[row]), label)
                listed[SPLITS[zoo.splits[row]]].append((path, label))
                if not (out / path).exists():
                    new[out / path] = _content(form, networks, index, label)
            list(writers.map(files.write_bytes, new.keys(), new.values()))
            written += len(new)
            seen += len(chunk)
    finished = seen == len(rows)
    if finished:
        progress("writing", seen, len(rows), {})
        for name, content in form.lists(out, listed).items():
            files.write_json(out / name, content)
    gaps = _gaps(places.numbers[rows], zoo.members[rows]) if form.counts_through else 0
    return ExportOutcome(
        written, seen - written, len(zoo) - len(rows), finished, places.bounds, gaps, time.monotonic() - began
    )


def convert(networks: Weights, source: PixelFormat, target: PixelFormat) -> Weights:
    """The same pictures under another format: out' = low' + (out - low) (high' - low') / (high - low), coordinates in
    the other order.

    Exact between the nfn and dws formats, where it swaps columns and halves or doubles; nothing is touched between
    equal ones.
    """
    weights, biases = list(networks.weights), list(networks.biases)
    if source.axes != target.axes:
        weights[0] = weights[0].flip(2)
    scale = (target.high - target.low) / (source.high - source.low)
    shift = target.low - source.low * scale
    if (scale, shift) != (1.0, 0.0):
        assert biases[-1] is not None
        weights[-1], biases[-1] = weights[-1] * scale, biases[-1] * scale + shift
    return Weights.of(networks.spec, weights, biases)


@dataclass(frozen=True, eq=False)
class _Places:
    """Where every row of a zoo goes: codes into PARTS and numbers within, (R,) each.

    `origin` is what these numbers hang on; with another one, an export cannot be gone on with.
    """

    parts: NDArray[np.int64]
    numbers: NDArray[np.int64]
    origin: tuple[int, ...] = ()
    bounds: tuple[int, int] | None = None


def _places(zoo: Zoo, form: Layout, number: str) -> _Places:
    if number not in NUMBERINGS:
        raise InputError(unknown("numbering", number, list(NUMBERINGS)))
    train, test, whole = (zoo.parts == PARTS.index(part) for part in ("train", "test", "all"))
    if not form.counts_through:
        of_test = test | (whole & (zoo.splits == SPLITS.index("test")))
        return _Places(np.where(of_test, PARTS.index("test"), PARTS.index("train")), zoo.indices)
    parts = np.full(len(zoo), PARTS.index("all"))
    if number == "splits":
        keys, rows = np.unique(zoo.groups, return_index=True)
        ranks = np.empty(len(keys), np.int64)
        ranks[np.lexsort((keys, zoo.splits[rows]))] = np.arange(len(keys))
        first_val, first_test, end = np.bincount(zoo.splits[rows], minlength=len(SPLITS)).cumsum().tolist()
        bounds = (first_val, first_test) if first_val else None
        return _Places(parts, ranks[np.searchsorted(keys, zoo.groups)], (first_val, first_test, end), bounds)
    first_test = _TRAINING_IMAGES.get(zoo.settings["dataset"], int(zoo.indices[train].max(initial=-1)) + 1)
    bounds = Manifest.read(zoo.path).splits.bounds if whole.all() else None
    return _Places(parts, zoo.indices + np.where(test, first_test, 0), (first_test,), bounds)


def _gaps(numbers: NDArray[np.int64], fits: NDArray[np.int64]) -> int:
    return sum(int(numbers[fits == fit].max()) + 1 - int((fits == fit).sum()) for fit in np.unique(fits))


def _checked(zoo: Zoo) -> PixelFormat:
    """What the networks' outputs mean, if the published code can evaluate them."""
    if zoo.sources is None:
        raise InputError(f"expected a zoo of INRs to write as published ones lie, got one of {zoo.kind}: {zoo.path}")
    pixels, spec = pixel_format(zoo), zoo.spec
    sirens = all(isinstance(layer, Dense) and layer.bias for layer in spec.steps) and len(spec.steps) > 1
    *hidden, last = [(layer.activation, layer.omega) for layer in spec.layers]
    if (
        not sirens
        or set(hidden) != {("sine", _OMEGA)}
        or last[0] != "identity"
        or spec.widths[0] != 2
        or pixels.fourier is not None
    ):
        raise InputError(
            f"expected SIRENs of 2 coordinates with omega {_OMEGA:g} and biases, which the published code evaluates, "
            f"got {spec} with {', '.join(f'{name} {omega:g}' for name, omega in hidden)} in {zoo.path}; fit such a zoo "
            "first"
        )
    if not len(zoo):
        raise InputError(
            f"expected INRs in the zoo {zoo.path}, found none yet; run the fit command that began it again"
        )
    broken = zoo.broken(zoo.rows())
    if len(broken):
        raise InputError(
            f"expected finite parameters in {zoo.path}, got NaN or infinity in {len(broken):,} INRs, the first is "
            f"{zoo.names(broken[:1])[0]}; make a zoo without them"
        )
    return pixels


def _claim(zoo: Zoo, layout: str, number: str, places: _Places, out: Path) -> None:
    """Note in `out` what it is an export of, or see that it is one of the same."""
    record: dict[str, Any] = {
        "layout": layout,
        "number": number,
        "dataset": zoo.settings["dataset"],
        "label_names": list(zoo.label_names),
        "bounds": None if places.bounds is None else list(places.bounds),
        "zoo": config.fingerprint(Manifest.read(zoo.path).identity),
        "origin": list(places.origin),
    }
    if (out / RECORD).exists():
        changed = config.differences(read_record(out), record)
        if changed:
            raise InputError(f"{out} is another export ({'; '.join(changed)}); choose another folder")
    elif out.exists() and (not out.is_dir() or any(not entry.name.startswith(".") for entry in out.iterdir())):
        raise InputError(
            f"expected an export, an empty folder or nothing at {out}, found something else; choose another folder"
        )
    else:
        files.write_json(out / RECORD, record)


def _content(form: Layout, networks: Weights, index: int, label: int) -> bytes:
    """One network's file: what `torch.save(net.state_dict())` of the published code gives, on the CPU."""
    names = [f"{form.key(field.layer, len(networks.weights))}.{field.role}" for field in networks.spec.fields]
    state = OrderedDict(zip(names, networks.to_state_dict(index).values(), strict=True))
    buffer = io.BytesIO()
    torch.save(OrderedDict({**state, **form.extra(label)}), buffer)
    return buffer.getvalue()
