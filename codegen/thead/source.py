"""The C source of a csinn program: model.h, model.c, and the constants for model.params.

Every tensor and operator of the user's model is a few lines here. What repeats (allocation, quantization info) is in
runtime/uair_csinn.h, which goes with the artifact.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence

import attrs
import numpy as np

from uair.codegen.thead.program import Call, Constants, CTensor, CType, Enumerator, Operand, Program, Value

HEADER = "/* Written by UAIR. */\n"


@attrs.frozen
class Session:
    """What a csinn session is told (struct csinn_session).

    Attributes:
        api: suffix of CSINN_ of the library's backend, e.g. "REF".
        mode: suffix of CSINN_RM_, e.g. "CPU_GRAPH".
        quant: suffix of CSINN_QUANT_.
        ctype: type that most tensors have.
        include: the public header of the backend.
        save: suffix of CSINN_ of what happens to the compiled graph, e.g. "RUN_ONLY".
    """

    api: str
    mode: str
    quant: str
    ctype: CType
    include: str
    save: str


@attrs.frozen(eq=False)
class Port:
    """An input or output as the user knows it.

    Attributes:
        name: in the user's model.
        ctype: element type outside; the tensor's own may be narrower.
        shape: outside.
    """

    name: str
    ctype: CType
    shape: tuple[int, ...]


@attrs.define(eq=False)
class Source:
    """Writes a program as C.

    Attributes:
        program: the program.
        session: the session.
        constants: filled by `model`.
    """

    program: Program
    session: Session
    constants: Constants = attrs.Factory(Constants)
    _names: dict[CTensor, str] = attrs.Factory(dict[CTensor, str])

    def model(self) -> str:
        """model.c."""
        self._names = {tensor: f"t{i}" for i, tensor in enumerate(self.program.tensors())}
        lines = [*self._tensors(), *self._calls()]
        body = "\n".join(f"  {line}" if line else "" for line in lines)
        return (
            f"{HEADER}#include <{self.session.include}>\n#include <shl_utils.h>\n\n"
            '#include "model.h"\n#include "uair_csinn.h"\n\n'
            "struct csinn_session *model_create(char *params) {\n"
            f"{body}\n}}\n"
        )

    # ------------------------------------------------------------------------------------------------------- tensors
    def _tensors(self) -> list[str]:
        session, program = self.session, self.program
        lines = [
            "struct csinn_session *session = csinn_alloc_session();",
            f"session->base_api = CSINN_{session.api};",
            f"session->base_run_mode = CSINN_RM_{session.mode};",
            f"session->base_quant_type = CSINN_QUANT_{session.quant};",
            f"session->base_dtype = {session.ctype.c};",
            "session->base_layout = CSINN_LAYOUT_NCHW;",
            f"session->model.save_mode = CSINN_{session.save};",
            "session->dynamic_shape = false;",
            "csinn_session_init(session);",
            f"csinn_set_input_number({len(program.inputs)}, session);",
            f"csinn_set_output_number({len(program.outputs)}, session);",
            "",
        ]
        for tensor in program.tensors():
            lines += self._tensor(tensor)
        return lines

    def _tensor(self, tensor: CTensor) -> list[str]:
        name = self._names[tensor]
        extents = ", ".join(map(str, tensor.shape)) or "1"
        make = f"uair_tensor(session, {c_string(tensor.name)}, {tensor.ctype.c}, CSINN_LAYOUT_{tensor.layout}"
        lines = [f"struct csinn_tensor *{name} = {make}, {len(tensor.shape)}, (int[]){{{extents}}});"]
        if tensor.quant is not None:
            lines.append(self._quantization(name, tensor))
        if tensor.data is not None:
            lines.append(f"uair_constant({name}, params + {self.constants.add(tensor.data())});")
        return lines

    def _quantization(self, name: str, tensor: CTensor) -> str:
        assert tensor.quant is not None
        scales, zeros = tensor.quant.scales, tensor.quant.zero_points
        if scales.size == 1:
            return f"uair_quantized({name}, {c_float(float(scales[0]))}, {int(zeros[0])});"
        assert not zeros.any(), "quantization per channel has zero points 0 in every scheme that UAIR writes for csinn"
        return f"uair_quantized_channels({name}, {scales.size}, params + {self.constants.add(scales)});"

    # --------------------------------------------------------------------------------------------------------- calls
    def _calls(self) -> list[str]:
        setup: list[str] = []
        establish: list[str] = []
        for i, call in enumerate(self.program.calls):
            arrays, operands = self._operands(i, call)
            setup += ["", *arrays, *self._params(i, call)]
            setup.append(f"{call.function}_init({operands}, p{i});")
            establish.append(f"{call.function}({operands}, p{i});")
        program = self.program
        inputs = [self._names[t] for t in program.inputs]
        outputs = [self._names[t] for t in program.outputs]
        return [
            *setup,
            "",
            *(f"csinn_set_tensor_entry({name}, session);" for name in inputs),
            *(f"csinn_set_input({i}, {name}, session);" for i, name in enumerate(inputs)),
            "",
            *establish,
            "",
            *(f"csinn_set_output({i}, {name}, session);" for i, name in enumerate(outputs)),
            "csinn_session_setup(session);",
            "return session;",
        ]

    def _operands(self, i: int, call: Call) -> tuple[list[str], str]:
        arrays: list[str] = []
        texts: list[str] = []
        for j, operand in enumerate(call.operands):
            text = self._operand(operand)
            if not isinstance(operand, CTensor):
                arrays.append(f"struct csinn_tensor *p{i}_{j}[] = {{{text}}};")
                text = f"p{i}_{j}"
            texts.append(text)
        return arrays, ", ".join(texts)

    def _operand(self, operand: Operand) -> str:
        if isinstance(operand, CTensor):
            return self._names[operand]
        return ", ".join(self._names[each] for each in operand)

    def _params(self, i: int, call: Call) -> list[str]:
        lines = [f"struct {call.struct} *p{i} = csinn_alloc_params(sizeof(struct {call.struct}), session);"]
        for field, value in call.fields.items():
            if isinstance(value, tuple):
                array = f"p{i}_{field}"
                lines.append(f"static int32_t {array}[] = {{{', '.join(map(str, value)) or '0'}}};")
                lines.append(f"p{i}->{field} = {array};")
            else:
                lines.append(f"p{i}->{field} = {c_value(value)};")
        lines.append(f"p{i}->base.name = {c_string(call.name)};")
        return lines


def header(inputs: Mapping[CTensor, Port], outputs: Mapping[CTensor, Port]) -> str:
    """model.h: the function that makes the session, and what the program's ports are called and hold."""
    return (
        f"{HEADER}#ifndef MODEL_H\n#define MODEL_H\n\n"
        '#include "uair_io.h"\n\n'
        "struct csinn_session;\n\n"
        "/* The compiled graph. `params` is the content of model.params; it stays in memory, aligned to 64 bytes. */\n"
        "struct csinn_session *model_create(char *params);\n\n"
        f"{_ports('inputs', list(inputs.values()))}\n{_ports('outputs', list(outputs.values()))}\n#endif\n"
    )


