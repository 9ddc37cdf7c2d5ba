"""A run's folder, whatever its task: a description, the stages of a training, an evaluation.

RUN/run.json                 task, method, configuration, what the task adds; where and with what it was made
RUN/<stage>/                 what the training loop keeps: last and best checkpoint, logs
RUN/evaluation.json          what `evaluate` found on the zoo that it was trained on
RUN/predictions.safetensors  its answers, network by network
RUN/on-DATASET-ID/           both of another zoo, ID being the fingerprint of that zoo's settings
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Generic, Self, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

import weightwalk
from weightwalk import config as configs
from weightwalk import files
from weightwalk.errors import InputError
from weightwalk.networks.files import read_tensors
from weightwalk.report.tables import commit, hardware
from weightwalk.training import checkpoint
from weightwalk.training.loop import read_log
from weightwalk.training.stage import StageConfig
from weightwalk.zoos.store import Zoo

C = TypeVar("C")


@dataclass(frozen=True)
class RunFolder(Generic[C]):
    """An opened run. A task's own class names the task, the version of its description, its methods and what it adds to
    run.json.
    """

    task: ClassVar[str]
    schema_version: ClassVar[int] = 1
    methods: ClassVar[Mapping[str, type[Any]]]
    added: ClassVar[tuple[str, ...]]

    path: Path
    config: C
    record: dict[str, Any]

    @classmethod
    def open(cls, path: Path) -> Self:
        """InputError for a folder that is no run, a run of a newer version or of another task."""
        path = Path(path)
        record = files.read_json(path / "run.json", "a run's description")
        if not isinstance(record, dict) or record.get("task") != cls.task:
            other = record.get("task") if isinstance(record, dict) else None
            got = f"one of the task {other}" if isinstance(other, str) else "another description"
            raise InputError(f"expected a run of the task {cls.task} at {path}, got {got}; check the path")
        version = record.get("schema_version")
        if isinstance(version, int) and version > cls.schema_version:
            raise InputError(
                f"expected a run of schema {cls.schema_version} at most at {path}, got {version}; upgrade weightwalk"
            )
        missing = [key for key in ("method", "config", *cls.added, "made") if key not in record]
        if missing or record["method"] not in tuple(cls.methods):
            what = f"no {missing[0]}" if missing else f"the method {record['method']!r}"
            raise InputError(
                f"expected a run's description of schema {cls.schema_version} at {path / 'run.json'}, got one with "
                f"{what}; train again"
            )
        return cls(path, configs.from_dict(cls.methods[record["method"]], record["config"]), record)

    @classmethod
    def open_or_create(
        cls, out: Path, config: Any, added: Mapping[str, Any], zoo_path: Path, device: torch.device
    ) -> Self:
        """The run in `out`, begun if nothing is there; InputError if it has other settings (they are named), or is
        something else.
        """
        record = {
            "schema_version": cls.schema_version,
            "task": cls.task,
            "method": config.method,
            "config": configs.to_dict(config),
            **json.loads(json.dumps(added)),
        }
        if (out / "run.json").exists():
            run = cls.open(out)
            changed = configs.differences({key: run.record.get(key) for key in record}, record)
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
        made = {"zoo_path": str(zoo_path.resolve()), "weightwalk": weightwalk.__version__, "torch": torch.__version__}
        files.write_json(
            out / "run.json",
            {**record, "made": {**made, "commit": commit(), "hardware": hardware(), "device": str(device)}},
        )
        return cls.open(out)

    def restore(self, modules: Mapping[str, nn.Module]) -> None:
        """Give every stage's module the best parameters of that stage, and make it ready for use."""
        for stage, module in modules.items():
            best = self.path / stage / "best.safetensors"
            if not best.exists():
                raise InputError(
                    f"expected a trained run at {self.path}, but stage {stage!r} has no best checkpoint; run train "
                    "again"
                )
            checkpoint.load(best).restore(module)
            module.eval()

    def logs(self) -> dict[str, list[dict[str, float]]]:
        """Per stage, in the order of training, the rows of its log; a stage has the name of its settings."""
        stages = [name for name, value in vars(self.config).items() if isinstance(value, StageConfig)]
        return {name: read_log(self.path / name) for name in stages}

    def answers(self, zoo: Mapping[str, Any]) -> Path:
        """The folder of what was found on the zoo of these settings: the run's own for that which it was trained on."""
        return self.path if zoo == self.record["zoo"] else self.path / f"on-{zoo['dataset']}-{configs.fingerprint(zoo)}"

    def keep(self, zoo: Mapping[str, Any], evaluation: Mapping[str, Any], predictions: bytes) -> None:
        """Write what `evaluate` found on the zoo of these settings, and its answers as a safetensors file."""
        files.write_bytes(self.answers(zoo) / "predictions.safetensors", predictions)
        files.write_json(self.answers(zoo) / "evaluation.json", evaluation)

    def evaluation(self, zoo: Mapping[str, Any]) -> dict[str, Any]:
        """What `evaluate` found on the zoo of these settings."""
        path = self.answers(zoo) / "evaluation.json"
        value: dict[str, Any] = files.read_json(
            path, "the evaluation of a run on this zoo (make it with `weightwalk evaluate`)"
        )
        return value

    def predictions(self, zoo: Mapping[str, Any]) -> dict[str, NDArray[Any]]:
        """Its answers on the zoo of these settings, network by network."""
        tensors = read_tensors(self.answers(zoo) / "predictions.safetensors", "the predictions of a run")
        return {name: tensor.numpy() for name, tensor in tensors.items()}

    def found(self, zoo: Zoo, name: str, true: NDArray[Any]) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
        """Evaluation and predictions on a zoo.

        InputError for a run that was not evaluated on it, or if its rows are others by now: `true` (N,) is what they
        say of all networks that the predictions have under `name`.
        """
        evaluation, answers = self.evaluation(zoo.settings), self.predictions(zoo.settings)
        rows = answers["rows"]
        if rows.max() >= len(zoo) or not np.array_equal(true[rows], answers[name]):
            raise InputError(
                f"expected the zoo that {self.path} was evaluated on ({evaluation['zoo_path']}), got {zoo.path}, "
                "or a changed one; evaluate again"
            )
        return evaluation, answers
