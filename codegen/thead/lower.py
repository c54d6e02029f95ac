"""From a module to a csinn program.

A real tensor of the graph becomes a tensor of FLOAT32 (FLOAT16 on a device that computes in it). In a quantized graph,
the integers behind Quantize become an INT8 tensor with quantization info, and a node whose operands all come from
Dequantize takes these tensors themselves: Quantize, Dequantize and the node between them are one csinn operator. What
stays real between integers is converted with csinn_data_convert.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs
import numpy as np

from uair.codegen.thead.errors import NotInCsinn, UnknownRange
from uair.codegen.thead.program import (
    Call,
    CTensor,
    CType,
    Operand,
    Program,
    QuantInfo,
    Value,
    check_rank,
    plain_layout,
)
from uair.codegen.thead.source import Port
from uair.errors import UairError
from uair.ir.dims import static
from uair.ir.dtype import Array, DType
from uair.ir.graph import Graph, Node, Tensor
from uair.ops import Dequantize, Quantize
from uair.quant.view import QuantizedOperand, quantized_operand

CTYPES: Mapping[DType, CType] = {
    DType.BOOL: CType.BOOL,
    DType.I8: CType.INT8,
    DType.I32: CType.INT32,
    DType.I64: CType.INT64,
    DType.F16: CType.FLOAT16,
    DType.F32: CType.FLOAT32,
}


@attrs.frozen
class Arithmetic:
    """What the library computes in on a device.

    Attributes:
        real: type of real numbers.
        integers_only: whether quantized graphs are integers throughout, constants and results too (the NPU), or real
            numbers may stand between them (the CPU).
        dilates: whether convolutions over two axes dilate their kernel themselves.
    """

    real: CType = CType.FLOAT32
    integers_only: bool = False
    dilates: bool = True


@attrs.frozen
class _Form:
    """How a constant is written.

    Attributes:
        tensor: the constant.
        integer: whether for a node that takes integers.
        shape: its shape, or another one of the same elements.
        layout: suffix of CSINN_LAYOUT_; empty for that of a plain tensor.
        transposed: whether the two axes of a matrix change places.
    """

    tensor: Tensor
    integer: bool
    shape: tuple[int, ...]
    layout: str = ""
    transposed: bool = False

    def values(self, array: Array) -> Array:
        """The elements in their order."""
        return array.reshape(self.shape).T if self.transposed else array.reshape(self.shape)


@attrs.define(eq=False)
class Lowering:
    """A graph that becomes a program.

    Attributes:
        graph: the legalised graph.
        arithmetic: of the device.
        program: what has been made.
    """

    graph: Graph
    arithmetic: Arithmetic
    program: Program = attrs.Factory(Program)
    _real: dict[Tensor, CTensor] = attrs.Factory(dict[Tensor, CTensor])
    _integers: dict[Tensor, CTensor] = attrs.Factory(dict[Tensor, CTensor])
    _constants: dict[_Form, CTensor] = attrs.Factory(dict["_Form", CTensor])

    def run(self) -> tuple[dict[CTensor, Port], dict[CTensor, Port]]:
        """Make the program; its inputs and outputs with what the user calls them.

        Raises:
            NotInCsinn: a node has no form.
            UnknownRange: a real result on a device that has integers only.
        """
        graph = self.graph
        inputs = {self._input(t, n): _port(n, t) for t, n in zip(graph.inputs, graph.input_names, strict=True)}
        for node in graph:
            if isinstance(node.op, Quantize):
                self._quantize(node)
            elif not isinstance(node.op, Dequantize):
                try:
                    self._emit(node)
                except UairError as error:
                    error.node, error.place = node, error.place or f"{node!r}, {node.loc}"
                    raise
        outputs = {self._output(t): _port(n, t) for t, n in zip(graph.outputs, graph.output_names, strict=True)}
        if len(outputs) != len(graph.outputs):
            raise NotInCsinn("one tensor is two outputs of the model", hint="give it out once")
        self.program.inputs, self.program.outputs = list(inputs), list(outputs)
        return inputs, outputs

    def _emit(self, node: Node) -> None:
        from uair.codegen.thead.operators import EMITTERS

        emitter = EMITTERS.get(type(node.op))
        if emitter is None:
            raise NotInCsinn(f"csinn has no {node.op_type}, or none that UAIR writes")
        emitter(self, node)

    # --------------------------------------------------------------------------------------------- inputs and outputs
    def _input(self, tensor: Tensor, name: str) -> CTensor:
        quantize = self._only_quantize(tensor)
        if quantize is not None:
            made = self._quantized(quantize, name)
            self._integers[quantize.output] = made
            return made
        made = self.new(name, tensor.type.dims, self._ctype(tensor))
        self._real[tensor] = made
        return made

    def _output(self, tensor: Tensor) -> CTensor:
        operand = self._moving_integers(tensor)
        made = self._integers[operand.integers] if operand is not None else self.real(tensor)
        if tensor.is_constant or tensor in self.graph.inputs:
            raise NotInCsinn(f"output {tensor.name} is an input or a constant", hint="leave it out of the model")
        return made

    # -------------------------------------------------------------------------------------------------------- tensors
    def new(
        self,
        name: str,
        shape: tuple[Any, ...],
        ctype: CType,
        *,
        layout: str = "",
        quant: QuantInfo | None = None,
    ) -> CTensor:
        """A tensor that is not constant."""
        check_rank(name, len(shape))
        extents = tuple(int(d) for d in shape) or (1,)
        return CTensor(name, extents, ctype, layout or plain_layout(len(extents)), quant)

    def is_integer(self, node: Node) -> bool:
        """Whether a node takes integers: every real operand that moves comes from Dequantize, and there is one."""
        moving = [t for t in node.inputs if t is not None and t.type.dtype.is_float and not is_fixed(t)]
        return bool(moving) and all(self._moving_integers(t) is not None for t in moving)

    def operand(self, node: Node, i: int) -> CTensor:
        """Operand i as the node takes it: integers in a quantized graph, real numbers else; constants likewise.

        Raises:
            NotInCsinn: it is omitted.
        """
        tensor = node.inputs[i] if i < len(node.inputs) else None
        if tensor is None:
            raise NotInCsinn(f"operand {i} of {node.op_type} is omitted")
        if is_fixed(tensor):
            return self.constant(node, i)
        if self.is_integer(node) and tensor.type.dtype.is_float:
            operand = self._moving_integers(tensor)
            assert operand is not None
            return self._integers[operand.integers]
        return self.real(tensor)

    def result(self, node: Node, i: int = 0, *, shape: tuple[int, ...] | None = None) -> CTensor:
        """The tensor for result i: integers where Quantize alone takes it, real numbers else.

        Args:
            node: the node.
            i: number of the result.
            shape: extents that differ from the result's own; the caller reshapes then, and registers the result itself.

        Raises:
            UnknownRange: real numbers on a device that has integers only.
        """
        tensor = node.outputs[i]
        quantize = self._only_quantize(tensor) if self.is_integer(node) else None
        if quantize is not None:
            made = self._quantized(quantize, tensor.name)
            if shape is not None:
                return self.new(tensor.name, shape, made.ctype, quant=made.quant)
            self._integers[quantize.output] = made
            return made
        if self.arithmetic.integers_only and self.is_integer(node):
            raise UnknownRange(
                f"the range of {tensor.name!r}, a result of {node.op_type}, was not measured",
                hint="quantize the model with calibration data, without skipping this node",
            )
        made = self.new(tensor.name, tensor.type.dims if shape is None else shape, self._ctype(tensor))
        if shape is None:
            self._real[tensor] = made
        return made

    def real(self, tensor: Tensor) -> CTensor:
        """A tensor of real numbers (or of plain integers, for indices), converted where only integers are there."""
        found = self._real.get(tensor)
        if found is None:
            operand = self._moving_integers(tensor)
            if operand is None:
                found = self._constant(_Form(tensor, False, static(tensor.type.dims)))
            else:
                found = self.new(tensor.name, tensor.type.dims, self._ctype(tensor))
                self._convert(self._integers[operand.integers], found)
            self._real[tensor] = found
        return found

    def _ctype(self, tensor: Tensor) -> CType:
        dtype = tensor.type.dtype
        if dtype in (DType.F32, DType.F16):
            return self.arithmetic.real
        if dtype not in CTYPES:
            raise NotInCsinn(f"{tensor.name} is of type {dtype}, which no csinn operator takes")
        return CTYPES[dtype]

    def _quantized(self, quantize: Node, name: str) -> CTensor:
        quant = QuantInfo.make(*_parameters(quantize))
        return self.new(name, quantize.output.type.dims, CType.INT8, quant=quant)

    # ------------------------------------------------------------------------------------------------------ constants
    def constant(
        self, node: Node, i: int, *, layout: str = "", shape: tuple[int, ...] | None = None, transposed: bool = False
    ) -> CTensor:
        """Constant operand i as the node takes it.

        Args:
            node: the node.
            i: number of the operand.
            layout: suffix of CSINN_LAYOUT_; that of a plain tensor unless given.
            shape: another shape of the same elements.
            transposed: whether the two axes of a matrix change places.

        Raises:
            NotInCsinn: it is no constant.
        """
        tensor = node.inputs[i]
        if tensor is None or not is_fixed(tensor):
            raise NotInCsinn(f"operand {node.op.params[i].name} of {node.op_type} is not a constant")
        integer = self.is_integer(node)
        form = _Form(tensor, integer, static(shape or tensor.type.dims), layout, transposed)
        return self._constant(form)

    def _constant(self, form: _Form) -> CTensor:
        found = self._constants.get(form)
        if found is None:
            extents = form.shape[::-1] if form.transposed else form.shape
            layout = form.layout or plain_layout(len(extents) or 1)
            tensor = form.tensor
            found = CTensor(tensor.name or "constant", extents or (1,), self._ctype(tensor), layout)
            operand = quantized_operand(tensor) if form.integer else None
            if operand is not None:
                self._integer_constant(found, operand, form)
            elif form.integer and self.arithmetic.integers_only and tensor.type.dtype.is_float:
                self._rounded_constant(found, form)
            else:
                narrow = found.ctype is CType.FLOAT16
                found.data = lambda: _half(form.values(values_of(tensor))) if narrow else form.values(values_of(tensor))
            self._constants[form] = found
        return found

    def _integer_constant(self, made: CTensor, operand: QuantizedOperand, form: _Form) -> None:
        axis = operand.axis if operand.axis is None or not form.transposed else 1 - operand.axis
        if axis not in (None, 0) and operand.scale.size > 1:
            raise NotInCsinn(
                f"weight {made.name} has scales along axis {operand.axis}, csinn along the first",
                hint="quantize per tensor (per-channel=false)",
            )
        made.ctype = CTYPES[operand.dtype]
        made.quant = QuantInfo.make(operand.scale, operand.zero_point)
        made.data = lambda: form.values(operand.integers.numpy())

    def _rounded_constant(self, made: CTensor, form: _Form) -> None:
        """A real constant on a device without real numbers: integers of its own scale, zero point 0."""
        values = values_of(form.tensor).astype(np.float32)
        scale = np.float32(max(float(np.abs(values).max(initial=0.0)), 1e-30) / 127)
        made.ctype, made.quant = CType.INT8, QuantInfo.make(np.asarray(scale), np.zeros((), np.int8))
        made.data = lambda: form.values(np.rint(values / scale).astype(np.int8))

    def zero_bias(self, node: Node, channels: int, quant: QuantInfo | None) -> CTensor:
        """A bias of zeros: the library's kernels for vectors expect one."""
        ctype = CType.INT32 if quant is not None else self.arithmetic.real
        made = CTensor(f"{node.output.name}_bias", (channels,), ctype, "O", quant)
        dtype = {CType.INT32: np.int32, CType.FLOAT16: np.float16}.get(ctype, np.float32)
        made.data = lambda: np.zeros(channels, dtype)
        return made

    def scalar(self, name: str, value: float) -> CTensor:
        """A real constant of one element."""
        dtype = np.float16 if self.arithmetic.real is CType.FLOAT16 else np.float32
        return CTensor(name, (1,), self.arithmetic.real, "N", None, lambda: np.full(1, value, dtype))

    # ---------------------------------------------------------------------------------------------------------- calls
    def call(
        self,
        node: Node,
        function: str,
        struct: str,
        operands: tuple[Operand, ...],
        fields: Mapping[str, Value] | None = None,
    ) -> None:
        """Append an operator.

        Args:
            node: what it computes.
            function: of csi_nn.h, without "csinn_".
            struct: of its parameters, without "csinn_" and "_params".
            operands: tensors.
            fields: of the struct.
        """
        name = node.name or node.outputs[0].name
        self.program.calls.append(
            Call(f"csinn_{function}", f"csinn_{struct}_params", operands, dict(fields or {}), name)
        )

    def reshaped(self, node: Node, x: CTensor, shape: tuple[int, ...]) -> CTensor:
        """`x` in another shape."""
        made = self.new(f"{x.name}_reshaped", shape, x.ctype, quant=x.quant)
        self.reshape(node, x, made)
        return made

    def reshape(self, node: Node, x: CTensor, y: CTensor) -> None:
        """Let `y` be `x` in y's shape."""
        self.call(node, "reshape", "reshape", (x, y), {"shape": y.shape, "shape_num": len(y.shape)})

    def finish(self, node: Node, made: CTensor) -> None:
        """Let a tensor of another shape, from `result`, become the node's result."""
        self.reshape(node, made, self.result(node))

    # ---------------------------------------------------------------------------------------------------- conversions
    def _quantize(self, node: Node) -> None:
        """A Quantize that no operator has taken in."""
        x = node.inputs[0]
        if node.output in self._integers or x is None:
            return
        if x.is_constant:
            raise NotInCsinn("a constant is quantized at run time", hint="run the pass canonicalise")
        made = self._quantized(node, x.name)
        self._convert(self.real(x), made)
        self._integers[node.output] = made

    def _convert(self, x: CTensor, y: CTensor) -> None:
        fields: dict[str, Value] = {}
        self.program.calls.append(
            Call("csinn_data_convert", "csinn_siso_params", (x, y), fields, f"{y.name}_converted")
        )

    def _only_quantize(self, tensor: Tensor) -> Node | None:
        """The one Quantize (one scale, i8) that takes a tensor, when nothing else does."""
        uses = tensor.uses
        node = uses[0][0] if len(uses) == 1 and uses[0][1] == 0 else None
        if node is None or not isinstance(node.op, Quantize) or node.op.dtype is not DType.I8:
            return None
        return node if node.inputs[1] is not None and not node.inputs[1].type.dims else None

    def _moving_integers(self, tensor: Tensor) -> QuantizedOperand | None:
        """The i8 integers of one scale behind a tensor that is not constant."""
        operand = quantized_operand(tensor)
        if operand is None or operand.integers.is_constant or operand.scale.ndim or operand.dtype is not DType.I8:
            return None
        return operand


