"""Giving inputs fixed values."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any, cast

import attrs
import numpy as np

from uair.errors import InputValueError
from uair.ir.dtype import Array, DType
from uair.ir.graph import Graph, Tensor, constant
from uair.ir.module import Module
from uair.ir.types import TensorType
from uair.passes.bind_shapes import BindShapes, bind_shapes, require_input
from uair.passes.canonicalise import Canonicalise
from uair.passes.inline_branches import InlineBranches
from uair.pipeline import Pass, PassContext, option_text

MOST_SHOWN = 64
"""Elements of a value that are written out in the pass's own text; a longer one is told by its digest."""
WORDS = {"true": True, "1": True, "false": False, "0": False}


def _copied(values: Mapping[str, Any]) -> dict[str, Any]:
    return dict(values)


@attrs.frozen
class BindInputs(Pass):
    """Turn inputs into constants, and drop the branches that they decide.

    Models have inputs that never change where they are deployed: a sample rate, a mode, an upper limit. As constants
    they decide conditions, and targets without control flow can take what is left.

    Attributes:
        values: numbers, lists or arrays, or the text of numbers, by input name; one number fills the input's shape, and
            an array of the input's rank gives its open sizes numbers.
    """

    values: dict[str, Any] = attrs.field(factory=dict[str, Any], converter=_copied)

    def run(self, module: Module, context: PassContext) -> bool:
        """Bind, fold and inline until no more branches are decided.

        Raises:
            InputValueError: there is no such input, or a value does not fit it.
        """
        for name, value in self.values.items():
            _bind(module, name, value)
        if not self.values:
            return False
        Canonicalise().run(module, context)
        while InlineBranches().run(module, context):
            Canonicalise().run(module, context)
        return True

    @property
    def spec(self) -> str:
        """The pass as written in a pipeline, long values by digest."""
        shown = {name: _shown(value) for name, value in self.values.items()}
        return self.name + (f"{{values={option_text(shown)}}}" if shown else "")


def value_passes(
    graph: Graph, shapes: Mapping[str, tuple[int, ...]], values: Mapping[str, Any]
) -> tuple[list[Pass], dict[str, tuple[int, ...]]]:
    """The passes that bind values, and the shapes that are then still to be bound.

    Values come before shapes where they can: a branch that a value decides must not be tried with the sizes of the
    other one.

    Args:
        graph: the main graph as it was read.
        shapes: all shapes that are given, by input name.
        values: by input name.
    """
    if not values:
        return [], dict(shapes)
    own = {name: shape for name, shape in shapes.items() if name in values}
    given = zip(graph.input_names, graph.inputs, strict=True)
    if any(name in values and name not in own and _is_open(tensor.type, values[name]) for name, tensor in given):
        own = dict(shapes)
    first: list[Pass] = [BindShapes(shapes=own)] if own else []
    rest = {name: shape for name, shape in shapes.items() if name not in values}
    return [*first, BindInputs(values=dict(values))], rest


def _is_open(kind: TensorType, value: Any) -> bool:
    """Whether an input keeps open sizes with that value: only an array of its rank tells them."""
    if not kind.is_tensor or kind.shape is None:
        return True
    rank = 0
    while isinstance(value, (list, tuple)) and value:
        rank, value = rank + 1, cast("Sequence[Any]", value)[0]
    return not kind.is_static and kind.rank != rank + np.ndim(value)


def _bind(module: Module, name: str, value: Any) -> None:
    graph = module.main
    require_input(graph, name, f"a value is given for {name!r}", InputValueError)
    tensor = graph.input(name)
    if not tensor.type.is_tensor:
        raise InputValueError(f"input {name!r} is {tensor.type}: only tensors can be given a value")
    given = _parsed(name, tensor.type, value)
    if not tensor.type.is_static and given.ndim and tensor.type.shape is not None and tensor.type.rank == given.ndim:
        bind_shapes(module, {name: given.shape})
    tensor.replace_all_uses_with(_constant(name, tensor, given))
    place = graph.input_names.index(name)
    graph.input_names = [n for n in graph.input_names if n != name]
    graph.inputs = [*graph.inputs[:place], *graph.inputs[place + 1 :]]


