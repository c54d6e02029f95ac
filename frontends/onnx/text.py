"""Names in a model must be text.

Protobuf hands out `bytes` for a string that is not UTF-8. To join strings costs next to nothing and fails on bytes, so
every name is joined once before the model is read.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain
from operator import attrgetter

from onnx import FunctionProto, GraphProto, ModelProto, NodeProto, TensorProto, ValueInfoProto

from uair.frontends.onnx.errors import OnnxModelError


def check_model(model: ModelProto) -> None:
    """Check the model's own strings; graphs and functions are checked when they are read.

    Raises:
        OnnxModelError: one is not UTF-8.
    """
    texts = [model.producer_name, model.producer_version, *(entry.domain for entry in model.opset_import)]
    for entry in model.metadata_props:
        texts += entry.key, entry.value
    for function in model.functions:
        texts += function.domain, function.name, function.overload
    _check(texts, "the model's metadata")


def check_graph(graph: GraphProto, place: str) -> None:
    """Check the names of a graph and of what is in it, without its subgraphs.

    Raises:
        OnnxModelError: one is not UTF-8.
    """
    _check(_graph_texts(graph), place)


def check_function(function: FunctionProto, place: str) -> None:
    """Check the names of a function and of its nodes.

    Raises:
        OnnxModelError: one is not UTF-8.
    """
    _check([*function.input, *function.output, *function.attribute, *_node_texts(function.node)], place)


def check_entries(tensor: TensorProto, place: str) -> None:
    """Check where a tensor says that its data lie.

    Raises:
        OnnxModelError: that is not UTF-8.
    """
    _check((text for entry in tensor.external_data for text in (entry.key, entry.value)), place)


def _check(texts: Iterable[str], place: str) -> None:
    try:
        "".join(texts)
    except TypeError:
        raise OnnxModelError(
            "a name is not UTF-8 text", place=place, hint="the file is damaged; export the model again"
        ) from None


def _graph_texts(graph: GraphProto) -> Iterator[str]:
    yield graph.name
    for values in (graph.input, graph.output, graph.value_info):
        yield from _value_texts(values)
    for tensor in graph.initializer:
        yield tensor.name
    for sparse in graph.sparse_initializer:
        yield sparse.values.name
    yield from _node_texts(graph.node)


def _value_texts(values: Iterable[ValueInfoProto]) -> Iterator[str]:
    for value in values:
        yield value.name
        for dim in value.type.tensor_type.shape.dim:
            yield dim.dim_param


def _node_texts(nodes: Iterable[NodeProto]) -> Iterator[str]:
    attributes = chain.from_iterable(map(attrgetter("attribute"), nodes))
    return chain.from_iterable(
        chain(map(_OF_NODE, nodes), map(_INPUTS, nodes), map(_OUTPUTS, nodes), map(_OF_ATTRIBUTE, attributes))
    )


_OF_NODE, _OF_ATTRIBUTE = attrgetter("name", "op_type", "domain"), attrgetter("name", "ref_attr_name")
_INPUTS, _OUTPUTS = attrgetter("input"), attrgetter("output")
"""Models have hundreds of thousands of names: this way Python runs no bytecode for one."""
