"""Verdicts: what each target says about nodes, with clause and source; a constraint that is false decides."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.targets.helpers import ListedTarget, dequantized, make, tensor
from tests.targets.negatives import all_cases
from uair.codegen.onnx.target import OnnxTarget
from uair.codegen.reference import ReferenceTarget
from uair.ir.dtype import DType
from uair.ir.graph import Node
from uair.ops import (
    LRN,
    Acosh,
    Add,
    AvgPool2D,
    Cast,
    Concat,
    Conv2D,
    ConvTranspose2D,
    Div,
    Erf,
    Gather,
    Gelu,
    HardSwish,
    Identity,
    LayerNorm,
    MatMul,
    MaxPool2D,
    MaxPool3D,
    Mish,
    NonZero,
    Opaque,
    Pad,
    Pow,
    Quantize,
    ReduceL2,
    Relu,
    Resize,
    Selu,
    Slice,
    Softsign,
    Sqrt,
    Swish,
    Transpose,
)
from uair.targets import Confidence, Support, Target
from uair.targets.errors import NoEmitter
from uair.text import parse_type

ASCEND = OnnxTarget("ascend310")
RK3588 = OnnxTarget("rk3588")
CPU = OnnxTarget("cpu")
REFERENCE = ReferenceTarget("reference")

X = "f32[1,4,16,16]"


def quantized(op: object, *operands: str | float) -> Node:
    """The operator inside a quantized model: its first operand comes from Dequantize."""
    from uair.ops.base import Operator

    assert isinstance(op, Operator)
    first, *rest = operands
    return op.node(dequantized(str(first)), *(tensor(o) for o in rest))


# One node per constraint of the files: (target, node, verdict, failing clause).
NEGATIVE: list[tuple[Target, Node, Support, str]] = [
    (RK3588, make(Conv2D(pads=(9, 9, 9, 9)), X, "=f32[8,4,33,33]"), Support.PARTIAL, "max(kernel) <= 31"),
    (RK3588, make(Conv2D(strides=(8, 8)), X, "=f32[8,4,3,3]"), Support.PARTIAL, "max(strides) <= 7"),
    (RK3588, make(Conv2D(pads=(16, 0, 0, 0)), X, "=f32[8,4,3,3]"), Support.UNKNOWN, "max(pads) <= 15"),
    (RK3588, make(Conv2D(dilations=(32, 1)), "f32[1,4,99,99]", "=f32[8,4,3,3]"), Support.UNKNOWN,
     "max(dilations) <= 31"),
    (RK3588, make(Conv2D(groups=4), X, "=f32[4,1,10,10]"), Support.UNKNOWN, "not depthwise or max(kernel) <= 9"),
    (RK3588, make(ConvTranspose2D(strides=(3, 3)), X, "=f32[4,8,3,3]"), Support.PARTIAL,
     "all(strides in [1, 2, 4, 8])"),
    (RK3588, make(ConvTranspose2D(), X, "=f32[4,8,32,3]"), Support.UNKNOWN, "max(kernel) <= 31"),
    (RK3588, make(ConvTranspose2D(groups=2), X, "=f32[4,8,3,3]"), Support.UNKNOWN, "groups == 1 or depthwise"),
    (RK3588, make(ConvTranspose2D(dilations=(2, 2)), X, "=f32[4,8,3,3]"), Support.UNKNOWN,
     "all(dilations == 1) or all(kernel == 1)"),
    (RK3588, make(MaxPool2D(kernel=(13, 13)), X), Support.PARTIAL, "max(kernel) <= 7"),
    (RK3588, make(MaxPool2D(kernel=(2, 2), strides=(9, 1)), X), Support.UNKNOWN, "max(strides) <= 8"),
    (RK3588, make(MaxPool2D(kernel=(2, 2)), "f32[1,9000,4,4]"), Support.UNKNOWN, "all(x.shape <= 8192)"),
    (RK3588, make(AvgPool2D(kernel=(2, 2), pads=(1, 1, 0, 0)), X), Support.PARTIAL,
     "count_include_pad or all(pads == 0)"),
    (RK3588, make(AvgPool2D(kernel=(3, 3), strides=(2, 2), ceil_mode=True), X), Support.PARTIAL, "not ceil_mode"),
    (RK3588, make(AvgPool2D(kernel=(8, 8)), X), Support.UNKNOWN, "max(kernel) <= 7"),
    (RK3588, make(AvgPool2D(kernel=(2, 2), strides=(9, 1)), X), Support.UNKNOWN, "max(strides) <= 8"),
    (RK3588, make(AvgPool2D(kernel=(2, 2)), "f32[1,9000,4,4]"), Support.UNKNOWN, "all(x.shape <= 8192)"),
    (RK3588, make(MatMul(), "f32[4,9000]", "f32[9000,4]"), Support.PARTIAL, "a.shape[-1] <= 8192"),
    (RK3588, make(Concat(axis=4), "f32[1,2,3,4,5]", "f32[1,2,3,4,5]"), Support.UNKNOWN, "-4 <= axis <= 3"),
    (RK3588, make(Slice(axes=(2,), starts=(0,), ends=(16,), steps=(2,)), X), Support.PARTIAL, "all(steps == 1)"),
    (RK3588, make(Transpose(perm=(5, 4, 3, 2, 1, 0)), "f32[1,2,3,4,5,6]"), Support.PARTIAL, "x.rank <= 4"),
    (RK3588, make(Pad(pads=(1, 1), mode="wrap"), "f32[4]"), Support.UNKNOWN, 'mode in ["constant", "reflect", "edge"]'),
    (RK3588, make(Resize(sizes=(1, 4, 32, 32), mode="cubic"), X), Support.UNSUPPORTED, 'mode != "cubic"'),
    (RK3588, make(Resize(sizes=(1, 4, 32, 32), mode="linear", coordinate_mode="align_corners"), X), Support.PARTIAL,
     'coordinate_mode != "align_corners"'),
    (RK3588, make(Resize(sizes=(1, 4, 24, 24), mode="linear"), X), Support.PARTIAL, "y.shape[2] / x.shape[2] in"),
    (RK3588, make(Resize(sizes=(1, 4, 32)), "f32[1,4,16]"), Support.UNKNOWN, "x.rank == 4"),
    (RK3588, make(Gather(), "f32[10,4]", "i64[3]"), Support.PARTIAL, "indices.is_constant"),
    (RK3588, make(Gather(axis=4), "f32[1,2,3,4,5]", "=i64[3]"), Support.UNKNOWN, "-4 <= axis <= 3"),
    (RK3588, make(Gelu(approximate="tanh"), X), Support.UNKNOWN, 'approximate == "none"'),
    (RK3588, make(Swish(alpha=1.702), X), Support.UNKNOWN, "alpha == 1"),
    (RK3588, quantized(Sqrt(), "i8[1,4]"), Support.PARTIAL, "not quantized"),
    (RK3588, quantized(ReduceL2(axes=(1,)), "i8[1,4]"), Support.PARTIAL, "not quantized"),
    (RK3588, Div().node(dequantized("i8[1,4]"), dequantized("i8[1,4]")), Support.PARTIAL,
     "b.is_constant or not quantized"),
    (RK3588, make(Pow(), X, X), Support.PARTIAL, "b.value in [0, 1, 2, 3, 0.5, -0.5]"),
    (RK3588, quantized(Pow(), "i8[1,4]", -0.5), Support.PARTIAL, "b.value not in [0.5, -0.5] or not quantized"),
    (RK3588, make(Cast(to=DType.I32), X), Support.PARTIAL, "to not in [f16, i32, i64]"),
    (RK3588, quantized(Acosh(), "i8[1,4]"), Support.UNSUPPORTED, "not quantized"),
    *all_cases(),
]  # fmt: skip


class WithQuantization(OnnxTarget):
    """Ascend's form of Quantize and Dequantize, which its codegen gives."""

    def emitted_ops(self, node: Node) -> Sequence[str] | None:
        own = {"Quantize": "AscendQuant", "Dequantize": "AscendDequant"}.get(node.op_type)
        return super().emitted_ops(node) if own is None else [own]


