"""`weightwalk verify`: whether a zoo is what was written, and shows what it says."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from weightwalk.cli.common import AsJson, Quiet, facts, table, terminal

if TYPE_CHECKING:
    from weightwalk.zoos.check import Report


def command(
    zoo: Annotated[Path, typer.Argument(metavar="ZOO", help="The folder of a zoo.", show_default=False)],
    sample: Annotated[int, typer.Option(help="INRs to render and to compare with their pictures, spread over the zoo.")] = 256,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Check a zoo: every byte against its hash, every INR for its source, a sample rendered and compared with its stored PSNR.

    Exit code 2, and a sentence for each file with a problem, if there is one. Nothing is changed.
    """
    with terminal(as_json, quiet) as screen:
        from weightwalk.zoos.check import check

        report = check(zoo, sample, screen.progress)
        values = {"zoo": str(zoo), **report.to_dict()}
        if report.problems:
            screen.close()
            if as_json:
                print(json.dumps(values))
            for problem in report.problems:
                print(f"error: {problem.sentence}", file=sys.stderr)
            raise typer.Exit(2)
        waiting = sum(count.without_inr for count in report.counts)
        screen.answer(
            values,
            f"{zoo}: all well, {sum(count.inrs for count in report.counts):,} INRs in {report.files:,} files; {_rendered(report)}"
            + (f"; {waiting:,} images have no INR yet" if waiting else ""),
            facts(str(zoo), {"files": f"{report.files:,}, all as they were written", "bytes": f"{report.bytes:,}"}),
            table(
                "Images and their INRs",
                ["part", "split", "images", "without INR", "INRs", "fits", "mean PSNR"],
                [
                    [c.part, c.split, c.images, c.without_inr, c.inrs, c.fits, None if c.mean_psnr is None else f"{c.mean_psnr:.1f} dB"]
                    for c in report.counts
                ],
            ),
        )


def _rendered(report: Report) -> str:
    if report.rendered.why_not:
        return f"none was rendered: {report.rendered.why_not}"
    if not report.rendered.inrs:
        return "none was rendered"
    return f"{report.rendered.inrs:,} rendered anew have the PSNR that is stored"
