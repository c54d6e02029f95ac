"""A small target of the tests, whose description and files are made on the spot."""

from __future__ import annotations

from pathlib import Path

import attrs
import pytest

from uair.artifact import ArtifactBuilder
from uair.codegen.onnx.target import OnnxTarget
from uair.context import Context
from uair.ir.module import Module
from uair.request import CompileRequest

NPU = """
schema = 1
name = "{name}"
title = "Toy NPU"
vendor = "Toys"
soc = "T100"
summary = "ONNX"
unlisted = "unsupported"
static_shapes = true

[sources.manual]
document = "Toy NPU manual"

[toolchain]
name = "toycc"

[onnx]
opset = 13
ir_version = 7
source = "manual"

[dtypes]
accepted = ["f32", "f16", "i8", "i32", "i64", "bool"]
computed = ["f16", "i8"]
float = "f16"

[quantization]
form = "{form}"
source = "manual"

[quantization.scheme]
activation = "i8"
symmetric = true
operators = ["Conv2D", "Linear"]
per_channel = ["Conv2D"]

[[memory]]
name = "DRAM"
bandwidth = 8e9
per = "board"
source = "manual"

[compute]
cores = 1
clock = 1e9
peak = {{ i8 = 2.0, f16 = 1.0 }}

[alignment]
bytes = 32

[[operator]]
names = [{operators}]
support = "supported"
source = "manual"
"""
OPERATORS: tuple[str, ...] = (
    *("Conv2D", "Linear", "Relu", "Add", "Mul", "MaxPool2D", "GlobalAvgPool", "Reshape"),
    *("Quantize", "Dequantize", "MatMul", "Transpose"),
)


@attrs.define(eq=False)
class Emitted:
    """One call of `emit`."""

    module: Module
    request: CompileRequest
    folder: Path


class ToyTarget(OnnxTarget):
    """Keeps what it is given, and writes model.onnx."""

    def __init__(self, name: str, *, file: Path) -> None:
        super().__init__(name, file=file)
        self.calls: list[Emitted] = []

    def emit(self, module: Module, artifact: ArtifactBuilder, request: CompileRequest) -> None:
        self.calls.append(Emitted(module.clone(), request, artifact.root))
        self.write_onnx(module, artifact.path_for("model.onnx"))


def toy_target(
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    *,
    name: str = "toynpu",
    form: str = "qdq",
    operators: tuple[str, ...] = OPERATORS,
    more: str = "",
) -> ToyTarget:
    """A target known to UAIR for the time of a test.

    Args:
        folder: where its description is written.
        monkeypatch: undoes it.
        name: of the target.
        form: of quantization.
        operators: what it takes.
        more: further lines of its description.
    """
    file = folder / f"{name}.toml"
    listed = ", ".join(f'"{each}"' for each in operators)
    file.write_text(NPU.format(name=name, form=form, operators=listed) + more)
    target = ToyTarget(name, file=file)
    monkeypatch.setitem(Context.default().targets, name, target)
    return target
