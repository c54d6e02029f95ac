"""The page of `uair diff`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from xml.etree.ElementTree import Element

from uair.report.page import figure, folded, h, page, section, table, tiles
from uair.report.plot import BLUE, GREY, ORANGE, RED, Axis, Plot, around

EXACT = 150.0
"""Where a plot shows what has no error, in dB."""
LISTED = 200
WORST = 10


def difference_page(facts: Mapping[str, Any], first: str, second: str) -> str:
    """The page of a comparison.

    Args:
        facts: what `LayerErrors.to_json` gives.
        first: name of the first model.
        second: of the second.
    """
    layers: list[Mapping[str, Any]] = list(facts["layers"])
    samples = facts["samples"]
    return page(
        f"{first} and {second}",
        h("h1", "Layer by layer"),
        h("p", f"{second}, held against {first}; errors are those of everything up to a layer.", class_="note"),
        tiles(
            {
                "layers compared": str(len(layers)),
                "samples": str(samples),
                **{f"SQNR of {o['name']}, dB": decibels(o) for o in facts["outputs"][:3]},
                "worst drop": facts["worst_drop"] or "none",
            }
        ),
        section("Error over depth", depth_plot(layers, facts["worst_drop"])),
        section(f"The {min(WORST, len(layers))} worst layers", _layer_table(sorted(layers, key=_order)[:WORST])),
        section("Outputs", *outputs_tables(facts["outputs"])),
        section("All layers, in order of execution", folded(f"{len(layers)} layers", _layer_table(layers))),
        _without_partner(facts),
    )


def decibels(errors: Mapping[str, Any], key: str = "sqnr_db") -> str:
    """SQNR as text."""
    if errors.get("not_finite"):
        return "NaN"
    return figure(errors[key], ".1f", "exact")


def level(errors: Mapping[str, Any], key: str = "sqnr_db") -> float:
    """SQNR as a plot shows it: what has no error, and what is no number, at the ends of the axis."""
    if errors.get("not_finite"):
        return 0.0
    return EXACT if errors[key] is None else min(max(float(errors[key]), 0.0), EXACT)


def _order(layer: Mapping[str, Any]) -> tuple[bool, float]:
    return not layer["not_finite"], EXACT * 2 if layer["sqnr_db"] is None else float(layer["sqnr_db"])


def depth_plot(layers: Sequence[Mapping[str, Any]], worst: str | None) -> Element:
    """SQNR of every layer, in order of execution."""
    values = [level(layer) for layer in layers]
    low, high = around(values, zero=True)
    plot = Plot(
        Axis("layer, in order of execution", 0, max(len(layers) - 1, 1)), Axis("SQNR in dB", low, min(high, EXACT))
    )
    points = [(float(i), v) for i, v in enumerate(values)]
    titles = [f"{layer['name']} ({layer['operators'][1]}): {decibels(layer)} dB" for layer in layers]
    plot.line(points, BLUE, "accumulated SQNR", titles)
    at = next((i for i, layer in enumerate(layers) if layer["name"] == worst), None)
    if at is not None:
        plot.points([points[at]], RED, [titles[at]], "worst drop", radius=5)
        plot.text(*points[at], str(worst), RED)
    return plot.element()


def _layer_table(layers: Sequence[Mapping[str, Any]]) -> Element:
    columns = ("layer", "operator", "shape", "SQNR dB", "before", "cosine", "max abs", "mean shift", "made by")
    rows = [
        (
            layer["name"],
            " → ".join(dict.fromkeys(layer["operators"])),
            "×".join(map(str, layer["shape"])),
            decibels(layer),
            figure(layer["before_db"], ".1f"),
            figure(layer["cosine"], ".6f"),
            figure(layer["max_abs"]),
            figure(layer["mean_shift"], "+.1e"),
            ", ".join(layer["made_by"]),
        )
        for layer in layers
    ]
    return table(columns, rows, numbers=(2, 3, 4, 5, 6, 7))


def outputs_tables(outputs: Sequence[Mapping[str, Any]]) -> list[Element]:
    """A table of outputs, and of each the groups of its channels."""
    rows = [
        (o["name"], decibels(o), figure(o["cosine"], ".6f"), figure(o["max_abs"]), figure(o["relative"]))
        for o in outputs
    ]
    found = [table(("output", "SQNR dB", "cosine", "max abs", "relative"), rows, numbers=(1, 2, 3, 4))]
    found += [h("div", h("h3", o["name"]), groups_plot(o)) for o in outputs if len(o["groups"]) > 1]
    return found


def groups_plot(output: Mapping[str, Any]) -> Element:
    """SQNR of an output's groups of channels."""
    groups = output["groups"]
    values = [level(group) for group in groups]
    _, high = around(values, zero=True)
    names = tuple(str(group["from"]) for group in groups)
    label = f"first index of the group, along axis {output['axis']}"
    plot = Plot(Axis(label, -0.6, len(groups) - 0.4, names=names), Axis("SQNR in dB", 0, high), height=180)
    for i, (group, value) in enumerate(zip(groups, values, strict=True)):
        plot.box((i - 0.35, i + 0.35), (0, value), ORANGE, f"from {group['from']}: {decibels(group)} dB")
    if output["sqnr_db"] is not None:
        plot.mark(float(output["sqnr_db"]), GREY, "the whole output", horizontal=True)
    return plot.element()


def _without_partner(facts: Mapping[str, Any]) -> Element:
    rows = [
        (node["name"], node["operator"], which, ", ".join(node["made_by"]))
        for which, key in (("first", "only_first"), ("second", "only_second"))
        for node in facts[key]
    ]
    rows += [(each["name"], "", "both", each["reason"]) for each in facts["not_compared"]]
    more = f", of which {LISTED} are listed" if len(rows) > LISTED else ""
    return section(
        "Not compared",
        h("p", "Nodes without a partner; most were merged into another, whose result is compared.", class_="note"),
        folded(f"{len(rows)} nodes{more}", table(("node", "operator", "model", "made by, or why"), rows[:LISTED])),
    )
