"""Where integers go: which nodes are quantized, which of their operands, and which tensors share parameters."""

from __future__ import annotations

import fnmatch
from collections.abc import Collection, Mapping, Sequence

import attrs

from uair.errors import InternalError, UnknownNameError
from uair.ir.dtype import DType
from uair.ir.graph import Graph, Node, Tensor
from uair.ops import (
    Add,
    Concat,
    Conv2D,
    Linear,
    MatMul,
    Mul,
    Reshape,
    Resize,
    Slice,
    Split,
    Squeeze,
    Sub,
    Transpose,
    Unsqueeze,
)
from uair.ops.base import Operator
from uair.quant.scheme import COMPUTE, CONVOLUTIONS, TRANSPOSED, Scheme

IN_REGION = "it is in a graph that control flow runs"
MOVES = "it only moves what is computed in float"
SUMS = (Add, Sub, Mul)
"""What stays in float where all its readers do, see `Scheme.float_sums`."""
RESHAPING = (Reshape, Squeeze, Transpose, Unsqueeze)
"""Integers go through them as floats do, whether they are quantized or not."""
MOVING = (*RESHAPING, Slice, Split)
"""What moves the values of one operand."""
ISLAND = (
    "no operator with a weight is among its quantized neighbours: its conversions would cost more than integers save"
)


@attrs.frozen(eq=False)
class QuantizedNode:
    """One node that will compute on integers.

    Attributes:
        node: the node.
        activations: operand numbers that get an activation's parameters; not the result of a node that the target
            computes together with this one.
        constants: operand numbers of constants that are quantized like activations.
        weight: operand number of the constant weight.
        bias: operand number of the bias that becomes i32.
    """

    node: Node
    activations: tuple[int, ...]
    constants: tuple[int, ...] = ()
    weight: int | None = None
    bias: int | None = None

    def operand(self, i: int) -> Tensor:
        """Operand i, which must be given."""
        tensor = self.node.inputs[i]
        if tensor is None:
            raise InternalError(f"operand {i} of {self.node!r} is omitted")
        return tensor


@attrs.define(eq=False)
class Plan:
    """What will be quantized.

    Attributes:
        nodes: the quantized nodes in order.
        groups: for every activation that is quantized the one that stands for its group: the members share parameters.
        float_nodes: nodes of the scheme's operators that stay float, and why.
        derived: members of groups whose values are values of other members: their ranges say nothing new.
        unmatched: patterns of `skip` that fit no node.
        symmetric: groups whose zero point is that of symmetric activations whatever others have.
    """

    nodes: list[QuantizedNode] = attrs.Factory(list[QuantizedNode])
    groups: dict[Tensor, Tensor] = attrs.Factory(dict[Tensor, Tensor])
    float_nodes: list[tuple[Node, str]] = attrs.Factory(list[tuple[Node, str]])
    derived: set[Tensor] = attrs.Factory(set[Tensor])
    unmatched: list[str] = attrs.Factory(list[str])
    symmetric: set[Tensor] = attrs.Factory(set[Tensor])

    def observed(self) -> list[Tensor]:
        """The tensors whose values decide parameters, in order."""
        return [t for t in self.groups if t not in self.derived]


def plan_quantization(graph: Graph, scheme: Scheme, skip: Sequence[str] = ()) -> Plan:
    """Decide what is quantized.

    Args:
        graph: the graph, not changed.
        scheme: the target's.
        skip: patterns (`*`, `?`) of names of nodes, of the source nodes they come from, or of operators, that stay
            float.

    Raises:
        UnknownNameError: a name in `skip` without wildcards fits no node.
    """
    plan = Plan()
    skipped, plan.unmatched = skipped_nodes(graph, skip)
    tail = frozenset[Node]() if scheme.placement == "compute" or scheme.ends else _after_last_compute(graph)
    chosen: dict[Node, int] = {}  # by node its position among them
    for node in graph:
        if node.op_type not in scheme.operators or (scheme.placement == "compute" and node.op_type not in COMPUTE):
            continue
        reason = skipped.get(node) or _refusal(node, scheme)
        if not reason and node in tail and node.op_type not in COMPUTE:
            reason = "no operator with a weight follows: the end of the graph stays float"
        if not reason and node.op_type in scheme.pass_through and _moves_floats(node, chosen):
            reason = MOVES
        if not reason and scheme.placement == "residual" and isinstance(node.op, Add):
            reason = "" if skipping_operand(node, chosen) is not None else "it ends no residual branch"
        if reason:
            plan.float_nodes.append((node, reason))
        else:
            chosen[node] = len(chosen)
    between = _float_sums(plan, graph, chosen) if scheme.placement == "all" and scheme.float_sums else frozenset[Node]()
    if not (scheme.ends or scheme.islands):
        for node in lone_nodes(chosen):
            plan.float_nodes.append((node, ISLAND))
            del chosen[node]
    inner = (node for region in graph.nested() for node in region if node.op_type in scheme.operators)
    plan.float_nodes.extend((node, IN_REGION) for node in inner if node.op_type in COMPUTE)
    _collect(plan, chosen, scheme, between)
    return plan


