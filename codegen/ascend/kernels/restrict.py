"""A program in the verbs that a chip's vector unit has.

What is there for f16 only is computed in f16 between two conversions. What is not there at all is written in other
verbs: a quotient as a product with the reciprocal, roots with the reciprocal root, tanh and erf with exp. Reciprocals
get one step of Newton's iteration: how exact the unit's own are is not documented.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from uair.codegen.ascend.kernels.chips import Chip
from uair.codegen.ascend.kernels.program import Builder, Operand, Program, Step, Value, Verb
from uair.ir.dtype import DType

HUGE, TINY = 1e30, 1e-30
ERF = (0.254829592, -0.284496736, 1.421413741, -1.453152027, 1.061405429)
SMALL_LOG = "the vector unit computes logarithms in f16, in which small numbers are 0"
LARGE_ENOUGH = (1.0,)
ERF_P = 0.3275911
"""erf to 1.5e-7: Abramowitz and Stegun, Handbook of Mathematical Functions, 7.1.26."""


def restriction_refusal(program: Program, chip: Chip) -> str:
    """Why a program cannot be written in the chip's verbs; empty when it can."""
    known = {*chip.verbs, *REWRITES, Verb.CAST, Verb.NEG}
    missing = sorted(verb.value for verb in program.verbs - known)
    if missing:
        return f"the vector unit has no {', '.join(missing)}"
    return "" if all(_has_normal_operand(program, step, chip) for step in program.steps) else SMALL_LOG


def _has_normal_operand(program: Program, step: Step, chip: Chip) -> bool:
    """Whether a logarithm that is computed in f16 is of numbers that are not too small for f16: sums with one."""
    if step.verb is not Verb.LOG or step.result.dtype in chip.verbs[Verb.LOG]:
        return True
    makers = [s for s in program.steps if s.result in step.operands]
    return any(s.verb is Verb.SUM or (s.verb is Verb.ADD and s.operands[1] in LARGE_ENOUGH) for s in makers)


def restricted(program: Program, chip: Chip) -> Program:
    """The program in the chip's verbs; `restriction_refusal` must be empty."""
    rewriting = _Restriction(program, chip)
    for step in program.steps:
        rewriting.known[step.result] = rewriting.step(step)
    return rewriting.builder.finish([rewriting.known[v] for v in program.outputs])


class _Restriction:
    def __init__(self, program: Program, chip: Chip) -> None:
        self.chip = chip
        self.builder = Builder(program.sizes)
        self.known = {value: self.builder.input(value.dtype, value.axes) for value in program.inputs}
        self.narrow: dict[Value, Value] = {}
        """What a broadcast value was before."""

    def operand(self, x: Operand) -> Operand:
        return self.known[x] if isinstance(x, Value) else x

    def step(self, step: Step) -> Value:
        """The step, or what stands for it."""
        operands = [self.operand(x) for x in step.operands]
        dtype, axes = step.result.dtype, step.result.axes
        if step.verb is Verb.CAST:
            return self.cast(operands, dtype)
        if step.verb is Verb.BROADCAST:
            (x,) = operands
            assert isinstance(x, Value)
            wide = self.builder.broadcast(x, axes)
            self.narrow[wide] = x
            return wide
        types = self.chip.verbs.get(step.verb)
        if step.verb not in INEXACT and types is not None and (dtype in types or dtype.is_integer):
            return self.builder.step(step.verb, operands, dtype, axes)
        if step.verb in REWRITES:
            return REWRITES[step.verb](self, operands)
        narrow = [self.builder.cast(x, DType.F16) if isinstance(x, Value) else x for x in operands]
        return self.builder.cast(self.builder.step(step.verb, narrow, DType.F16, axes), dtype)

    def cast(self, operands: Sequence[Operand], dtype: DType) -> Value:
        """A conversion; f32 becomes i8 by way of f16, which holds these integers exactly."""
        (x,) = operands
        assert isinstance(x, Value)
        if dtype is DType.I8 and x.dtype is DType.F32:
            x = self.builder.cast(x, DType.F16)
        return self.builder.cast(x, dtype)

    def apply(self, verb: Verb, *operands: Operand) -> Value:
        """A step of the chip or what stands for it, in the type and along the axes of its first value."""
        first = next(x for x in operands if isinstance(x, Value))
        result = Value(first.dtype, first.axes)
        self.known.update({x: x for x in operands if isinstance(x, Value)})
        return self.step(Step(verb, operands, result))


