"""`weightwalk predict`: what a trained run says of networks, from their weights."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from weightwalk.cli.common import AsJson, Device, Quiet, table, terminal
from weightwalk.errors import InputError

if TYPE_CHECKING:
    from weightwalk.frameworks.pretrained import Pretrained
    from weightwalk.networks.files import ModuleFactory
    from weightwalk.progress import Progress
    from weightwalk.spec import NetworkSpec

_ROWS = 40


def command(
    run: Annotated[
        Path, typer.Argument(metavar="RUN", help="A trained run, or its model.safetensors.", show_default=False)
    ],
    networks: Annotated[
        list[str],
        typer.Argument(
            metavar="NETWORK...",
            help="Zoos, files of one network's parameters, or PACKAGE.MODULE:FUNCTION, whose code is run.",
            show_default=False,
        ),
    ],
    module: Annotated[
        str | None,
        typer.Option(
            metavar="PACKAGE.MODULE:FUNCTION", help="Makes the module whose parameters the files hold; its code is run."
        ),
    ] = None,
    spec: Annotated[
        Path | None,
        typer.Option(
            help="The architecture of the files, as `weightwalk graph --json` writes it.", show_default="the run's"
        ),
    ] = None,
    activation: Annotated[
        str | None, typer.Option(help="That of the files, where the run knows networks of several.")
    ] = None,
    device: Device = "auto",
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """What RUN says of networks from their weights: the class of what they show, how good they are, or another number.

    A FUNCTION returns a module and an example of its input, or a module alone. What can't be read is named; the others
    are answered, and the exit code is 2.
    """
    with terminal(as_json, quiet) as screen:
        from weightwalk import devices
        from weightwalk.cli.models import factory, spec_of
        from weightwalk.frameworks.pretrained import load

        if module is not None and spec is not None:
            raise InputError("--module and --spec both say what architecture the files have; give one of them")
        given = factory(module) if module is not None else None if spec is None else spec_of(str(spec))
        model = load(run, devices.pick(device))
        model.description.answer.demand_told()
        reader = _Answers(model, run, given, activation, screen.progress)
        found: list[dict[str, Any]] = []
        unread: dict[str, str] = {}
        for text in networks:
            try:
                found += reader.of(text)
            except InputError as error:
                unread[text] = str(error) if text in str(error) else f"{text}: {error}"
        if not found:
            raise screen.refused(list(unread.values()), answered=False)
        answer = reader.model.description.answer
        if answer.ranked:
            order = sorted(range(len(found)), key=lambda place: -found[place]["predicted"])
            found = [{"rank": rank, **found[place]} for rank, place in enumerate(order, 1)]
        values = {"run": str(run), "networks": found, "agreement": reader.agreement, "unread": unread}
        header = [*(["rank"] if answer.ranked else []), *answer.columns]
        more = [name for name in ("true", "split") if any(name in one for one in found)]
        rows = [
            [one["network"], *([one["rank"]] if answer.ranked else []), *answer.cells(one)]
            + [_cell(answer, one.get(name)) for name in more]
            for one in found[:_ROWS]
        ]
        title = f"{len(found):,} networks" + (f", the first {_ROWS}" if len(found) > _ROWS else "")
        screen.answer(values, _line(found, reader), table(title, ["network", *header, *more], rows))
        if unread:
            raise screen.refused(list(unread.values()))


@dataclass
class _Answers:
    """Answers what users give for networks, and keeps how well the answers about zoos agree with what is true."""

    model: Pretrained
    run: Path
    architecture: NetworkSpec | ModuleFactory | None
    activation: str | None
    progress: Progress

    def __post_init__(self) -> None:
        self.agreement: dict[str, dict[str, Any]] = {}
        self.words: list[str] = []

    def of(self, text: str) -> list[dict[str, Any]]:
        """What is said of the networks that the user calls `text`, one answer each."""
        from weightwalk.cli.models import is_function, traced
        from weightwalk.networks.files import load_network, read_state

        if Path(text).is_dir():
            return self.of_zoo(Path(text))
        if is_function(text):
            network = traced(text)[1]
        elif self.architecture is not None:
            network = load_network(Path(text), self.architecture)
        else:
            network = self.model.network(read_state(Path(text)), text, self.activation)
        return [{"network": text, **self.model.predict(network)[0]}]

    def of_zoo(self, path: Path) -> list[dict[str, Any]]:
        """All networks of a zoo, with what is true where it is known, and the split if the training shared it."""
        from weightwalk.tasks import TASKS, supervised
        from weightwalk.zoos.splits import SPLITS
        from weightwalk.zoos.store import Zoo

        zoo, description = Zoo.open(path), self.model.description
        supervised.check_zoo(self.model, zoo, self.run)
        rows = zoo.rows()
        if not len(rows):
            raise InputError(f"expected networks in the zoo {path}, found none yet")
        supervised.demand_finite(TASKS[description.task], zoo, rows)
        told = description.answer.tell(supervised.read(self.model, zoo, rows, self.progress)[0])
        truths = [description.answer.truth(value) for value in TASKS[description.task].target(zoo, rows).tolist()]
        shared = supervised.shares_splits(description, zoo)
        splits = [SPLITS[code] for code in zoo.splits[rows].tolist()]
        found = []
        for name, one, true, split in zip(zoo.names(rows), told, truths, splits, strict=True):
            found.append({"network": f"{path}/{name}", **one, "true": true, **({"split": split} if shared else {})})
        self._compare(str(path), found)
        return found

    def _compare(self, zoo: str, found: list[dict[str, Any]]) -> None:
        for split in dict.fromkeys(one.get("split", "all") for one in found):
            told = [one for one in found if one.get("split", "all") == split and one["true"] is not None]
            if told:
                name, value, words = self.model.description.answer.agreement(told, [one["true"] for one in told])
                self.agreement.setdefault(zoo, {})[split] = {"networks": len(told), name: value}
                self.words.append(f"{zoo}, {split}: {words}")


def _line(found: list[dict[str, Any]], reader: _Answers) -> str:
    answer = reader.model.description.answer
    if reader.words:
        return "; ".join(reader.words)
    if answer.ranked:
        return f"first of {len(found):,}: {found[0]['network']}, {answer.subject} {answer.cells(found[0])[0]}"
    return ", ".join(f"{one['network']}: {answer.cells(one)[0]}" for one in found)


def _cell(answer: Any, value: Any) -> str:
    return answer.written(value) if isinstance(value, float) else "" if value is None else str(value)
