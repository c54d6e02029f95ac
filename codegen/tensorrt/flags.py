"""The flags of trtexec by version, as data: a script never holds one that its version does not know.

Source: NVIDIA/TensorRT, samples/common/sampleOptions.cpp of v8.6.1, v10.7.0 and v11.1, compared.
"""

from __future__ import annotations

import fnmatch
import shlex
from collections.abc import Sequence
from typing import Literal, TypeAlias

import attrs

from uair.errors import InternalError

Major: TypeAlias = Literal[8, 10, 11]
MAJORS: tuple[Major, ...] = (8, 10, 11)

STABLE = frozenset(
    """--onnx --saveEngine --loadEngine --minShapes --optShapes --maxShapes --shapes --memPoolSize --useDLACore
    --allowGPUFallback --buildDLAStandalone --inputIOFormats --outputIOFormats --timingCacheFile
    --builderOptimizationLevel --profilingVerbosity --dumpLayerInfo --exportLayerInfo --exportTimes --exportProfile
    --sparsity --noTF32 --layerDeviceTypes --hardwareCompatibilityLevel --versionCompatible --vc --skipInference
    --iterations --warmUp --duration --useCudaGraph --noDataTransfers --verbose --refit --tacticSources
    --maxAuxStreams""".split()
)
"""In 8.6, 10.7 and 11.1."""
REMOVED_IN_10 = frozenset(
    """--workspace --minTiming --batch --maxBatch --buildOnly --explicitBatch --explicitPrecision --deploy --model
    --output --uff* --nvtxMode --heuristic""".split()
)
ADDED_IN_10 = frozenset(
    "--stronglyTyped --bf16 --int4 --stripWeights --runtimePlatform --maxTactics --profile --calibProfile".split()
)
REMOVED_IN_11 = frozenset(
    """--fp16 --bf16 --int8 --fp8 --int4 --best --calib --calibProfile --precisionConstraints --layerPrecisions
    --layerOutputTypes --restricted --*ShapesCalib""".split()
)
ADDED_IN_11 = frozenset(
    """--adjustForDLA --reportCapabilityDLA --uint8AsymmetricQuantizationDLA --cpuOnly --tilingOptimizationLevel
    --remoteAutoTuningConfig --loadRefOutputs --atol --rtol""".split()
)


def flags_of(major: Major) -> frozenset[str]:
    """The flags that trtexec of a version knows; `*` in one stands for any letters."""
    both = STABLE | (REMOVED_IN_11 - ADDED_IN_10)  # in 8.6 and in 10.7
    if major == 8:
        return both | REMOVED_IN_10
    if major == 10:
        return both | ADDED_IN_10
    return STABLE | ADDED_IN_11 | (ADDED_IN_10 - REMOVED_IN_11)


def is_known(flag: str, major: Major) -> bool:
    """Whether trtexec of a version takes a flag (`--name` or `--name=value`)."""
    name = flag.partition("=")[0]
    return any(fnmatch.fnmatchcase(name, known) for known in flags_of(major))


@attrs.frozen
class Command:
    """One call of trtexec.

    Attributes:
        major: the version whose trtexec is called.
        flags: in order.
    """

    major: Major
    flags: tuple[str, ...]

    def __attrs_post_init__(self) -> None:
        wrong = [flag for flag in self.flags if not is_known(flag, self.major)]
        if wrong:
            raise InternalError(f"trtexec of TensorRT {self.major} does not know {wrong[0]}")

    def lines(self, more: Sequence[str] = ()) -> str:
        """The call as lines of a shell script; `more` is appended as it stands."""
        return " \\\n    ".join(["trtexec", *(shlex.quote(flag) for flag in self.flags), *more])