def _reciprocal(low: _Restriction, operands: Sequence[Operand]) -> Value:
    """1 / x, a quotient where there is one.

    Else with a step of Newton's iteration; infinities give (nearly) 0, as they should.
    """
    (x,) = operands
    assert isinstance(x, Value)
    if Verb.DIV in low.chip.verbs:
        return low.apply(Verb.DIV, low.builder.fill(1.0, x.dtype, x.axes), x)
    inside = low.apply(Verb.MIN, low.apply(Verb.MAX, x, -HUGE), HUGE)
    first = low.builder.unary(Verb.REC, inside)
    rest = low.apply(Verb.ADD, low.apply(Verb.MUL, low.apply(Verb.MUL, inside, first), -1.0), 2.0)
    return low.apply(Verb.MUL, first, rest)


def _quotient(low: _Restriction, operands: Sequence[Operand]) -> Value:
    a, b = operands
    assert isinstance(a, Value)
    if not isinstance(b, Value):
        return low.apply(Verb.MUL, a, 1 / b)
    narrow = _reciprocal(low, [low.narrow.get(b, b)])
    return low.apply(Verb.MUL, a, low.builder.broadcast(narrow, b.axes))


def _reciprocal_root(low: _Restriction, operands: Sequence[Operand]) -> Value:
    """1 / sqrt(x), a quotient where there is one, else with a step of Newton's iteration."""
    (x,) = operands
    assert isinstance(x, Value)
    if Verb.SQRT in low.chip.verbs:
        return _reciprocal(low, [low.apply(Verb.SQRT, x)])
    inside = low.apply(Verb.MAX, x, TINY)
    y = low.builder.unary(Verb.RSQRT, inside)
    square = low.apply(Verb.MUL, low.apply(Verb.MUL, inside, y), y)
    factor = low.apply(Verb.ADD, low.apply(Verb.MUL, square, -0.5), 1.5)
    return low.apply(Verb.MUL, y, factor)


def _root(low: _Restriction, operands: Sequence[Operand]) -> Value:
    """X / sqrt(x); 0 for 0."""
    (x,) = operands
    return low.apply(Verb.MUL, x, _reciprocal_root(low, operands))


def _relu(low: _Restriction, operands: Sequence[Operand]) -> Value:
    return low.apply(Verb.MAX, operands[0], 0.0)


def _tanh(low: _Restriction, operands: Sequence[Operand]) -> Value:
    """1 - 2 / (exp(2 x) + 1)."""
    e = low.apply(Verb.EXP, low.apply(Verb.MUL, operands[0], 2.0))
    below = low.apply(Verb.ADD, e, 1.0)
    two = low.builder.fill(2.0, below.dtype, below.axes)
    share = low.apply(Verb.DIV, two, below)
    return low.apply(Verb.ADD, low.apply(Verb.MUL, share, -1.0), 1.0)


def _erf(low: _Restriction, operands: Sequence[Operand]) -> Value:
    """sign(x) * (1 - t * polynomial(t) * exp(-x^2)), t = 1 / (1 + p |x|)."""
    (x,) = operands
    assert isinstance(x, Value)
    absolute = low.apply(Verb.ABS, x)
    below = low.apply(Verb.ADD, low.apply(Verb.MUL, absolute, ERF_P), 1.0)
    t = low.apply(Verb.DIV, low.builder.fill(1.0, x.dtype, x.axes), below)
    series = low.apply(Verb.MUL, t, ERF[-1])
    for coefficient in reversed(ERF[:-1]):
        series = low.apply(Verb.MUL, low.apply(Verb.ADD, series, coefficient), t)
    small = low.apply(Verb.EXP, low.apply(Verb.MUL, low.apply(Verb.MUL, x, x), -1.0))
    size = low.apply(Verb.ADD, low.apply(Verb.MUL, low.apply(Verb.MUL, series, small), -1.0), 1.0)
    sign = low.apply(Verb.MIN, low.apply(Verb.MAX, low.apply(Verb.MUL, x, HUGE), -1.0), 1.0)
    return low.apply(Verb.MUL, size, sign)


def _negative(low: _Restriction, operands: Sequence[Operand]) -> Value:
    return low.apply(Verb.MUL, operands[0], -1.0)


REWRITES: Mapping[Verb, Callable[[_Restriction, Sequence[Operand]], Value]] = {
    Verb.DIV: _quotient,
    Verb.REC: _reciprocal,
    Verb.SQRT: _root,
    Verb.RSQRT: _reciprocal_root,
    Verb.RELU: _relu,
    Verb.TANH: _tanh,
    Verb.ERF: _erf,
    Verb.NEG: _negative,
}
"""What stands for a verb that a chip lacks."""
INEXACT = (Verb.REC, Verb.RSQRT)
"""Verbs that stand in these only: the vector unit's own are approximate."""
