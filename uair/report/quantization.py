"""The report of a quantization for people: rows for tables and CSV, and a page with plots.

Its data is `report["quantization"]` of an artifact's report.json, or what `uair quantize --report` writes; see
docs/artifact.md. Everything but the names of the nodes may be missing: reports of weight-only quantization have no
activations, and what was not measured is not there.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeAlias
from xml.etree.ElementTree import Element

from uair.report.difference import EXACT, decibels, level, outputs_tables
from uair.report.page import figure, folded, h, page, section, table, tiles
from uair.report.plot import BLUE, GREEN, GREY, ORANGE, RED, Axis, Plot, around

Report: TypeAlias = "Mapping[str, Any]"

WORST = 10
WORTH_TELLING = 1.0
"""Gain in dB from which on leaving nodes in float is recommended."""
RANGES = {
    "minmax": "from the least to the greatest value seen",
    "percentile": "the middle 99.99 % of the values",
    "mse": "the range of least squared error",
    "entropy": "the range of least Kullback-Leibler divergence",
}
PLACEMENTS = {
    "all": "whole regions compute on integers",
    "compute": "the operands of operators with weights are integers, what lies between is float",
    "residual": "the operands of operators with weights, and the skipping side of residual sums, are integers",
}
FIGURES = (
    "SQNR in dB: at 20 dB the error is a tenth of the signal, at 40 dB a hundredth. Alone: only this node is "
    "quantized, on exact operands. Behind all: in the quantized model, with the errors of everything in front of it. "
    "Mean shift: mean error by the root mean square of the values. Clipped: values beyond the chosen range. Codes: how "
    "many different integers occur; few of 256 say that some far values take the range. Ranges: what chose the range "
    "of each operand."
)
LABELS = 5
"""Nodes that a plot names, as far as there is room."""
COLUMNS = (
    "name",
    "operator",
    "sources",
    "operand",
    "tensor",
    "dtype",
    "method",
    "scale",
    "zero_point",
    "range_low",
    "range_high",
    "observed_low",
    "observed_high",
    "central_low",
    "central_high",
    "clipped_percent",
    "codes",
    "alone_sqnr_db",
    "alone_cosine",
    "alone_mean_shift",
    "accumulated_sqnr_db",
    "accumulated_cosine",
    "accumulated_mean_shift",
    "gain_db",
    "cost_percent",
)
"""Columns of the CSV file: a row for every quantized activation, and one for a node that has none."""


def worst_nodes(report: Report, count: int | None = None) -> list[Mapping[str, Any]]:
    """The measured nodes, those that lose most when only they are quantized first."""
    measured = [node for node in report["nodes"] if "quality" in node]
    return sorted(measured, key=lambda node: _sortable(node["quality"]))[:count]


def _sortable(errors: Mapping[str, Any]) -> float:
    return math.inf if errors["sqnr_db"] is None else float(errors["sqnr_db"])


def gains(report: Report) -> dict[str, Mapping[str, Any]]:
    """What is known of the gain of each node in float, by its name."""
    return {node["name"]: node for each in sensitivities(report) for node in each["nodes"]}


def sensitivities(report: Report) -> list[Mapping[str, Any]]:
    """The measurements of sensitivity: none, one, or one for each part of the model."""
    return [report["sensitivity"]] if "sensitivity" in report else list(report.get("sensitivity_of_parts", ()))


NODE_COLUMNS = ("node", "operator", "alone dB", "behind all dB", "mean shift", "clipped %", "codes", "ranges", "dtype")
NODE_NUMBERS = (2, 3, 4, 5, 6)


def node_row(node: Mapping[str, Any], known: Mapping[str, Mapping[str, Any]]) -> tuple[str, ...]:
    """A node in a table with `NODE_COLUMNS`, and with "gain dB" and "cost %" where gains are known."""
    operands = list(node.get("activations", {}).values())
    clipped = [a["clipped_percent"] for a in operands if "clipped_percent" in a]
    codes = [a["codes"] for a in operands if "codes" in a]
    row = (
        str(node["name"]),
        str(node["operator"]),
        decibels(node["quality"]) if "quality" in node else "",
        decibels(node["accumulated"]) if "accumulated" in node else "",
        figure(node.get("accumulated", {}).get("mean_shift"), "+.1e"),
        figure(max(clipped, default=None)),
        figure(min(codes, default=None), "d"),
        ", ".join(dict.fromkeys(a["method"] for a in operands)),
        ", ".join(dict.fromkeys(a["dtype"] for a in operands)),
    )
    if not known:
        return row
    gain = known.get(node["name"], {})
    return (*row, figure(gain.get("gain_db"), "+.2f"), figure(gain.get("cost_percent")))


def together_lines(report: Report) -> list[str]:
    """What leaving the first few nodes in float would bring, in sentences."""
    lines: list[str] = []
    for found in sensitivities(report):
        for entry in found["together"]:
            cost = "" if entry["cost_percent"] is None else f", {entry['cost_percent']:.3g} % of the operations"
            names = ", ".join(str(node["name"]) for node in found["nodes"][: min(entry["count"], 3)])
            more = ", ..." if entry["count"] > 3 else ""
            gain = figure(entry["gain_db"], "+.2f", "?")
            lines.append(f"{entry['count']} in float ({names}{more}): {gain} dB{cost}")
    return lines


def budget_text(budget: Mapping[str, Any]) -> str:
    """What a budget of mixed precision asked for and what it took, in a sentence."""
    asked: list[str] = []
    if budget["least_cosine"] > 0:
        reached = ""
        if budget["cosine"] is not None:
            reached = f" (the lowest on {budget['samples']} calibration samples is {budget['cosine']:.6g})"
        asked.append(f"every output at a cosine of {budget['least_cosine']:g} or more{reached}")
    if budget["most_float"] < 1:
        asked.append(f"at most {budget['most_float']:.3g} of the multiply-adds in float")
    share = f"{budget['float_share']:.2%} of the multiply-adds are in {budget['float_type']}"
    wide = f", {budget['wide_share']:.2%} have activations of 16 bits" if budget["wide_share"] else ""
    return f"Asked for: {' and '.join(asked)}. Spent: {share}{wide}."


# ----------------------------------------------------------------------------------------------------------------- CSV
def quantization_csv(report: Report) -> str:
    """All nodes as CSV with `COLUMNS`."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    known = gains(report)
    for node in report["nodes"]:
        writer.writerows([_cell(row.get(column)) for column in COLUMNS] for row in _csv_rows(node, known))
    return text.getvalue()


