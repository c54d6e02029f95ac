"""Lists of tensors, which loops read from and write to. A list of equal elements is a tensor with one more axis.

A list that a loop writes once in each run becomes one of the loop's stacks: see `control`.
"""

from __future__ import annotations

import attrs
import numpy as np

from uair.frontends.tensorflow.node import Family, Result, TensorList, TfNode
from uair.ir.dims import InferredShape
from uair.ir.dtype import DType
from uair.ir.graph import Tensor
from uair.ops import Concat, Expand, Gather, ScatterND, ShapeOf, Slice, Unsqueeze

FAMILY = Family()


def _element(n: TfNode, i: int) -> InferredShape | None:
    """The shape of an element, as far as the operand says it: -1 is open."""
    dims = n.dims(n[i])
    if dims is None or n.rank(n[i]) == 0:
        return None
    return tuple(None if isinstance(d, int) and d < 0 else d for d in dims)


@FAMILY.op("TensorListReserve")
def _reserve(n: TfNode) -> Result:
    return TensorList(n.dtype("element_dtype"), count=n.single(n[1]), element=_element(n, 0))


@FAMILY.op("EmptyTensorList")
def _empty(n: TfNode) -> Result:
    return TensorList(n.dtype("element_dtype"), count=n.of(0, DType.I32), element=_element(n, 0))


@FAMILY.op("TensorListPushBack")
def _push(n: TfNode) -> Result:
    """In a loop's body, what every run adds is one more element of the loop's stack."""
    given, element = n.list_operand(0), n[1]
    if given.items is None and (given.state is not None or given.written):
        return attrs.evolve(given, written=(*given.written, (None, element)))
    row = n(Unsqueeze(axes=(0,)), element)
    known = None if given.count is None else n.value_of(given.count)
    is_empty = given.items is None and known is not None and not known.any()
    return attrs.evolve(given, items=row if is_empty else n(Concat(axis=0), items(n, given), row))


@FAMILY.several("output_handle tensor", "TensorListPopBack")
def _pop(n: TfNode) -> Result:
    given = n.list_operand(0)
    elements = items(n, given)
    rest = n(Slice(axes=(0,), starts=(0,), ends=(-1,), steps=(1,)), elements)
    return [attrs.evolve(given, items=rest), n(Gather(axis=0), elements, n.of(-1))]


@FAMILY.op("TensorListElementShape")
def _element_shape(n: TfNode) -> Result:
    given = n.list_operand(0)
    shape = given.element if given.items is None else n.shape(given.items)[1:]
    if shape is None or not all(isinstance(d, int) for d in shape):
        n.refuse("the list has elements of unknown shape")
    return n.of([d for d in shape if isinstance(d, int)], n.dtype("shape_type", "int32"))


@FAMILY.several("tensor lengths", "TensorListConcat", "TensorListConcatV2")
def _concat(n: TfNode) -> Result:
    """Elements behind each other along their first axis; all have the same extent."""
    elements = items(n, n.list_operand(0))
    count, extent, *rest = n.shape(elements)
    lengths = n(Expand(shape=(count,)), n(Gather(axis=0), n(ShapeOf(), elements), n.of(1)))
    return [n.reshaped(elements, (count * extent, *rest)), lengths]


@FAMILY.op("TensorListConcatLists")
def _concat_lists(n: TfNode) -> Result:
    first, second = n.list_operand(0), n.list_operand(1)
    return attrs.evolve(first, items=n(Concat(axis=0), items(n, first), items(n, second)))


@FAMILY.op("TensorListScatter", "TensorListScatterV2")
def _scatter(n: TfNode) -> Result:
    """Elements at given places, zeros elsewhere."""
    x, places = n[0], n.numbers(1, "the places")
    count = n.numbers(3, "the number of elements")[0] if len(n) > 3 else -1
    count = max(count, max(places, default=-1) + 1)
    shape = n.shape(x)[1:]
    zeros = n(Expand(shape=(count, *shape)), n.like(0, x))
    return TensorList(x.type.dtype, n(ScatterND(), zeros, n.of(np.array(places, np.int64)[:, None]), x), element=shape)


@FAMILY.op("TensorListScatterIntoExistingList")
def _scatter_into(n: TfNode) -> Result:
    given, x = n.list_operand(0), n[1]
    places = n(Unsqueeze(axes=(1,)), n.cast(n[2], DType.I64))
    if given.items is None and (given.element is None or None in given.element):
        given = attrs.evolve(given, element=n.shape(x)[1:])
    return attrs.evolve(given, items=n(ScatterND(), items(n, given), places, x))


@FAMILY.op("TensorListResize")
def _resize(n: TfNode) -> Result:
    """Elements are dropped at the end, or zeros added."""
    given, (count,) = n.list_operand(0), n.numbers(1, "the number of elements")
    if given.items is None:
        return attrs.evolve(given, count=n.of(count, DType.I32))
    had, *shape = n.shape(given.items)
    if not isinstance(had, int):
        n.refuse("the list has an unknown number of elements")
    if count <= had:
        return attrs.evolve(given, items=n(Slice(axes=(0,), starts=(0,), ends=(count,), steps=(1,)), given.items))
    zeros = n(Expand(shape=(count - had, *shape)), n.like(0, given.items))
    return attrs.evolve(given, items=n(Concat(axis=0), given.items, zeros))


@FAMILY.op("TensorListFromTensor")
def _from_tensor(n: TfNode) -> Result:
    return TensorList(n.dtype("element_dtype"), n[0], element=n.shape(n[0])[1:])


@FAMILY.op("TensorListGetItem")
def _get(n: TfNode) -> Result:
    return n(Gather(axis=0), items(n, n.list_operand(0)), n.single(n[1]))


@FAMILY.op("TensorListSetItem")
def _set(n: TfNode) -> Result:
    given, index = n.list_operand(0), n.single(n[1])
    if given.items is None:
        return attrs.evolve(given, written=(*given.written, (index, n[2])))
    place = n(Unsqueeze(axes=(0, 1)), n.cast(index, DType.I64))
    return attrs.evolve(given, items=n(ScatterND(), given.items, place, n(Unsqueeze(axes=(0,)), n[2])))


@FAMILY.op("TensorListStack")
def _stack(n: TfNode) -> Result:
    return items(n, n.list_operand(0))


@FAMILY.op("TensorListGather")
def _gather(n: TfNode) -> Result:
    return n(Gather(axis=0), items(n, n.list_operand(0)), n[1])


@FAMILY.op("TensorListLength")
def _length(n: TfNode) -> Result:
    given = n.list_operand(0)
    if given.items is None:
        return n.cast(n[0] if given.count is None else given.count, DType.I32)
    return n.cast(n.single(n(ShapeOf(start=0, end=1), given.items)), DType.I32)


def items(n: TfNode, given: TensorList) -> Tensor:
    """All elements of a list; zeros for one that nothing was written to.

    Raises:
        SourceOperatorError: the elements' shape is not known, or they were written one by one outside of a loop.
    """
    if given.items is not None:
        return given.items
    if given.written or given.state is not None:
        n.refuse("a list that a loop writes is read in the loop", "keep what the loop needs as a state of its own")
    count = None if given.count is None else n.dims(given.count)
    if count is None or given.element is None or None in given.element:
        n.refuse("the list has elements of unknown shape")
    shape = (*count, *(d for d in given.element if d is not None))
    return n(Expand(shape=shape), n.of(0, given.dtype))
