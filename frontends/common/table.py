"""Which function imports which operator of a source framework.

A family of operators is a module with a `Table`, filled by decorators when the module is imported and by nobody else;
`joined` makes one table of a frontend's families.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Generic, TypeVar

from uair.errors import InternalError

H = TypeVar("H", bound=Callable[..., object])


class Table(Generic[H]):
    """Handlers by the name of the source operator."""

    def __init__(self) -> None:
        self.handlers: dict[str, H] = {}

    def op(self, *names: str) -> Callable[[H], H]:
        """Decorator: the function imports these operators.

        Raises:
            InternalError: one of them has a handler already.
        """

        def register(handler: H) -> H:
            for name in names:
                self.add(name, handler)
            return handler

        return register

    def add(self, name: str, handler: H) -> None:
        """Register a handler.

        Raises:
            InternalError: the operator has one already.
        """
        if name in self.handlers:
            raise InternalError(f"two handlers for {name}")
        self.handlers[name] = handler


def joined(tables: Iterable[Table[H]]) -> Mapping[str, H]:
    """The handlers of all families.

    Raises:
        InternalError: two families claim the same operator.
    """
    result: dict[str, H] = {}
    for table in tables:
        for name, handler in table.handlers.items():
            if result.setdefault(name, handler) is not handler:
                raise InternalError(f"two handlers for {name}")
    return result
