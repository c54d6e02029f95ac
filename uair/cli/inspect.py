"""`uair inspect`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from uair.cli import options, output

if TYPE_CHECKING:
    from uair.ir.graph import Tensor


@click.command("inspect")
@options.model_argument
@options.shape_option
@options.value_option
@options.loading_options
@options.json_option
def command(**given: Any) -> None:
    """Summarize MODEL: inputs, outputs, operators, parameters, operations; or what an artifact holds.

    \b
    uair inspect model.onnx --shape x=1,3,224,224
    uair inspect model-cpu/
    """  # noqa: D301  \b is click's mark of text that is not to be wrapped
    from uair.api import is_artifact

    if is_artifact(given["model"]):
        options.require_unbound(given)
        _inspect_artifact(given["model"], as_json=given["as_json"])
        return
    facts = model_facts(given)
    if given["as_json"]:
        output.print_json(facts)
    else:
        _show_model(facts)


def model_facts(given: Mapping[str, Any]) -> dict[str, Any]:
    """Facts of a model as plain data; `flops` is None while a size is open."""
    from uair.api import describe_interface, describe_origin, run_pipeline
    from uair.targets.check import node_flops

    module, shapes = options.load_model(given["model"], given)
    run_pipeline(module, "", shapes=shapes, values=options.values_by_input(given["values"]), instruments=())
    graph = module.main
    constants = dict.fromkeys(t for each in (graph, *graph.nested()) for t in each.constants())
    flops = [node_flops(node) for node in graph]
    known = [n for n in flops if n is not None]
    return {
        "name": module.name,
        "source": describe_origin(module.origin),
        "inputs": describe_interface(graph.input_names, graph.inputs),
        "outputs": describe_interface(graph.output_names, graph.outputs),
        "nodes": len(graph),
        "constants": len(constants),
        "constant_bytes": sum(t.data.nbytes for t in constants if t.data is not None),
        "flops": sum(known) if len(known) == len(flops) else None,
        "operators": dict(Counter(node.op_type for node in graph).most_common()),
        "open_sizes": _open_inputs(graph.input_names, graph.inputs),
    }


def _open_inputs(names: Sequence[str], tensors: Sequence[Tensor]) -> list[str]:
    types = zip(names, (tensor.type for tensor in tensors), strict=True)
    return [name for name, t in types if t.is_tensor and not t.is_static]


def _show_model(facts: dict[str, Any]) -> None:
    source = facts["source"]
    verb = "have" if len(facts["open_sizes"]) > 1 else "has"
    is_open = f"unknown: {output.listed(facts['open_sizes'])} {verb} open sizes (--shape)"
    output.print_facts(
        {
            "model": facts["name"],
            "format": _format(source),
            "producer": source["producer"],
            "sha256": source["sha256"],
            "input": interface_lines(facts["inputs"]),
            "output": interface_lines(facts["outputs"]),
            "nodes": str(facts["nodes"]),
            "constants": f"{facts['constants']} ({output.size(facts['constant_bytes'])})",
            "operations": is_open if facts["flops"] is None else f"{facts['flops']:,} floating-point operations a run",
            "operators": ", ".join(f"{n} {name}" for name, n in facts["operators"].items()),
        }
    )


def _format(source: dict[str, Any]) -> str:
    versions = ", ".join(f"{domain} {version}" for domain, version in source["versions"].items())
    return f"{source['format']} ({versions})" if versions else str(source["format"])


def interface_lines(entries: list[dict[str, Any]]) -> list[str]:
    """Inputs or outputs of a manifest, one line each."""
    from uair.api import interface_type

    lines = []
    for entry in entries:
        steps = entry.get("preprocess")
        lines.append(f"{entry['name']}: {interface_type(entry)}" + (f" from images: {_steps(steps)}" if steps else ""))
    return lines


def _steps(preprocess: dict[str, Any]) -> str:
    from uair.preprocess import Preprocess

    return str(Preprocess.from_json(preprocess))


def _inspect_artifact(path: Path, *, as_json: bool) -> None:
    from uair.artifact import Artifact
    from uair.cli.compile import describe_error

    manifest = Artifact.open(path).manifest
    if as_json:
        output.print_json(manifest)
        return
    source, tool, verdicts = manifest["source"], manifest["toolchain"], manifest["verdicts"]
    golden = manifest.get("golden", {}).get("compiled_against_reference", {})
    counts = {level: verdicts[level] for level in ("supported", "partial", "unknown", "unsupported")}
    output.print_facts(
        {
            "artifact": f"{path} (schema {manifest['schema']}, UAIR {manifest['uair']})",
            "target": f"{manifest['target']}: {verdicts['title']}",
            "toolchain": " ".join(filter(None, (tool["name"], ", ".join(tool["checked_versions"])))),
            "model": manifest["name"],
            "source": " ".join(filter(None, (source["file"], _format(source)))),
            "sha256": source["sha256"],
            "input": interface_lines(manifest["inputs"]),
            "output": interface_lines(manifest["outputs"]),
            "nodes": ", ".join(f"{n} {level}" for level, n in counts.items() if n),
            "quantized": _quantization(manifest["quantization"]),
            "pipeline": ", ".join(manifest["pipeline"]),
            "accuracy": [f"{name}: {describe_error(error)}" for name, error in golden.items()],
        }
    )
    output.print_text("")
    rows = [(name, output.size(entry["bytes"])) for name, entry in sorted(manifest["files"].items())]
    output.table(("file", "size"), rows, right=(1,))


def _quantization(summary: dict[str, Any] | None) -> str:
    if not summary:
        return ""
    samples, what = summary["calibration"]["samples"], summary.get("weights", "INT8")
    return f"{summary['quantized']} nodes to {what} with {samples} samples, {summary['float']} nodes stay float"
