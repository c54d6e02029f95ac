"""`uair inspect`."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import click

from uair.cli import options, output


@click.command("inspect")
@click.argument("model", type=click.Path(exists=True, path_type=Path))
@options.shape_option
@options.json_option
def command(model: Path, shapes: Any, as_json: bool) -> None:
    """Summarize MODEL: inputs, outputs, operators, parameters, operations; or an artifact's manifest."""
    from uair.api import is_artifact

    facts = _artifact_facts(model) if is_artifact(model) else model_facts(model, dict(shapes))
    if as_json:
        output.print_json(facts)
        return
    for key, value in facts.items():
        if isinstance(value, dict):
            output.table(key, (key, ""), list(value.items()), right=(1,))
        elif isinstance(value, list):
            output.print_text(f"{key}:")
            for item in value:
                output.print_text(f"  {item}")
        else:
            output.print_text(f"{key}: {value}")


def model_facts(path: Path, shapes: dict[str, tuple[int, ...]]) -> dict[str, Any]:
    """Facts of a model file."""
    from uair.passes.bind_shapes import bind_shapes

    module = options.load_model(path)
    bind_shapes(module, shapes)
    graph = module.main
    constants = graph.constants()
    bytes_of = sum(t.data.nbytes for t in constants if t.data is not None)
    static = all(t.type.is_static for node in graph for t in (*node.inputs, *node.outputs) if t is not None)
    flops = (
        sum(n.op.flops([t and t.type for t in n.inputs], [t.type for t in n.outputs]) for n in graph)
        if static
        else None
    )
    return {
        "model": module.name,
        "format": module.origin.format,
        "producer": module.origin.producer,
        "versions": ", ".join(f"{d or 'ai.onnx'} {v}" for d, v in module.origin.versions),
        "sha256": module.origin.sha256,
        "inputs": [f"{n}: {t.type}" for n, t in zip(graph.input_names, graph.inputs, strict=True)],
        "outputs": [f"{n}: {t.type}" for n, t in zip(graph.output_names, graph.outputs, strict=True)],
        "nodes": len(graph),
        "constants": f"{len(constants)} ({output.size(bytes_of)})",
        "floating-point operations": "open shapes: bind them with --shape" if flops is None else f"{flops:,}",
        "operators": dict(Counter(node.op_type for node in graph).most_common()),
    }


def _artifact_facts(path: Path) -> dict[str, Any]:
    from uair.artifact import Artifact

    manifest = Artifact.open(path).manifest
    files = {name: output.size(entry["bytes"]) for name, entry in manifest["files"].items()}
    shown = {k: v for k, v in manifest.items() if k not in ("files", "verdicts", "inputs", "outputs")}
    interface = {k: [f"{e['name']}: {e['dtype']}{e['shape']}" for e in manifest[k]] for k in ("inputs", "outputs")}
    return {**shown, **interface, "files": files}
