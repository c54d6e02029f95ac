"""The walk over a TFLite file that builds a Module."""

from __future__ import annotations

import base64
import functools
import math
from collections.abc import Mapping, Sequence
from typing import Literal, TypeAlias

import attrs
import numpy as np

from uair.frontends.common.builder import Builder
from uair.frontends.common.errors import SourceFileError, UnmappedOperatorError, placed
from uair.frontends.common.table import joined
from uair.frontends.tflite import sparse
from uair.frontends.tflite.dilation import dilated
from uair.frontends.tflite.errors import TfliteSignatureError
from uair.frontends.tflite.handlers import CUSTOM, FAMILIES
from uair.frontends.tflite.model import Model, OperatorInfo, Quantization, Signature, SubGraph, TensorInfo
from uair.frontends.tflite.node import Complex, Handle, Handler, Result, TfliteNode, Value
from uair.frontends.tflite.states import States, written
from uair.ir.data import ArrayData, ComputedData, Data, MappedData, MappedFile
from uair.ir.dims import Dim, symbol
from uair.ir.dtype import Array, DType
from uair.ir.graph import Graph, Tensor, constant
from uair.ir.inference import number_unknowns
from uair.ir.location import Location
from uair.ir.module import Module
from uair.ir.types import TensorType
from uair.names import Namer
from uair.ops import Cast, Dequantize, Quantize
from uair.ops.custom import Opaque

Numbers: TypeAlias = Literal["stored", "real"]
Arithmetic: TypeAlias = Literal["real", "litert"]

MAX_OPERATORS = 1_000_000
"""Operators of all subgraphs that are put in where they are called; real models hold a few thousand."""
MAX_DEPTH = 32
"""Subgraphs that run subgraphs."""
MAX_NAMED = 20


@functools.cache
def handlers() -> Mapping[str, Handler]:
    """Every handler, by the operator's name."""
    return joined(FAMILIES)


@attrs.define(eq=False)
class Scope:
    """One subgraph being imported.

    Attributes:
        subgraph: as in the file.
        graph: where its nodes go.
        where: it in words.
        depth: how many subgraphs run it.
        values: what its tensors stand for.
        reals: its quantized tensors as real numbers; weights by the order of their axes.
        initial: whether it gives variables their first values.
    """

    importer: Importer
    subgraph: SubGraph
    graph: Graph
    where: str
    depth: int = 0
    initial: bool = False
    values: dict[int, Value] = attrs.Factory(dict[int, "Value"])
    reals: dict[tuple[int, tuple[int, ...]], Tensor] = attrs.Factory(dict[tuple[int, tuple[int, ...]], Tensor])

    def get(self, number: int, place: str) -> Value:
        """What a tensor stands for.

        Raises:
            SourceFileError: nothing gives it a value before it is used.
        """
        if number not in self.values:
            self.values[number] = self.importer.stored(self, number, place)
        return self.values[number]


