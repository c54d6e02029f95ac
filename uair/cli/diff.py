"""`uair diff`."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from uair.cli import options, output

if TYPE_CHECKING:
    from uair.driver.difference import Changes, Layer, LayerErrors
    from uair.ir.graph import Node
    from uair.ir.module import Module

OUT_OF_TOLERANCE_STATUS = 4
SHOWN = 12
"""Changed nodes of a kind that are listed for people; JSON has them all."""


@click.command("diff")
@click.argument("first", type=click.Path(path_type=Path))
@click.argument("second", type=click.Path(path_type=Path), required=False)
@options.passes_option(
    "Passes that SECOND is run through first, or FIRST when SECOND is left out: it is compared with itself."
)
@click.option(
    "--input",
    "-i",
    "inputs",
    metavar="[INPUT=]FILE",
    multiple=True,
    help="An input: x=file.npy, x=picture.png, or one .npz file with all of them, by the names of FIRST. [default: "
    "the golden input of an artifact, else noise]",
)
@click.option("--samples", metavar="DATA", help="Several inputs: a folder of images, .npy or .npz files, or one file.")
@click.option("--limit", metavar="N", default=8, show_default=True, type=click.IntRange(1), help="Samples run at most.")
@click.option("--structure", is_flag=True, help="Run nothing: say which nodes were changed, merged, removed or added.")
@click.option("--worst", metavar="N", type=click.IntRange(1), help="Show only the N worst layers, worst first.")
@click.option(
    "--tolerance",
    metavar="ERROR",
    type=click.FloatRange(0),
    help="Greatest error accepted of an output, relative to its greatest value.",
)
@click.option(
    "--least-sqnr", metavar="DB", type=float, help="Least signal-to-noise ratio accepted of an output, in dB."
)
@click.option(
    "--html",
    metavar="FILE",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Also write a page with plots: one file, without scripts.",
)
@options.output_option("Also write the comparison as JSON into this file.")
@options.preprocess_option
@options.shape_option
@options.value_option
@options.loading_options
@options.json_option
def command(**given: Any) -> int:
    """Compare the models FIRST and SECOND layer by layer, by the names of the user's model.

    Models are files, artifacts, and package.module:factory: a float model and its INT8 artifact, a model before and
    after a pass, an ONNX file and the PyTorch module that it was exported from. Both run in the reference interpreter;
    errors are those of everything up to a layer. Exit status 4: an output is outside of --tolerance or --least-sqnr.

    \b
    uair diff model.onnx model-rk3588/ --samples images/
    uair diff model.onnx other.onnx --input x=image.npy --worst 10
    uair diff model.onnx --passes canonicalise,fuse --tolerance 1e-4
    uair diff model.onnx model-cpu/ --structure
    """  # noqa: D301  \b is click's mark of text that is not to be wrapped
    from uair.driver.difference import compare_structure
    from uair.report import difference_page

    _require_sensible(given)
    with output.progress(f"reading {given['first'].name}"):
        first, second = _models(given)
    if given["structure"]:
        changes = compare_structure(first, second)
        if not _deliver(changes.to_json(), given):
            _show_changes(changes)
        return 0
    with output.progress("comparing"):
        golden = None if given["samples"] or given["inputs"] else _golden(given)
        found = _compared(first, second, given, golden)
    is_noise = not given["samples"] and not given["inputs"] and golden is None
    failed = _outside(found, given)
    if given["html"]:
        write_page(given["html"], difference_page(found.to_json(), *_names(given)))
    if not _deliver({**found.to_json(), "outside_tolerance": failed}, given):
        _show(found, given["worst"], failed, is_noise=is_noise)
    return OUT_OF_TOLERANCE_STATUS if failed else 0


def _require_sensible(given: Mapping[str, Any]) -> None:
    """Refuse options that do not go together.

    Raises:
        click.UsageError: see there.
    """
    if given["second"] is None and not given["passes"]:
        raise click.UsageError("give a second model, or --passes to compare the first with what they make of it")
    if given["inputs"] and given["samples"]:
        raise click.UsageError("--input is one input, --samples are several: give one of them")
    for_runs = ("inputs", "samples", "tolerance", "least_sqnr", "worst", "html")
    if given["structure"] and any(given[name] not in (None, ()) for name in for_runs):
        raise click.UsageError("--structure runs nothing: it takes no inputs, limits, --worst or --html")


# -------------------------------------------------------------------------------------------------------------- models
def _models(given: Mapping[str, Any]) -> tuple[Module, Module]:
    from uair.api import run_pipeline

    first = _model(given["first"], given)
    second = first.clone() if given["second"] is None else _model(given["second"], given)
    if given["passes"]:
        run_pipeline(second, given["passes"])
    return first, second


def _model(path: Path, given: Mapping[str, Any]) -> Module:
    """A model with what was given about its inputs, or the module of an artifact, whose inputs are decided."""
    from uair.api import comparable, is_artifact, run_pipeline

    if _is_code(path):
        mine = {**given, "told": (), "external_data_root": None}
    elif is_artifact(path):
        return comparable(path)
    else:
        root = given["external_data_root"] if path.suffix.lower() == ".onnx" else None
        mine = {**given, "told": _told(path, given), "external_data_root": root, "weights": None, "examples": ()}
    module, shapes = options.load_model(path, mine)
    inputs = set(module.main.input_names)
    shapes = {n: s for n, s in shapes.items() if n in inputs}
    values = {n: v for n, v in options.values_by_input(given["values"]).items() if n in inputs}
    return comparable(run_pipeline(module, "", shapes=shapes, values=values, instruments=()))


def _is_code(path: Path) -> bool:
    """Whether a model is `package.module:factory`."""
    return options.FACTORY.fullmatch(str(path)) is not None and not path.exists()


def _told(path: Path, given: Mapping[str, Any]) -> list[str]:
    """What a model's reader is told: of two formats each takes the options that it knows, and what none knows fails."""
    from uair.api import is_artifact
    from uair.driver.loading import Loader

    if not given["told"]:
        return []
    models = [p for p in (given["first"], given["second"]) if p is not None and not _is_code(p) and not is_artifact(p)]
    known = {option for model in models for option in Loader.of(model).named()}
    mine = set(Loader.of(path).named())
    names = [(text, text.partition("=")[0]) for text in given["told"]]
    return [text for text, name in names if name in mine or name not in known]


