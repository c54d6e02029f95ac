"""Writing a module as an ONNX model."""

from __future__ import annotations

import contextlib
import io
import os
from collections.abc import Generator, Mapping
from contextvars import ContextVar
from pathlib import Path
from typing import BinaryIO

import attrs
from onnx import GraphProto, ModelProto, helper

from uair._version import __version__
from uair.atomic import atomic_file, require_space
from uair.codegen.onnx.emitters import EMITTERS
from uair.codegen.onnx.schema import DEFAULT_OPSET, NEWEST_OPSET, OLDEST_OPSET, NotExpressible
from uair.codegen.onnx.table import Emitters
from uair.codegen.onnx.values import Texts, typed_value
from uair.codegen.onnx.wire import ModelPlan, Placement, align, node_parts, plan, write_external
from uair.codegen.onnx.writer import GraphWriter, Options
from uair.collection import collection_paused
from uair.errors import UairError
from uair.ir.data import Data
from uair.ir.dtype import DType
from uair.ir.graph import Node
from uair.ir.module import Module

LARGEST_MODEL = 2**31 - 1
"""Bytes that a protobuf message may have."""
SMALLEST_EXTERNAL = 1024
"""Tensors of fewer bytes stay in the model."""
PAGE = 4096
"""Alignment of external tensors in bytes: each can be mapped on its own."""


class ModelTooLarge(UairError):
    """A model of 2 GiB or more was to be written into a single file, which protobuf forbids."""

    code = "UAIR-E0610"
    title = "Model too large for one file"


def export(
    module: Module,
    path: str | os.PathLike[str],
    *,
    opset: int = DEFAULT_OPSET,
    ir_version: int | None = None,
    external_data: bool | None = None,
    attributes_explicit: bool = True,
    value_info: bool = True,
    locations: bool = True,
    emitters: Emitters | None = None,
    names: str | None = None,
) -> None:
    """Write a module's main graph as an ONNX model, atomically; weights are streamed, never held twice.

    Operators that the opset lacks must have been rewritten before (pass `legalise-onnx`).

    Args:
        module: the model.
        path: the file.
        opset: version of the default operator set, 11 or later.
        ir_version: version of the file format; the lowest that knows the operator sets when not given.
        external_data: whether weights go to `<name>.data` beside the model; when not given, only if it exceeds 2 GiB.
        attributes_explicit: write attributes that have their default value too.
        value_info: write the types of intermediate values.
        locations: keep the source nodes: in metadata_props from IR version 10 on, in doc_string before.
        emitters: how to write the operators of a vendor, or to write some differently; looked at first.
        names: regular expression of legal names of nodes and values; see `Options`.

    Raises:
        NotExpressible: an operator, attribute or type has no form at this opset.
        ModelTooLarge: 2 GiB are exceeded and `external_data` is False.
        OutputError: the file cannot be written.
    """
    options = _options(module, opset, ir_version, attributes_explicit, locations)
    writer = write_graph(module, attrs.evolve(options, names=names), emitters)
    target = Path(path)
    data_name = f"{target.name}.data"
    places: dict[str, Placement] = {}
    nodes = node_parts(module.name, writer.nodes)
    if external_data is None:
        skeleton = sum(map(len, nodes)) + sum(256 + len(name) for name in writer.types)
        external_data = sum(d.nbytes for d in writer.initializers.values()) + skeleton > LARGEST_MODEL
    if external_data:
        places = _places(writer.initializers)
    ready = _plan(module, writer, nodes, places, data_name, value_info)
    if ready.graph_bytes > LARGEST_MODEL - PAGE:
        raise ModelTooLarge(
            f"the model has {ready.graph_bytes} bytes, an ONNX file can hold {LARGEST_MODEL}",
            hint="write it with external data",
        )
    with contextlib.ExitStack() as stack:
        file = stack.enter_context(atomic_file(target))
        require_space(target, ready.graph_bytes + max((p.offset + p.length for p in places.values()), default=0))
        if places:
            side = stack.enter_context(atomic_file(target.with_name(data_name)))
            write_external(side, writer.initializers, places)
        ready.write(file)


def model_bytes(
    module: Module,
    *,
    opset: int = DEFAULT_OPSET,
    ir_version: int | None = None,
    attributes_explicit: bool = True,
    value_info: bool = True,
    locations: bool = True,
    emitters: Emitters | None = None,
) -> bytes:
    """The bytes that `export` would write, for small models.

    Raises:
        NotExpressible, ModelTooLarge: see `export`.
    """
    writer = write_graph(module, _options(module, opset, ir_version, attributes_explicit, locations), emitters)
    ready = _plan(module, writer, node_parts(module.name, writer.nodes), {}, "", value_info)
    if ready.graph_bytes > LARGEST_MODEL - PAGE:
        raise ModelTooLarge(f"the model has {ready.graph_bytes} bytes", hint="write it to a file with external data")
    buffer: BinaryIO = io.BytesIO()
    ready.write(buffer)
    buffer.seek(0)
    return buffer.read()