class Importer:
    """Imports one file.

    Attributes:
        model: the file in plain values.
        file: its bytes.
        numbers: what quantized inputs and outputs of the module are.
        arithmetic: whether averages of integers and products with 8-bit weights are those of real numbers or LiteRT's.
        builder: of all graphs.
        states: the variables.
    """

    def __init__(
        self, model: Model, file: MappedFile, numbers: Numbers = "stored", arithmetic: Arithmetic = "real"
    ) -> None:
        self.model = model
        self.file = file
        self.numbers = numbers
        self.arithmetic = arithmetic
        self.builder = Builder()
        self.states = States()
        self.expanded = 0

    def run(self, name: str, signature: str | None) -> Module:
        """The module of one signature, or of the first subgraph.

        Args:
            name: of the module.
            signature: its key; None for the file's first one.

        Raises:
            UnmappedOperatorError: there are operators without a handler; all of them are named.
            UairError: the file is wrong or cannot be expressed; the error names the operator.
        """
        chosen = self._signature(signature)
        number = 0 if chosen is None else chosen.subgraph
        self._check_coverage(number)
        graph = Graph("main")
        scope = self.scope(number, graph)
        self.states = States(graph, written(self.model, number))
        self._inputs(scope, chosen)
        self.operators(scope)
        self._outputs(scope, chosen)
        module = Module(name, {"main": graph})
        self.states.finish(module)
        if len(self.model.signatures) > 1:
            module.metadata["signatures"] = ", ".join(s.key for s in self.model.signatures)
        number_unknowns(module)
        return module

    def _signature(self, key: str | None) -> Signature | None:
        found = [s for s in self.model.signatures if key is None or s.key == key]
        if not found and key is not None:
            known = ", ".join(repr(s.key) for s in self.model.signatures) or "none"
            raise TfliteSignatureError(f"there is no signature {key!r}", hint=f"the file has: {known}")
        if key is None:
            found = [s for s in found if s.subgraph == 0]
        return found[0] if found else None

    def _check_coverage(self, number: int) -> None:
        """Refuse operators that have no handler, all at once."""
        missing: dict[str, int] = {}
        pending, seen = [number], {number}
        while pending:
            for op in self.model.subgraphs[pending.pop()].operators:
                if op.kind not in handlers() and op.kind != "CUSTOM":
                    missing[op.kind] = missing.get(op.kind, 0) + 1
                for called in self.called(op):
                    if called not in seen:
                        seen.add(called)
                        pending.append(called)
        if missing:
            named = [f"{kind} ({count} times)" if count > 1 else kind for kind, count in sorted(missing.items())]
            more = f" and {len(named) - MAX_NAMED} more" if len(named) > MAX_NAMED else ""
            raise UnmappedOperatorError(
                f"{len(named)} operators have no counterpart: {', '.join(named[:MAX_NAMED])}{more}",
                hint="convert the model again with these computed by other operators of TensorFlow",
            )

    def called(self, op: OperatorInfo) -> tuple[int, ...]:
        """The subgraphs that an operator runs."""
        numbers = called_by(op)
        for number in numbers:
            if not 0 <= number < len(self.model.subgraphs):
                raise SourceFileError(f"{op.name} runs graph {number}, the file has {len(self.model.subgraphs)}")
        return numbers

    def scope(self, number: int, graph: Graph, *, depth: int = 0, initial: bool = False) -> Scope:
        """A scope for a subgraph whose nodes go into `graph`.

        Raises:
            SourceFileError: subgraphs run each other in a circle, or too many.
        """
        subgraph = self.model.subgraphs[number]
        self.expanded += len(subgraph.operators)
        if depth > MAX_DEPTH or self.expanded > MAX_OPERATORS:
            raise SourceFileError(
                f"graph {number} runs graphs that run graphs without end", hint="the file is damaged or hostile"
            )
        where = f"graph {number}" + (f" {subgraph.name!r}" if subgraph.name else "")
        return Scope(self, subgraph, graph, where, depth, initial)

    # ------------------------------------------------------------------ interface
    def _inputs(self, scope: Scope, signature: Signature | None) -> None:
        given = {tensor: name for name, tensor in (() if signature is None else signature.inputs)}
        names = Namer()
        for i, number in enumerate(scope.subgraph.inputs):
            info = scope.subgraph.tensors[number]
            name = names.unique(given.get(number) or info.name or f"input_{i}")
            if number in scope.values:
                raise SourceFileError(f"tensor {number} is an input twice", place=scope.where)
            t = declared(info, name, scope.where)
            q = info.quantization
            if self.numbers == "real" and q is not None and t.dtype.is_integer:
                x = scope.graph.add_input(name, t.with_dtype(DType.F32))
                scope.values[number] = self._converted(scope, Quantize(dtype=t.dtype, axis=q.axis), x, info)
            else:
                scope.values[number] = scope.graph.add_input(name, t)

    def _outputs(self, scope: Scope, signature: Signature | None) -> None:
        given = {tensor: name for name, tensor in (() if signature is None else signature.outputs)}
        names = Namer()
        for i, number in enumerate(scope.subgraph.outputs):
            info = scope.subgraph.tensors[number]
            value = scope.get(number, f"outputs of {scope.where}")
            if not isinstance(value, Tensor):
                value = _plain(value, f"output {info.name!r}")
            q = info.quantization
            if self.numbers == "real" and q is not None and value.type.dtype.is_integer:
                value = self._converted(scope, Dequantize(axis=q.axis), value, info)
            scope.graph.add_output(names.unique(given.get(number) or info.name or f"output_{i}"), value)

    def _converted(self, scope: Scope, op: Quantize | Dequantize, x: Tensor, info: TensorInfo) -> Tensor:
        """An input quantized, or an output dequantized."""
        assert info.quantization is not None
        operands = [x, *self.parameters(info.quantization, info)]
        node, _ = self.builder.append(
            scope.graph, op, operands, name=info.name, loc=Location.of(info.name, op.op_type.upper())
        )
        return node.output

    # ------------------------------------------------------------------ operators
    def operators(self, scope: Scope) -> None:
        """Import the operators of a subgraph.

        Raises:
            UairError: one is wrong or cannot be expressed; the place names it.
        """
        for op in dilated(scope.subgraph, functools.partial(self._numbers, scope)):
            place = describe(op, scope)
            with placed(place, op.name, parts="options or operands", inner="TFLite operator"):
                self._operator(scope, op, place)

    def _numbers(self, scope: Scope, number: int) -> list[int] | None:
        """The values of a stored list of integers."""
        if number < 0 or scope.subgraph.tensors[number].span is None:
            return None
        value = scope.get(number, scope.where)
        if not isinstance(value, Tensor) or value.data is None or not value.type.dtype.is_integer:
            return None
        return [int(v) for v in value.data.array().reshape(-1).tolist()] if value.data.size <= 64 else None

    def _operator(self, scope: Scope, op: OperatorInfo, place: str) -> None:
        name = scope.subgraph.tensors[op.outputs[0]].name if op.outputs else op.name
        node = TfliteNode(self, scope, op, name=name, place=place)
        handler = CUSTOM.get(op.custom, keep) if op.kind == "CUSTOM" else handlers()[op.kind]
        results: Result = handler(node)
        found: Sequence[Value | None] = (results,) if isinstance(results, Tensor | Handle | Complex) else results
        for i, number in enumerate(op.outputs):
            value = found[i] if i < len(found) else None
            if value is None:
                continue  # nothing uses it, or the use says that it has no value
            if number in scope.values:
                raise SourceFileError(f"tensor {number} gets a value twice", place=place)
            scope.values[number] = self._fitted(node, value, scope.subgraph.tensors[number])

    def _fitted(self, node: TfliteNode, value: Value, info: TensorInfo) -> Value:
        """A result in the element type that the file declares: real numbers are quantized."""
        if not isinstance(value, Tensor) or info.dtype is None:
            return value
        have = value.type.dtype
        quantized = info.quantization if info.dtype.is_integer else None
        if quantized is not None and have.is_float:
            operands = self.parameters(quantized, info)
            value = node(Quantize(dtype=info.dtype, axis=quantized.axis), node.cast(value, DType.F32), *operands)
        elif have is not info.dtype:
            if not have.is_integer or not info.dtype.is_integer or quantized is not None:
                node.refuse(f"the file declares the result {info.name!r} as {info.dtype}, it is {have}")
            value = node(Cast(to=info.dtype), value)
        if not value.name and value.producer is not None:
            value.name = info.name
        return value

    def update(self, node: TfliteNode, operand: int, value: Tensor) -> None:
        """Give a tensor that is a variable its next value, real numbers."""
        fitted = self._fitted(node, value, node.info(operand))
        assert isinstance(fitted, Tensor)
        self.states.update(node, operand, fitted)

    # ------------------------------------------------------------------ tensors
    def tensor(self, node: TfliteNode, number: int) -> Tensor:
        """A tensor as it is stored.

        Raises:
            SourceOperatorError: it is a handle, or complex.
        """
        value = node.scope.get(number, node.place)
        if not isinstance(value, Tensor):
            node.refuse(f"operand {node.scope.subgraph.tensors[number].name!r} must be a tensor of real numbers")
        return value

    def real(self, node: TfliteNode, number: int) -> Tensor:
        """A tensor as real numbers: a quantized one is dequantized, once."""
        return self.weight(node, number, ())

    def weight(self, node: TfliteNode, number: int, perm: tuple[int, ...]) -> Tensor:
        """A tensor with its axes in another order, as real numbers."""
        info = node.scope.subgraph.tensors[number]
        stored = self.tensor(node, number)
        if perm and len(perm) != node.rank(stored):
            node.refuse(f"operand {info.name!r} must have {len(perm)} axes, has {node.rank(stored)}")
        quantized = info.quantization
        known = node.scope.reals.get((number, perm))
        if known is not None:
            return known
        result = node.transposed(stored, perm) if perm else stored
        if quantized is not None and stored.type.dtype.is_quantizable and stored.type.dtype.is_integer:
            axis = quantized.axis if quantized.axis is None or not perm else perm.index(quantized.axis)
            result = node(Dequantize(axis=axis), result, *self.parameters(quantized, info))
        elif quantized is not None and stored.type.dtype is DType.I64:
            result = _scaled(node, result, quantized, info)
        node.scope.reals[(number, perm)] = result
        return result

    def parameters(self, quantized: Quantization, info: TensorInfo) -> tuple[Tensor, ...]:
        """Scale and, unless it is 0, zero point as constants.

        Raises:
            SourceFileError: a zero point is not a number of the tensor's type.
        """
        assert info.dtype is not None
        low, high = info.dtype.range
        zeros = quantized.zero_points
        if np.any(zeros < low) or np.any(zeros > high):
            raise SourceFileError(f"a zero point of tensor {info.name!r} is no {info.dtype}")
        shape = () if quantized.axis is None else quantized.scales.shape
        scale = constant(ArrayData(np.reshape(quantized.scales, shape)), f"{info.name}/scale")
        if not np.any(zeros):
            return (scale,)
        return scale, constant(ArrayData(zeros.astype(info.dtype.numpy).reshape(shape)), f"{info.name}/zero_point")

    def stored(self, scope: Scope, number: int, place: str) -> Value:
        """The values of a tensor that no operator gives: a constant, or a variable.

        Raises:
            SourceFileError: it has none.
        """
        info = scope.subgraph.tensors[number]
        if info.dtype is not None and info.span is None and info.variable:
            return self.states.tensor(number, scope, info)
        if info.dtype is None or (info.span is None and 0 not in info.shape):
            raise SourceFileError(
                f"tensor {info.name!r} is used before anything gives it a value",
                place=place,
                hint="operators must stand in the order in which they are run, and in no circle",
            )
        return constant(self._data(info, info.dtype), info.name)

    def _data(self, info: TensorInfo, dtype: DType) -> Data:
        if info.span is None:
            return ArrayData(np.zeros(info.shape, dtype.numpy), dtype)
        if dtype is DType.STRING:
            view = self.file.view(info.span.offset, info.span.nbytes)
            return ArrayData(strings(view, info.shape, info.name), dtype)
        if info.sparsity is not None:
            return self._sparse(info, dtype)
        wanted = (math.prod(info.shape) * dtype.bits + 7) // 8
        if info.span.nbytes != wanted:
            raise SourceFileError(
                f"tensor {info.name!r} of type {dtype}{list(info.shape)} has {info.span.nbytes} bytes, not {wanted}",
                hint="the file is damaged",
            )
        return MappedData(self.file, info.span.offset, dtype, info.shape)

    def _sparse(self, info: TensorInfo, dtype: DType) -> Data:
        """A sparse tensor, filled up when somebody asks."""
        assert info.span is not None and info.sparsity is not None
        count = info.span.nbytes * 8 // dtype.bits
        values = MappedData(self.file, info.span.offset, dtype, (count,))
        places = sparse.positions(info.sparsity, info.shape, count)
        compute = functools.partial(sparse.dense, places=places, shape=info.shape)
        return ComputedData(compute, (values,), dtype, info.shape)


