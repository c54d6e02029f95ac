"""The host's half of Ascend C operators, and the package.

    ascendc/op_kernel/NAME.cpp      the kernel, see uair.codegen.ascend.kernels.ascend_c
    ascendc/op_host/NAME_tiling.h   what the kernel is told, and how work is split
    ascendc/op_host/NAME.cpp        the operator's definition, shapes and tiling
    framework/onnx_plugin/          ONNX nodes of the type

Work is split in units of 32 bytes: every core gets the same number of them, the last one what is left. A tile is as
large as the unified buffer allows with two buffers for every tensor that is read or written.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from uair.codegen.ascend.kernels.ascend_c import Plan, form_of, kernel_text, plan
from uair.codegen.ascend.kernels.chips import Chip
from uair.codegen.ascend.kernels.custom_op import GE_TYPES, WARNING, CustomOp, custom_op, onnx_plugin
from uair.codegen.ascend.kernels.named import NamedKernel, Sources
from uair.codegen.ascend.kernels.program import Program, Verb
from uair.codegen.ascend.kernels.restrict import restricted, restriction_refusal
from uair.targets.description import DeviceDescription

FOLDER = "ascendc"
TOOL = "Ascend C (CANN 7 or later)"
JUDGE = "g++ with a double of the Ascend C interface, and run on the CPU, in UAIR's tests; CANN was not run"
RESERVE = 16384
"""Bytes of the unified buffer that are left to the compiler; how many it needs is not documented."""
BUFFER = "UB"


def ascend_c_sources(found: Sequence[NamedKernel], chip: Chip, description: DeviceDescription) -> Sources:
    """The package of all kernels that have a form."""
    texts: dict[str, str] = {}
    rows: dict[str, Mapping[str, Any]] = {}
    for named in found:
        op = custom_op(named)
        layout = planned(named.program, chip, description) if op else "its uses have results of different shapes"
        if op is None or isinstance(layout, str):
            rows[named.name] = {"files": [], "refused": layout}
            continue
        files = package(op, layout, chip)
        files[f"framework/onnx_plugin/{op.module}_plugin.cc"] = onnx_plugin(op, description)
        texts.update(files)
        rows[named.name] = {"files": sorted(files), "tool": TOOL, "operator": op.type, "accepted_by": JUDGE}
    return Sources(texts, rows)


def planned(program: Program, chip: Chip, description: DeviceDescription) -> Plan | str:
    """The plan of a program on a chip, or why it has none."""
    if Verb.MATMUL in program.verbs:
        return "matrix products are for the cube unit"
    refusal = restriction_refusal(program, chip)
    if refusal:
        return refusal
    fitting = restricted(program, chip)
    form = form_of(fitting, chip)
    if isinstance(form, str):
        return form
    layout = plan(fitting, form)
    space = (description.memory_level(BUFFER).bytes or 0) - RESERVE
    least = round_up(form.row, 32) or layout.unit
    if layout.bytes_per_element * least > space:
        return f"rows of {form.row} elements, which the unified buffer does not hold with what is computed of them"
    return layout


def round_up(x: int, unit: int) -> int:
    """The least multiple of `unit` that is not below `x`."""
    return (x + unit - 1) // unit * unit


def package(op: CustomOp, layout: Plan, chip: Chip) -> dict[str, str]:
    """The files of an operator."""
    return {
        f"{FOLDER}/op_kernel/{op.module}.cpp": kernel_text(op, layout, chip),
        f"{FOLDER}/op_host/{op.module}_tiling.h": tiling_text(op, layout),
        f"{FOLDER}/op_host/{op.module}.cpp": host_text(op, layout, chip),
    }


def tiling_text(op: CustomOp, layout: Plan) -> str:
    """op_host/NAME_tiling.h."""
    guard = f"{op.module.upper()}_TILING_H"
    return "\n".join(
        [
            f"// {WARNING}",
            f"#ifndef {guard}",
            f"#define {guard}",
            "#include <cstdint>",
            '#include "register/tilingdata_base.h"',
            "namespace optiling {",
            f"BEGIN_TILING_DATA_DEF({op.type}Tiling)",
            "    TILING_DATA_FIELD_DEF(uint32_t, total);    // elements",
            "    TILING_DATA_FIELD_DEF(uint32_t, perCore);  // elements of every core but the last",
            "    TILING_DATA_FIELD_DEF(uint32_t, tile);     // elements that a buffer holds",
            "END_TILING_DATA_DEF;",
            f"REGISTER_TILING_DATA_CLASS({op.type}, {op.type}Tiling)",
            "}  // namespace optiling",
            f"#endif  // {guard}",
            "",
        ]
    )


def split(layout: Plan) -> list[str]:
    """The statements that split `total` elements between `cores` with `ub` bytes of buffer each."""
    if layout.form.row:
        return [
            f"const uint32_t row = {layout.form.row};",
            f"const uint32_t unit = row * {layout.rows_together};  // rows that end at a multiple of 32 bytes",
            "const uint32_t units = (total + unit - 1) / unit;",
            "const uint32_t perCore = (units + cores - 1) / cores * unit;",
            "const uint32_t tile = (row + 31) / 32 * 32;",
        ]
    return [
        f"const uint32_t unit = {layout.unit};  // 32 bytes of the narrowest tensor",
        "const uint32_t units = (total + unit - 1) / unit;",
        "const uint32_t perCore = (units + cores - 1) / cores * unit;",
        f"const uint32_t most = static_cast<uint32_t>((ub - {RESERVE}) / {layout.bytes_per_element} / unit * unit);",
        "const uint32_t tile = most < perCore ? most : perCore;",
    ]


def host_text(op: CustomOp, layout: Plan, chip: Chip) -> str:
    """op_host/NAME.cpp."""
    full = next(i for i, v in enumerate(op.program.inputs) if len(v.axes) == len(op.program.sizes))
    definitions: list[str] = []
    for name, value in op.ports:
        kind = "Input" if name.startswith("x") else "Output"
        definitions += [
            f'        this->{kind}("{name}")',
            "            .ParamType(REQUIRED)",
            f"            .DataType({{ge::{GE_TYPES[value.dtype]}}})",
            "            .Format({ge::FORMAT_ND});",
        ]
    return "\n".join(
        [
            f"// {WARNING}",
            f'#include "{op.module}_tiling.h"',
            '#include "register/op_def_registry.h"',
            '#include "tiling/platform/platform_ascendc.h"',
            "",
            "namespace optiling {",
            "static ge::graphStatus TilingFunc(gert::TilingContext* context) {",
            "    auto platform = platform_ascendc::PlatformAscendC(context->GetPlatformInfo());",
            "    const uint32_t cores = platform.GetCoreNumAiv();",
            "    uint64_t ub = 0;",
            "    platform.GetCoreMemSize(platform_ascendc::CoreMemType::UB, ub);",
            "    const uint32_t total =",
            f"        static_cast<uint32_t>(context->GetInputShape({full})->GetStorageShape().GetShapeSize());",
            *(f"    {line}" for line in split(layout)),
            f"    {op.type}Tiling data;",
            "    data.set_total(total);",
            "    data.set_perCore(perCore);",
            "    data.set_tile(tile);",
            "    context->SetBlockDim((total + perCore - 1) / perCore);",
            "    auto raw = context->GetRawTilingData();",
            "    data.SaveToBuffer(raw->GetData(), raw->GetCapacity());",
            "    raw->SetDataSize(data.GetDataSize());",
            "    return ge::GRAPH_SUCCESS;",
            "}",
            "}  // namespace optiling",
            "",
            "namespace ge {",
            "static ge::graphStatus InferShape(gert::InferShapeContext* context) {",
            *_shapes(op),
            "    return GRAPH_SUCCESS;",
            "}",
            "static ge::graphStatus InferDataType(gert::InferDataTypeContext* context) {",
            *(
                f"    context->SetOutputDataType({i}, ge::{GE_TYPES[value.dtype]});"
                for i, value in enumerate(op.program.outputs)
            ),
            "    return GRAPH_SUCCESS;",
            "}",
            "}  // namespace ge",
            "",
            "namespace ops {",
            f"class {op.type} : public OpDef {{",
            " public:",
            f"    explicit {op.type}(const char* name) : OpDef(name) {{",
            *definitions,
            "        this->SetInferShape(ge::InferShape).SetInferDataType(ge::InferDataType);",
            "        this->AICore().SetTiling(optiling::TilingFunc);",
            f'        this->AICore().AddConfig("{chip.config}");',
            "    }",
            "};",
            f"OP_ADD({op.type});",
            "}  // namespace ops",
            "",
        ]
    )


def _shapes(op: CustomOp) -> list[str]:
    """The statements that set the outputs' shapes."""
    lines: list[str] = []
    for i, shape in enumerate(op.shapes):
        if isinstance(shape, int):
            lines.append(f"    *context->GetOutputShape({i}) = *context->GetInputShape({shape});")
            continue
        lines.append(f"    context->GetOutputShape({i})->SetDimNum({len(shape)});")
        lines += [f"    context->GetOutputShape({i})->SetDim({d}, {extent});" for d, extent in enumerate(shape)]
    return lines
