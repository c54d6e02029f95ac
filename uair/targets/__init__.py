"""Targets: what each device takes, as data; the verdict about every node; the report over a module.

The concrete targets, which write the vendors' files, are in codegen/<vendor>/.
"""

from uair.targets.check import CheckReport, NodeRow, check
from uair.targets.description import DeviceDescription, QuantizationScheme, description_names, load_description
from uair.targets.target import Target
from uair.targets.verdict import Confidence, NodeVerdict, Source, Support

__all__ = [
    "CheckReport",
    "Confidence",
    "DeviceDescription",
    "NodeRow",
    "NodeVerdict",
    "QuantizationScheme",
    "Source",
    "Support",
    "Target",
    "check",
    "description_names",
    "load_description",
]
