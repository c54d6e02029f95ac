"""What a vendor's compiler makes of the nodes of a graph: the steps that it runs, one after the other.

A step is one pass over its operands: a product with what is fused behind it, or any other operator. Which operators
fuse and which habits the compiler has is in the description (`[cost]`): `epilogue`, `epilogues`, `habits`, `integers`.
Costs, plans and the form-groups pass all ask here what is computed as one.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import attrs

from uair.ir.dims import static
from uair.ir.dtype import DType
from uair.ir.graph import Graph, Node, Tensor
from uair.ir.types import TensorType
from uair.ops import (
    Add,
    AvgPool2D,
    Cast,
    Concat,
    Conv2D,
    Dequantize,
    GlobalAvgPool,
    Identity,
    Mul,
    Quantize,
    ReduceMean,
    Reshape,
    ShapeOf,
    Sigmoid,
    SizeOf,
    Squeeze,
    Transpose,
    Unsqueeze,
)
from uair.targets.description import DeviceDescription
from uair.targets.products import (
    Work,
    in_groups,
    is_product,
    pieces,
    tensors_of,
    unit_for,
    weight_bytes,
    work_of,
)
from uair.targets.subject import is_quantized
from uair.targets.units import Stages

FREE = (Reshape, Squeeze, Unsqueeze, Identity, ShapeOf, SizeOf)
"""Operators that move no data: another view of the same bytes, or a number that the compiler knows."""
WINDOW = 7
"""Greatest extent of a global pool's window that Rockchip's NPU takes at once; larger ones are pooled repeatedly."""


@attrs.frozen
class Step:
    """One pass of a unit over its operands.

    Attributes:
        work: the product that is formed; None for any other operator.
        operations: all floating-point operations.
        dtype: that they are computed in.
        bytes: that are read and written.
    """

    work: Work | None
    operations: int
    dtype: DType
    bytes: int


@attrs.define(eq=False)
class StepFinder:
    """The steps of the nodes of a graph on a device.

    Attributes:
        description: of the device.
        steps: of every node of the graph that `of_graph` was last called with.
        members: by product what became part of it, in order; the last one gives the result.
        fused_to: the product that a node became part of.
        positions: of the nodes in the graph that was last asked about.
    """

    description: DeviceDescription
    steps: dict[Node, list[Step]] = attrs.Factory(dict[Node, list[Step]])
    members: dict[Node, tuple[Node, ...]] = attrs.Factory(dict[Node, "tuple[Node, ...]"])
    fused_to: dict[Node, Node] = attrs.Factory(dict[Node, Node])
    positions: dict[Node, int] = attrs.Factory(dict[Node, int])

    # ---------------------------------------------------------------------------------------------------------- graphs
    def of_graph(self, graph: Graph) -> dict[Node, list[Step]]:
        """The steps of every node, in order; a node that became part of another one has none."""
        steps: dict[Node, list[Step]] = {}
        self.fuse(graph)
        for node in graph:
            none = node in self.fused_to or not is_known(node) or is_free(node)
            steps[node] = [] if none else self.of_node(node, self.members.get(node, ()))
        for node in graph:
            self._split_concat(node, steps)
        self.steps = steps
        return steps

    def fuse(self, graph: Graph) -> None:
        """Find what becomes part of the products of a graph: `members` and `fused_to`."""
        self.members, self.fused_to, self.positions = {}, {}, {}
        for node in graph:
            if node in self.fused_to or is_free(node) or not self.takes_epilogue(node):
                continue
            free = itertools.takewhile(lambda member: member not in self.fused_to, self.epilogue(node))
            if members := tuple(free):
                members = (*self._before(node, members), *members)
                self.members[node] = members
                self.fused_to.update((member, node) for member in members)

    def groups(self, graph: Graph) -> list[list[Node]]:
        """The nodes of every step that is made of several, in their order.

        These are a product with its members and the views between them; and any operator that the device computes on
        integers with the Dequantize and Quantize around it, unless others read what they give, too. Nothing else reads
        a result of any but a group's last node.
        """
        self.fuse(graph)
        quantization = self.description.quantization
        integers = () if quantization is None else quantization.scheme.operators
        found: list[list[Node]] = []
        for node in graph:
            if node in self.fused_to or node.regions or is_free(node):
                continue
            group = _with_views([node, *self.members.get(node, ())])
            if node.op_type in integers:
                group = _with_conversions(group)
            if len(group) > 1:
                found.append(sorted(group, key=self._position))
        return found

    def _position(self, node: Node) -> int:
        """Where a node stands in its graph."""
        if node not in self.positions:
            assert node.graph is not None
            self.positions = {each: i for i, each in enumerate(node.graph)}
        return self.positions[node]

    def takes_epilogue(self, node: Node) -> bool:
        """Whether a node is a product in one piece: parts of one that is computed group by group are joined first."""
        if not is_known(node):
            in_one = not self.description.unit or getattr(node.op, "groups", 1) == 1
            return in_one and is_product(node)
        works = work_of(node)
        dtype = self.compute_type(node)
        unit = unit_for(works[0], dtype, self.description) if works else None
        if unit is None or unit.does != "matrix":
            return bool(works)
        made = in_groups(works[0], unit, dtype, self.description.channel_block(dtype))
        return unit.groups == "merged" or made.groups == 1

    def of_node(self, node: Node, members: Sequence[Node] = ()) -> list[Step]:
        """The steps of one node with those that are fused to it."""
        last = (members[-1] if members else node).outputs
        dtype = self.compute_type(node)
        habit = self._pool(node, dtype) or self._shuffle(node, dtype)
        if habit:
            return habit
        read = self.bytes_read(node, dtype) + self._extra(node, members, dtype)
        total = read + self.bytes_written(node, last, dtype)
        works = work_of(node)
        if len(works) <= 1:
            return [Step(works[0] if works else None, operations(node), dtype, total)]
        return [Step(work, 2 * work.products, dtype, total // len(works)) for work in works]

    # --------------------------------------------------------------------------------------------------------- fusion
    def epilogue(self, node: Node) -> Iterator[Node]:
        """The operators that the compiler makes part of a product, in order.

        Of two products whose results an operator takes, it is left to the one whose result is not rounded in front of
        it, else to the later one.
        """
        tensor = node.outputs[0]
        shape = tensor.type.shape
        stages = self.description.cost.stages(node.op_type, None if shape is None else len(shape))
        while True:
            following = self._following(node, tensor, stages)
            if not following:
                return
            yield from following
            tensor, stages = following[-1].outputs[0], stages.behind(_name_of(following))

    def _following(self, first: Node, tensor: Tensor, stages: Stages) -> tuple[Node, ...]:
        """What fuses directly behind a tensor that the product `first` leads to: one operator, or x * sigmoid(x)."""
        tensor = behind_views(tensor)
        users = readers(tensor)
        if any(user.graph is not first.graph for user in users):
            return ()  # a graph that control flow runs reads it
        if several := _swish(tensor, users) or _dequantized(first, users):
            return several if stages.take(_name_of(several)) else ()
        if len(users) != 1 or not stages.take(users[0].op_type) or len(users[0].outputs) != 1:
            return ()
        shape = tensor.type.shape
        others = [t for t in users[0].inputs if t is not None and source_of(t) is not tensor and not is_parameter(t)]
        if any(t.type.shape != shape or self._is_taken(users[0], t, first, tensor) for t in others):
            return ()
        return (users[0],)

    def _before(self, node: Node, members: Sequence[Node]) -> tuple[Node, ...]:
        """The operator in front of a product that the compiler makes part of it and of what is behind it."""
        shape = node.outputs[0].type.shape
        names = self.description.cost.before(node.op_type, None if shape is None else len(shape))
        maker = None if node.inputs[0] is None else node.inputs[0].producer
        if maker is None or maker.op_type not in names or maker.graph is not node.graph:
            return ()
        group = {node, *members}
        return (maker,) if all(user in group for t in maker.outputs for user in t.users) else ()

    def _is_taken(self, user: Node, other: Tensor, first: Node, tensor: Tensor) -> bool:
        """Whether a reader of `tensor` is left to another product than `first`: that of `other`, read by it alone."""
        maker = origin_of(other).producer
        while maker is not None and not is_product(maker):  # through what the product has fused already
            given = [t for t in maker.inputs if t is not None and not is_parameter(t)]
            if len(given) != 1 or len(readers(maker.outputs[0])) != 1 or not maker.op.elementwise:
                return False
            maker = origin_of(given[0]).producer
        if maker is None or len(readers(maker.outputs[0])) != 1:
            return False
        is_rounded, other_is = tensor not in user.inputs, source_of(other) is not other
        return is_rounded if is_rounded != other_is else self._position(first) < self._position(maker)

    def _extra(self, node: Node, members: Sequence[Node], dtype: DType) -> int:
        """Bytes that fused operators read besides the product's result."""
        inside = {node.outputs[0], *(member.outputs[0] for member in members)}
        given = [t for member in members for t in member.inputs if t is not None]
        return sum(self.operand_bytes(t, dtype) for t in given if origin_of(t) not in inside and not is_parameter(t))

    # --------------------------------------------------------------------------------------------------------- habits
    def _pool(self, node: Node, dtype: DType) -> list[Step]:
        """A global average as depthwise convolutions of windows of at most 7 by 7."""
        if "pools" not in self.description.cost.habits or not _is_global_mean(node):
            return []
        x = node.inputs[0]
        assert x is not None
        n, channels, height, width = static(x.type.dims)
        steps: list[Step] = []
        while True:
            window = (min(height, WINDOW), min(width, WINDOW))
            out = (-(-height // window[0]), -(-width // window[1]))
            work = Work(n, math.prod(out), math.prod(window), 1, 1, channels)
            before, after = (TensorType(dtype, (n, channels, *size)) for size in ((height, width), out))
            moved = self.stored(before) + self.stored(after) + self._weights(work, dtype)
            steps.append(Step(work, 2 * work.products, dtype, moved))
            height, width = out
            if height * width == 1:
                return steps

    def _shuffle(self, node: Node, dtype: DType) -> list[Step]:
        """A shuffle of channels as a dense convolution of 1 by 1."""
        images = shuffled(node) if "shuffles" in self.description.cost.habits else None
        if images is None:
            return []
        n, channels, *spatial = images
        work = Work(n, math.prod(spatial), 1, channels, channels)
        moved = 2 * self.stored(TensorType(dtype, (n, channels, *spatial))) + self._weights(work, dtype)
        return [Step(work, 2 * work.products, dtype, moved)]

    def _split_concat(self, node: Node, steps: dict[Node, list[Step]]) -> None:
        """A convolution of two concatenated maps as one of each, the second adding to the first."""
        if "concats" not in self.description.cost.habits or not isinstance(node.op, Conv2D) or node.op.groups != 1:
            return
        maker = source_of(node.inputs[0]).producer if node.inputs[0] is not None else None
        if maker is None or len(steps[node]) != 1 or steps[maker] == [] or not _is_pair(maker, node):
            return
        whole = steps[node][0]
        if whole.work is None:
            return
        last = self.members.get(node, (node,))[-1].outputs[0]
        unit_type = whole.dtype if self.has_inner_scale else self.description.dtypes.float
        halves: list[Step] = []
        for i, part in enumerate(maker.inputs):
            assert part is not None
            work = attrs.evolve(whole.work, inputs=static(part.type.dims)[1])
            result = self.stored(TensorType(unit_type, last.type.shape))
            moved = self.operand_bytes(part, unit_type) + self._weights(work, unit_type) + result * (1 + i)
            halves.append(Step(work, 2 * work.products, unit_type, moved))
        steps[node], steps[maker] = halves, []

    @property
    def has_inner_scale(self) -> bool:
        """Whether a tensor that only the compiler knows can hold integers."""
        return self.description.cost.integers == "any"

    def _weights(self, work: Work, dtype: DType) -> int:
        unit = unit_for(work, dtype, self.description)
        return 0 if unit is None else weight_bytes(work, unit, dtype, self.description.channel_block(dtype))

    # ----------------------------------------------------------------------------------------------------------- bytes
    def bytes_read(self, node: Node, dtype: DType) -> int:
        """Bytes of a node's operands, as they lie in the device's memory."""
        given = [t for t in node.inputs if t is not None]
        works = work_of(node)
        if has_weights(node) and all(unit_for(work, dtype, self.description) is not None for work in works):
            weights = sum(self._weights(work, dtype) for work in works)
        else:
            weights = sum(self.stored(real(t)) for t in given if is_parameter(t))
        return weights + sum(self.operand_bytes(t, dtype) for t in given if not is_parameter(t))

    def operand_bytes(self, tensor: Tensor, dtype: DType) -> int:
        """Bytes of an operand of a node that is computed in `dtype`; images of the model keep their few channels."""
        type_ = real(tensor)
        if type_.dtype.is_integer and type_.dtype.bits <= 8 and dtype.is_float:
            type_ = type_.with_dtype(dtype)  # converted in front of the node
        return self.stored(type_, image=source_of(tensor).producer is None)

    def bytes_written(self, node: Node, results: Iterable[Tensor], dtype: DType) -> int:
        """Bytes of results that the unit which computes `node` writes."""
        works = work_of(node)
        unit = unit_for(works[0], dtype, self.description) if works else None
        block = None if unit is None else unit.leaving.get(dtype)
        return sum(self.stored(written(t), block if leaves(t) else None) for t in results)

    def stored(self, type_: TensorType, block: int | None = None, *, image: bool = False) -> int:
        """Bytes of a tensor in the device's memory.

        Args:
            type_: with the element type that it is stored in.
            block: what the number of channels is rounded up to; the layout's block when not given.
            image: whether up to four channels are left as they are.
        """
        dtype = self.device_type(type_.dtype)
        shape = list(static(type_.dims))
        if len(shape) >= 2:
            at = 1 if len(shape) > 2 else -1
            whole = block or self.description.channel_block(dtype)
            if not (image and shape[at] <= 4):
                shape[at] = -(-shape[at] // whole) * whole
        return (math.prod(shape) * max(dtype.bits, 1) + 7) // 8

    # ----------------------------------------------------------------------------------------------------------- types
    def device_type(self, dtype: DType) -> DType:
        """The element type that values are held in: floats in the narrower type that the device computes in."""
        computed = self.description.dtypes.float
        return computed if dtype.is_float and computed.bits < dtype.bits else dtype

    def compute_type(self, node: Node) -> DType:
        """The element type that a node is computed in."""
        if is_quantized(node) and (self.has_inner_scale or (self._gives_integers(node) and not self._is_cut(node))):
            return DType.I8
        moving = [t for t in node.inputs if t is not None and not t.is_constant]
        floats = [t.type.dtype for t in (*moving, *node.outputs) if t.type.dtype.is_float]
        return self.device_type(floats[0]) if floats else self.description.dtypes.float

    def _is_cut(self, node: Node) -> bool:
        """Whether a node's sums are too long for one step of integers; the pieces have no scale of their own."""
        units = ((work, unit_for(work, DType.I8, self.description)) for work in work_of(node))
        return any(unit is not None and len(pieces(work, unit, DType.I8)) > 1 for work, unit in units)

    def _gives_integers(self, node: Node) -> bool:
        """Whether the result of a node, with all that fuses behind it, is quantized."""
        behind = [node, *(self.epilogue(node) if work_of(node) else ())]
        return any(is_quantized_result(t) for each in behind for t in each.outputs)


# --------------------------------------------------------------------------------------------------------------- nodes
def is_known(node: Node) -> bool:
    """Whether every operand and result is a tensor of known extents."""
    return all(t.type.is_static for t in tensors_of(node))


def operations(node: Node) -> int:
    """Floating-point operations of a node with static sizes."""
    return node.op.flops([None if t is None else t.type for t in node.inputs], [t.type for t in node.outputs])


def is_free(node: Node) -> bool:
    """Whether a node takes no time: a view, a computation on constants, or part of its quantized neighbours."""
    given = [t for t in node.inputs if t is not None]
    if isinstance(node.op, FREE) or (given and all(is_parameter(t) for t in given) and node.op.deterministic):
        return True
    if isinstance(node.op, Dequantize):
        return all(is_quantized(n) for n in node.outputs[0].users if not n.is_return)
    if isinstance(node.op, Quantize) and given:
        maker = given[0].producer
        return maker is not None and not isinstance(maker.op, Dequantize)
    return False


def is_parameter(tensor: Tensor) -> bool:
    """Whether a tensor is a weight: a constant, or a constant of integers behind Dequantize."""
    if tensor.is_constant:
        return True
    maker = tensor.producer
    dequantized = maker is not None and isinstance(maker.op, Dequantize)
    return dequantized and maker is not None and all(t is None or t.is_constant for t in maker.inputs)


def has_weights(node: Node) -> bool:
    """Whether a product's second operand is a weight."""
    return bool(work_of(node)) and node.inputs[1] is not None and is_parameter(node.inputs[1])


def real(tensor: Tensor) -> TensorType:
    """The type that an operand has in memory: that of the integers in front of a Dequantize."""
    maker = tensor.producer
    if maker is not None and isinstance(maker.op, Dequantize) and maker.inputs[0] is not None:
        return maker.inputs[0].type
    return tensor.type


def written(tensor: Tensor) -> TensorType:
    """The type that a result has in memory: that of the integers when nothing but Quantize reads it."""
    if is_quantized_result(tensor) and tensor.type.dtype.is_float:
        return next(tensor.users).outputs[0].type
    return tensor.type


def is_quantized_result(tensor: Tensor) -> bool:
    """Whether nothing but Quantize reads a result, or it holds integers itself."""
    users = list(tensor.users)
    narrow = tensor.type.dtype.is_integer and tensor.type.dtype.bits <= 8
    return narrow or (bool(users) and all(isinstance(n.op, Quantize) for n in users))


def readers(tensor: Tensor) -> list[Node]:
    """The operators that read a tensor, behind Quantize and Dequantize; none when the model returns it."""
    found: list[Node] = []
    for user in tensor.users:
        if user.is_return:
            return []
        if isinstance(user.op, (Quantize, Dequantize)):
            behind = readers(user.outputs[0])
            if not behind:
                return []
            found += behind
        else:
            found.append(user)
    return list(dict.fromkeys(found))


def leaves(tensor: Tensor) -> bool:
    """Whether a result is one of the model's, perhaps behind Quantize, Dequantize and views."""
    passing = (Quantize, Dequantize, *FREE)
    return any(n.is_return or (isinstance(n.op, passing) and leaves(n.outputs[0])) for n in tensor.users)


def source_of(tensor: Tensor) -> Tensor:
    """The tensor in front of Quantize and Dequantize."""
    while tensor.producer is not None and isinstance(tensor.producer.op, (Quantize, Dequantize)):
        given = tensor.producer.inputs[0]
        if given is None:
            return tensor
        tensor = given
    return tensor


def behind_views(tensor: Tensor) -> Tensor:
    """The last view of a tensor that nothing else reads."""
    while len(users := readers(tensor)) == 1 and isinstance(users[0].op, FREE):
        tensor = users[0].outputs[0]
    return tensor


def origin_of(tensor: Tensor) -> Tensor:
    """The tensor in front of Quantize, Dequantize and views."""
    tensor = source_of(tensor)
    while (
        tensor.producer is not None and isinstance(tensor.producer.op, FREE) and tensor.producer.inputs[0] is not None
    ):
        tensor = source_of(tensor.producer.inputs[0])
    return tensor


def _swish(tensor: Tensor, users: Sequence[Node]) -> tuple[Node, ...]:
    """Sigmoid and Mul where they are x * sigmoid(x) of a tensor and its only readers."""
    if len(users) != 2:
        return ()
    sigmoid, mul = users if isinstance(users[1].op, Mul) else (users[1], users[0])
    if not isinstance(sigmoid.op, Sigmoid) or not isinstance(mul.op, Mul) or readers(sigmoid.outputs[0]) != [mul]:
        return ()
    sources = {source_of(t) for t in mul.inputs if t is not None}
    return (sigmoid, mul) if sources == {tensor, sigmoid.outputs[0]} else ()


def _dequantized(product: Node, users: Sequence[Node]) -> tuple[Node, ...]:
    """Cast, Mul and Add where they give the numbers that a product of integers stands for.

    The scale is a product of two that nothing else reads, as quantizers of dynamic ranges write it, and is one of the
    nodes; the bias has a number for each column.
    """
    cast = users[0] if len(users) == 1 else None
    if cast is None or not isinstance(cast.op, Cast) or list(product.outputs[0].users) != [cast]:
        return ()
    if product.outputs[0].type.dtype is not DType.I32 or not cast.outputs[0].type.dtype.is_float:
        return ()
    scaled = list(cast.outputs[0].users)
    if len(scaled) != 1 or not isinstance(scaled[0].op, Mul):
        return ()
    scales = [t for t in scaled[0].inputs if t is not None and t is not cast.outputs[0]]
    maker = scales[0].producer if len(scales) == 1 else None
    if maker is None or not isinstance(maker.op, Mul) or list(maker.outputs[0].users) != scaled:
        return ()
    if any(node.graph is not product.graph for node in (cast, maker, *scaled)):
        return ()
    return (cast, maker, *scaled, *_bias(scaled[0]))


def _bias(node: Node) -> tuple[Node, ...]:
    """The sum with a constant of one axis, as long as the last one, that is the only reader of a result."""
    result = node.outputs[0]
    users = list(result.users)
    if len(users) != 1 or not isinstance(users[0].op, Add) or users[0].graph is not node.graph:
        return ()
    others = [t for t in users[0].inputs if t is not None and t is not result]
    fits = len(others) == 1 and others[0].is_constant and result.type.shape is not None
    return (users[0],) if fits and others[0].type.shape == result.type.dims[-1:] else ()


def _name_of(nodes: Sequence[Node]) -> str:
    """What descriptions call operators that fuse at once."""
    if len(nodes) == 1:
        return nodes[0].op_type
    return "Dequantize" if isinstance(nodes[0].op, Cast) else "Swish"


def _with_views(nodes: list[Node]) -> list[Node]:
    """A product and its members with the views, Quantize and Dequantize between them."""
    group = dict.fromkeys(nodes)
    for node in nodes[1:]:
        for tensor in node.inputs:
            passed: list[Node] = []
            maker = None if tensor is None else tensor.producer
            while maker is not None and maker not in group and isinstance(maker.op, (Quantize, Dequantize, *FREE)):
                passed.append(maker)
                before = maker.inputs[0]
                maker = None if before is None else before.producer
            if maker in group:
                group.update(dict.fromkeys(passed))
    return [*group]


def _with_conversions(nodes: list[Node]) -> list[Node]:
    """The nodes, the last one behind all others, with the conversions from and to integers that are part of them."""
    group = dict.fromkeys(nodes)
    for node in nodes:
        makers = (t.producer for t in node.inputs if t is not None)
        group.update(
            (m, None) for m in makers if m is not None and isinstance(m.op, Dequantize) and _only_for(m, group)
        )
    users = list(nodes[-1].outputs[0].uses) if len(nodes[-1].outputs) == 1 else []
    if len(users) == 1 and isinstance(users[0][0].op, Quantize) and is_free(users[0][0]):
        group[users[0][0]] = None
    return [*group]


def _only_for(node: Node, group: Mapping[Node, None]) -> bool:
    """Whether the nodes of a group alone, in their graph, read a result that takes them no time."""
    return (
        is_free(node) and all(user in group for user in node.outputs[0].users) and node.graph is next(iter(group)).graph
    )


def _is_global_mean(node: Node) -> bool:
    """Whether a node averages over the two spatial axes of images."""
    x = node.inputs[0] if node.inputs else None
    if x is None or x.type.rank != 4:
        return False
    op: Any = node.op
    if isinstance(op, ReduceMean):
        axes = op.axes or ()
        return sorted(a % 4 for a in axes) == [2, 3]
    if isinstance(op, AvgPool2D):
        return op.kernel == static(x.type.dims)[2:] and not any(op.pads)
    return isinstance(op, GlobalAvgPool)


def shuffled(node: Node) -> tuple[int, ...] | None:
    """The shape [N, C, ...] of the images whose groups of channels a Transpose exchanges; None for any other node.

    A Reshape makes two axes of the channels, [N, a, b, ...], and another joins them again. Axes of extent 1 may be left
    out, and the axes of the image may be one: what matters is the order of the elements.
    """
    x = node.inputs[0] if node.inputs else None
    if not isinstance(node.op, Transpose) or x is None or not is_known(node):
        return None
    joined = behind_views(node.outputs[0])
    maker = source_of(x).producer
    if maker is None or not isinstance(maker.op, Reshape) or joined is node.outputs[0]:
        return None
    images, shape = static(origin_of(x).type.dims), static(x.type.dims)
    long = [axis for axis in node.op.perm if shape[axis] != 1]
    moved = [i for i, axis in enumerate(long) if sorted(long)[i] != axis]
    if len(images) < 3 or static(joined.type.dims) != images or len(moved) != 2 or moved[1] != moved[0] + 1:
        return None
    first, second = long[moved[1]], long[moved[0]]
    before, behind = math.prod(shape[:first]), math.prod(shape[second + 1 :])
    fits = before == images[0] and shape[first] * shape[second] == images[1] and behind == math.prod(images[2:])
    return images if fits else None


def _is_pair(maker: Node, reader: Node) -> bool:
    """Whether a node concatenates the channels of two tensors for one reader that makes fewer than half as many."""
    if not isinstance(maker.op, Concat) or len(maker.inputs) != 2 or maker.op.axis % 4 != 1:
        return False
    first, second = (static(t.type.dims)[1] for t in maker.inputs if t is not None)
    made = static(reader.outputs[0].type.dims)[1]
    return 2 * made < first + second and readers(maker.outputs[0]) == [reader]
