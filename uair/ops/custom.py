"""Operators that UAIR does not know."""

from __future__ import annotations

from collections.abc import Iterable

from uair.errors import OpaqueError
from uair.ir.dims import symbol
from uair.ir.dtype import Array, DType
from uair.ir.types import TensorType, inferred
from uair.ops.base import Operator, Results, Sample, Types, bad, case, operator, require

FAMILY = "custom"


@operator(inputs="inputs*", family=FAMILY)
class Opaque(Operator):
    """A node of the source model that UAIR has no meaning for: kept, printed, checked and reported, never evaluated.

    Nothing is assumed of it: it is not folded, merged or moved over. Operands that the source leaves out in the middle
    are not represented here but in the payload.

    Attributes:
        domain: the source's operator set ("com.microsoft").
        kind: the source's operator name.
        payload: base64 of the source node as the frontend serialised it.
        result_types: types of the results; an extent that only the data decides is None.
    """

    deterministic = False
    domain: str = ""
    kind: str = ""
    payload: str = ""
    result_types: Types = ()

    def result_count(self) -> int:
        return len(self.result_types)

    def infer(self, *inputs: TensorType) -> Results:
        for t in self.result_types:
            impossible = [d for d in t.shape or () if isinstance(d, int) and d < 0]
            require(not impossible, "result_types: an extent cannot be {}", impossible)
        return tuple(t.with_shape(t.shape) for t in self.result_types)

    def evaluate(self, *inputs: Array) -> Array:
        """Refuse.

        Raises:
            OpaqueError: always.
        """
        raise OpaqueError(
            f"{self.domain or 'the default domain'}::{self.kind} is a custom operator that UAIR cannot evaluate",
            hint="cut the model before it, or add an operator for it (docs/operators.md)",
        )

    @classmethod
    def samples(cls) -> Iterable[Sample]:
        f32 = TensorType(DType.F32, (3,))
        yield case(cls(domain="com.example", kind="Sort3", result_types=(f32,)), "f32[3]")
        open_types = (TensorType(DType.F32, (2, symbol("n"))), inferred(DType.I64, (None,)))
        yield case(cls(kind="Split2", payload="AA==", result_types=open_types), "f32[2,4]", "i8[]")
        yield case(cls(kind="Sink", result_types=(TensorType(DType.F32, None),)))
        yield bad(cls(kind="Wrong", result_types=(f32.with_shape((-1,)),)), because="an extent cannot be [-1]")
