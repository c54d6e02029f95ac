"""Reading pages back: with the standard library's own parsers, which know nothing of how the pages were made."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from xml.etree import ElementTree

import attrs

SVG = "{http://www.w3.org/2000/svg}"
VOID = {"meta", "br"}


@attrs.define(eq=False)
class Page:
    """What a page holds.

    Attributes:
        tables: rows of cells by the heading in front of them.
        plots: the root elements of its SVG.
    """

    tables: dict[str, list[list[str]]]
    plots: list[ElementTree.Element]


class _Reader(HTMLParser):
    """Collects tables, and checks that every element ends where it must."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.heading = ""
        self.tables: dict[str, list[list[str]]] = {}

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag not in ("script", "iframe", "link", "img", "object"), tag
        assert not [name for name, _ in attrs if name.startswith("on") or name in ("href", "src")], attrs
        if tag in VOID:
            return
        self.open.append(tag)
        if tag in ("h2", "h3"):
            self.heading = ""
        elif tag == "tr":
            self.tables.setdefault(self.heading, []).append([])
        elif tag == "td":
            self.tables[self.heading][-1].append("")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        self.handle_endtag(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] in ("h2", "h3"):
            self.heading += data
        elif self.open and self.open[-1] == "td":
            self.tables[self.heading][-1][-1] += data


def parse_page(text: str) -> Page:
    """A page as it reads; fails when it is no well-formed page, or would run or fetch anything."""
    reader = _Reader()
    reader.feed(text)
    reader.close()
    assert not reader.open and text.startswith("<!DOCTYPE html>")
    assert set(re.findall(r"https?://[^\"' ]+", text)) <= {"http://www.w3.org/2000/svg"}
    plots = [ElementTree.fromstring(part) for part in re.findall(r"<svg.*?</svg>", text, re.DOTALL)]
    tables = {heading: [row for row in rows if row] for heading, rows in reader.tables.items()}
    return Page(tables, plots)
