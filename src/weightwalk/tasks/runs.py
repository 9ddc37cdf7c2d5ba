"""A run's folder, whatever its task: a description, the stages of a training, the finished model, evaluations.

RUN/run.json                 task, method, configuration, the zoo's settings; where and with what it was made
RUN/<stage>/                 what the training loop keeps: last and best checkpoint, logs
RUN/model.safetensors        the trained reader, all that it takes to use it: `weightwalk.load(RUN)`
RUN/evaluation.json          what `evaluate` found on the zoo as it was when the run began
RUN/predictions.safetensors  its answers, network by network
RUN/on-ID/                   both of another zoo, or of a zoo that has grown: ID is our hash of what is in it
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.numpy import save

import weightwalk
from weightwalk import config as configs
from weightwalk import files
from weightwalk.errors import InputError
from weightwalk.frameworks.pretrained import FILE, Pretrained
from weightwalk.networks.files import read_tensors
from weightwalk.report.tables import commit, hardware
from weightwalk.tasks.base import described, parse_config
from weightwalk.tasks.config import RunConfig
from weightwalk.tasks.stages import Rows
from weightwalk.training.loop import read_log
from weightwalk.zoos.store import Zoo

SCHEMA_VERSION = 2


@dataclass(frozen=True)
class Record:
    """run.json. `networks` and `groups` are counts of what is trained and validated on, `rows` is a hash of its names;
    `made` says with what, where, and on which zoo: its path, and the hash of what was in it.
    """

    schema_version: int
    task: str
    method: str
    config: dict[str, Any]
    zoo: dict[str, Any]
    networks: dict[str, int]
    groups: dict[str, int]
    rows: str
    made: dict[str, str]


@dataclass(frozen=True)
class Evaluation:
    """evaluation.json: figures on test and validation networks, counts, and what else the task found (`details`)."""

    test: dict[str, float | None]
    val: dict[str, float | None]
    networks: dict[str, int]
    groups: dict[str, int]
    architectures: int
    access: Literal["weights", "query"]
    num_parameters: dict[str, int]
    seconds: dict[str, float]
    zoo_path: str
    details: dict[str, Any]

    def __post_init__(self) -> None:
        if {"train", "val", "test"} - (set(self.networks) & set(self.groups)):
            raise InputError("networks and groups must have counts of train, val and test")


@dataclass(frozen=True)
class Answers:
    """predictions.safetensors: of every test network its row, what is true, what was said, and its encoding where the
    task keeps it.
    """

    rows: Rows
    true: NDArray[Any]
    values: NDArray[Any]
    features: NDArray[np.float32] | None = None


@dataclass(frozen=True)
class Run:
    """An opened run."""

    path: Path
    config: RunConfig
    record: Record

    @classmethod
    def open(cls, path: Path) -> Run:
        """InputError for a folder that is no run, and for a run of a newer version."""
        path = Path(path)
        value = files.read_json(path / "run.json", "a run's description")
        version = value.get("schema_version") if isinstance(value, dict) else None
        if isinstance(version, int) and version > SCHEMA_VERSION:
            raise InputError(
                f"expected a run of schema {SCHEMA_VERSION} at most at {path}, got {version}; upgrade weightwalk"
            )
        if version != SCHEMA_VERSION:
            raise InputError(
                f"expected a run's description of schema {SCHEMA_VERSION} at {path / 'run.json'}, got "
                f"{'another JSON' if version is None else f'schema {version}'}; train again in another folder"
            )
        try:
            record = configs.from_dict(Record, value)
        except InputError as error:
            raise InputError(
                f"expected a run's description at {path / 'run.json'}, got another one: {error}; restore it, or train "
                "again in another folder"
            ) from None
        return cls(path, parse_config(value, str(path / "run.json")), record)

    @classmethod
    def open_or_create(cls, out: Path, config: RunConfig, added: Mapping[str, Any], made: Mapping[str, str]) -> Run:
        """The run in `out`, begun if nothing is there; InputError if it has other settings (they are named), or is
        something else. `added` and `made` are fields of `Record`.
        """
        told = {
            "schema_version": SCHEMA_VERSION,
            **described(config),
            **json.loads(json.dumps(added)),
        }
        if (out / "run.json").exists():
            run = cls.open(out)
            old = {**asdict(run.record), "config": configs.to_dict(run.config)}
            changed = configs.differences({key: old[key] for key in told}, told)
            if changed:
                raise InputError(
                    f"{out} is a run with other settings ({'; '.join(changed)}); choose another --out, or go back to "
                    "those settings"
                )
            return run
        if out.exists() and (not out.is_dir() or any(not entry.name.startswith(".") for entry in out.iterdir())):
            raise InputError(
                f"expected a run, an empty folder or nothing at {out}, found something else; choose another --out"
            )
        files.write_json(out / "run.json", {**told, "made": {**made, **versions(), "hardware": hardware()}})
        return cls.open(out)

    def load(self, device: torch.device | str = "cpu") -> Pretrained:
        """The trained reader; InputError for a run that is not finished."""
        if not (self.path / FILE).exists():
            raise InputError(
                f"expected a finished run at {self.path}, found no {FILE} yet; run the train command again, which "
                "goes on from where it stands"
            )
        return Pretrained.load(self.path / FILE, device)

    def logs(self) -> dict[str, list[dict[str, float]]]:
        """Per stage, in the order of training, the rows of its log."""
        return {name: read_log(self.path / name) for name in self.config.stages}

    def folder(self, zoo: Zoo) -> Path:
        """Where that lies which was found on a zoo with what is in it now."""
        content = zoo.fingerprint
        if content == self.record.made.get("zoo_fingerprint"):
            return self.path
        return self.path / f"on-{configs.fingerprint({'settings': zoo.settings, 'content': content})}"

    def keep(self, zoo: Zoo, evaluation: Evaluation, answers: Answers) -> None:
        """Write what `evaluate` found on a zoo."""
        arrays = {name: np.ascontiguousarray(array) for name, array in vars(answers).items() if array is not None}
        files.write_bytes(self.folder(zoo) / "predictions.safetensors", save(arrays))
        files.write_json(self.folder(zoo) / "evaluation.json", asdict(evaluation))

    def evaluation(self, zoo: Zoo | None = None) -> Evaluation:
        """What `evaluate` found on a zoo; without one, on that which it was trained on."""
        path = (self.path if zoo is None else self.folder(zoo)) / "evaluation.json"
        value = files.read_json(path, "the evaluation of a run on this zoo (make it with `weightwalk evaluate`)")
        try:
            return configs.from_dict(Evaluation, value)
        except InputError as error:
            raise InputError(f"expected an evaluation at {path}, got another JSON: {error}; evaluate again") from None

    def answers(self, zoo: Zoo, true: Callable[[Rows], NDArray[Any]]) -> Answers:
        """Its answers on a zoo, network by network; InputError if they are not of it, by what is `true` of rows."""
        path = self.folder(zoo) / "predictions.safetensors"
        arrays = {name: tensor.numpy() for name, tensor in read_tensors(path, "the predictions of a run").items()}
        rows, known = arrays.get("rows"), arrays.get("true")
        if (
            rows is None
            or known is None
            or {"rows", "true", "values"} - set(arrays)
            or set(arrays) - set(Answers.__dataclass_fields__)
            or rows.dtype != np.int64
            or {len(array) if array.ndim else -1 for array in arrays.values()} != {len(rows)}
            or not len(rows)
            or not (rows.min() >= 0 and rows.max() < len(zoo))
            or not np.array_equal(true(rows), known)
        ):
            raise InputError(
                f"expected answers about the zoo {zoo.path} at {path}, got others, or a changed zoo; evaluate again"
            )
        return Answers(**arrays)


def versions() -> dict[str, str]:
    """What a run is made with."""
    return {"weightwalk": weightwalk.__version__, "torch": torch.__version__, "commit": commit()}
