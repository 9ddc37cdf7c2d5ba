"""Whether a zoo can be trusted: files hashed, every row accounted for, a sample of the INRs rendered again.

A stored PSNR stands for an error r = peak 10^(-PSNR / 20), root mean square, against the stored source image. Rendered
again, an INR has the error r'. By the triangle inequality |r' - r| is at most the root mean square difference of the
two renderings, which is rounding and nothing else. So errors are compared, not decibels, which tell little where r is
as small as rounding.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from weightwalk.errors import InputError
from weightwalk.progress import Progress, silent
from weightwalk.zoos.hashes import Problem, verify
from weightwalk.zoos.manifest import REMEDY, Manifest, Shard
from weightwalk.zoos.inr.overview import evenly
from weightwalk.zoos.inr.pixels import PixelFormat
from weightwalk.zoos.inr.rendering import BLOCK_VALUES, blocks, pixel_format
from weightwalk.zoos.splits import PARTS, SPLITS
from weightwalk.zoos.store import Zoo

SAMPLE = 256
DECIBEL = 0.01  # what a stored PSNR may be off by, where its error is far above rounding
FLOOR = 1e-6  # of the peak, root mean square: what two float32 evaluations of an ordinary SIREN may differ by
ROUNDING, MOST_ROUNDING = 8.0, 1e-3  # times this network's own float32 rounding, but at most this share of the peak

_NAMED = 5  # INRs that a sentence names; `Problem.inrs` has all

Images = dict[str, NDArray[np.int64]]


@dataclass(frozen=True)
class Count:
    """What a zoo has of one split of one part; nothing was fitted to `without_inr` images, yet, if the fit was
    interrupted.
    """

    part: str
    split: str
    images: int
    inrs: int
    fits: int
    without_inr: int
    mean_psnr: float | None


@dataclass(frozen=True)
class Rendered:
    """INRs that were rendered, and what the PSNR of those that pass is off by at most; `why_not` says why none was."""

    inrs: int = 0
    worst_decibel: float = 0.0
    why_not: str = ""


@dataclass(frozen=True)
class Report:
    """What `check` found."""

    problems: tuple[Problem, ...]
    files: int
    bytes: int
    counts: tuple[Count, ...] = ()
    rendered: Rendered = Rendered()

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {"ok": not self.problems, **asdict(self)}


def check(path: Path, sample: int = SAMPLE, progress: Progress = silent) -> Report:
    """Hash the files, account for every row, render `sample` INRs, spread evenly, and besides all those of changed
    files.

    Shards that cannot be read are left out of what follows; after a manifest that is not as it was written, nothing
    follows. Raises InputError if there is no zoo at `path`.
    """
    if sample < 0:
        raise InputError(f"expected a sample of at least 0 INRs, got {sample}")
    path = Path(path)
    hashed = verify(path, progress)
    problems, manifest = list(hashed.problems), hashed.manifest
    if manifest is None:
        return Report(hashed.problems, hashed.files, hashed.bytes)
    known = {problem.file: problem.what for problem in problems}
    shards = []
    for shard in manifest.shards:
        problem = _unfit(path, manifest, shard)
        if problem is None:
            shards.append(shard)
        elif shard.file not in known or problem.what == "values":
            problems.append(problem)
    problems += _values(path, manifest, shards)
    stored, twice = _stored(path, manifest, shards)
    lone = {shard.file: _lone(path, manifest, shard, stored) for shard in shards}
    lost = [shard for shard in manifest.shards if shard.kind == "images" and shard not in shards]
    problems += [*twice, *(problem for shard in shards for problem in _orphans(path, shard, lone[shard.file], lost))]
    shards = [shard for shard in shards if not len(lone[shard.file])]
    zoo = Zoo(path, replace(manifest, shards=tuple(shards)))
    problems += _overlaps(zoo, shards)
    changed = [shard for shard in shards if shard.file in known]
    rows = np.union1d(evenly(zoo.rows(), sample), _rows_of(zoo, changed))
    try:
        rendered, wrong = _render(zoo, pixel_format(zoo), rows, progress)
    except InputError as error:
        rendered, wrong = Rendered(why_not=str(error)), {}
    # Pictures that are not shown are the fault of a changed file, if there is one that has a part in them; else of the
    # networks.
    suspects = [*changed, *(shard for shard in shards if shard.kind == "inrs" and shard not in changed)]
    problems += _not_shown(zoo, suspects, wrong)
    return Report(tuple(problems), hashed.files, hashed.bytes, tuple(_counts(zoo, manifest, stored)), rendered)


# ---- rows


def _unfit(path: Path, manifest: Manifest, shard: Shard) -> Problem | None:
    """Why a shard's rows cannot be read or placed."""
    try:
        images = manifest.tensors(path, shard)["image"].numpy()
    except (InputError, OSError) as error:
        return Problem("unreadable", shard.file, str(error))
    if np.any(np.diff(images) < 1) or (int(images[0]), int(images[-1]) + 1) != (shard.start, shard.stop):
        sentence = (
            f"{path / shard.file} has image numbers "
            f"that do not increase from {shard.start} to {shard.stop - 1}; {REMEDY}"
        )
        return Problem("values", shard.file, sentence)
    return None


