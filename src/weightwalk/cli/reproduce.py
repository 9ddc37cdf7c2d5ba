"""`weightwalk reproduce`: a published table made again, its cells beside ours."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from weightwalk.cli.common import AsJson, Quiet, table, terminal


def command(
    name: Annotated[str, typer.Argument(metavar="TABLE", help="Which: efficiency (Tables 5 and 8).")],
    out: Annotated[Path | None, typer.Option(help="Write it as a page as well.", show_default=False)] = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="Only see that it runs, with figures that mean little.")
    ] = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Make a published table again on this machine: the published cells, and ours beside them."""
    with terminal(as_json, quiet) as screen:
        from rich.text import Text

        from weightwalk import files
        from weightwalk.report import html
        from weightwalk.report.tables import commit, hardware
        from weightwalk.reproduce import TABLES

        makes = TABLES[name](quick)
        if out is not None:
            files.output(out, ".html", ".htm")
        found = makes.measure(screen.progress)
        made = {"table": name, "quick": quick, "commit": commit(), "hardware": hardware()}
        if out is not None:
            sections = [html.Section(part.title, [html.Table(part.header, part.rows)]) for part in found.parts]
            sections.append(html.Section("What the figures are", [html.Text("\n\n".join(found.remarks))]))
            html.write(out, found.title, found.sentence, sections)
        screen.answer(
            {**found.values, **made, "amounts": makes.amounts, "page": None if out is None else str(out)},
            found.sentence,
            *(table(part.title, part.header, part.rows) for part in found.parts),
            Text("\n".join(found.remarks) + "\n"),
        )
