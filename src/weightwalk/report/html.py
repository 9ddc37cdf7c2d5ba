"""One HTML file that holds everything it shows: inline style, embedded pictures, no script, nothing from outside.

The page's own content security policy forbids any request. All text is escaped.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from itertools import groupby
from pathlib import Path
from typing import Protocol

from weightwalk import files
from weightwalk.errors import InputError
from weightwalk.report import tables
from weightwalk.report.look import DENSITY


class Block(Protocol):
    """Anything that a section can hold."""

    def html(self) -> str:
        """Its own markup, escaped."""
        ...


@dataclass(frozen=True)
class Text:
    """Paragraphs, parted by blank lines."""

    text: str

    def html(self) -> str:
        """One `<p>` per paragraph."""
        return "\n".join(f"<p>{escape(part.strip())}</p>" for part in self.text.split("\n\n") if part.strip())


@dataclass(frozen=True)
class Picture:
    """A PNG with `DENSITY` of its pixels to one of the page's; `alt` says what it shows. Neighbours share a line."""

    png: bytes
    caption: str
    alt: str

    def __post_init__(self) -> None:
        if self.png[:8] != b"\x89PNG\r\n\x1a\n" or self.png[12:16] != b"IHDR":
            got = f"bytes that start with {self.png[:8]!r}"
            raise InputError(f"expected a PNG for the picture {self.caption!r}, got {got}")

    def html(self) -> str:
        """A `<figure>` of the size that the PNG's header gives."""
        width, height = (round(int.from_bytes(self.png[at : at + 4], "big") / DENSITY) for at in (16, 20))
        source = base64.b64encode(self.png).decode()
        image = f'<img src="data:image/png;base64,{source}" width="{width}" height="{height}" alt="{escape(self.alt)}">'
        return f'<figure style="--width:{width}px">{image}<figcaption>{escape(self.caption)}</figcaption></figure>'


@dataclass(frozen=True)
class Table:
    """Rows of anything; columns of numbers are set flush right, the first column names its row."""

    header: Sequence[str]
    rows: Sequence[Sequence[object]]
    caption: str = ""

    def html(self) -> str:
        """A `<table>` that scrolls sideways where it is wider than the page."""
        rows = tables.cells(self.header, self.rows)
        sides = [' class="number"' if right else "" for right in tables.numeric(rows, len(self.header))]
        columns = zip(self.header, sides, strict=True)
        head = "".join(f'<th scope="col"{side}>{escape(name)}</th>' for name, side in columns)
        lines = []
        for row in rows:
            first, *others = zip(map(escape, row), sides, strict=True)
            line = f'<th scope="row"{first[1]}>{first[0]}</th>' + "".join(f"<td{side}>{it}</td>" for it, side in others)
            lines.append(f"<tr>{line}</tr>")
        body = "\n".join(lines)
        caption = f"<caption>{escape(self.caption)}</caption>" if self.caption else ""
        name = escape(self.caption or ", ".join(self.header))
        return (
            f'<div class="scroll" role="region" tabindex="0" aria-label="{name}"><table>{caption}'
            f"<thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody></table></div>"
        )


@dataclass(frozen=True)
class KeyFigures:
    """The few numbers that matter, large: what each is and its value as it reads (`{"test accuracy": "94.7 %"}`)."""

    figures: Mapping[str, str]

    def html(self) -> str:
        """A description list, which a style sheet sets as tiles."""
        tiles = [f"<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>" for name, value in self.figures.items()]
        return f'<dl class="figures">{"".join(tiles)}</dl>'


@dataclass(frozen=True)
class Section:
    """Blocks under a title; without a title they stand under the lead, at the top of the page."""

    title: str
    blocks: Sequence[Block]


def render(title: str, lead: str, sections: Sequence[Section]) -> str:
    """The whole page."""
    links: list[str] = []
    parts: list[str] = []
    for section in sections:
        heading = ""
        if section.title:
            place = f"part-{len(links) + 1}"
            links.append(f'<li><a href="#{place}">{escape(section.title)}</a></li>')
            heading = f'<h2 id="{place}">{escape(section.title)}</h2>\n'
        parts.append(f"<section>\n{heading}{_blocks(section.blocks)}\n</section>")
    navigation = f'<nav aria-label="Contents"><ol>{"".join(links)}</ol></nav>' if len(links) > 2 else ""
    written = {"title": escape(title), "lead": Text(lead).html(), "sections": "\n".join(parts)}
    return _PAGE.format(**written, style=_STYLE, navigation=navigation)