def called_by(op: OperatorInfo) -> tuple[int, ...]:
    """Numbers of the subgraphs that an operator's options name."""
    fields = RUNS.get(op.kind, ())
    return tuple(op.options.integer(name) for name in fields)


RUNS = {
    "IF": ("then_subgraph_index", "else_subgraph_index"),
    "WHILE": ("cond_subgraph_index", "body_subgraph_index"),
    "STABLEHLO_WHILE": ("cond_subgraph_index", "body_subgraph_index"),
    "CALL": ("subgraph",),
    "CALL_ONCE": ("init_subgraph_index",),
    "STABLEHLO_COMPOSITE": ("decomposition_subgraph_index",),
}
"""Operators that run subgraphs, and the options that say which."""


def keep(node: TfliteNode) -> tuple[Tensor, ...]:
    """The results of a custom operator, which is kept as it is: name, options, operands, declared types."""
    op = node.operator
    types = tuple(declared(node.result_info(i), node.name, node.place) for i in range(len(op.outputs)))
    operands = [node.raw(i) for i in range(len(node)) if node.has(i)]
    opaque = Opaque(
        domain="tflite", kind=op.custom, payload=base64.b64encode(node.payload).decode("ascii"), result_types=types
    )
    return node.all(opaque, *operands)


def describe(op: OperatorInfo, scope: Scope) -> str:
    """An operator in words, for messages."""
    name = scope.subgraph.tensors[op.outputs[0]].name if op.outputs else ""
    return f"TFLite operator {op.name}" + (f" that gives {name!r}" if name else "") + f" in {scope.where}"


