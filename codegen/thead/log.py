"""What the lines of HHB's log mean, and those of the C compiler that builds a model in C. Seen with HHB 3.2.3."""

from __future__ import annotations

from uair.targets.logs import LogRule
from uair.targets.verdict import Confidence, Source

MEASURED = Source("hhb, compilations of real models", "3.2.3", Confidence.MEASURED)
COMPILER = Source("messages of GCC and of GNU ld", "12", Confidence.MEASURED)

RULES = (
    LogRule(
        r"FileNotFoundError: \[Errno 2\] No such file or directory: '(?P<file>[^']+)'",
        "{file} is missing",
        "HHB reads the model and the calibration data from the artifact's folder: run it there",
        source=MEASURED,
    ),
    LogRule(
        r"The following operators are not supported for frontend ONNX: (?P<ops>.+)",
        "HHB does not know {ops}",
        "`uair check` tells which nodes the chip takes",
        source=MEASURED,
    ),
    LogRule(
        r"error: argument --(?P<option>[\w-]+): invalid choice: '(?P<value>[^']*)'",
        "HHB does not know the value {value} of --{option}",
        "`hhb --help` lists the values",
        source=MEASURED,
    ),
    LogRule(
        r"^KeyError: '(?P<name>[^']+)'$",
        "the model has no input or output {name}",
        "compile the model with UAIR again",
        source=MEASURED,
    ),
    LogRule(
        r"undefined reference to [`'](?P<symbol>\w+)'",
        "the installed SHL library has no {symbol}",
        "link the library of HHB 3.2.3, or a newer one",
        source=COMPILER,
    ),
    LogRule(
        r"cannot find -l(?P<library>\w+)",
        "the library {library} was not found",
        "name the folder of SHL in $SHL_HOME",
        source=COMPILER,
    ),
    LogRule(
        r"fatal error: (?P<file>\S+): No such file or directory",
        "the header {file} was not found",
        "name the folder of SHL in $SHL_HOME",
        source=COMPILER,
    ),
    LogRule(r"^(?P<text>\w+(?:\.\w+)*Error: .+)", "{text}", source=MEASURED),
    LogRule(r"(?:^|: )error: (?P<text>.+)", "{text}", source=COMPILER),
)
"""The first that fits decides: the general ones stand last."""
