"""Supervised learning on a zoo, whatever the task: train, evaluate, and the true answers of a zoo."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from weightwalk import config as configs
from weightwalk.errors import InputError
from weightwalk.frameworks.pretrained import FILE, Description, Latents, Offsets, Pretrained
from weightwalk.frameworks.reader import Reader
from weightwalk.progress import Progress, silent
from weightwalk.tasks.base import TASKS, Task
from weightwalk.tasks.config import RunConfig
from weightwalk.tasks.runs import Answers, Evaluation, Run, versions
from weightwalk.tasks.stages import Data, Rows
from weightwalk.training import distributed, tracking
from weightwalk.training.loop import Outcome
from weightwalk.training.loop import train as train_stage
from weightwalk.training.samplers import batches, check_sampling
from weightwalk.training.stage import StageConfig
from weightwalk.zoos.inr.rendering import pixel_format
from weightwalk.zoos.store import Zoo

_NAMED = 3  # networks that a sentence lists


def train(
    config: RunConfig,
    zoo: Zoo,
    out: Path,
    *,
    device: torch.device,
    progress: Progress = silent,
    should_stop: Callable[[], bool] = lambda: False,
    track: Sequence[str] = (),
) -> dict[str, Outcome]:
    """Train every stage of `config` on `zoo`, from where the run in `out` stands; the outcomes by stage, fewer if it
    was stopped.

    The encoder's `prepare` sees the training networks first, in every call alike, so a resumed run is the uninterrupted
    one. Nothing is written before data and model are known to be good. InputError if `out` was made with other settings
    or another zoo (the differences are named), if the zoo is of another kind, lacks a split, or has networks that are
    not finite. `track` names trackers that get the logs' rows as well (`tracking`). Of a team of processes
    (`distributed.joined`) the leader alone writes.
    """
    tracking.check(track)
    task, out = TASKS[config.task].of(config), Path(out)
    task.check_zoo(config, zoo)
    data = Data(zoo, task.rows(config, zoo, "train"), task.rows(config, zoo, "val"), device)
    for split, rows in (("training", data.train), ("validation", data.val)):
        _demand_networks(task, zoo, rows, split)
    demand_finite(task, zoo, np.concatenate([data.train, data.val]))
    description = describe(task, config, zoo, data.train)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(config.seed)
        reader = description.build().to(device)
    counts = {
        "zoo": zoo.settings,
        "networks": {"train": len(data.train), "val": len(data.val)},
        "groups": {name: _groups(zoo, rows) for name, rows in (("train", data.train), ("val", data.val))},
        "rows": configs.fingerprint({"train": zoo.names(data.train), "val": zoo.names(data.val)}),
    }
    made = {"zoo_path": str(zoo.path.resolve()), "zoo_fingerprint": zoo.fingerprint, "device": str(device)}
    for stage in vars(config).values():
        if isinstance(stage, StageConfig):  # before anything is written, so that the command can be mended
            check_sampling(len(data.train), stage.batch_size, config.seed)
    team = distributed.team()
    if not team.leads:
        team.wait()  # until the leader has begun it
    run = Run.open_or_create(out, config, counts, made)
    if team.leads:
        team.wait()
    reader.encoder.prepare(data.batches(data.train))
    outcomes: dict[str, Outcome] = {}
    begun = any((run.path / name).exists() for name in config.stages)
    with tracking.tracked(track, run.path, configs.to_dict(config), begun) as log:
        for stage in task.stages(config, reader, description.answer, data):
            outcomes[stage.name] = outcome = train_stage(
                stage.objective(data),
                stage.config,
                run.path / stage.name,
                seed=config.seed,
                label=stage.name,
                progress=progress,
                should_stop=should_stop,
                log=partial(log, stage.name),
            )
            if not outcome.finished:
                return outcomes
    if team.leads and not (run.path / FILE).exists():
        Pretrained(reader, description).save(run.path / FILE)
    return outcomes


def describe(task: Task[Any], config: RunConfig, zoo: Zoo, train: Rows) -> Description:
    """The reader that `config` makes for the networks of a zoo."""
    pretext, offsets = config.pretext, config.offset_sizes
    return Description(
        specs=zoo.specs,
        encoder=config.encoder,
        head=config.head,
        answer=task.answer(zoo, train),
        latents=None if pretext is None else Latents(pretext, zoo.image_shape),
        offsets=None if offsets is None else Offsets(offsets, zoo.image_shape, pixel_format(zoo)),
        task=config.task,
        recipe=config.recipe,
        zoo=identity(zoo),
        made=versions(),
    )


def identity(zoo: Zoo) -> dict[str, str]:
    """What a model says of the zoo that it was trained on."""
    settings = {"kind": zoo.kind, "dataset": str(zoo.settings["dataset"])}
    return {**settings, "fingerprint": configs.fingerprint(zoo.settings)}


def shares_splits(description: Description, zoo: Zoo) -> bool:
    """Whether a split of `zoo` says what the model was trained on: it is that zoo, or INRs of the same pictures."""
    own, other = description.zoo, identity(zoo)
    return own == other or (own.get("kind") == other["kind"] == "inr" and own.get("dataset") == other["dataset"])


@torch.no_grad()
def read(
    model: Pretrained,
    zoo: Zoo,
    rows: Rows,
    progress: Progress = silent,
    label: str = "reading",
    keep: bool = False,
) -> tuple[Tensor, Tensor | None]:
    """Values (n, ...) of rows of a zoo and, to `keep`, their encodings (n, D), of latents the first view's; on the CPU.

    InputError that names networks which are not finite, or so large that there is no answer.
    """
    data, reader = Data(zoo, rows, rows, model.device), model.reader
    values: list[Tensor] = []
    features: list[Tensor] = []
    done = 0
    for part in batches(rows):
        networks = data.networks(part)
        if isinstance(reader, Reader):
            encodings = reader.encoder.encode(networks)
            outputs = reader.head(encodings)
        else:
            assert not keep, "an editor's encodings are not kept"
            outputs = reader(networks)
        found = model.description.answer.values(outputs.double()).cpu()
        bad = ~found.reshape(len(part), -1).isfinite().all(1).numpy()
        if bad.any():
            raise InputError(
                f"{zoo.path}, {_listed(zoo, part[bad])}: the weights are not finite or too large, so that there is no "
                "answer; leave such networks out"
            )
        values.append(found)
        if keep:
            features.append((encodings[:, 0] if encodings.dim() > 2 else encodings).flatten(1).cpu())
        done += len(part)
        progress(label, done, len(rows), {})
    return torch.cat(values), torch.cat(features) if keep else None


def evaluate(run: Run, zoo: Zoo, *, device: torch.device, progress: Progress = silent) -> Evaluation:
    """Figures of the trained run on the zoo's validation and test networks; kept with the run and returned.

    InputError for a zoo of networks or answers that the run does not know, without test networks, or with networks that
    are not finite.
    """
    task, model = TASKS[run.config.task].of(run.config), run.load(device)
    check_zoo(model, zoo, run.path)
    rows = {split: task.rows(run.config, zoo, split) for split in ("val", "test")}
    _demand_networks(task, zoo, rows["test"], "test")
    demand_finite(task, zoo, np.concatenate(list(rows.values())))
    values, targets, features = {}, {}, None
    for split, of_split in rows.items():
        targets[split] = task.target(zoo, of_split)
        if len(of_split):
            keep = task.keeps_features and split == "test"
            values[split], features = read(model, zoo, of_split, progress, f"{split} split", keep)
    figures = {
        split: {name: _or_none(value) for name, value in task.figures(values[split], targets[split]).items()}
        for split in values
    }
    parts: Mapping[str, nn.Module] = dict(model.reader.named_children())
    evaluation = Evaluation(
        test=figures["test"],
        val=figures.get("val", {}),
        networks={"train": run.record.networks["train"], **{split: len(of_split) for split, of_split in rows.items()}},
        groups={"train": run.record.groups["train"], **{split: _groups(zoo, part) for split, part in rows.items()}},
        architectures=len(zoo.specs),
        access=model.reader.encoder.access,
        num_parameters={name: sum(p.numel() for p in part.parameters()) for name, part in parts.items()},
        seconds={name: log[-1]["seconds"] for name, log in run.logs().items() if log},
        zoo_path=str(zoo.path.resolve()),
        details=task.details(zoo, rows["test"], values["test"], targets["test"]),
    )
    answers = Answers(
        rows["test"],
        targets["test"].numpy(),
        values["test"].float().numpy(),
        None if features is None else features.numpy(),
    )
    run.keep(zoo, evaluation, answers)
    return evaluation


def check_zoo(model: Pretrained, zoo: Zoo, name: Path) -> None:
    """InputError if the model `name` cannot read the zoo's networks, or tells something else than is known of them."""
    for spec in zoo.specs:
        try:
            model.check(spec)
        except InputError as error:
            raise InputError(f"{zoo.path}: {error}") from None
    task, told = TASKS[model.description.task].of(model.description.answer), model.description.answer.subject
    offsets = model.description.offsets
    if offsets is not None and pixel_format(zoo) != offsets.pixels:
        raise InputError(
            f"the model {name} edits INRs of {offsets.pixels}, those of {zoo.path} are of {pixel_format(zoo)}; use a "
            "zoo that was fitted as that which the model was trained on"
        )
    try:
        of_zoo = task.answer(zoo, zoo.rows()[:1]).subject
    except InputError:
        of_zoo = "nothing of that"
    if of_zoo != told:
        raise InputError(
            f"the model {name} tells {told}, of the networks of {zoo.path} is known: {of_zoo}; use a zoo of the same "
            "kind and data set"
        )


