"""LSTM layers that are written as a Scan over their cell.

Models spell out layers that differ from the plain ones in their arithmetic, and what decomposes a dynamically quantized
LSTM does; without the quantization their cell is that of a plain layer, which targets know as one operator.

    part = MatMul(x, w) + b;  _, _, y = Scan(h, c, part)       ->  LSTM(x, w, r, b, h, c)
    the same of Flip(part), with Flip(y)                       ->  the reverse LSTM
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs
import numpy as np

from uair.ir.dtype import DType
from uair.ir.graph import Graph, Node, Tensor, constant
from uair.ir.location import Location
from uair.ir.module import Module
from uair.ops import LSTM, Add, Flip, MatMul, Reshape, Scan
from uair.passes.canonicalise import Canonicalise
from uair.pipeline import Pass, PassContext
from uair.rewrite import insert_detached

NAME = "recognize-lstm"


@attrs.frozen
class RecognizeLstm(Pass):
    """Make one LSTM of a Scan whose body is its cell."""

    def run(self, module: Module, context: PassContext) -> bool:
        """Look at every Scan of every graph."""
        changed = False
        for graph in module.all_graphs():
            for node in list(graph):
                layer = _layer(node) if isinstance(node.op, Scan) else None
                if layer is None:
                    continue
                if not context.fuel.draw(NAME, node):
                    return changed
                _replace(graph, node, layer)
                context.statistics.count(NAME)
                changed = True
        if changed:
            Canonicalise().run(module, context)
        return changed


@attrs.frozen(eq=False)
class _Layer:
    """What an LSTM takes: x [steps, batch, inputs], w and r [4 hidden, ...] as ONNX has them, b [4 hidden] or None."""

    x: Tensor
    w: Tensor
    r: Tensor
    b: Tensor | None
    h: Tensor
    c: Tensor
    reverse: bool

    def node(self) -> Node:
        """The layer, in no graph."""
        hidden = int(self.r.numpy().shape[1])
        both = None
        if self.b is not None:
            zeros = np.zeros(4 * hidden, np.float32)
            both = constant(np.concatenate([self.b.numpy().reshape(-1), zeros])[None])
        batch = self.x.type.dims[1]
        states = [Reshape(shape=(1, batch, hidden))(t) for t in (self.h, self.c)]
        op = LSTM(direction="reverse" if self.reverse else "forward")
        w, r = (constant(np.ascontiguousarray(t.numpy())[None]) for t in (self.w, self.r))
        return Node(op, [self.x, w, r, both, None, *states])


def _layer(node: Node) -> _Layer | None:
    """The LSTM that a Scan stands for; None when it is none."""
    op = node.op
    assert isinstance(op, Scan)
    if op.body is None or len(node.inputs) != 3 or op.scanned != 1 or any(op.input_reverse) or any(op.output_reverse):
        return None
    if any(op.input_axes) or any(op.output_axes) or len(node.outputs) != 3:
        return None
    h, c, part = node.inputs
    assert h is not None and c is not None and part is not None
    recurrence = _recurrence(op.body)
    source = _product(part)
    if recurrence is None or source is None:
        return None
    x, w, b, reverse = source
    steps = x.type.dims[0] if x.type.shape is not None else None
    if not isinstance(steps, int) or not (node.outputs[0].use_count == node.outputs[1].use_count == 0):
        return None
    if reverse and not all(isinstance(user.op, Flip) and user.op.axes == (0,) for user in node.outputs[2].users):
        return None
    layer = _Layer(x, _turned(w), _turned(recurrence), b, h, c, reverse)
    return layer if _same_cell(op.body, layer) else None


def _turned(matrix: Tensor) -> Tensor:
    return constant(np.ascontiguousarray(matrix.numpy().T))


def _recurrence(body: Graph) -> Tensor | None:
    """The constant matrix [hidden, 4 hidden] that the first state is multiplied with."""
    for user in body.inputs[0].users:
        if isinstance(user.op, MatMul) and user.inputs[0] is body.inputs[0]:
            matrix = user.inputs[1]
            if matrix is not None and matrix.is_constant and matrix.type.dtype is DType.F32 and matrix.type.rank == 2:
                rows, columns = matrix.type.dims
                return matrix if columns == 4 * rows else None
    return None


def _product(part: Tensor) -> tuple[Tensor, Tensor, Tensor | None, bool] | None:
    """(x, w, bias, whether the steps are taken from the end) of what a Scan scans."""
    node, reverse, bias = part.producer, False, None
    if node is not None and isinstance(node.op, Flip) and node.op.axes == (0,):
        reverse, node = True, _producer(node, 0)
    if node is not None and isinstance(node.op, Add):
        bias = node.inputs[1]
        node = _producer(node, 0)
        if bias is None or not bias.is_constant or bias.type.rank != 1:
            return None
    if node is None or not isinstance(node.op, MatMul):
        return None
    x, w = node.inputs
    assert x is not None and w is not None
    fits = w.is_constant and w.type.rank == 2 and x.type.shape is not None and x.type.rank == 3
    return (x, w, bias, reverse) if fits else None


def _producer(node: Node, i: int) -> Node | None:
    tensor = node.inputs[i]
    return None if tensor is None else tensor.producer


# ------------------------------------------------------------------------------------------------------ the same cell
def _same_cell(body: Graph, layer: _Layer) -> bool:
    """Whether the body computes what the layer's own decomposition computes in a step."""
    hidden = int(layer.r.numpy().shape[1])
    steps, batch = 64, layer.x.type.dims[1]  # enough steps that the decomposition is a Scan
    model = Graph("layer")
    x = model.add_input("x", layer.x.type.with_shape((steps, batch, layer.x.type.dims[2])))
    states = [model.add_input(name, layer.h.type.with_shape((1, batch, hidden))) for name in ("h", "c")]
    w, r = (constant(t.numpy()[None]) for t in (layer.w, layer.r))
    made = LSTM().decompose(x, w, r, None, None, *states)
    if made is None:
        return False
    last = Node(Reshape(shape=made[0].type.dims), [made[0]])
    anchor = model.append(last)
    insert_detached(model, anchor, made, Location())
    model.add_output("y", anchor.output)
    module = Module("layer", {"main": model})
    Canonicalise().run(module, PassContext())
    cells = [node.op.body for node in model if isinstance(node.op, Scan) and node.op.body is not None]
    return len(cells) == 1 and _meaning(cells[0]) == _meaning(body)


