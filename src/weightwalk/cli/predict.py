"""`weightwalk predict-accuracy`: how good networks are, from their weights."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from weightwalk.cli.common import AsJson, Device, Quiet, RunArgument, table, terminal
from weightwalk.errors import InputError
from weightwalk.registry import unknown
from weightwalk.report.words import percent

if TYPE_CHECKING:
    from weightwalk.spec import NetworkSpec
    from weightwalk.tasks.generalization.model import AccuracyModel
    from weightwalk.tasks.generalization.run import Run
    from weightwalk.weights import Weights

_ROWS = 40


def command(
    run: RunArgument,
    models: Annotated[
        list[str],
        typer.Argument(
            metavar="MODEL...",
            help="State dicts (.safetensors, .pt, .pth), zoos of trained networks, or PACKAGE.MODULE:FUNCTION.",
            show_default=False,
        ),
    ],
    activation: Annotated[
        str | None, typer.Option(help="That of the state dicts, where the run knows networks of several.")
    ] = None,
    spec: Annotated[
        Path | None,
        typer.Option(
            help="The architecture of the state dicts, as `weightwalk graph --json` writes it.",
            show_default="one of the run's",
        ),
    ] = None,
    device: Device = "auto",
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Rank networks by the test accuracy that RUN predicts from their weights alone.

    A FUNCTION returns a module and an example of its input, or a module alone. A MODEL that can't be read is named; the
    others are ranked, and the exit code is 2.
    """
    with terminal(as_json, quiet) as screen:
        from weightwalk import devices
        from weightwalk.cli.models import spec_of
        from weightwalk.tasks.generalization.metrics import rank
        from weightwalk.tasks.generalization.run import Run

        opened = Run.open(run)
        model = opened.load(devices.pick(device))
        given = None if spec is None else spec_of(str(spec))
        found: list[dict[str, Any]] = []
        unread: dict[str, str] = {}
        for text in models:
            try:
                found += _answers(opened, model, text, given, activation)
            except InputError as error:
                unread[text] = str(error)
        if not found:
            raise InputError("; ".join(unread.values()))
        ranked = [found[position] for position in rank([answer["predicted"] for answer in found])]
        best = ranked[0]
        columns = {"true accuracy": "true", "split": "split"}  # where something is known of some network
        more = {name: _column(ranked, key) for name, key in columns.items() if any(key in answer for answer in ranked)}
        screen.answer(
            {
                "run": str(run),
                "models": [{"rank": place, **answer} for place, answer in enumerate(ranked, 1)],
                "unread": unread,
            },
            f"best of {len(ranked):,}: {best['model']}, predicted {percent(best['predicted'])}",
            table(
                f"{len(ranked):,} networks" + (f", the first {_ROWS}" if len(ranked) > _ROWS else ""),
                ["rank", "predicted accuracy", *more, "network"],
                [
                    [
                        place,
                        percent(answer["predicted"]),
                        *(column[place - 1] for column in more.values()),
                        answer["model"],
                    ]
                    for place, answer in enumerate(ranked[:_ROWS], 1)
                ],
            ),
        )
        if unread:
            raise screen.refused(list(unread.values()))


def _answers(
    run: Run, model: AccuracyModel, text: str, spec: NetworkSpec | None, activation: str | None
) -> list[dict[str, Any]]:
    """What is predicted of the networks that the user calls `text`, one answer each."""
    from weightwalk.cli.models import is_function, traced
    from weightwalk.tasks.generalization.run import predict

    if Path(text).is_dir():
        return _of_zoo(run, model, Path(text))
    network = traced(text)[1] if is_function(text) else _of_file(run, Path(text), spec, activation)
    with _named(text):
        return [{"model": text, "predicted": predict(model, [network])[0]}]


@contextmanager
def _named(text: str) -> Iterator[None]:
    """An InputError begins with whose network it was."""
    try:
        yield
    except InputError as error:
        raise InputError(f"{text}: {error}") from None


def _column(answers: list[dict[str, Any]], key: str) -> list[str | None]:
    """What a table says of the answers under one key: shares as percentages."""
    values = [answer.get(key) for answer in answers]
    return [percent(value) if isinstance(value, float) else value for value in values]