@pytest.mark.parametrize(
    ("target", "node", "support", "clause"), NEGATIVE, ids=[f"{t.name}-{n.op_type}-{c}" for t, n, _, c in NEGATIVE]
)
def test_constraint_that_fails(target: Target, node: Node, support: Support, clause: str) -> None:
    asked = WithQuantization("ascend310") if target is ASCEND else target
    verdict = asked.direct_verdict(node)  # as it is: some are then taken through their decomposition
    if node.op_type == "TopK":  # its result size depends on the data, which is refused before any constraint
        entries = [c for c in target.description.operators["TopK"].constraints if clause in c.entry.require]
        assert any(c.constraint.evaluate(node).truth is False for c in entries)
        return
    assert verdict.support is support
    assert clause in verdict.clause
    assert verdict.source is not None
    assert verdict.reason.startswith("needs ")


def test_conv_kernel_33_on_rk3588() -> None:
    node = make(Conv2D(pads=(16, 16, 16, 16)), X, "=f32[8,4,33,33]")
    verdict = RK3588.verdict(make(Conv2D(), "f32[1,4,64,64]", "=f32[8,4,33,33]"))
    assert verdict.support is Support.PARTIAL
    assert verdict.clause == "max(kernel) <= 31"
    assert verdict.values == "kernel = [33, 33]"
    assert "Operator List, 2.3.2" in str(verdict.source)
    assert verdict.on_device, "the toolkit splits it: it stays on the NPU"
    assert RK3588.verdict(node).support is Support.UNKNOWN, "the worst of two constraints decides"