def _values(path: Path, manifest: Manifest, shards: Sequence[Shard]) -> Iterator[Problem]:
    """Labels without a name, and PSNR that are not finite."""
    for shard in shards:
        tensors = manifest.tensors(path, shard)
        if shard.kind == "images":
            labels, names = tensors["label"].numpy(), len(manifest.label_names)
            bad = (labels < 0) | (labels >= names)
            what = f"labels that are not from 0 to {names - 1}"
        else:
            bad = ~np.isfinite(tensors["psnr"].numpy())
            what = "a PSNR that is not finite"
        if bad.any():
            images = ", ".join(_some([str(image) for image in tensors["image"].numpy()[bad].tolist()]))
            yield Problem("values", shard.file, f"{path / shard.file} has {what}, of image {images}; {REMEDY}")


def _stored(path: Path, manifest: Manifest, shards: Sequence[Shard]) -> tuple[Images, list[Problem]]:
    """Per part the sorted numbers of the images that the zoo has, each once; and those that it has twice."""
    stored, problems = {}, []
    for part in PARTS:
        mine = {
            s.file: manifest.tensors(path, s)["image"].numpy() for s in shards if (s.kind, s.part) == ("images", part)
        }
        stored[part], times = np.unique(np.concatenate([np.empty(0, np.int64), *mine.values()]), return_counts=True)
        twice = stored[part][times > 1]
        if len(twice):
            within = [file for file, images in mine.items() if twice[0] in images]
            sentence = (
                f"{path} has {len(twice):,} images of {part} twice, the first is {twice[0]} in {' and '.join(within)}"
            )
            problems.append(Problem("overlap", within[-1], f"{sentence}; take one of them out of the manifest"))
    return stored, problems


def _lone(path: Path, manifest: Manifest, shard: Shard, stored: Images) -> NDArray[np.int64]:
    """The images that a shard has INRs of and the zoo has not."""
    images = manifest.tensors(path, shard)["image"].numpy() if shard.kind == "inrs" else np.empty(0, np.int64)
    return np.setdiff1d(images, stored[shard.part])


def _orphans(path: Path, shard: Shard, lone: NDArray[np.int64], lost: Sequence[Shard]) -> Iterator[Problem]:
    """INRs whose source image the manifest does not list; those of a `lost` file are not to blame."""
    for other in lost:
        if other.part == shard.part:
            lone = lone[(lone < other.start) | (lone >= other.stop)]
    if len(lone):
        names = tuple(f"{shard.part}-{image}-f{shard.fit}" for image in lone.tolist())
        sentence = f"{path / shard.file} has INRs without a source image: {', '.join(_some(names))}"
        yield Problem("orphans", shard.file, f"{sentence}; run the same fit command again to store them", names)


def _overlaps(zoo: Zoo, shards: Sequence[Shard]) -> Iterator[Problem]:
    """INRs that are there twice: neighbours, because rows are in order."""
    same = [np.diff(column) == 0 for column in (zoo.parts, zoo.fits, zoo.indices)]
    rows = np.flatnonzero(np.logical_and.reduce(same))
    if len(rows):
        names = tuple(zoo.names(rows))
        within = [shard.file for shard in shards if shard.kind == "inrs" and rows[0] in _rows_of(zoo, [shard])]
        sentence = f"{zoo.path} has INRs twice: {', '.join(_some(names))}; the first is in {' and '.join(within)}"
        yield Problem("overlap", within[-1], f"{sentence}; take one of them out of the manifest", names)


def _counts(zoo: Zoo, manifest: Manifest, stored: Images) -> Iterator[Count]:
    for code, part in enumerate(PARTS):
        splits = manifest.splits.assign(part, stored[part])
        fitted = np.isin(stored[part], zoo.indices[zoo.parts == code])
        for number, split in enumerate(SPLITS):
            inrs, images = np.flatnonzero((zoo.parts == code) & (zoo.splits == number)), splits == number
            if images.any():
                fits, mean = (int(zoo.fits[inrs].max()) + 1, float(zoo.psnr[inrs].mean())) if len(inrs) else (0, None)
                yield Count(part, split, int(images.sum()), len(inrs), fits, int((images & ~fitted).sum()), mean)