def _of_zoo(run: Run, model: AccuracyModel, path: Path) -> list[dict[str, Any]]:
    """All networks of a zoo, with their accuracy where it is known; those of the run's own zoo with their split:
    `train` was seen.
    """
    import numpy as np

    from weightwalk.tasks.generalization.model import TARGET
    from weightwalk.tasks.generalization.run import check_zoo, predict_rows
    from weightwalk.zoos.splits import SPLITS
    from weightwalk.zoos.store import Zoo

    zoo = Zoo.open(path)
    with _named(str(path)):
        check_zoo(model, zoo)
    rows = zoo.rows()
    if not len(rows):
        raise InputError(f"expected trained networks in the zoo {path}, found none yet")
    true, own = zoo.column(TARGET)[rows], zoo.settings == run.record["zoo"]
    return [
        {"model": f"{path}/{name}", "predicted": float(predicted), "true": float(known) if np.isfinite(known) else None}
        | ({"split": SPLITS[split]} if own else {})
        for name, predicted, known, split in zip(
            zoo.names(rows), predict_rows(model, zoo, rows), true, zoo.splits[rows], strict=True
        )
    ]


def _of_file(run: Run, path: Path, spec: NetworkSpec | None, activation: str | None) -> Weights:
    """The network in a file: of the `spec`, or of the one of the run's architectures that it fits."""
    from weightwalk.networks.files import read_state, to_network

    state = read_state(path)
    if spec is not None:
        return to_network(state, spec, str(path))
    fitting, refusal = _fitting(run, path, state)
    if not fitting:
        if len({spec.shape for spec in run.specs}) == 1 and refusal is not None:
            raise refusal
        raise InputError(
            f"{path} fits none of the {len(run.specs):,} architectures that {run.path} was trained on; "
            "give its own with --spec FILE.json, or the network as PACKAGE.MODULE:FUNCTION"
        )
    chosen = _chosen(run, fitting, activation)
    if len(chosen) != 1:
        raise InputError(
            f"{path} fits {len(fitting)} architectures that {run.path} was trained on (with {_kinds(fitting)}), and a "
            "state dict does not "
            "say which of them it is; give --activation or --spec FILE.json, or the network as PACKAGE.MODULE:FUNCTION"
        )
    return to_network(state, chosen[0], str(path))


def _kinds(specs: list[NetworkSpec], most: int = 6) -> str:
    """Which activations architectures have, in a few words."""
    from weightwalk.tasks.generalization.metrics import activations

    kinds = list(dict.fromkeys(" and ".join(activations(spec)) for spec in specs))
    return "; ".join(kinds if len(kinds) <= most else [*kinds[:most], f"{len(kinds) - most} more"])


def _fitting(run: Run, path: Path, state: Any) -> tuple[list[NetworkSpec], InputError | None]:
    """The run's architectures that the tensors fit, one of every shape being tried, and why the last one was
    refused.
    """
    from weightwalk.networks.files import check_finite, to_network

    check_finite(state, f"in {path}")
    refusal: InputError | None = None
    fits: dict[Any, bool] = {}
    for spec in run.specs:
        if spec.shape not in fits:
            try:
                to_network(state, spec, str(path))
                fits[spec.shape] = True
            except InputError as error:
                fits[spec.shape], refusal = False, error
    return [spec for spec in run.specs if fits[spec.shape]], refusal


def _chosen(run: Run, fitting: list[NetworkSpec], activation: str | None) -> list[NetworkSpec]:
    """Of the architectures that fit, those of an activation; any one where the encoder does not look at activations."""
    from weightwalk.tasks.generalization.metrics import activations

    if activation is not None:
        known = sorted({name for spec in fitting for name in activations(spec)})
        if activation not in known:
            raise InputError(unknown("activation", activation, known))
        return [spec for spec in fitting if activations(spec) == (activation,)]
    blind = (
        not getattr(run.config.encoder, "activation_embedding", False) and len({spec.shape for spec in fitting}) == 1
    )
    return fitting[:1] if blind else fitting