def _float_sums(plan: Plan, graph: Graph, chosen: dict[Node, int]) -> frozenset[Node]:
    """Those of the chosen nodes that are to be in float between integers and operators in float.

    Residual streams are such sums: LayerNorm reads floats anyway, and in float no block rounds the stream. Sums that
    get no integers, and what only moves such sums, are no longer chosen.
    """
    between: set[Node] = set()

    def read_in_float(tensor: Tensor) -> bool:
        return all(
            user not in chosen
            or user in between
            or (isinstance(user.op, MOVING) and all(map(read_in_float, user.outputs)))
            for user in tensor.users
        )

    for node in reversed(graph):
        if node in chosen and isinstance(node.op, SUMS) and node.output.use_count and read_in_float(node.output):
            between.add(node)
    integers = chosen.keys() - between
    for node in list(chosen):
        if node in between and not _given_as_integers(node, integers):
            reason = "neither its operands nor its readers are integers"
        elif isinstance(node.op, MOVING) and _moves_floats(node, integers):
            reason = MOVES
        else:
            continue
        plan.float_nodes.append((node, reason))
        between.discard(node)
        integers.discard(node)
        del chosen[node]
    return frozenset(between)


def _given_as_integers(node: Node, integers: Collection[Node]) -> list[int]:
    """The operands that nodes on integers give, by number."""
    return [i for i in _float_operands(node) if (t := node.inputs[i]) is not None and t.producer in integers]


def skipped_nodes(graph: Graph, patterns: Sequence[str]) -> tuple[dict[Node, str], list[str]]:
    """Nodes that the user keeps in float, with the reason; and the patterns that fit no node.

    Raises:
        UnknownNameError: a name without wildcards fits no node.
    """
    result: dict[Node, str] = {}
    unmatched: list[str] = []
    for pattern in patterns:
        nodes = (node for each in (graph, *graph.nested()) for node in each)
        found = [node for node in nodes if any(fnmatch.fnmatchcase(name, pattern) for name in names_of(node))]
        result.update((node, f"skipped by {pattern!r}") for node in found)
        if not found and not set(pattern) & set("*?["):
            raise UnknownNameError(
                f"skip names {pattern!r}, which is no node and no operator of the model",
                hint="`uair dump` shows the names; * and ? are wildcards",
            )
        if not found:
            unmatched.append(pattern)
    return result, unmatched


def names_of(node: Node) -> list[str]:
    """The names by which a user may know a node: its own, those of its source nodes, its operator's, its results'."""
    names = [node.name, *(source.name for source in node.loc.sources), node.op_type]
    return [name for name in (*names, *(t.name for t in node.outputs)) if name]


def _refusal(node: Node, scheme: Scheme) -> str:
    """Why a node of the scheme's operators stays float; empty when it need not."""
    floats = [t for t in (*node.inputs, *node.outputs) if t is not None and t.type.dtype.is_float]
    if not floats:
        return "computes no floating-point numbers"
    wrong = next((t for t in floats if t.type.dtype is not DType.F32), None)
    if wrong is not None:
        return f"its element type is {wrong.type.dtype}"
    if node.op_type in COMPUTE:
        return _compute_refusal(node, scheme)
    if isinstance(node.op, Concat) and any(t is not None and t.is_constant for t in node.inputs):
        return "joins a constant"
    if isinstance(node.op, Resize) and node.op.mode == "cubic":
        return "cubic interpolation leaves the range of its input"
    if isinstance(node.op, Resize) and node.op.coordinate_mode == "tf_crop_and_resize":
        return "the value outside of the image may leave the range of its input"
    return ""


