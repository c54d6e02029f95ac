"""The Ascend device files: every constraint of every file fails for some node, and the numbers hang together."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
import pytest

from tests.targets.helpers import dequantized, make, tensor
from uair.context import Context
from uair.ir.dtype import DType
from uair.ir.graph import Node, constant
from uair.ops import (
    Conv2D,
    Conv3D,
    ConvTranspose1D,
    ConvTranspose2D,
    ConvTranspose3D,
    Dequantize,
    NonMaxSuppression,
    NonZero,
    Quantize,
    Relu,
    ScatterND,
    TopK,
)
from uair.ops.base import Operator
from uair.targets import Confidence, Support, Target, load_description

NAMES = ("ascend310", "ascend310p", "ascend310b", "ascend910b")
X = "f32[1,4,16,16]"


def quantized(op: Operator, first: str, *rest: str) -> Node:
    return op.node(dequantized(first), *(tensor(r) for r in rest))


NEGATIVE: list[tuple[Node, Support, str]] = [
    (Quantize(dtype=DType.U8).node(tensor(X), constant(0.1), None), Support.UNSUPPORTED, "dtype == i8"),
    (make(Quantize(axis=1), X, "=f32[4]"), Support.UNSUPPORTED, "axis == none or x.is_constant"),
    (make(Quantize(), X, 1e-9), Support.UNSUPPORTED, "scale.value == none or scale.value >= 1.1920929e-7"),
    (make(Quantize(), X, 1e7), Support.UNSUPPORTED, "scale.value == none or scale.value <= 8388608"),
    (make(Dequantize(), "u8[4]", 0.1), Support.UNSUPPORTED, "x.dtype in [i8, i32]"),
    (quantized(ConvTranspose2D(dilations=(2, 2)), "i8[1,4,8,8]", "=f32[4,8,3,3]"), Support.UNSUPPORTED,
     "not quantized or all(dilations == 1)"),
    (quantized(ConvTranspose1D(), "i8[1,4,8]", "=f32[4,8,3]"), Support.UNSUPPORTED, "not quantized"),
    (quantized(ConvTranspose3D(), "i8[1,4,8,8,8]", "=f32[4,8,3,3,3]"), Support.UNSUPPORTED, "not quantized"),
    (quantized(Conv3D(dilations=(2, 1, 1)), "i8[1,4,8,8,8]", "=f32[8,4,3,3,3]"), Support.UNSUPPORTED,
     "not quantized or dilation_d == 1"),
    (make(TopK(), "f32[9]", "i64[1]"), Support.UNSUPPORTED, "k != none"),
    (make(ScatterND(), "f32[4,4]", "i64[2,1]", "f32[2,4]"), Support.UNKNOWN, "indices.is_constant"),
]  # fmt: skip


def target(name: str) -> Target:
    found: Target = Context.default().target(name)
    return found


def failing(name: str) -> Sequence[tuple[str, str]]:
    """Operators and constraints of a file that no node above makes fail."""
    table = target(name).description.operators
    left: list[tuple[str, str]] = []
    for operator, support in table.items():
        for each in support.constraints:
            nodes = [n for n, _, _ in NEGATIVE if n.op_type == operator]
            if not any(each.constraint.evaluate(n).truth is False for n in nodes):
                left.append((operator, each.entry.require))
    return left


@pytest.mark.parametrize("name", NAMES)
def test_every_constraint_fails_for_some_node(name: str) -> None:
    assert not failing(name)
    assert sum(len(s.constraints) for s in target(name).description.operators.values()) == len(NEGATIVE)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("node", "support", "clause"), NEGATIVE, ids=[f"{n.op_type}-{c}" for n, _, c in NEGATIVE])
def test_constraint_that_fails(name: str, node: Node, support: Support, clause: str) -> None:
    verdict = target(name).direct_verdict(node)
    assert verdict.support is support and clause in verdict.clause
    assert verdict.source is not None and verdict.reason


@pytest.mark.parametrize("name", NAMES)
def test_what_depends_on_the_data(name: str) -> None:
    boxes = make(NonMaxSuppression(), "f32[1,9,4]", "f32[1,1,9]", "=i64[1]", 0.5, 0.1)
    for node in (boxes, make(NonZero(), X)):
        verdict = target(name).verdict(node)
        entry = target(name).direct_verdict(node)
        static = name in ("ascend310", "ascend310b")
        assert verdict.support is (Support.UNSUPPORTED if static else Support.UNKNOWN)
        assert entry.support is (Support.UNSUPPORTED if name == "ascend310" else Support.UNKNOWN)
        assert "depend" in verdict.reason


@pytest.mark.parametrize("name", NAMES)
def test_plain_nodes_are_taken_and_doubles_are_not(name: str) -> None:
    assert target(name).verdict(make(Conv2D(), X, "=f32[8,4,3,3]")).support is Support.SUPPORTED
    assert target(name).verdict(make(Relu(), "f64[4]")).support is Support.UNSUPPORTED
    wide = target(name).verdict(make(Relu(), "bf16[4]")).support
    assert wide is (Support.SUPPORTED if name in ("ascend310b", "ascend910b") else Support.UNSUPPORTED)
    unsure = target(name).verdict(make(Conv3D(), "f32[1,4,8,8,8]", "=f32[8,4,3,3,3]"))
    assert (unsure.support, unsure.confidence) == (Support.UNKNOWN, Confidence.UNCERTAIN)


@pytest.mark.parametrize("name", NAMES)
def test_peak_is_what_the_cores_make(name: str) -> None:
    compute = load_description(name).compute
    assert compute.peak[DType.F16] == pytest.approx(compute.cores * 16**3 * 2 * compute.clock / 1e12, rel=0.01)
    assert compute.peak[DType.I8] == pytest.approx(2 * compute.peak[DType.F16], rel=0.01)


def test_the_chips_differ_where_the_platform_files_do() -> None:
    told = {n: load_description(n) for n in NAMES}
    level = {n: {m.name: m.bytes for m in d.memory if m.bytes} for n, d in told.items()}
    kib = {n: [size // 1024 for size in sizes.values()] for n, sizes in level.items()}
    assert kib == {
        "ascend310": [248, 1024, 64, 64, 256, 8192],
        "ascend310p": [256, 1024, 64, 64, 256, 16384],
        "ascend310b": [248, 1024, 64, 64, 128, 4096],
        "ascend910b": [192, 512, 64, 64, 128, 196608],
    }
    assert {n: d.static_shapes for n, d in told.items()} == {
        "ascend310": True, "ascend310p": False, "ascend310b": True, "ascend910b": False,
    }  # fmt: skip
    assert {n: d.detection.pci for n, d in told.items()} == {
        "ascend310": ("19e5:d100",), "ascend310p": ("19e5:d500",), "ascend310b": (), "ascend910b": ("19e5:d802",),
    }  # fmt: skip
    assert {n: (d.onnx.opset, d.onnx.newest) for n, d in told.items() if d.onnx} == {
        "ascend310": (11, 15), "ascend310p": (13, 18), "ascend310b": (13, 18), "ascend910b": (13, 18),
    }  # fmt: skip
    assert told["ascend910b"].compute.confidence is Confidence.UNCERTAIN


@pytest.mark.parametrize("name", NAMES)
def test_lists_hold_what_their_release_registers(name: str) -> None:
    listed = load_description(name).onnx_operators or frozenset()
    assert {"AscendQuant", "AscendDequant", "AscendAntiQuant", "Conv", "Einsum", "If", "Constant"} <= listed
    assert not {"QuantizeLinear", "DequantizeLinear", "Loop", "Scan", "QLinearConv", "LayerNormalization"} & listed
    assert ("NPUFastGelu" in listed) == (name != "ascend310")
    assert all(re.fullmatch(r"[A-Za-z0-9]+", n) for n in listed)


def test_the_sources_of_a_chip_are_its_own() -> None:
    for name, chip in zip(
        NAMES, ("Ascend310.ini", "Ascend310P3.ini", "Ascend310B1.ini", "Ascend910B1.ini"), strict=True
    ):
        assert chip in load_description(name).sources["platform"].document
        assert np.isfinite(load_description(name).compute.clock)
