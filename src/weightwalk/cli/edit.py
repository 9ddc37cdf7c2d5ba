"""`weightwalk edit`: a trained editor and a zoo of INRs -> a zoo of edited INRs, or a folder of decoded pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from weightwalk.cli.common import AsJson, Device, Quiet, RunArgument, ZooArgument, facts, next_steps, terminal
from weightwalk.errors import InputError
from weightwalk.report.words import shell


def command(
    run: RunArgument,
    zoo: ZooArgument,
    out: Annotated[
        Path | None,
        typer.Option(help="The new zoo, or of a run that decodes the folder of pictures.", show_default="ZOO-OP"),
    ] = None,
    op: Annotated[
        str | None, typer.Option(help="The operation: only to make sure that the run does it.", show_default=False)
    ] = None,
    device: Device = "auto",
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Do RUN's operation on every INR of ZOO.

    A run that edits weights makes a zoo of edited INRs, which render at any resolution; one that decodes, pictures.
    Ctrl-C or SIGTERM keeps what is finished; the same command goes on.
    """
    with terminal(as_json, quiet) as screen, screen.listening():
        from dataclasses import asdict

        from weightwalk import devices, files
        from weightwalk.frameworks.editor import Editor
        from weightwalk.frameworks.pretrained import load
        from weightwalk.tasks.inr_editing import edited
        from weightwalk.tasks.inr_editing.ops import OPS
        from weightwalk.zoos.store import Zoo

        if op is not None:
            OPS[op]  # which says if nobody knows it
        model = load(run, devices.pick(device))
        does = edited.task_of(model).op
        if op not in (None, does):
            raise InputError(f"expected a run that was trained on --op {op}, but {run} does {does}; choose another run")
        networks = isinstance(model.reader, Editor)
        source = Zoo.open(zoo)
        place = out or zoo.with_name(f"{zoo.resolve().name}-{does}")
        path = files.output_folder(place, holds="manifest.json" if networks else edited.TOLD)
        outcome = edited.edit_zoo(model, source, path, run, screen.progress, screen.should_stop)
        values = {"run": str(run), "zoo": str(zoo), "out": str(path), "op": does, **asdict(outcome)}
        if not outcome.finished:
            raise screen.stopped(values, f"stopped while editing {zoo}; what is finished is kept in {path}")
        what = "edited INRs" if networks else "decoded pictures"
        told: dict[str, object] = {
            "operation": does,
            "written": f"{outcome.edited:,} {what}, {outcome.already_there:,} were there",
        }
        line = f"{path}: {outcome.edited:,} {what} ({does}; {outcome.already_there:,} were there)"
        if outcome.errors is not None and outcome.unedited is not None:
            after, before = outcome.errors["mse_unit"], outcome.unedited["mse_unit"]
            told["MSE against the wanted pictures, x 1e-2 (pixels 0 to 1)"] = f"{100 * after:.3f}"
            told["of the INRs as they are"] = f"{100 * before:.3f}"
            line += f", MSE {100 * after:.3f} x 1e-2, before {100 * before:.3f}"
        following = [shell("inspect", path), shell("verify", path), shell("render", path, "0:16", "--size", 256)]
        screen.answer(
            values, line, facts(f"{zoo} edited by {run}", told), *([next_steps(*following)] if networks else [])
        )