def test_supported_as_they_are() -> None:
    for target in (ASCEND, RK3588, CPU, REFERENCE):
        for node in (
            make(Conv2D(pads=(1, 1, 1, 1)), X, "=f32[8,4,3,3]"),
            make(Relu(), X),
            make(Add(), X, X),
            make(MaxPool2D(kernel=(3, 3), strides=(2, 2)), X),
        ):
            verdict = target.verdict(node)
            assert (verdict.support, verdict.through, verdict.reason) == (Support.SUPPORTED, (), ""), (target, node)


def test_supported_through_rewrites() -> None:
    assert RK3588.verdict(make(Identity(), X)).through == ("eliminate Identity",)
    hardswish = ASCEND.verdict(make(HardSwish(), X))
    assert hardswish.support is Support.SUPPORTED
    assert hardswish.through == ("decompose HardSwish",)
    assert "after rewrite: decompose HardSwish" in str(hardswish)
    selu = RK3588.verdict(make(Selu(), X))  # for the CPU as it is, for the NPU in parts
    assert (selu.support, selu.through[0]) == (Support.SUPPORTED, "decompose Selu")
    assert RK3588.verdict(make(Softsign(), X)).support is Support.SUPPORTED
    norm = ASCEND.verdict(make(LayerNorm(), X, "=f32[16]", "=f32[16]"))  # not in opset 11
    assert (norm.support, norm.through[0]) == (Support.SUPPORTED, "decompose LayerNorm")
    assert RK3588.verdict(make(LayerNorm(), X, "=f32[16]", "=f32[16]")).through == ()


def test_patterns_that_the_vendor_recognises() -> None:
    """RKNN fuses decomposed Gelu, Swish and Mish; whole or in other forms they would go to the CPU."""
    for op in (Gelu(), Swish(), Mish()):
        verdict = RK3588.verdict(make(op, X))
        assert (verdict.support, verdict.through) == (Support.SUPPORTED, (f"decompose {op.op_type}",))
        assert RK3588.must_decompose(make(op, X))
    assert RK3588.verdict(make(Erf(), X)).support is Support.PARTIAL
    scaled = RK3588.verdict(make(Swish(alpha=1.702), X))  # not the pattern that was measured, but its parts are taken
    assert scaled.support is Support.SUPPORTED
    assert not RK3588.must_decompose(make(Relu(), X))


def test_refused() -> None:
    opaque = Opaque(kind="Foo", result_types=(parse_type("f32[4]"),))
    for target, node, words in (
        (RK3588, make(MaxPool3D(kernel=(2, 2, 2)), "f32[1,2,4,4,4]"), "SIGABRT"),
        (RK3588, make(NonZero(), X), "depends on the data"),
        (ASCEND, make(NonZero(), X), "depends on the data"),
        (ASCEND, make(Relu(), "f64[4]"), "element type f64 is not accepted"),
        (RK3588, make(Relu(), "bf16[4]"), "element type bf16 is not accepted"),
        (REFERENCE, make(opaque, "f32[4]"), "does not know their meaning"),
        (ASCEND, make(Quantize(), X, 0.1), "QuantizeLinear"),
    ):
        verdict = target.verdict(node)
        assert verdict.support is Support.UNSUPPORTED, (target, node)
        assert words in verdict.reason, verdict
    assert CPU.verdict(make(NonZero(), X)).support is Support.SUPPORTED
    assert ASCEND.verdict(make(Relu(), "f64[4]")).suggestion.startswith(
        "convert the model to f32: uair opt MODEL -p to-f32 "
    )


