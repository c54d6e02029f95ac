"""Building the ONNX graph of a UAIR graph: names, nodes, initializers and types, without any bytes of weights.

An emitter (codegen/onnx/emitters) is called with an `Emission`, through which it adds the ONNX nodes that stand for one
UAIR node. The last of them is added by `result`, which names its results after the node's own.
"""

from __future__ import annotations

import functools
import json
from collections import ChainMap
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import attrs
import numpy as np
from onnx import GraphProto, NodeProto

from uair.codegen.onnx.extents import Extents
from uair.codegen.onnx.schema import (
    CARRIERS,
    NotExpressible,
    Signature,
    attribute,
    domain_version,
    require_type,
    signature,
    storage,
)
from uair.codegen.onnx.values import Texts, typed_value
from uair.errors import InternalError
from uair.ir.data import ArrayData, ComputedData, Data
from uair.ir.dims import Dim, Shape, is_static
from uair.ir.dtype import Array, DType
from uair.ir.graph import Graph, Node, Tensor
from uair.ir.location import Location
from uair.ir.types import TensorType
from uair.names import ANYTHING, Namer
from uair.ops.base import Operator
from uair.ops.shape_values import resolve_constants

LOCATION_KEY = "uair.location"
METADATA_IR_VERSION = 10  # the first in which a node has metadata_props


@attrs.frozen
class Options:
    """How a graph is written.

    Attributes:
        opset: version of the default operator set.
        ir_version: version of the file format.
        explicit: write attributes that have their default value too (some vendor tools know no defaults).
        locations: keep the source nodes of every node in it.
        domains: versions of the other operator sets.
        names: regular expression of legal names, for importers that are particular about them; see `Namer`. Nodes then
            also have names that no input and no constant has, because such importers make nodes of these too. The names
            of the interface are kept as they are.
    """

    opset: int
    ir_version: int
    explicit: bool = True
    locations: bool = True
    domains: Mapping[str, int] = attrs.Factory(dict[str, int])
    names: str | None = None


