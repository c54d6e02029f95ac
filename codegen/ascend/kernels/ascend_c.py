"""A program in Ascend C, for Ascend 310P, 310B and 910B: the device's half of a custom operator.

Two forms. *Flat*: all values have the same one axis, which is cut into tiles. *Rows*: values have rows, or one number a
row, or are one row that all share; sums run along rows; a tile is a row. Either way a core works on a range that begins
and ends at a multiple of 32 bytes, but for the last one, and its transfers overlap with its computation (two buffers a
queue).

Transfers move blocks of 32 bytes on Ascend 310P. The last block of a flat tensor begins earlier there, so that it ends
with the tensor: some elements are computed twice, and nothing is read or written beyond the tensor. A row that
ends within a block is moved without its last block, and that one by way of a buffer of its own. The other chips have
DataCopyPad, which moves bytes.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

import attrs
import numpy as np

from uair.codegen.ascend.kernels.chips import Chip
from uair.codegen.ascend.kernels.custom_op import WARNING, CustomOp
from uair.codegen.ascend.kernels.program import Operand, Program, Step, Value, Verb
from uair.ir.dtype import DType

BLOCK = 32
TYPES: Mapping[DType, str] = {DType.F16: "half", DType.F32: "float", DType.I8: "int8_t"}
CALLS: Mapping[Verb, str] = {
    Verb.EXP: "Exp",
    Verb.LOG: "Ln",
    Verb.ABS: "Abs",
    Verb.RELU: "Relu",
    Verb.SQRT: "Sqrt",
    Verb.ADD: "Add",
    Verb.SUB: "Sub",
    Verb.MUL: "Mul",
    Verb.DIV: "Div",
    Verb.MAX: "Max",
    Verb.MIN: "Min",
}
SCALAR_CALLS: Mapping[Verb, str] = {Verb.ADD: "Adds", Verb.MUL: "Muls", Verb.MAX: "Maxs", Verb.MIN: "Mins"}
REDUCTIONS: Mapping[Verb, str] = {Verb.SUM: "ReduceSum", Verb.LARGEST: "ReduceMax", Verb.LEAST: "ReduceMin"}


def itemsize(dtype: DType) -> int:
    """Bytes of an element."""
    return dtype.bits // 8


@attrs.frozen(eq=False)
class Form:
    """How a program runs over its axes.

    Attributes:
        row: elements of a row; 0 for a flat program.
        row_axis: the axis along a row, or the only axis.
    """

    row: int
    row_axis: int

    def is_shared(self, value: Value) -> bool:
        """Whether a value is one row for all rows."""
        return bool(self.row) and value.axes == (self.row_axis,) and self.row_axis > 0

    def is_number(self, value: Value) -> bool:
        """Whether a value is one number a row."""
        return self.row_axis not in value.axes


def form_of(program: Program, chip: Chip) -> Form | str:
    """The form of a program, or why it has none."""
    if any(v.dtype not in TYPES for v in (*program.inputs, *program.outputs)):
        return "integers other than i8"
    if len(program.sizes) > 2:
        return "more than two axes"
    if len(program.sizes) == 0:
        return "single numbers are no work for a vector unit"
    axis = len(program.sizes) - 1
    reducing = any(step.verb in REDUCTIONS for step in program.steps)
    form = Form(program.sizes[-1] if axis or reducing else 0, axis)
    return _form_refusal(program, form, chip) or form


def _form_refusal(program: Program, form: Form, chip: Chip) -> str:
    """Why a program cannot run in a form; empty when it can."""
    ports = [*program.inputs, *program.outputs]
    if any(form.is_number(v) for v in ports):
        return "an input or result with one number a row"
    if any(form.is_shared(v) for v in program.outputs) or all(form.is_shared(v) for v in program.inputs):
        return "a result that is one row"
    sums = [step for step in program.steps if step.verb in REDUCTIONS]
    if any(program.reduced(step) != (len(step.values[0].axes) - 1,) for step in sums):
        return "sums across rows"
    shortest = min(itemsize(v.dtype) * program.sizes[form.row_axis] for v in ports)
    if not chip.exact_tail and shortest < BLOCK:
        return f"less than {BLOCK} bytes, which transfers move at a time"
    return ""


@attrs.frozen(eq=False)
class Plan:
    """Where the values of a program lie.

    Attributes:
        program: in the chip's verbs.
        form: see there.
        names: of every value that is computed, the local tensor.
        slots: number of buffers for values in between, each of a tile of f32.
        kept: number of buffers for rows that are computed once.
    """

    program: Program
    form: Form
    names: Mapping[Value, str]
    slots: int
    kept: int

    @property
    def bytes_per_element(self) -> int:
        """What an element of a tile takes in the unified buffer."""
        streams = [v for v in self.program.inputs if not self.form.is_shared(v)]
        total = sum(2 * itemsize(v.dtype) for v in (*streams, *self.program.outputs))
        total += sum(itemsize(v.dtype) for v in self.program.inputs if self.form.is_shared(v))
        work = 1 if any(step.verb in REDUCTIONS for step in self.program.steps) else 0
        return total + 4 * (self.slots + self.kept + work)

    @property
    def unit(self) -> int:
        """Elements in 32 bytes of the narrowest tensor that is cut into tiles, and whole blocks of all others."""
        streams = [v for v in (*self.program.inputs, *self.program.outputs) if not self.form.is_shared(v)]
        return BLOCK // min(itemsize(v.dtype) for v in streams)

    @property
    def rows_together(self) -> int:
        """How many rows end at a multiple of 32 bytes in every tensor."""
        streams = [v for v in (*self.program.inputs, *self.program.outputs) if not self.form.is_shared(v)]
        return max(BLOCK // math.gcd(self.form.row * itemsize(v.dtype), BLOCK) for v in streams)

    @property
    def numbers(self) -> list[Value]:
        """Values with one number a row."""
        return [step.result for step in self.program.steps if self.form.is_number(step.result)]


def plan(program: Program, form: Form) -> Plan:
    """Assign buffers: a value in between takes one that no later step reads."""
    last = {x: i for i, step in enumerate(program.steps) for x in step.values}
    names: dict[Value, str] = {v: f"x{i}" for i, v in enumerate(program.inputs)}
    names.update({v: f"y{i}" for i, v in enumerate(program.outputs)})
    free: list[int] = []
    slots = kept = numbers = 0
    held: dict[Value, int] = {}
    for i, step in enumerate(program.steps):
        result = step.result
        if result not in names:
            if form.is_number(result):
                names[result], numbers = f"n{numbers}", numbers + 1
            elif form.is_shared(result):
                names[result], kept = f"k{kept}", kept + 1
            elif _is_alias(step, form):
                names[result] = names[step.values[0]]
            else:
                if not free:
                    free.append(slots)
                    slots += 1
                held[result] = free.pop()
                names[result] = f"t{held[result]}_{TYPES[result.dtype]}"
        free += sorted({held.pop(x) for x in step.values if last[x] == i and x in held})
    return Plan(program, form, names, slots, kept)


def _is_alias(step: Step, form: Form) -> bool:
    """Whether a step does nothing: a row that is given to every row."""
    return step.verb is Verb.BROADCAST and form.is_shared(step.values[0])


def kernel_text(op: CustomOp, layout: Plan, chip: Chip) -> str:
    """op_kernel/NAME.cpp."""
    return "\n".join(_Kernel(op, layout, chip).lines())


class _Kernel:
    """Writes the source of one kernel."""

    def __init__(self, op: CustomOp, layout: Plan, chip: Chip) -> None:
        self.op, self.layout, self.chip = op, layout, chip
        self.program, self.form, self.names = layout.program, layout.form, layout.names
        self.inputs = [(f"x{i}", v) for i, v in enumerate(self.program.inputs)]
        self.outputs = [(f"y{i}", v) for i, v in enumerate(self.program.outputs)]
        self.streams = [(n, v) for n, v in self.inputs if not self.form.is_shared(v)]
        self.shared = [(n, v) for n, v in self.inputs if self.form.is_shared(v)]
        self.reduces = any(step.verb in REDUCTIONS for step in self.program.steps)

    def lines(self) -> Iterator[str]:
        ports = ", ".join(f"GM_ADDR {name}" for name, _ in (*self.inputs, *self.outputs))
        names = ", ".join(name for name, _ in (*self.inputs, *self.outputs))
        yield f"// {self.op.type}. {WARNING}"
        yield '#include "kernel_operator.h"'
        yield "using namespace AscendC;"
        yield f"constexpr uint32_t UNIT = {self.layout.unit};  // elements in a block of 32 bytes"
        if self.form.row:
            yield f"constexpr uint32_t ROW = {self.form.row};"
        yield from self.transfers()
        yield ""
        yield f"class Kernel{self.op.type} {{"
        yield " public:"
        yield f"    __aicore__ inline void Init({ports}, uint32_t total, uint32_t perCore, uint32_t tile) {{"
        yield from indented(2, self.init())
        yield "    }"
        yield "    __aicore__ inline void Process() {"
        yield from indented(2, self.process())
        yield "    }"
        yield ""
        yield " private:"
        yield "    __aicore__ inline void CopyIn(uint32_t at, uint32_t n) {"
        yield from indented(2, self.copy_in())
        yield "    }"
        yield "    __aicore__ inline void Compute(uint32_t n) {"
        yield from indented(2, self.compute())
        yield "    }"
        yield "    __aicore__ inline void CopyOut(uint32_t at, uint32_t n) {"
        yield from indented(2, self.copy_out())
        yield "    }"
        yield from indented(1, self.members())
        yield "};"
        yield ""
        yield f'extern "C" __global__ __aicore__ void {self.op.module}({ports}, GM_ADDR workspace, GM_ADDR tiling) {{'
        yield "    GET_TILING_DATA(data, tiling);"
        yield f"    Kernel{self.op.type} kernel;"
        yield f"    kernel.Init({names}, data.total, data.perCore, data.tile);"
        yield "    kernel.Process();"
        yield "}"
        yield ""

    def transfers(self) -> Sequence[str]:
        if self.chip.exact_tail:
            return EXACT_TRANSFERS
        return ROW_TRANSFERS if self.form.row else BLOCK_TRANSFERS

    def init(self) -> Iterator[str]:
        """Buffers; which part of the tensors is this core's."""
        yield "begin = perCore * GetBlockIdx();"
        yield "end = begin >= total ? begin : (total - begin < perCore ? total : begin + perCore);"
        yield "size = total;"
        yield f"step = {'ROW' if self.form.row else 'tile'};"
        for name, value in (*self.streams, *self.outputs):
            yield f"{name}Gm.SetGlobalBuffer((__gm__ {TYPES[value.dtype]}*){name}, total);"
            yield f"pipe.InitBuffer({name}Queue, 2, tile * sizeof({TYPES[value.dtype]}));"
        for name, value in self.shared:
            yield f"{name}Gm.SetGlobalBuffer((__gm__ {TYPES[value.dtype]}*){name}, ROW);"
            yield f"pipe.InitBuffer({name}Queue, 1, tile * sizeof({TYPES[value.dtype]}));"
        for i in range(self.layout.slots):
            yield f"pipe.InitBuffer(slot{i}, tile * sizeof(float));"
        for i in range(self.layout.kept):
            yield f"pipe.InitBuffer(kept{i}, tile * sizeof(float));"
        for value in self.layout.numbers:
            yield f"pipe.InitBuffer({self.names[value]}Buffer, 32);"
        if self.reduces:
            yield "pipe.InitBuffer(work, tile * sizeof(float));"
        if self.uses_tail:
            yield "pipe.InitBuffer(tail, 32);"

    @property
    def uses_tail(self) -> bool:
        return bool(self.form.row) and not self.chip.exact_tail

    def process(self) -> Iterator[str]:
        if self.shared:
            yield "if (begin >= end) return;"
            yield from self.prologue()
        if self.form.row:
            yield from ROW_LOOP
        else:
            yield from EXACT_LOOP if self.chip.exact_tail else BLOCK_LOOP
        for name, _ in self.shared:
            yield f"{name}Queue.FreeTensor({name}Row);"

    def prologue(self) -> Iterator[str]:
        """Rows that all rows share are read once, and so is what is computed of them alone."""
        for name, value in self.shared:
            t = TYPES[value.dtype]
            yield f"{name}Row = {name}Queue.AllocTensor<{t}>();"
            yield f"CopyToLocal({name}Row, {name}Gm, 0, ROW{self.tail_argument(value)});"
            yield f"{name}Queue.EnQue({name}Row);"
            yield f"{name}Row = {name}Queue.DeQue<{t}>();"
        once = [step for step in self.program.steps if self.form.is_shared(step.result)]
        if once:
            yield "{"
            yield "    uint32_t n = ROW;"
            yield from indented(1, self.declared(once, shared_only=True))
            for step in once:
                yield from indented(1, self.step(step))
            yield "}"

    def tail_argument(self, value: Value) -> str:
        return f", tail.Get<{TYPES[value.dtype]}>()" if self.uses_tail else ""

    def copy_in(self) -> Iterator[str]:
        for name, value in self.streams:
            t = TYPES[value.dtype]
            yield f"LocalTensor<{t}> {name} = {name}Queue.AllocTensor<{t}>();"
            yield f"CopyToLocal({name}, {name}Gm, at, n{self.tail_argument(value)});"
            yield f"{name}Queue.EnQue({name});"

    def copy_out(self) -> Iterator[str]:
        for name, value in self.outputs:
            t = TYPES[value.dtype]
            yield f"LocalTensor<{t}> {name} = {name}Queue.DeQue<{t}>();"
            yield f"CopyToGlobal({name}Gm, {name}, at, n{self.tail_argument(value)});"
            yield f"{name}Queue.FreeTensor({name});"

    def compute(self) -> Iterator[str]:
        for name, value in self.streams:
            yield f"LocalTensor<{TYPES[value.dtype]}> {name} = {name}Queue.DeQue<{TYPES[value.dtype]}>();"
        for name, value in self.outputs:
            yield f"LocalTensor<{TYPES[value.dtype]}> {name} = {name}Queue.AllocTensor<{TYPES[value.dtype]}>();"
        steps = [step for step in self.program.steps if not self.form.is_shared(step.result)]
        yield from self.declared(self.program.steps, shared_only=False)
        for step in steps:
            yield from self.step(step)
        for name, _ in self.outputs:
            yield f"{name}Queue.EnQue({name});"
        for name, _ in self.streams:
            yield f"{name}Queue.FreeTensor({name});"

    def declared(self, steps: Sequence[Step], *, shared_only: bool) -> Iterator[str]:
        """The local tensors that steps write and read, beside those of queues."""
        seen: set[str] = set()
        for name, value in self.shared:
            yield f"LocalTensor<{TYPES[value.dtype]}> {name} = {name}Row;"
        for step in steps:
            name, t = self.names[step.result], TYPES[step.result.dtype]
            if name in seen or (shared_only and not self.form.is_shared(step.result)):
                continue
            buffer = self.buffer(name)
            if buffer:
                seen.add(name)
                yield f"LocalTensor<{t}> {name} = {buffer}.Get<{t}>();"
        if self.reduces and not shared_only:
            for t in dict.fromkeys(TYPES[s.result.dtype] for s in self.program.steps if s.verb in REDUCTIONS):
                yield f"LocalTensor<{t}> work_{t} = work.Get<{t}>();"

    @staticmethod
    def buffer(name: str) -> str:
        """The buffer of a value that is in no queue; empty when it is in one."""
        if name.startswith("t"):
            return f"slot{name[1:].partition('_')[0]}"
        return {"k": f"kept{name[1:]}", "n": f"{name}Buffer"}.get(name[0], "")

    def step(self, step: Step) -> Iterator[str]:
        """The calls of a step."""
        y, result, verb = self.names[step.result], step.result, step.verb
        count = "1" if self.form.is_number(result) else "n"
        operands = [self.names[x] if isinstance(x, Value) else number(x, result.dtype) for x in step.operands]
        if verb is Verb.FILL:
            yield f"Duplicate({y}, {operands[0]}, {count});"
        elif verb is Verb.BROADCAST:
            yield from self.broadcast(step, y, operands[0])
        elif verb is Verb.CAST:
            yield f"Cast({y}, {operands[0]}, RoundMode::CAST_NONE, {count});"
        elif verb in REDUCTIONS:
            yield f"{REDUCTIONS[verb]}({y}, {operands[0]}, work_{TYPES[result.dtype]}, n);"
        elif len(step.operands) == 2 and not isinstance(step.operands[1], Value):
            scalar, given = as_scalar(verb, step.operands[1])
            yield f"{SCALAR_CALLS[scalar]}({y}, {operands[0]}, {number(given, result.dtype)}, {count});"
        else:
            yield f"{CALLS[verb]}({y}, {', '.join(operands)}, {count});"

    def broadcast(self, step: Step, y: str, x: str) -> Iterator[str]:
        """A number along a row; nothing for a row that all share, unless it is a result."""
        if self.form.is_number(step.values[0]):
            if self.form.is_number(step.result):
                yield f"Adds({y}, {x}, {number(0.0, step.result.dtype)}, 1);"
                return
            yield "SetFlag<HardEvent::V_S>(EVENT_ID0);"
            yield "WaitFlag<HardEvent::V_S>(EVENT_ID0);"
            yield f"Duplicate({y}, {x}.GetValue(0), n);"
        elif y != x:
            yield f"Adds({y}, {x}, {number(0.0, step.result.dtype)}, n);"

    def members(self) -> Iterator[str]:
        yield "TPipe pipe;"
        for name, value in (*self.inputs, *self.outputs):
            position = "VECOUT" if name.startswith("y") else "VECIN"
            depth = 1 if self.form.is_shared(value) else 2
            yield f"TQue<QuePosition::{position}, {depth}> {name}Queue;"
            yield f"GlobalTensor<{TYPES[value.dtype]}> {name}Gm;"
        for name, value in self.shared:
            yield f"LocalTensor<{TYPES[value.dtype]}> {name}Row;"
        buffers = [f"slot{i}" for i in range(self.layout.slots)] + [f"kept{i}" for i in range(self.layout.kept)]
        buffers += [f"{self.names[v]}Buffer" for v in self.layout.numbers]
        buffers += ["work"] * self.reduces + ["tail"] * self.uses_tail
        for name in buffers:
            yield f"TBuf<QuePosition::VECCALC> {name};"
        yield "uint32_t begin, end, size, step;"


