"""From a TensorFlow object in memory to a program; the only part that needs TensorFlow."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from uair.frontends.common.errors import MissingFrameworkError
from uair.frontends.tensorflow.errors import GraphInterfaceError
from uair.frontends.tensorflow.graphdef import GraphDef, Ref
from uair.frontends.tensorflow.program import Input, Program, Variable
from uair.frontends.tensorflow.wire import Source
from uair.ir.data import ArrayData


def read(source: Any, examples: Sequence[Any]) -> tuple[Program, Source]:
    """Trace an object.

    Args:
        source: a ConcreteFunction, a tf.function, or a tf.Module with a `__call__`.
        examples: tf.TensorSpec, tensors or arrays, for what is not traced yet.

    Raises:
        MissingFrameworkError: TensorFlow is not installed.
        GraphInterfaceError: the object has nothing to trace, or cannot be traced.
    """
    try:
        tf = importlib.import_module("tensorflow")
    except ImportError as error:
        raise MissingFrameworkError(
            f"the model is an object of TensorFlow, which cannot be imported: {error}",
            hint="pip install uair[tensorflow]",
        ) from None
    concrete = _concrete(tf, source, examples)
    content = concrete.graph.as_graph_def().SerializeToString()
    stream = Source(memoryview(content), "the traced function")
    variables = {id(v.handle): v for v in concrete.graph.variables}
    bound: dict[str, Variable] = {}
    for outer, inner in concrete.graph.captures:
        variable = variables.get(id(outer))
        values = outer if variable is None else variable
        name = inner.op.name if variable is None else variable.name.removesuffix(":0")
        bound[inner.op.name] = Variable(name, ArrayData(np.asarray(values.numpy())))
    captured = set(bound)
    given = [t for t in concrete.inputs if t.op.name not in captured]
    inputs = tuple(Input(t.op.name, Ref(t.op.name), t.dtype.name, _shape(t)) for t in given)
    outputs = _outputs(concrete)
    program = Program(
        str(getattr(source, "name", "") or type(source).__name__), GraphDef(stream.message), inputs, outputs,
        bound=bound, producer=f"tensorflow {tf.__version__}", versions=(("tensorflow", tf.__version__),),
    )  # fmt: skip
    return program, stream


def _shape(tensor: Any) -> tuple[int | None, ...] | None:
    return None if tensor.shape.rank is None else tuple(tensor.shape.as_list())


def _outputs(concrete: Any) -> tuple[tuple[str, Ref], ...]:
    """The outputs by the keys of a dictionary, else by their nodes' names."""
    structured = concrete.structured_outputs
    tensors = concrete.outputs
    keys = sorted(structured) if isinstance(structured, dict) and len(structured) == len(tensors) else None
    names = keys or [t.op.name if len(tensors) > 1 else "output" for t in tensors]
    return tuple((name, Ref.parse(t.name, False)) for name, t in zip(names, tensors, strict=True))


def _concrete(tf: Any, source: Any, examples: Sequence[Any]) -> Any:
    if hasattr(source, "structured_input_signature"):
        return source
    if not callable(source):
        functions = sorted(n for n in dir(source) if hasattr(getattr(source, n, None), "get_concrete_function"))
        raise GraphInterfaceError(
            f"a {type(source).__name__} without __call__ has nothing to trace",
            hint=f"give one of its functions: {', '.join(functions)}" if functions else "give one of its functions",
        )
    function: Any = source
    if not hasattr(function, "get_concrete_function"):  # the call of a tf.Module may have a signature of its own
        function = function.__call__ if hasattr(function.__call__, "get_concrete_function") else tf.function(function)
    specs = [_spec(tf, e) for e in examples]
    try:
        return function.get_concrete_function(*specs)
    except Exception as error:  # the user's own code runs here
        raise GraphInterfaceError(
            f"the function cannot be traced: {error}",
            hint="give its inputs: uair.load(function, tf.TensorSpec([None, 224, 224, 3]))",
        ) from error


def _spec(tf: Any, example: Any) -> Any:
    if isinstance(example, tf.TypeSpec):
        return example
    array = np.asarray(example)
    return tf.TensorSpec(array.shape, tf.as_dtype(array.dtype))
