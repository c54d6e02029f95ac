"""A TFLite file in plain values: what the importer reads. Weights stay in the file, by place and length."""

from __future__ import annotations

from typing import NoReturn, TypeVar

import attrs
import numpy as np

from uair.frontends.common.errors import SourceFileError
from uair.frontends.tflite import schema
from uair.frontends.tflite.flat import FlatBuffer, Table
from uair.ir.dtype import Array, DType

T = TypeVar("T")

_KIND_DEFAULTS: dict[str, object] = {"s": "", "[i": (), "[q": (), "[f": (), "[?": ()}
_LISTS = {"[i": "<i4", "[q": "<i8", "[f": "<f4", "[?": "?"}


@attrs.frozen
class Quantization:
    """How the integers of a tensor stand for numbers: (q - zero_point) * scale.

    Attributes:
        scales: one, or one for each place along `axis`.
        zero_points: as many.
        axis: None for one scale.
    """

    scales: Array
    zero_points: Array
    axis: int | None = None


@attrs.frozen(eq=False)
class Span:
    """Bytes of the file."""

    offset: int
    nbytes: int


@attrs.frozen(eq=False)
class Dimension:
    """One level of a sparse tensor: dense of some extent, or by segments and indices as in the CSR format."""

    dense_size: int
    segments: Array | None = None
    indices: Array | None = None


@attrs.frozen(eq=False)
class Sparsity:
    """How the stored values of a sparse tensor lie in it.

    Attributes:
        order: the levels, outermost first: axes of the tensor, then the axes inside of a block.
        block_map: the axis that each axis inside of a block belongs to.
        dimensions: of the levels, in the order of traversal.
    """

    order: tuple[int, ...]
    block_map: tuple[int, ...]
    dimensions: tuple[Dimension, ...]


@attrs.frozen(eq=False)
class TensorInfo:
    """A tensor of a subgraph.

    Attributes:
        name: as in the file.
        dtype: None for handles and lists of tensors.
        shape: with 1 where an extent is open.
        signature: with -1 where an extent is open; None when all are fixed.
        span: its values, when it has any.
        quantization: None when its numbers stand for themselves.
        sparsity: None when all its elements are stored.
        variable: whether it keeps its value from one run of the model to the next.
    """

    name: str
    dtype: DType | None
    shape: tuple[int, ...]
    signature: tuple[int, ...] | None = None
    span: Span | None = None
    quantization: Quantization | None = None
    sparsity: Sparsity | None = None
    variable: bool = False


class Options:
    """The options of one operator; an operator without options has every field's default."""

    __slots__ = ("_fields", "_table", "kind")

    def __init__(self, kind: str = "NONE", table: Table | None = None) -> None:
        self.kind = kind
        self._fields = schema.OPTIONS.get(kind, {})
        self._table = table

    def _field(self, name: str) -> tuple[Table, schema.Field] | None:
        if self._table is None:
            return None
        if name not in self._fields:
            raise SourceFileError(f"the operator has the options of another one, {self.kind}: no {name!r} is in there")
        return self._table, self._fields[name]

    def integer(self, name: str, default: int = 0) -> int:
        """A whole number; `default` without options."""
        found = self._field(name)
        return default if found is None else found[0].integer(found[1][0], found[1][1], int(found[1][2]))

    def number(self, name: str) -> float:
        """A number."""
        found = self._field(name)
        return 0.0 if found is None else float(found[0].number(found[1][0], "f", found[1][2]))

    def flag(self, name: str) -> bool:
        """A truth value."""
        found = self._field(name)
        return found is not None and found[0].flag(found[1][0], bool(found[1][2]))

    def text(self, name: str) -> str:
        """A text."""
        found = self._field(name)
        return "" if found is None else found[0].string(found[1][0])

    def integers(self, name: str) -> tuple[int, ...]:
        """A list of whole numbers; empty when absent."""
        values = self._list(name)
        return () if values is None else tuple(int(v) for v in values.tolist())

    def numbers(self, name: str) -> tuple[float, ...]:
        """A list of numbers; empty when absent."""
        values = self._list(name)
        return () if values is None else tuple(float(v) for v in values.tolist())

    def _list(self, name: str) -> Array | None:
        found = self._field(name)
        return None if found is None else found[0].numbers(found[1][0], _LISTS[found[1][1]])

    def choice(self, name: str, names: tuple[str, ...]) -> str:
        """A value of an enumeration.

        Raises:
            TfliteSchemaError: its number is not known.
        """
        return schema.named(names, self.integer(name), f"value of {name!r}")