def _moves_floats(node: Node, chosen: Collection[Node]) -> bool:
    """Whether all operands of a node are results of nodes that stay float: moved as integers, they gain nothing."""
    makers = [t.producer for t in node.inputs if t is not None and t.type.dtype.is_float and not t.is_constant]
    return bool(makers) and all(maker is not None and maker not in chosen for maker in makers)


def lone_nodes(nodes: Collection[Node]) -> list[Node]:
    """Those of some nodes that lie in regions without an operator with a weight.

    A region is what results of the nodes connect, also when they are reshaped in between. A sum, a pooling or an
    activation function on 8-bit integers between floats reads and writes a quarter of the bytes, and takes a conversion
    for each operand and result to get there.
    """
    parents: dict[Node, Node] = {}

    def root(node: Node) -> Node:
        while (parent := parents.get(node, node)) is not node:
            parents[node] = node = parents.get(parent, parent)
        return node

    for node in nodes:
        for tensor in node.inputs:
            maker = _maker(tensor, nodes)
            if maker is not None:
                parents[root(node)] = root(maker)
    weighted = {root(node) for node in nodes if node.op_type in COMPUTE}
    return [node for node in nodes if root(node) not in weighted]


def _maker(tensor: Tensor | None, nodes: Collection[Node]) -> Node | None:
    """The one of the nodes that computes a tensor, in another shape perhaps."""
    maker = None if tensor is None else tensor.producer
    while maker is not None and maker not in nodes and isinstance(maker.op, RESHAPING):
        before = maker.inputs[0]
        maker = None if before is None else before.producer
    return maker if maker in nodes else None


def _compute_refusal(node: Node, scheme: Scheme) -> str:
    x, w = node.inputs[0], node.inputs[1]
    assert x is not None and w is not None
    if x.is_constant:
        return "its first operand is a constant"
    if not w.is_constant:
        if isinstance(node.op, MatMul) and scheme.two_activations:
            return ""
        return "its weight is not a constant"
    bias = node.inputs[2] if len(node.inputs) > 2 else None
    if bias is not None and not bias.is_constant:
        return "its bias is not a constant"
    if not w.type.size:
        return "its weight is empty"
    return ""


def _after_last_compute(graph: Graph) -> frozenset[Node]:
    """Nodes from which no operator with a weight is reached."""
    leads: set[Node] = set()
    for node in reversed(graph):
        if node.op_type in COMPUTE or any(user in leads for t in node.outputs for user in t.users):
            leads.add(node)
    return frozenset(node for node in graph if node not in leads)


# ----------------------------------------------------------------------------------------------- operands and groups
def _collect(plan: Plan, members: Mapping[Node, int], scheme: Scheme, between: frozenset[Node]) -> None:
    """Fill `nodes` and `groups`; nodes `between` compute in float from what the other members give."""
    fused = {node for node in members if _is_fused(node, members, scheme)}
    integers = members.keys() - between
    quantized: dict[Tensor, None] = {}
    for node in members:
        if scheme.placement == "residual" and isinstance(node.op, Add):
            skipping = skipping_operand(node, members)
            assert skipping is not None
            item = QuantizedNode(node, (skipping,))
        elif node in between:
            item = QuantizedNode(node, tuple(_given_as_integers(node, integers)))
        else:
            left_out = 0 if node in fused else summed_operand(node, members, scheme)
            item = _operands(node, scheme, left_out)
        plan.nodes.append(item)
        quantized.update((item.operand(i), None) for i in item.activations)
    parents: dict[Tensor, Tensor] = {}
    for node in members:
        if node.op_type in scheme.pass_through:
            _join(node, parents)
            plan.derived.update(node.outputs)
    plan.groups = {t: _root(t, parents) for t in quantized}
    if scheme.symmetric_factors:
        factors = (item for item in plan.nodes if item.node.op_type in COMPUTE and len(item.activations) > 1)
        plan.symmetric = {plan.groups[item.operand(i)] for item in factors for i in item.activations}