def _compared(first: Module, second: Module, given: Mapping[str, Any], golden: Mapping[str, Any] | None) -> LayerErrors:
    from uair.api import diff
    from uair.driver.difference import common_types

    names = first.main.input_names
    preprocess = options.preprocess_by_input(given["preprocess"], names)
    if given["samples"]:
        return diff(first, second, given["samples"], preprocess=preprocess, limit=given["limit"])
    if given["inputs"]:
        from uair.cli.inputs import InputReader

        types = common_types(first.main, second.main)
        shapes = {n: t.shape for n, t in types.items()}
        sequences = {n for n, t in types.items() if not t.is_tensor}
        return diff(first, second, InputReader(shapes, preprocess, sequences=sequences).read(given["inputs"]))
    return diff(first, second, golden)


def _golden(given: Mapping[str, Any]) -> dict[str, Any] | None:
    """The golden input of an artifact among the models."""
    from uair.api import golden_input, is_artifact

    for path in (given["first"], given["second"]):
        if path is not None and path.exists() and is_artifact(path):
            found = golden_input(path)
            if found is not None:
                return found
    return None


# ------------------------------------------------------------------------------------------------------------- results
def _deliver(facts: dict[str, Any], given: Mapping[str, Any]) -> bool:
    """Write the comparison where it was asked for; whether it was printed as JSON."""
    if given["output"]:
        from uair.artifact import to_json
        from uair.atomic import atomic_file

        with atomic_file(given["output"]) as file:
            file.write(to_json(facts).encode())
    if given["as_json"]:
        output.print_json(facts)
    return bool(given["as_json"])


def write_page(path: Path, text: str) -> None:
    """Write an HTML file.

    Raises:
        OutputError: it cannot be written.
    """
    from uair.atomic import atomic_file

    with atomic_file(path) as file:
        file.write(text.encode())


def _names(given: Mapping[str, Any]) -> tuple[str, str]:
    """The models as a page calls them."""
    first = str(given["first"])
    second = first if given["second"] is None else str(given["second"])
    return first, f"{second} after {given['passes']}" if given["passes"] else second


