"""Operators that UAIR does not know."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, cast

import attrs

from uair.errors import OpaqueError
from uair.ir.dims import Dim, InferredShape, substitute, symbols_of
from uair.ir.dtype import Array
from uair.ir.type_text import parse_type
from uair.ir.types import TensorType, inferred
from uair.ops.base import Operator, Results, Sample, Strs, bad, case, operator, require

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
        result_types: the text of the result types, e.g. "f32[1,n,4]"; `?` is an extent that only the data
            decides.
    """

    deterministic = False
    domain: str = ""
    kind: str = ""
    payload: str = ""
    result_types: Strs = ()

    def result_count(self) -> int:
        return len(self.result_types)

    def infer(self, *inputs: TensorType) -> Results:
        return tuple(self._result(text) for text in self.result_types)

    def _result(self, text: str) -> TensorType:
        try:
            return parse_type(text)
        except ValueError as error:
            require(False, f"result_types: {error}")
            raise

    def symbols(self) -> list[str]:
        return [s for text in self.result_types for s in symbols_of(_known(parse_type(text).shape))]

    def substitute(self, values: Mapping[str, Dim]) -> Operator:
        if not any(s in values for s in self.symbols()):
            return self
        changed = tuple(_substituted(text, values) for text in self.result_types)
        return cast(Operator, attrs.evolve(cast(Any, self), result_types=changed))

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
        yield case(cls(domain="com.example", kind="Sort3", result_types=("f32[3]",)), "f32[3]")
        yield case(cls(kind="Split2", payload="AA==", result_types=("f32[2,n]", "i64[?]")), "f32[2,4]", "i8[]")
        yield case(cls(kind="Sink", result_types=("f32[*]",)))
        yield bad(cls(kind="Wrong", result_types=("f32[3",)), "f32[3]", because="result_types: 'f32[3' is not a type")


def _known(shape: InferredShape | None) -> list[Dim]:
    return [d for d in shape or () if d is not None]


def _substituted(text: str, values: Mapping[str, Dim]) -> str:
    t = parse_type(text)
    if t.shape is None:
        return text
    shape = cast(InferredShape, t.shape)
    known = tuple(None if d is None else substitute(d, values) for d in shape)
    return str(inferred(t.dtype, known)).replace("None", "?")
