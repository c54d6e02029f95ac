"""A program as MLIR for bishengir-compile, the front half of the compiler for Ascend 910B.

What it takes (ascendnpu-ir 1.2.0, by experiment): one function with `hacc.entry`; one linalg or hfusion operator per
step, each with a fresh `tensor.empty` for its result; of the operators those that are used here. linalg.add and the
other named forms, linalg.generic with several operators and constants that are no single number break it: weights are
arguments.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import attrs
import numpy as np

from uair.codegen.ascend.kernels.chips import Chip
from uair.codegen.ascend.kernels.named import NamedKernel, Sources
from uair.codegen.ascend.kernels.program import Operand, Program, Step, Value, Verb
from uair.ir.dtype import DType
from uair.targets.description import DeviceDescription

TOOL = "bishengir-compile 1.2.0"
ELEMENTS: Mapping[DType, str] = {DType.F16: "f16", DType.F32: "f32", DType.I8: "i8", DType.I32: "i32"}
DEVICE = "hacc.entry, hacc.function_kind = #hacc.function_kind<DEVICE>"
HOST = "hacc.function_kind = #hacc.function_kind<HOST>, hacc.host_func_type = #hacc.host_func_type<host_entry>"
"""A function that the vendor lowers to run on the CPU."""


@attrs.frozen
class MlirType:
    """`tensor<4x8xf16>`, or a single number when `shape` is None."""

    element: str
    shape: tuple[int, ...] | None = None

    def __str__(self) -> str:
        if self.shape is None:
            return self.element
        return f"tensor<{''.join(f'{d}x' for d in self.shape)}{self.element}>"


@attrs.frozen
class Ssa:
    """A value: its name and type."""

    name: str
    type: MlirType


@attrs.frozen
class Fun:
    """Which function an element-wise operator applies.

    Attributes:
        dialect: "linalg" or "hfusion".
        arity: "unary" or "binary".
        name: e.g. "exp".
    """

    dialect: str
    arity: str
    name: str

    @property
    def operator(self) -> str:
        """The operator's name."""
        return f"{self.dialect}.elemwise_{self.arity}"

    @property
    def attribute(self) -> str:
        """The operator's attribute."""
        return f"{{fun = #{self.dialect}.{self.arity}_fn<{self.name}>}}"


FUNCTIONS: Mapping[Verb, Fun] = {
    Verb.EXP: Fun("linalg", "unary", "exp"),
    Verb.LOG: Fun("linalg", "unary", "log"),
    Verb.ABS: Fun("linalg", "unary", "abs"),
    Verb.NEG: Fun("linalg", "unary", "negf"),
    Verb.CEIL: Fun("linalg", "unary", "ceil"),
    Verb.FLOOR: Fun("linalg", "unary", "floor"),
    Verb.RELU: Fun("hfusion", "unary", "relu"),
    Verb.SQRT: Fun("hfusion", "unary", "sqrt"),
    Verb.RSQRT: Fun("hfusion", "unary", "rsqrt"),
    Verb.REC: Fun("hfusion", "unary", "rec"),
    Verb.TANH: Fun("hfusion", "unary", "tanh"),
    Verb.ERF: Fun("hfusion", "unary", "erf"),
    Verb.SIN: Fun("hfusion", "unary", "sin"),
    Verb.COS: Fun("hfusion", "unary", "cos"),
    Verb.ADD: Fun("linalg", "binary", "add"),
    Verb.SUB: Fun("linalg", "binary", "sub"),
    Verb.MUL: Fun("linalg", "binary", "mul"),
    Verb.DIV: Fun("linalg", "binary", "div"),
    Verb.MAX: Fun("hfusion", "binary", "maxf"),
    Verb.MIN: Fun("hfusion", "binary", "minf"),
}
COMBINERS: Mapping[Verb, tuple[str, float]] = {
    Verb.SUM: ("arith.addf", 0.0),
    Verb.LARGEST: ("arith.maximumf", -math.inf),
    Verb.LEAST: ("arith.minimumf", math.inf),
}
"""How a reduction combines two elements, and what it starts from."""