def _demand_networks(task: Task[Any], zoo: Zoo, rows: Rows, split: str) -> None:
    target = task.target(zoo, rows).numpy()
    equal = target.dtype.kind == "f" and len(target) > 1 and np.ptp(target) == 0
    if not len(rows) or equal or (target.dtype.kind == "f" and len(rows) < 2):
        got = f"{len(rows)} of which all have the same" if equal else f"{len(rows)}"
        what = "" if target.dtype.kind != "f" else " of different values to tell"
        imported = "layout" in zoo.settings
        remedy = "use a zoo that has them" if imported else "add more to the zoo with the command that made it"
        raise InputError(f"expected {split} {task.networks}{what} in {zoo.path}, got {got}; {remedy}")


def demand_finite(task: Task[Any], zoo: Zoo, rows: Rows) -> None:
    """InputError that names networks which are not finite: nothing true can be said of them, or learnt from them."""
    broken = zoo.broken(rows)
    if len(broken):
        raise InputError(
            f"expected finite {task.networks} in {zoo.path}, got NaN or infinity in {_listed(zoo, broken)}; make the "
            "zoo again without them, or leave them out when it is imported"
        )


def _listed(zoo: Zoo, rows: Rows) -> str:
    names = ", ".join(zoo.names(rows[:_NAMED]))
    return names if len(rows) <= _NAMED else f"{names} and {len(rows) - _NAMED:,} more"


def _groups(zoo: Zoo, rows: Rows) -> int:
    return len(np.unique(zoo.groups[rows]))


def _or_none(value: float) -> float | None:
    return value if value == value else None