def _csv_rows(node: Mapping[str, Any], known: Mapping[str, Mapping[str, Any]]) -> Iterable[dict[str, Any]]:
    gain = known.get(node["name"], {})
    shared = {
        "name": node["name"],
        "operator": node["operator"],
        "sources": "; ".join(node.get("sources", ())),
        **_prefixed("alone", node.get("quality", {})),
        **_prefixed("accumulated", node.get("accumulated", {})),
        "gain_db": gain.get("gain_db"),
        "cost_percent": gain.get("cost_percent"),
    }
    activations = node.get("activations", {})
    if not activations:
        yield shared
    for operand, entry in activations.items():
        plain = {key: entry.get(key) for key in ("tensor", "dtype", "method", "scale", "zero_point", "codes")}
        plain["clipped_percent"] = entry.get("clipped_percent")
        ends = {f"{key}_{end}": value for key in ("range", "observed", "central") for end, value in _ends(entry, key)}
        yield {**shared, "operand": operand, **plain, **ends}


def _ends(entry: Mapping[str, Any], key: str) -> list[tuple[str, Any]]:
    return list(zip(("low", "high"), entry.get(key, ()), strict=False))


def _prefixed(prefix: str, errors: Mapping[str, Any]) -> dict[str, Any]:
    return {f"{prefix}_{key}": errors[key] for key in ("sqnr_db", "cosine", "mean_shift") if key in errors}


def _cell(value: Any) -> Any:
    """A value as a spreadsheet shows it: it would compute a name that begins like a formula."""
    return f"'{value}" if isinstance(value, str) and value[:1] in ("=", "+", "-", "@") else value


