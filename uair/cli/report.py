"""`uair report`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from uair.cli import options, output
from uair.errors import UairError


class ReportFileError(UairError):
    """A file holds no report that can be shown, or one of another version."""

    code = "UAIR-E0906"
    title = "No report to show"


@click.command("report")
@click.argument("source", metavar="REPORT", type=click.Path(path_type=Path))
@click.option(
    "--html",
    metavar="FILE",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write a page with plots: one file, without scripts.",
)
@click.option(
    "--csv",
    "as_csv",
    metavar="FILE",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write a row for every quantized activation.",
)
@click.option("--worst", metavar="N", default=10, show_default=True, type=click.IntRange(1), help="Nodes shown.")
@options.json_option
def command(source: Path, html: Path | None, as_csv: Path | None, worst: int, as_json: bool) -> None:
    """Show what quantization did: REPORT is an artifact, its report.json, or what `uair quantize --report` wrote.

    \b
    uair report model-rk3588/
    uair report report.json --html report.html --csv nodes.csv
    """  # noqa: D301  \b is click's mark of text that is not to be wrapped
    from uair.cli.diff import write_page
    from uair.report import quantization_csv, quantization_page

    report = read_report(source)
    try:
        if html is not None:
            write_page(html, quantization_page(report, f"Quantization of {report_name(source)}"))
        if as_csv is not None:
            write_page(as_csv, quantization_csv(report))
        if as_json:
            output.print_json(report)
        else:
            _show(report, worst)
    except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
        raise ReportFileError(
            f"{source} is not as UAIR writes reports: {type(error).__name__}: {error}",
            hint="quantize again with this version, or read the file with the version that wrote it",
        ) from error


def report_name(source: Path) -> str:
    """What a report is about."""
    return source.resolve().name


def read_report(source: Path) -> Mapping[str, Any]:
    """The report on quantization.

    Raises:
        ReportFileError: there is none.
        ArtifactError: an artifact is damaged.
    """
    from uair.api import is_artifact

    if source.exists() and is_artifact(source):
        from uair.artifact import Artifact

        text = Artifact.open(source).file("report.json").read_text("utf-8")
    else:
        text = _text(source)
    try:
        found: Any = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ReportFileError(f"{source} is no JSON: {error}", hint="give an artifact or its report.json") from error
    found = found.get("quantization", found) if isinstance(found, dict) else found
    if not isinstance(found, dict) or not {"summary", "nodes"} <= found.keys():
        raise ReportFileError(
            f"{source} says nothing about quantization", hint="give what was made with --quantize int8"
        )
    return found


def _text(source: Path) -> str:
    try:
        return source.read_text("utf-8")
    except FileNotFoundError as error:
        raise ReportFileError(f"'{source}' is not there", hint="give an artifact or its report.json") from error
    except UnicodeDecodeError as error:
        raise ReportFileError(
            f"{source} is neither an artifact nor a report", hint="give an artifact or its report.json"
        ) from error
    except (OSError, ValueError) as error:
        raise ReportFileError(
            f"{source} cannot be read: {error}", hint="give an artifact or its report.json"
        ) from error


def _show(report: Mapping[str, Any], worst: int) -> None:
    from uair.report.difference import decibels
    from uair.report.quantization import (
        NODE_COLUMNS,
        NODE_NUMBERS,
        advice,
        budget_text,
        gains,
        node_row,
        scheme_text,
        sensitivities,
        together_lines,
        worst_nodes,
    )

    summary = report["summary"]
    output.print_prose(
        f"{summary['quantized']} nodes on integers, {summary['float']} of the same operators in float; "
        f"{summary['calibration']['samples']} calibration samples, ranges: {summary.get('ranges') or 'none'}"
    )
    for text in (scheme_text(summary), budget_text(summary["budget"]) if "budget" in summary else ""):
        if text:
            output.print_prose(text)
    rows = [(n, decibels(q), f"{q['cosine']:.6f}") for n, q in summary.get("outputs", {}).items()]
    if rows:
        output.print_text("")
        output.table(("output", "SQNR dB", "cosine"), rows, right=(1, 2))
    known = gains(report)
    columns = (*NODE_COLUMNS, "gain dB", "cost %") if known else NODE_COLUMNS
    found = [
        (output.shortened(name), *rest) for name, *rest in (node_row(n, known) for n in worst_nodes(report, worst))
    ]
    if found:
        output.print_text("\nThe nodes that lose most, each alone on integers:\n\n")
        output.table(columns, found, right=(*NODE_NUMBERS, 9, 10) if known else NODE_NUMBERS)
    lines = together_lines(report)
    if lines:
        output.print_text("\nWhat float would gain:\n\n")
    for each in sensitivities(report):
        output.print_prose(advice(each), "  ", "    ")
    for line in lines:
        output.print_prose(line, "  ", "    ")
    for note in report.get("notes", ()):
        output.print_prose(f"note: {note}", "", "    ")
