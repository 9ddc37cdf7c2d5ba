"""What a zoo is on disk: immutable safetensors shards, and a manifest that is replaced as a whole after every shard.

    ZOO/manifest.json  schema, settings, label names, split rule, provenance, shards
    ZOO/images/<part>-<start>-<stop>.safetensors
        pixels (N, C, *grid) uint8 or float32, label (N,) int64, image (N,) int64
    ZOO/inrs/<part>-f<fit>-<start>-<stop>.safetensors
        params (N, num_parameters) float32, psnr (N,) float32, image (N,) int64

`image` is an image's index within its part, strictly increasing in a shard; `start` is the first one and `stop` one
past the last. `params` has the layout of `Weights.flat`. A shard counts once the manifest lists it: what a crash left
beside it is overwritten by the next run. Nothing holds a time or a host name, so equal work gives equal bytes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save
from torch import Tensor

from weightwalk import files
from weightwalk.errors import InputError
from weightwalk.spec import NetworkSpec
from weightwalk.zoos import listing
from weightwalk.zoos.splits import PARTS, SplitRule

SCHEMA_VERSION = 1
KINDS = ("images", "inrs")
IMAGE_DTYPES = ("uint8", "float32")
REMEDY = f"delete it and {listing.REMAKE}"


@dataclass(frozen=True)
class Shard:
    """One file of `count` rows; `fit` is None for images.

    `provenance` is set where it differs from the manifest's: on shards that another version added.
    """

    kind: str
    part: str
    fit: int | None
    start: int
    stop: int
    count: int
    sha256: str
    provenance: dict[str, Any] | None = None

    def __post_init__(self) -> None:
        if (self.kind, self.fit is None) not in (("images", True), ("inrs", False)) or self.part not in PARTS:
            raise InputError(f"expected a shard of {' or '.join(KINDS)} of {', '.join(PARTS)}, got {self}")
        if not (0 <= self.start < self.stop and 1 <= self.count <= self.stop - self.start) or (
            self.fit is not None and self.fit < 0
        ):
            raise InputError(f"expected a shard of images start <= i < stop and a fit number from 0, got {self}")

    @property
    def file(self) -> str:
        """Its path within the zoo."""
        name = self.part if self.fit is None else f"{self.part}-f{self.fit}"
        return f"{self.kind}/{name}-{self.start:06d}-{self.stop:06d}.safetensors"


def completed(settings: Mapping[str, Any]) -> dict[str, Any]:
    """A zoo's settings with the values that older versions left out, because there were no others: what two zoos are
    compared by.
    """
    full = {"image_dtype": "uint8", **settings}
    fit = full.get("fit")
    if isinstance(fit, Mapping):
        full["fit"] = fit = {"activation": "sine", **fit}
        if isinstance(fit.get("omega"), float):
            fit["omega"] = [fit["omega"]]
        if isinstance(fit.get("pixels"), Mapping):
            fit["pixels"] = {"fourier": None, **fit["pixels"]}
        if isinstance(fit.get("descent"), Mapping):
            descent = {"betas": [0.9, 0.999], **fit["descent"]}
            if "schedule" in descent:
                descent["decay"] = float(descent.pop("schedule") == "cosine")
            fit["descent"] = descent
    return full


@dataclass(frozen=True)
class Manifest:
    """What a zoo holds; `settings` decide its identity, and have at least `spec` (`NetworkSpec.to_dict`) and
    `image_shape` (C, *grid).
    """

    settings: dict[str, Any]
    label_names: tuple[str, ...]
    splits: SplitRule
    provenance: dict[str, Any]
    shards: tuple[Shard, ...] = ()

    def __post_init__(self) -> None:
        absent = {"spec", "image_shape"} - set(self.settings)
        if absent:
            raise InputError(
                f"expected settings with the keys spec and image_shape, got none for {' and '.join(sorted(absent))}"
            )

    @property
    def spec(self) -> NetworkSpec:
        """The architecture of every network in the zoo."""
        return NetworkSpec.from_dict(self.settings["spec"])

    @property
    def identity(self) -> dict[str, Any]:
        """What has to be equal for more to be added."""
        return {**completed(self.settings), "label_names": list(self.label_names), "splits": self.splits.to_dict()}

    def columns(self, kind: str) -> dict[str, tuple[str, tuple[int, ...]]]:
        """The tensors of a shard of this kind: dtype, and shape of one row. The first is the big one, the second the
        small one.
        """
        if kind == "images":
            dtype = self.settings.get("image_dtype", "uint8")
            if dtype not in IMAGE_DTYPES:
                raise InputError(f"expected image_dtype {' or '.join(IMAGE_DTYPES)}, got {dtype!r}")
            return {
                "pixels": (dtype, tuple(self.settings["image_shape"])),
                "label": ("int64", ()),
                "image": ("int64", ()),
            }
        return {"params": ("float32", (self.spec.num_parameters,)), "psnr": ("float32", ()), "image": ("int64", ())}

    def content(self) -> bytes:
        """The file: JSON with a checksum of its values, the shards in the order of their names."""
        shards = sorted(
            ({"file": shard.file, **asdict(shard)} for shard in self.shards), key=lambda entry: str(entry["file"])
        )
        value = {"schema_version": SCHEMA_VERSION, **asdict(self), "splits": self.splits.to_dict(), "shards": shards}
        return listing.sealed(value)

    def write(self, folder: Path) -> None:
        """Replace the manifest of the zoo in `folder`, wholly or not at all."""
        files.write_bytes(folder / listing.FILE, self.content())

    @classmethod
    def read(cls, folder: Path) -> Manifest:
        """The manifest of the zoo in `folder`; a missing, broken or newer one is an `InputError`."""
        path = folder / listing.FILE
        value = listing.read_sealed(folder, SCHEMA_VERSION)
        if isinstance(value, dict) and value.get("contents") == listing.TRAINED:
            raise InputError(
                f"expected a zoo of INRs, found one of trained networks at {folder}; make one with weightwalk fit"
            )
        try:
            entries = [{key: entry[key] for key in entry if key != "file"} for entry in value["shards"]]
            manifest = cls(
                settings=dict(value["settings"]),
                label_names=tuple(value["label_names"]),
                splits=SplitRule.from_dict(value["splits"]),
                provenance=dict(value["provenance"]),
                shards=tuple(Shard(**entry) for entry in entries),
            )
            for kind in KINDS:
                manifest.columns(kind)
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(
                f"expected the manifest of a zoo at {path}, got other JSON ({type(error).__name__}: {error}); "
                "restore it, or fit into another folder"
            ) from None
        return manifest

    def tensors(self, folder: Path, shard: Shard) -> dict[str, Tensor]:
        """A shard's tensors, as lazy memory maps, once its header says what this manifest does."""
        path = folder / shard.file
        columns = self.columns(shard.kind)
        try:
            with safe_open(path, "pt") as handle:
                tensors = {name: handle.get_tensor(name) for name in columns}
        except FileNotFoundError:
            raise InputError(f"expected a shard of the zoo at {path}, found no such file; {listing.REMAKE}") from None
        except SafetensorError as error:
            raise InputError(
                f"expected a whole shard at {path}, got a truncated or corrupt file ({error}); {REMEDY}"
            ) from None
        for name, (dtype, shape) in columns.items():
            expected, got = (
                (dtype, (shard.count, *shape)),
                (str(tensors[name].dtype).removeprefix("torch."), tuple(tensors[name].shape)),
            )
            if got != expected:
                raise InputError(
                    f"expected {name} {expected[1]} {expected[0]} in the shard {path}, got {got[1]} {got[0]}; {REMEDY}"
                )
        return tensors

    def is_whole(self, folder: Path, shard: Shard) -> bool:
        """Whether the shard's file is there and has the size and header that it should."""
        try:
            self.tensors(folder, shard)
        except InputError:
            return False
        return True

    def where(self, folder: Path, shard: Shard) -> str:
        """The place of a change in a shard, as far as its size, header and image numbers are known from the
        manifest.
        """
        columns = self.columns(shard.kind)
        *others, image = columns
        blank = save({name: np.zeros((shard.count, *shape), dtype) for name, (dtype, shape) in columns.items()})
        size = (folder / shard.file).stat().st_size
        if size != len(blank):
            return f": it has {size:,} bytes, {len(blank):,} were written"
        head = 8 + int.from_bytes(blank[:8], "little")
        with open(folder / shard.file, "rb") as handle:
            if handle.read(head) != blank[:head]:
                return ": its header is another one"
        if shard.count < shard.stop - shard.start:
            return ""  # there are gaps, and nobody knows where
        images = self.tensors(folder, shard)[image].numpy()
        if not np.array_equal(images, np.arange(shard.start, shard.stop)):
            return f": its tensor {image} is another one"
        return f": it is in {' or '.join(others)}, for the header and {image} are right"
