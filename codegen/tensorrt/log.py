"""What the lines of trtexec's log mean.

Sources: onnx/onnx-tensorrt (ModelImporter), NVIDIA/TensorRT samples; logs in NVIDIA/TensorRT#4587, NVIDIA-AI-IOT/
jetson_dla_tutorial#3, marcoslucianops/DeepStream-Yolo#27, onnx/onnx-tensorrt#465.
"""

from __future__ import annotations

from uair.targets.logs import LogRule
from uair.targets.verdict import Confidence, Source

PARSER = Source("onnx/onnx-tensorrt", "8.6 and 10.1")
LOGS = Source("logs of trtexec in public issues", "TensorRT 7 to 10")
KNOWLEDGE = Source("general knowledge of trtexec", confidence=Confidence.UNCERTAIN)

CHECK = "`uair check --target jetson_orin` tells which nodes TensorRT takes"

RULES = (
    LogRule(
        r"While parsing node number (?P<number>\d+) \[(?P<op>\w+) -> \"(?P<node>[^\"]+)\"",
        "the parser stopped at node {number}, an ONNX {op}",
        CHECK,
        source=PARSER,
    ),
    LogRule(
        r"\[E\].*No importer registered for op: (?P<op>\w+)|^\[8\] No importer registered for op: (?P<op8>\w+)",
        "TensorRT has no importer for ONNX {op}{op8}",
        f"{CHECK}; or give trtexec a plug-in that has it",
        source=PARSER,
    ),
    LogRule(
        r"TensorRT only supports symmetric quantization",
        "a zero point is not 0",
        "compile again with --target jetson_orin, which quantizes symmetrically",
        source=PARSER,
    ),
    LogRule(
        r"The bias tensor is required to be an initializer|only activation types allowed as input to this layer",
        "the bias of a convolution is not a float constant",
        "compile again with --target jetson_orin: it leaves biases in float",
        source=PARSER,
    ),
    LogRule(
        r"Calibration table does not match calibrator algorithm type",
        "the calibration cache was written for another version of TensorRT",
        "write the version of the device's TensorRT in the first line of the cache",
        source=LOGS,
    ),
    LogRule(
        r"[Uu]nknown option: (?P<option>--\S+)|Unknown argument: (?P<argument>--\S+)",
        "this release of trtexec has no {option}{argument}",
        "use the script for the installed version: build_trt8.sh, build_trt10.sh or build_trt11.sh",
        source=KNOWLEDGE,
    ),
    LogRule(
        r"CUDA initialization failure with error: (?P<number>\d+)|CUDA driver version is insufficient",
        "CUDA cannot be initialised (error {number})",
        "build on the Jetson itself: TensorRT needs the GPU, and its engines run on that GPU only",
        source=LOGS,
    ),
    LogRule(
        r"Layer '(?P<node>[^']+)' \((?P<kind>[A-Z_]+)\): Unsupported on DLA\. Switching",
        "a {kind} layer runs on the GPU, not on the DLA",
        level="warning",
        source=LOGS,
    ),
    LogRule(
        r"Default DLA is enabled but layer (?P<node>.+?) is not (?:supported|running) on DLA, falling back to GPU",
        "a layer runs on the GPU, not on the DLA",
        level="warning",
        source=LOGS,
    ),
    LogRule(
        r"[Ii]nsufficient memory|[Oo]ut ?[Oo]f ?[Mm]emory|Requested amount of GPU memory",
        "the GPU has too little memory for the build",
        "lower --memPoolSize=workspace, or close what else uses the GPU",
        source=KNOWLEDGE,
    ),
    LogRule(r"^(?:\[[^\]]*\] )*\[E\] (?:\[TRT\] )?(?P<text>.+)", "{text}", source=LOGS),
    LogRule(r"^&&&& FAILED TensorRT\.trtexec", "trtexec gave up", source=LOGS),
)
"""The first that fits decides: the general ones stand last."""
