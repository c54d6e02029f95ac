"""Every file of an Ascend artifact, read again by the vendor's schema as the documentation states it."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportAttributeAccessIssue=false

from __future__ import annotations

import importlib
import json
import re
import shlex
import subprocess
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import onnx
from onnx import TensorProto

from tests.codegen.ascend import air
from uair.artifact import Artifact
from uair.targets import load_description

descriptor_pb2, descriptor_pool, message_factory, text_format = (
    importlib.import_module(f"google.protobuf.{name}")  # it ships no types
    for name in ("descriptor_pb2", "descriptor_pool", "message_factory", "text_format")
)

LEGAL_PATH = re.compile(r"[\w./-]+")
NEWER = frozenset(
    "precision_mode_v2 compression_optimize_conf customize_dtypes jit_compile deterministic external_weight "
    "optimization_switch sparsity".split()
)
"""Not in ATC's source of 2022-09."""
SOCS = {
    "ascend310": r"Ascend310",
    "ascend310p": r"Ascend310P[1357]",
    "ascend310b": r"Ascend310B[1-4]",
    "ascend910b": r"Ascend910B([1-4]|4-1|2C)",
}
SHAPE = r"[\w.-]+:(-?\d+(~\d+)?(,-?\d+(~\d+)?)*)?"
NODE = r"[\w.-]+:\d+"
TYPES = r"(FP32|FP16|U?INT(8|16|32|64)|DOUBLE)"
FLAGS: Mapping[str, str] = {
    "model": r"model\.(onnx|air)",
    "framework": "[15]",
    "output": "model(-air)?",
    "input_format": "NCHW|NCDHW|ND",
    "input_shape": f"{SHAPE}(;{SHAPE})*",
    "dynamic_batch_size": r"\d+(,\d+){1,99}",
    "dynamic_image_size": r"\d+,\d+(;\d+,\d+){1,99}",
    "dynamic_dims": r"\d+(,\d+)*(;\d+(,\d+)*){1,99}",
    "out_nodes": f"{NODE}(;{NODE})*",
    "output_type": f"{TYPES}|{NODE}:{TYPES}(;{NODE}:{TYPES})*",
    "input_fp16_nodes": r"[\w.-]+(;[\w.-]+)*",
    "is_input_adjust_hw_layout": "(true|false)(,(true|false))*",
    "is_output_adjust_hw_layout": "(true|false)(,(true|false))*",
    "insert_op_conf": r"aipp\.cfg",
    "precision_mode": "force_fp16|allow_fp32_to_fp16|must_keep_origin_dtype|allow_mix_precision|force_fp32|"
    "cube_fp16in_fp32out|allow_mix_precision_(fp|bf)16|allow_fp32_to_bf16",
    "precision_mode_v2": "fp16|origin|cube_fp16in_fp32out|mixed_b?float16",
    "modify_mixlist": r"mixlist\.json",
    "keep_dtype": r"keep_dtype\.txt",
    "customize_dtypes": r"customize_dtypes\.cfg",
    "op_precision_mode": r"op_precision\.ini",
    "op_select_implmode": "high_(precision|performance)(_for_all)?",
    "optypelist_for_implmode": r"\w+(,\w+)*",
    "fusion_switch_file": r"fusion_switch\.json",
    "compression_optimize_conf": r"compression\.cfg",
    "enable_small_channel": "[01]",
    "buffer_optimize": "l2_optimize|off_optimize|l1_optimize",
    "core_type": "AiCore|VectorCore",
    "aicore_num": r"\d+(\|\d+)?",
    "log": "null|debug|info|warning|error",
    "op_debug_level": "[0-4]",
    "op_compiler_cache_mode": "enable|force|disable",
    "external_weight": "[0-2]",
    "jit_compile": "[0-2]",
    "sparsity": "[01]",
    "optimization_switch": r"\w+:(on|off)(;\w+:(on|off))*",
    "deterministic": "[01]",
    "debug_dir": r"[\w./-]+",
}
"""hicann/ge, docs, CLI_options: the values of each option as a regular expression."""


