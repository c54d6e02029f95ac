"""The HHB route: an ONNX model in float, calibration data, and the command line of T-Head's own compiler.

Source of options and formats: `hhb --help` of HHB 3.2.3, and runs of it (tests/vendor/test_thead.py).
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence

import attrs

MODEL, CALIBRATION, SCRIPT = "hhb.onnx", "calibration.npz", "build_hhb.sh"
NAMES = "[A-Za-z_][A-Za-z0-9_]*"
"""HHB separates names with ';' and replaces what C does not allow in them."""

NO_SAMPLES = """
# HHB chooses the ranges of activations itself, from samples: give them as --calibrate-dataset samples.npz, with an
# array for every input whose first axis counts the samples.
"""


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
        needs = NO_SAMPLES if self.scheme.startswith("int") and not self.calibration else ""
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
