"""Giving inputs fixed values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs
import numpy as np

from uair.errors import ShapeBindingError
from uair.ir.graph import Graph, Tensor, constant
from uair.ir.module import Module
from uair.passes.bind_shapes import describe_inputs
from uair.passes.canonicalise import Canonicalise
from uair.passes.inline_branches import InlineBranches
from uair.pipeline import Pass, PassContext


@attrs.frozen
class BindInputs(Pass):
    """Turn inputs into constants, and drop the branches that they decide.

    Models have inputs that never change where they are deployed: a sample rate, a mode, an upper limit. As constants
    they decide conditions, and targets without control flow can take what is left.

    Attributes:
        values: numbers, lists or arrays by input name; one number fills the input's shape.
    """

    values: Mapping[str, Any] = attrs.field(factory=dict[str, Any])

    def run(self, module: Module, context: PassContext) -> bool:
        """Bind, fold and inline until no more branches are decided.

        Raises:
            ShapeBindingError: there is no such input, or a value does not fit it.
        """
        for name, value in self.values.items():
            _bind(module.main, name, value)
        if not self.values:
            return False
        Canonicalise().run(module, context)
        while InlineBranches().run(module, context):
            Canonicalise().run(module, context)
        return True


def _bind(graph: Graph, name: str, value: Any) -> None:
    if name not in graph.input_names:
        raise ShapeBindingError(
            f"a value is given for {name!r}, which is no input of the model",
            hint=f"the inputs are {describe_inputs(graph)}",
        )
    tensor = graph.input(name)
    tensor.replace_all_uses_with(_constant(name, tensor, value))
    place = graph.input_names.index(name)
    graph.input_names = [n for n in graph.input_names if n != name]
    graph.inputs = [*graph.inputs[:place], *graph.inputs[place + 1 :]]


def _constant(name: str, tensor: Tensor, value: Any) -> Tensor:
    kind = tensor.type
    if not kind.is_tensor or not kind.is_static:
        raise ShapeBindingError(
            f"input {name!r} is {kind}: a value needs known sizes", hint="bind its shape first, with --shape"
        )
    shape = tuple(int(d) for d in kind.dims)  # type: ignore[arg-type]
    given = np.asarray(value)
    try:
        array = np.broadcast_to(given, shape) if given.ndim == 0 else given.reshape(shape)
    except ValueError:
        raise ShapeBindingError(
            f"input {name!r} is {kind}, the value given has shape {list(given.shape)}",
            hint="give one number, or an array of the input's shape",
        ) from None
    if not kind.dtype.is_float and not np.array_equal(array.astype(kind.dtype.numpy), array):
        raise ShapeBindingError(f"input {name!r} is {kind}, which cannot hold the value given: {value!r}")
    return constant(np.ascontiguousarray(array.astype(kind.dtype.numpy)), name)
