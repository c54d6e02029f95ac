"""What the lines of hb_mapper's and hb_compile's logs mean.

Sources: D-Robotics rdk_doc, ptq_process.md; the OpenExplorer pages on checking a model and on frequent questions.
"""

from __future__ import annotations

from uair.targets.logs import LogRule
from uair.targets.verdict import Confidence, Source

DOC = Source("D-Robotics/rdk_doc, ptq_process.md")
CHECKER = Source("OpenExplorer for X5, validating the model", "1.2.6")
INFERRED = Source("inferred from the format of the tools' logs", confidence=Confidence.UNCERTAIN)

RULES = (
    LogRule(
        r"The opset version of the onnx model is (?P<opset>\d+), only model with opset_version (?P<known>[\d/]+)",
        "the tool reads ONNX at opset {known}, the model is at {opset}",
        "compile again with UAIR: it writes opset 11",
        source=DOC,
    ),
    LogRule(
        r"ValueError: Not support layer name=(?P<node>\S+) type=(?P<op>\w+)",
        "the tool does not know {op}",
        "`uair check` tells which nodes the chip takes",
        source=CHECKER,
    ),
    LogRule(
        r"(?:ERROR|ValueError).*(?:cal_data|calibration).*",
        "the calibration data does not fit the model",
        "compile again with --calib: UAIR writes one raw file for each sample and input",
        source=INFERRED,
    ),
    LogRule(r"(?:^|\s)ERROR\s+(?P<text>\S.*)", "{text}", source=INFERRED),
    LogRule(r"^(?P<text>\w*Error: .+)", "{text}", source=INFERRED),
)
"""The first that fits decides: the general ones stand last."""
