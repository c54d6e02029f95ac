"""Which canonical operators a handler can emit, read from its code: the table of docs/source-operators.md.

A handler is a function. The operators that it names are found in the names its code uses, in the functions of the
frontends that it calls, in the tables that it looks into, and in what it was made from (closures, partial arguments).
"""

from __future__ import annotations

import dis
import functools
import inspect
import types
from collections.abc import Iterable, Iterator
from typing import Any

from uair.ops.base import Operator

MAX_DEPTH = 8
"""Steps from a handler to what it uses that are followed: calls of helpers, tables, closures."""

PLUMBING = frozenset({"Cast", "Reshape", "Transpose", "Identity", "Expand"})
"""Operators that adapt operands; they are left out where a handler itself names others."""

SHARED = frozenset({"uair.frontends.common.audio"})
"""Modules beside the handlers that spell a source operator out for several frontends."""


def emitted(handler: Any) -> list[str]:
    """Names of the canonical operators that a handler can emit; some only adapt operands, see `PLUMBING`."""
    found: dict[str, None] = {}
    _collect(handler, found, set(), MAX_DEPTH)
    others = [name for name in found if name not in PLUMBING]
    own: dict[str, None] = {}
    function = _function(handler)
    if isinstance(function, types.FunctionType) and _casts(function.__code__):
        own["Cast"] = None
    _collect(function, own, set(), 1)
    kept = list(own) if own.keys() <= PLUMBING else []  # what a conversion is made of, beside what its helpers emit
    return list(dict.fromkeys([*kept, *others])) or list(found)


def _function(handler: Any) -> Any:
    """The function that a handler is made from."""
    return inspect.unwrap(handler) if isinstance(handler, types.FunctionType) else handler


def _casts(code: types.CodeType) -> bool:
    """Whether code calls the method of a source node that converts an operand."""
    return any(i.opname in {"LOAD_ATTR", "LOAD_METHOD"} and i.argval == "cast" for i in dis.get_instructions(code))


def _collect(value: Any, found: dict[str, None], seen: set[int], depth: int) -> None:
    if id(value) in seen or depth < 0:
        return
    seen.add(id(value))
    if isinstance(value, type) and issubclass(value, Operator):
        found[value.__name__] = None
    elif isinstance(value, Operator):
        found[value.op_type] = None
    else:
        for part in _parts(value):
            _collect(part, found, seen, depth - 1)


def _parts(value: Any) -> Iterable[Any]:
    """What a handler, or something that it uses, consists of."""
    if isinstance(value, functools.partial):
        return (value.func, *value.args, *value.keywords.values())
    if isinstance(value, types.MethodType):
        return (value.__func__,)
    if isinstance(value, types.FunctionType):
        return _used(value)
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, (tuple, list, set, frozenset)) else ()


def _used(function: types.FunctionType) -> Iterator[Any]:
    """What a function names: globals of its own, attributes of modules of the frontends, its closure and defaults."""
    yield getattr(function, "__wrapped__", None)
    for cell in function.__closure__ or ():
        try:
            yield cell.cell_contents
        except ValueError:  # a name that is bound later
            continue
    yield from function.__defaults__ or ()
    for name, attribute in _loads(function.__code__):
        value = function.__globals__.get(name)
        if inspect.ismodule(value) and attribute and value.__name__.startswith("uair."):
            value = getattr(value, attribute, None)
        if _is_ours(value):
            yield value


def _is_ours(value: Any) -> bool:
    """Whether a global is an operator, or code of a handler: other helpers of a frontend only adapt operands."""
    if isinstance(value, types.FunctionType):
        inside = value.__module__.startswith("uair.frontends.") and ".handlers." in value.__module__
        return inside or value.__module__ in SHARED
    return isinstance(value, (type, Operator, functools.partial, dict, tuple, list, frozenset))


def _loads(code: types.CodeType) -> Iterator[tuple[str, str]]:
    """The globals that code loads, each with the attribute that is read of it at once; nested functions too."""
    instructions = list(dis.get_instructions(code))
    for here, after in zip(instructions, [*instructions[1:], None], strict=True):
        if here.opname in {"LOAD_GLOBAL", "LOAD_NAME"}:
            reads = after is not None and after.opname in {"LOAD_ATTR", "LOAD_METHOD"}
            yield here.argval, str(after.argval) if reads and after is not None else ""
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _loads(constant)


def table(handlers: Iterable[tuple[str, Any]]) -> list[str]:
    """Rows of a table: source operators by name, and what each becomes."""
    return [f"| `{name}` | {', '.join(emitted(handler)) or '(nothing)'} |" for name, handler in sorted(handlers)]