MORE_BUFFERS = "--hfusion-max-buffer-count-tuning=8"


def mlir_refusal(program: Program) -> str:
    """Why bishengir-compile 1.2.0 does not take a program, by experiment; empty when it does."""
    if Verb.BROADCAST in program.verbs and any(v.dtype is DType.I8 for v in program.outputs):
        return "i8 results beside a broadcast: its scheduler fails ('hivm.hir.store' op only support store ub to gm)"
    return ""


def mlir_options(program: Program) -> list[str]:
    """Options that bishengir-compile 1.2.0 needs for a program.

    Its scheduler does not count the buffers that quotients and conversions of integers need: without more of them a
    long sigmoid ends in "ub overflow".
    """
    integers = any(step.result.dtype.is_integer for step in program.steps if step.verb is not Verb.MATMUL)
    return [MORE_BUFFERS] if integers or program.verbs & {Verb.DIV, Verb.REC} else []


def mlir_sources(found: Sequence[NamedKernel], chip: Chip, description: DeviceDescription) -> Sources:
    """NAME.mlir of every kernel, and build.sh, which compiles them."""
    texts = {f"{each.name}.mlir": mlir_text(each.program, each.name) for each in found}
    rows = {
        each.name: {
            "files": [f"{each.name}.mlir"],
            "tool": TOOL,
            "options": mlir_options(each.program),
            "accepted_by": f"the rules of {TOOL}, which its front half confirms in UAIR's tests; hivmc was not run",
        }
        for each in found
    }
    texts["build.sh"] = build_script(found, description)
    return Sources(texts, rows)


def build_script(found: Sequence[NamedKernel], description: DeviceDescription) -> str:
    """The script that compiles every kernel to an object file."""
    flags = f"--enable-hfusion-compile --target={description.toolchain.soc_version}"
    flags += f" --block-dim={description.compute.cores}"
    lines = [
        "#!/bin/sh",
        "# Compiles the kernels. Needs bishengir-compile, and hivmc of CANN beside it.",
        "set -eu",
        'cd "$(dirname "$0")"',
    ]
    for each in found:
        options = "".join(f" {option}" for option in mlir_options(each.program))
        lines.append(f"bishengir-compile {each.name}.mlir {flags}{options} -o {each.name}.o")
    return "\n".join([*lines, ""])


class Function:
    """One function, operator by operator."""

    def __init__(self, name: str, inputs: Sequence[MlirType]) -> None:
        self.name = name
        self.arguments = [Ssa(f"%arg{i}", t) for i, t in enumerate(inputs)]
        self._lines: list[str] = []
        self._numbers: dict[tuple[str, str], Ssa] = {}
        self._count = 0

    def _fresh(self, t: MlirType) -> Ssa:
        self._count += 1
        return Ssa(f"%{self._count - 1}", t)

    def number(self, number: float, element: str) -> Ssa:
        """A constant; the same one is made once."""
        key = literal(number, element), element
        if key not in self._numbers:
            self._numbers[key] = Ssa(f"%cst{len(self._numbers)}", MlirType(element))
        return self._numbers[key]

    def empty(self, t: MlirType) -> Ssa:
        """A tensor without values, for a result to be written to."""
        result = self._fresh(t)
        self._lines.append(f"{result.name} = tensor.empty() : {t}")
        return result

    def structured(
        self, operator: str, inputs: Sequence[Ssa], out: Ssa, *, attribute: str = "", dimensions: Sequence[int] = ()
    ) -> Ssa:
        """A linalg or hfusion operator with operands and a tensor for its result."""
        result = self._fresh(out.type)
        names, types = ", ".join(x.name for x in inputs), ", ".join(str(x.type) for x in inputs)
        head = f"{operator} {attribute}".rstrip()
        text = f"{result.name} = {head} ins({names} : {types}) outs({out.name} : {out.type})"
        if operator in ("linalg.broadcast", "linalg.reduce"):  # their results' types are those of `outs`
            text += f" dimensions = [{', '.join(map(str, dimensions))}]"
        else:
            text += f" -> {out.type}"
        self._lines.append(text)
        return result

    def text(self, results: Sequence[Ssa], attributes: str) -> str:
        """The module with the function, which returns `results`."""
        given = ", ".join(f"{a.name}: {a.type}" for a in self.arguments)
        types = ", ".join(str(r.type) for r in results)
        signature = f"({types})" if len(results) > 1 else types
        numbers = [f"{v.name} = arith.constant {text} : {e}" for (text, e), v in self._numbers.items()]
        back = f"return {', '.join(r.name for r in results)} : {types}"
        lines = [f"func.func @{self.name}({given}) -> {signature}", f"    attributes {{{attributes}}} {{"]
        body = [f"  {line}" for line in (*numbers, *self._lines, back)]
        return "\n".join(["module {", *(f"  {line}" for line in (*lines, *body)), "  }", "}", ""])


