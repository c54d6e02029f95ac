"""Sizes that are known only at run time, as values of the ONNX graph.

A symbolic extent is read off a tensor that has it (Shape, Gather) or computed from extents that can be read off.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from uair.codegen.onnx.schema import NotExpressible
from uair.ir.dims import Dim, Shape
from uair.ir.dtype import DType
from uair.ir.types import TensorType

if TYPE_CHECKING:
    from uair.codegen.onnx.writer import GraphWriter

EXTENT = TensorType(DType.I64, (1,))
INTEGER_EXTREMES = 12
"""The operator set from which on Min and Max take int64."""


class Extents:
    """Makes int64 vectors out of shapes.

    Attributes:
        assume: whether every extent can be had (asked when it is only tried whether a node can be written).
    """

    def __init__(self, graph: GraphWriter) -> None:
        self.assume = False
        self._graph = graph
        self._sources: dict[Dim, tuple[str, int]] = {}
        self._made: dict[Dim, str] = {}
        self._shapes: dict[str, str] = {}

    def nested(self) -> Extents:
        """The extents of a graph inside of this one: it sees what this one has, and this one not what it makes."""
        inner = Extents(self._graph)
        inner.assume = self.assume
        inner._sources, inner._made, inner._shapes = dict(self._sources), dict(self._made), dict(self._shapes)
        return inner

    def offer(self, type: TensorType, name: str) -> None:
        """The value `name` exists from here on: its symbolic extents can be read off it."""
        for axis, d in enumerate((type.is_tensor and type.shape) or ()):
            if not isinstance(d, int):
                self._sources.setdefault(d, (name, axis))

    def vector(self, shape: Shape) -> str:
        """The int64 vector that holds `shape`.

        Raises:
            NotExpressible: an extent cannot be computed from the tensors that exist at this place.
        """
        pieces: list[str] = []
        for symbolic, run in itertools.groupby(shape, lambda d: not isinstance(d, int)):
            part = list(run)
            if symbolic:
                pieces += [self.extent(d) for d in part]
            else:
                pieces.append(self._numbers([d for d in part if isinstance(d, int)]))
        if not pieces:
            return self._numbers([])
        if len(pieces) == 1:
            return pieces[0]
        return self._op("Concat", *pieces, type=TensorType(DType.I64, (len(shape),)), axis=0)

    def extent(self, d: Dim) -> str:
        """The int64 vector of one element that holds an extent.

        Raises:
            NotExpressible: see `vector`.
        """
        if isinstance(d, int):
            return self._numbers([d])
        if d not in self._made:
            self._made[d] = self._make(d)
        return self._made[d]

    def _make(self, d: Any) -> str:
        if d in self._sources:
            return self._read(*self._sources[d])
        if d.is_Symbol:
            return self._solve(d)
        make = self._makers.get(type(d).__name__)
        if make is None:
            raise NotExpressible(f"the extent {d} has no ONNX form")
        return make(self, d)

    def _read(self, name: str, axis: int) -> str:
        if name not in self._shapes:
            rank = len(self._graph.types[name].dims)
            self._shapes[name] = self._op("Shape", name, type=TensorType(DType.I64, (rank,)))
        return self._op("Gather", self._shapes[name], self._numbers([axis]), axis=0)

    def _solve(self, wanted: Any) -> str:
        """A size that only occurs in sums and products: 2*n + 1 gives n."""
        for source in self._sources:
            expression: Any = source
            if expression.free_symbols != {wanted}:
                continue
            factor, rest = expression.coeff(wanted, 1), expression.coeff(wanted, 0)
            if factor.is_Integer and rest.is_Integer and factor != 0 and expression == factor * wanted + rest:
                difference = self._op("Sub", self.extent(source), self._numbers([int(rest)]))
                return self._op("Div", difference, self._numbers([int(factor)]))
        if self.assume:
            return self._numbers([1])
        raise NotExpressible(
            f"the size {wanted} is needed in a shape and no tensor before has it",
            hint="bind the model's input shapes (--shape)",
        )

    def _fold(self, op_type: str, d: Any) -> str:
        names = [self.extent(_plain(a)) for a in d.args]
        result = names[0]
        for name in names[1:]:
            result = self._op(op_type, result, name)
        return result

    def _product(self, d: Any) -> str:
        numerator, denominator = d.as_numer_denom()
        if denominator != 1:
            return self._op("Div", self.extent(_plain(numerator)), self.extent(_plain(denominator)))
        return self._fold("Mul", d)

    def _sum(self, d: Any) -> str:
        numerator, denominator = d.as_numer_denom()
        if denominator != 1:
            return self._op("Div", self.extent(_plain(numerator)), self.extent(_plain(denominator)))
        number, rest = d.as_coeff_Add()
        if number != 0:  # n + 1 and n + 2 share n, which may be a long sum itself
            return self._op("Add", self.extent(rest), self.extent(_plain(number)))
        return self._fold("Add", d)

    def _power(self, d: Any) -> str:
        base, exponent = d.args
        if not exponent.is_Integer or exponent < 1:
            raise NotExpressible(f"the extent {d} has no ONNX form")
        name = result = self.extent(_plain(base))
        for _ in range(int(exponent) - 1):
            result = self._op("Mul", result, name)
        return result

    def _floor(self, d: Any) -> str:
        """floor(p / q) = (p - p mod q) / q, with the modulus that has the sign of q; ONNX Div truncates."""
        numerator, denominator = d.args[0].as_numer_denom()
        if _is_truncated(numerator, denominator):
            return self._op("Div", self.extent(_plain(numerator)), self.extent(_plain(denominator)))
        p, q = self.extent(_plain(numerator)), self.extent(_plain(denominator))
        return self._op("Div", self._op("Sub", p, self._op("Mod", p, q)), q)

    def _ceiling(self, d: Any) -> str:
        """ceil(p / q) = -floor(-p / q), which is floor((p + q - 1) / q) in integers with a positive q."""
        numerator, denominator = d.args[0].as_numer_denom()
        if _is_truncated(numerator, denominator):
            last = self._op("Add", self.extent(_plain(numerator)), self.extent(_plain(denominator - 1)))
            return self._op("Div", last, self.extent(_plain(denominator)))
        p, q = self._op("Neg", self.extent(_plain(numerator))), self.extent(_plain(denominator))
        return self._op("Neg", self._op("Div", self._op("Sub", p, self._op("Mod", p, q)), q))

    def _extreme(self, op_type: str, comparison: str, d: Any) -> str:
        """Min and Max; by comparison below opset 12, which has them for int64 first."""
        names = [self.extent(_plain(a)) for a in d.args]
        if self._graph.opset >= INTEGER_EXTREMES:
            return self._op(op_type, *names)
        result = names[0]
        for name in names[1:]:
            chosen = self._op(comparison, result, name, type=EXTENT.with_dtype(DType.BOOL))
            result = self._op("Where", chosen, result, name, type=EXTENT)
        return result

    def _modulus(self, d: Any) -> str:
        return self._fold("Mod", d)

    def _minimum(self, d: Any) -> str:
        return self._extreme("Min", "Less", d)

    def _maximum(self, d: Any) -> str:
        return self._extreme("Max", "Greater", d)

    _makers: ClassVar[dict[str, Callable[[Extents, Any], str]]] = {
        "Add": _sum,
        "Mul": _product,
        "Pow": _power,
        "Mod": _modulus,
        "floor": _floor,
        "ceiling": _ceiling,
        "Min": _minimum,
        "Max": _maximum,
    }

    def _numbers(self, values: list[int]) -> str:
        return self._graph.literal(np.asarray(values, np.int64))

    def _op(self, op_type: str, *inputs: str, type: TensorType = EXTENT, **attributes: Any) -> str:
        name = self._graph.fresh(f"shape_{op_type}", type)
        self._graph.add(op_type, inputs, [name], attributes, name)
        return name


def _is_truncated(numerator: Any, denominator: Any) -> bool:
    """Whether the quotient of two integers is not negative, so that what rounds towards zero rounds down."""
    return bool(numerator.is_nonnegative and denominator.is_positive)


def _plain(d: Any) -> Dim:
    """A number of SymPy as an int."""
    result: Dim = int(d) if d.is_Integer else d
    return result