def as_scalar(verb: Verb, operand: Operand) -> tuple[Verb, float]:
    """A step with a number as one that there is a call for."""
    assert isinstance(operand, float)
    if verb is Verb.SUB:
        return Verb.ADD, -operand
    return (Verb.MUL, 1 / operand) if verb is Verb.DIV else (verb, operand)


def number(x: float, dtype: DType) -> str:
    """A number as a literal of C++."""
    text = np.format_float_scientific(np.float32(x), unique=True, trim="0")
    return f"static_cast<{TYPES[dtype]}>({text}f)"


def indented(depth: int, lines: Sequence[str] | Iterator[str]) -> Iterator[str]:
    """Lines with four blanks a level in front."""
    return (f"{'    ' * depth}{line}" for line in lines)


ROW_LOOP = """
for (uint32_t at = begin; at < end; at += step) {
    CopyIn(at, ROW);
    Compute(ROW);
    CopyOut(at, ROW);
}""".split("\n")[1:]

EXACT_LOOP = """
for (uint32_t at = begin; at < end; at += step) {
    uint32_t n = end - at < step ? end - at : step;
    CopyIn(at, n);
    Compute(n);
    CopyOut(at, n);
}""".split("\n")[1:]

BLOCK_LOOP = """
for (uint32_t at = begin; at < end;) {
    uint32_t n = end - at < step ? end - at : step;
    n = n < UNIT ? UNIT : n / UNIT * UNIT;
    uint32_t from = at + n > size ? size - n : at;  // the last block ends with the tensor
    CopyIn(from, n);
    Compute(n);
    CopyOut(from, n);
    at = from + n;
}""".split("\n")[1:]

