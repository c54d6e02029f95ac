"""Which tensor of a checkpoint a variable of the graph has its values from.

The names of TensorFlow 2's checkpoints are paths through the user's objects and say nothing about the graph. What links
the two is the graph that restores the model: a RestoreV2 reads tensors by their names, and each goes to an
AssignVariableOp on the handle of its variable.
"""

from __future__ import annotations

from collections.abc import Iterator

import attrs

from uair.frontends.common.errors import SourceFileError
from uair.frontends.tensorflow.bundle import OBJECT_GRAPH, Bundle
from uair.frontends.tensorflow.errors import VariableError
from uair.frontends.tensorflow.graphdef import Body, FunctionDef, GraphDef, NodeDef, Ref
from uair.frontends.tensorflow.program import Variable
from uair.frontends.tensorflow.tensors import tensor_data
from uair.frontends.tensorflow.wire import Source

CALLS = frozenset({"PartitionedCall", "StatefulPartitionedCall"})
_ASSIGN = frozenset({"AssignVariableOp", "Assign"})
_PASS_ON = frozenset({"Identity", "Cast", "NoOp"})
MAX_STEPS = 64


@attrs.define(eq=False)
class Variables:
    """The variables of a SavedModel.

    Attributes:
        graph: its graph.
        bundle: its weights; None when it has none.
    """

    graph: GraphDef
    bundle: Bundle | None
    _keys: dict[str, str] | None = None
    _full_names: dict[str, str] | None = None
    _known: dict[str, Variable] = attrs.Factory(dict[str, Variable])

    def __call__(self, handle: NodeDef) -> Variable:
        """The variable of a VarHandleOp (or VariableV2).

        Raises:
            VariableError: nothing says where its values are.
        """
        if handle.name not in self._known:
            self._known[handle.name] = self._find(handle)
        return self._known[handle.name]

    def _find(self, handle: NodeDef) -> Variable:
        place = f"TensorFlow node {handle.name!r} ({handle.op})"
        if self.bundle is None:
            raise VariableError(
                "the model has variables, but the folder has no variables/variables.index",
                place=place,
                hint="give the whole folder of the SavedModel",
            )
        if self._keys is None:
            self._keys = checkpoint_keys(self.graph)
        shared = handle.attributes["shared_name"].message.text(2) if "shared_name" in handle.attributes else ""
        name = shared or handle.name
        key = self._keys.get(handle.name) or self._by_full_name(name)
        if key is None:
            raise VariableError(
                f"nothing says which tensor of the checkpoint variable {name!r} is",
                place=place,
                hint="save the model again with tf.saved_model.save",
            )
        return Variable(name, self.bundle.data(key))

    def _by_full_name(self, name: str) -> str | None:
        """The tensor of a variable by its name in the object graph, or in a checkpoint of TensorFlow 1."""
        assert self.bundle is not None
        if self._full_names is None:
            self._full_names = full_names(self.bundle)
        return self._full_names.get(name) or (name if name in self.bundle.entries else None)


def full_names(bundle: Bundle) -> dict[str, str]:
    """Keys of a checkpoint by the full names of variables (TrackableObjectGraph); names that occur twice are left out.

    Raises:
        SourceFileError: the object graph is damaged.
    """
    if OBJECT_GRAPH not in bundle.entries:
        return {}
    text: str = bundle.data(OBJECT_GRAPH).array().reshape(-1)[0]
    content = text.encode("utf-8", "surrogateescape")
    found: dict[str, str] = {}
    twice: set[str] = set()
    for node in Source(memoryview(content), OBJECT_GRAPH).message.messages(1):
        for attribute in node.messages(2):
            name, key = attribute.text(2), attribute.text(3)
            if found.setdefault(name, key) != key:
                twice.add(name)
    return {name: key for name, key in found.items() if name and name not in twice}


def checkpoint_keys(graph: GraphDef) -> dict[str, str]:
    """Keys of the checkpoint by the names of the handle nodes that are restored from them.

    Raises:
        SourceFileError: the names that a RestoreV2 reads are damaged.
    """
    keys = dict(_assigned(graph.body))
    for call in graph.body.order:
        function = _called(graph, call) if call.op in CALLS else None
        if function is None or not any(node.op == "RestoreV2" for node in function.body.order):
            continue
        places = {argument.name: i for i, argument in enumerate(function.arguments)}
        for name, key in _assigned(function.body):
            i = places.get(name, len(call.inputs))
            if i < len(call.inputs):
                keys[call.inputs[i].name] = key
    return keys


def _called(graph: GraphDef, call: NodeDef) -> FunctionDef | None:
    value = call.attributes.get("f")
    return None if value is None else graph.functions.get(value.message.message(10).text(1))


def _assigned(body: Body) -> Iterator[tuple[str, str]]:
    """(handle, key) for every assignment of a restored tensor."""
    names: dict[str, tuple[str, ...]] = {}
    for node in body.order:
        if node.op not in _ASSIGN or len(node.inputs) < 2:
            continue
        source = _origin(body, node.inputs[1])
        restore = body.nodes.get(source.name)
        if restore is None or restore.op != "RestoreV2" or len(restore.inputs) < 2:
            continue
        if restore.name not in names:
            names[restore.name] = _tensor_names(body, restore.inputs[1])
        if source.index < len(names[restore.name]):
            yield _origin(body, node.inputs[0]).name, names[restore.name][source.index]


def _origin(body: Body, ref: Ref) -> Ref:
    """What a value is behind nodes that only pass it on."""
    for _ in range(MAX_STEPS):
        node = body.nodes.get(ref.name)
        if node is None or node.op not in _PASS_ON or not node.inputs:
            break
        ref = node.inputs[0]
    return ref


def _tensor_names(body: Body, ref: Ref) -> tuple[str, ...]:
    node = body.nodes.get(_origin(body, ref).name)
    if node is None or node.op != "Const" or "value" not in node.attributes:
        return ()
    place = f"TensorFlow node {node.name!r} ({node.op})"
    values = tensor_data(node.attributes["value"].message.message(8), place)
    if values.size > 1 << 24:
        raise SourceFileError("too many variables", place=place)
    return tuple(str(v) for v in values.array().reshape(-1).tolist())
