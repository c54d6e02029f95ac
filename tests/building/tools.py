"""Artifacts, and tools that do on purpose what vendors' tools do."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

import uair
from uair.targets.logs import LogRule
from uair.targets.target import Target
from uair.targets.tool import Installation, VendorTool, Work
from uair.text import parse_module
from uair.vendor import ToolFailed

RULES = (
    LogRule(r"E1: no kernel for (?P<node>\S+)", "the chip has no kernel", "leave it to the CPU", code="E1"),
    LogRule(r"W: (?P<text>.+)", "{text}", level="warning"),
)
MODULE = """uair 1
module @m {
  graph @main(%x: f32[1,3]) -> (%y: f32[1,3]) {
    %y = Relu(%x) : f32[1,3]   loc("my/relu")
  }
}
"""


class Toy(VendorTool):
    """A tool that is a few lines of Python."""

    name = "toycc"
    programs = ("toycc-that-is-not-in-path",)
    variable = "UAIR_TOYCC"
    install = "get toycc from the toy shop"
    success: ClassVar[str] = "all done"
    rules = RULES
    text: ClassVar[str] = ""

    def locate(self) -> Installation:
        return Installation(Path(sys.executable), {}, "here")

    def version(self, installation: Installation) -> str:
        return "1.2.3"

    def command(self, work: Work) -> Sequence[str]:
        return [sys.executable, "-c", self.text]

    def results(self, manifest: Mapping[str, Any]) -> Sequence[str]:
        return ["*.toy"]

    def read_back(self, work: Work, results: Sequence[Path]) -> dict[str, Any]:
        if results[0].read_bytes() != b"TOY":
            raise ToolFailed("the model is no toy", hint="see the log")
        return {"loaded": True}


class ToyTarget(Target):
    """A target of `toycc`, running `text`."""

    def __init__(self, text: str) -> None:
        super().__init__("reference")
        self.made = type("Toycc", (Toy,), {"text": text, "__doc__": Toy.__doc__})

    def tool(self) -> VendorTool:
        made: VendorTool = self.made()
        return made


def artifact(folder: Path) -> uair.Artifact:
    """A small artifact for `reference`."""
    return uair.compile(parse_module(MODULE), "reference", output=folder, golden={"x": np.ones((1, 3), np.float32)})