def skipping_operand(node: Node, members: Mapping[Node, int]) -> int | None:
    """The operand of a sum that comes past a residual branch; None when the sum ends none.

    The other operand is the result of one of the `members` with a weight, used here only, so that the sum can be
    computed together with it. Where both are such results, the later one ends the branch.
    """
    ends = [i for i in (0, 1) if _ends_branch(node.inputs[i], members)]
    a, b = node.inputs
    if not ends or a is None or b is None or a is b or a.type != b.type or a.is_constant or b.is_constant:
        return None
    if len(ends) == 1:
        return 1 - ends[0]
    first, second = (members[t.producer] for t in (a, b) if t.producer is not None)
    return 0 if first < second else 1


def summed_operand(node: Node, members: Mapping[Node, int], scheme: Scheme) -> int | None:
    """The operand of a sum that comes from a convolution which is computed together with it; None without one."""
    if scheme.placement != "all" or not scheme.fused_sums or not isinstance(node.op, Add):
        return None
    a, b = node.inputs
    if a is None or b is None or a is b or a.type != b.type:
        return None
    return next((i for i, t in ((0, a), (1, b)) if _is_convolution(t.producer, members) and t.use_count == 1), None)


def _is_convolution(node: Node | None, members: Mapping[Node, int]) -> bool:
    return node is not None and node in members and isinstance(node.op, Conv2D)


def _ends_branch(tensor: Tensor | None, members: Mapping[Node, int]) -> bool:
    producer = None if tensor is None else tensor.producer
    return (
        tensor is not None
        and producer is not None
        and producer in members
        and producer.op_type in COMPUTE
        and tensor.use_count == 1
    )


def _is_fused(node: Node, members: Mapping[Node, int], scheme: Scheme) -> bool:
    """Whether a node is an activation function computed together with the quantized node before it."""
    x = node.inputs[0] if node.inputs else None
    before = None if x is None else x.producer
    if scheme.placement != "all" or x is None or before is None or before not in members or x.use_count != 1:
        return False
    if node.op_type in scheme.fused:
        return before.op_type not in scheme.pass_through
    return node.op_type in scheme.fused_to_convolution and _is_convolution(before, members)


def _operands(node: Node, scheme: Scheme, left_out: int | None) -> QuantizedNode:
    """What is quantized of a node, operand `left_out` apart: it comes from a node that is computed together with it."""
    if node.op_type not in COMPUTE:
        floats = _float_operands(node)
        varying = tuple(i for i in floats if not _is_constant(node, i) and i != left_out)
        constants = tuple(i for i in floats if _is_constant(node, i)) if node.op_type in ("Add", "Sub", "Mul") else ()
        return QuantizedNode(node, varying, constants)
    if not _is_constant(node, 1):
        return QuantizedNode(node, (0, 1))
    has_bias = len(node.inputs) > 2 and node.inputs[2] is not None
    return QuantizedNode(node, (0,), weight=1, bias=2 if has_bias and scheme.bias is not None else None)


def _float_operands(node: Node) -> list[int]:
    """The operand numbers of the values that a node computes on; the scales of a Resize only say where they are."""
    values = node.inputs[:1] if isinstance(node.op, Resize) else node.inputs
    return [i for i, t in enumerate(values) if t is not None and t.type.dtype is DType.F32]


def _is_constant(node: Node, i: int) -> bool:
    t = node.inputs[i]
    return t is not None and t.is_constant


def _join(node: Node, parents: dict[Tensor, Tensor]) -> None:
    """One group of the operands and results of a node that keeps integers as they are."""
    operands = [t for i in _float_operands(node) if (t := node.inputs[i]) is not None]
    first = _root(operands[0], parents)
    for tensor in (*operands[1:], *(t for t in node.outputs if t.type.dtype is DType.F32)):
        root = _root(tensor, parents)
        if root is not first:
            parents[root] = first


def _root(tensor: Tensor, parents: dict[Tensor, Tensor]) -> Tensor:
    while tensor in parents:
        tensor = parents[tensor]
    return tensor


def weight_axis(op: Operator, rank: int) -> int | None:
    """The axis of a weight of that rank along which scales may differ: its output channels; None when there is none.

    A matrix of more than two axes (a batch) has no axis that stands for output channels only.
    """
    if op.op_type in CONVOLUTIONS:
        return 0
    if op.op_type in TRANSPOSED:
        return 1
    if isinstance(op, Linear):
        return 0 if op.transpose_w else 1
    if isinstance(op, MatMul) and rank == 2:
        return 0 if op.trans_b else 1
    return None
