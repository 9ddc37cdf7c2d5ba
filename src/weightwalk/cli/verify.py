"""`weightwalk verify`: whether a zoo is what was written, and shows what it says."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from weightwalk.cli import trained
from weightwalk.cli.common import AsJson, Quiet, Terminal, facts, table, terminal
from weightwalk.errors import InputError

if TYPE_CHECKING:
    from weightwalk.zoos.check import Report
    from weightwalk.zoos.trained.check import TrainedReport


def command(
    zoo: Annotated[Path, typer.Argument(metavar="ZOO", help="The folder of a zoo.", show_default=False)],
    sample: Annotated[
        int | None,
        typer.Option(
            help="INRs to render, or networks to score, and to compare with what the zoo says.",
            show_default="256 INRs, 32 networks",
        ),
    ] = None,
    root: Annotated[
        Path | None,
        typer.Option(
            help="Of trained networks: the folder of their data set, to score some of them anew on its test pictures."
        ),
    ] = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Check a zoo: every byte against its hash, every INR for its source, a sample rendered and compared with its
    stored PSNR.

    Of a zoo of trained networks: every byte, every number, and with --root a sample scored anew.

    Exit code 2, and a sentence for each file with a problem, if there is one. Nothing is changed.
    """
    with terminal(as_json, quiet) as screen:
        from weightwalk.zoos.check import SAMPLE, check
        from weightwalk.zoos.listing import holds_trained

        if holds_trained(zoo):
            networks, line, blocks = trained.verify(zoo, screen, 32 if sample is None else sample, root)
            _refuse(screen, networks, zoo)
            screen.answer({"zoo": str(zoo), **networks.to_dict()}, line, *blocks)
            return
        if root is not None:
            raise InputError(f"--root is for zoos of trained networks, but {zoo} is none; leave it out")
        report = check(zoo, SAMPLE if sample is None else sample, screen.progress)
        values = {"zoo": str(zoo), **report.to_dict()}
        _refuse(screen, report, zoo)
        waiting = sum(count.without_inr for count in report.counts)
        screen.answer(
            values,
            f"{zoo}: all well, {sum(count.inrs for count in report.counts):,} INRs in {report.files:,} files; "
            f"{_rendered(report)}" + (f"; {waiting:,} images have no INR yet" if waiting else ""),
            facts(str(zoo), {"files": f"{report.files:,}, all as they were written", "bytes": f"{report.bytes:,}"}),
            table(
                "Images and their INRs",
                ["part", "split", "images", "without INR", "INRs", "fits", "mean PSNR"],
                [
                    [
                        c.part,
                        c.split,
                        c.images,
                        c.without_inr,
                        c.inrs,
                        c.fits,
                        None if c.mean_psnr is None else f"{c.mean_psnr:.1f} dB",
                    ]
                    for c in report.counts
                ],
            ),
        )


def _refuse(screen: Terminal, report: Report | TrainedReport, zoo: Path) -> None:
    """Tell each problem, if there are any, and end the command."""
    if not report.problems:
        return
    if screen.as_json:
        print(json.dumps({"zoo": str(zoo), **report.to_dict()}))
    raise screen.refused([problem.sentence for problem in report.problems])


def _rendered(report: Report) -> str:
    if report.rendered.why_not:
        return f"none was rendered: {report.rendered.why_not}"
    if not report.rendered.inrs:
        return "none was rendered"
    return f"{report.rendered.inrs:,} rendered anew have the PSNR that is stored"
