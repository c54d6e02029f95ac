"""Fingerprints of values: two tensors, of whichever modules, that the same steps compute from the same inputs have one.

They tell which tensor of a module, read again or prepared for another target, is one that was measured before. Names
and locations do not count, except the names of the graph's inputs.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

from uair.ir.data import Data
from uair.ir.graph import Graph, Node, Tensor

LENGTH = 24
"""Digits kept of each hash: 96 bits."""


def fingerprints(graph: Graph) -> dict[Tensor, str]:
    """For every input and result of a graph the fingerprint of how it is computed.

    It covers types, operators with their attributes, the values of constants, and how values flow.
    """
    known: dict[Tensor, str] = {}
    for name, tensor in zip(graph.input_names, graph.inputs, strict=True):
        known[tensor] = _hash("input", name, str(tensor.type))
    _follow(graph, known)
    return known


def graph_fingerprint(graph: Graph) -> str:
    """The fingerprint of what a graph computes: of its outputs, in order, with their names."""
    known = fingerprints(graph)
    outputs = zip(graph.output_names, graph.outputs, strict=True)
    return _hash(*(part for name, tensor in outputs for part in (name, _of_operand(tensor, known))))


def _follow(graph: Graph, known: dict[Tensor, str]) -> None:
    """Add the results of a graph's nodes."""
    for node in graph:
        own = _of_node(node, known)
        for i, tensor in enumerate(node.outputs):
            known[tensor] = _hash(own, str(i), str(tensor.type))


def _of_node(node: Node, known: Mapping[Tensor, str]) -> str:
    attributes = (part for name, value in node.attributes.items() for part in (name, _of_attribute(value, known)))
    return _hash(node.op_type, *attributes, *(_of_operand(tensor, known) for tensor in node.inputs))


def _of_operand(tensor: Tensor | None, known: Mapping[Tensor, str]) -> str:
    if tensor is None:
        return "-"
    if tensor.data is not None:
        return _hash("constant", str(tensor.type), tensor.data.sha256)
    return known[tensor]


def _of_attribute(value: Any, known: Mapping[Tensor, str]) -> str:
    if isinstance(value, Graph):
        inner = dict(known)
        inner.update((tensor, f"argument {i} {tensor.type}") for i, tensor in enumerate(value.inputs))
        _follow(value, inner)
        return _hash("graph", *(_of_operand(tensor, inner) for tensor in value.outputs))
    return value.sha256 if isinstance(value, Data) else repr(value)


def _hash(*parts: str) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(f"{len(part)}:{part}".encode())
    return digest.hexdigest()[:LENGTH]
