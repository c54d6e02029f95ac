"""A program in TBE DSL, for Ascend 310: a custom operator package.

    tbe/impl/NAME.py                                the computation; CANN's DSL schedules, tiles and double-buffers it
    tbe/op_info_cfg/ai_core/ascend310/NAME.ini      types and formats of its ports
    op_proto/NAME.h, NAME.cc                        shapes
    framework/onnx_plugin/NAME_plugin.cc            ONNX nodes of the type

Every tensor has all axes of the program, those that it lacks with extent 1, as the DSL's broadcast and reductions want.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from uair.codegen.ascend.kernels.chips import Chip
from uair.codegen.ascend.kernels.custom_op import (
    WARNING,
    CustomOp,
    custom_op,
    onnx_plugin,
    proto_header,
    proto_source,
)
from uair.codegen.ascend.kernels.named import NamedKernel, Sources
from uair.codegen.ascend.kernels.program import Program, Step, Value, Verb
from uair.codegen.ascend.kernels.restrict import restricted, restriction_refusal
from uair.ir.dtype import DType
from uair.targets.description import DeviceDescription

FOLDER = "tbe"
TOOL = "TBE DSL of CANN 6 (tbe.dsl)"
JUDGE = "a NumPy double of the DSL with the chip's limits, in UAIR's tests; CANN was not run"
DTYPES: Mapping[DType, str] = {DType.F16: "float16", DType.F32: "float32", DType.I8: "int8"}
INI_DTYPES: Mapping[DType, str] = {DType.F16: "float16", DType.F32: "float", DType.I8: "int8"}
UNARY: Mapping[Verb, str] = {
    Verb.EXP: "vexp",
    Verb.LOG: "vlog",
    Verb.ABS: "vabs",
    Verb.RELU: "vrelu",
    Verb.RSQRT: "vrsqrt",
    Verb.REC: "vrec",
    Verb.SQRT: "vsqrt",
}
BINARY: Mapping[Verb, str] = {
    Verb.ADD: "vadd",
    Verb.SUB: "vsub",
    Verb.MUL: "vmul",
    Verb.DIV: "vdiv",
    Verb.MAX: "vmax",
    Verb.MIN: "vmin",
}
SCALAR: Mapping[Verb, str] = {Verb.ADD: "vadds", Verb.MUL: "vmuls", Verb.MAX: "vmaxs", Verb.MIN: "vmins"}
REDUCTIONS: Mapping[Verb, str] = {Verb.SUM: "reduce_sum", Verb.LARGEST: "reduce_max", Verb.LEAST: "reduce_min"}


def tbe_sources(found: Sequence[NamedKernel], chip: Chip, description: DeviceDescription) -> Sources:
    """The package of all kernels that the chip's verbs suffice for."""
    texts: dict[str, str] = {}
    rows: dict[str, Mapping[str, object]] = {}
    for named in found:
        op = custom_op(named)
        refusal = restriction_refusal(named.program, chip) if op else "its uses have results of different shapes"
        if op is None or refusal:
            rows[named.name] = {"files": [], "refused": refusal}
            continue
        files = {
            f"{FOLDER}/impl/{op.module}.py": tbe_text(op, restricted(named.program, chip)),
            f"{FOLDER}/op_info_cfg/ai_core/{chip.config}/{op.module}.ini": op_info(op),
            f"op_proto/{op.module}.h": proto_header(op),
            f"op_proto/{op.module}.cc": proto_source(op),
            f"framework/onnx_plugin/{op.module}_plugin.cc": onnx_plugin(op, description),
        }
        texts.update(files)
        rows[named.name] = {"files": sorted(files), "tool": TOOL, "operator": op.type, "accepted_by": JUDGE}
    return Sources(texts, rows)


def op_info(op: CustomOp) -> str:
    """NAME.ini, one key a line."""
    lines = [f"[{op.type}]"]
    for name, value in op.ports:
        port = f"input{name[1:]}" if name.startswith("x") else f"output{name[1:]}"
        required = "required"
        lines += [f"{port}.name={name}", f"{port}.dtype={INI_DTYPES[value.dtype]}", f"{port}.paramType={required}"]
        lines.append(f"{port}.shape=all")
        if not op.is_elementwise:
            lines.append(f"{port}.format=ND")
    if op.is_elementwise:
        lines.append("op.pattern=formatAgnostic")
    return "\n".join([*lines, f"opFile.value={op.module}", f"opInterface.value={op.module}", ""])


