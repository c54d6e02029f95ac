"""Reading back an ONNX file that was written: the names in it, and whether its quantization has the symmetric QDQ form.

The form is what TensorRT's parser takes. Sources: onnx-tensorrt 8.6 and 10.1, QuantDequantLinearHelper; onnxruntime
issue 14229 and TensorRT issue 3360 (biases); NVIDIA's developer guide and TensorRT issues 1992, 2383, 2592, 3861
(places of the pairs). Weights of 4 bits: onnx-tensorrt 10.1 (one axis in whole blocks, an even last one), TensorRT
10.7's message that blocks are for INT4 of two axes, and its documentation of schemes (blocks of 64 or 128, weights of
matrix products).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import attrs
import numpy as np
import numpy.typing as npt
import onnx
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, numpy_helper

from uair.codegen.onnx.rules import RuleViolation

FLOATS = (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.BFLOAT16)
CONVOLUTIONS = ("Conv", "ConvTranspose")
FUSED_BEHIND = ("BatchNormalization", "Relu")
PRODUCTS = ("MatMul", "Gemm")
BLOCKS = (64, 128)
"""Lengths of the blocks of weights of 4 bits."""


@attrs.frozen
class WrittenNames:
    """Names in an ONNX file.

    Attributes:
        producers: name of the ONNX node by the name of the value that it gives.
        values: names of all values that are no constants.
        operators: the operator types that occur in the main graph and in those inside of it.
    """

    producers: Mapping[str, str]
    values: frozenset[str]
    operators: frozenset[str]

    @staticmethod
    def of(path: Path) -> WrittenNames:
        """Read a file; weights in a file of their own are not read."""
        graph = onnx.load(path, load_external_data=False).graph
        producers = {name: node.name for node in graph.node for name in node.output}
        operators = frozenset(node.op_type for node in _all_nodes(graph))
        return WrittenNames(producers, frozenset({*producers, *(v.name for v in graph.input)}), operators)


def _all_nodes(graph: GraphProto) -> Iterator[NodeProto]:
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            if attribute.HasField("g"):
                yield from _all_nodes(attribute.g)


def check_symmetric_qdq(path: Path, reader: str) -> None:
    """Check that a file's quantization is symmetric QDQ.

    Raises:
        RuleViolation: naming the first thing that `reader` would refuse.
    """
    for problem in symmetric_qdq_problems(onnx.load(path)):
        raise RuleViolation(f"{reader} does not take the model that was written: {problem}", place=path.name)


def symmetric_qdq_problems(model: ModelProto) -> Iterator[str]:
    """What breaks a rule of symmetric QDQ, in words."""
    graph = _Graph(model.graph)
    for node in model.graph.node:
        if node.op_type == "DequantizeLinear" and graph.holds_four_bits(node):
            yield from graph.block_problems(node)
            continue
        if node.op_type in ("QuantizeLinear", "DequantizeLinear"):
            yield from graph.parameter_problems(node)
        if node.op_type == "DequantizeLinear":
            yield from graph.pair_problems(node)
        elif node.op_type == "QuantizeLinear":
            yield from graph.place_problems(node)
        elif node.op_type in CONVOLUTIONS:
            yield from graph.convolution_problems(node)


class _Graph:
    """A graph with its constants and producers by name."""

    def __init__(self, graph: GraphProto) -> None:
        self.constants = {t.name: t for t in graph.initializer}
        self.producers = {name: node for node in graph.node for name in node.output}
        self.uses: dict[str, list[NodeProto]] = {}
        for node in graph.node:
            for name in node.input:
                self.uses.setdefault(name, []).append(node)

    def array(self, name: str) -> npt.NDArray[np.generic]:
        """Values of a constant."""
        array: npt.NDArray[np.generic] = numpy_helper.to_array(self.constants[name])
        return array

    def parameter_problems(self, node: NodeProto) -> Iterator[str]:
        """Scales are positive float constants, zero points are zeros; only constants have several scales."""
        scale = node.input[1]
        if scale not in self.constants:
            yield f"the scale of {node.name!r} is no constant"
            return
        if self.constants[scale].data_type not in FLOATS or not (self.array(scale).astype(np.float64) > 0).all():
            yield f"the scales of {node.name!r} are not positive floats"
        if len(node.input) > 2 and node.input[2]:
            zero = node.input[2]
            if zero not in self.constants or self.array(zero).any():
                yield f"the zero point of {node.name!r} is not 0"
            elif self.constants[zero].data_type != TensorProto.INT8:
                yield f"the zero point of {node.name!r} is not int8"
            elif self.array(zero).size != self.array(scale).size:
                yield f"{node.name!r} has another number of zero points than of scales"
        elif node.op_type == "QuantizeLinear":
            yield f"{node.name!r} has no zero point: its result would be uint8"
        if self.array(scale).ndim and self.array(scale).size > 1 and not self._is_weight(node):
            yield f"the activation of {node.name!r} has more than one scale"

    def holds_four_bits(self, node: NodeProto) -> bool:
        """Whether a node dequantizes a constant of 4 bits."""
        held = self.constants.get(node.input[0])
        return held is not None and held.data_type in (TensorProto.INT4, TensorProto.UINT4)

    def block_problems(self, node: NodeProto) -> Iterator[str]:
        """Signed integers of a matrix in whole blocks of one axis, which a product reads as its second operand."""
        weight, scale = (self.constants.get(name) for name in node.input[:2])
        assert weight is not None
        if scale is None or scale.data_type not in FLOATS or not (self.array(scale.name).astype(np.float64) > 0).all():
            yield f"the scales of {node.name!r} are no positive float constants"
            return
        if weight.data_type != TensorProto.INT4 or any(node.input[2:]):
            yield f"the weight of {node.name!r} is not int4 without zero point"
        settings = {a.name: a.i for a in node.attribute}
        axis, size = settings.get("axis", 1), settings.get("block_size", 0)
        shape = list(weight.dims)
        if size not in BLOCKS:
            yield f"the blocks of {node.name!r} have {size} weights, not {' or '.join(map(str, BLOCKS))}"
        elif len(shape) != 2 or shape[axis] % size or shape[-1] % 2:
            yield f"the weight of {node.name!r}, {shape}, is no matrix of whole blocks with an even last axis"
        elif list(scale.dims) != [n // size if i == axis % 2 else n for i, n in enumerate(shape)]:
            yield f"{node.name!r} has scales {list(scale.dims)} for a weight {shape}"
        for user in self.uses.get(node.output[0], []):
            if user.op_type not in PRODUCTS or user.input[1] != node.output[0]:
                yield f"the weight of {node.name!r} is read by {user.op_type}"

    def _is_weight(self, node: NodeProto) -> bool:
        if node.op_type == "DequantizeLinear":
            producer = self.producers.get(node.input[0])
            return node.input[0] in self.constants or (producer is not None and producer.input[0] in self.constants)
        return node.input[0] in self.constants

    def pair_problems(self, node: NodeProto) -> Iterator[str]:
        """Behind every QuantizeLinear follows DequantizeLinear, and the other way round, with the same parameters."""
        producer = self.producers.get(node.input[0])
        if producer is None or producer.op_type != "QuantizeLinear":
            yield f"{node.name!r} dequantizes what no QuantizeLinear gives"
        elif not np.array_equal(self.array(producer.input[1]), self.array(node.input[1])):
            yield f"{node.name!r} has another scale than the QuantizeLinear in front of it"

    def place_problems(self, node: NodeProto) -> Iterator[str]:
        """Nothing is quantized between a convolution and what is computed together with it."""
        producer = self.producers.get(node.input[0])
        followers = [u.op_type for u in self.uses.get(node.output[0], [])]
        if any(f != "DequantizeLinear" for f in followers):
            yield f"the integers of {node.name!r} are used by {', '.join(followers)}"
        if producer is None or producer.op_type not in CONVOLUTIONS:
            return
        for dequantize in self.uses.get(node.output[0], []):
            for user in self.uses.get(dequantize.output[0], []):
                if user.op_type in FUSED_BEHIND:
                    yield f"{node.name!r} stands between {producer.op_type} and {user.op_type}"

    def convolution_problems(self, node: NodeProto) -> Iterator[str]:
        """The bias is a float constant; a quantized weight has its scales along the output channels."""
        if len(node.input) > 2 and node.input[2]:
            bias = self.constants.get(node.input[2])
            if bias is None or bias.data_type not in FLOATS:
                yield f"the bias of {node.name!r} is no float initializer"
        weight = self.producers.get(node.input[1])
        if weight is None or weight.op_type != "DequantizeLinear":
            return
        axis = next((a.i for a in weight.attribute if a.name == "axis"), 1)
        wanted = 0 if node.op_type == "Conv" else 1
        if self.array(weight.input[1]).size > 1 and axis != wanted:
            yield f"the weight of {node.name!r} has its scales along axis {axis}, not {wanted}"
