"""A reproduction as a file: a page, Markdown, CSV or LaTeX."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from weightwalk import files
from weightwalk.report import html, tables
from weightwalk.reproduce.registry import Reproduction


def page(found: Reproduction) -> str:
    """One HTML file."""
    sections = [html.Section(part.title, [html.Table(part.header, part.rows)]) for part in found.parts]
    sections.append(html.Section("What the figures are", [html.Text("\n\n".join(found.remarks))]))
    return html.render(found.title, found.sentence, sections)


def markdown(found: Reproduction) -> str:
    """Tables under headings, remarks as paragraphs."""
    parts = [f"## {part.title}\n\n{tables.markdown(part.header, part.rows)}" for part in found.parts]
    return "\n".join([f"# {found.title}\n\n{found.sentence}.\n", *parts, *(f"{remark}\n" for remark in found.remarks)])


def csv(found: Reproduction) -> str:
    """All tables under the union of their columns, each row with the title of its table."""
    names = list(dict.fromkeys(name for part in found.parts for name in part.header))
    rows = [
        [part.title, *(dict(zip(part.header, row, strict=True)).get(name) for name in names)]
        for part in found.parts
        for row in part.rows
    ]
    return tables.csv(["table", *names], rows)


def latex(found: Reproduction) -> str:
    """A `table` each, remarks as comments."""
    parts = [tables.latex(part.header, part.rows, part.title) for part in found.parts]
    comments = [f"% {line}\n" for remark in found.remarks for line in remark.splitlines()]
    return "\n".join([*parts, "".join(comments)])


FORMATS: dict[str, Callable[[Reproduction], str]] = {
    **dict.fromkeys((".html", ".htm"), page),
    **dict.fromkeys((".md", ".markdown"), markdown),
    **{".csv": csv, ".tex": latex},
}
"""By the ending of the file."""


def check(path: Path) -> None:
    """InputError for a file that must not or cannot be written."""
    files.output(path, *FORMATS)


def write(path: Path, found: Reproduction) -> None:
    """The whole file, or none."""
    files.write_bytes(path, FORMATS[path.suffix.lower()](found).encode())
