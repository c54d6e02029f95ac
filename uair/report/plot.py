"""Plots as SVG: lines, points, bars, boxes and marked positions in one frame with two axes.

```python
plot = Plot(Axis("layer", 0, 40), Axis("SQNR in dB", 0, 60))
plot.line([(0, 41.5), (1, 38.2)], BLUE, "accumulated")
plot.element()                       # an <svg> element, for a page or a file
```

What a mark stands for is in its <title>, which browsers show under the pointer. The same data gives the same text.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import TypeAlias
from xml.etree.ElementTree import Element, SubElement

import attrs

Point: TypeAlias = "tuple[float, float]"

BLUE, ORANGE, GREEN, RED, GREY = "#3b6fb6", "#e08214", "#2b8a57", "#c43c39", "#8a8f98"
INK, GRID = "#4a4f57", "#e3e6ea"
LEFT, RIGHT, TOP, BOTTOM = 62, 18, 30, 44
SIZE = "11"


@attrs.frozen
class Axis:
    """One axis.

    Attributes:
        label: what it shows, with the unit.
        low: value at its beginning.
        high: value at its end.
        log: whether equal distances are equal factors; `low` is positive then.
        names: instead of numbers, for the positions 0, 1, 2 ...; as many are shown as there is room for.
    """

    label: str
    low: float
    high: float
    log: bool = False
    names: tuple[str, ...] = ()

    def at(self, value: float) -> float:
        """Where a value lies, 0 at the beginning and 1 at the end; what lies outside is moved to the nearer end."""
        low, high = self.low, self.high
        if self.log:
            low, high = math.log10(low), math.log10(high)
            value = math.log10(value) if value > 0 else low
        share = (value - low) / (high - low) if high > low else 0.5
        return min(max(share, 0.0), 1.0)

    def ticks(self) -> list[tuple[float, str]]:
        """Values to mark, with their text."""
        if self.names:
            each = -(-len(self.names) // 12)
            return [(float(i), self.names[i]) for i in range(0, len(self.names), each)]
        if self.log:
            powers = range(math.ceil(math.log10(self.low) - 1e-9), math.floor(math.log10(self.high) + 1e-9) + 1)
            each = -(-len(powers) // 6) or 1
            return [(10.0**p, f"{10.0**p:g}") for p in powers[::each]]
        if self.high <= self.low:
            return [(self.low, f"{self.low:g}")]
        step = nice_step((self.high - self.low) / 5)
        first = math.ceil(self.low / step - 1e-9)
        last = math.floor(self.high / step + 1e-9)
        return [(i * step, f"{i * step:.6g}") for i in range(first, last + 1)]


def nice_step(about: float) -> float:
    """The nearest of 1, 2, 2.5 and 5 times a power of ten that is not less."""
    power = 10.0 ** math.floor(math.log10(about))
    return next((n * power for n in (1.0, 2.0, 2.5, 5.0) if n * power >= about * (1 - 1e-9)), 10 * power)


def around(values: Iterable[float], *, zero: bool = False, room: float = 0.05) -> tuple[float, float]:
    """Ends of an axis that shows all finite values with some room; from 0 on when asked for."""
    found = [v for v in values if math.isfinite(v)]
    low, high = (min(found), max(found)) if found else (0.0, 1.0)
    if zero:
        low, high = min(low, 0.0), max(high, 0.0)
    extra = (high - low) * room or abs(high) * room or 1.0
    return (low if zero and low == 0 else low - extra), high + extra


@attrs.define(eq=False)
class Plot:
    """A frame with two axes, and what was drawn into it.

    Attributes:
        x: the horizontal axis.
        y: the vertical one.
        width: in pixels; a page scales it to its own.
        height: in pixels.
    """

    x: Axis
    y: Axis
    width: int = 900
    height: int = 260
    _marks: list[Element] = attrs.Factory(list[Element])
    _legend: list[tuple[str, str]] = attrs.Factory(list["tuple[str, str]"])

    def line(self, points: Sequence[Point], colour: str, label: str = "", titles: Sequence[str] = ()) -> None:
        """Points joined by a line, in order; each with a dot when there are titles for them."""
        path = " ".join(f"{_n(self._x(x))},{_n(self._y(y))}" for x, y in points)
        attributes = {"points": path, "fill": "none", "stroke": colour, "stroke-width": "1.6"}
        self._marks.append(Element("polyline", attributes | {"stroke-linejoin": "round"}))
        if titles:
            self.points(points, colour, titles, radius=2.2)
        self._note(colour, label)

    def points(
        self, points: Sequence[Point], colour: str, titles: Sequence[str], label: str = "", radius: float = 3.5
    ) -> None:
        """A dot for each point."""
        for (x, y), title in zip(points, titles, strict=True):
            place = {"cx": _n(self._x(x)), "cy": _n(self._y(y)), "r": _n(radius), "fill": colour}
            self._titled(Element("circle", place | {"fill-opacity": "0.85"}), title)
        self._note(colour, label)

    def box(self, x: Point, y: Point, colour: str, title: str = "", *, opacity: float = 0.85) -> None:
        """A filled rectangle between two values of each axis."""
        left, right = sorted((self._x(x[0]), self._x(x[1])))
        top, bottom = sorted((self._y(y[0]), self._y(y[1])))
        size = {"width": _n(max(right - left, 0.6)), "height": _n(max(bottom - top, 0.6))}
        place = {"x": _n(left), "y": _n(top), **size, "fill": colour, "fill-opacity": f"{opacity:g}"}
        self._titled(Element("rect", place), title)

    def bars(self, edges: Sequence[float], heights: Sequence[float], colour: str, label: str = "") -> None:
        """A histogram: a bar from the bottom of the frame for each interval between neighbouring edges."""
        for left, right, height in zip(edges[:-1], edges[1:], heights, strict=True):
            if height > 0:
                self.box((left, right), (self.y.low, height), colour, f"{left:.4g} to {right:.4g}: {height:g}")
        self._note(colour, label)

    def mark(self, value: float, colour: str, label: str, *, horizontal: bool = False, dashed: bool = True) -> None:
        """A line across the whole frame at one value of an axis."""
        if horizontal:
            ends = {"x1": _n(LEFT), "x2": _n(self.width - RIGHT), "y1": _n(self._y(value)), "y2": _n(self._y(value))}
        else:
            ends = {"x1": _n(self._x(value)), "x2": _n(self._x(value)), "y1": _n(TOP), "y2": _n(self._bottom)}
        dash = {"stroke-dasharray": "5 3"} if dashed else {}
        self._titled(Element("line", {**ends, "stroke": colour, "stroke-width": "1.4", **dash}), f"{label} {value:.4g}")
        self._note(colour, label)

    def text(self, x: float, y: float, text: str, colour: str = INK) -> None:
        """A few words beside a point; to the left of it in the right half of the frame."""
        near_end = self.x.at(x) > 0.5
        at = {"x": _n(self._x(x) + (-7 if near_end else 7)), "y": _n(self._y(y) - 5)}
        style = {"font-size": SIZE, "text-anchor": "end" if near_end else "start"}
        for layer in ({"stroke": "#fff", "stroke-width": "3"}, {"fill": colour}):  # what is below it shines through
            element = Element("text", {**at, **style, **layer})
            element.text = text
            self._marks.append(element)

    def element(self) -> Element:
        """The plot as an <svg> element."""
        size = {"viewBox": f"0 0 {self.width} {self.height}", "role": "img"}
        root = Element("svg", {"xmlns": "http://www.w3.org/2000/svg", **size, "font-family": "system-ui, sans-serif"})
        self._draw_grid(root)
        root.extend(self._marks)
        frame = {"x1": str(LEFT), "x2": str(LEFT), "y1": str(TOP), "y2": _n(self._bottom), "stroke": GREY}
        SubElement(root, "line", frame)
        base = {"x1": str(LEFT), "x2": _n(self.width - RIGHT), "y1": _n(self._bottom), "y2": _n(self._bottom)}
        SubElement(root, "line", {**base, "stroke": GREY})
        self._draw_legend(root)
        return root

    # ---------------------------------------------------------------------------------------------------------- frame
    @property
    def _bottom(self) -> float:
        return self.height - BOTTOM

    def _x(self, value: float) -> float:
        return LEFT + self.x.at(value) * (self.width - LEFT - RIGHT)

    def _y(self, value: float) -> float:
        return self._bottom - self.y.at(value) * (self._bottom - TOP)

    def _titled(self, element: Element, title: str) -> None:
        if title:
            SubElement(element, "title").text = title
        self._marks.append(element)

    def _note(self, colour: str, label: str) -> None:
        if label and (colour, label) not in self._legend:
            self._legend.append((colour, label))

    def _draw_grid(self, root: Element) -> None:
        right = self.width - RIGHT
        for value, text in self.y.ticks():
            y = self._y(value)
            SubElement(root, "line", {"x1": str(LEFT), "x2": _n(right), "y1": _n(y), "y2": _n(y), "stroke": GRID})
            _words(root, LEFT - 7, y + 4, text, "end")
        for value, text in self.x.ticks():
            x = self._x(value)
            SubElement(root, "line", {"x1": _n(x), "x2": _n(x), "y1": str(TOP), "y2": _n(self._bottom), "stroke": GRID})
            _words(root, x, self._bottom + 15, text, "middle")
        _words(root, (LEFT + right) / 2, self.height - 8, self.x.label, "middle")
        _words(root, 4, 13, self.y.label, "start")

    def _draw_legend(self, root: Element) -> None:
        x = self.width - RIGHT
        for colour, label in reversed(self._legend):
            x -= 7 * len(label) + 22
            SubElement(root, "rect", {"x": _n(x), "y": "6", "width": "11", "height": "8", "rx": "2", "fill": colour})
            _words(root, x + 15, 14, label, "start")


def _words(root: Element, x: float, y: float, text: str, anchor: str) -> None:
    place = {"x": _n(x), "y": _n(y), "fill": INK, "font-size": SIZE, "text-anchor": anchor}
    SubElement(root, "text", place).text = text


def _n(value: float) -> str:
    """A coordinate: a tenth of a pixel is enough."""
    return f"{value:.1f}".removesuffix(".0")