def declared(info: TensorInfo, name: str, where: str) -> TensorType:
    """The type that a file declares; open extents are named after the tensor and the axis.

    Raises:
        SourceFileError: it is no tensor.
    """
    if info.dtype is None:
        raise SourceFileError(f"{info.name!r} is a handle, a tensor is needed", place=where)
    base = "".join(c if c.isalnum() and c.isascii() else "_" for c in name)
    extents: list[Dim] = [
        symbol(f"_{base}_{axis}" if base[:1].isdigit() else f"{base}_{axis}") if d == -1 else d
        for axis, d in enumerate(info.signature or info.shape)
    ]
    return TensorType(info.dtype, tuple(extents))


def strings(view: memoryview, shape: tuple[int, ...], name: str) -> Array:
    """The texts of a string tensor: their number, where each begins and the last ends, then their bytes.

    Raises:
        SourceFileError: they leave the buffer, or are not as many as the shape says.
    """
    count = math.prod(shape)
    starts = np.frombuffer(view[: len(view) // 4 * 4], "<i4")
    if not len(starts) or starts[0] != count or len(starts) < count + 2:
        raise SourceFileError(f"string tensor {name!r} of shape {list(shape)} has another number of texts")
    bounds = starts[1 : count + 2].tolist()
    if any(not 0 <= a <= b <= len(view) for a, b in zip(bounds, bounds[1:], strict=False)):
        raise SourceFileError(f"a text of string tensor {name!r} lies outside of it")
    result = np.empty(count, object)
    for i in range(count):
        result[i] = bytes(view[bounds[i] : bounds[i + 1]]).decode("utf-8", "replace")
    return result.reshape(shape)


def _plain(value: Value, what: str) -> Tensor:
    if isinstance(value, Complex):
        raise SourceFileError(f"{what} is complex", hint="let the model give real and imaginary parts")
    raise SourceFileError(f"{what} is a handle of a variable, not a tensor")


def _scaled(node: TfliteNode, stored: Tensor, quantized: Quantization, info: TensorInfo) -> Tensor:
    """A stored i64 tensor (the bias of 16-bit activations) as real numbers: no Dequantize takes 64-bit integers."""
    if stored.data is None:
        node.refuse(f"operand {info.name!r} is a quantized i64 that is computed")
    scales = quantized.scales
    if quantized.axis is not None:
        scales = scales.reshape([-1 if i == quantized.axis else 1 for i in range(len(info.shape))])
    compute = functools.partial(_product, scales=scales.astype(np.float64))
    return constant(ComputedData(compute, (stored.data,), DType.F32, stored.data.shape), info.name)


def _product(values: Array, scales: Array) -> Array:
    return np.asarray(values * scales, np.float32)