def _meaning(body: Graph) -> tuple[Any, ...]:
    """The results of a body as nested expressions of its inputs; equal ones compute the same."""
    known: dict[Tensor, Any] = {tensor: ("input", i) for i, tensor in enumerate(body.inputs)}
    for node in body:
        operands = tuple(_expression(t, known) for t in node.inputs)
        known.update({tensor: (repr(node.op), i, operands) for i, tensor in enumerate(node.outputs)})
    return tuple(_expression(t, known) for t in body.outputs)


def _expression(tensor: Tensor | None, known: Mapping[Tensor, Any]) -> Any:
    if tensor is None:
        return None
    if tensor in known:
        return known[tensor]
    if tensor.data is not None:
        return ("constant", tensor.type.dims, tensor.numpy().tobytes())
    return ("outer", id(tensor))


def _replace(graph: Graph, node: Node, layer: _Layer) -> None:
    """Put the layer in the place of the Scan; of a reverse one in the place of the Flips behind it."""
    made = layer.node()
    shape = node.outputs[2].type.dims
    y = Reshape(shape=shape)(made.outputs[0])
    insert_detached(graph, node, (y,), Location.fused([node.loc], by=NAME))
    made.name = node.name
    replaced = [user for user in node.outputs[2].users] if layer.reverse else [node]
    for old in replaced:
        if old is node:
            node.outputs[2].replace_all_uses_with(y)
        else:
            old.outputs[0].replace_all_uses_with(y)
