"""Targets: what each device takes, as data; the verdict about every node; the report over a module.

The concrete targets, which write the vendors' files, are in codegen/<vendor>/.
"""

from uair.targets.check import CheckReport, NodeRow, check_module
from uair.targets.description import DeviceDescription, description_names, load_description
from uair.targets.target import Target
from uair.targets.verdict import Confidence, NodeVerdict, Source, Support

__all__ = [
    "CheckReport",
    "Confidence",
    "DeviceDescription",
    "NodeRow",
    "NodeVerdict",
    "Source",
    "Support",
    "Target",
    "check_module",
    "description_names",
    "load_description",
]
