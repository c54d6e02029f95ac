"""Which function writes which operator, from which opset on."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeAlias, TypeVar

import attrs

from uair.codegen.onnx.schema import NotExpressible
from uair.codegen.onnx.writer import Emission
from uair.ops.base import Operator

Emitter: TypeAlias = Callable[[Emission, Any], None]
EmitterT = TypeVar("EmitterT", bound=Callable[..., None])


@attrs.frozen
class Entry:
    """A function that writes an operator at opsets `since` and later."""

    since: int
    emit: Emitter


class Emitters:
    """Emitters by operator class.

    EMITTERS = Emitters()

    @EMITTERS.of(Mish, since=18)
    def mish(e: Emission, op: Mish) -> None:
        e.result("Mish", e.x())
    """

    def __init__(self, *tables: Emitters) -> None:
        """A table in front of others; the first one that has an operator counts."""
        self._own: dict[type[Operator], Entry] = {}
        self._tables: tuple[dict[type[Operator], Entry], ...] = (
            self._own,
            *(t for each in tables for t in each._tables),
        )

    def of(self, *operators: type[Operator], since: int = 0) -> Callable[[EmitterT], EmitterT]:
        """Decorator of the function that writes these operators at opset `since` and later."""

        def register(function: EmitterT) -> EmitterT:
            for cls in operators:
                self._own[cls] = Entry(since, function)
            return function

        return register

    def direct(self, names: Mapping[type[Operator], str], since: int = 0) -> None:
        """Operators that are an ONNX operator with the same operands and no attributes."""

        def writer(name: str) -> Emitter:
            return lambda e, op: e.result(name, *e.operands)

        for cls, name in names.items():
            self._own[cls] = Entry(since, writer(name))

    def operators(self) -> Iterable[type[Operator]]:
        """The operators that have an emitter."""
        return dict.fromkeys(cls for table in self._tables for cls in table)

    def since(self, cls: type[Operator]) -> int | None:
        """The first opset at which operators of this class can be written; None when they never can."""
        entry = self._entry(cls)
        return None if entry is None else entry.since

    def _entry(self, cls: type[Operator]) -> Entry | None:
        for table in self._tables:
            if cls in table:
                return table[cls]
        return None

    def emitter(self, op: Operator, opset: int) -> Emitter:
        """The function that writes `op`.

        Raises:
            NotExpressible: there is none at this opset.
        """
        entry = self._entry(type(op))
        if entry is None:
            raise NotExpressible(f"{op.op_type} has no ONNX form")
        if opset < entry.since:
            raise NotExpressible(f"{op.op_type} has an ONNX form from opset {entry.since} on, not at {opset}")
        return entry.emit