class GraphWriter:
    """The ONNX graph under construction.

    Attributes:
        options: how it is written.
        nodes: the nodes so far.
        initializers: constants by name, by reference.
        types: type of every value by name.
        domains: versions of the operator sets that occur, by domain.
        extents: makes values out of symbolic sizes.
        kept: whether what is written is kept. Who only asks about a node gets it without the graphs in the attributes
            of control flow, the nodes of which are asked about one by one, and without attributes that are long lists.
    """

    def __init__(self, options: Options, emitter: Callable[[Operator, int], Callable[[Emission, Any], None]]) -> None:
        """A graph without nodes; `emitter` gives the function that writes an operator at an opset."""
        self.options = options
        self.opset = options.opset
        self.nodes: list[NodeProto] = []
        self.initializers: dict[str, Data] = {}
        self.types: ChainMap[str, TensorType] = ChainMap()
        self.domains: dict[str, int] = {"": options.opset}
        self.extents = Extents(self)
        self.kept = True
        legal = ANYTHING if options.names is None else options.names
        self._emitter = emitter
        self._texts = Texts()
        self._value_names = Namer(legal)
        self._node_names = Namer(legal, default="node")
        self._apart: set[str] = set()
        self._named: dict[Tensor, str] = {}
        self._by_data: dict[Data, str] = {}
        self._literals: dict[tuple[DType, tuple[int, ...], bytes], str] = {}
        self._location: Location | None = None
        self._final: set[Tensor] = set()

    # ------------------------------------------------------------------- names
    def add_input(self, name: str, tensor: Tensor) -> None:
        """Give a graph input its interface name."""
        self._value_names.reserve(name)
        self._name(tensor, name)
        self._apart.add(name)
        self.extents.offer(tensor.type, name)

    def take_names(self, graph: Graph) -> None:
        """Name the results of a graph: its outputs as the interface says, the others by their hints.

        Raises:
            NotExpressible: an input and an output share a name but not the value.
        """
        inputs = dict(zip(graph.input_names, graph.inputs, strict=True))
        for name, tensor in zip(graph.output_names, graph.outputs, strict=True):
            if inputs.get(name, tensor) is not tensor:
                raise NotExpressible(
                    f"the model has an input and an output called {name!r}: an ONNX value has one name",
                    hint="rename one of them",
                )
        for name in graph.output_names:
            if name not in self._value_names:
                self._value_names.reserve(name)
        for name, tensor in zip(graph.output_names, graph.outputs, strict=True):
            if tensor.producer is not None and tensor not in self._named:
                self._name(tensor, name)
                self._final.add(tensor)
        for node in graph:
            for i, tensor in enumerate(node.outputs):
                if tensor not in self._named:
                    default = node.name if node.name and i == 0 else f"{node.name or node.op_type}_{i}"
                    self._name(tensor, self._value_names.unique(tensor.name, default))

    def _name(self, tensor: Tensor, name: str) -> str:
        self._named[tensor] = name
        self.types[name] = tensor.type
        return name

    def name(self, tensor: Tensor) -> str:
        """The ONNX name of a tensor; a constant becomes an initializer when it is first asked for."""
        known = self._named.get(tensor)
        if known is not None:
            return known
        if tensor.data is None:
            name = self._named[tensor] = self._value_names.unique(tensor.name, "t")
            self.types.maps[-1][name] = tensor.type  # it may be of a graph around this one, which other regions see too
            return name
        shared = self._by_data.get(tensor.data)
        if shared is not None:
            self._named[tensor] = shared
            return shared
        name = self._named[tensor] = self._constant_name(tensor.name, "constant")
        stored = storage(tensor.data.dtype, self.opset)
        self.types.maps[-1][name] = tensor.type if stored is tensor.type.dtype else tensor.type.with_dtype(stored)
        self._by_data[tensor.data] = name
        self.initializers[name] = in_storage(tensor.data, stored)
        return name

    def _constant_name(self, hint: str, default: str) -> str:
        """A new name for a constant."""
        name = self._value_names.unique(hint, default)
        while self.options.names is not None and name in self._node_names:
            name = self._value_names.unique(hint, default)
        self._apart.add(name)
        return name

    def alias(self, tensor: Tensor, name: str) -> bool:
        """Let `tensor` be the value `name`; False when it is an output, which must have a name of its own."""
        if tensor in self._final:
            return False
        self.types.pop(self._named.pop(tensor, ""), None)
        self._named[tensor] = name
        return True

    def finish(self, graph: Graph) -> None:
        """Connect the outputs that no node gives under their own name."""
        for name, tensor in zip(graph.output_names, graph.outputs, strict=True):
            if self.name(tensor) == name and tensor not in graph.inputs and not tensor.is_constant:
                continue
            if name in graph.input_names:
                continue  # the input itself
            self.types[name] = tensor.type
            self.add("Identity", [self.name(tensor)], [name], {}, name)

    # ------------------------------------------------------------------- nodes
    def emit(self, node: Node) -> None:
        """Let the operator's emitter write one node.

        Raises:
            NotExpressible: the place names the node.
        """
        self._location = node.loc
        try:
            self._emitter(node.op, self.opset)(Emission(self, node), resolve_constants(node.op, node.inputs))
        except NotExpressible as error:
            error.place = error.place or f"{node!r}, {node.loc}"
            raise
        for tensor in node.outputs:
            self.extents.offer(tensor.type, self.name(tensor))

    def region(self, graph: Graph) -> GraphProto:
        """A graph from an attribute, as a message. It sees what is written before it; constants go to the outermost."""
        if not self.kept:
            return GraphProto(name=graph.name)
        around = self.nodes, self.types, self.extents, self._location
        self.nodes, self.types, self.extents = [], self.types.new_child(), self.extents.nested()
        proto = GraphProto(name=graph.name or "region")
        for name, tensor in zip(graph.input_names, graph.inputs, strict=True):
            own = self._name(tensor, self._value_names.unique(name or tensor.name, "x"))
            proto.input.append(typed_value(own, tensor.type, self._texts))
            self.extents.offer(tensor.type, own)
        for node in graph:
            self.emit(node)
        made = {name for node in self.nodes for name in node.output}
        for wish, tensor in zip(graph.output_names, graph.outputs, strict=True):
            name = self.name(tensor)
            if name not in made:  # not a result of a node in here, or an output already
                passed, name = name, self.fresh(wish, tensor.type)
                self.add("Identity", [passed], [name], {}, name)
            made.discard(name)
            proto.output.append(typed_value(name, tensor.type, self._texts))
        proto.node.extend(self.nodes)
        self.nodes, self.types, self.extents, self._location = around
        return proto

    def fresh(self, hint: str, type: TensorType) -> str:
        """A new value name of the given type."""
        name = self._value_names.unique(hint, "t")
        self.types[name] = type
        return name

    def new_name(self, hint: str) -> str:
        """A value name that nobody has; for values whose types are not known."""
        return self._value_names.unique(hint, "t")

    def literal(self, array: Array, hint: str = "") -> str:
        """The initializer that holds `array`; equal ones are one."""
        data = ArrayData(np.ascontiguousarray(array).reshape(array.shape))
        key = (data.dtype, data.shape, bytes(data.tobytes()))
        name = self._literals.get(key)
        if name is None:
            name = self._constant_name(hint or f"const_{len(self._literals)}", "t")
            self.types.maps[-1][name] = TensorType(data.dtype, data.shape)
            self._literals[key] = name
            self.initializers[name] = data
        return name

    def add(
        self,
        op_type: str,
        inputs: Sequence[str | None],
        outputs: Sequence[str],
        attributes: Mapping[str, Any],
        hint: str,
        domain: str = "",
    ) -> None:
        """Add a node of one of ONNX's domains; operand types that it lacks are carried by wider ones.

        An empty name in `outputs` leaves that result out.

        Raises:
            NotExpressible: ONNX has no such operator at this opset, or not for these types.
        """
        schema = signature(op_type, self.version(domain), domain)
        given = list(inputs)
        while given and given[-1] is None:
            given.pop()
        carriers = self._carriers(op_type, schema, given)
        self._check_results(op_type, schema, outputs, carriers)
        operands = [self._carried(n, carriers.get(schema.input(i).variable)) for i, n in enumerate(given)]
        results = [
            self._uncarried(n, carriers.get(schema.outputs[min(i, len(schema.outputs) - 1)].variable))
            for i, n in enumerate(outputs)
        ]
        self.append(self._node(op_type, operands, results, self._attributes(schema, attributes), domain), hint)
        for name, result in zip(outputs, results, strict=True):
            if name != result:
                self.add("Cast", [result], [name], {"to": self.types[name].dtype}, f"{hint}/Cast")

    def version(self, domain: str) -> int:
        """Version of one of ONNX's operator sets that is written, which the model then imports.

        Raises:
            NotExpressible: ONNX had no such set at this opset, or the model imports another version of it.
        """
        version = self.opset if not domain else domain_version(domain, self.opset)
        if self.domains.setdefault(domain, version) != version:
            raise NotExpressible(
                f"the model imports {domain} in version {self.domains[domain]}, {version} is needed too"
            )
        return version

    def append(self, node: NodeProto, hint: str) -> None:
        """Add a finished node under a unique name, with the location of the node being written."""
        node.name = self._node_names.unique(hint, node.op_type)
        while self.options.names is not None and node.name in self._apart:
            node.name = self._node_names.unique(hint, node.op_type)
        if self.options.locations and self._location is not None:
            text = location_text(self._location, node.name)
            if text and self.options.ir_version >= METADATA_IR_VERSION:
                node.metadata_props.add(key=LOCATION_KEY, value=text)
            elif text:
                node.doc_string = text
        self.nodes.append(node)

    def _node(
        self,
        op_type: str,
        inputs: Iterable[str | None],
        outputs: Iterable[str],
        attributes: Mapping[str, Any],
        domain: str,
    ) -> NodeProto:
        node = NodeProto(op_type=op_type, domain=domain)
        node.input.extend([n or "" for n in inputs])
        node.output.extend(outputs)
        if attributes:
            node.attribute.extend([attributes[name] for name in sorted(attributes)])
        return node

    def _attributes(self, schema: Signature, given: Mapping[str, Any]) -> dict[str, Any]:
        made = {
            name: attribute(name, value, schema.attribute_types[name])
            for name, value in given.items()
            if value is not None
        }
        if self.options.explicit:
            for name, default in schema.defaults.items():
                made.setdefault(name, default)
            return made
        return {name: value for name, value in made.items() if value != schema.defaults.get(name)}

    # ---------------------------------------------------------- types ONNX lacks
    def _carriers(self, op_type: str, schema: Signature, inputs: Sequence[str | None]) -> dict[str, DType]:
        """For each type variable whose type the operator lacks, the type to compute in instead."""
        found: dict[str, DType] = {}
        for i, name in enumerate(inputs):
            formal = schema.input(i)
            if name is None or formal.takes(self.types[name]):
                continue
            dtype = self.types[name].dtype
            if self.types[name].containers:
                raise NotExpressible(f"ONNX {op_type} of opset {self.opset} does not take {self.types[name]}")
            carrier = next((c for c in CARRIERS.get(dtype, ()) if c in formal.allowed), None)
            castable = signature("Cast", self.opset).input(0).allowed
            if carrier is None or dtype not in castable or op_type == "Cast":
                require_type(dtype, self.opset)
                raise NotExpressible(f"ONNX {op_type} of opset {self.opset} does not take {dtype}")
            found[formal.variable] = carrier
        return found

    def _check_results(
        self, op_type: str, schema: Signature, outputs: Sequence[str], carriers: Mapping[str, DType]
    ) -> None:
        for i, name in enumerate(outputs):
            if not name:
                continue
            formal = schema.outputs[min(i, len(schema.outputs) - 1)]
            if formal.variable not in carriers and not formal.takes(self.types[name]):
                t = self.types[name]
                require_type(t.dtype, self.opset)
                raise NotExpressible(
                    f"ONNX {op_type} of opset {self.opset} does not give {t if t.containers else t.dtype}"
                )

    def _carried(self, name: str | None, carrier: DType | None) -> str | None:
        if name is None or carrier is None:
            return name
        wide = self.fresh(f"{name}_{carrier}", self.types[name].with_dtype(carrier))
        self.add("Cast", [name], [wide], {"to": carrier}, f"{wide}/Cast")
        return wide

    def _uncarried(self, name: str, carrier: DType | None) -> str:
        if carrier is None or not name:
            return name
        return self.fresh(f"{name}_{carrier}", self.types[name].with_dtype(carrier))