EXACT_TRANSFERS = """
template <typename T>
__aicore__ inline void CopyToLocal(const LocalTensor<T>& to, const GlobalTensor<T>& from, uint32_t at, uint32_t n) {
    DataCopyExtParams shape{1, static_cast<uint32_t>(n * sizeof(T)), 0, 0, 0};
    DataCopyPadExtParams<T> pad{false, 0, 0, 0};
    DataCopyPad(to, from[at], shape, pad);
}
template <typename T>
__aicore__ inline void CopyToGlobal(const GlobalTensor<T>& to, const LocalTensor<T>& from, uint32_t at, uint32_t n) {
    DataCopyExtParams shape{1, static_cast<uint32_t>(n * sizeof(T)), 0, 0, 0};
    DataCopyPad(to[at], from, shape);
}""".split("\n")

BLOCK_TRANSFERS = """
template <typename T>
__aicore__ inline void CopyToLocal(const LocalTensor<T>& to, const GlobalTensor<T>& from, uint32_t at, uint32_t n) {
    DataCopy(to, from[at], n);
}
template <typename T>
__aicore__ inline void CopyToGlobal(const GlobalTensor<T>& to, const LocalTensor<T>& from, uint32_t at, uint32_t n) {
    DataCopy(to[at], from, n);
}""".split("\n")

