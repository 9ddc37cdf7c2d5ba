"""`weightwalk verify`: whether a zoo is what was written, and its networks do what it says."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from weightwalk.cli.common import AsJson, Quiet, ZooArgument, facts, table, terminal

if TYPE_CHECKING:
    from weightwalk.zoos.images import ImageSet


def command(
    zoo: ZooArgument,
    sample: Annotated[
        int | None,
        typer.Option(
            help="Networks to evaluate, and to compare with what the zoo says.", show_default="256 INRs, 32 others"
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
    """Check a zoo: every byte against its hash, every row, and a sample of its networks against what it says of them.

    INRs are rendered and compared with their images; trained networks are scored anew, with --root.

    Exit code 2, and a sentence for each file with a problem, if there is one. Nothing is changed.
    """
    with terminal(as_json, quiet) as screen:
        from weightwalk.zoos import kinds
        from weightwalk.zoos.check import check
        from weightwalk.zoos.manifest import FILE

        sets = None
        if (zoo / FILE).is_file() and (root is not None or sample != 0):
            sets = _sets(zoo, root)
        report = check(zoo, sample, sets, screen.progress)
        values = {"zoo": str(zoo), **report.to_dict()}
        if report.problems:
            if as_json:
                print(json.dumps(values))
            raise screen.refused([problem.sentence for problem in report.problems])
        kind = kinds.of(report.kind)
        lacking = sum(count.lacking for count in report.counts)
        looked = (
            f"{report.looked_at:,} evaluated anew are what it says"
            if report.looked_at
            else "none was evaluated" + (f": {report.why_not}" if report.why_not else "")
        )
        screen.answer(
            values,
            f"{zoo}: all well, {report.rows:,} {kind.networks} of {report.groups:,} {kind.group}s in {report.files:,} "
            f"files; {looked}" + (f"; {lacking:,} {kind.group}s have no {kind.member} yet" if lacking else ""),
            facts(str(zoo), {"files": f"{report.files:,}, all as they were written", "bytes": f"{report.bytes:,}"}),
            table(
                f"{kind.networks}, and the means of their figures",
                ["part", "split", f"{kind.group}s", "lacking", f"{kind.member}s", kind.networks, *kind.figures],
                [
                    [
                        *(c.part, c.split, c.groups, c.lacking, c.members, c.rows),
                        *(f"{c.figures[name]:.4g}" if name in c.figures else None for name in kind.figures),
                    ]
                    for c in report.counts
                ],
            ),
        )


def _sets(zoo: Path, root: Path | None) -> list[ImageSet] | None:
    """The data set that networks are scored on: out of `root`, or one that needs no files; None where there is none."""
    from weightwalk.errors import InputError
    from weightwalk.zoos import kinds
    from weightwalk.zoos.images import DATASETS
    from weightwalk.zoos.inr.fit import load_sets
    from weightwalk.zoos.manifest import Manifest

    try:
        manifest = Manifest.read(zoo)
        dataset = kinds.of(manifest.kind).dataset_to_look(zoo, manifest.settings)
    except InputError:  # of a damaged manifest the check itself tells
        if root is not None:
            raise
        return None
    embedded = dataset in DATASETS and DATASETS[dataset].embedded
    return load_sets(dataset, root) if root is not None or embedded else None
