"""The constraint language of device description files.

    kernel_h <= 31 and groups == 1 and x.dtype in [i8, f16]

A small safe language: no loops, no calls but a few fixed functions, no way to reach anything but the node. An
expression is parsed (constraint_syntax.py), checked against the operator it is about (names, types, spelling of
choices) when the description is loaded, and then answers about nodes with true, false or unknown (Kleene's logic: a
symbolic size makes only what depends on it unknown). A top-level `and` is a list of clauses; those that are false are
reported with the values of the names in them. docs/constraint-language.md is the reference.
"""

from __future__ import annotations

import ast
import difflib
import functools
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import attrs

from uair.ir.graph import Node, Tensor
from uair.ops.base import Operator
from uair.targets.constraint_syntax import MAX_DEPTH, SyntaxFault, parse, span
from uair.targets.errors import ConstraintSyntaxError, ConstraintTypeError
from uair.targets.subject import (
    BOOL,
    DTYPE,
    DTYPE_NAMES,
    FLOAT,
    INT,
    MEMBERS,
    NONE,
    Type,
    Unknown,
    names_of,
)

MAX_LENGTH = 2000
"""Characters of one constraint; longer ones are refused."""

Evaluate = Callable[[Node], Any]


@attrs.frozen
class Clause:
    """One conjunct of a constraint with the values that its names had.

    Attributes:
        text: as written.
        values: "kernel_h = 33, groups = 4".
    """

    text: str
    values: str

    def __str__(self) -> str:
        return f"{self.text}, but {self.values}" if self.values else self.text


@attrs.frozen
class Outcome:
    """The answer of a constraint about one node.

    Attributes:
        truth: None when it depends on a size that is not known.
        failing: the clauses that are false.
        undecided: the clauses that are unknown.
    """

    truth: bool | None
    failing: tuple[Clause, ...] = ()
    undecided: tuple[Clause, ...] = ()


@attrs.frozen(eq=False)
class Typed:
    """A checked expression: its type, and how to evaluate it."""

    type: Type
    evaluate: Evaluate


@attrs.frozen(eq=False)
class _Conjunct:
    text: str
    evaluate: Evaluate
    _builder: _Builder
    _tree: ast.expr

    def clause(self, node: Node) -> Clause:
        leaves = {self._builder.source(leaf): leaf for leaf in self._builder.leaves(self._tree)}
        values = {text: self._builder.build(leaf).evaluate(node) for text, leaf in leaves.items()}
        return Clause(self.text, ", ".join(f"{text} = {value_text(value)}" for text, value in values.items()))


@attrs.frozen(eq=False)
class Constraint:
    """A constraint that fits its operator.

    Attributes:
        text: as written.
    """

    text: str
    _conjuncts: tuple[_Conjunct, ...]

    def evaluate(self, node: Node) -> Outcome:
        """Whether it holds for `node`, a node of the operator that it was checked for."""
        failing: list[Clause] = []
        undecided: list[Clause] = []
        for conjunct in self._conjuncts:
            truth = conjunct.evaluate(node)
            if isinstance(truth, Unknown):
                undecided.append(conjunct.clause(node))
            elif not truth:
                failing.append(conjunct.clause(node))
        truth_of_all = False if failing else None if undecided else True
        return Outcome(truth_of_all, tuple(failing), tuple(undecided))


@attrs.frozen(eq=False)
class ParsedConstraint:
    """A constraint that follows the grammar."""

    text: str
    _tree: ast.expr
    _bound: dict[type[Operator], Constraint] = attrs.field(factory=dict[type[Operator], Constraint], init=False)

    def check(self, cls: type[Operator]) -> Constraint:
        """Bind it to an operator, once: the chips of a family have most constraints in common.

        Raises:
            ConstraintTypeError: it names what the operator does not have, or combines values that do not go together.
        """
        if cls not in self._bound:
            self._bound[cls] = self._bind(cls)
        return self._bound[cls]

    def _bind(self, cls: type[Operator]) -> Constraint:
        builder = _Builder(self.text, cls)
        conjuncts: list[_Conjunct] = []
        for tree in _conjuncts(self._tree):
            conjuncts.append(_Conjunct(builder.source(tree), builder.truth(tree).evaluate, builder, tree))
        return Constraint(self.text, tuple(conjuncts))


