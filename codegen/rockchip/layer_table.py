"""The compiler's own table of layers, as rknn-toolkit2 prints it with `verbose=True`.

build.py keeps all that the toolkit prints in build.log. Among it are three tables; the first says of every layer which
operator it became, whether it runs on the NPU or on the CPU, and how many cycles the compiler expects:

    ID OpType    DataType Target InputShape                      OutputShape  Cycles(DDR/NPU/Total) RW(KB) FullName
    2  ConvPRelu FLOAT16  NPU    (1,3,24,24),(28,3,3,3),(28),... (1,28,22,22) 1771/8928/8928        10     Conv:conv2d_5

Measured with 2.5.0: one cycle is 1 ns at the NPU's 1 GHz; layers that are no convolution print 0/0/0. For RK3576
there is one more column in front of RW, with per cents, which is passed over.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable

import attrs

from uair.errors import UairError

TITLE = "Network Layer Information Table"
EDGES = frozenset({"InputOperator", "OutputOperator"})
"""Rows that stand for the model's inputs and outputs, and compute nothing."""
_ESCAPES = re.compile(r"\x1b\[[0-9;]*m")
_LINE = re.compile(r"D RKNN: \[[0-9:.]+\] ?(?P<text>.*)")
_ROW = re.compile(
    r"(?P<id>\d+)\s+(?P<op>\S+)\s+(?P<dtype>\S+)\s+(?P<target>NPU|CPU|GPU)\s+(?P<inputs>\S+)\s+(?P<output>\S+)\s+"
    r"(?P<ddr>\d+)/(?P<npu>\d+)/(?P<total>\d+)\s+(\d+%\s+)?(?P<kilobytes>\d+)(\s+(?P<name>.*?))?\s*"
)
_SHAPE = re.compile(r"\(([0-9,]*)\)")
_MEMORY = re.compile(r"Total (Internal|Weight) Memory Size: ([0-9.]+)KB")


class LayerTableError(UairError):
    """A log of rknn-toolkit2 has no table of layers, or one in an unknown form."""

    code = "UAIR-E0590"
    title = "No table of layers in the log"


@attrs.frozen
class Layer:
    """One row.

    Attributes:
        number: of the layer; rows of the model's inputs and outputs are counted, too.
        op: the compiler's operator, e.g. "ConvPRelu", "exSoftmax13".
        dtype: what it computes in: "INT8", "FLOAT16", ...
        target: "NPU", "CPU" or "GPU".
        inputs: shapes of the operands; the compiler prints three at most.
        output: shape of the result; None for a row without one.
        ddr_cycles: cycles of the memory traffic.
        npu_cycles: cycles of the arithmetic.
        cycles: the greater of both; 0 where the compiler makes no estimate.
        kilobytes: read from memory, as printed.
        name: the compiler's operator and a name that comes from the model.
    """

    number: int
    op: str
    dtype: str
    target: str
    inputs: tuple[tuple[int, ...], ...]
    output: tuple[int, ...] | None
    ddr_cycles: int
    npu_cycles: int
    cycles: int
    kilobytes: int
    name: str

    @property
    def is_edge(self) -> bool:
        """Whether it stands for an input or output of the model."""
        return self.op in EDGES


@attrs.frozen
class LayerTable:
    """What the compiler says about a model that it built.

    Attributes:
        layers: the rows, in order.
        internal_bytes: memory for activations.
        weight_bytes: memory for constants.
    """

    layers: tuple[Layer, ...]
    internal_bytes: int = 0
    weight_bytes: int = 0

    @property
    def computing(self) -> tuple[Layer, ...]:
        """The rows that compute something."""
        return tuple(layer for layer in self.layers if not layer.is_edge)

    def on(self, target: str) -> tuple[Layer, ...]:
        """The computing rows of a target: "NPU" or "CPU"."""
        return tuple(layer for layer in self.computing if layer.target == target)

    @property
    def cycles(self) -> int:
        """Sum of the compiler's estimates."""
        return sum(layer.cycles for layer in self.layers)

    def operators(self, target: str) -> Counter[str]:
        """How often each of the compiler's operators runs on a target."""
        return Counter(layer.op for layer in self.on(target))


def read_layer_table(log: str) -> LayerTable:
    """Read the table of layers out of a log; of several the last, which is that of the finished model.

    Args:
        log: all that the toolkit printed, with its colours and progress bars.

    Raises:
        LayerTableError: there is none, or a row of it cannot be read.
    """
    text = _ESCAPES.sub("", log.replace("\r", "\n"))
    layers = _rows(match["text"].strip() for line in text.splitlines() if (match := _LINE.match(line)))
    memory = {kind: round(float(size) * 1024) for kind, size in _MEMORY.findall(text)}
    return LayerTable(tuple(layers), memory.get("Internal", 0), memory.get("Weight", 0))


def _rows(lines: Iterable[str]) -> list[Layer]:
    found: list[Layer] | None = None
    inside = False
    for line in lines:
        if TITLE in line:
            found, inside = [], True
        elif inside and line.startswith("<<<"):
            inside = False
        elif inside and found is not None and re.match(r"\d+\s", line):
            found.append(_row(line))
    if not found:
        raise LayerTableError(
            "the log has no table of layers", hint="was the model built, by RKNN(verbose=True)? build.py does so"
        )
    return found


def _row(line: str) -> Layer:
    match = _ROW.fullmatch(line)
    if match is None:
        raise LayerTableError(f"a row of the table of layers cannot be read: {line[:200]!r}")
    outputs = _shapes(match["output"])
    return Layer(
        number=int(match["id"]),
        op=match["op"],
        dtype=match["dtype"],
        target=match["target"],
        inputs=_shapes(match["inputs"]),
        output=outputs[0] if outputs else None,
        ddr_cycles=int(match["ddr"]),
        npu_cycles=int(match["npu"]),
        cycles=int(match["total"]),
        kilobytes=int(match["kilobytes"]),
        name=match["name"] or "",
    )


def _shapes(text: str) -> tuple[tuple[int, ...], ...]:
    return tuple(tuple(int(n) for n in shape.split(",") if n) for shape in _SHAPE.findall(text))
