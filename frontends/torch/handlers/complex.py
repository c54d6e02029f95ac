"""Complex numbers, as pairs of real ones.

The runtimes of the targets have none, and neither have most of the IR's operators. A complex tensor of the program is
two real tensors, its parts, from which it is put together; what takes it uses the parts, and a tensor put together that
nobody uses is dropped in the end. Complex inputs of the program have no parts: the IR's own complex arithmetic (sums,
products, shapes) is used on them.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeAlias, cast

import attrs
import numpy as np

from uair import ops
from uair.frontends.torch.node import Family, Handler, Result, TorchNode, Value
from uair.frontends.torch.promotion import category
from uair.ir.data import ComputedData
from uair.ir.dims import static
from uair.ir.dtype import Array, DType
from uair.ir.graph import Tensor, constant
from uair.ir.types import TensorType
from uair.ops.base import Operator

FAMILY = Family()
Pair: TypeAlias = "tuple[Tensor, Tensor]"

_REAL = {DType.C64: DType.F32, DType.C128: DType.F64}


def is_complex(value: object) -> bool:
    """Whether a value is a complex tensor."""
    return isinstance(value, Tensor) and value.type.dtype in _REAL


def made_of(node: TorchNode, real: Tensor, imaginary: Tensor) -> Tensor:
    """A complex tensor of its parts: real + i * imaginary."""
    wanted = DType.C128 if real.type.dtype is DType.F64 else DType.C64
    unit = node.stored(wanted.numpy.type(1j))
    a, b = node.cast(real, wanted), node.cast(imaginary, wanted)
    turned = node(ops.Mul(), b, unit)
    whole = node(ops.Add(), a, turned)
    node.importer.parts[whole] = (real, imaginary)
    node.importer.joints += [t.producer for t in (a, b, turned, whole) if t.producer is not None]
    return whole


def parts_of(node: TorchNode, x: Tensor) -> Pair:
    """The real and the imaginary part of a tensor.

    Raises:
        SourceOperatorError: it is a complex input of the program.
    """
    if not is_complex(x):
        return x, _zeros(node, x)
    found = _known_parts(node, x)
    if found is None:
        node.refuse(
            "the parts of a complex input are needed, which the runtimes of the targets do not have",
            "give the model the pairs as a real tensor [..., 2] and call torch.view_as_complex in it",
        )
    return found


def _known_parts(node: TorchNode, x: Tensor) -> Pair | None:
    data = x.data
    if x not in node.importer.parts and data is not None:
        dtype, shape = _REAL[data.dtype], static(x.type.dims)
        node.importer.parts[x] = (
            constant(ComputedData(_real_part, (data,), dtype, shape), f"{x.name}.real"),
            constant(ComputedData(_imaginary_part, (data,), dtype, shape), f"{x.name}.imag"),
        )
    return node.importer.parts.get(x)


def _real_part(x: Array) -> Array:
    return np.ascontiguousarray(np.real(x))


def _imaginary_part(x: Array) -> Array:
    return np.ascontiguousarray(np.imag(x))


def _zeros(node: TorchNode, x: Tensor) -> Tensor:
    return node(ops.Expand(shape=node.shape(x)), node.like(0, x))


# ------------------------------------------------------------------------------------------------ which handler
def handler_for(node: TorchNode, own: Handler) -> Handler:
    """The handler of a call: one for complex numbers where the parts of its complex operands are known.

    Raises:
        SourceOperatorError: they are known, and the operator has no form for them.
    """
    operands = [v for value in node.values.values() for v in _leaves(value) if is_complex(v) or isinstance(v, complex)]
    name = node.op_type.split(".")[1]
    if not operands or name in _ANY or name.startswith(_TRANSFORMS):
        return own
    tensors = [x for x in operands if isinstance(x, Tensor)]
    if any(_known_parts(node, x) is None for x in tensors) and (name in _PARTWISE or name in _OWN):
        return own
    if name in _PARTWISE:
        return lambda n: _partwise(n, own)
    if name in _SPECIAL:
        return _SPECIAL[name]
    if tensors:
        node.refuse("of complex numbers", "write it with the real and the imaginary part (torch.view_as_real)")
    return own


def _leaves(value: Value) -> Iterator[Value]:
    if isinstance(value, tuple):
        for part in value:
            yield from _leaves(part)
    else:
        yield value


_ANY = frozenset(
    "is_complex sym_size size numel sym_numel complex view_as_complex real imag view_as_real polar angle conj _conj "
    "conj_physical _conj_physical zeros_like ones_like full_like empty_like new_zeros new_ones new_full new_empty stft "
    "istft cond while_loop scan map_impl".split()
)
"""Operators that take complex numbers by their usual handlers."""
_TRANSFORMS = ("fft_", "_fft_")
"""The same of Fourier transforms."""
_OWN = frozenset("mul multiply div divide true_divide _to_copy to type_as".split())
"""Operators that the IR has for complex numbers, beside those of shapes and sums."""
_PARTWISE = frozenset(
    "view reshape _unsafe_view view_copy permute transpose t mT movedim swapaxes flatten unflatten squeeze unsqueeze "
    "expand expand_as broadcast_to view_as reshape_as clone contiguous alias detach detach_ lift_fresh lift_fresh_copy "
    "slice select narrow split split_with_sizes chunk tensor_split unbind diagonal unfold index_select index gather "
    "take flip roll repeat tile cat concat stack add sub subtract rsub neg negative sum mean cumsum where masked_fill "
    "constant_pad_nd pad slice_scatter select_scatter index_put copy resolve_conj resolve_neg dropout tril triu "
    "broadcast_tensors repeat_interleave".split()
)
"""Operators that do to the parts of a tensor what they do to the tensor."""
_VALUES = ("self", "other", "src", "source", "tensors", "values", "value", "input")
"""Arguments with numbers that have parts; a real number has 0 as its imaginary part. All others say where and how."""


def _partwise(node: TorchNode, own: Handler) -> Result:
    """The operator on the real parts, then on the imaginary ones."""
    results: list[tuple[Tensor | None, ...]] = []
    types = [_real_type(t) for t in node.call.types]
    for i in (0, 1):
        values = {name: _part(node, value, i, name in _VALUES) for name, value in node.values.items()}
        call = attrs.evolve(node.call, types=tuple(types))
        found = own(TorchNode(node.importer, node.scope, call, values, loc=node.loc, place=node.place))
        results.append((found,) if isinstance(found, Tensor) else tuple(found))
    wanted = node.call.types
    return tuple(
        a if a is None or b is None or t is None or t.dtype not in _REAL else made_of(node, a, b)
        for a, b, t in zip(*results, (*wanted, *[None] * len(results[0])), strict=False)
    )


def _real_type(t: TensorType | None) -> TensorType | None:
    return t if t is None or t.dtype not in _REAL else attrs.evolve(t, dtype=_REAL[t.dtype])


def _part(node: TorchNode, value: Value, i: int, has_parts: bool) -> Value:
    if isinstance(value, tuple):
        return tuple(_part(node, v, i, has_parts) for v in value)
    if is_complex(value):
        return parts_of(node, cast(Tensor, value))[i]
    if isinstance(value, complex):
        return value.imag if i else value.real
    if isinstance(value, DType):
        return _REAL.get(value, value)
    if not has_parts or not i or value is None or isinstance(value, str):
        return value
    if isinstance(value, Tensor):
        return value if value.type.dtype is DType.BOOL else _zeros(node, value)
    return 0.0


# ------------------------------------------------------------------------------------------------ parts by themselves
@FAMILY.op("aten.is_complex")
def _is_complex(node: TorchNode) -> Tensor:
    return node.number(category(node.tensor("self").type.dtype) == 3)


@FAMILY.op("aten.complex")
def _complex(node: TorchNode) -> Tensor:
    real, imaginary = node.tensor("real"), node.tensor("imag")
    shape = node.result.dims
    a, b = (t if node.shape(t) == shape else node(ops.Expand(shape=shape), t) for t in (real, imaginary))
    return made_of(node, *(node.cast(t, DType.F32) if t.type.dtype is DType.F16 else t for t in (a, b)))


@FAMILY.op("aten.polar")
def _polar(node: TorchNode) -> Tensor:
    """The number of an absolute value and an angle."""
    size, angle = node.tensor("abs"), node.tensor("angle")
    return made_of(
        node,
        node(ops.Mul(), size, node(ops.Cos(), angle)),
        node(ops.Mul(), size, node(ops.Sin(), angle)),
    )


@FAMILY.op("aten.view_as_complex", "aten.view_as_complex_copy")
def _view_as_complex(node: TorchNode) -> Tensor:
    return from_pairs(node, node.tensor("self"))


@FAMILY.op("aten.view_as_real", "aten.view_as_real_copy")
def _view_as_real(node: TorchNode) -> Tensor:
    return pairs(node, node.tensor("self"))


def from_pairs(node: TorchNode, x: Tensor) -> Tensor:
    """The complex tensor of a real one whose last axis has the two parts."""
    axis = node.rank(x) - 1
    return made_of(node, *(node(ops.Gather(axis=axis), x, node.stored(np.asarray(i))) for i in (0, 1)))


def pairs(node: TorchNode, x: Tensor) -> Tensor:
    """The parts along a new last axis."""
    axis = node.rank(x)
    apart = [node(ops.Unsqueeze(axes=(axis,)), part) for part in parts_of(node, x)]
    return node(ops.Concat(axis=axis), *apart)


@FAMILY.op("aten.real")
def _real(node: TorchNode) -> Tensor:
    x = node.tensor("self")
    return parts_of(node, x)[0] if is_complex(x) else x


@FAMILY.op("aten.imag")
def _imag(node: TorchNode) -> Tensor:
    return parts_of(node, node.tensor("self"))[1]


@FAMILY.op("aten.conj", "aten._conj", "aten.conj_physical", "aten._conj_physical")
def _conjugate(node: TorchNode) -> Tensor:
    x = node.tensor("self")
    if not is_complex(x):
        return x
    real, imaginary = parts_of(node, x)
    return made_of(node, real, node(ops.Neg(), imaginary))


@FAMILY.op("aten.angle")
def _angle(node: TorchNode) -> Tensor:
    """From -pi to pi; of a real number 0, or pi where it is negative."""
    x = node.tensor("self")
    if is_complex(x):
        real, imaginary = parts_of(node, x)
        return node(ops.Atan2(), imaginary, real)
    x = node.cast(x, node.result.dtype)
    turned = node(ops.Where(), node(ops.Less(), x, node.like(0, x)), node.like(np.pi, x), node.like(0, x))
    return node(ops.Where(), node(ops.IsNaN(), x), x, turned)


# ------------------------------------------------------------------------------------------------ arithmetic
def _operand(node: TorchNode, name: str, dtype: DType) -> tuple[Tensor, Tensor | None]:
    """The parts of an argument in an element type; no imaginary part where it is a real number."""
    value = node.get(name)
    if is_complex(value):
        real, imaginary = parts_of(node, cast(Tensor, value))
        return node.cast(real, dtype), node.cast(imaginary, dtype)
    if isinstance(value, complex):
        return node.stored(dtype.numpy.type(value.real)), node.stored(dtype.numpy.type(value.imag))
    return node.cast(node.number(value), dtype), None


def _multiplied(node: TorchNode, product: Operator, names: tuple[str, str]) -> Tensor:
    """Products of parts: (a + bi)(c + di) = ac - bd + (ad + bc)i."""
    dtype = _REAL[node.result.dtype]
    (a, b), (c, d) = (_operand(node, name, dtype) for name in names)

    def times(x: Tensor, y: Tensor) -> Tensor:
        return node(product, x, y)

    if d is None:
        return made_of(node, times(a, c), times(cast(Tensor, b), c))
    if b is None:
        return made_of(node, times(a, c), times(a, d))
    real = node(ops.Sub(), times(a, c), times(b, d))
    return made_of(node, real, node(ops.Add(), times(a, d), times(b, c)))


def _mul(node: TorchNode) -> Tensor:
    return _multiplied(node, ops.Mul(), ("self", "other"))


def _matmul(node: TorchNode) -> Tensor:
    other = next(n for n in ("other", "mat2", "vec", "tensor") if n in node.values)
    return _multiplied(node, ops.MatMul(), ("self", other))


def _divided(node: TorchNode, a: Tensor, b: Tensor | None, c: Tensor, d: Tensor | None) -> Tensor:
    """The quotient (a + bi) / (c + di), by the conjugate of the divisor."""
    if d is None:
        assert b is not None
        return made_of(node, node(ops.Div(), a, c), node(ops.Div(), b, c))
    square = node(ops.Add(), node(ops.Mul(), c, c), node(ops.Mul(), d, d))
    real, imaginary = node(ops.Mul(), a, c), node(ops.Neg(), node(ops.Mul(), a, d))
    if b is not None:
        real = node(ops.Add(), real, node(ops.Mul(), b, d))
        imaginary = node(ops.Add(), imaginary, node(ops.Mul(), b, c))
    return made_of(node, node(ops.Div(), real, square), node(ops.Div(), imaginary, square))


def _div(node: TorchNode) -> Tensor:
    dtype = _REAL[node.result.dtype]
    if node.get("rounding_mode") is not None:
        node.refuse("a rounded quotient of complex numbers")
    return _divided(node, *_operand(node, "self", dtype), *_operand(node, "other", dtype))


def _reciprocal(node: TorchNode) -> Tensor:
    real, imaginary = parts_of(node, node.tensor("self"))
    return _divided(node, node.like(1, real), None, real, imaginary)


def _square(node: TorchNode) -> Tensor:
    if node.get("exponent", 2) != 2:
        node.refuse("a power of complex numbers other than the square", "use torch.polar of the parts")
    return _multiplied(node, ops.Mul(), ("self", "self"))


def _size(node: TorchNode, x: Tensor) -> Tensor:
    real, imaginary = parts_of(node, x)
    return node(ops.Sqrt(), node(ops.Add(), node(ops.Mul(), real, real), node(ops.Mul(), imaginary, imaginary)))


def _abs(node: TorchNode) -> Tensor:
    return _size(node, node.tensor("self"))


def _exp(node: TorchNode) -> Tensor:
    real, imaginary = parts_of(node, node.tensor("self"))
    size = node(ops.Exp(), real)
    return made_of(
        node,
        node(ops.Mul(), size, node(ops.Cos(), imaginary)),
        node(ops.Mul(), size, node(ops.Sin(), imaginary)),
    )


def _log(node: TorchNode) -> Tensor:
    real, imaginary = parts_of(node, node.tensor("self"))
    return made_of(node, node(ops.Log(), _size(node, node.tensor("self"))), node(ops.Atan2(), imaginary, real))


def _cast(node: TorchNode) -> Tensor:
    if node.result.dtype not in _REAL:
        node.refuse("a complex number becomes a real one", "take its real part with .real")
    dtype = _REAL[node.result.dtype]
    return made_of(node, *(node.cast(part, dtype) for part in parts_of(node, node.tensor("self"))))


_SPECIAL: dict[str, Handler] = {
    "mul": _mul,
    "multiply": _mul,
    "matmul": _matmul,
    "mm": _matmul,
    "bmm": _matmul,
    "mv": _matmul,
    "div": _div,
    "divide": _div,
    "true_divide": _div,
    "reciprocal": _reciprocal,
    "square": _square,
    "pow": _square,
    "abs": _abs,
    "absolute": _abs,
    "exp": _exp,
    "log": _log,
    "_to_copy": _cast,
    "to": _cast,
    "type_as": _cast,
    "convert_element_type": _cast,
}
