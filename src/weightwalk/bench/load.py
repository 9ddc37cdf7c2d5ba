"""`weightwalk bench load`: networks out of a zoo in random batches, against one .pt file per network, in turns; and
what share of a training step is waiting for them.

One process of one thread reads, from files that the machine has in memory, as in every epoch after the first.
"""

from __future__ import annotations

import re
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import cached_property, partial
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch.utils.data import DataLoader

import weightwalk
from weightwalk.bench.found import Found, mib, side_by_side
from weightwalk.bench.team import Team, median_ratio
from weightwalk.errors import InputError
from weightwalk.frameworks.reader import Reader
from weightwalk.progress import Progress, silent
from weightwalk.recipes import RECIPES
from weightwalk.report.tables import hardware
from weightwalk.spec import NetworkSpec
from weightwalk.tasks.stages import Data
from weightwalk.training.gradients import gradients
from weightwalk.training.samplers import batch_indices
from weightwalk.zoos.inr.kind import FIGURES
from weightwalk.zoos.store import Zoo
from weightwalk.zoos.writer import ZooWriter

BATCH = 256
ROWS = 2000  # in one call, for the time of many rows at once
SHARD = 512  # as `fit` cuts its zoos
SPEC = NetworkSpec.mlp([2, 32, 32, 1], activation="sine", omega=30.0)


@dataclass(frozen=True)
class Waiting:
    """Medians over training steps of a small DNG-Encoder (the recipe `mnist_classify_small`), milliseconds.

    `batch_ms` is from the numbers of rows to networks and labels, as tasks read them; `loader_ms` the next batch of a
    shuffling DataLoader without workers; `step_ms` everything from networks to the optimiser's step. Shares are of
    the whole.
    """

    batch_ms: float
    loader_ms: float
    step_ms: float

    @property
    def batch_share(self) -> float:
        return self.batch_ms / (self.batch_ms + self.step_ms)

    @property
    def loader_share(self) -> float:
        return self.loader_ms / (self.loader_ms + self.step_ms)


@dataclass(frozen=True)
class Figures:
    """What was found.

    `rss_mib` is the growth of the reader's peak memory as it opened the zoo and read every row; mapped pages count.
    `private_mib` of that is the reader's own: the kernel drops mapped pages when it needs room.
    """

    inrs_per_second: float
    pt_inrs_per_second: float
    ratio: float
    ms_per_2000_rows: float
    rss_mib: float | None
    private_mib: float | None
    zoo_mib: float  # the parameters on disk
    inrs: int
    parameters: int  # of one INR
    batch: int = BATCH


