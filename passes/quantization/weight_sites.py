"""Constants that can be stored in few bits while the operators that read them compute in float.

    matrix      y = Linear(x, w), y = MatMul(x, w)   w becomes Dequantize of integers [in, out], in groups
    channels    y = Conv(x, w)                       w becomes Dequantize of integers, one scale for an output channel
    table       y = Gather(w, i), rows of a matrix   y becomes Dequantize(Gather(integers, i), Gather(scales, i))

Groups have a scale for each output channel and some neighbouring inputs. Of a table only the rows that are asked for
become floats. Matrices are stored [in, out] whatever the operator took: that is the form that runtimes recognise
(onnxruntime makes MatMulNBits of Dequantize and MatMul or Gemm).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, TypeAlias, cast

import attrs
import numpy as np

from uair.ir.dims import static
from uair.ir.dtype import Array, DType
from uair.ir.graph import Graph, Node, Tensor, constant
from uair.ir.location import Location
from uair.ops import Dequantize, Gather, Linear, MatMul
from uair.ops.base import Operator
from uair.passes.quantization.placement import weight_axis
from uair.passes.quantization.statistics import display_name
from uair.quant.groups import GroupedWeight
from uair.quant.scheme import CONVOLUTIONS, TRANSPOSED, WeightScheme

Kind: TypeAlias = Literal["matrix", "channels", "table"]
FLOATS = (DType.F32, DType.F16)
WEIGHTED = (*CONVOLUTIONS, *TRANSPOSED, "Linear", "MatMul", "Gather")


@attrs.frozen(eq=False)
class WeightSite:
    """A constant, and the nodes of one graph that read it in the same way.

    Attributes:
        tensor: the constant.
        kind: see the module.
        readers: the nodes.
        operand: which operand of theirs it is.
        transposed: whether it lies [out, in] (matrix).
    """

    tensor: Tensor
    kind: Kind
    readers: tuple[Node, ...]
    operand: int
    transposed: bool = False

    @property
    def name(self) -> str:
        """For people."""
        return display_name(self.tensor)

    def rows(self) -> Array:
        """The constant as [out, in]: one row for each output channel, or for each entry of a table."""
        w = self.tensor.numpy()
        if self.kind == "matrix":
            return w if self.transposed else w.T
        axis = 0 if self.kind == "table" else weight_axis(self.readers[0].op, w.ndim)
        assert axis is not None
        return np.moveaxis(w, axis, 0).reshape(w.shape[axis], -1)


@attrs.define(eq=False)
class FoundSites:
    """What can be stored in few bits.

    Attributes:
        sites: in order of first use.
        left: nodes with a constant weight that keep it, with the reason.
    """

    sites: list[WeightSite] = attrs.Factory(list[WeightSite])
    left: list[tuple[Node, str]] = attrs.Factory(list["tuple[Node, str]"])


def find_sites(
    graph: Graph, *, scheme: WeightScheme, group: int, skipped: Mapping[Node, str], least: int
) -> FoundSites:
    """The constants of a graph and of those in it.

    Args:
        graph: the graph, not changed.
        scheme: what the target takes.
        group: how many neighbours in a matrix are to share a scale.
        skipped: nodes that keep theirs, with the reason.
        least: elements from which on a constant is worth it.
    """
    found = FoundSites()
    for each in (graph, *graph.nested()):
        _find(each, found, scheme, group, skipped, least)
    return found


def _find(
    graph: Graph, found: FoundSites, scheme: WeightScheme, group: int, skipped: Mapping[Node, str], least: int
) -> None:
    grouped: dict[tuple[Tensor, Kind, bool], list[Node]] = {}
    for node in graph:
        place = _place(node)
        if place is None:
            continue
        tensor, kind, is_transposed = place
        reason = skipped.get(node) or _refusal(node, tensor, kind, scheme.operators, least)
        if not reason and kind == "matrix":
            inputs, outputs = static(tensor.type.dims)[:: -1 if is_transposed else 1]
            reason = scheme.matrix_problem(inputs, outputs, group)
        if reason:
            found.left.append((node, reason))
        else:
            grouped.setdefault((tensor, kind, is_transposed), []).append(node)
    readers = {node for nodes in grouped.values() for node in nodes}
    for (tensor, kind, is_transposed), nodes in grouped.items():
        if readers.issuperset(tensor.users):
            operand = 0 if kind == "table" else 1
            found.sites.append(WeightSite(tensor, kind, tuple(nodes), operand, is_transposed))
        else:
            found.left += [(node, "its weight is also read by what needs it in float") for node in nodes]


def _place(node: Node) -> tuple[Tensor, Kind, bool] | None:
    """The constant weight of a node, how it is read, and whether it lies [out, in]; None when it has none."""
    if node.op_type not in WEIGHTED:
        return None
    is_table = isinstance(node.op, Gather)
    tensor, other = node.inputs[0 if is_table else 1], node.inputs[1 if is_table else 0]
    if tensor is None or not tensor.is_constant or other is None or other.is_constant or not tensor.type.dtype.is_float:
        return None
    if is_table:
        return tensor, "table", False
    if isinstance(node.op, (Linear, MatMul)):
        return tensor, "matrix", weight_axis(node.op, tensor.type.rank) == 0
    return tensor, "channels", False


def _refusal(node: Node, tensor: Tensor, kind: Kind, operators: Sequence[str], least: int) -> str:
    """Why a node keeps its weight; empty when it need not."""
    if node.op_type not in operators:
        return f"the target takes no {node.op_type} with a weight of few bits"
    if tensor.type.dtype not in FLOATS:
        return f"its weight is {tensor.type.dtype}"
    if tensor.type.size < least:
        return f"its weight has {tensor.type.size} elements, fewer than {least}"
    if kind != "channels" and tensor.type.rank != 2:
        return f"its weight has {tensor.type.rank} axes"
    if isinstance(node.op, Gather) and node.op.axis % tensor.type.rank:
        return "it does not look up rows"
    return ""


# ------------------------------------------------------------------------------------------------------------ rewriting
@attrs.define(eq=False)
class WeightWriter:
    """Puts integers in the place of constants.

    Attributes:
        maker: the pass, for locations.
    """

    maker: str

    def write(self, site: WeightSite, weight: GroupedWeight) -> None:
        """Let the readers of a constant read it from integers."""
        if site.kind == "table":
            self._table(site, weight)
            return
        first = site.readers[0]
        dequantize = self._node(
            Dequantize(axis=weight.axis, block_size=weight.size), self._operands(site, weight), first
        )
        dequantize.outputs[0].name = f"{site.name}_dequantized"
        _graph(first).insert_before(first, dequantize)
        for reader in site.readers:
            reader.set_input(site.operand, dequantize.output)
            if site.kind == "matrix" and site.transposed:
                self._turn(reader)

    def _operands(self, site: WeightSite, weight: GroupedWeight) -> list[Tensor]:
        name = site.name
        operands = [constant(weight.integers, name), constant(weight.scale, f"{name}_scale")]
        if weight.zero_point is not None:
            operands.append(constant(weight.zero_point, f"{name}_zero_point"))
        return operands

    def _turn(self, node: Node) -> None:
        """The same node over its weight as [in, out]."""
        op: Any = node.op
        form: dict[str, Any] = {"transpose_w": False} if isinstance(node.op, Linear) else {"trans_b": False}
        twin = self._node(cast(Operator, attrs.evolve(op, **form)), node.inputs, node)
        twin.name = node.name
        for new, old in zip(twin.outputs, node.outputs, strict=True):
            new.name = old.name
        _graph(node).insert_before(node, twin)
        _graph(node).replace(node, twin.outputs)

    def _table(self, site: WeightSite, weight: GroupedWeight) -> None:
        operands = self._operands(site, weight)
        for reader in site.readers:
            graph, indices = _graph(reader), reader.inputs[1]
            taken = [self._node(Gather(), [operand, indices], reader) for operand in operands]
            for node in taken:
                graph.insert_before(reader, node)
            op = Dequantize(axis=-1, block_size=weight.size)
            dequantize = self._node(op, [node.output for node in taken], reader)
            dequantize.name, dequantize.outputs[0].name = reader.name, reader.output.name
            graph.insert_before(reader, dequantize)
            graph.replace(reader, dequantize.outputs)

    def _node(self, op: Operator, operands: Iterable[Tensor | None], like: Node) -> Node:
        return Node(op, list(operands), loc=Location.fused([like.loc], by=self.maker))


def _graph(node: Node) -> Graph:
    assert node.graph is not None
    return node.graph
