"""The Ascend device files: the numbers hang together, and the chips differ where their sources say so."""

from __future__ import annotations

import re

import numpy as np
import pytest

from tests.targets.helpers import make
from uair.context import Context
from uair.ir.dtype import DType
from uair.ops import (
    Conv2D,
    Conv3D,
    NonMaxSuppression,
    NonZero,
    Relu,
)
from uair.targets import Confidence, Support, Target, load_description

NAMES = ("ascend310", "ascend310p", "ascend310b", "ascend910b")
X = "f32[1,4,16,16]"


def target(name: str) -> Target:
    found: Target = Context.default().target(name)
    return found


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


def test_transfers_end_at_any_byte_on_newer_chips_only() -> None:
    told = {n: load_description(n).transfer for n in NAMES}
    assert {n: t and (t.unit, t.longest, t.blocks, t.gap) for n, t in told.items()} == dict.fromkeys(
        NAMES, (32, 65535, 4095, 65535)
    )
    assert [t and t.exact for t in told.values()] == [None, None, 2097151, 2097151]


def test_the_sources_of_a_chip_are_its_own() -> None:
    for name, chip in zip(
        NAMES, ("Ascend310.ini", "Ascend310P3.ini", "Ascend310B1.ini", "Ascend910B1.ini"), strict=True
    ):
        assert chip in load_description(name).sources["platform"].document
        assert np.isfinite(load_description(name).compute.clock)
