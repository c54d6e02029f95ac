"""What a model needs, before anything is imported: operators without a handler are listed all at once."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence

from uair.frontends.common.errors import UnmappedOperatorError
from uair.frontends.tensorflow.branches import MERGE, SWITCH
from uair.frontends.tensorflow.errors import LoweredControlFlowError, StatefulGraphError
from uair.frontends.tensorflow.graphdef import Body, GraphDef, NodeDef, Ref

LOWERED = frozenset({"Enter", "RefEnter", "Exit", "RefExit", "RefSwitch", "RefMerge",
                     "NextIteration", "RefNextIteration", "LoopCond", "ControlTrigger"})  # fmt: skip
CHANGES = frozenset({
    "AssignVariableOp", "AssignAddVariableOp", "AssignSubVariableOp", "Assign", "AssignAdd", "AssignSub",
    "ResourceScatterUpdate", "ResourceScatterAdd", "ResourceScatterSub", "ResourceScatterNdUpdate",
    "ResourceScatterNdAdd", "ScatterUpdate", "ScatterAdd", "ResourceStridedSliceAssign",
})  # fmt: skip
"""Operators that change a variable."""
REFUSED = {
    "PyFunc": "runs Python code that is not in the model",
    "PyFuncStateless": "runs Python code that is not in the model",
    "EagerPyFunc": "runs Python code that is not in the model",
    "HashTableV2": "is a lookup table, which tensors cannot express; look keys up before the model runs",
    "MutableHashTableV2": "is a lookup table; look keys up before the model runs",
    "LookupTableFindV2": "looks keys up in a table; look them up before the model runs",
    "SparseToDense": "makes a dense tensor of a sparse one; give the model dense inputs",
    "SparseTensorDenseMatMul": "takes a sparse tensor; give the model dense inputs",
    "ParseExampleV2": "parses serialized examples; give the model the tensors themselves",
    "ParseExample": "parses serialized examples; give the model the tensors themselves",
    "ParseSingleExample": "parses serialized examples; give the model the tensors themselves",
    "RaggedTensorToTensor": "takes a ragged tensor; give the model dense inputs",
    "RaggedTensorToVariant": "takes a ragged tensor; give the model dense inputs",
    "IteratorGetNext": "reads from a data set; give the model the tensors themselves",
    "XlaCallModule": "holds a program for XLA; export without jit_compile and XLA (JAX: see docs/tensorflow.md)",
}
"""Operators that have no handler on purpose, and why."""
_SHOWN = 10


def check_coverage(
    graph: GraphDef,
    outputs: Sequence[Ref],
    inputs: Collection[str],
    handled: Collection[str],
    kept: Callable[[NodeDef], bool],
) -> None:
    """Refuse a model that cannot be imported.

    Args:
        graph: the model.
        outputs: what is wanted of it.
        inputs: names of nodes that are not looked behind.
        handled: operators with a handler.
        kept: whether a node without one can be kept as it is.

    Raises:
        LoweredControlFlowError: it has loops of TensorFlow 1.
        StatefulGraphError: it changes variables.
        UnmappedOperatorError: it needs operators without a handler; all are named.
    """
    missing: dict[str, str] = {}
    for where, node in _needed(graph, outputs, inputs):
        place = f"TensorFlow node {node.name!r} ({node.op}) in {where}"
        if node.op in LOWERED:
            raise LoweredControlFlowError(
                "the graph has loops in the form of TensorFlow 1, which lose what belongs together",
                place=place,
            )
        if node.op in (SWITCH, MERGE):
            continue
        if node.op in CHANGES:
            raise StatefulGraphError(
                "the model changes a variable while it runs",
                place=place,
                hint="save a function for inference that gives the new state as an output and takes it as an input",
            )
        if node.op not in handled and node.op not in graph.functions and not kept(node):
            missing.setdefault(node.op, place)
    if missing:
        reasons = [f"{op} {REFUSED[op]}" for op in missing if op in REFUSED]
        places = list(missing.values())
        raise UnmappedOperatorError(
            f"no canonical operator for {', '.join(missing)}",
            place="; ".join(places[:_SHOWN]) + ("; ..." if len(places) > _SHOWN else ""),
            hint="; ".join(reasons) or "leave the operators out of the model, or report the model",
        )


def _needed(graph: GraphDef, outputs: Sequence[Ref], inputs: Collection[str]) -> Iterator[tuple[str, NodeDef]]:
    """The nodes that some results need, those of called functions too, and those that must have run before them."""
    yield from _reached(graph.body, [ref.name for ref in outputs], inputs, "the graph")
    called: dict[str, None] = {}
    pending = [(graph.body, [ref.name for ref in outputs], inputs)]
    while pending:
        body, names, known = pending.pop()
        for _, node in _reached(body, names, known, ""):
            for name in _functions(node, graph):
                function = graph.functions.get(name)
                if function is None or name in called:
                    continue
                called[name] = None
                start = [*(ref.name for ref in function.results), *function.controls]
                own = {argument.name for argument in function.arguments}
                yield from _reached(function.body, start, own, f"function {name!r}")
                pending.append((function.body, start, own))


def _reached(body: Body, names: Sequence[str], known: Collection[str], where: str) -> Iterator[tuple[str, NodeDef]]:
    seen, pending = set(known), list(names)
    while pending:
        name = pending.pop()
        node = body.nodes.get(name)
        if name in seen or node is None:
            continue
        seen.add(name)
        if node.op != "NoOp":
            yield where, node
        pending.extend(ref.name for ref in node.inputs)
        pending.extend(node.controls)


def _functions(node: NodeDef, graph: GraphDef) -> Iterator[str]:
    """Names of the functions that a node runs."""
    if node.op in graph.functions:
        yield node.op
    for value in node.attributes.values():
        if value.message.has(10):
            yield value.message.message(10).text(1)
        elif value.message.has(1):
            yield from value.functions