def _rows_of(zoo: Zoo, shards: Sequence[Shard]) -> NDArray[np.int64]:
    """The rows that have something in one of these shards: the INR itself, or its source image."""
    touched = np.zeros(len(zoo), bool)
    for s in shards:
        inside = (zoo.parts == PARTS.index(s.part)) & (zoo.indices >= s.start) & (zoo.indices < s.stop)
        touched |= inside if s.fit is None else inside & (zoo.fits == s.fit)
    return np.flatnonzero(touched)


# ---- pictures


def tolerance(stored: Tensor, rounding: Tensor, peak: float) -> Tensor:
    """What errors (B,), root mean square, may differ by from the `stored` ones: `DECIBEL` of these, and rounding.

    `rounding` (B,) is what each network's float32 rendering differs from its float64 one by; it is capped, because a
    network that was damaged may round as it likes.
    """
    return stored * (10 ** (DECIBEL / 20) - 1) + peak * FLOOR + (ROUNDING * rounding).clamp(max=peak * MOST_ROUNDING)


def _errors(zoo: Zoo, pixels: PixelFormat, rows: NDArray[np.int64]) -> tuple[Tensor, Tensor]:
    """Root mean square (B,) float64 of: rendering minus source image, float32 rendering minus float64 rendering."""
    _, *grid = zoo.image_shape
    targets, weights = pixels.targets(zoo.images(rows)).double(), zoo.weights(rows)
    error, rounding = torch.zeros(2, len(rows), dtype=torch.float64)
    renderings = (blocks(pixels, networks, grid) for networks in (weights.to(torch.float64), weights))
    for (points, exact), (_, single) in zip(*renderings, strict=True):
        error += (exact - targets[:, :, points.start : points.stop]).square().sum(dim=(1, 2))
        rounding += (exact - single).square().sum(dim=(1, 2))
    return (error / targets[0].numel()).sqrt(), (rounding / targets[0].numel()).sqrt()


def _render(
    zoo: Zoo, pixels: PixelFormat, rows: NDArray[np.int64], progress: Progress
) -> tuple[Rendered, dict[int, float]]:
    """Render `rows` and compare with the stored PSNR; the rows that do not have it, with the one in dB that they
    have.
    """
    peak = pixels.high - pixels.low
    together = max(1, BLOCK_VALUES // (max(zoo.spec.widths) * int(np.prod(zoo.image_shape[1:]))))
    wrong: dict[int, float] = {}
    worst = 0.0
    for first in range(0, len(rows), together):
        some = rows[first : first + together]
        error, rounding = _errors(zoo, pixels, some)
        psnr = torch.from_numpy(zoo.psnr[some]).double()
        stored = peak * 10 ** (-psnr / 20)
        found, passes = pixels.psnr(error.square()), (error - stored).abs() <= tolerance(stored, rounding, peak)
        wrong |= {int(row): float(value) for row, value, passed in zip(some, found, passes, strict=True) if not passed}
        worst = max(worst, float((found - psnr).abs()[passes].max())) if passes.any() else worst
        progress("rendering", first + len(some), len(rows), {"off by dB": worst})
    return Rendered(len(rows), worst), wrong


def _not_shown(zoo: Zoo, suspects: Sequence[Shard], wrong: dict[int, float]) -> Iterator[Problem]:
    """One problem per shard: each of the `wrong` rows is laid to the first of the `suspects` that it has something
    in.
    """
    left = dict(wrong)
    for shard in suspects:
        bad = [row for row in _rows_of(zoo, [shard]).tolist() if row in left] if left else []
        if bad:
            names = tuple(zoo.names(np.array(bad)))
            told = f"{names[0]} has {wrong[bad[0]]:.2f} dB where {zoo.psnr[bad[0]]:.2f} dB are stored"
            what = (
                "INRs that do not show their images" if shard.kind == "inrs" else "images that their INRs do not show"
            )
            yield Problem(
                "psnr",
                shard.file,
                f"{zoo.path / shard.file} has {what}: {', '.join(_some(names))} ({told}); {REMEDY}",
                names,
            )
        for row in bad:
            del left[row]


def _some(names: Sequence[str]) -> list[str]:
    """The first few, and how many more there are."""
    return [*names[:_NAMED], *([f"{len(names) - _NAMED:,} more"] if len(names) > _NAMED else [])]
