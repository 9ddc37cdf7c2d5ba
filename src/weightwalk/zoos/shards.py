"""The files of a zoo: what is in a shard of rows and in one of sources, written and read.

A shard of N rows and S specs has the tensors

    params.0 ... params.S-1    (N_s, parameters of spec s) float32, in the layout of `Weights.flat`, in the rows' order
    group, member, spec        (N,) int64: index within the part, number of the member, which of the shard's specs
    one tensor per figure      (N,) float32 (NaN where nobody knows) or int64

ordered by group and member. A shard of whole groups also has a header, as JSON, with the specs and each group's index,
spec and info; a group may be without rows, as a run is that diverged before its first checkpoint. A shard of one member
has the zoo's own spec and no header. A shard of sources has

    pixels (N, C, *grid) uint8 or float32, label (N,) int64, group (N,) int64
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save
from torch import Tensor

from weightwalk import files
from weightwalk.errors import InputError
from weightwalk.spec import NetworkSpec
from weightwalk.zoos.manifest import REMAKE, REMEDY, Manifest, Shard, spec_of

NUMBERS = ("group", "member", "spec")
_HEADER = "groups"  # the one key of a shard's metadata: several would be in no fixed order


@dataclass(frozen=True, eq=False)
class Group:
    """All members of one group, to be added to a zoo: parameters `params` (S, num_parameters) and `figures`, each (S,).

    Its members are numbered 0 ... S - 1. Figures that are left out are not known (NaN). `info` is whatever is to be
    kept of the group: a run's hyperparameters.
    """

    index: int
    spec: NetworkSpec
    params: NDArray[np.float32]
    figures: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    info: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.params.ndim != 2 or self.params.shape[1] != self.spec.num_parameters or self.params.dtype != np.float32:
            raise InputError(
                f"expected params (members, {self.spec.num_parameters}) float32 of group {self.index}, "
                f"got {self.params.shape} {self.params.dtype}"
            )
        if any(np.shape(column) != (len(self.params),) for column in self.figures.values()):
            raise InputError(f"expected figures of {len(self.params)} rows each for group {self.index}, got others")
        if not np.isfinite(self.params).all():
            raise InputError(
                f"expected finite parameters in group {self.index}, got NaN or infinity; leave such members out"
            )


def pack_groups(groups: Sequence[Group], figures: Mapping[str, str]) -> bytes:
    """The file of a shard of whole groups."""
    specs = list(dict.fromkeys(group.spec for group in groups))
    codes = np.array([specs.index(group.spec) for group in groups], np.int64)
    counts = [len(group.params) for group in groups]
    columns: dict[str, NDArray[Any]] = {
        "group": np.repeat(np.array([group.index for group in groups], np.int64), counts),
        "member": np.concatenate([np.arange(count) for count in counts]),
        "spec": np.repeat(codes, counts),
    }
    unknown = [
        name for name, dtype in figures.items() if dtype == "int64" and any(name not in g.figures for g in groups)
    ]
    if unknown:
        raise InputError(f"expected the figure {unknown[0]}, a whole number, of every group, got some without")
    for name, dtype in figures.items():
        columns[name] = np.concatenate(
            [np.asarray(group.figures.get(name, np.full(len(group.params), np.nan)), dtype) for group in groups]
        )
    for code in range(len(specs)):
        columns[f"params.{code}"] = np.concatenate(
            [group.params for group, of in zip(groups, codes.tolist(), strict=True) if of == code]
        )
    header = {
        "specs": [spec.to_dict() for spec in specs],
        "groups": [[group.index, code, dict(group.info)] for group, code in zip(groups, codes.tolist(), strict=True)],
    }
    return pack(columns, {_HEADER: json.dumps(header)})


def pack(columns: Mapping[str, NDArray[Any]], metadata: dict[str, str] | None = None) -> bytes:
    """A shard's file."""
    return bytes(save({name: np.ascontiguousarray(column) for name, column in columns.items()}, metadata))


@dataclass(frozen=True, eq=False)
class Rows:
    """A shard of rows that was read: columns (N,), and per spec the parameters of its rows, as lazy memory maps."""

    specs: tuple[NetworkSpec, ...]
    columns: dict[str, NDArray[Any]]
    params: tuple[NDArray[np.float32], ...]
    header: tuple[tuple[int, int, dict[str, Any]], ...] = ()
    """Index, spec and info of every group, in a shard of whole groups."""

    @cached_property
    def indices(self) -> NDArray[np.int64]:
        """The indices of its groups, also of those without rows."""
        return np.array([index for index, _, _ in self.header], np.int64) if self.header else self.columns["group"]