@dataclass(frozen=True)
class LoadBench:
    """How much is measured."""

    inrs: int = 20_000
    files: int = 2_000
    batches: int = 200  # of the zoo, per repetition
    file_batches: int = 4
    repetitions: int = 9
    train_batches: tuple[int, ...] = (64, 256, 1024)
    train_inrs: int = 4_096  # trained on, for each of them; at least two steps are made

    def measure(self, zoo: Path | None = None, progress: Progress = silent) -> Found:
        """Measure with the zoo that is given, or with one of random weights in a temporary folder, which is removed."""
        given = zoo
        with tempfile.TemporaryDirectory(prefix="weightwalk-bench-") as scratch, Team(1) as team:
            if zoo is None:
                zoo = Path(scratch) / "zoo"
                _make_zoo(zoo, self.inrs, progress)
            opened = Zoo.open(zoo)
            if not len(opened):
                raise InputError(
                    f"expected INRs in the zoo {zoo}, found none yet; run the fit command that began it again"
                )
            folder = Path(scratch) / "files"
            _make_files(opened, folder, self.files, progress)
            team.give([_Shelf(zoo, folder, self.files)])
            _, [(rss, private)] = team.run(_read_all)
            team.run(_read_files, 1)
            zoo_s, file_s, rows_ms = [], [], []
            for repetition in range(self.repetitions):
                file_s.append(team.run(_read_files, self.file_batches)[1][0] / self.file_batches)
                zoo_s.append(team.run(_read_batches, self.batches, BATCH)[1][0] / self.batches)
                rows_ms.append(1e3 * team.run(_read_batches, 1, ROWS)[1][0])
                speeds = {"INRs/s": BATCH / median(zoo_s), ".pt/s": BATCH / median(file_s)}
                progress("reading", repetition + 1, self.repetitions, speeds)
            waiting = {}
            for number, size in enumerate(self.train_batches):
                progress("training", number, len(self.train_batches), {})
                _, [waiting[size]] = team.run(_train, size, max(2, self.train_inrs // size))
        shares = {f"batch_share_{size}": each.batch_share for size, each in waiting.items()}
        shares |= {f"loader_share_{size}": each.loader_share for size, each in waiting.items()}
        figures = Figures(
            inrs_per_second=BATCH / median(zoo_s),
            pt_inrs_per_second=BATCH / median(file_s),
            ratio=median_ratio(file_s, zoo_s),
            ms_per_2000_rows=median(rows_ms),
            rss_mib=rss,
            private_mib=private,
            zoo_mib=len(opened) * opened.spec.num_parameters * 4 / 2**20,
            inrs=len(opened),
            parameters=opened.spec.num_parameters,
        )
        return Found(
            asdict(figures)
            | {"batch_share": max(shares.values()), **shares}
            | {"batches": {str(size): asdict(each) for size, each in waiting.items()}}
            | {"zoo": None if given is None else str(given)},
            f"{figures.inrs_per_second:,.0f} INRs/s in random batches of {BATCH}, {figures.ratio:.0f} times as many as "
            f"from .pt files; of a training step at most {100 * max(shares.values()):.2g} % is waiting for them",
            f"Loading {figures.inrs:,} INRs of {figures.parameters:,} parameters on {hardware()}, medians of "
            f"{self.repetitions}",
            *side_by_side({"": _column(figures) | _shares(waiting)}),
        )


QUICK = LoadBench(inrs=600, files=100, batches=10, file_batches=1, repetitions=2, train_batches=(16, 64), train_inrs=64)


def _column(found: Figures) -> dict[str, object]:
    """What people read."""
    return {
        f"zoo, random batches of {BATCH}": f"{found.inrs_per_second:,.0f} INRs/s",
        "one .pt per network": f"{found.pt_inrs_per_second:,.0f} INRs/s",
        "ratio": found.ratio,
        f"{ROWS:,} random rows": f"{found.ms_per_2000_rows:.1f} ms",
        "parameters on disk": f"{found.zoo_mib:.0f} MiB",
        "growth of peak memory": mib(found.rss_mib),
        "of that, not the file's own pages": mib(found.private_mib),
    }


def _shares(waiting: Mapping[int, Waiting]) -> dict[str, object]:
    """What people read of training steps."""
    return {
        f"of a training step with {size:,}, reading": f"{each.batch_ms:.2f} of {each.batch_ms + each.step_ms:.0f} ms, "
        f"{100 * each.batch_share:.2g} % (DataLoader {each.loader_ms:.2f} ms, {100 * each.loader_share:.2g} %)"
        for size, each in waiting.items()
    }


def _make_zoo(path: Path, count: int, progress: Progress) -> None:
    """A zoo of random weights, whose pictures are as small as can be."""
    writer = ZooWriter.open(
        path,
        settings={
            "kind": "inr",
            "dataset": "bench",
            "image_shape": [1, 1, 1],
            "image_dtype": "uint8",
            "label_names": ["any"],
            "spec": SPEC.to_dict(),
        },
        figures=FIGURES,
        sources=True,
        provenance={"weightwalk": weightwalk.__version__},
    )
    rng = np.random.default_rng(0)
    for first in range(0, count, SHARD):
        indices = np.arange(first, min(first + SHARD, count))
        writer.add_sources(
            "all", indices, np.zeros((len(indices), 1, 1, 1), np.uint8), np.zeros(len(indices), np.int64)
        )
        parameters = rng.standard_normal((len(indices), SPEC.num_parameters), np.float32)
        writer.add_rows("all", 0, indices, parameters, {"psnr": np.zeros(len(indices), np.float32)})
        progress("making a zoo", int(indices[-1]) + 1, count, {})


def _make_files(zoo: Zoo, folder: Path, count: int, progress: Progress) -> None:
    """Networks of the zoo as the published ones lie on disk: a file of a state dict each."""
    folder.mkdir()
    networks = zoo.weights(np.arange(count) % len(zoo))
    for number in range(count):
        torch.save(networks.to_state_dict(number), _file(folder, number))
        if (number + 1) % 100 == 0 or number + 1 == count:
            progress("making files", number + 1, count, {})


def _file(folder: Path, number: int) -> Path:
    return folder / f"{number}.pt"


# ---- in the reader


class _Shelf:
    """What the reader reads from; the zoo is opened by the first who asks."""

    def __init__(self, zoo: Path, files: Path, count: int):
        self.path, self.files, self.count = zoo, files, count
        self.rng = np.random.default_rng(0)

    @cached_property
    def zoo(self) -> Zoo:
        return Zoo.open(self.path)


def _timed(read: Callable[[NDArray[np.int64]], Any], batches: NDArray[np.int64]) -> float:
    began = time.perf_counter()
    for rows in batches:
        read(rows)
    return time.perf_counter() - began


def _read_batches(shelf: _Shelf, batches: int, size: int) -> float:
    """Seconds to read random batches out of the zoo."""
    return _timed(shelf.zoo.weights, shelf.rng.integers(len(shelf.zoo), size=(batches, size)))


def _train(shelf: _Shelf, size: int, steps: int) -> Waiting:
    """Train a small encoder, on batches from the zoo and from a DataLoader by turns; the first of each is not timed."""
    zoo, recipe = shelf.zoo, RECIPES["mnist_classify_small"]()
    encoder = recipe.encoder.build(zoo.spec)
    assert recipe.head is not None
    reader = Reader(encoder, recipe.head.build(encoder.encoding_shape, len(zoo.label_names)))
    rows = zoo.rows()
    data = Data(zoo, rows, rows, torch.device("cpu"))
    encoder.prepare(data.batches(rows))
    optimizer = torch.optim.AdamW(reader.parameters(), lr=1e-4)
    loader = _endless(DataLoader(zoo, size, shuffle=True))
    took: dict[str, list[float]] = {"batch": [], "loader": [], "step": []}
    for step in range(steps + 2):
        began = time.perf_counter()
        if step % 2:
            batch = next(loader)
            networks, labels = batch["weights"], batch["label"]
        else:
            chosen = data.train[batch_indices(len(rows), size, step, seed=0).numpy()]
            networks, labels = data.networks(chosen), torch.from_numpy(zoo.labels[chosen])
        read = time.perf_counter()
        optimizer.zero_grad()
        gradients(reader, lambda batch: F.cross_entropy(reader(batch[0]), batch[1]), (networks, labels))
        optimizer.step()
        if step > 1:
            took["loader" if step % 2 else "batch"].append(1e3 * (read - began))
            took["step"].append(1e3 * (time.perf_counter() - read))
    return Waiting(median(took["batch"]), median(took["loader"]), median(took["step"]))


def _endless(loader: DataLoader[Any]) -> Iterator[dict[str, Any]]:
    while True:
        yield from loader


def _read_files(shelf: _Shelf, batches: int) -> float:
    """Seconds to read random batches out of files: one tensor (B, ...) for each of a network's."""
    return _timed(partial(_stacked, shelf.files), shelf.rng.integers(shelf.count, size=(batches, BATCH)))


def _stacked(folder: Path, numbers: NDArray[np.int64]) -> dict[str, torch.Tensor]:
    states = [torch.load(_file(folder, number), weights_only=True) for number in numbers]
    return {name: torch.stack([state[name] for state in states]) for name in states[0]}


def _read_all(shelf: _Shelf) -> tuple[float | None, float | None]:
    """Open the zoo and read every row, in random batches: MiB by which peak memory and private memory grew."""
    before = memory_mib()
    zoo = shelf.zoo
    order = shelf.rng.permutation(len(zoo))
    for first in range(0, len(order), BATCH):
        zoo.weights(order[first : first + BATCH])
    after = memory_mib(reset=False)
    if before is None or after is None:
        return None, None
    return after[0] - before[0], after[1] - before[1]


def memory_mib(reset: bool = True) -> tuple[float, float] | None:
    """This process's peak (since now, if `reset`) and private memory; None where Linux does not say."""
    with suppress(OSError):
        if reset:
            Path("/proc/self/clear_refs").write_text("5")
        found = dict(re.findall(r"^(VmHWM|RssAnon):\s+(\d+) kB", Path("/proc/self/status").read_text(), re.MULTILINE))
        return int(found["VmHWM"]) / 1024, int(found["RssAnon"]) / 1024
    return None
