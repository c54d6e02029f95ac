"""What the lines of the logs of ATC and of bishengir-compile mean.

Sources: hicann/ge, error codes of api/atc and parser/onnx; logs in Ascend/ModelZoo-PyTorch#6,
Tlntin/qwen-ascend-llm#11, mindspore-lab/mindocr#690, open-mmlab/mmagic#1056. bishengir-compile was run here.
"""

from __future__ import annotations

from uair.targets.logs import LogRule
from uair.targets.verdict import Confidence, Source

GE = Source("hicann/ge, docs and api/atc", "CANN 9.2")
BISHENGIR = Source("bishengir-compile of the wheel ascendnpu-ir", "1.2.0", Confidence.MEASURED)
LOGS = Source("logs of ATC in public issues", "CANN 5 to 8")

NO_PARSER = "ATC has no parser for ONNX {op} at opset {opset}"
CUSTOM = "`uair check` tells which nodes the chip takes; a custom operator needs its own plug-in in $ASCEND_OPP_PATH"

RULES = (
    LogRule(
        r"No parser is registered for Op \[(?P<node>.+), optype \[ai\.onnx::(?P<opset>\d+)::(?P<op>\w+)\]\]",
        NO_PARSER,
        CUSTOM,
        code="E19010",
        source=LOGS,
    ),
    LogRule(
        r"No ONNX parser is registered for optype \[?ai\.onnx::(?P<opset>\d+)::(?P<op>\w+)",
        NO_PARSER,
        CUSTOM,
        code="E16002",
        source=GE,
    ),
    LogRule(
        r"The opset of domain\[(?P<domain>[^\]]*)\] has no responding version",
        "the model does not import an operator set of the domain {domain!r}",
        "compile the model with UAIR again: it writes one operator set",
        code="E19999",
        source=GE,
    ),
    LogRule(
        r"[Dd]ynamic shape is not supported on this chip",
        "the chip takes static shapes only",
        "give every input its sizes: --shape x=1,3,224,224",
        code="EZ3002",
        source=LOGS,
    ),
    LogRule(
        r"(?P<code>EZ3002).*Optype \[(?P<op>\w+)\] of Ops kernel \[\w+\] is unsupported\.?(?: Reason: (?P<why>.+))?",
        "the chip has no kernel for GE operator {op} with these types: {why}",
        "`uair check` tells which nodes the chip takes",
        source=LOGS,
    ),
    LogRule(
        r"Failed to compile Op \[(?P<node>[^\]]+)\]\.? \(optype: \[(?P<op>\w+)\]\)",
        "the kernel of GE operator {op} could not be compiled",
        "many gears of dynamic sizes make such kernels fail: compile for fewer, or for one shape",
        code="E40021",
        source=LOGS,
    ),
    LogRule(
        r"op\[(?P<node>[^\]]+)\] dtype is not same, (?P<a>DT_\w+) vs (?P<b>DT_\w+)",
        "operands have different element types, {a} and {b}",
        "UAIR writes a Cast there: compile the model again with UAIR",
        source=LOGS,
    ),
    LogRule(
        r"(?P<code>E10016)", "--input_shape names an input that the model does not have", "compile again", source=GE
    ),
    LogRule(r"(?P<code>E10002)", "--input_shape cannot be understood", "compile again with UAIR", source=GE),
    LogRule(
        r"(?P<code>E10501)",
        "ATC does not find the operators of its own installation",
        "install the chip's ops package and source set_env.sh: ASCEND_OPP_PATH must be set",
        source=GE,
    ),
    LogRule(r"(?P<code>E10041)", "the .air file cannot be read", "compile again with UAIR", source=GE),
    LogRule(r"(?P<code>E16001)", "the model has no input or no output", "check the model's interface", source=GE),
    LogRule(
        r"The opp version of the model does not match",
        "the model was converted by another release of the operator package",
        "convert with the CANN release of the device, or an older one",
        code="E19999",
        source=GE,
    ),
    LogRule(
        r"Not support scale greater than 1 / FLT_EPSILON",
        "a channel of a quantized weight is all zero",
        "leave that layer in float: --skip NAME",
        source=LOGS,
    ),
    LogRule(
        r"ModuleNotFoundError: No module named '(?P<module>[\w.]+)'",
        "the Python that ATC uses lacks the package {module}",
        "pip install decorator attrs psutil sympy scipy cffi, in the Python that ATC uses",
        source=LOGS,
    ),
    LogRule(
        r"(?P<code>\bE[A-Z0-9]\d{4}): (?P<text>\S.*)", "{text}", "see the code in Huawei's documentation", source=GE
    ),
)
"""The first that fits decides: the general one stands last."""

BISHENGIR_RULES = (
    LogRule(
        r"Cannot find hivmc under \$PATH",
        "the back half of the compiler, hivmc, is not installed; the front half took the kernel",
        "hivmc comes with CANN: source its set_env.sh",
        level="warning",
        source=BISHENGIR,
    ),
    LogRule(
        r"error: failed to legalize operation '(?P<op>[\w.]+)' that was explicitly marked illegal",
        "the compiler has no lowering for {op}",
        "write it as one of the operations that docs/targets/ascend-kernels.md lists",
        source=BISHENGIR,
    ),
    LogRule(
        r"for the --target option: Cannot find option named '(?P<chip>\w+)'",
        "the compiler does not know the chip {chip}",
        "it compiles for 910B and later only",
        source=BISHENGIR,
    ),
    LogRule(
        r"terminate called after throwing an instance of '(?P<what>[\w:]+)'",
        "the compiler crashed ({what})",
        "it crashes on operations of dialects that it does not register, and on dense constants that are no splat",
        source=BISHENGIR,
    ),
    LogRule(
        r"loc\(\"(?P<file>[^\"]*)\":(?P<row>[1-9]\d*):(?P<column>\d+)\): error: (?P<text>.+)",
        "line {row}, column {column}: {text}",
        source=BISHENGIR,
    ),
)