def emitter_supports(op: Node, opset: int, emitters: Emitters | None = None) -> bool:
    """Whether a node can be written at an opset as it is."""
    return not unsupported_reason(op, opset, emitters)


def unsupported_reason(node: Node, opset: int, emitters: Emitters | None = None) -> str:
    """Why a node cannot be written at an opset, in one sentence; empty when it can.

    The answer is that of the emitter itself, which is run without keeping what it writes.
    """
    try:
        emitted_ops(node, opset, emitters)
    except NotExpressible as error:
        return error.message
    return ""


def emitted_ops(node: Node, opset: int, emitters: Emitters | None = None) -> list[str]:
    """The ONNX operator types that a node is written as at an opset, in order; `domain.type` outside of ONNX's own.

    Of control flow it is the operator itself: the nodes of its graphs are asked about one by one.

    Raises:
        NotExpressible: it cannot be written.
    """
    known = _SHARED.get()
    if known is None:
        return _emitted_ops(node, opset, emitters)
    key = (node, opset, emitters)
    if key not in known:
        try:
            known[key] = _emitted_ops(node, opset, emitters)
        except NotExpressible as error:
            known[key] = error
    found = known[key]
    if isinstance(found, NotExpressible):
        raise found
    return found


_SHARED: ContextVar[dict[tuple[Node, int, Emitters | None], list[str] | NotExpressible] | None] = ContextVar(
    "shared_emissions", default=None
)


@contextlib.contextmanager
def shared_emissions() -> Generator[None, None, None]:
    """Within this block every node is asked about once for each opset and table, however many targets ask.

    No node may change meanwhile.
    """
    token = _SHARED.set({})
    try:
        yield
    finally:
        _SHARED.reset(token)


def _emitted_ops(node: Node, opset: int, emitters: Emitters | None) -> list[str]:
    writer = GraphWriter(Options(opset, 0, explicit=False, locations=False), _table(emitters).emitter)
    writer.extents.assume = True
    writer.kept = False
    writer.emit(node)
    return [f"{each.domain}.{each.op_type}" if each.domain else each.op_type for each in writer.nodes]


@collection_paused()
def write_graph(module: Module, options: Options, emitters: Emitters | None = None) -> GraphWriter:
    """The ONNX graph of a module's main graph.

    Raises:
        NotExpressible: the place names the node.
    """
    graph, writer = module.main, GraphWriter(options, _table(emitters).emitter)
    for name, tensor in zip(graph.input_names, graph.inputs, strict=True):
        writer.add_input(name, tensor)
    writer.take_names(graph)
    try:
        for node in graph:
            writer.emit(node)
    except NotExpressible as error:
        error.hint = error.hint or f"run the pass legalise-onnx{{opset={options.opset}}} before"
        raise
    writer.finish(graph)
    return writer


def _table(emitters: Emitters | None) -> Emitters:
    return EMITTERS if emitters is None else Emitters(emitters, EMITTERS)


def _options(module: Module, opset: int, ir_version: int | None, explicit: bool, locations: bool) -> Options:
    if not OLDEST_OPSET <= opset <= NEWEST_OPSET:
        raise NotExpressible(
            f"opset {opset} cannot be written", hint=f"the writer knows opsets {OLDEST_OPSET} to {NEWEST_OPSET}"
        )
    versions = {name: int(version) for name, version in module.origin.versions if version.isdecimal()}
    if ir_version is None:
        ir_version = int(helper.find_min_ir_version_for([helper.make_opsetid("", opset)]))
    return Options(opset, ir_version, explicit, locations, versions)


def _places(initializers: Mapping[str, Data]) -> dict[str, Placement]:
    places: dict[str, Placement] = {}
    position = 0
    for name, data in initializers.items():
        if data.dtype is not DType.STRING and data.nbytes >= SMALLEST_EXTERNAL:
            places[name] = Placement(align(position, PAGE), data.nbytes)
            position = places[name].offset + data.nbytes
    return places


@collection_paused()
def _plan(
    module: Module,
    writer: GraphWriter,
    nodes: tuple[bytes, ...],
    places: Mapping[str, Placement],
    data_name: str,
    value_info: bool,
) -> ModelPlan:
    graph = module.main
    interface = GraphProto()
    texts = Texts()
    interface.input.extend(typed_value(n, t.type, texts) for n, t in zip(graph.input_names, graph.inputs, strict=True))
    interface.output.extend(
        typed_value(n, t.type, texts) for n, t in zip(graph.output_names, graph.outputs, strict=True)
    )
    if value_info:
        shown = {*graph.input_names, *graph.output_names, *writer.initializers}
        interface.value_info.extend(typed_value(n, t, texts) for n, t in writer.types.items() if n not in shown)
    tensors = tuple(plan(n, d, places.get(n), data_name) for n, d in writer.initializers.items())
    model = ModelProto(ir_version=writer.options.ir_version, producer_name="uair", producer_version=__version__)
    model.opset_import.extend(helper.make_opsetid(domain, version) for domain, version in writer.domains.items())
    for key, value in module.metadata.items():
        model.metadata_props.add(key=key, value=value)
    return ModelPlan(model, nodes, interface, tensors)
