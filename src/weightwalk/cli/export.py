"""`weightwalk export`: a trained reader -> a program that runs without this library; a zoo -> files that published
repositories read.
"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from weightwalk.cli.common import AsJson, Quiet, Terminal, facts, terminal
from weightwalk.errors import InputError
from weightwalk.report.words import duration

if TYPE_CHECKING:
    from weightwalk.frameworks.pretrained import Pretrained
    from weightwalk.spec import NetworkSpec


def command(
    source: Annotated[
        Path,
        typer.Argument(metavar="RUN|ZOO", help="A trained run or its model.safetensors, or a zoo.", show_default=False),
    ],
    kind: Annotated[
        str | None,
        typer.Argument(metavar="[FORMAT]", help="Of a run onnx or torch, of a zoo nfn or dws.", show_default=False),
    ] = None,
    target: Annotated[
        Path | None, typer.Argument(metavar="[OUT]", help="The file, or of a zoo the folder.", show_default=False)
    ] = None,
    to: Annotated[str | None, typer.Option(metavar="FORMAT", help="FORMAT.", show_default="a run's both")] = None,
    out: Annotated[
        Path | None, typer.Option(metavar="OUT", help="OUT.", show_default="model.onnx and model.pt2 in RUN")
    ] = None,
    spec: Annotated[
        str | None,
        typer.Option(
            metavar="SPEC|NETWORK",
            help="Which networks the program reads, of a run that knows several architectures: a spec .json, or a file "
            "of one network's parameters.",
        ),
    ] = None,
    activation: Annotated[str | None, typer.Option(help="That of the networks, where the run knows several.")] = None,
    number: Annotated[
        str, typer.Option(help="nfn: number images as the data set does (images), or without gaps (splits).")
    ] = "images",
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Write a trained reader as programs for PyTorch (torch.export) and ONNX, from weights to what it says of them.
    Each is loaded again and tried on 1 to 64 networks.

    Or a zoo's INRs as the published repositories read them, one file each: files that are there stay, and networks of
    another convention than FORMAT's are rewritten so that they show the same pictures there.
    """
    with terminal(as_json, quiet) as screen, screen.listening():
        from weightwalk.frameworks.export import FORMATS
        from weightwalk.zoos.published.trees import TREES

        kind, out = _one(kind, to, "FORMAT"), _one(target, out, "OUT")
        if kind in TREES or (source / "manifest.json").exists():
            _zoo(screen, source, kind, out, number)
        else:
            by_suffix = {form.suffix: name for name, form in FORMATS.items()}
            if kind is None and out is not None:
                kind = by_suffix.get(out.suffix.lower(), "torch")
            _run(screen, source, [*FORMATS] if kind is None else [kind], out, spec, activation)


def _one(argument: Any, option: Any, name: str) -> Any:
    """What was given as an argument or as an option."""
    if argument is not None and option is not None and argument != option:
        raise InputError(f"{name} was given twice, as {argument} and as {option}; leave one out")
    return option if argument is None else argument


def _run(
    screen: Terminal, source: Path, kinds: list[str], out: Path | None, spec: str | None, activation: str | None
) -> None:
    from weightwalk import files
    from weightwalk.frameworks.export import ATOL, FORMATS, RTOL, architecture, export
    from weightwalk.frameworks.pretrained import load

    for kind in kinds:
        FORMATS[kind].check()
    beside = (source if source.is_dir() else source.parent) / "model"
    paths = {kind: out or beside.with_suffix(FORMATS[kind].suffix) for kind in kinds}
    for kind, path in paths.items():
        files.output(path, FORMATS[kind].suffix)
    model = load(source)
    read = architecture(model, activation) if spec is None else _architecture(model, spec, activation)
    done: list[dict[str, Any]] = []
    for kind, path in paths.items():
        screen.remark(f"writing {path}, and trying it")
        made = export(model, path, kind, read)
        done.append({**asdict(made), "spec": str(made.spec), "bytes": path.stat().st_size})
    tolerance = f"{ATOL:g} + {RTOL:g} of the value"
    values = {"run": str(source), "tolerance": {"absolute": ATOL, "relative": RTOL}, "programs": done}
    blocks = [
        facts(
            str(one["path"]),
            {
                "input": f"weights (networks, {read.num_parameters:,}) of {read}",
                "output": f"{one['output']}: {model.description.answer.subject}",
                "size": files.in_units(one["bytes"]),
                "tried on networks at once": ", ".join(map(str, one["sizes"])),
                "differs from the run by at most": f"{one['difference']:.1e} ({tolerance} allowed)",
            },
        )
        for one in done
    ]
    screen.answer(values, f"wrote {' and '.join(str(one['path']) for one in done)}", *blocks)


def _architecture(model: Pretrained, text: str, activation: str | None) -> NetworkSpec:
    from weightwalk.cli.models import is_function, spec_of
    from weightwalk.networks.files import SUFFIXES, read_state

    path = Path(text)
    if path.is_dir():
        raise InputError(f"expected a spec .json or a file of one network's parameters as --spec, got a folder, {text}")
    if path.suffix in SUFFIXES and not is_function(text):
        return model.network(read_state(path), text, activation).spec
    return spec_of(text)


def _zoo(screen: Terminal, source: Path, layout: str | None, out: Path | None, number: str) -> None:
    from weightwalk import files
    from weightwalk.zoos.published import export_tree
    from weightwalk.zoos.store import Zoo

    if layout is None or out is None:
        raise InputError(f"expected whose files to write and where to, as in: export {source} nfn OUT")
    files.output_folder(out, option="OUT")
    outcome = export_tree(
        Zoo.open(source), layout, out, number=number, progress=screen.progress, should_stop=screen.should_stop
    )
    values = {"out": str(out), **asdict(outcome)}
    if not outcome.finished:
        raise screen.stopped(values, f"stopped while writing {out}; {outcome.written:,} new files are there")
    if outcome.left_out:
        screen.remark(f"{outcome.left_out:,} extra fits have no place in the layout {layout} and were left out")
    if outcome.gaps:
        screen.remark(
            f"{outcome.gaps:,} numbers have no file: the published loader, which counts from 0, stops at the "
            "first; --number splits leaves no gaps"
        )
    bounds = "" if outcome.bounds is None else f", split points [{outcome.bounds[0]}, {outcome.bounds[1]}]"
    screen.answer(
        values,
        f"{out}: {outcome.written + outcome.already_there:,} files ({outcome.written:,} new){bounds}, "
        f"{duration(outcome.seconds)}",
    )
