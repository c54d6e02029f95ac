"""ATen operators that change a tensor in place, and the functional operators that give the tensor's new value."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import attrs

from uair.frontends.torch.program import Argument, Call, Ref
from uair.ir.dtype import DType
from uair.ir.types import TensorType

CURRENT = Ref("")
"""Stands for the present value of the tensor that is changed."""
PREVIOUS = Ref("<previous>")
"""Stands for the result of the step before."""


@attrs.frozen
class Step:
    """One call that makes the new value; without a target, its only argument is the new value."""

    target: str
    arguments: Mapping[str, Argument]
    type: TensorType


VIEWS_IN_PLACE = frozenset(
    "detach_ requires_grad_ squeeze_ unsqueeze_ t_ transpose_ swapaxes_ swapdims_ alias_ conj_".split()
)
"""Operators that change how a tensor looks at its memory, and not the memory."""
NOT_FOLLOWED = {
    "resize_": "changes the size of memory that others may share",
    "resize_as_": "changes the size of memory that others may share",
    "set_": "puts other memory under a tensor",
    "as_strided_": "looks at memory by strides",
}
TWINS = {
    "aten.pow_.Tensor": "aten.pow.Tensor_Tensor",
    "aten.float_power_.Tensor": "aten.float_power.Tensor_Tensor",
    "aten.floor_divide_.Tensor": "aten.floor_divide.default",
    "aten.bernoulli_.float": "aten.bernoulli.p",
    "aten.normal_.default": "aten.normal_functional.default",
    "aten._index_put_impl_.default": "aten.index_put.default",
}
"""Functional twins whose names are not that of the operator without the underscore."""
DUNDER = {"iand": "bitwise_and", "ior": "bitwise_or", "ixor": "bitwise_xor"}
BOOLEAN = frozenset(
    "eq ne lt le gt ge equal greater greater_equal less less_equal not_equal "
    "logical_and logical_or logical_xor logical_not".split()
)
"""Operators that give bools, which take the element type of the tensor in place."""
ROWS = frozenset(
    "zeros ones full arange eye empty rand randn linspace linear matmul mm bmm embedding "
    "reshape reshape_as flatten ravel contiguous".split()
)
"""Operators whose result lies row by row in memory whatever their operands do."""
_WIDTHS = {dtype: i for i, dtype in enumerate((DType.F16, DType.F32, DType.F64))}


def operator_name(call: Call) -> str:
    """The operator's name as `views` has it: without namespace, overload and the underscore of a view in place."""
    namespace, _, rest = call.target.partition(".")
    if namespace != "aten":
        return ""
    name = rest.partition(".")[0]
    return name.removesuffix("_") if name in VIEWS_IN_PLACE else name


def is_write(call: Call) -> bool:
    """Whether a call changes memory. Of operators that are not ATen's only the name tells: it ends in `_`."""
    namespace, _, rest = call.target.partition(".")
    name, _, overload = rest.partition(".")
    if namespace in ("higher_order", "_operator") or name in VIEWS_IN_PLACE:
        return False
    if name.startswith("__"):
        return name.startswith("__i") and name.strip("_") in DUNDER
    return name.endswith("_") or (overload.endswith("out") and isinstance(call.arguments.get("out"), Ref))


def written_name(call: Call) -> str:
    """The name of the argument that is changed."""
    return "out" if isinstance(call.arguments.get("out"), Ref) else next(iter(call.arguments), "")


def written(call: Call) -> Ref:
    """The argument that is changed."""
    found = call.arguments[written_name(call)]
    assert isinstance(found, Ref)  # refusal has looked
    return found


def refusal(call: Call) -> str:
    """Why a write cannot be followed; empty when it can."""
    namespace, _, rest = call.target.partition(".")
    name = rest.partition(".")[0]
    if namespace != "aten":
        return f"{call.target} changes a tensor in place, and its functional form is not known"
    if name in NOT_FOLLOWED:
        return f"{call.target} {NOT_FOLLOWED[name]}"
    if not isinstance(call.arguments.get(written_name(call)), Ref):
        return f"{call.target} changes several tensors at once"
    return ""


def copied_from(call: Call) -> Ref | None:
    """The tensor that `copy_` copies from."""
    found = call.arguments.get("src") if call.target.startswith("aten.copy_.") else None
    return found if isinstance(found, Ref) else None


def gives_rows(call: Call) -> bool:
    """Whether the result of a call lies row by row in memory whatever its operands do."""
    return operator_name(call) in ROWS or call.arguments.get("memory_format") == "contiguous_format"


def twin(
    call: Call, arguments: Mapping[str, Argument], type_: TensorType, operand: TensorType | None
) -> Iterator[Step]:
    """The calls that make the new value of the tensor that a call changes.

    Args:
        call: the call.
        arguments: its arguments, with `CURRENT` in place of the tensor that is changed.
        type_: of that tensor, and of its new value.
        operand: the type of the argument `other`, `src` or `value`, where it is a tensor.
    """
    name = operator_name(call).removesuffix("_")
    if name in ("copy", "fill", "zero", "fill_diagonal"):
        given = arguments.get("src", arguments.get("value", arguments.get("fill_value", 0)))
        yield from _filled(given, type_, operand)
        return
    rest = dict(arguments)
    if written_name(call) == "out":
        del rest["out"]
    natural = _natural(name, type_, operand)
    yield Step(_twin_name(call.target), rest, natural)
    if natural != type_:
        yield Step("aten._to_copy.default", {"self": PREVIOUS, "dtype": type_.dtype}, type_)


def _filled(value: Argument, type_: TensorType, operand: TensorType | None) -> Iterator[Step]:
    """A value in the type of the tensor that it fills."""
    if not isinstance(value, Ref):
        yield Step("aten.full.default", {"size": type_.dims, "fill_value": value, "dtype": type_.dtype}, type_)
        return
    if operand is None or operand == type_:
        yield Step("", {"value": value}, type_)
        return
    if operand.dtype is not type_.dtype:
        operand = operand.with_dtype(type_.dtype)
        yield Step("aten._to_copy.default", {"self": value, "dtype": type_.dtype}, operand)
        value = PREVIOUS
    if operand != type_:
        yield Step("aten.expand.default", {"self": value, "size": type_.dims}, type_)


def _twin_name(target: str) -> str:
    """The functional operator's name with its overload."""
    if target in TWINS:
        return TWINS[target]
    namespace, name, overload = target.split(".", 2)
    if name.startswith("__"):
        name = DUNDER[name.strip("_")]
    if overload.endswith("out"):
        overload = overload.removesuffix("out").removesuffix("_") or "default"
    return f"{namespace}.{name.removesuffix('_')}.{overload}"


def _natural(name: str, type_: TensorType, operand: TensorType | None) -> TensorType:
    """The type that the functional operator gives, before the result takes the type of the tensor in place."""
    if name in BOOLEAN:
        return type_.with_dtype(DType.BOOL)
    if operand is None or operand.dtype is type_.dtype or not (operand.rank and operand.dtype.is_float):
        return type_
    if not type_.dtype.is_float:
        return type_
    if {operand.dtype, type_.dtype} == {DType.F16, DType.BF16}:
        return type_.with_dtype(DType.F32)
    wide = max(operand.dtype, type_.dtype, key=lambda d: _WIDTHS.get(d, -1))
    return type_.with_dtype(wide)