def _ports(kind: str, ports: Sequence[Port]) -> str:
    rows = "\n".join(
        f"    {{{c_string(port.name)}, UAIR_{port.ctype.value[0]}, {len(port.shape)}, "
        f"{{{', '.join(map(str, port.shape)) or '1'}}}}},"
        for port in ports
    )
    return (
        f"#define MODEL_{kind.upper()} {len(ports)}\nstatic const struct uair_port model_{kind}[] = {{\n{rows}\n}};\n"
    )


def c_value(value: Value) -> str:
    """A scalar as C."""
    if isinstance(value, Enumerator):
        return value.name
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return c_float(value)
    return str(value)


def c_float(value: float) -> str:
    """A number that C reads as the same f32."""
    single = np.float32(value)
    if math.isinf(single):
        return "INFINITY" if single > 0 else "-INFINITY"
    if math.isnan(single):
        return "NAN"
    text = f"{single:.9g}"
    return f"{text}f" if re.search(r"[.e]", text) else f"{text}.0f"


_ESCAPES = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\t": "\\t"}


def c_string(text: str) -> str:
    """A string literal. What is not printable ASCII is written as octal escapes, which no following digit joins.

    `?` is escaped, too: two of them begin a trigraph.
    """
    return '"' + "".join(map(_c_character, text)) + '"'


def _c_character(character: str) -> str:
    if character in _ESCAPES:
        return _ESCAPES[character]
    if " " <= character <= "~" and character != "?":
        return character
    return "".join(f"\\{byte:03o}" for byte in character.encode("utf-8", "surrogateescape"))
