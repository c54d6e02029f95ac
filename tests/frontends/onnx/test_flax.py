"""What networks of Flax look like in ONNX: few operators in the IR, and the numbers that JAX computes.

The files are made by flax_models.py.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

import uair
from tests.codegen.onnx.running import run as run_onnx
from uair.codegen.reference import run
from uair.passes.recognize_attention import RecognizeAttention
from uair.pipeline import PassContext, PassManager, Verify

FOLDER = Path(__file__).with_name("flax_networks")
FOUND = {
    "encoder": {"LayerNorm": 2, "Attention": 1, "Linear": 6, "Gelu": 1},
    "decoder": {"RMSNorm": 2, "Attention": 1, "Linear": 8, "Swish": 1, "Gather": 1, "LogSoftmax": 1},
    "sequence": {
        **{"Conv1D": 1, "LayerNorm": 2, "Gelu": 1, "Softplus": 1, "Elu": 1, "LeakyRelu": 1, "HardSigmoid": 1},
        **{"Clip": 1, "ReduceMax": 1, "Linear": 1, "Softmax": 1},
    },
}
"""What computes; Reshapes, Transposes, sums and casts are not counted."""
BESIDE = ("Reshape", "Transpose", "Add", "Mul", "Cast", "Squeeze", "Unsqueeze")


@pytest.mark.parametrize("name", sorted(FOUND))
def test_networks_of_flax(name: str, tmp_path: Path) -> None:
    with np.load(FOLDER / f"{name}.npz") as arrays:
        x, want = arrays["x"], arrays["y"]
    module = uair.optimize(uair.load(FOLDER / f"{name}.onnx"))
    (given,) = module.main.input_names
    uair.export_onnx(module, tmp_path / "written.onnx")
    module = PassManager([RecognizeAttention()], [Verify()], PassContext()).run(module)
    kinds = Counter(node.op_type for node in module.main)
    assert {kind: count for kind, count in kinds.items() if kind not in BESIDE} == FOUND[name]
    (found,) = run(module, {given: x}).values()
    (written,) = run_onnx(str(tmp_path / "written.onnx"), {given: x}).values()
    for got in (found, written):
        np.testing.assert_allclose(got, want, rtol=1e-5, atol=2e-6)