def check(artifact: Artifact) -> None:
    """All files of an artifact."""
    files = set(artifact.manifest["files"])
    for name in files:
        assert LEGAL_PATH.fullmatch(name)
        if name.endswith(".sh"):
            subprocess.run(["bash", "-n", str(artifact.file(name))], check=True)
    if "model.onnx" in files:
        check_onnx(artifact)
        check_command(artifact, "build.sh", {"model": "model.onnx", "framework": "5"})
    if "model.air" in files:
        name = "build_air.sh" if "model.onnx" in files else "build.sh"
        flags = check_command(artifact, name, {"model": "model.air", "framework": "1"})
        assert flags["input_format"] == "NCHW" and "input_shape" not in flags
        assert not {"out_nodes", "input_fp16_nodes", "is_input_adjust_hw_layout", "keep_dtype"} & set(flags)
        air.read(artifact.file("model.air"))
    checks = {
        "aipp.cfg": check_aipp,
        "record.txt": check_record,
        "amct.cfg": check_amct,
        "compression.cfg": check_compression,
        "mixlist.json": check_mixlist,
        "fusion_switch.json": check_fusion,
        "op_precision.ini": check_precision,
    }
    for name in files & checks.keys():
        checks[name](artifact.file(name).read_text(), artifact)
    if "check.sh" in files:
        called = flags_in(artifact.file("check.sh"))
        assert called["mode"] == "3" and called["check_report"] == "check_result.json"
        assert re.fullmatch(SOCS[artifact.target], called["soc_version"])


# ------------------------------------------------------------------------------------------------------------- command
def flags_in(script: Path) -> dict[str, str]:
    """The options of the first call of ATC in a script."""
    call = re.search(r"^atc \\\n(.*\\\n)*.*$", script.read_text(), re.M)
    assert call is not None
    words = shlex.split(call[0].replace("\\\n", " ").partition("2>&1")[0].partition("||")[0], comments=True)
    pairs = [word.removeprefix("--").partition("=") for word in words[1:]]
    assert len({name for name, _, _ in pairs}) == len(pairs)
    return {name: value for name, _, value in pairs}


def check_command(artifact: Artifact, name: str, wanted: Mapping[str, str]) -> dict[str, str]:
    """The command of a script: options, values, exclusions, and the files that it names."""
    script = artifact.file(name)
    flags = flags_in(script)
    assert script.stat().st_mode & 0o111
    assert flags.items() >= wanted.items()
    assert re.fullmatch(SOCS[artifact.target], flags["soc_version"])
    for key, value in flags.items():
        assert key == "soc_version" or re.fullmatch(FLAGS[key], value), (key, value)
        if value.endswith((".cfg", ".json", ".ini", ".txt", ".onnx", ".air")):
            assert value in artifact.manifest["files"]
    newer = set(flags) & NEWER
    assert not newer or artifact.target != "ascend310"
    for option in newer:
        assert f'grep -q -- "--{option}" atc.help' in script.read_text()
    dynamic = [k for k in flags if k.startswith("dynamic_")]
    assert len(dynamic) <= 1 and not ({"precision_mode", "precision_mode_v2"} <= set(flags))
    if "dynamic_dims" in flags:
        assert flags["input_format"] == "ND" and "insert_op_conf" not in flags
    if "insert_op_conf" in flags:
        assert flags["input_format"] in ("NCHW", "NHWC")
    for size in flags.get("dynamic_batch_size", "1").split(","):
        assert 1 <= int(size) <= 2048
    if "record.txt" in artifact.manifest["files"]:
        assert not dynamic and "-1" not in flags.get("input_shape", "") and "~" not in flags.get("input_shape", "")
        assert not {"force_fp32", "must_keep_origin_dtype", "origin"} & set(flags.values())
    if name == "build.sh":
        check_shapes(artifact, flags)
    return flags


def check_shapes(artifact: Artifact, flags: Mapping[str, str]) -> None:
    """--input_shape is about the inputs of the ONNX file, -1 where gears or open sizes are."""
    if "input_shape" not in flags:
        return
    graph = onnx.load(artifact.file("model.onnx"), load_external_data=False).graph
    given = dict(part.rsplit(":", 1) for part in flags["input_shape"].split(";"))
    assert list(given) == [i.name for i in graph.input]
    holes = 0
    for value in graph.input:
        sizes = given[value.name].split(",") if given[value.name] else []
        for text, d in zip(sizes, value.type.tensor_type.shape.dim, strict=True):
            assert d.dim_value == (0 if text == "-1" or "~" in text else int(text))
            holes += text == "-1"
    if "dynamic_dims" in flags:
        assert {len(gear.split(",")) for gear in flags["dynamic_dims"].split(";")} == {holes}
    if "dynamic_image_size" in flags:
        assert holes == 2


# ---------------------------------------------------------------------------------------------------------------- ONNX
QUANT = {"scale": 1, "offset": 1, "dst_type": 3, "sqrt_mode": 2, "round_mode": 3}
DEQUANT = {"dtype": 2, "sqrt_mode": 2, "relu_flag": 2}
"""AttributeProto types by name: FLOAT 1, INT 2, STRING 3. An offset that is an INT is ignored by the importer."""