def _blocks(blocks: Sequence[Block]) -> str:
    """Neighbouring pictures in one group, everything else on its own."""
    parts = []
    for pictures, group in groupby(blocks, lambda block: isinstance(block, Picture)):
        content = "\n".join(block.html() for block in group)
        parts.append(f'<div class="pictures">\n{content}\n</div>' if pictures else content)
    return "\n".join(parts)


def write(path: Path, title: str, lead: str, sections: Sequence[Section]) -> None:
    """`render` into a file, whole or not at all."""
    files.write_bytes(path, render(title, lead, sections).encode())


_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{title}</title>
<style>{style}</style>
</head>
<body>
<header>
<h1>{title}</h1>
<div class="lead">{lead}</div>
{navigation}
</header>
<main>
{sections}
</main>
</body>
</html>
"""

_STYLE = """
:root {
  --ink: #1b2733; --quiet: #5d6b78; --rule: #dde3e8; --page: #f6f7f9; --card: #fff; --plate: #fff; --accent: #1c5fa8;
  font: 100%/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif;
}
@media (prefers-color-scheme: dark) {
  :root { --ink: #e6ebf0; --quiet: #9aa8b5; --rule: #2d3743; --page: #11161c; --card: #1a212a; --plate: #e2e3e4;
  --accent: #7db4ec; }
}
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 70rem; padding: 3.5rem 1.5rem 5rem; background: var(--page); color: var(--ink); }
h1 { margin: 0; font-size: clamp(1.7rem, 4vw, 2.4rem); line-height: 1.15; letter-spacing: -.02em; text-wrap: balance; }
h2 { margin: 0 0 1rem; font-size: 1.3rem; line-height: 1.25; letter-spacing: -.01em; scroll-margin-top: 1.5rem; }
p { max-width: 42rem; margin: 0 0 1rem; }
.lead p { font-size: 1.1rem; color: var(--quiet); margin: .75rem 0 0; }
nav ol { display: flex; flex-wrap: wrap; gap: .35rem 1.4rem; margin: 1.4rem 0 0; padding: 0; list-style: none;
font-size: .92rem; } nav a { color: var(--accent); text-decoration: none; }
nav a:hover, nav a:focus-visible { text-decoration: underline; }
section { margin-top: 3rem; }
.figures { display: flex; flex-wrap: wrap; gap: .8rem; margin: 0 0 1rem; }
.figures div, .scroll, figure { background: var(--card); border: 1px solid var(--rule); border-radius: .6rem; }
.figures div {
  flex: 1 1 auto; min-width: 9rem; display: flex;
  flex-direction: column-reverse; justify-content: flex-end; padding: 1rem 1.2rem;
}
dt { color: var(--quiet); font-size: .88rem; line-height: 1.35; }
dd {
  margin: 0; white-space: nowrap; font-size: 1.85rem; font-weight: 650;
  line-height: 1.25; letter-spacing: -.02em; font-variant-numeric: tabular-nums;
}
.pictures { display: flex; flex-wrap: wrap; gap: 1rem; align-items: stretch; margin: 0 0 1rem; }
figure {
  background: var(--plate); flex: 1 1 min(100%, calc(var(--width) + 2rem)); margin: 0;
  overflow: hidden; display: flex; flex-direction: column;
}
figure img {
  display: block; max-width: calc(100% - 2rem); height: auto; margin: auto; padding: .8rem 0;
  box-sizing: content-box; mix-blend-mode: multiply;
}
figcaption { padding: .7rem 1rem .8rem; color: var(--quiet); background: var(--card); border-top: 1px solid var(--rule);
font-size: .9rem; } .scroll { overflow-x: auto; margin: 0 0 1rem; padding: .3rem 0; }
table { border-collapse: collapse; width: 100%; font-size: .92rem; font-variant-numeric: tabular-nums; }
caption { padding: .5rem 1rem .6rem; text-align: left; color: var(--quiet); }
th, td { padding: .42rem 1rem; text-align: left; vertical-align: top; }
thead th { color: var(--quiet); font-weight: 500; white-space: nowrap; }
tbody tr { border-top: 1px solid var(--rule); }
tbody th { font-weight: 500; }
.number { text-align: right; white-space: nowrap; }
@media print {
  :root { --ink: #000; --quiet: #444; --rule: #ccc; --page: #fff; --card: #fff; --plate: #fff; font-size: 80%; }
  body { max-width: none; padding: 0; }
  nav { display: none; }
  section { margin-top: 1.8rem; }
  h2 { break-after: avoid; }
  figure, .figures, tr { break-inside: avoid; }
}
"""
