"""What looks wrong although nothing is: sentences that `uair compile` prints as warnings."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from uair.cli.output import listed

if TYPE_CHECKING:
    from uair.artifact import Artifact
    from uair.ir.graph import Graph, Tensor
    from uair.preprocess import Preprocess

IMAGE_CHANNELS = (1, 3, 4)


def before(
    graph: Graph, shapes: Mapping[str, tuple[int, ...]], preprocess: Mapping[str, Preprocess], *, quantize: bool
) -> list[str]:
    """Warnings about what a compilation is asked for.

    Args:
        graph: the model as it was read.
        shapes: by input name, as given by the user.
        preprocess: by input name.
        quantize: whether INT8 was asked for.
    """
    found = [w for name, shape in shapes.items() if name in graph.input_names for w in _shape(graph, name, shape)]
    found += [w for name, chosen in preprocess.items() for w in _preprocess(name, chosen)]
    if quantize and any(node.op_type in ("Quantize", "Dequantize") for node in graph):
        found.append("the model has quantized nodes already; a float model gives better scales")
    return found


def _shape(graph: Graph, name: str, shape: tuple[int, ...]) -> Iterator[str]:
    shown = ",".join(map(str, shape))
    if 0 in shape:
        yield f"--shape {name}={shown} makes the input empty"
    if len(shape) == 4 and shape[3] in IMAGE_CHANNELS and shape[1] not in IMAGE_CHANNELS:
        if _feeds_convolution(graph.input(name)):
            better = ",".join(map(str, (shape[0], shape[3], *shape[1:3])))
            yield f"--shape {name}={shown} has its channels last, the model takes them first: --shape {name}={better}?"


def _feeds_convolution(tensor: Tensor) -> bool:
    return any(node.op_type == "Conv2D" and index == 0 for node, index in tensor.uses)


def _preprocess(name: str, chosen: Preprocess) -> Iterator[str]:
    mean, std = chosen.per_channel()
    if max(mean) <= 1 and max(std) < 1:
        scaled = ",".join(
            f"{key}={'/'.join(f'{255 * v:.5g}' for v in values)}" for key, values in (("mean", mean), ("std", std))
        )
        yield (
            f"the mean and std of {name!r} look like those of pixels from 0 to 1, but pixels are 0 to 255: "
            f"--preprocess {scaled}?"
        )


def after(artifact: Artifact) -> list[str]:
    """Warnings about a finished artifact: what calibration noted, nodes that may not run, a missing reference."""
    manifest = artifact.manifest
    report = json.loads(artifact.file("report.json").read_text("utf-8"))
    found = list(report.get("quantization", {}).get("notes", []))
    if report.get("weights"):
        more = len(report["weights"]) - 1
        others = f" (and so in {more} more constants, `weights` in report.json)" if more else ""
        found.append(f"{report['weights'][0]}{others}: mend the model, or export it again")
    removed = report.get("quantization-removed")
    if removed:
        kept = "with ranges of run time " if removed == "dynamic" else ""
        found.append(
            f"{artifact.target} does not compute the model's own 8-bit arithmetic {kept}and gets it in floating point: "
            "--quantize int8 quantizes it for the target"
        )
    verdicts = manifest.get("verdicts", {})
    doubtful = [f"{verdicts[level]} {level}" for level in ("partial", "unknown") if verdicts.get(level)]
    if doubtful:
        found.append(
            f"of the nodes {' and '.join(doubtful)}: `uair check MODEL --target {artifact.target}` says which and why"
        )
    if verdicts.get("experimental"):
        found.append(f"{artifact.target} is experimental: no tool of the vendor has accepted an artifact of it yet")
    tensors = [e for e in manifest["inputs"] if "containers" not in e]
    still_open = [e["name"] for e in tensors if e["shape"] is None or not _is_static(e["shape"])]
    if still_open and "golden" not in manifest:
        verb = "have" if len(still_open) > 1 else "has"
        found.append(f"there is no reference output, for {listed(still_open)} {verb} open sizes: give --shape")
    found += report.get("branches", [])
    refused = report.get("golden", {}).get("refused")
    if refused:
        found.append(f"there is no reference output, for numbers drawn at random do not run ({refused}): give --golden")
    return found


def _is_static(shape: list[int | str]) -> bool:
    return all(isinstance(size, int) for size in shape)