# ---------------------------------------------------------------------------------------------------------------- page
def quantization_page(report: Report, title: str = "Quantization") -> str:
    """The page of a quantization: one file, without scripts.

    Args:
        report: see the module's documentation.
        title: what was quantized.
    """
    summary, nodes = report["summary"], report["nodes"]
    known = gains(report)
    parts = [
        h("h1", title),
        *(h("p", text, class_="note") for text in _in_words(summary)),
        tiles(
            {
                "nodes on integers": str(summary["quantized"]),
                "of the same operators in float": str(summary["float"]),
                **_coverage(summary),
                "calibration samples": str(summary["calibration"]["samples"]),
                **{f"SQNR of {n}, dB": decibels(q) for n, q in list(summary.get("outputs", {}).items())[:3]},
            }
        ),
        _notes(report),
        *_depth(nodes),
        *_worst(report, known),
        *_sensitivity(report),
        *_histograms(report.get("histograms", ())),
        *_channels(report.get("channels", ())),
        *([section("Outputs", *outputs_tables(report["outputs"]))] if report.get("outputs") else []),
        section("All nodes", folded(f"{len(nodes)} nodes on integers", _node_table(nodes, known)), *_float(report)),
    ]
    return page(title, *(part for part in parts if part is not None))


def _coverage(summary: Mapping[str, Any]) -> dict[str, str]:
    if "float_share" not in summary:
        return {}
    return {"of the multiply-adds on integers": f"{100 * (1 - summary['float_share']):.3g} %"}


def scheme_text(summary: Mapping[str, Any]) -> str:
    """The target's scheme in a sentence or two; empty for weights of few bits, which have none."""
    scheme = summary.get("scheme")
    if not scheme:
        return ""
    zero = "symmetric" if scheme["symmetric"] else "with zero points"
    power = ", scales are powers of two" if scheme.get("power_of_two") else ""
    channels = "one scale for each output channel" if scheme["per_channel"] else "one scale for each tensor"
    bias = "float" if scheme["bias"] is None else scheme["bias"]
    floats = f" What stays float is computed in {summary['float_type']}." if "float_type" in summary else ""
    return (
        f"Activations: {scheme['activation']}, {zero}{power}. Weights: i8, {channels} where the operator allows it. "
        f"Biases: {bias}. Placement {scheme['placement']!r}: {PLACEMENTS[scheme['placement']]}.{floats}"
    )


def _in_words(summary: Mapping[str, Any]) -> list[str]:
    """Paragraphs about the whole."""
    words: list[str] = []
    if summary.get("ranges"):
        words.append(f"Ranges were chosen by {summary['ranges']}: {RANGES.get(summary['ranges'], 'see the report')}.")
    trials = summary.get("trials") or {}
    if trials:
        losses = ", ".join(f"{name} {figure(loss)}" for name, loss in trials.items())
        words.append(f"Noise by signal at the outputs under each way that was tried, less is better: {losses}.")
    for stage in summary.get("stages", ()):
        kept = "kept" if stage["kept"] else "undone"
        change = f"{figure(stage['before'])} to {figure(stage['after'])}"
        words.append(f"{stage['stage']}: {stage['changed']} changes, held-out noise {change}, {kept}.")
    budget = budget_text(summary["budget"]) if "budget" in summary else ""
    measured = "Errors are measured on some of the calibration samples, against the float model."
    return [text for text in (scheme_text(summary), " ".join(words), budget, measured) if text]


def _notes(report: Report) -> Element | None:
    notes = report.get("notes", ())
    return section("Notes", *(h("p", note, class_="bad") for note in notes)) if notes else None


def _depth(nodes: Sequence[Mapping[str, Any]]) -> list[Element]:
    """Errors over depth, where they were measured."""
    measured = [node for node in nodes if "quality" in node and "accumulated" in node]
    if not measured:
        return []
    alone, behind = ([level(node[key]) for node in measured] for key in ("quality", "accumulated"))
    _, high = around([value for value in (*alone, *behind) if value < EXACT] or [EXACT], zero=True)
    x = Axis("quantized node, in order of execution", 0, max(len(measured) - 1, 1))
    plot = Plot(x, Axis("SQNR in dB", 0, min(high, EXACT)), height=300)
    for values, key, colour, label in (
        (alone, "quality", ORANGE, "alone"),
        (behind, "accumulated", BLUE, "behind all others"),
    ):
        titles = [f"{node['name']} ({node['operator']}): {decibels(node[key])} dB {label}" for node in measured]
        at = [(float(i), min(value, plot.y.high)) for i, value in enumerate(values)]
        noisy = [i for i, value in enumerate(values) if value < EXACT]
        plot.line([at[i] for i in noisy], colour, label, [titles[i] for i in noisy])
        exact = [i for i, value in enumerate(values) if value >= EXACT]
        plot.points([at[i] for i in exact], colour, [titles[i] for i in exact], radius=2.2)
    text = (
        "Alone: only this node is quantized; what lies low there is bad by itself. Behind all others: its result in "
        "the quantized model; a slope is error that builds up. Nodes without any error stand at the upper edge."
    )
    return [section("Error per node", plot.element(), h("p", text, class_="note"))]


