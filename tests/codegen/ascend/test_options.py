"""Options of the Ascend targets: what each chip, each release and each model refuses, and what gears become."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import attrs
import pytest

import uair
from tests import zoo
from tests.codegen.ascend import conformance, models
from uair.codegen.ascend.chips import CHIPS, chip_of
from uair.codegen.ascend.gears import gears_of
from uair.codegen.ascend.options import FREE_FLAGS, LIMITS, NEWER_FLAGS, OLDER_FLAGS, AscendOptions
from uair.context import Context
from uair.errors import InternalError
from uair.ir import DType, Graph, Module, TensorType
from uair.ops import Add, Relu
from uair.preprocess import Preprocess
from uair.request import CompileRequest, Int8
from uair.targets.errors import BucketError, OptionError
from uair.targets.options import options_of


def refused(options: dict[str, Any], target: str = "ascend310", **more: Any) -> OptionError:
    """The error of a request, before anything is computed."""
    request = CompileRequest(target, options=options, **more)
    with pytest.raises(OptionError) as caught:
        Context.default().target(target).check_request(request)
    return caught.value


INT8 = Int8(calibration=[])
TWO = ({"x": (1,)}, {"x": (2,)})


@pytest.mark.parametrize(
    ("target", "options", "more", "message"),
    [
        ("ascend310", {"precision_mode": "fp16"}, {}, "cannot be 'fp16'"),
        ("ascend310", {"soc_version": "Ascend310P3"}, {}, "no chip of ascend310"),
        ("ascend310p", {"soc_version": "Ascend310p3"}, {}, "no chip of ascend310p"),
        ("ascend310", {"cann": "9.2"}, {}, "CANN 9.2 does not know the chip"),
        ("ascend310", {"cann": "latest"}, {}, "is no release"),
        *(
            ("ascend310", option, {}, "in no release of CANN that is known to support ascend310")
            for option in (
                {"precision_mode_v2": "fp16"},
                {"precision_mode": "cube_fp16in_fp32out"},
                {"external_weight": 1},
                {"jit_compile": 0},
                {"optimization_switch": "XPass:off"},
                {"first_layer_quantization": "true"},
                {"calibration_data": "x.bin"},
                {"customize_dtypes": "x.cfg"},
                {"keep_dtype": "OpType::Relu"},
                {"extra": "--deterministic=1"},
            )
        ),
        ("ascend910b", {"precision_mode_v2": "fp16", "cann": "6.0.1"}, {}, "CANN 6.0.1 has no precision_mode_v2"),
        ("ascend910b", {"precision_mode_v2": "fp16", "precision_mode": "force_fp16"}, {}, "exclude each other"),
        ("ascend310p", {"precision_mode_v2": "mixed_bfloat16"}, {}, "has no bfloat16"),
        ("ascend310p", {"precision_mode": "allow_fp32_to_bf16"}, {}, "has no bfloat16"),
        ("ascend910b", {"core_type": "VectorCore"}, {}, "is for Ascend 310P"),
        ("ascend310p", {"sparsity": 1}, {}, "2:4 sparse"),
        ("ascend310p", {"aicore_num": "24|48"}, {}, "no number of cores"),
        ("ascend910b", {"aicore_num": "24"}, {}, "no number of cores"),
        ("ascend310", {"size_ranges": "n:1~4"}, {}, "compiled for fixed ones"),
        ("ascend310p", {"size_ranges": "n:4~1"}, {}, "is no range"),
        ("ascend310", {"black_list": "Relu"}, {}, "need a mixed precision mode"),
        ("ascend310", {"precision_mode": "allow_mix_precision", "black_list": "my op"}, {}, "no GE operator"),
        ("ascend310", {"op_precision": "Re lu:high_precision"}, {}, "no GE operator"),
        ("ascend310", {"op_precision": "Relu:best"}, {}, "cannot be 'Relu:best'"),
        ("ascend310", {"optypelist_for_implmode": "Relu"}, {}, "needs op_select_implmode"),
        ("ascend310", {"op_debug_level": 5}, {}, "op_debug_level is 0 to 4"),
        ("ascend910b", {"external_weight": 3}, {}, "external_weight is 0 to 2"),
        ("ascend310", {"extra": "--model=x"}, {}, "no option of ATC that is left to you"),
        ("ascend310", {"extra": "--debug_dri=x"}, {}, "no option of ATC"),
        ("ascend310", {"extra": "--debug_dir=$(rm)"}, {}, "letters, digits"),
        ("ascend310", {"aipp_source": "100"}, {}, "takes 2 numbers, not 1"),
        ("ascend310", {"aipp_padding": "1,2"}, {}, "takes 4 numbers"),
        ("ascend310", {"aipp_padding": "1,2,3,33"}, {}, "0 to 32 pixels"),
        ("ascend310", {"aipp_crop": "1,2"}, {}, "needs aipp_source"),
        ("ascend310", {"format": "air", "out_nodes": "y"}, {}, "ATC ignores out_nodes for GE IR"),
        ("ascend310", {"format": "air"}, {"buckets": TWO}, "ATC ignores shape buckets"),
        *(
            ("ascend910b", option, {"quantization": INT8}, "a quantized model excludes")
            for option in (
                {"precision_mode": "force_fp32"},
                {"precision_mode": "must_keep_origin_dtype"},
                {"precision_mode_v2": "origin"},
                {"op_precision": "SoftmaxV2:high_precision"},
                {"node_precision": "a:high_precision"},
                {"op_select_implmode": "high_precision_for_all"},
            )
        ),
        ("ascend910b", {}, {"quantization": INT8, "buckets": TWO}, "compiled for one shape"),
        ("ascend910b", {"size_ranges": "n:1~4"}, {"quantization": INT8}, "compiled for one shape"),
        ("ascend910b", {"first_layer_quantization": True}, {"quantization": INT8}, "either UAIR quantizes"),
        ("ascend910b", {"calibration_data": "x.bin"}, {"buckets": TWO}, "model of one shape"),
    ],
)
def test_what_is_refused(target: str, options: dict[str, Any], more: dict[str, Any], message: str) -> None:
    assert message in refused(options, target, **more).message


def test_hints_name_what_would_do() -> None:
    assert refused({"soc_version": "Ascend310p3"}, "ascend310p").hint == "did you mean Ascend310P3?"
    assert "did you mean precision_mode" in refused({"precison_mode": "x"}).hint
    assert refused({"extra": "--debug_dri=x"}).hint == "did you mean --debug_dir=...?"
    assert "in the place of precision_mode_v2" in refused({"precision_mode_v2": "fp16"}).hint


def test_every_option_says_what_it_takes() -> None:
    for each in options_of(AscendOptions):
        assert each.help and each.takes, each.name
    assert set(LIMITS) <= {o.name for o in options_of(AscendOptions)}
    assert not NEWER_FLAGS & OLDER_FLAGS and FREE_FLAGS <= NEWER_FLAGS | OLDER_FLAGS
    assert conformance.NEWER <= NEWER_FLAGS


def test_chips() -> None:
    assert set(CHIPS) == {"ascend310", "ascend310p", "ascend310b", "ascend910b"}
    for name, chip in CHIPS.items():
        description = Context.default().target(name).description
        assert description.toolchain.soc_version in chip.soc_versions
        assert chip.ranges != description.static_shapes
        assert chip.bf16 == (DType.BF16 in description.dtypes.accepted)
    with pytest.raises(InternalError):
        chip_of("ascend950")


# -------------------------------------------------------------------------------------------------- names of the model
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"keep_dtype": "sun"}, "keep_dtype names 'sun'"),
        ({"node_precision": "sun:keep_fp16"}, "node_precision names 'sun'"),
        ({"out_nodes": "yy"}, "out_nodes names 'yy'"),
        ({"out_nodes": "sum:3"}, "out_nodes names 'sum:3'"),
        ({"output_types": "z:FP16"}, "output_types names 'z'"),
        ({"output_hw_layout": "y"}, "is no image"),
        ({"output_hw_layout": "z"}, "output_hw_layout names 'z'"),
        ({"input_fp16_nodes": "imag"}, "input_fp16_nodes names 'imag'"),
        ({"input_hw_layout": "image"}, "must be among input_fp16_nodes"),
    ],
)
def test_names_that_the_model_does_not_have(options: dict[str, str], message: str, tmp_path: Path) -> None:
    with pytest.raises(OptionError, match=message):
        uair.compile(models.cnn(), "ascend310", output=tmp_path / "out", options=options, golden=False)
    assert not list(tmp_path.iterdir())


def test_files_that_cannot_be_read_or_say_nothing(tmp_path: Path) -> None:
    wrong = tmp_path / "dtypes.cfg"
    for text, message in (("sum=float16\n", "says no element types"), ("sun::InputDtype:float16\n", "names 'sun'")):
        wrong.write_text(text)
        with pytest.raises(OptionError, match=message):
            uair.compile(models.cnn(), "ascend310p", options={"customize_dtypes": wrong}, golden=False)
    for option in ("customize_dtypes", "calibration_data"):
        with pytest.raises(OptionError, match="cannot be read"):
            uair.compile(models.cnn(), "ascend310p", options={option: tmp_path / "none"}, golden=False)


def test_aipp_and_float16_exclude_each_other() -> None:
    with pytest.raises(OptionError, match="AIPP gives input 'image'"):
        uair.compile(
            models.cnn(),
            "ascend310",
            options={"input_fp16_nodes": "image"},
            preprocess={"image": Preprocess()},
            golden=False,
        )


def test_outputs_are_chosen_and_typed() -> None:
    made = uair.compile(
        models.cnn(), "ascend310", options={"out_nodes": "features,stem/relu:0", "output_types": "features:FP16"}
    )
    conformance.check(made)
    flags = conformance.flags_in(made.file("build.sh"))
    assert flags["out_nodes"] == "up:0;stem_relu:0" and flags["output_type"] == "up:0:FP16;stem_relu:0:FP32"
    told = made.manifest["ascend"]["outputs"]
    assert [(o["source"], o["dtype"], o["shape"]) for o in told] == [
        ("features", "f16", [1, 6, 12, 10]),
        ("stem_relu_0", "f32", [1, 8, 6, 5]),
    ]
    half = uair.compile(models.linear_net(), "ascend310", options={"output_type": "FP16", "input_fp16_nodes": "row"})
    conformance.check(half)
    assert conformance.flags_in(half.file("build.sh"))["output_type"] == "FP16"
    assert [i["dtype"] for i in half.manifest["ascend"]["inputs"]] == ["f32", "f16"]
    assert {o["dtype"] for o in half.manifest["ascend"]["outputs"]} == {"f16"}


def test_only_what_is_asked_for_is_written() -> None:
    onnx_only = uair.compile(models.cnn(), "ascend310", options={"format": "onnx"}, golden=False)
    air_only = uair.compile(models.cnn(), "ascend310", options={"format": "air"}, golden=False)
    for made in (onnx_only, air_only):
        conformance.check(made)
    assert {"model.onnx", "build.sh", "dump.sh"} <= set(onnx_only.manifest["files"])
    assert "model.air" not in onnx_only.manifest["files"]
    assert {"model.air", "build.sh"} <= set(air_only.manifest["files"])
    assert not {"model.onnx", "build_air.sh", "dump.sh"} & set(air_only.manifest["files"])
    assert conformance.flags_in(air_only.file("build.sh"))["framework"] == "1"
    assert air_only.manifest["options"] == {"format": "air"}


def test_a_model_without_ge_form_is_written_as_onnx_only() -> None:
    from uair.ops import IntDiv

    graph = Graph()
    x = graph.add_input("x", TensorType(DType.I32, (4,)))
    graph.add_output("y", graph.append(IntDiv().node(x, x)).output)
    module = Module("m", {"main": graph})
    made = uair.compile(module, "ascend310", golden=False)
    conformance.check(made)
    assert "IntDiv has no GE form" in json.loads(made.file("report.json").read_text())["air"]["refused"]
    with pytest.raises(uair.UairError, match="IntDiv has no GE form"):
        uair.compile(module, "ascend310", options={"format": "air"}, golden=False)


def test_quantized_models_have_one_shape() -> None:
    model = zoo.models()["ppocr_cls"]
    with pytest.raises(OptionError, match="compiled for one shape"):
        uair.compile(model.path, "ascend310p", quantize=Int8(calibration=model.calibration(1)), golden=False)


def test_uncertain_options_are_marked() -> None:
    plain = uair.compile(models.cnn(), "ascend910b", golden=False, options={"format": "onnx"})
    newer = {"precision_mode_v2": "mixed_bfloat16", "format": "onnx"}
    unsure = uair.compile(models.cnn(), "ascend910b", golden=False, options=newer)
    sure = uair.compile(models.cnn(), "ascend910b", golden=False, options={**newer, "cann": "9.2"})
    assert [len(a.manifest["ascend"]["uncertain"]) for a in (plain, unsure, sure)] == [0, 1, 0]
    assert "--precision_mode_v2" in unsure.manifest["ascend"]["uncertain"][0]
    assert "precision_mode" not in conformance.flags_in(sure.file("build.sh"))


# --------------------------------------------------------------------------------------------------------------- gears
def graph_of(*shapes: tuple[int, ...]) -> Graph:
    graph = Graph()
    for i, shape in enumerate(shapes):
        graph.add_input(f"x{i}", TensorType(DType.F32, shape))
    return graph


@pytest.mark.parametrize(
    ("buckets", "kind", "value", "shapes"),
    [
        ([[(1, 3), (1, 4)], [(8, 3), (8, 4)]], "batch", "1,8", ((-1, 3), (-1, 4))),
        ([[(1, 3), (7, 4)], [(8, 3), (7, 4)]], "batch", "1,8", ((-1, 3), (7, 4))),
        ([[(1, 3), (2, 4)], [(8, 3), (9, 4)]], "dims", "1,2;8,9", ((-1, 3), (-1, 4))),
        ([[(1, 3, 8, 8)], [(1, 3, 16, 24)]], "image", "8,8;16,24", ((1, 3, -1, -1),)),
        ([[(1, 3, 8, 8)], [(1, 3, 8, 24)]], "dims", "8;24", ((1, 3, 8, -1),)),
        ([[(1, 3, 8)], [(1, 5, 8)], [(2, 5, 8)]], "dims", "1,3;1,5;2,5", ((-1, -1, 8),)),
        ([[(1, 3)], [(4096, 3)]], "dims", "1;4096", ((-1, 3),)),
    ],
)
def test_gears(buckets: Any, kind: str, value: str, shapes: Any) -> None:
    made = gears_of(graph_of(*buckets[0]), buckets, "auto", pictures=False)
    assert (made.kind, made.value, made.shapes) == (kind, value, shapes)


@pytest.mark.parametrize(
    ("buckets", "wanted", "pictures", "message"),
    [
        ([[(1, 3)], [(1, 4)]], "batch", False, "only the first extent of inputs may differ"),
        ([[(1, 3), (2, 3)], [(4, 3), (5, 3)]], "batch", False, "the same batch size"),
        ([[(1, 3)], [(4096, 3)]], "batch", False, "1 to 2048, not 4096"),
        ([[(1, 3)], [(2, 3)]], "image", False, "only height and width of one image input"),
        ([[(1, 3, 8, 8)], [(2, 3, 9, 9)]], "auto", True, "it excludes AIPP"),
        ([[(n, 3)] for n in range(1, 102)], "auto", False, "2 to 100 shapes, these are 101"),
    ],
)
def test_buckets_without_a_form(buckets: Any, wanted: str, pictures: bool, message: str) -> None:
    with pytest.raises(BucketError, match=message):
        gears_of(graph_of(*buckets[0]), buckets, wanted, pictures=pictures)


def test_formats_of_inputs() -> None:
    def module(*shape: int) -> Module:
        b = models.Builder()
        return b.module("m", y=b.add("y", Relu(), b.input("x", *shape)))

    def format_of(target: str, *shape: int) -> str:
        made = uair.compile(module(*shape), target, golden=False, options={"format": "onnx"})
        conformance.check(made)
        return conformance.flags_in(made.file("build.sh"))["input_format"]

    assert [format_of("ascend310", *(2,) * n) for n in (1, 2, 3, 4)] == ["ND", "ND", "ND", "NCHW"]
    assert format_of("ascend910b", 1, 2, 3, 4, 5) == "NCDHW"
    for target, rank in (("ascend310", 5), ("ascend910b", 6)):
        with pytest.raises(OptionError, match=f"input 'x' has {rank} axes"):
            format_of(target, *(2,) * rank)
    pair = models.Builder()
    x, z = pair.input("x", 1, 3, 4, 4), pair.input("z", 1, 3, 1, 1, 1)
    y = pair.add("y", Add(), x, pair.add("r", Relu(), z))
    both = pair.module("m", y=y)
    with pytest.raises(OptionError, match="the inputs together have the format NCDHW"):
        uair.compile(both, "ascend910b", golden=False, preprocess={"x": Preprocess()})
    assert attrs.fields_dict(AscendOptions)["gears"].default == "auto"