def test_partial_and_uncertain() -> None:
    lrn = RK3588.verdict(make(LRN(size=5, beta=0.6), X))
    assert (lrn.support, lrn.confidence, lrn.on_device) == (Support.PARTIAL, Confidence.UNCERTAIN, False)
    assert lrn.suggestion
    json = lrn.to_json()
    assert (json["support"], json["confidence"], json["on_device"]) == ("partial", "uncertain", False)


def test_through_a_rewrite_of_the_device_file() -> None:
    lrn = RK3588.verdict(make(LRN(size=5), X))
    assert (lrn.support, lrn.on_device) == (Support.SUPPORTED, True)
    assert lrn.through == ("lrn-by-convolution",)
    assert RK3588.rewrite_for(make(LRN(size=5), X)) == "lrn-by-convolution"
    assert RK3588.rewrite_for(make(LRN(size=5, beta=0.6), X)) == ""
    assert RK3588.rewrite_for(make(Relu(), X)) == ""
    assert not RK3588.must_decompose(make(LRN(size=5), X))


def test_symbolic_sizes() -> None:
    verdict = RK3588.verdict(make(MatMul(), "f32[4,n]", "f32[n,4]"))
    assert verdict.support is Support.UNKNOWN
    assert "a.shape[-1] = n" in verdict.reason
    assert "--shape" in verdict.suggestion
    assert RK3588.verdict(make(Relu(), "f32[n,4]")).support is Support.SUPPORTED


def test_list_by_onnx_name() -> None:
    listed = ListedTarget("ascend310")
    assert listed.verdict(make(Conv2D(), X, "=f32[8,4,3,3]")).support is Support.SUPPORTED
    missing = listed.direct_verdict(make(Mish(), X))
    assert missing.support is Support.UNSUPPORTED
    assert "ONNX Mish (opset 11) is not in the vendor's list" in missing.reason
    assert "2022-06" in str(missing.source)
    silent = Target("ascend310").verdict(make(Relu(), X))  # a target that cannot say what it would emit
    assert (silent.support, silent.confidence) == (Support.UNKNOWN, Confidence.UNCERTAIN)


def test_a_target_from_a_file_alone(tmp_path: Path) -> None:
    from uair.artifact import ArtifactBuilder
    from uair.ir.module import Module
    from uair.request import CompileRequest

    file = tmp_path / "toy.toml"
    file.write_text(
        'schema = 1\nname = "toy"\ntitle = "Toy"\nvendor = "T"\nsoc = "T"\nsummary = ""\nunlisted = "unsupported"\n'
        "static_shapes = false\nsources = {}\n[toolchain]\nname = 'toycc'\n[dtypes]\naccepted = ['f32']\n"
        "computed = ['f32']\nfloat = 'f32'\n[compute]\ncores = 1\n[alignment]\nbytes = 1\n"
        "[[operator]]\nnames = ['Add', 'Mul']\nsupport = 'supported'\n"
        "[[operator]]\nnames = ['HardSwish']\nsupport = 'partial'\nstays = true\n"
        "[[operator]]\nnames = ['Erf']\nsupport = 'unknown'\n"
    )
    toy = Target("toy", file=file)
    assert (toy.requires_static, toy.onnx_opset, toy.quantization) == (False, None, None)
    assert toy.verdict(make(Add(), X, X)).support is Support.SUPPORTED
    assert "not among the operators of Toy" in toy.verdict(make(Relu(), X)).reason
    assert toy.verdict(make(HardSwish(), X)).through == (), "partial, and its parts are not taken either"
    assert toy.verdict(make(HardSwish(), X)).on_device
    assert toy.legalise() == ()
    assert "toy: Toy" in toy.describe()
    with pytest.raises(NoEmitter, match="writes no files"):
        toy.emit(Module(), ArtifactBuilder(tmp_path), CompileRequest("toy"))