def _parsed(name: str, kind: TensorType, value: Any) -> Array:
    """The value as an array; text is read as the input's element type.

    Raises:
        InputValueError: it is none.
    """
    try:
        read = value if kind.dtype is DType.STRING else _read(value, kind.dtype)
        array = np.asarray(read, object if kind.dtype is DType.STRING else None)
        if array.dtype == object and kind.dtype is not DType.STRING:
            raise TypeError
    except (ValueError, TypeError, KeyError, OverflowError):
        raise _unfit(name, kind, value) from None
    return array


def _read(value: Any, dtype: DType) -> Any:
    """Text, in lists or alone, as numbers.

    Raises:
        ValueError, KeyError: it is none of that type.
    """
    if isinstance(value, (list, tuple)):
        return [_read(item, dtype) for item in cast("Sequence[Any]", value)]
    if not isinstance(value, str):
        return value
    if dtype is DType.BOOL:
        return WORDS[value.strip().lower()]
    return int(value) if dtype.is_integer else float(value) if dtype.is_float else complex(value)


def _constant(name: str, tensor: Tensor, given: Array) -> Tensor:
    kind = tensor.type
    if not kind.is_static:
        raise InputValueError(
            f"input {name!r} is {kind}: a value needs known sizes",
            hint=f"fix its shape with --shape {name}=..., or give an array of its rank",
        )
    shape = tuple(int(d) for d in kind.dims)  # type: ignore[arg-type]
    try:
        array = np.broadcast_to(given, shape) if given.ndim == 0 else given.reshape(shape)
    except ValueError:
        raise InputValueError(
            f"input {name!r} is {kind}, the value given has shape {list(given.shape)}",
            hint="give one number, or an array of the input's shape",
        ) from None
    return constant(_cast(name, kind, array), name)


def _cast(name: str, kind: TensorType, array: Array) -> Array:
    """The array in the input's element type.

    Raises:
        InputValueError: that type cannot hold it; floats may be rounded, but not beyond the type's range.
    """
    try:
        with np.errstate(all="ignore"):
            held = array.astype(kind.dtype.numpy, order="C")
            if kind.dtype.is_float:
                wide = array.astype(np.float64)
                fits = bool(np.all(np.isfinite(held.astype(np.float64)) | ~np.isfinite(wide)))
            else:
                fits = bool(np.array_equal(held.astype(array.dtype), array))
    except (ValueError, TypeError):
        fits = False
        held = array
    if not fits:
        raise _unfit(name, kind, array.tolist() if array.size <= 1 else array)
    return held


def _unfit(name: str, kind: TensorType, value: Any) -> InputValueError:
    text = repr(value)
    shown = text if len(text) <= MOST_SHOWN else text[:MOST_SHOWN] + "..."
    return InputValueError(
        f"input {name!r} is {kind}, which cannot hold the value given: {shown}", hint=_takes(kind.dtype)
    )


def _takes(dtype: DType) -> str:
    """What an element type takes, for a hint."""
    if dtype is DType.BOOL:
        return "give true or false"
    if dtype.is_integer:
        low, high = dtype.range
        return f"{dtype} takes whole numbers from {low} to {high}"
    return f"{dtype} takes numbers"


def _shown(value: Any) -> Any:
    """A value as a pipeline's text has it: numbers, lists of numbers, or element type, shape and digest."""
    try:
        array = np.asarray(value)
    except ValueError:  # rows of several lengths, which _bind refuses
        return str(value)
    if array.size <= MOST_SHOWN:
        return array.tolist()
    digest = hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()
    return f"{array.dtype}[{','.join(map(str, array.shape))}] sha256:{digest}"