def _half(values: Array) -> Array:
    """Real numbers as f16; integers, for indices, as they are."""
    return values.astype(np.float16) if values.dtype == np.float32 else values


def is_fixed(tensor: Tensor) -> bool:
    """Whether a tensor is a constant, or the Dequantize of one."""
    operand = None if tensor.is_constant else quantized_operand(tensor)
    return tensor.is_constant or (operand is not None and operand.integers.is_constant)


def values_of(tensor: Tensor) -> Array:
    """The values of a fixed tensor."""
    operand = None if tensor.is_constant else quantized_operand(tensor)
    if operand is None:
        return tensor.numpy()
    node = tensor.producer
    assert node is not None
    return node.op.evaluate_all([None if t is None else t.numpy() for t in node.inputs])[0]


def _parameters(quantize: Node) -> tuple[Array, Array]:
    scale, zero = quantize.inputs[1], quantize.inputs[2] if len(quantize.inputs) > 2 else None
    assert scale is not None
    if not scale.is_constant or (zero is not None and not zero.is_constant):
        raise NotInCsinn("a scale is computed at run time", hint="quantize with calibration data")
    return scale.numpy(), np.zeros((), np.int8) if zero is None else zero.numpy()


def _port(name: str, tensor: Tensor) -> Port:
    dtype = tensor.type.dtype
    if dtype not in CTYPES:
        raise NotInCsinn(f"{name} is of type {dtype}, which no csinn operator takes")
    return Port(name, CTYPES[dtype], static(tensor.type.dims))