class Emission:
    """The writing of one node: its operands and results by ONNX name, and ways to add ONNX nodes.

    Attributes:
        graph: where the nodes go.
        node: the UAIR node.
        opset: version of the default operator set.
    """

    __slots__ = ("graph", "node", "opset")

    def __init__(self, graph: GraphWriter, node: Node) -> None:
        self.graph = graph
        self.node = node
        self.opset = graph.opset

    # ---------------------------------------------------------------- operands
    def given(self, i: int) -> bool:
        """Whether operand `i` is there."""
        return i < len(self.node.inputs) and self.node.inputs[i] is not None

    def tensor(self, i: int) -> Tensor:
        """Operand `i`, which must be there."""
        tensor = self.node.inputs[i]
        if tensor is None:
            raise InternalError(f"{self.node!r} has no operand {i}")
        return tensor

    def x(self, i: int = 0) -> str:
        """ONNX name of operand `i`, which must be there."""
        return self.graph.name(self.tensor(i))

    def optional(self, i: int) -> str | None:
        """ONNX name of operand `i`, None when it is omitted."""
        return self.x(i) if self.given(i) else None

    @property
    def operands(self) -> list[str | None]:
        """ONNX names of all operands."""
        return [self.optional(i) for i in range(len(self.node.inputs))]

    def number(self, i: int) -> str:
        """ONNX name of an operand of one element, as a scalar."""
        name = self.x(i)
        return name if self.type(i).shape == () else self.reshape(name, ())

    def type(self, i: int = 0) -> TensorType:
        """Type of operand `i`."""
        return self.tensor(i).type

    def shape(self, i: int = 0) -> Shape:
        """Shape of operand `i`.

        Raises:
            NotExpressible: the rank is not known.
        """
        shape = self.type(i).shape
        if shape is None:
            raise NotExpressible(f"the rank of operand {i} must be known")
        return shape

    def static_shape(self, i: int = 0) -> tuple[int, ...]:
        """Shape of operand `i` in numbers.

        Raises:
            NotExpressible: an extent is symbolic.
        """
        shape = self.shape(i)
        if not is_static(shape):
            raise NotExpressible(
                f"the shape of operand {i}, {list(shape)}, must be static at opset {self.opset}",
                hint="bind the model's input shapes (--shape)",
            )
        return tuple(d for d in shape if isinstance(d, int))

    def constant(self, i: int) -> Array | None:
        """Values of operand `i` when it is a constant."""
        tensor = self.tensor(i)
        return tensor.numpy() if tensor.is_constant else None

    @property
    def y(self) -> TensorType:
        """Type of the first result."""
        return self.node.outputs[0].type

    def axis(self, axis: int, i: int = 0) -> int:
        """A non-negative axis of operand `i`, where its rank is known."""
        shape = self.type(i).shape
        return axis + len(shape) if axis < 0 and shape is not None else axis

    # ------------------------------------------------------------------- nodes
    def result(self, op_type: str, *inputs: str | None, **attributes: Any) -> None:
        """Add the ONNX node that gives the node's results; "domain::Name" is one of another of ONNX's domains."""
        names = [self.graph.name(t) for t in self.node.outputs]
        domain, _, bare = op_type.rpartition("::")
        self.graph.add(bare, inputs, names, attributes, self._hint, domain)

    def op(self, op_type: str, *inputs: str | None, type: TensorType | None = None, **attributes: Any) -> str:
        """Add an ONNX node with one intermediate result, of the type of the first operand unless said otherwise."""
        if type is None:
            assert inputs[0] is not None
            type = self.graph.types[inputs[0]]
        return self.ops(op_type, *inputs, types=[type], **attributes)[0]

    def ops(self, op_type: str, *inputs: str | None, types: Sequence[TensorType], **attributes: Any) -> list[str]:
        """Add an ONNX node with several intermediate results."""
        domain, _, bare = op_type.rpartition("::")
        base = f"{self.graph.name(self.node.outputs[0])}_{bare}"
        names = [self.graph.fresh(base if len(types) == 1 else f"{base}_{i}", t) for i, t in enumerate(types)]
        self.graph.add(bare, inputs, names, attributes, f"{self._hint}/{bare}", domain)
        return names

    def foreign(
        self, op_type: str, *inputs: str | None, outputs: Sequence[str] | None = None, hint: str = "", **attributes: Any
    ) -> None:
        """Add a node that ONNX itself does not describe: an operator, or element types, of a vendor.

        Nothing is checked or converted; the types of the attributes are those of their Python values.

        Args:
            op_type: the operator; "domain::Name" is one of version 1 of another domain than the default one.
            inputs: names of the operands.
            outputs: names of the results; the node's own when not given.
            hint: name of the node; the UAIR node's own when not given.
            attributes: ints, floats, strings, or lists of them.
        """
        domain, _, bare = op_type.rpartition("::")
        if domain:
            self.graph.domains[domain] = 1
        node = NodeProto(op_type=bare, domain=domain)
        given = list(inputs)
        while given and given[-1] is None:
            given.pop()
        node.input.extend(name or "" for name in given)
        node.output.extend([self.graph.name(t) for t in self.node.outputs] if outputs is None else outputs)
        node.attribute.extend(attribute(name, attributes[name]) for name in sorted(attributes))
        self.graph.append(node, hint or self._hint)

    def alias(self) -> None:
        """Let the result be the operand itself."""
        (output,) = self.node.outputs
        if not self.graph.alias(output, self.x()):
            self.result("Identity", self.x())

    def cast(self, name: str, dtype: DType) -> str:
        """`name` in another element type."""
        old = self.graph.types[name]
        return name if old.dtype is dtype else self.op("Cast", name, type=old.with_dtype(dtype), to=dtype)

    def literal(self, value: Any, dtype: DType) -> str:
        """A constant of the given element type from a number, list or array."""
        return self.graph.literal(np.asarray(value, dtype=dtype.numpy))

    def ints(self, values: Iterable[int]) -> str:
        """A constant vector of int64."""
        return self.graph.literal(np.asarray(list(values), np.int64))

    def vector(self, shape: Iterable[Dim]) -> str:
        """An int64 vector of extents, computed from a tensor of the graph where they are symbolic."""
        return self.graph.extents.vector(tuple(shape))

    def transpose(self, name: str, perm: Sequence[int]) -> str:
        """`name` with axes permuted."""
        old = self.graph.types[name]
        return self.op("Transpose", name, type=old.with_shape(tuple(old.dims[p] for p in perm)), perm=perm)

    def reshape(self, name: str, shape: Sequence[Dim]) -> str:
        """`name` in another static shape (or with extents that can be computed)."""
        return self.op("Reshape", name, self.vector(shape), type=self.graph.types[name].with_shape(tuple(shape)))

    def unsqueeze(self, name: str, axes: Sequence[int]) -> str:
        """`name` with axes of extent 1 inserted; `axes` are those of the result, ascending."""
        old = self.graph.types[name]
        shape = list(old.dims)
        for axis in axes:
            shape.insert(axis, 1)
        inputs, attributes = self.axes(axes, since=13)
        return self.op("Unsqueeze", name, *inputs, type=old.with_shape(tuple(shape)), **attributes)

    def axes(self, axes: Sequence[int] | None, *, since: int) -> tuple[list[str | None], dict[str, Any]]:
        """Axes as the operand that they are from opset `since` on, or as the attribute that they were before."""
        if axes is None:
            return [], {}
        return ([self.ints(axes)], {}) if self.opset >= since else ([], {"axes": tuple(axes)})

    def results(self, op_type: str, inputs: Sequence[str | None], **attributes: Any) -> None:
        """Add the ONNX node that gives the node's results, any number, of an operator whose operands have free types.

        Raises:
            NotExpressible: the operator does not take the type of one of them.
        """
        schema = signature(op_type, self.opset)
        names = [self.graph.name(t) for t in self.node.outputs]
        for i, name in enumerate(inputs):
            if name is not None and not schema.input(i).takes(self.graph.types[name]):
                raise NotExpressible(f"ONNX {op_type} of opset {self.opset} does not take {self.graph.types[name]}")
        self.graph.add(op_type, inputs, names, attributes, self._hint)

    @property
    def _hint(self) -> str:
        if self.node.name or not self.node.outputs:
            return self.node.name or self.node.op_type
        return self.graph.name(self.node.outputs[0])


def in_storage(data: Data, dtype: DType) -> Data:
    """The same values in a wider type."""
    if data.dtype is dtype:
        return data
    return ComputedData(functools.partial(_widened, dtype=dtype), (data,), dtype, data.shape)


def _widened(array: Array, dtype: DType) -> Array:
    return array.astype(dtype.numpy)


def location_text(location: Location, name: str) -> str:
    """A location in compact JSON; empty when it says no more than the ONNX node's own name does.

    `{"from": [["conv1", "Conv"], ["bn1", "BatchNormalization"]], "by": ["fuse-batch-norm"]}`
    """
    if not location.by and all(source.name == name and not source.file for source in location.sources):
        return ""
    content: dict[str, Any] = {"from": [_source_text(s.name, s.kind, s.file) for s in location.sources]}
    if location.by:
        content["by"] = list(location.by)
    return json.dumps(content, separators=(",", ":"), ensure_ascii=False)


def _source_text(*parts: str) -> list[str]:
    kept = list(parts)
    while kept and not kept[-1]:
        kept.pop()
    return kept