def literal(number: float, element: str) -> str:
    """A number as a constant of MLIR: decimal, or the bits of what has no decimal form."""
    if element.startswith("i"):
        return str(int(number))
    dtype = np.dtype(np.float16 if element == "f16" else np.float32)
    value = dtype.type(number)
    if np.isfinite(value):
        return np.format_float_scientific(value, unique=True, trim="0")
    bits = value.view(np.uint16 if element == "f16" else np.uint32)
    return f"0x{int(bits):0{2 * dtype.itemsize}X}"


def mlir_text(program: Program, name: str, *, attributes: str = DEVICE) -> str:
    """The text of a module with the one function `name`.

    Args:
        program: what it computes; its element types are f16, f32, i8 and i32.
        name: an identifier.
        attributes: of the function: `DEVICE`, or `HOST` to run it on the CPU.
    """
    emitter = _Emitter(program, name)
    for step in program.steps:
        emitter.values[step.result] = emitter.step(step)
    return emitter.function.text([emitter.values[v] for v in program.outputs], attributes)


class _Emitter:
    def __init__(self, program: Program, name: str) -> None:
        self.program = program
        self.function = Function(name, [self.type(v) for v in program.inputs])
        self.values = dict(zip(program.inputs, self.function.arguments, strict=True))

    def type(self, value: Value) -> MlirType:
        """The type of a value: of one number in a program on numbers a tensor with one element."""
        shape = self.program.shape(value)
        return MlirType(ELEMENTS[value.dtype], shape if self.program.sizes else (1,))

    def operand(self, x: Operand, element: str) -> Ssa:
        return self.values[x] if isinstance(x, Value) else self.function.number(x, element)

    def step(self, step: Step) -> Ssa:
        """Add a step's operators."""
        t, f = self.type(step.result), self.function
        operands = [self.operand(x, t.element) for x in step.operands]
        if step.verb in COMBINERS:
            combiner, start = COMBINERS[step.verb]
            first = f.structured("linalg.fill", [f.number(start, t.element)], f.empty(t))
            gone = self.program.reduced(step)
            return f.structured("linalg.reduce", operands, first, attribute=f"{{{combiner}}}", dimensions=gone)
        out = f.empty(t)
        if step.verb is Verb.FILL:
            return f.structured("linalg.fill", operands, out)
        if step.verb is Verb.BROADCAST:
            return f.structured("linalg.broadcast", operands, out, dimensions=self.program.added(step))
        if step.verb is Verb.CAST:
            return f.structured("hfusion.cast", operands, out, attribute="{mode = #hfusion.round_mode<rint>}")
        if step.verb is Verb.MATMUL:  # adds to what is in its result
            return f.structured("linalg.matmul", operands, f.structured("linalg.fill", [f.number(0, t.element)], out))
        fun = FUNCTIONS[step.verb]
        return f.structured(fun.operator, operands, out, attribute=fun.attribute)
