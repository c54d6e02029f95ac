"""Logs of vendors' tools: lines as the tools wrote them, and what UAIR says of them."""

from __future__ import annotations

import re

import pytest

from uair.codegen.ascend.log import BISHENGIR_RULES as BISHENGIR
from uair.codegen.ascend.log import RULES as ATC
from uair.codegen.horizon.log import RULES as HORIZON
from uair.codegen.rockchip.log import RULES as RKNN
from uair.codegen.tensorrt.log import RULES as TRTEXEC
from uair.codegen.thead.log import RULES as HHB
from uair.targets.logs import LogRule, errors, read_log
from uair.targets.verdict import Confidence

ATC_LOG = """\
ATC start working now, please wait for a moment...
ATC run failed, Please check the detail log, Try 'atc --help' for more information
E19010: No parser is registered for Op [/down_blocks.1/attentions.0/tome1/FindMax, optype [ai.onnx::11::FindMax]].
        Solution: Check the version of the installation package and reinstall the package. For details, see the \
operator specifications.
        TraceBack (most recent call last):
        No parser is registered for Op [/down_blocks.1/attn1/UnpadFlashAttentionMix, optype \
[ai.onnx::11::UnpadFlashAttentionMix]].
        ATC model parse ret fail.[FUNC:ParseGraph][FILE:omg.cc][LINE:787]
"""
RKNN_LOG = """\
W rknn-toolkit2 version: 1.5.2+b642f30c
E load_onnx: Unsupport onnx opset 19, need <= 12!
W load_onnx: ===================== WARN(1) =====================
E load_onnx: Traceback (most recent call last):
E load_onnx:   File "rknn/api/rknn_base.py", line 1489, in rknn.api.rknn_base.RKNNBase.load_onnx
E load_onnx: ValueError: Unsupport onnx opset 19, need <= 12!
"""
TRT_LOG = """\
&&&& RUNNING TensorRT.trtexec [TensorRT v100400] [b26] # trtexec --onnx=m.onnx --saveEngine=m.plan --useDLACore=0
[11/04/2022-10:33:44] [TRT] [I] No importer registered for op: TRTInstanceNormalization. Attempting to import as plugin.
[10/14/2024-23:52:59] [TRT] [W] Layer '/model.22/Slice_1' (SLICE): Unsupported on DLA. Switching this layer's device \
type to GPU.
WARNING: [TRT]: Default DLA is enabled but layer leaky_1 is not supported on DLA, falling back to GPU.
While parsing node number 2 [Mish -> "001_convolutional_mish"]:
[8] No importer registered for op: Mish
&&&& FAILED TensorRT.trtexec [TensorRT v100400] [b26] # trtexec --onnx=m.onnx
"""

BISHENGIR_LOG = """\
[ERROR] Cannot find hivmc under $PATH
[ERROR] Failed to run `hivmc --version`.
[WARNING] Failed to detect hivmc version for backward compatibility
loc("bad3.mlir":0:0): error: Failed to run BiShengHIR pipeline

loc("bad3.mlir":2:6): error: failed to legalize operation 'linalg.add' that was explicitly marked illegal
[ERROR] Failed to run BiShengIR pipeline
"""


def test_bishengir_says_which_operation_it_does_not_lower() -> None:
    found = read_log(BISHENGIR_LOG.splitlines(), BISHENGIR)
    assert [(f.level, f.number) for f in found] == [("warning", 1), ("error", 6)]
    assert found[1].meaning == "the compiler has no lowering for linalg.add"


def test_atc_names_every_node_that_it_has_no_parser_for() -> None:
    found = read_log(ATC_LOG.splitlines(), ATC)
    assert [(f.code, f.node, f.number) for f in found] == [
        ("E19010", "/down_blocks.1/attentions.0/tome1/FindMax", 3),
        ("E19010", "/down_blocks.1/attn1/UnpadFlashAttentionMix", 6),
    ]
    assert found[0].meaning == "ATC has no parser for ONNX FindMax at opset 11"
    assert "uair check" in found[0].advice
    assert found[0].describe().startswith("E19010: ATC has no parser")


def test_the_toolkit_says_the_same_thing_twice() -> None:
    (finding,) = read_log(RKNN_LOG.splitlines(), RKNN)
    assert finding.meaning == "the toolkit reads ONNX up to opset 12, the model is at 19"
    assert finding.line == "E load_onnx: Unsupport onnx opset 19, need <= 12!"


def test_trtexec_falls_back_and_fails() -> None:
    found = read_log(TRT_LOG.splitlines(), TRTEXEC)
    assert [(f.level, f.node) for f in found] == [
        ("warning", "/model.22/Slice_1"),
        ("warning", "leaky_1"),
        ("error", "001_convolutional_mish"),
        ("error", ""),
        ("error", ""),
    ]
    assert [f.meaning for f in errors(found)] == [
        "the parser stopped at node 2, an ONNX Mish",
        "TensorRT has no importer for ONNX Mish",
        "trtexec gave up",
    ]


