import base64
import re
from dataclasses import dataclass
from html.parser import HTMLParser

import numpy as np
import pytest

from weightwalk import InputError
from weightwalk.report import html, pictures

VOID = {"meta", "img", "link", "br"}


class Outline(HTMLParser):
    """Tags in balance, attributes and text as a browser sees them."""

    def __init__(self, page: str):
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(page)
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


@pytest.fixture(scope="module")
def png() -> bytes:
    return pictures.contact_sheet(np.zeros((2, 1, 8, 8)), 2)


def page(*blocks: html.Block, title: str = "A title") -> str:
    return html.render(title, "What this is.", [html.Section("First", blocks)])


def test_the_page_holds_everything_it_shows(png):
    text = page(
        html.Text("See https://example.org."),
        html.Picture(png, "caption", "words"),
        html.Table(["a"], [[1]]),
        html.KeyFigures({"x": "1"}),
    )
    outline = Outline(text)
    for tag, attributes in outline.tags:
        for name in ("src", "href", "action", "poster"):
            assert attributes.get(name, "#").startswith(("#", "data:image/png;base64,")), (tag, name)
    assert not {"script", "link", "iframe", "object", "base"} & {tag for tag, _ in outline.tags}
    assert not re.search(r"url\(|@import", text)
    assert any("default-src 'none'" in (meta.get("content") or "") for meta in outline.all("meta"))


def test_the_page_is_outlined_for_readers_of_every_kind(png):
    sections = [
        html.Section(name, [html.Picture(png, "caption", "two black squares")]) for name in ("", "One", "Two", "Three")
    ]
    outline = Outline(html.render("Title", "Lead.\n\nMore.", sections))
    assert outline.all("html") == [{"lang": "en"}]
    assert [tag for tag, _ in outline.tags if re.fullmatch(r"h\d", tag)] == ["h1", "h2", "h2", "h2"]
    assert {link["href"] for link in outline.all("a")} == {f"#{heading['id']}" for heading in outline.all("h2")}
    assert all(image["alt"] == "two black squares" for image in outline.all("img"))


def test_a_picture_keeps_its_bytes_and_takes_its_size_from_them(png):
    (image,) = Outline(page(html.Picture(png, "", ""))).all("img")
    assert base64.b64decode(image["src"].partition(",")[2]) == png
    assert (image["width"], image["height"]) == (str((3 * 14 + 2 * 128) // 2), str((2 * 14 + 128) // 2))


def test_neighbouring_pictures_share_a_group(png):
    picture = html.Picture(png, "", "")
    assert page(picture, picture, html.Text("between"), picture).count('class="pictures"') == 2


def test_all_text_is_escaped(png):
    nasty = "<script>alert('&\"')</script>"
    text = html.render(
        nasty,
        nasty,
        [
            html.Section(nasty, [html.Text(nasty), html.Picture(png, nasty, nasty)]),
            html.Section("b", [html.Table([nasty], [[nasty]], nasty), html.KeyFigures({nasty: nasty})]),
            html.Section("{c}", []),
        ],
    )
    outline = Outline(text)
    assert "<script" not in text
    assert "alert('" not in text
    assert outline.all("img")[0]["alt"] == nasty
    assert outline.text.count(nasty) == 12
    assert "{c}" in outline.text


def test_tables_set_numbers_flush_right():
    outline = Outline(
        page(
            html.Table(["stage", "time", "loss"], [["fit", "1 min 12 s", 0.123456], ["train", "41 s", None]], "Stages")
        )
    )
    assert [cell.get("class") for cell in outline.all("th")[:3]] == [None, "number", "number"]
    assert "0.1235" in outline.text
    assert "None" not in outline.text
    with pytest.raises(InputError, match=r"expected 2 cells \(a, b\) in row 1, got 1"):
        page(html.Table(["a", "b"], [[1]]))


def test_a_block_of_ones_own_fits_in():
    @dataclass(frozen=True)
    class Rule:
        def html(self) -> str:
            return "<p>mine</p>"

    assert "<p>mine</p>" in page(Rule())


def test_what_is_no_png_is_refused():
    with pytest.raises(InputError, match="expected a PNG for the picture 'loss', got bytes that start with b'GIF89a'"):
        html.Picture(b"GIF89a", "loss", "")


def test_write_is_render(tmp_path):
    html.write(tmp_path / "deep" / "report.html", "T", "L", [])
    assert (tmp_path / "deep" / "report.html").read_text() == html.render("T", "L", [])