def _node_table(nodes: Iterable[Mapping[str, Any]], known: Mapping[str, Mapping[str, Any]]) -> Element:
    more = ("gain dB", "cost %") if known else ()
    numbers = (*NODE_NUMBERS, *range(len(NODE_COLUMNS), len(NODE_COLUMNS) + len(more)))
    return table((*NODE_COLUMNS, *more), [node_row(node, known) for node in nodes], numbers)


def _worst(report: Report, known: Mapping[str, Mapping[str, Any]]) -> list[Element]:
    worst = worst_nodes(report, WORST)
    title = f"The {len(worst)} nodes that lose most alone"
    return [section(title, h("p", FIGURES, class_="note"), _node_table(worst, known))] if worst else []


def _sensitivity(report: Report) -> list[Element]:
    found: list[Element] = []
    for each in sensitivities(report):
        nodes, together = each["nodes"], each["together"]
        columns = ("in float", "gain dB", "SQNR dB", "cost %")
        rows = [
            (
                f"the first {entry['count']}" if entry["count"] > 1 else "the first",
                figure(entry["gain_db"], "+.2f"),
                figure(entry["sqnr_db"], ".2f"),
                figure(entry["cost_percent"]),
            )
            for entry in together
        ]
        ranking = [(n["name"], n["operator"], figure(n["gain_db"], "+.2f"), figure(n["cost_percent"])) for n in nodes]
        whole = figure(each["sqnr_db"], ".1f")
        text = (
            f"With everything quantized the outputs have {whole} dB: in front of a final Softmax or Sigmoid, which "
            f"hides errors, channel by channel, mean of {each['samples']} samples. Gain: how much that grows when a "
            "node stays in float; where errors of several nodes cancel each other, it shrinks. Cost: share of the "
            "operations of the quantized nodes."
        )
        parts = [
            h("p", advice(each)),
            h("p", text, class_="note"),
            pareto_plot(nodes, together),
            table(columns, rows, (1, 2, 3)),
        ]
        listed = table(("node", "operator", "gain dB", "cost %"), ranking, (2, 3))
        found.append(section("What float would gain", *parts, folded("every node, greatest gain first", listed)))
    return found


def advice(found: Mapping[str, Any]) -> str:
    """What to do about a measured sensitivity, in a sentence."""
    known = [entry for entry in found["together"] if entry["gain_db"] is not None]
    best = max(known, key=lambda entry: entry["gain_db"], default=None)
    if best is None or best["gain_db"] < WORTH_TELLING:
        return (
            f"Nothing that was tried in float gains {WORTH_TELLING:g} dB: single nodes are not what limits this model."
        )
    cost = "" if best["cost_percent"] is None else f" for {best['cost_percent']:.3g} % of the operations"
    names = ", ".join(str(node["name"]) for node in found["nodes"][: min(best["count"], LABELS)])
    more = ", ..." if best["count"] > LABELS else ""
    return (
        f"Most is gained with the first {best['count']} of the list in float: {best['gain_db']:+.1f} dB{cost} ({names}"
        f"{more}). --skip NAME keeps a node in float; --least-cosine and --most-float let UAIR choose."
    )


