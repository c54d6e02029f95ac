"""Kernels as custom operators of CANN: what TBE and Ascend C packages have in common.

An operator's type is `Uair` and the kernel's name in camel case; its module and function are the type in snake case,
as CANN derives them. The prototype tells GE shapes and types, the plugin lets ATC read a node of that type in an ONNX
file.
Source: hicann, tools/custom_operator_sample (2022-06).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import attrs

from uair.codegen.ascend.kernels.named import NamedKernel
from uair.codegen.ascend.kernels.program import Program, Value
from uair.ir.dtype import DType
from uair.ir.graph import Tensor
from uair.targets.description import DeviceDescription

GE_TYPES: Mapping[DType, str] = {
    DType.F16: "DT_FLOAT16",
    DType.F32: "DT_FLOAT",
    DType.I8: "DT_INT8",
    DType.I32: "DT_INT32",
}
WARNING = (
    "Written by UAIR for one model's shapes; compile it with CANN's custom operator project. Not run by CANN here."
)


@attrs.frozen(eq=False)
class CustomOp:
    """A kernel as a custom operator.

    Attributes:
        named: the kernel.
        type: its name in the graph.
        shapes: for every output the input that has its shape, or the shape.
    """

    named: NamedKernel
    type: str
    shapes: tuple[int | tuple[int, ...], ...]

    @property
    def program(self) -> Program:
        """What it computes."""
        return self.named.program

    @property
    def module(self) -> str:
        """Name of its files and functions."""
        return f"uair_{self.named.name}"

    @property
    def ports(self) -> list[tuple[str, Value]]:
        """Inputs x0, x1, ... and outputs y0, y1, ..."""
        inputs = [(f"x{i}", v) for i, v in enumerate(self.program.inputs)]
        return [*inputs, *((f"y{i}", v) for i, v in enumerate(self.program.outputs))]

    @property
    def is_elementwise(self) -> bool:
        """Whether all ports lie along all axes, so that any format will do that they share."""
        return all(len(v.axes) == len(self.program.sizes) for _, v in self.ports)


def custom_op(named: NamedKernel) -> CustomOp | None:
    """The operator of a kernel; None when its uses differ in how the results' shapes follow from the operands'."""
    shapes: list[int | tuple[int, ...]] = []
    for i in range(len(named.program.outputs)):
        found = {_shape_of(kernel.results[i][0], [a.tensor for a in kernel.arguments]) for kernel, _ in named.uses}
        if len(found) != 1:
            return None
        shapes += found
    words = named.name.split("_")
    return CustomOp(named, "Uair" + "".join(word.capitalize() for word in words), tuple(shapes))


def _shape_of(result: Tensor, inputs: Sequence[Tensor]) -> int | tuple[int, ...]:
    """The first input with the result's shape, else the shape."""
    dims = tuple(d for d in result.type.dims if isinstance(d, int))
    return next((i for i, t in enumerate(inputs) if tuple(t.type.dims) == dims), dims)


def proto_header(op: CustomOp) -> str:
    """op_proto/NAME.h."""
    lines = [f"REG_OP({op.type})"]
    for name, value in op.ports:
        kind = "INPUT" if name.startswith("x") else "OUTPUT"
        lines.append(f"    .{kind}({name}, TensorType({{{GE_TYPES[value.dtype]}}}))")
    lines.append(f"    .OP_END_FACTORY_REG({op.type})")
    guard = f"{op.module.upper()}_H"
    return "\n".join(
        [
            f"// {WARNING}",
            f"#ifndef {guard}",
            f"#define {guard}",
            '#include "graph/operator_reg.h"',
            "namespace ge {",
            *lines,
            "}  // namespace ge",
            f"#endif  // {guard}",
            "",
        ]
    )


def proto_source(op: CustomOp) -> str:
    """op_proto/NAME.cc: the outputs' shapes and types."""
    body: list[str] = []
    for i, (shape, value) in enumerate(zip(op.shapes, op.program.outputs, strict=True)):
        body.append(f'    TensorDesc y{i} = op.GetOutputDescByName("y{i}");')
        if isinstance(shape, int):
            body.append(f'    y{i}.SetShape(op.GetInputDescByName("x{shape}").GetShape());')
        else:
            body.append(f"    y{i}.SetShape(Shape(std::vector<int64_t>({{{', '.join(map(str, shape))}}})));")
        body.append(f"    y{i}.SetDataType({GE_TYPES[value.dtype]});")
        body.append(f'    if (op.UpdateOutputDesc("y{i}", y{i}) != GRAPH_SUCCESS) return GRAPH_FAILED;')
    return "\n".join(
        [
            f"// {WARNING}",
            f'#include "{op.module}.h"',
            "#include <vector>",
            "namespace ge {",
            f"IMPLEMT_COMMON_INFERFUNC({op.type}InferShape) {{",
            *body,
            "    return GRAPH_SUCCESS;",
            "}",
            f"COMMON_INFER_FUNC_REG({op.type}, {op.type}InferShape);",
            "}  // namespace ge",
            "",
        ]
    )


def onnx_plugin(op: CustomOp, description: DeviceDescription) -> str:
    """framework/onnx_plugin/NAME_plugin.cc: ATC reads nodes of the type at every opset that it knows."""
    onnx = description.onnx
    assert onnx is not None
    opsets = range(onnx.oldest or onnx.opset, (onnx.newest or onnx.opset) + 1)
    origins = [f'        "ai.onnx::{opset}::{op.type}",' for opset in opsets]
    return "\n".join(
        [
            f"// {WARNING}",
            '#include "register/register.h"',
            "namespace domi {",
            f"static Status Parse{op.type}(const google::protobuf::Message* node, ge::Operator& op) {{",
            "    return SUCCESS;  // it has no attributes",
            "}",
            f'REGISTER_CUSTOM_OP("{op.type}")',
            "    .FrameworkType(ONNX)",
            "    .OriginOpType({",
            *origins,
            "    })",
            f"    .ParseParamsFn(Parse{op.type})",
            "    .ImplyType(ImplyType::TVM);",
            "}  // namespace domi",
            "",
        ]
    )