@attrs.frozen
class Dilation:
    """What SPACE_TO_BATCH_ND and BATCH_TO_SPACE_ND around a convolution without padding make of it.

    Attributes:
        block: distance of the window's taps along each spatial axis.
        pads: at the begin of every spatial axis, then at the end of every one.
    """

    block: tuple[int, ...]
    pads: tuple[int, ...]


@attrs.frozen(eq=False)
class OperatorInfo:
    """One operator of a subgraph.

    Attributes:
        kind: its name, "CUSTOM" for one that is not built in.
        custom: the name of a custom operator.
        inputs: tensors of the subgraph; -1 for one that is left out.
        outputs: tensors of the subgraph.
        options: of a builtin operator.
        payload: options of a custom operator, bytes that only its kernel understands.
        dilation: of a convolution that stands for three operators.
    """

    kind: str
    custom: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    options: Options
    payload: Span | None = None
    dilation: Dilation | None = None

    @property
    def name(self) -> str:
        """The operator as users know it."""
        return self.custom if self.kind == "CUSTOM" else self.kind


@attrs.frozen(eq=False)
class SubGraph:
    """A subgraph: the model, or what control flow runs."""

    name: str
    tensors: tuple[TensorInfo, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    operators: tuple[OperatorInfo, ...]


@attrs.frozen
class Signature:
    """Names for the inputs and outputs of a subgraph.

    Attributes:
        key: of the signature ("serving_default").
        subgraph: its number.
        inputs: names by tensor.
        outputs: pairs of a name and a tensor, which may have several names.
    """

    key: str
    subgraph: int
    inputs: tuple[tuple[str, int], ...]
    outputs: tuple[tuple[str, int], ...]


@attrs.frozen(eq=False)
class Model:
    """A TFLite model."""

    version: int
    description: str
    subgraphs: tuple[SubGraph, ...]
    signatures: tuple[Signature, ...]
    metadata: tuple[tuple[str, Span], ...] = ()


def read(view: memoryview) -> Model:
    """Read a file, but for the values of its tensors.

    Raises:
        SourceFileError: the file is damaged, or no TFLite model.
        TfliteSchemaError: it uses numbers of the schema that are not known.
    """
    return _Reader(FlatBuffer(view)).model()


class _Reader:
    """Reads one file. Slots are those of the schema's tables, in their order of declaration."""

    def __init__(self, buffer: FlatBuffer) -> None:
        self.buffer = buffer
        self.codes: list[tuple[str, str]] = []
        self.spans: list[Span | None] = []

    def damaged(self, what: str) -> NoReturn:
        """Say that the file contradicts itself."""
        self.buffer.damaged(what)

    def required(self, value: T | None, what: str) -> T:
        """What must be there."""
        if value is None:
            self.damaged(f"{what} is missing")
        return value

    def model(self) -> Model:
        """Model: version, operator_codes, subgraphs, description, buffers, (unused), metadata, signature_defs."""
        root = self.buffer.root(schema.IDENTIFIER)
        version = root.integer(0, "I")
        if version != 3:
            self.damaged(f"its schema has version {version}, known is 3")
        self.codes = [self.code(t) for t in root.tables(1)]
        self.spans = [self.span(t) for t in root.tables(4)]
        subgraphs = tuple(self.subgraph(t, i) for i, t in enumerate(root.tables(2)))
        if not subgraphs:
            self.damaged("it has no graph")
        metadata = tuple((t.string(0), span) for t in root.tables(6) if (span := self.values(t.integer(1, "I"))))
        signatures = tuple(self.signature(t, subgraphs) for t in root.tables(7))
        return Model(version, root.string(3), subgraphs, signatures, metadata)

    def code(self, t: Table) -> tuple[str, str]:
        """OperatorCode: deprecated_builtin_code, custom_code, version, builtin_code."""
        number = max(t.integer(0, "b"), t.integer(3))
        return schema.named(schema.OPERATORS, number, "builtin operator"), t.string(1)

    def span(self, t: Table) -> Span | None:
        """Buffer: data, or offset and size in the file behind the FlatBuffer. None without values."""
        offset, size = t.integer(1, "Q"), t.integer(2, "Q")
        if offset > 1:
            if offset + size > self.buffer.size:
                self.damaged(f"a buffer of {size} bytes at byte {offset} goes beyond its end")
            return Span(offset, size)
        found = t.bytes(0)
        return None if found is None or not found[1] else Span(*found)

    def values(self, number: int) -> Span | None:
        """The buffer of that number."""
        if not 0 <= number < max(len(self.spans), 1):
            self.damaged(f"buffer {number} is not there, the file has {len(self.spans)}")
        return self.spans[number] if self.spans else None

    def signature(self, t: Table, subgraphs: tuple[SubGraph, ...]) -> Signature:
        """SignatureDef: inputs, outputs, signature_key, (deprecated), subgraph_index."""
        subgraph = t.integer(4, "I")
        if subgraph >= len(subgraphs):
            self.damaged(f"a signature is of graph {subgraph}, the file has {len(subgraphs)}")
        maps = [tuple((m.string(0), m.integer(1, "I")) for m in t.tables(slot)) for slot in (0, 1)]
        return Signature(t.string(2), subgraph, maps[0], maps[1])

    def subgraph(self, t: Table, number: int) -> SubGraph:
        """SubGraph: tensors, inputs, outputs, operators, name."""
        tensors = tuple(self.tensor(x) for x in t.tables(0))
        where = f"graph {number}"
        inputs, outputs = t.integers(1), t.integers(2)
        operators = tuple(self.operator(x, f"operator {i} of {where}") for i, x in enumerate(t.tables(3)))
        self.check(inputs, len(tensors), f"inputs of {where}")
        self.check(outputs, len(tensors), f"outputs of {where}")
        for i, op in enumerate(operators):
            self.check(tuple(x for x in op.inputs if x != -1), len(tensors), f"operands of operator {i} of {where}")
            self.check(op.outputs, len(tensors), f"results of operator {i} of {where}")
        return SubGraph(t.string(4), tensors, inputs, outputs, operators)

    def check(self, numbers: tuple[int, ...], count: int, what: str) -> None:
        """Refuse numbers of tensors that are not there."""
        for number in numbers:
            if not 0 <= number < count:
                self.damaged(f"{what}: tensor {number} is not there, the graph has {count}")

    def operator(self, t: Table, where: str) -> OperatorInfo:
        """Operator: opcode_index, inputs, outputs, builtin_options_type, builtin_options, custom_options, ...

        large_custom_options_offset and _size have slots 9 and 10, builtin_options_2_type and builtin_options_2 11, 12.
        """
        code = t.integer(0, "I")
        if code >= len(self.codes):
            self.damaged(f"{where} has code {code}, the file has {len(self.codes)}")
        kind, custom = self.codes[code]
        options = Options()
        for type_slot, names in ((3, schema.OPTION_NUMBERS), (11, schema.MORE_OPTION_NUMBERS)):
            number = t.integer(type_slot, "B")
            if number:
                options = Options(schema.named(names, number, "options table"), t.table(type_slot + 1))
        offset, size = t.integer(9, "Q"), t.integer(10, "Q")
        if offset > 1:
            if offset + size > self.buffer.size:
                self.damaged(f"the options of {where} go beyond its end")
            payload: Span | None = Span(offset, size)
        else:
            found = t.bytes(5)
            payload = None if found is None else Span(*found)
        return OperatorInfo(kind, custom, t.integers(1), t.integers(2), options, payload)

    def tensor(self, t: Table) -> TensorInfo:
        """Tensor: shape, type, buffer, name, quantization, is_variable, sparsity, shape_signature, has_rank, ...

        external_buffer has slot 10.
        """
        number = t.integer(1, "b")
        if not 0 <= number < len(schema.TYPES):
            schema.named(tuple(map(str, schema.TYPES)), number, "element type")
        shape, signature = t.integers(0), t.integers(7)
        name = t.string(3)
        if any(d < 0 for d in shape) or any(d < -1 for d in signature):
            self.damaged(f"tensor {name!r} has shape {list(shape)}")
        if t.integer(10, "I"):
            raise SourceFileError(
                f"the values of tensor {name!r} stand in another file",
                hint="convert the model with its weights in the .tflite file",
            )
        quantization = t.table(4)
        sparsity = t.table(6)
        return TensorInfo(
            name,
            schema.TYPES[number],
            shape,
            signature if len(signature) == len(shape) and -1 in signature else None,
            self.values(t.integer(2, "I")),
            None if quantization is None else self.quantization(quantization, name, shape),
            None if sparsity is None else self.sparsity(sparsity, name, len(shape)),
            t.flag(5),
        )

    def quantization(self, t: Table, name: str, shape: tuple[int, ...]) -> Quantization | None:
        """QuantizationParameters: min, max, scale, zero_point, details_type, details, quantized_dimension."""
        if t.integer(4, "B"):
            raise SourceFileError(
                f"tensor {name!r} has a quantization of its own kind (details {t.integer(4, 'B')})",
                hint="quantize with a scale and a zero point for a tensor or for every channel",
            )
        scales, zeros = t.numbers(2, "<f4"), t.numbers(3, "<i8")
        if scales is None or not len(scales):
            return None
        if zeros is None or not len(zeros):
            zeros = np.zeros(len(scales), np.int64)
        if len(zeros) == 1:
            zeros = np.broadcast_to(zeros, scales.shape)
        if len(zeros) != len(scales) or not np.all(np.isfinite(scales)) or np.any(scales < 0):
            self.damaged(f"tensor {name!r} has {len(scales)} scales that make no sense, and {len(zeros)} zero points")
        if len(scales) == 1:
            return Quantization(scales, zeros)
        axis = t.integer(6)
        if not 0 <= axis < len(shape) or shape[axis] != len(scales):
            self.damaged(f"tensor {name!r} of shape {list(shape)} has {len(scales)} scales along axis {axis}")
        return Quantization(scales, zeros, axis)

    def sparsity(self, t: Table, name: str, rank: int) -> Sparsity:
        """SparsityParameters: traversal_order, block_map, dim_metadata."""
        order, blocks = t.integers(0), t.integers(1)
        dimensions = tuple(self.dimension(x, name) for x in t.tables(2))
        if sorted(order) != list(range(rank + len(blocks))) or len(dimensions) != len(order):
            self.damaged(f"sparse tensor {name!r} has {len(dimensions)} levels in the order {list(order)}")
        if any(not 0 <= b < rank for b in blocks):
            self.damaged(f"sparse tensor {name!r} has blocks of axes {list(blocks)}")
        return Sparsity(order, blocks, dimensions)

    def dimension(self, t: Table, name: str) -> Dimension:
        """DimensionMetadata: format, dense_size, array_segments_type, array_segments, array_indices_type, ..."""
        number = t.integer(0, "b")
        if number == 0:
            return Dimension(max(t.integer(1), 0))
        if number != 1:
            schema.named(("DENSE", "SPARSE_CSR"), number, "format of a sparse axis")
        lists: list[Array] = []
        for slot in (2, 4):
            width = schema.INDEX_WIDTHS.get(t.integer(slot, "B"))
            holder = t.table(slot + 1)
            found = None if width is None or holder is None else holder.numbers(0, width)
            lists.append(self.required(found, f"a list of indices of sparse tensor {name!r}"))
        return Dimension(0, lists[0], lists[1])