@functools.lru_cache(maxsize=4096)
def parse_constraint(text: str) -> ParsedConstraint:
    """Parse a constraint.

    Raises:
        ConstraintSyntaxError: it does not follow the grammar; the window marks the place.
    """
    if len(text) > MAX_LENGTH:
        raise ConstraintSyntaxError(
            f"the constraint has {len(text)} characters, at most {MAX_LENGTH} are read", hint="split it into several"
        )
    try:
        return ParsedConstraint(text, parse(text))
    except SyntaxFault as fault:
        position, hint = fault.position, "see docs/constraint-language.md"
        what = f"unexpected {text[position : position + 12]!r}" if position < len(text) else "it ends too early"
        if fault.too_deep:
            what, hint = f"more than {MAX_DEPTH} levels, nested too deep,", "split it into several"
        window = _window(text, position)
    raise ConstraintSyntaxError(f"{what} in constraint", window=window, hint=hint)


def _window(text: str, position: int) -> str:
    """The line around a position with a caret."""
    start = text.rfind("\n", 0, position) + 1
    end = text.find("\n", start)
    line = text[start : len(text) if end < 0 else end]
    begin = max(0, position - start - 60)
    return f"   | {line[begin : begin + 100]}\n     {' ' * (position - start - begin)}^"


def _conjuncts(tree: ast.expr) -> Iterator[ast.expr]:
    """The clauses of a top-level `and`."""
    if isinstance(tree, ast.BoolOp) and isinstance(tree.op, ast.And):
        for child in tree.values:
            yield from _conjuncts(child)
    else:
        yield tree


