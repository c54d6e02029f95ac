"""Lists of tensors, which loops read from and write to. A list of equal elements is a tensor with one more axis.

A list that a loop writes once in each run becomes one of the loop's stacks: see `control`.
"""

from __future__ import annotations

import attrs

from uair.frontends.tensorflow.node import Family, Result, TensorList, TfNode
from uair.ir.dims import InferredShape
from uair.ir.dtype import DType
from uair.ir.graph import Tensor
from uair.ops import Expand, Gather, ScatterND, ShapeOf, Unsqueeze

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
    n.refuse("lists that grow are not supported", "use a tf.TensorArray of fixed size")


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
