"""HTML pages: one file, no script, nothing fetched from anywhere."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeAlias
from xml.etree.ElementTree import Element, tostring

Child: TypeAlias = "Element | str"

STYLE = """
body { font: 15px/1.5 system-ui, -apple-system, "Segoe UI", sans-serif; color: #22262b; background: #f4f5f7;
       margin: 0 auto; padding: 28px 20px 60px; max-width: 1060px; }
h1 { font-size: 24px; margin: 0 0 4px; overflow-wrap: anywhere; }
h2 { font-size: 17px; margin: 0 0 10px; }
h3 { font-size: 14px; margin: 18px 0 4px; overflow-wrap: anywhere; }
p { margin: 6px 0; max-width: 90ch; }
.note { color: #666c75; }
section { background: #fff; border: 1px solid #e3e6ea; border-radius: 8px; padding: 18px 22px; margin: 18px 0; }
.tiles { display: flex; flex-wrap: wrap; gap: 12px; margin: 18px 0; }
.tile { background: #fff; border: 1px solid #e3e6ea; border-radius: 8px; padding: 10px 18px; min-width: 110px; }
.tile b { display: block; font-size: 21px; font-weight: 600; overflow-wrap: anywhere; }
.tile span { color: #666c75; font-size: 13px; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-size: 13px; width: 100%; }
th { text-align: left; color: #666c75; font-weight: 600; border-bottom: 1px solid #cfd3d9; padding: 4px 10px 4px 0; }
td { border-bottom: 1px solid #eef0f2; padding: 3px 10px 3px 0; vertical-align: top; overflow-wrap: anywhere; }
td:first-child { min-width: 150px; }
td.n, th.n { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
.bad { color: #a8201a; }
svg { width: 100%; height: auto; display: block; }
summary { cursor: pointer; color: #3b6fb6; margin-top: 8px; }
.pair { display: grid; grid-template-columns: repeat(auto-fit, minmax(440px, 1fr)); gap: 6px 22px; }
"""


def h(tag: str, *children: Child, **attributes: str) -> Element:
    """An element; `class_` stands for `class`. Text is escaped when the page is written."""
    element = Element(tag, {name.rstrip("_"): value for name, value in attributes.items()})
    last: Element | None = None
    for child in children:
        if isinstance(child, Element):
            element.append(child)
            last = child
        elif last is None:
            element.text = (element.text or "") + child
        else:
            last.tail = (last.tail or "") + child
    return element


def _printable(text: str | None) -> str | None:
    """Text without the control characters that no document may hold: names in a model come from strangers."""
    if not text:
        return text
    return "".join(c if c.isprintable() or c in "\n\t" else c.encode("unicode_escape").decode() for c in text)


def section(title: str, *children: Child) -> Element:
    """A part of a page with a heading."""
    return h("section", h("h2", title), *children)


def tiles(facts: Mapping[str, str]) -> Element:
    """A few figures at the head of a page."""
    return h(
        "div",
        *(h("div", h("b", value), h("span", name), class_="tile") for name, value in facts.items()),
        class_="tiles",
    )


def table(
    columns: Sequence[str],
    rows: Iterable[Sequence[str]],
    numbers: Sequence[int] = (),
    bad: Sequence[bool] | None = None,
) -> Element:
    """A table.

    Args:
        columns: their headings.
        rows: their cells.
        numbers: the columns that hold numbers, aligned right.
        bad: the rows that are marked.
    """
    kinds = [{"class": "n"} if i in numbers else {} for i in range(len(columns))]
    head = h("tr", *(_cell("th", text, kind) for text, kind in zip(columns, kinds, strict=True)))
    body: list[Element] = []
    for i, row in enumerate(rows):
        line = h("tr", *(_cell("td", text, kind) for text, kind in zip(row, kinds, strict=True)))
        if bad is not None and bad[i]:
            line.set("class", "bad")
        body.append(line)
    return h("div", h("table", h("thead", head), h("tbody", *body)), class_="wide", tabindex="0")


def _cell(tag: str, text: str, kind: Mapping[str, str]) -> Element:
    cell = h(tag, text)
    cell.attrib.update(kind)
    return cell


def folded(summary: str, *children: Child) -> Element:
    """What is shown when one asks for it."""
    return h("details", h("summary", summary), *children)


def page(title: str, *children: Child) -> str:
    """The text of a page."""
    head = h(
        "head",
        h("meta", charset="utf-8"),
        h("meta", name="viewport", content="width=device-width, initial-scale=1"),
        h("title", title),
        h("style", STYLE),
    )
    root = h("html", head, h("body", *children), lang="en")
    for element in root.iter():
        element.text, element.tail = _printable(element.text), _printable(element.tail)
    return "<!DOCTYPE html>\n" + tostring(root, encoding="unicode", method="html") + "\n"


def figure(value: Any, pattern: str = ".3g", missing: str = "") -> str:
    """A number as text; `missing` for None."""
    return missing if value is None else format(value, pattern)