LINES = [
    (ATC, "E16002: No ONNX parser is registered for optype ai.onnx::11::GridSample", "ONNX GridSample at opset 11"),
    (
        ATC,
        "EZ3002: Optype [Conv2D] of Ops kernel [AIcoreEngine] is unsupported. Reason: Dynamic shape is not supported "
        "on this chip!",
        "static shapes only",
    ),
    (
        ATC,
        "Failed to compile Op [/model/layers.19/self_attn/Slice_ascend_mbatch_batch_5]. (optype: [StridedSliceD])",
        "the kernel of GE operator StridedSliceD could not be compiled",
    ),
    (ATC, "op[Add_718] dtype is not same, DT_INT64 vs DT_INT32", "different element types, DT_INT64 and DT_INT32"),
    (ATC, "E19999: The opp version of the model does not match", "another release of the operator package"),
    (ATC, "E40021: something else", "something else"),
    (ATC, "Not support scale greater than 1 / FLT_EPSILON", "a channel of a quantized weight is all zero"),
    (RKNN, "E build: ValueError: Not support 'Dropout' of opset-9!", "does not know Dropout at opset 9"),
    (RKNN, "ValueError: The 'input' in inputs=['input', 'sr'] is invalid!", "folded the input input away"),
    (RKNN, "E build: ValueError: cannot convert float NaN to integer", "is not finite"),
    (RKNN, "E build: TypeError: '>' not supported between 'numpy.ndarray' and 'str'", "TypeError: '>' not supported"),
    (
        RKNN,
        "E build: If a quantized model has been import, please set do_quantization = False.",
        "quantized already",
    ),
    (TRTEXEC, "Calibration table does not match calibrator algorithm type", "another version of TensorRT"),
    (TRTEXEC, "Assertion failed: TensorRT only supports symmetric quantization", "a zero point is not 0"),
    (TRTEXEC, "CUDA initialization failure with error: 35", "CUDA cannot be initialised (error 35)"),
    (
        HORIZON,
        "ERROR The opset version of the onnx model is 13, only model with opset_version 10/11 is supported",
        "reads ONNX at opset 10/11, the model is at 13",
    ),
    (HORIZON, "ValueError: Not support layer name=accuracy type=Accuracy", "the tool does not know Accuracy"),
    (
        BISHENGIR,
        "bishengir-compile: for the --target option: Cannot find option named 'Ascend310'!",
        "does not know the chip Ascend310",
    ),
    (BISHENGIR, 'loc("bad2.mlir":1:14): error: expected non-function type', "line 1, column 14: expected non-function"),
    (BISHENGIR, "terminate called after throwing an instance of 'std::out_of_range'", "crashed (std::out_of_range)"),
    (
        HHB,
        "tvm.error.OpNotImplemented: The following operators are not supported for frontend ONNX: FooBar",
        "HHB does not know FooBar",
    ),
    (
        HHB,
        "HHB: error: argument --board: invalid choice: 'th9999' (choose from 'th1520', 'e907', 'c906')",
        "the value th9999 of --board",
    ),
    (HHB, "KeyError: 'zz'", "the model has no input or output zz"),
    (HHB, "FileNotFoundError: [Errno 2] No such file or directory: 'c.npz'", "c.npz is missing"),
    (HHB, "main.c:(.text+0x1f): undefined reference to `csinn_foo'", "the installed SHL library has no csinn_foo"),
]


@pytest.mark.parametrize(("rules", "line", "meaning"), LINES, ids=[line[:40] for _, line, _ in LINES])
def test_a_line_and_its_meaning(rules: tuple[LogRule, ...], line: str, meaning: str) -> None:
    (finding,) = read_log([line], rules)
    assert meaning in finding.meaning
    assert finding.line == line


def test_colours_and_progress_bars_are_removed() -> None:
    rules = (LogRule(r"^E (?P<text>.+)", "{text}"),)
    (finding,) = read_log(["I loading 10%\rI loading 90%\r\x1b[31mE no memory\x1b[0m\r\n"], rules)
    assert (finding.meaning, finding.confidence) == ("no memory", Confidence.UNCERTAIN)


def test_a_log_that_repeats_itself_is_kept_short() -> None:
    rules = (LogRule(r"node (?P<node>\d+)", "bad"),)
    assert len(read_log((f"node {i}" for i in range(10_000)), rules)) == 50
    assert len(read_log(["node 1"] * 1000, rules)) == 1


@pytest.mark.parametrize("rules", [ATC, BISHENGIR, HORIZON, RKNN, TRTEXEC, HHB])
def test_texts_use_only_groups_of_their_pattern(rules: tuple[LogRule, ...]) -> None:
    for rule in rules:
        groups = set(rule.pattern.groupindex)
        used = set(re.findall(r"{(\w+)}", rule.meaning + rule.advice))
        assert used <= groups, rule.pattern.pattern
        assert rule.source is not None