ROW_TRANSFERS = """
// Whole blocks, then the last 32 bytes of a row by way of `tail`: nothing beyond the row is touched.
template <typename T>
__aicore__ inline void CopyToLocal(const LocalTensor<T>& to, const GlobalTensor<T>& from, uint32_t at, uint32_t n,
                                   const LocalTensor<T>& tail) {
    constexpr uint32_t block = 32 / sizeof(T);
    uint32_t whole = n / block * block;
    DataCopy(to, from[at], whole);
    if (whole == n) return;
    DataCopy(tail, from[at + n - block], block);
    SetFlag<HardEvent::MTE2_S>(EVENT_ID1);
    WaitFlag<HardEvent::MTE2_S>(EVENT_ID1);
    for (uint32_t i = whole; i < n; ++i) {
        to.SetValue(i, tail.GetValue(i + block - n));
    }
    SetFlag<HardEvent::S_V>(EVENT_ID1);
    WaitFlag<HardEvent::S_V>(EVENT_ID1);
    SetFlag<HardEvent::S_MTE2>(EVENT_ID1);
    WaitFlag<HardEvent::S_MTE2>(EVENT_ID1);
}
template <typename T>
__aicore__ inline void CopyToGlobal(const GlobalTensor<T>& to, const LocalTensor<T>& from, uint32_t at, uint32_t n,
                                    const LocalTensor<T>& tail) {
    constexpr uint32_t block = 32 / sizeof(T);
    uint32_t whole = n / block * block;
    DataCopy(to[at], from, whole);
    if (whole == n) return;
    SetFlag<HardEvent::V_S>(EVENT_ID1);
    WaitFlag<HardEvent::V_S>(EVENT_ID1);
    for (uint32_t i = 0; i < block; ++i) {
        tail.SetValue(i, from.GetValue(n - block + i));
    }
    SetFlag<HardEvent::S_MTE3>(EVENT_ID1);
    WaitFlag<HardEvent::S_MTE3>(EVENT_ID1);
    DataCopy(to[at + n - block], tail, block);
    SetFlag<HardEvent::MTE3_S>(EVENT_ID1);
    WaitFlag<HardEvent::MTE3_S>(EVENT_ID1);
}""".split("\n")