def _outside(found: LayerErrors, given: Mapping[str, Any]) -> list[str]:
    """The outputs that are worse than is accepted."""
    most, least = given["tolerance"], given["least_sqnr"]
    return [
        o.name
        for o in found.outputs
        if (most is not None and o.errors.relative > most) or (least is not None and o.errors.sqnr < least)
    ]


def _show(found: LayerErrors, worst: int | None, failed: list[str], *, is_noise: bool) -> None:
    layers = found.layers if worst is None else found.worst(worst)
    rows = [(output.shortened(layer.name), _operators(layer), *_figures(layer)) for layer in layers]
    if rows:
        columns = ("layer", "operator", "SQNR dB", "before", "cosine", "max abs", "mean shift")
        output.table(columns, rows, right=(2, 3, 4, 5, 6))
        output.print_text("")
    outputs = [
        (
            o.name,
            decibels(o.errors.sqnr),
            f"{o.errors.cosine:.6f}",
            f"{o.errors.max_abs:.3g}",
            f"{o.errors.relative:.3g}",
        )
        for o in found.outputs
    ]
    output.table(("output", "SQNR dB", "cosine", "max abs", "relative"), outputs, right=(1, 2, 3, 4))
    output.print_text("")
    for line in _sentences(found, failed, is_noise=is_noise):
        output.print_prose(line, "", "    ")


def _sentences(found: LayerErrors, failed: list[str], *, is_noise: bool) -> list[str]:
    samples = "one sample" if found.samples == 1 else f"{found.samples} samples"
    if is_noise:  # beyond what integers were calibrated for, perhaps
        samples += " of noise; real ones (--samples, --input) may tell otherwise"
    lines = [f"{len(found.layers)} layers compared on {samples}"]
    drop = found.worst_drop
    if drop is not None:
        behind = f" behind {drop.behind} with {decibels(drop.before)} dB" if drop.behind else " behind exact operands"
        lines.append(f"worst drop at {drop.name}: {decibels(drop.errors.sqnr)} dB{behind}")
    for which, nodes in (("first", found.pairing.only_a), ("second", found.pairing.only_b)):
        if nodes:
            lines.append(f"only in the {which} model: {_listed(list(nodes))}")
    if found.not_compared:
        lines.append("not compared: " + output.listed([f"{n} ({reason})" for n, reason in found.not_compared]))
    if failed:
        lines.append(f"outside of what is accepted: {output.listed(failed)}")
    return lines


def _listed(nodes: list[Node]) -> str:
    from uair.driver.difference import label

    return f"{len(nodes)}: " + output.listed([f"{label(node)} ({node.op_type})" for node in nodes])


def _operators(layer: Layer) -> str:
    a, b = layer.operators
    return a if a == b else f"{a} > {b}"


def _figures(layer: Layer) -> tuple[str, ...]:
    e = layer.errors
    return decibels(e.sqnr), decibels(layer.before), f"{e.cosine:.6f}", f"{e.max_abs:.3g}", f"{e.mean_shift:+.1e}"


def decibels(value: float) -> str:
    """For people: no noise is "exact", what is no number on one side only is "NaN"."""
    if math.isinf(value):
        return "exact" if value > 0 else "NaN"
    return f"{value:.1f}"


def _show_changes(changes: Changes) -> None:
    from uair.driver.difference import label

    rows = [
        *(("changed", c.name, c.b.op_type, "; ".join(c.differences)) for c in changes.changed[:SHOWN]),
        *(("merged", label(n), n.op_type, f"into {m.op_type} {label(m)}") for n, m in changes.merged[:SHOWN]),
        *(("removed", label(n), n.op_type, "") for n in changes.removed[:SHOWN]),
        *(("added", label(n), n.op_type, _makers(n)) for n in changes.added[:SHOWN]),
    ]
    if rows:
        output.table(("", "node", "operator", "what"), rows)
        output.print_text("")
    counts = {
        "changed": len(changes.changed),
        "merged": len(changes.merged),
        "removed": len(changes.removed),
        "added": len(changes.added),
    }
    output.print_prose(", ".join(f"{n} {what}" for what, n in {"the same": changes.same, **counts}.items()))
    output.print_prose(f"first difference: {changes.first}" if changes.first else "the graphs are equal", "", "    ")


def _makers(node: Node) -> str:
    return f"by {', '.join(node.loc.by)}" if node.loc.by else ""
