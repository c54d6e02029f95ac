"""A TensorFlow model in plain values: what the importer reads, whichever way it came.

Three readers make it: `saved_model.py` from a SavedModel's folder and `frozen.py` from a frozen graph, both without
TensorFlow, and `live.py` from an object in memory.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import attrs

from uair.frontends.tensorflow.graphdef import GraphDef, NodeDef, Ref
from uair.frontends.tensorflow.wire import Message
from uair.ir.data import Data
from uair.ir.dims import InferredShape


@attrs.frozen
class Input:
    """An input of the model.

    Attributes:
        name: as the user knows it.
        ref: the placeholder.
        dtype: TensorFlow's name of its element type; "" when the placeholder says it.
        shape: as far as it is known; None when not even the rank is.
    """

    name: str
    ref: Ref
    dtype: str = ""
    shape: InferredShape | None = None


@attrs.frozen
class Variable:
    """A variable: its name in the user's model and its values, which never change."""

    name: str
    data: Data


def no_variables(node: NodeDef) -> Variable:
    """For graphs that have none.

    Raises:
        VariableError: always.
    """
    from uair.frontends.tensorflow.errors import VariableError

    raise VariableError(
        f"the graph reads the variable {node.name!r}, whose values are not in it",
        place=f"TensorFlow node {node.name!r} ({node.op})",
        hint="freeze the graph, or give the folder of the SavedModel",
    )


@attrs.frozen(eq=False)
class Program:
    """A model.

    Attributes:
        name: of the model.
        graph: nodes and functions.
        inputs: in order.
        outputs: names and what they are, in order.
        variable: the variable that a handle node stands for.
        bound: what placeholders stand for that are no inputs: captured variables and tensors.
        producer, versions: for the module's origin.
        operators: definitions that the model holds of its operators, by name.
    """

    name: str
    graph: GraphDef
    inputs: tuple[Input, ...]
    outputs: tuple[tuple[str, Ref], ...]
    variable: Callable[[NodeDef], Variable] = no_variables
    bound: Mapping[str, Variable] = attrs.Factory(dict[str, Variable])
    producer: str = "tensorflow"
    versions: tuple[tuple[str, str], ...] = ()
    operators: Mapping[str, Message] = attrs.Factory(dict[str, "Message"])
