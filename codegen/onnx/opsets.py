"""The operator set of a model for onnxruntime: the lowest that expresses it, so that old releases run it too.

Weights of few bits are expressed by any operator set, as wider integers or as the floats that they stand for: the
lowest is then the first that holds them as they are.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from functools import partial

import attrs

from uair.codegen.onnx.model import emitted_ops, shared_emissions, unsupported_reason
from uair.codegen.onnx.schema import signature
from uair.codegen.onnx.table import Emitters
from uair.errors import InternalError, UairError
from uair.ir.graph import Node
from uair.ir.module import Module
from uair.ops import Dequantize
from uair.passes.legalise_onnx import LegaliseOnnx, NotLegalisable, Reason, form_of
from uair.pipeline import Pass, PassContext, PassManager


@attrs.frozen
class LegaliseLowest(Pass):
    """Replace operators that ONNX lacks, at the lowest opset at which that succeeds.

    Attributes:
        lowest: the first opset to try.
        newest: the last.
        unsupported: see LegaliseOnnx.
    """

    lowest: int = 17
    newest: int = 23
    unsupported: Reason = attrs.field(default=unsupported_reason, metadata={"option": False})

    def run(self, module: Module, context: PassContext) -> bool:
        """Legalise every graph.

        Raises:
            NotLegalisable: no opset expresses the module; of the newest.
        """
        known = _Answers(self.unsupported)
        first = least_opset(module, self.lowest, self.newest)
        if _expresses(first, _distinct(module), known):
            return False
        for opset in range(first, self.newest):
            step = LegaliseOnnx(opset=opset, unsupported=known)
            try:
                PassManager([step], []).run(module.clone())
            except NotLegalisable:
                continue
            return step.run(module, context)
        return LegaliseOnnx(opset=self.newest, unsupported=known).run(module, context)


@attrs.frozen(eq=False)
class _Answers:
    """Asks about nodes of one form once for each opset, though the attempt on a copy asks what the pass itself does."""

    ask: Reason
    _known: dict[tuple[object, int], str] = attrs.Factory(dict["tuple[object, int]", str])

    def __call__(self, node: Node, opset: int) -> str:
        key = form_of(node), opset
        if key not in self._known:
            with shared_emissions():  # the writer's own answer and the vendor's list look at the same
                self._known[key] = self.ask(node, opset)
        return self._known[key]


def lowest_opset(module: Module, lowest: int, newest: int, emitters: Emitters | None = None) -> int:
    """The lowest opset at which every node of a legalised module can be written.

    Args:
        module: the module.
        lowest: the first opset to try.
        newest: the last.
        emitters: see `uair.codegen.onnx.export`.

    Raises:
        InternalError: there is none: the module is not legalised.
    """
    nodes, reason = _distinct(module), partial(unsupported_reason, emitters=emitters)
    for opset in range(least_opset(module, lowest, newest), newest + 1):
        if _expresses(opset, nodes, reason):
            return opset
    raise InternalError(f"no opset from {lowest} to {newest} expresses the module")


def opset_as_it_is(module: Module, lowest: int, newest: int, unsupported: Reason) -> int | None:
    """The opset that a module is legalised for, when every node can be written at it as it is; else None."""
    opset = least_opset(module, lowest, newest)
    return opset if _expresses(opset, _distinct(module), unsupported) else None


def _distinct(module: Module) -> Collection[Node]:
    """One node for each form."""
    nodes: dict[object, Node] = {}
    for graph in module.all_graphs():
        for node in graph:
            nodes.setdefault(form_of(node), node)
    return nodes.values()


def _expresses(opset: int, nodes: Iterable[Node], unsupported: Reason) -> bool:
    """Whether all nodes can be written at an opset."""
    return not any(unsupported(node, opset) for node in nodes)


def least_opset(module: Module, lowest: int, newest: int) -> int:
    """The lowest opset that holds all constants of few bits, and those with scales in blocks, as they are."""
    kept = [
        (node.op, node.inputs[0].type.dtype)
        for graph in module.all_graphs()
        for node in graph
        if isinstance(node.op, Dequantize) and node.inputs[0] is not None and _holds_weights(node, node.op)
    ]
    for opset in range(lowest, newest):
        allowed = signature("DequantizeLinear", opset).input(0).allowed
        if all(dtype in allowed and (opset >= 21 or not op.block_size) for op, dtype in kept):
            return opset
    return newest


def _holds_weights(node: Node, op: Dequantize) -> bool:
    x = node.inputs[0]
    return x is not None and (op.block_size > 0 or (x.is_constant and x.type.dtype.bits < 8))


def lowest_emitted_ops(node: Node, lowest: int, newest: int, emitters: Emitters | None = None) -> Sequence[str]:
    """The ONNX operators of a node at the lowest opset that has a form of it; see `lowest_opset`.

    Raises:
        NotExpressible: none has; of the newest.
    """
    for opset in range(lowest, newest):
        try:
            return emitted_ops(node, opset, emitters)
        except UairError:
            continue
    return emitted_ops(node, newest, emitters)