def check_onnx(artifact: Artifact) -> None:
    """One operator set, operators that are registered, unique names, quantized layers as AMCT writes them."""
    model = onnx.load(artifact.file("model.onnx"))
    description = load_description(artifact.target)
    assert description.onnx is not None and description.onnx.operators is not None
    assert [(e.domain, e.version) for e in model.opset_import] == [("", description.onnx.opset)]
    graph = model.graph
    names = [n.name for n in graph.node] + [i.name for i in graph.input] + [t.name for t in graph.initializer]
    assert len(set(names)) == len(names)
    weights = {t.name: t for t in graph.initializer}
    makers = {o: n for n in graph.node for o in n.output}
    for node in graph.node:
        assert node.op_type in description.onnx.operators and not node.domain, node.op_type
        kinds = {a.name: a.type for a in node.attribute}
        if node.op_type == "AscendQuant":
            assert kinds == QUANT and node.name.endswith(".quant")
        elif node.op_type == "AscendDequant":
            assert kinds == DEQUANT and weights[node.input[1]].data_type == TensorProto.UINT64
            layer = makers[node.input[0]]
            layer = makers[layer.input[0]] if layer.op_type == "Add" else layer
            assert layer.op_type in ("Conv", "ConvTranspose", "Gemm", "MatMul")
            assert makers[layer.input[0]].op_type == "AscendQuant"
            assert weights[layer.input[1]].data_type == TensorProto.INT8
            assert all(weights[b].data_type == TensorProto.INT32 for b in layer.input[2:])


# ---------------------------------------------------------------------------------------------------------- text files
KINDS = {"i": "TYPE_INT64", "f": "TYPE_FLOAT", "b": "TYPE_BOOL", "s": "TYPE_STRING"}
AIPP_FIELDS = (
    "aipp_mode:s related_input_rank:i input_format:s src_image_size_w:i src_image_size_h:i max_src_image_size:i "
    "crop:b load_start_pos_w:i load_start_pos_h:i crop_size_w:i crop_size_h:i padding:b left_padding_size:i "
    "right_padding_size:i top_padding_size:i bottom_padding_size:i padding_value:f csc_switch:b rbuv_swap_switch:b "
    + " ".join(f"matrix_r{r}c{c}:i" for r in range(3) for c in range(3))
    + " "
    + " ".join(f"input_bias_{i}:i mean_chn_{i}:i min_chn_{i}:f var_reci_chn_{i}:f" for i in range(4))
)
TEXTS: Mapping[str, str] = {
    "Aipp": AIPP_FIELDS,
    "InsertNewOps": "*aipp_op:Aipp",
    "Layer": "scale_d:f offset_d:i *scale_w:f *offset_w:i *shift_bit:i dst_type:s",
    "Entry": "key:s value:Layer",
    "ScaleOffsetRecord": "*record:Entry",
    "Arq": "channel_wise:b quant_bits:i",
    "Ifmr": "search_range_start:f search_range_end:f search_step:f max_percentile:f min_percentile:f asymmetric:b",
    "Common": "arq_quantize:Arq ifmr_quantize:Ifmr",
    "AMCTConfig": "activation_offset:b *skip_layers:s *skip_layer_types:s do_fusion:b common_config:Common",
    "Calibration": "input_data_dir:s input_shape:s config_file:s infer_soc:s",
    "Compression": "enable_first_layer_quantization:b calibration:Calibration",
}


@cache
def texts() -> Mapping[str, Any]:
    """Messages for the text formats, by name; their field numbers play no part there."""
    file = descriptor_pb2.FileDescriptorProto(name="text.proto", package="text", syntax="proto2")
    for name, fields in TEXTS.items():
        message = file.message_type.add(name=name)
        for number, text in enumerate(fields.split(), 1):
            field_name, _, kind = text.lstrip("*").partition(":")
            field = message.field.add(name=field_name, number=number)
            proto = descriptor_pb2.FieldDescriptorProto
            field.label = proto.LABEL_REPEATED if text.startswith("*") else proto.LABEL_OPTIONAL
            field.type = getattr(proto, KINDS[kind]) if kind in KINDS else proto.TYPE_MESSAGE
            if kind not in KINDS:
                field.type_name = f".text.{kind}"
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return {n: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"text.{n}")) for n in TEXTS}


def parsed(name: str, text: str) -> Any:
    """A text message; unknown fields and wrong types are errors."""
    return text_format.Parse(text, texts()[name]())


