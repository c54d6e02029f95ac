"""What the lines of rknn-toolkit2's log mean. All were seen with toolkit 2.5.0 unless a rule says otherwise."""

from __future__ import annotations

from uair.targets.logs import LogRule
from uair.targets.verdict import Confidence, Source

MEASURED = Source("rknn-toolkit2, builds of real models", "2.5.0", Confidence.MEASURED)
ISSUES = Source("logs of rknn-toolkit2 in public issues", "1.5 to 2.3")

REBUILD = "compile the model with UAIR again"

RULES = (
    LogRule(
        r"Unsupport onnx opset (?P<opset>\d+), need <= (?P<newest>\d+)",
        "the toolkit reads ONNX up to opset {newest}, the model is at {opset}",
        "update the toolkit: UAIR writes opset 17",
        source=MEASURED,
    ),
    LogRule(
        r"Not support '(?P<op>\w+)' of opset-(?P<opset>\d+)",
        "the toolkit's converter of old models does not know {op} at opset {opset}",
        f"{REBUILD}: it writes a newer opset, without {{op}}",
        source=MEASURED,
    ),
    LogRule(
        r"The '(?P<node>[^']+)' in inputs=.* is invalid",
        "the toolkit folded the input {node} away",
        f"{REBUILD}: it drops inputs that nothing uses",
        source=MEASURED,
    ),
    LogRule(
        r"ONNXRuntimeError.*INVALID_GRAPH",
        "the toolkit's own folding made an invalid model",
        f"{REBUILD}: it inlines branches whose condition is known",
        source=MEASURED,
    ),
    LogRule(
        r"ValueError: cannot convert float NaN to integer",
        "a constant that is not finite cannot be quantized",
        f"{REBUILD}: it replaces infinite constants by numbers that float16 holds",
        source=MEASURED,
    ),
    LogRule(
        r"If a quantized model has been import, please set do_quantization = False",
        "the model is quantized already, and the toolkit was told to quantize it",
        "use the artifact's build.py as it is",
        source=MEASURED,
    ),
    LogRule(
        r"KeyError: 'LayerNormalization'",
        "the toolkit's rule for LayerNormalization needs its attributes written out",
        REBUILD,
        source=MEASURED,
    ),
    LogRule(
        r"[Dd]ynamic.*need set 'dynamic_input'|'<=' not supported between instances of 'NoneType' and 'int'",
        "an input has an open size",
        "give every input its sizes: --shape x=1,3,224,224",
        source=ISSUES,
    ),
    LogRule(
        r"Unkown op target",
        "the compiler does not know where to run an operator",
        "`uair check --target rk3588` tells which nodes the NPU takes",
        source=ISSUES,
    ),
    LogRule(
        r"W load_onnx: The config\.(?P<what>mean|std)_values is None",
        "inputs are not normalised by the compiled model ({what}_values)",
        level="warning",
        source=MEASURED,
    ),
    LogRule(
        r"W build: found outlier value, this may affect quantization accuracy",
        "the toolkit finds outliers among the weights",
        level="warning",
        source=MEASURED,
    ),
    LogRule(r"^build\.py: (?P<text>.+)", "{text}", source=MEASURED),
    LogRule(r"^E (?:build|load_onnx|RKNN): (?P<text>\w*Error: .+)", "{text}", source=MEASURED),
)
"""The first that fits decides: the general ones stand last."""
