"""Which layers TensorRT is expected to place on a DLA, and which on the GPU; dla.toml holds what is known."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from uair.codegen.onnx.target import OnnxTarget
from uair.ir.graph import Graph, Node
from uair.targets.check import node_flops
from uair.targets.verdict import Confidence, NodeVerdict, Source, Support

MOST_BATCH, MOST_EXTENT = 4096, 8192
GENERAL = Source("docs.nvidia.com, DLA layer restrictions (general)", "11.4.1", Confidence.DOCUMENTED)


class DlaTarget(OnnxTarget):
    """The accelerator as a target of its own: asked about nodes, never compiled for."""

    @property
    def opset(self) -> int:
        """That of the ONNX file that TensorRT reads."""
        return 17

    def verdict(self, node: Node) -> NodeVerdict:
        """The verdict on a layer as it is: TensorRT's parser decomposes nothing for the accelerator."""
        problem = _general_problem(node)
        if problem:
            return NodeVerdict(Support.UNSUPPORTED, problem, source=GENERAL)
        barrier = self._barrier(node)
        return barrier if barrier is not None else self.direct_verdict(node)


@functools.cache
def dla() -> DlaTarget:
    """The accelerator."""
    return DlaTarget("jetson_orin_dla", file=Path(__file__).with_name("dla.toml"))


def _general_problem(node: Node) -> str:
    """What no layer on the accelerator may have; empty when nothing is wrong."""
    for tensor in (*node.inputs, *node.outputs):
        if tensor is None or tensor.is_constant:
            continue
        if not tensor.type.is_static:
            return f"the accelerator takes fixed sizes only, a value is {tensor.type}"
        batch, *rest = tensor.type.dims or (1,)
        if batch > MOST_BATCH or any(extent > MOST_EXTENT for extent in rest):  # type: ignore[operator]
            return f"at most {MOST_BATCH} in a batch and {MOST_EXTENT} along other axes, a value is {tensor.type}"
    return ""


def placement(graph: Graph, names: Mapping[Node, str]) -> dict[str, Any]:
    """The expected placement of every node, as plain data.

    Args:
        graph: main graph of the float model.
        names: name of the ONNX node of each.
    """
    rows = list(_rows(graph, names))
    flops = sum(row["flops"] or 0 for row in rows)
    there = sum(row["flops"] or 0 for row in rows if row["device"] == "DLA")
    changes = sum(a["device"] != b["device"] for a, b in zip(rows, rows[1:], strict=False))
    return {
        "layers": rows,
        "on_dla": sum(row["device"] == "DLA" for row in rows),
        "on_gpu": sum(row["device"] == "GPU" for row in rows),
        "flops_share_on_dla": there / flops if flops else None,
        "changes_of_device": changes,
        "confidence": "uncertain",
        "note": "expected from documents: trtexec --verbose says where each layer really went",
    }


def _rows(graph: Graph, names: Mapping[Node, str]) -> Iterator[dict[str, Any]]:
    for node in graph:
        verdict = dla().verdict(node)
        on_dla = verdict.support is Support.SUPPORTED
        yield {
            "layer": names[node],
            "operator": node.op_type,
            "device": "DLA" if on_dla else "GPU",
            "reason": "" if on_dla else verdict.reason,
            "confidence": verdict.confidence.value,
            "source": str(verdict.source or ""),
            "flops": node_flops(node),
        }
