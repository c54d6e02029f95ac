"""The HHB route: an ONNX model in float, calibration data, and the command line of T-Head's own compiler.

Source of options and formats: `hhb --help` of HHB 3.2.3, and runs of it (tests/vendor/test_thead.py).
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence

import attrs

from uair.ir.graph import Graph, Tensor, constant
from uair.ir.module import Module
from uair.ops import Dequantize, Quantize
from uair.quant.view import quantized_operand

MODEL, CALIBRATION, SCRIPT = "hhb.onnx", "calibration.npz", "build_hhb.sh"
NAMES = "[A-Za-z_][A-Za-z0-9_]*"
"""HHB separates names with ';' and replaces what C does not allow in them."""


@attrs.frozen
class HhbCommand:
    """What HHB is told.

    Attributes:
        board: `--board`.
        scheme: `--quantization-scheme`.
        inputs: names and shapes, in order.
        outputs: names, in order.
        calibration: name of the file of samples; empty for none.
    """

    board: str
    scheme: str
    inputs: Sequence[tuple[str, Sequence[int]]]
    outputs: Sequence[str]
    calibration: str = ""

    def arguments(self) -> list[str]:
        """Everything but the action and the output."""
        shapes = (" ".join(map(str, shape)) for _, shape in self.inputs)
        options = {
            "--model-file": MODEL,
            "--model-format": "onnx",
            "--input-name": ";".join(name for name, _ in self.inputs),
            "--input-shape": ";".join(shapes),
            "--output-name": ";".join(self.outputs),
            "--board": self.board,
            "--quantization-scheme": self.scheme,
        }
        if self.calibration:
            options["--calibrate-dataset"] = self.calibration
        return [part for option in options.items() for part in option]

    def script(self, version: str) -> str:
        """build_hhb.sh."""
        arguments = " \\\n  ".join(
            f"{option} {shlex.quote(value)}" for option, value in zip(*[iter(self.arguments())] * 2, strict=True)
        )
        needs = (
            ""
            if self.calibration or not self.scheme.startswith("int")
            else "\n# HHB chooses the ranges of activations itself, from samples: give them as --calibrate-dataset samples.npz, an\n"
            "# array for every input in it whose first axis counts the samples.\n"
        )
        return f"""#!/bin/sh
# Compiles {MODEL} with HHB {version}: C source and parameters (-C, the default), or an executable (-D, needs T-Head's
# compiler for RISC-V in PATH).
#
#   PATH=/path/to/hhb/bin:$PATH sh build_hhb.sh [-C | -D] [options of hhb]
#
# What it writes goes to hhb_out.
{needs}set -eu
cd "$(dirname "$0")"
case "${{1:-}}" in
  -C | -D) action=$1 && shift ;;
  *) action=-C ;;
esac
exec hhb "$action" --output hhb_out \\
  {arguments} "$@"
"""


def real_module(module: Module) -> Module:
    """A copy without Quantize and Dequantize: HHB quantizes by itself. Weights keep the values that they were rounded to."""
    result = module.clone()
    for graph in result.graphs.values():
        _drop_integers(graph)
    return result


def _drop_integers(graph: Graph) -> None:
    for node in graph:
        if isinstance(node.op, Dequantize):
            graph.replace(node, [_source(node.output)])
    for node in reversed(graph):
        if isinstance(node.op, (Quantize, Dequantize)) and not node.output.use_count:
            graph.remove(node)


def _source(tensor: Tensor) -> Tensor:
    """What a dequantized tensor was before it was quantized, or its values when it is constant."""
    operand = quantized_operand(tensor)
    node = tensor.producer
    if operand is None or node is None:
        return tensor
    if operand.source is not None:
        return operand.source
    if operand.integers.is_constant:
        return constant(node.op.evaluate(*(None if t is None else t.numpy() for t in node.inputs)), tensor.name)
    return tensor