def pareto_plot(nodes: Sequence[Mapping[str, Any]], together: Sequence[Mapping[str, Any]]) -> Element:
    """Gain against cost: single nodes as points, the first few together as a line."""
    shown = [n for n in nodes if n["gain_db"] is not None and n["cost_percent"] is not None]
    joint = [t for t in together if t["gain_db"] is not None and t["cost_percent"] is not None]
    costs = [max(n["cost_percent"], 0.01) for n in (*shown, *joint)]
    low = 10.0 ** math.floor(math.log10(min(costs, default=0.1)))
    y_low, y_high = around([n["gain_db"] for n in (*shown, *joint)], zero=True)
    cost = Axis("share of the operations in float, per cent", low, 100, log=True)
    plot = Plot(cost, Axis("gain in dB", y_low, y_high), height=320)
    if y_low < 0:
        plot.mark(0, GREY, "", horizontal=True)
    titles = [f"the first {t['count']}: {t['gain_db']:+.2f} dB, {t['cost_percent']:.3g} %" for t in joint]
    plot.line([(t["cost_percent"], t["gain_db"]) for t in joint], GREEN, "the first few together", titles)
    titles = [f"{n['name']} ({n['operator']}): {n['gain_db']:+.2f} dB, {n['cost_percent']:.3g} %" for n in shown]
    plot.points([(n["cost_percent"], n["gain_db"]) for n in shown], BLUE, titles, "one node")
    labelled: list[tuple[float, float]] = []
    for node in shown[:LABELS]:
        at = cost.at(node["cost_percent"]), plot.y.at(node["gain_db"])
        if all(abs(at[0] - x) > 0.12 or abs(at[1] - y) > 0.06 for x, y in labelled):
            plot.text(node["cost_percent"], node["gain_db"], str(node["name"]))
            labelled.append(at)
    return plot.element()


def _histograms(histograms: Sequence[Mapping[str, Any]]) -> list[Element]:
    if not histograms:
        return []
    figures = [
        h("div", h("h3", f"{each['tensor']}, read by {each['node']}"), histogram_plot(each)) for each in histograms
    ]
    text = "Values of the calibration samples, on a logarithmic scale; what lies beyond the marked range is cut off."
    return [section("Activations of the worst nodes", h("p", text, class_="note"), h("div", *figures, class_="pair"))]


def histogram_plot(histogram: Mapping[str, Any]) -> Element:
    """A histogram with the chosen range."""
    low, high, counts = float(histogram["low"]), float(histogram["high"]), histogram["counts"]
    width = (high - low) / len(counts)
    edges = [low + i * width for i in range(len(counts) + 1)]
    chosen = histogram["range"]
    x_low, x_high = around([low, high, *chosen], room=0.03)
    most = max([*counts, 10])
    plot = Plot(Axis("value", x_low, x_high), Axis("values", 0.7, most * 1.5, log=True), width=520, height=210)
    plot.bars(edges, counts, BLUE)
    for end in chosen:
        plot.mark(float(end), RED, "range")
    return plot.element()


def _channels(channels: Sequence[Mapping[str, Any]]) -> list[Element]:
    if not channels:
        return []
    figures = [
        h("div", h("h3", f"{each['tensor']}, {each['kind']} of {each['node']}"), channels_plot(each))
        for each in channels
    ]
    text = (
        "Each box is what one channel takes of the range. One wide channel among narrow ones leaves these few steps, "
        "unless every channel has its own scale, as weights may."
    )
    return [section("Channels of the worst nodes", h("p", text, class_="note"), h("div", *figures, class_="pair"))]


def channels_plot(channels: Mapping[str, Any]) -> Element:
    """The ranges of channels, and the chosen one."""
    lows, highs, chosen = channels["low"], channels["high"], channels["range"]
    y_low, y_high = around([*lows, *highs, *chosen])
    step = channels["together"]
    names = tuple(str(i * step) for i in range(len(lows)))
    label = "channel" if step == 1 else f"channel, {step} neighbours together"
    plot = Plot(Axis(label, -0.7, len(lows) - 0.3, names=names), Axis("value", y_low, y_high), width=520, height=210)
    for i, (low, high) in enumerate(zip(lows, highs, strict=True)):
        colour = GREEN if channels["kind"] == "weight" else BLUE
        plot.box((i - 0.36, i + 0.36), (low, high), colour, f"channel {i * step}: {low:g} to {high:g}")
    for end in chosen:
        plot.mark(float(end), RED, "range" if channels["kind"] == "activation" else "widest range", horizontal=True)
    return plot.element()


def _float(report: Report) -> list[Element]:
    rows = [(node["name"], node["operator"], node["reason"]) for node in report.get("skipped", ())]
    if not rows:
        return []
    return [folded(f"{len(rows)} nodes in float, with the reason", table(("node", "operator", "reason"), rows))]
