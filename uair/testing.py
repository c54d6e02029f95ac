"""For the tests of those who write rules and passes: before and after as text.

    def test_drop_identity() -> None:
        assert_rewrites(
            [DropIdentity()],
            before="%x: f32[4]  %a = Identity(%x)  %y = Relu(%a)",
            after="%x: f32[4]  %y = Relu(%x)",
        )

The texts are modules or, shorter, sketches: inputs, constants, nodes, and `return` where unused results are not what is
returned. Compared are operators, operands, types and constants; hints and locations are not, they are for people.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from uair.context import Context
from uair.ir.compare import difference
from uair.ir.location import UNKNOWN
from uair.ir.module import Module, Origin
from uair.ir.verify import verify
from uair.pipeline import Pass, PassContext
from uair.rewrite import Rule, RuleSet
from uair.text import parse_module, print_module

Transformation = Pass | RuleSet | Iterable[Rule]


def assert_rewrites(
    transformation: Transformation, *, before: str, after: str, context: Context | None = None
) -> Module:
    """Check that rules (until none applies) or a pass make the module `after` of the module `before`.

    All three modules, before, after and the result, must verify.

    Returns:
        The result, for further checks.

    Raises:
        AssertionError: the result differs; with the two texts side by side, line by line.
        UairError: a text is wrong, or a module does not verify.
    """
    expected = parse_module(after, context=context, file="after")
    verify(expected)
    module = parse_module(before, context=context, file="before")
    verify(module)
    changed = _transform(module, transformation)
    verify(module)
    found = difference(without_hints(expected), without_hints(module))
    if found:
        raise AssertionError(f"the result is not as expected: {found}\n{_aligned(expected, module)}")
    if not changed and before != after:
        raise AssertionError("the transformation says that it changed nothing")
    return module


def assert_keeps(transformation: Transformation, text: str, *, context: Context | None = None) -> None:
    """Check that rules or a pass leave a module alone.

    Raises:
        AssertionError: it was changed.
    """
    module = parse_module(text, context=context)
    verify(module)
    changed = _transform(module, transformation)
    expected = parse_module(text, context=context)
    found = difference(without_hints(expected), without_hints(module))
    if found or changed:
        raise AssertionError(f"the module was changed: {found or 'so says the pass'}\n{_aligned(expected, module)}")


def _transform(module: Module, transformation: Transformation) -> bool:
    if isinstance(transformation, Pass):
        return transformation.run(module, PassContext())
    rules = transformation if isinstance(transformation, RuleSet) else RuleSet(transformation)
    return PassContext().apply_rules(module, rules)


def without_hints(module: Module) -> Module:
    """A copy without what is only for people: names of tensors and nodes, locations, origin, history, metadata."""
    copy = module.clone()
    copy.name, copy.origin, copy.applied, copy.metadata = "", Origin(), [], {}
    for graph in copy.graphs.values():
        for tensor in graph.tensors():
            tensor.name = ""
        for node in graph:
            node.name, node.loc = "", UNKNOWN
    return copy


def _aligned(expected: Module, actual: Module) -> str:
    """Both texts; lines of the expected one marked `-`, of the actual one `+`, common ones unmarked."""
    a, b = (print_module(without_hints(m)).splitlines() for m in (expected, actual))
    lines = [line for line in difflib.ndiff(a, b) if not line.startswith("?")]
    return "\n".join(["- expected, + actual", *lines])