def tbe_text(op: CustomOp, program: Program) -> str:
    """The Python module of an operator; `program` is its program in the chip's verbs."""
    writer = _Writer(program)
    names = [name for name, _ in op.ports]
    required = ["REQUIRED_INPUT"] * len(program.inputs) + ["REQUIRED_OUTPUT"] * len(program.outputs) + ["KERNEL_NAME"]
    body = [line for step in program.steps for line in writer.step(step)]
    results = ", ".join(writer.name(v) for v in program.outputs)
    tensors = ", ".join(writer.name(v) for v in (*program.inputs, *program.outputs))
    sizes = {
        name: _size(program, value) for name, value in zip(names, (*program.inputs, *program.outputs), strict=True)
    }
    lines = [
        f'"""{op.type}: {", ".join(dict.fromkeys(n.op_type for _, nodes in op.named.uses[:1] for n in nodes))}.',
        "",
        WARNING,
        '"""',
        "",
        "import tbe.dsl as tbe",
        "from tbe import tvm",
        "from tbe.common.utils import para_check",
        "",
        f"SIZES = {sizes!r}",
        "",
        "",
        "def count(port):",
        '    """Number of elements of a port."""',
        "    result = 1",
        '    for extent in port.get("shape"):',
        "        result *= extent",
        "    return result",
        "",
        "",
        "@para_check.check_op_params(",
        *(f"    para_check.{each}," for each in required),
        ")",
        f'def {op.module}({", ".join(names)}, kernel_name="{op.module}"):',
        '    """Build the operator."""',
        f"    for name, port in {{{', '.join(f'{n!r}: {n}' for n in names)}}}.items():",
        "        if count(port) != SIZES[name]:",
        f'            raise RuntimeError("{op.module}: {{}} has {{}} elements, the operator is for {{}}".format(',
        "                name, count(port), SIZES[name]))",
        *(f"    {line}" for line in writer.inputs()),
        *(f"    {line}" for line in body),
        "    with tvm.target.cce():",
        f"        schedule = tbe.auto_schedule([{results}])",
        "    tbe.build(schedule, {",
        '        "name": kernel_name,',
        '        "print_ir": False,',
        f'        "tensor_list": [{tensors}],',
        "    })",
        "",
    ]
    return "\n".join(lines)


def _size(program: Program, value: Value) -> int:
    return program.size(value)


class _Writer:
    """Writes steps as assignments."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self._names = {value: f"in{i}" for i, value in enumerate(program.inputs)}

    def name(self, value: Value) -> str:
        """The variable of a value."""
        return self._names.setdefault(value, f"t{len(self._names) - len(self.program.inputs)}")

    def shape(self, value: Value) -> str:
        """All axes, 1 for those that the value lacks."""
        extents = [size if axis in value.axes else 1 for axis, size in enumerate(self.program.sizes)] or [1]
        return f"({', '.join(map(str, extents))}{',' if len(extents) == 1 else ''})"

    def inputs(self) -> list[str]:
        """The placeholders."""
        return [
            f'{self.name(v)} = tvm.placeholder({self.shape(v)}, name="x{i}", dtype="{DTYPES[v.dtype]}")'
            for i, v in enumerate(self.program.inputs)
        ]

    def step(self, step: Step) -> list[str]:
        """The lines of a step."""
        return [f"{self.name(step.result)} = {self._call(step)}"]

    def _call(self, step: Step) -> str:
        verb, result = step.verb, step.result
        names = [self.name(x) if isinstance(x, Value) else "" for x in step.operands]
        if verb is Verb.CAST:
            return f'tbe.cast_to({names[0]}, "{DTYPES[result.dtype]}")'
        if verb is Verb.FILL:
            return f'tbe.broadcast({self._number(step)}, {self.shape(result)}, "{DTYPES[result.dtype]}")'
        if verb is Verb.BROADCAST:
            return f"tbe.broadcast({names[0]}, {self.shape(result)})"
        if verb in REDUCTIONS:
            (x,) = step.values
            axes = [axis for axis in x.axes if axis not in result.axes]
            return f"tbe.{REDUCTIONS[verb]}({names[0]}, axis={axes}, keepdims=True)"
        if verb in UNARY:
            return f"tbe.{UNARY[verb]}({names[0]})"
        if isinstance(step.operands[1], Value):
            return f"tbe.{BINARY[verb]}({', '.join(names)})"
        verb, number = _as_scalar(verb, float(step.operands[1]))
        return f'tbe.{SCALAR[verb]}({names[0]}, tvm.const({number!r}, "{DTYPES[result.dtype]}"))'

    def _number(self, step: Step) -> str:
        number = step.operands[0]
        assert isinstance(number, float)
        return f'tvm.const({_rounded(number)!r}, "{DTYPES[step.result.dtype]}")'


def _as_scalar(verb: Verb, number: float) -> tuple[Verb, float]:
    """The DSL has no vsubs and no vdivs."""
    if verb is Verb.SUB:
        return Verb.ADD, _rounded(-number)
    return (Verb.MUL, _rounded(1 / number)) if verb is Verb.DIV else (verb, _rounded(number))


def _rounded(number: float) -> float:
    return float(np.float32(number))
