"""Which function imports which operator.

A family of operators is a module in `handlers/` with a `Family`, filled by decorators when the module is imported and
by nobody else; `handlers()` joins the families it lists. A handler names every version of the operator (`since_version`
of its schema) whose meaning it implements: a version that a newer onnx brings is unknown until somebody has read what
changed.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, TypeAlias

import onnx

from uair.errors import InternalError
from uair.ir.graph import Tensor

if TYPE_CHECKING:
    from uair.frontends.onnx.node import OnnxNode

Result: TypeAlias = "Tensor | Sequence[Tensor | None]"
Handler: TypeAlias = "Callable[[OnnxNode], Result]"
Key: TypeAlias = tuple[str, str, int]


class Family:
    """Handlers of one operator family, by (domain, operator, version).

    Attributes:
        domain: of operators that are registered without saying theirs.
    """

    def __init__(self, domain: str = "") -> None:
        self.domain = domain
        self.handlers: dict[Key, Handler] = {}

    def op(self, op_type: str, *versions: int, domain: str | None = None) -> Callable[[Handler], Handler]:
        """Decorator: the function imports these versions of an operator."""

        def register(handler: Handler) -> Handler:
            self.add(op_type, versions, handler, domain)
            return handler

        return register

    def add(self, op_type: str, versions: Sequence[int], handler: Handler, domain: str | None = None) -> None:
        """Register a handler.

        Raises:
            InternalError: one of the versions has a handler already.
        """
        for version in versions:
            key = (self.domain if domain is None else domain, op_type, version)
            if key in self.handlers:
                raise InternalError(f"two handlers for {key}")
            self.handlers[key] = handler


@functools.cache
def handlers() -> Mapping[Key, Handler]:
    """All handlers.

    Raises:
        InternalError: two families claim the same version of an operator.
    """
    from uair.frontends.onnx.handlers import FAMILIES

    joined: dict[Key, Handler] = {}
    for family in FAMILIES:
        for key, handler in family.handlers.items():
            if joined.setdefault(key, handler) is not handler:
                raise InternalError(f"two handlers for {key}")
    return joined


@functools.lru_cache(maxsize=4096)
def schema(domain: str, op_type: str, opset: int) -> onnx.defs.OpSchema | None:
    """The definition of an operator as of an operator set; None when onnx has none."""
    try:
        return onnx.defs.get_schema(op_type, opset, domain)
    except onnx.defs.SchemaError:
        return None


@functools.lru_cache(maxsize=4096)
def signature(domain: str, op_type: str, opset: int) -> tuple[int, frozenset[str] | None]:
    """Version of an operator as of an operator set, and its attributes; (1, None) when onnx does not define it."""
    found = schema(domain, op_type, opset)
    return (1, None) if found is None else (found.since_version, frozenset(found.attributes))
