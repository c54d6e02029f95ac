"""What a vendor's importer demands of an ONNX file, checked on the file that was written."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import attrs
import onnx
from onnx import GraphProto, ModelProto, ValueInfoProto

from uair.codegen.onnx.schema import ONNX_TYPE
from uair.errors import UairError
from uair.ir.dtype import DType

_DTYPES = {code: dtype for dtype, code in ONNX_TYPE.items()}


class RuleViolation(UairError):
    """An ONNX file that was written breaks a rule of the tool that is to read it."""

    code = "UAIR-E0531"
    title = "Emitted model breaks a rule of the vendor's importer"


@attrs.frozen
class ModelRules:
    """The rules.

    Attributes:
        reader: the tool, for messages.
        opset: the one version of the default operator set; no other set is imported.
        operators: names of the operators that it knows.
        names: regular expression of names of nodes, inputs and constants, which must all differ.
        inputs: element types that inputs may have.
        open_sizes: whether extents may be names.
    """

    reader: str
    opset: int
    operators: frozenset[str]
    names: str
    inputs: frozenset[DType]
    open_sizes: bool = False

    def check(self, path: Path) -> None:
        """Check a file; weights in a file of their own are not read.

        Raises:
            RuleViolation: naming the first thing that breaks a rule.
        """
        model: ModelProto = onnx.load(path, load_external_data=False)
        for problem in self.problems(model):
            raise RuleViolation(f"{self.reader} does not take the model that was written: {problem}", place=path.name)

    def problems(self, model: ModelProto) -> Iterator[str]:
        """What breaks a rule, in words."""
        imported = [(entry.domain, entry.version) for entry in model.opset_import]
        if imported != [("", self.opset)]:
            yield f"it imports {imported}, only opset {self.opset} of the default domain is allowed"
        graph = model.graph
        if not graph.input or not graph.output:
            yield "it needs an input and an output"
        yield from self._nodes(graph)
        yield from self._names(graph)
        yield from self._values(graph)

    def _nodes(self, graph: GraphProto) -> Iterator[str]:
        for node in graph.node:
            if node.domain:
                yield f"node {node.name!r} is of domain {node.domain!r}"
            elif node.op_type not in self.operators:
                yield f"node {node.name!r} is {node.op_type}, which {self.reader} does not know"

    def _names(self, graph: GraphProto) -> Iterator[str]:
        legal = re.compile(self.names)
        seen: set[str] = set()
        named = [("node", n.name) for n in graph.node]
        named += [("input", i.name) for i in graph.input] + [("constant", t.name) for t in graph.initializer]
        for kind, name in named:
            if not legal.fullmatch(name):
                yield f"the name {name!r} of a {kind} is not legal"
            if name in seen:
                yield f"{kind} {name!r} shares its name with another node, input or constant"
            seen.add(name)

    def _values(self, graph: GraphProto) -> Iterator[str]:
        for value in graph.input:
            dtype = _DTYPES.get(value.type.tensor_type.elem_type)
            if dtype not in self.inputs:
                allowed = ", ".join(str(t) for t in DType if t in self.inputs)
                yield f"input {value.name!r} is {dtype}, inputs may be {allowed}"
        for value in (*graph.input, *graph.output, *graph.value_info):
            extent = _wrong_extent(value, self.open_sizes)
            if extent:
                yield f"value {value.name!r} has {extent}"


def _wrong_extent(value: ValueInfoProto, open_sizes: bool) -> str:
    """What is wrong with a shape that must hold positive numbers (or names); empty when nothing is."""
    if not value.type.tensor_type.HasField("shape"):
        return "no shape"
    for axis, d in enumerate(value.type.tensor_type.shape.dim):
        if d.WhichOneof("value") != "dim_value":
            if open_sizes:
                continue
            return f"no number for axis {axis}"
        if d.dim_value < 1:
            return f"extent {d.dim_value} along axis {axis}"
    return ""