# -------------------------------------------------------------------------------------------- values
def value_text(value: Any) -> str:
    """A value as the language writes it."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, tuple):
        return "[" + ", ".join(value_text(v) for v in value) + "]"
    if isinstance(value, str):
        return f'"{value}"'
    if isinstance(value, float):
        return f"{value:g}"
    return str(value.type) if isinstance(value, Tensor) else str(value)


def negate(value: Any) -> Any:
    """Kleene negation."""
    return value if isinstance(value, Unknown) else not value


def conjoin(values: Iterable[Any]) -> Any:
    """Kleene conjunction: false if one is false, else unknown if one is unknown."""
    unknown: Unknown | None = None
    for value in values:
        if isinstance(value, Unknown):
            unknown = unknown or value
        elif not value:
            return False
    return unknown or True


def disjoin(values: Iterable[Any]) -> Any:
    """Kleene disjunction: true if one is true, else unknown if one is unknown."""
    unknown: Unknown | None = None
    for value in values:
        if isinstance(value, Unknown):
            unknown = unknown or value
        elif value:
            return True
    return unknown or False


def _broadcast(function: Callable[[Any, Any], Any], a: Any, b: Any) -> Any:
    """`function` on two values, element by element where one of them is a list (of the same length where both are)."""
    if isinstance(a, tuple) and isinstance(b, tuple):
        return tuple(function(x, y) for x, y in zip(a, b, strict=True))
    if isinstance(a, tuple):
        return tuple(function(x, b) for x in a)
    if isinstance(b, tuple):
        return tuple(function(a, x) for x in b)
    return function(a, b)


def _arithmetic(symbol: str, a: Any, b: Any) -> Any:
    """A number, none when an operand is none or the divisor is 0, unknown when an operand is."""
    if a is None or b is None:
        return None
    if isinstance(a, Unknown) or isinstance(b, Unknown):
        return Unknown(f"{a} {symbol} {b}")
    if symbol in ("/", "//", "%") and b == 0:
        return None
    return _OPERATIONS[symbol](a, b)


_OPERATIONS: dict[str, Callable[[Any, Any], Any]] = {
    "+": lambda a, b: a + b,
    "-": lambda a, b: a - b,
    "*": lambda a, b: a * b,
    "/": lambda a, b: a / b,
    "//": lambda a, b: a // b,
    "%": lambda a, b: a % b,
}

_ORDER: dict[str, Callable[[Any, Any], bool]] = {
    "<": lambda a, b: a < b,
    "<=": lambda a, b: a <= b,
    ">": lambda a, b: a > b,
    ">=": lambda a, b: a >= b,
}


def _ordered(symbol: str, a: Any, b: Any) -> Any:
    """A comparison of numbers; false when one is none."""
    if a is None or b is None:
        return False
    if isinstance(a, Unknown) or isinstance(b, Unknown):
        return _same_unknown(symbol, a, b)
    return _ORDER[symbol](a, b)


def _same_unknown(symbol: str, a: Any, b: Any) -> Any:
    """The same symbolic size on both sides is equal to itself; anything else stays unknown."""
    if a == b and a.is_size:
        return symbol in ("==", "<=", ">=")
    return a if isinstance(a, Unknown) else b


def _equal(a: Any, b: Any) -> Any:
    if a is None or b is None:
        return a is None and b is None
    if isinstance(a, Unknown) or isinstance(b, Unknown):
        return _same_unknown("==", a, b)
    if isinstance(a, tuple) and isinstance(b, tuple):
        return len(a) == len(b) and conjoin(_equal(p, q) for p, q in zip(a, b, strict=True))
    return bool(a == b)


def _member_of(a: Any, members: Any) -> Any:
    if isinstance(members, Unknown):
        return members
    if members is None:
        return False
    return disjoin(_equal(a, m) for m in members)


# ----------------------------------------------------------------------------------------- functions
def _all_of(values: Any) -> Any:
    return conjoin(_answers(values))


def _any_of(values: Any) -> Any:
    return disjoin(_answers(values))


def _answers(values: Any) -> tuple[Any, ...]:
    """The answers for the elements of a list; the one answer when the list is none or unknown as a whole."""
    return values if isinstance(values, tuple) else (values,)


def _length(values: Any) -> Any:
    return values if values is None or isinstance(values, Unknown) else len(values)


def _absolute(value: Any) -> Any:
    if isinstance(value, tuple):
        return tuple(_absolute(v) for v in value)
    return value if value is None or isinstance(value, Unknown) else abs(value)


def _fold(function: Callable[[Sequence[Any]], Any]) -> Callable[[Any], Any]:
    """A function of a list of numbers; none for an empty list or one with none in it."""

    def apply(values: Any) -> Any:
        if values is None or isinstance(values, Unknown):
            return values
        unknown = next((v for v in values if isinstance(v, Unknown)), None)
        if unknown is not None:
            return unknown
        return None if not values or any(v is None for v in values) else function(values)

    return apply


_FOLDS = {"min": _fold(min), "max": _fold(max), "sum": _fold(sum), "product": _fold(math.prod)}
FUNCTIONS = ("abs", "all", "any", "len", *_FOLDS)


_CONSTANTS: dict[str, tuple[Type, Any]] = {"true": (BOOL, True), "false": (BOOL, False), "none": (NONE, None)}
_SYMBOLS: dict[type[ast.AST], str] = {
    ast.Add: "+", ast.Sub: "-", ast.Mult: "*", ast.Div: "/", ast.FloorDiv: "//", ast.Mod: "%", ast.Eq: "==",
    ast.NotEq: "!=", ast.Lt: "<", ast.LtE: "<=", ast.Gt: ">", ast.GtE: ">=", ast.In: "in", ast.NotIn: "not in",
}  # fmt: skip


# ------------------------------------------------------------------------------------------- builder
@attrs.frozen
class _Builder:
    """Checks an expression against an operator and makes it evaluable."""

    text: str
    cls: type[Operator]

    def source(self, tree: ast.expr) -> str:
        """The text of a part, in one line."""
        start, end = span(self.text, tree)
        return " ".join(self.text[start:end].split())

    def fault(self, tree: ast.expr, message: str, hint: str = "") -> ConstraintTypeError:
        return ConstraintTypeError(
            f"constraint on {self.cls.__name__}: {message}",
            window=_window(self.text, span(self.text, tree)[0]),
            hint=hint or "see docs/constraint-language.md",
        )

    def truth(self, tree: ast.expr) -> Typed:
        """An expression that must be true or false."""
        typed = self.build(tree)
        if typed.type != BOOL:
            hint = "wrap it in all(...) or any(...)" if typed.type == BOOL.list_of() else "compare it with something"
            raise self.fault(tree, f"{self.source(tree)!r} is a {typed.type}, not true or false", hint)
        return typed

    def build(self, tree: ast.expr) -> Typed:
        """Any expression."""
        made: Typed = getattr(self, f"_{type(tree).__name__.lower()}")(tree)
        return made

    def leaves(self, tree: ast.expr) -> Iterator[ast.expr]:
        """The largest parts that read the node: names with their members and elements."""
        root: ast.expr = tree
        while isinstance(root, (ast.Attribute, ast.Subscript)):
            root = root.value
        if isinstance(root, ast.Name) and root.id not in self._literals():
            yield tree
            return
        parts = tree.args if isinstance(tree, ast.Call) else ast.iter_child_nodes(tree)
        for child in parts:
            if isinstance(child, ast.expr):
                yield from self.leaves(child)

    def _literals(self) -> set[str]:
        return {*DTYPE_NAMES, *_CONSTANTS} - set(names_of(self.cls))

    # ---- logic
    def _boolop(self, tree: ast.BoolOp) -> Typed:
        parts = [self.truth(each).evaluate for each in tree.values]
        join = conjoin if isinstance(tree.op, ast.And) else disjoin
        return Typed(BOOL, lambda node: join(p(node) for p in parts))

    def _unaryop(self, tree: ast.UnaryOp) -> Typed:
        if isinstance(tree.op, ast.Not):
            truth = self.truth(tree.operand).evaluate
            return Typed(BOOL, lambda node: negate(truth(node)))
        inner = self.build(tree.operand)
        if inner.type.kind not in ("int", "float"):
            raise self.fault(tree, f"- takes a number, not {inner.type}")
        evaluate = inner.evaluate
        return Typed(inner.type, lambda node: _broadcast(functools.partial(_arithmetic, "-"), 0, evaluate(node)))

    # ---- comparison
    def _compare(self, tree: ast.Compare) -> Typed:
        operands = [self.build(t) for t in (tree.left, *tree.comparators)]
        symbols = [_SYMBOLS[type(op)] for op in tree.ops]
        links = [self._link(tree, symbol, a, b) for symbol, a, b in zip(symbols, operands, operands[1:], strict=False)]
        if len(links) == 1:
            return links[0]
        evaluations = [link.evaluate for link in links]
        type_ = BOOL.list_of() if any(link.type.many for link in links) else BOOL

        def evaluate(node: Node) -> Any:
            result: Any = True
            for each in evaluations:
                result = _broadcast(lambda a, b: conjoin((a, b)), result, each(node))
            return result

        return Typed(type_, evaluate)

    def _link(self, tree: ast.expr, symbol: str, a: Typed, b: Typed) -> Typed:
        """One comparison of a chain."""
        left, right = a.evaluate, b.evaluate
        if symbol in ("in", "not in"):
            self._require_membership(tree, a.type, b.type)
            positive = symbol == "in"

            def one(x: Any, members: Any) -> Any:
                found = _member_of(x, members)
                return found if positive else negate(found)

            def contained(node: Node) -> Any:
                x, members = left(node), right(node)
                return tuple(one(v, members) for v in x) if isinstance(x, tuple) else one(x, members)

            return Typed(BOOL.list_of() if a.type.many else BOOL, contained)
        if symbol in ("==", "!="):
            return self._equality(tree, symbol, a, b)
        for side in (a.type, b.type):
            if side.kind not in ("int", "float"):
                raise self.fault(tree, f"{symbol} compares numbers, not {side}")
        if a.type.many and b.type.many:
            raise self.fault(tree, f"{symbol} cannot compare two lists", "compare each with a number inside all(...)")
        return Typed(
            BOOL.list_of() if a.type.many or b.type.many else BOOL,
            lambda node: _broadcast(functools.partial(_ordered, symbol), left(node), right(node)),
        )

    def _equality(self, tree: ast.expr, symbol: str, a: Typed, b: Typed) -> Typed:
        left, right = a.evaluate, b.evaluate
        self._require_comparable(tree, a.type, b.type)
        each = _equal if symbol == "==" else lambda x, y: negate(_equal(x, y))
        against_none = NONE in (a.type, b.type)
        if a.type.many == b.type.many or against_none:
            return Typed(BOOL, lambda node: each(left(node), right(node)))
        return Typed(BOOL.list_of(), lambda node: _broadcast(each, left(node), right(node)))

    def _require_comparable(self, tree: ast.expr, a: Type, b: Type) -> None:
        if "none" in (a.kind, b.kind):
            return
        numbers = ("int", "float")
        if a.kind != b.kind and not (a.kind in numbers and b.kind in numbers):
            raise self.fault(tree, f"a {a} is compared with a {b}")
        for written, attribute in ((a, b), (b, a)):
            wrong = [c for c in written.choices if written.literal and attribute.choices and c not in attribute.choices]
            if wrong and not attribute.literal:
                raise self.fault(tree, f"it is never {wrong[0]!r}", f"it is one of {', '.join(attribute.choices)}")
        if a.kind == "tensor":
            raise self.fault(tree, "tensors are compared with none only", "compare .dtype, .shape, .rank or .value")

    def _require_membership(self, tree: ast.expr, a: Type, b: Type) -> None:
        if not b.many:
            raise self.fault(tree, f"'in' needs a list on its right, not a {b}", "write [a, b, ...]")
        self._require_comparable(tree, a.element, b.element)

    # ---- arithmetic
    def _binop(self, tree: ast.BinOp) -> Typed:
        a, b = self.build(tree.left), self.build(tree.right)
        symbol = _SYMBOLS[type(tree.op)]
        for side in (a.type, b.type):
            if side.kind not in ("int", "float"):
                raise self.fault(tree, f"{symbol} takes numbers, not {side}")
        if a.type.many and b.type.many:
            raise self.fault(tree, f"{symbol} cannot combine two lists")
        kind = "float" if symbol == "/" or "float" in (a.type.kind, b.type.kind) else "int"
        left, right = a.evaluate, b.evaluate
        return Typed(
            Type(kind, many=a.type.many or b.type.many),
            lambda node: _broadcast(functools.partial(_arithmetic, symbol), left(node), right(node)),
        )

    # ---- members, elements, calls
    def _attribute(self, tree: ast.Attribute) -> Typed:
        owner, name = self.build(tree.value), tree.attr
        if owner.type.kind != "tensor":
            raise self.fault(tree, f"a {owner.type} has no member {name!r}")
        if name not in MEMBERS:
            raise self.fault(tree, f"a tensor has no member {name!r}", f"members are {', '.join(MEMBERS)}")
        type_, read = MEMBERS[name]
        if owner.type.many and type_.many:
            raise self.fault(tree, f"{name!r} of a list of tensors would be a list of lists", "take one by [i]")

        def one(tensor: Tensor | None) -> Any:
            return None if tensor is None else read(tensor)

        evaluate = owner.evaluate
        if owner.type.many:
            return Typed(type_.list_of(), lambda node: tuple(one(t) for t in evaluate(node)))
        return Typed(type_, lambda node: one(evaluate(node)))

    def _subscript(self, tree: ast.Subscript) -> Typed:
        owner, index = self.build(tree.value), self.build(tree.slice)
        if not owner.type.many:
            raise self.fault(tree, f"a {owner.type} has no elements")
        if index.type != INT:
            raise self.fault(tree, f"the index is a {index.type}, it must be an int")
        sequence, position = owner.evaluate, index.evaluate

        def evaluate(node: Node) -> Any:
            values, i = sequence(node), position(node)
            if values is None or i is None:
                return None
            if isinstance(values, Unknown) or isinstance(i, Unknown):
                return values if isinstance(values, Unknown) else i
            return values[i] if -len(values) <= i < len(values) else None

        return Typed(owner.type.element, evaluate)

    def _call(self, tree: ast.Call) -> Typed:
        assert isinstance(tree.func, ast.Name)
        name = tree.func.id
        arguments = [self.build(t) for t in tree.args]
        if name not in FUNCTIONS:
            raise self.fault(tree, f"there is no function {name!r}", f"functions are {', '.join(FUNCTIONS)}")
        if name in _FOLDS:
            return self._fold_call(tree, name, arguments)
        if len(arguments) != 1:
            raise self.fault(tree, f"{name} takes one argument, got {len(arguments)}")
        (argument,) = arguments
        evaluate = argument.evaluate
        if name in ("all", "any"):
            if argument.type not in (BOOL.list_of(), NONE.list_of()):
                raise self.fault(tree, f"{name} takes a list of true and false, not a {argument.type}")
            every = _all_of if name == "all" else _any_of
            return Typed(BOOL, lambda node: every(evaluate(node)))
        if name == "len":
            if not argument.type.many:
                raise self.fault(tree, f"len takes a list, not a {argument.type}")
            return Typed(INT, lambda node: _length(evaluate(node)))
        if argument.type.kind not in ("int", "float"):
            raise self.fault(tree, f"abs takes a number, not a {argument.type}")
        return Typed(argument.type, lambda node: _absolute(evaluate(node)))

    def _fold_call(self, tree: ast.expr, name: str, arguments: list[Typed]) -> Typed:
        """min, max, sum, product: of one list of numbers, or of several numbers."""
        fold = _FOLDS[name]
        if any(a.type.kind not in ("int", "float") for a in arguments):
            raise self.fault(tree, f"{name} takes numbers")
        kind = "float" if any(a.type.kind == "float" for a in arguments) else "int"
        if len(arguments) == 1 and arguments[0].type.many:
            evaluate = arguments[0].evaluate
            return Typed(Type(kind), lambda node: fold(evaluate(node)))
        if any(a.type.many for a in arguments):
            raise self.fault(tree, f"{name} takes one list, or several numbers")
        parts = [a.evaluate for a in arguments]
        return Typed(Type(kind), lambda node: fold(tuple(p(node) for p in parts)))

    # ---- atoms
    def _name(self, tree: ast.Name) -> Typed:
        name, names = tree.id, names_of(self.cls)
        if name in _CONSTANTS:
            return _fixed(*_CONSTANTS[name])
        if name in names:
            return Typed(names[name].type, names[name].read)
        if name in DTYPE_NAMES:
            dtype = DTYPE_NAMES[name]
            return Typed(DTYPE, lambda _: dtype)
        near = difflib.get_close_matches(name, [*names, *DTYPE_NAMES], n=3, cutoff=0.6)
        raise self.fault(
            tree,
            f"{self.cls.__name__} has nothing called {name!r}",
            f"did you mean {' or '.join(near)}?" if near else f"names are {', '.join(sorted(names))}",
        )

    def _list(self, tree: ast.List) -> Typed:
        elements = [self.build(t) for t in tree.elts]
        if not elements:
            return Typed(NONE.list_of(), lambda _: ())
        first = elements[0].type
        for other in elements[1:]:
            self._require_comparable(tree, first, other.type)
        if any(e.type.many or e.type.kind == "tensor" for e in elements):
            raise self.fault(tree, "a list holds single values only")
        kinds = {e.type.kind for e in elements} - {"none"}
        kind = "float" if kinds == {"int", "float"} else next(iter(kinds), "none")
        parts = [e.evaluate for e in elements]
        literal = all(e.type.literal for e in elements)
        choices = tuple(c for e in elements for c in e.type.choices) if literal else ()
        type_ = Type(kind, many=True, choices=choices, literal=literal)
        return Typed(type_, lambda node: tuple(p(node) for p in parts))

    def _constant(self, tree: ast.Constant) -> Typed:
        value = tree.value
        if isinstance(value, str):
            return _fixed(Type("str", choices=(value,), literal=True), value)
        return _fixed(INT if isinstance(value, int) else FLOAT, value)


def _fixed(type_: Type, value: Any) -> Typed:
    return Typed(type_, lambda _: value)
