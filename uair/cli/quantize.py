"""`uair quantize`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from uair.cli import calibration, options, output

if TYPE_CHECKING:
    from uair.driver.quantizing import Quantized

MOST_REASONS = 8
"""Reasons for nodes in float that are listed."""


@click.command("quantize")
@options.model_argument
@click.option(
    "--target",
    "-t",
    default="cpu",
    show_default=True,
    type=options.TargetName(),
    help="Name of the target whose scheme decides what is quantized and how finely.",
)
@click.option(
    "--to",
    "wanted",
    type=click.Choice(calibration.FORMATS, case_sensitive=False),
    default="int8",
    show_default=True,
    help="int8, or weights of 8 or 4 bits that are computed with in floating point (w8a16, w4a16).",
)
@options.output_option("The quantized model, .onnx or .uair.  [default: MODEL.int8.onnx]")
@calibration.quantization_options
@options.shape_option
@options.value_option
@options.preprocess_option
@options.loading_options
@click.option(
    "--form",
    type=click.Choice(["qdq", "qoperator"]),
    help="Of an .onnx output: Q/DQ nodes around operators on floats, or operators on integers (QLinearConv, "
    "ConvInteger).  [default: qdq]",
)
@click.option("--opset", type=click.IntRange(1), help="Operator set of an .onnx output.")
@click.option(
    "--report",
    metavar="FILE",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Also write the report, .json, .html with plots, or .csv: per node its parameters and its error, and why "
    "others stay in float.",
)
@click.option("--overwrite", is_flag=True, help="Replace existing files.")
@options.dump_dir_option
@options.json_option
def command(**given: Any) -> None:
    """Quantize MODEL with the scheme of a target, for other tools to take.

    Writes the model with QuantizeLinear and DequantizeLinear nodes (ONNX QDQ). `uair compile --quantize int8` goes
    on from there to the form of the target. w8a16 and w4a16 need no calibration data, and are better with some.

    \b
    uair quantize model.onnx --calib images/ \\
        --preprocess resize=crop,mean=127.5,std=127.5
    uair quantize model.onnx -t rk3588 --calib samples.npz -n 128 \\
        --effort high --report report.json
    uair quantize model.onnx --to w4a16 --calib samples.npz
    """  # noqa: D301  \b is click's mark of text that is not to be wrapped
    model: Path = given["model"]
    path: Path = given["output"] or Path(f"{model.stem.replace(':', '-')}.{given['wanted']}.onnx")
    _require_writable(path, given)
    quantized = _quantize(model, given)
    quantized.save(path, form=given["form"] or "qdq", opset=given["opset"])
    if given["report"] is not None:
        _write_report(given["report"], quantized.report, model.name, quantized.target.name)
    if given["as_json"]:
        output.print_json({"output": str(path), **quantized.report})
    else:
        _summary(path, quantized)
    for note in quantized.notes:
        output.warn(note)


def _require_writable(path: Path, given: Mapping[str, Any]) -> None:
    """Refuse what could not be written, before the work.

    Raises:
        click.UsageError: a name has the wrong suffix, or a file exists.
        OutputError: a folder does not exist or cannot be written to.
    """
    from uair.atomic import require_writable

    if path.suffix.lower() not in (".onnx", ".uair"):
        raise click.UsageError(f"--output {path}: the name must end in .onnx or .uair")
    for option in ("opset", "form"):
        if given[option] is not None and path.suffix.lower() != ".onnx":
            raise click.UsageError(f"--{option} is for an .onnx output")
    report: Path | None = given["report"]
    if report is not None and report.suffix.lower() not in (".json", ".html", ".csv"):
        raise click.UsageError(f"--report {report}: the name must end in .json, .html or .csv")
    for each in (path, report):
        if each is not None and each.exists() and not given["overwrite"]:
            raise click.UsageError(f"{each} exists: give --overwrite or another name")
        if each is not None:
            require_writable(each)


def _quantize(model: Path, given: Mapping[str, Any]) -> Quantized:
    from uair.api import quantize
    from uair.cli import advice
    from uair.pipeline import Dump
    from uair.text import print_module

    settings = calibration.settings(given["wanted"].lower(), given)
    with output.progress(f"reading {model.name}", silent=given["as_json"]) as watchers:
        module, shapes = options.load_model(model, given)
        preprocess = options.preprocess_by_input(given["preprocess"], module.main.input_names)
        warnings = advice.before(module.main, shapes, preprocess, quantize=True)
        if given["dump_dir"]:
            watchers.append(Dump(given["dump_dir"], print_module))
        quantized = quantize(
            module,
            settings,
            given["target"],
            shapes=shapes,
            values=options.values_by_input(given["values"]),
            preprocess=preprocess,
            instruments=watchers,
        )
    for warning in warnings:
        output.warn(warning)
    return quantized


def _write_report(path: Path, report: Mapping[str, Any], model: str, target: str) -> None:
    from uair.artifact import to_json
    from uair.atomic import atomic_file
    from uair.report import quantization_csv, quantization_page

    suffix = path.suffix.lower()
    if suffix == ".html":
        text = quantization_page(report, f"Quantization of {model} for {target}")
    else:
        text = quantization_csv(report) if suffix == ".csv" else to_json(report)
    with atomic_file(path) as file:
        file.write(text.encode())


def _summary(path: Path, quantized: Quantized) -> None:
    """What was written, how close its outputs are, and what stays in float."""
    summary = quantized.report["summary"]
    calibrated = summary["calibration"]
    what = summary.get("weights", "INT8")
    output.print_text(f"{path} ({output.size(path.stat().st_size)}), {what} as {quantized.target.name} has it")
    samples = f"{calibrated['samples']} calibration samples"
    if "weights" in summary:
        stored, real = (output.size(summary["bytes"][key]) for key in ("stored", "float"))
        output.print_prose(
            f"{summary['quantized']} nodes with weights of few bits ({stored} instead of {real}), "
            f"{summary['float']} with float weights; {samples}"
        )
    else:
        output.print_prose(
            f"{summary['quantized']} nodes on integers, {summary['float']} of the same operators in float; "
            f"{samples}, ranges: {summary['ranges'] or 'none'}"
        )
    if "budget" in summary:
        from uair.report.quantization import budget_text

        output.print_prose(budget_text(summary["budget"]))
    rows = [(name, _decibels(q["sqnr_db"]), f"{q['cosine']:.6f}") for name, q in summary["outputs"].items()]
    if rows:
        output.print_text("\nThe quantized model against the float one, on calibration samples:\n\n")
        output.table(("output", "SQNR dB", "cosine"), rows, right=(1, 2))
    worst = sorted(_measured(quantized.report["nodes"]), key=lambda row: float(row[2]))[:MOST_REASONS]
    if worst:
        output.print_text("\nThe nodes that lose most, each alone:\n\n")
        output.table(("node", "operator", "SQNR dB"), worst, right=(2,))
    _show_float(quantized.report["skipped"])


def _measured(nodes: Sequence[Mapping[str, Any]]) -> list[tuple[str, str, str]]:
    return [
        (output.shortened(node["name"]), node["operator"], _decibels(node["quality"]["sqnr_db"]))
        for node in nodes
        if node.get("quality", {}).get("sqnr_db") is not None
    ]


def _show_float(skipped: Sequence[Mapping[str, Any]]) -> None:
    """Nodes in float, by reason."""
    reasons: dict[str, list[str]] = {}
    for node in skipped:
        reasons.setdefault(node["reason"], []).append(node["name"])
    if reasons:
        output.print_text("\nIn float:\n")
    for reason, names in list(reasons.items())[:MOST_REASONS]:
        output.print_prose(f"{reason}: {output.listed(names)}", "  ", "    ")
    if len(reasons) > MOST_REASONS:
        output.print_text(f"  and for {len(reasons) - MOST_REASONS} more reasons, see --report")


def _decibels(value: float | None) -> str:
    return "exact" if value is None else f"{value:.1f}"