def open_rows(folder: Path, manifest: Manifest, shard: Shard) -> Rows:
    """What is in a shard of rows, once it holds what the manifest says."""
    path = folder / shard.file
    with _opened(path) as handle:
        header: Any = None
        if shard.member is None:
            header = files.parse_json((handle.metadata() or {})[_HEADER], "the header of a shard")
            specs = tuple(spec_of(value) for value in header["specs"])
            groups = tuple((index, code, dict(info)) for index, code, info in header["groups"])
        else:
            if manifest.spec is None:
                raise ValueError("the settings name no spec")
            specs, groups = (manifest.spec,), ()
        columns = {name: _column(handle, name, "int64") for name in NUMBERS}
        columns |= {name: _column(handle, name, dtype) for name, dtype in manifest.figures.items()}
        params = tuple(handle.get_tensor(f"params.{code}").numpy() for code in range(len(specs)))
        found = Rows(specs, columns, params, groups)
        _check(found, shard)
    return found


def open_sources(folder: Path, manifest: Manifest, shard: Shard) -> dict[str, Tensor]:
    """The tensors of a shard of sources, as lazy memory maps, once they are what the manifest says."""
    shape, dtype = tuple(manifest.settings["image_shape"]), manifest.settings["image_dtype"]
    with _opened(folder / shard.file) as handle:
        pixels = handle.get_tensor("pixels")
        columns = {name: _column(handle, name, "int64") for name in ("label", "group")}
        got = (str(pixels.dtype).removeprefix("torch."), tuple(pixels.shape))
        if got != (dtype, (shard.rows, *shape)):
            raise ValueError(f"pixels are {got[1]} {got[0]}, not {(shard.rows, *shape)} {dtype}")
        if len(columns["label"]) != shard.rows:
            raise ValueError(f"label has {len(columns['label'])} rows, not {shard.rows}")
        _check_groups(columns["group"], shard)
        return {"pixels": pixels, **{name: handle.get_tensor(name) for name in columns}}


def is_whole(folder: Path, manifest: Manifest, shard: Shard) -> bool:
    """Whether a shard's file is there and has the size, header and columns that it should."""
    try:
        (open_rows if shard.table == "rows" else open_sources)(folder, manifest, shard)
    except InputError:
        return False
    return True


def indices(folder: Path, manifest: Manifest, shard: Shard) -> NDArray[np.int64]:
    """The indices of a shard's groups; it is opened only if there are gaps."""
    if shard.groups == shard.stop - shard.start:
        return np.arange(shard.start, shard.stop)
    if shard.table == "rows":
        return open_rows(folder, manifest, shard).indices
    return open_sources(folder, manifest, shard)["group"].numpy()


def _check(found: Rows, shard: Shard) -> None:
    """Whether a shard's parts fit together and are what the manifest says."""
    group, member, spec = (found.columns[name] for name in NUMBERS)
    if any(len(column) != shard.rows for column in found.columns.values()):
        raise ValueError(f"expected {shard.rows} rows in every column")
    for code, params in enumerate(found.params):
        width = found.specs[code].num_parameters
        if params.dtype != np.float32 or params.shape != (np.count_nonzero(spec == code), width):
            raise ValueError(f"params.{code} is {params.dtype} {params.shape}")
    _check_groups(found.indices, shard)
    if shard.member is not None:
        if np.any(member != shard.member) or np.any(spec != 0):
            raise ValueError(f"rows are not all of member {shard.member}")
        return
    order = np.diff(group)
    if np.any(order < 0) or np.any(member < 0) or np.any((order == 0) & (np.diff(member) < 1)):
        raise ValueError("rows are out of order")
    codes = np.array([code for _, code, _ in found.header], np.int64)
    at = np.searchsorted(found.indices, group).clip(max=len(codes) - 1)
    if np.any(found.indices[at] != group) or np.any(codes[at] != spec) or np.any(codes >= len(found.specs)):
        raise ValueError("rows are of other specs than their groups")


def _check_groups(index: NDArray[np.int64], shard: Shard) -> None:
    numbers = (len(index), int(index[0]), int(index[-1]) + 1) if len(index) else (0, 0, 0)
    if np.any(np.diff(index) < 1) or numbers != (shard.groups, shard.start, shard.stop):
        raise ValueError(
            f"expected {shard.groups} increasing groups from {shard.start} to {shard.stop - 1}, got others"
        )


def _column(handle: Any, name: str, dtype: str) -> NDArray[Any]:
    column: NDArray[Any] = handle.get_tensor(name).numpy()
    if column.ndim != 1 or column.dtype != dtype:
        raise ValueError(f"{name} is {column.dtype} {column.shape}, not {dtype} (rows,)")
    return column


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """A shard's file; one that is missing, damaged or another is an `InputError` that names it."""
    files.check_encodable(path)
    try:
        with safe_open(path, "pt") as handle:
            yield handle
    except FileNotFoundError:
        raise InputError(f"expected a shard of the zoo at {path}, found no such file; {REMAKE}") from None
    except (SafetensorError, OSError) as error:
        raise InputError(
            f"expected a whole shard at {path}, got a truncated or corrupt file ({error}); {REMEDY}"
        ) from None
    except (KeyError, TypeError, ValueError, IndexError, AttributeError, RecursionError, OverflowError) as error:
        told = str(error) or type(error).__name__
        raise InputError(f"expected a shard of the zoo at {path}, got another file ({told}); {REMEDY}") from None