def check_aipp(text: str, artifact: Artifact) -> None:
    """Fields, enumerations, ranges."""
    # enumerations stand without quotes
    quoted = re.sub(r"(aipp_mode|input_format): (\w+)", r'\1: "\2"', text)
    for op in parsed("InsertNewOps", quoted).aipp_op:
        assert op.aipp_mode in ("static", "dynamic") and op.HasField("related_input_rank")
        if op.aipp_mode == "dynamic":
            assert op.max_src_image_size > 0 and len(op.ListFields()) == 3
            continue
        assert op.input_format in ("YUV420SP_U8", "XRGB8888_U8", "RGB888_U8", "YUV400_U8")
        assert op.src_image_size_w == 0 or 2 <= op.src_image_size_w <= 4096
        assert 0 <= op.src_image_size_h <= 4096
        assert (op.src_image_size_w and op.src_image_size_h) or not (op.crop or op.padding)
        if op.input_format == "YUV420SP_U8":
            assert not (op.src_image_size_w % 2 or op.src_image_size_h % 2)
            assert not (op.load_start_pos_w % 2 or op.load_start_pos_h % 2)
        assert op.crop == op.HasField("crop_size_w") and op.padding == op.HasField("padding_value")
        if op.crop:
            assert op.load_start_pos_w + op.crop_size_w <= op.src_image_size_w
            assert op.load_start_pos_h + op.crop_size_h <= op.src_image_size_h
        for side in ("left", "right", "top", "bottom"):
            assert 0 <= getattr(op, f"{side}_padding_size") <= 32
        for i in range(3):
            assert 0 <= getattr(op, f"mean_chn_{i}") <= 255
        assert op.csc_switch == op.HasField("matrix_r0c0") == op.HasField("input_bias_0")
    ranks = [op.related_input_rank for op in parsed("InsertNewOps", quoted).aipp_op]
    assert len(set(ranks)) == len(ranks) and max(ranks) < len(artifact.manifest["ascend"]["inputs"])


def check_record(text: str, artifact: Artifact) -> None:
    """Scales that AMCT accepts, for the layers of the ONNX file."""
    nodes = {}
    if "model.onnx" in artifact.manifest["files"]:
        nodes = {n.name: n for n in onnx.load(artifact.file("model.onnx")).graph.node}
    record = parsed("ScaleOffsetRecord", text).record
    assert record
    for entry in record:
        value = entry.value
        assert value.dst_type == "INT8" and not value.shift_bit and -128 <= value.offset_d <= 127
        assert 1.1920929e-7 <= value.scale_d < float("inf")
        assert len(value.scale_w) == len(value.offset_w) and not any(value.offset_w)
        assert all(1.19e-7 <= s < float("inf") for s in value.scale_w)
        assert not nodes or nodes[entry.key].op_type in ("Conv", "ConvTranspose", "Gemm", "MatMul")


def check_amct(text: str, artifact: Artifact) -> None:
    """AMCT's simple configuration; skipped layers are not those of the record."""
    config = parsed("AMCTConfig", text)
    assert config.common_config.arq_quantize.quant_bits == 8 and config.common_config.ifmr_quantize.search_step > 0
    quantized = {e.key for e in parsed("ScaleOffsetRecord", artifact.file("record.txt").read_text()).record}
    assert not quantized & set(config.skip_layers)


def check_compression(text: str, artifact: Artifact) -> None:
    config = parsed("Compression", re.sub(r"(input_data_dir|input_shape|infer_soc): (\S+)", r'\1: "\2"', text))
    if config.HasField("calibration"):
        assert config.calibration.input_data_dir.removeprefix("./") in artifact.manifest["files"]
        assert re.fullmatch(SOCS[artifact.target], config.calibration.infer_soc)
        assert re.fullmatch(f"{SHAPE}(;{SHAPE})*", config.calibration.input_shape)


def check_mixlist(text: str, artifact: Artifact) -> None:
    for name, lists in json.loads(text).items():
        assert name in ("black-list", "white-list") and set(lists) <= {"to-remove", "to-add"}
        assert all(isinstance(t, str) for types in lists.values() for t in types)


def check_fusion(text: str, artifact: Artifact) -> None:
    content = json.loads(text)
    assert list(content) == ["Switch"] and set(content["Switch"]) <= {"GraphFusion", "UBFusion"}
    assert all(state in ("on", "off") for group in content["Switch"].values() for state in group.values())


def check_precision(text: str, artifact: Artifact) -> None:
    modes = "high_precision|high_performance|super_performance|keep_fp16|support_out_of_bound_index"
    for line in text.splitlines():
        assert re.fullmatch(rf"\[By(OpType|NodeName)\]|[\w.-]+=({modes})", line)
