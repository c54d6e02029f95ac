"""Artifacts of real models for every chip: each file is what the vendor's documentation says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import uair
from tests import zoo
from tests.codegen.ascend import conformance, models
from uair.preprocess import Preprocess
from uair.request import Int8

TARGETS = ("ascend310", "ascend310p", "ascend310b", "ascend910b")
QUICK = ("ppocr_cls", "ppocr_rec", "bert", "magika", "basic_pitch", "squeezenet_real", "shufflenet_real")
HUGE = frozenset({"light_vgg19", "light_bvlc_alexnet", "light_zfnet512"})
"""Their weights are hundreds of MiB when written, so that one chip is enough."""
PIXELS = Preprocess(mean=127.5, std=127.5)


def cases() -> list[Any]:
    found: list[Any] = []
    for name in zoo.models():
        for target in TARGETS[:1] if name in HUGE else TARGETS:
            quick = name in QUICK and (target in ("ascend310", "ascend910b") or name == "ppocr_cls")
            found.append(pytest.param(name, target, marks=[] if quick else [pytest.mark.slow]))
    return found


@pytest.mark.parametrize(("name", "target"), cases())
def test_float(name: str, target: str, tmp_path: Path) -> None:
    model = zoo.models()[name]
    made = uair.compile(model.path, target, output=tmp_path / "out", shapes=dict(model.shapes), golden=False)
    conformance.check(made)
    files = set(made.manifest["files"])
    assert {"model.onnx", "model.air", "build.sh", "build_air.sh", "check.sh", "dump.sh", "layout.json"} <= files


@pytest.mark.parametrize("target", TARGETS)
def test_int8_with_pictures(target: str, tmp_path: Path) -> None:
    model = zoo.models()["ppocr_cls"]
    made = uair.compile(
        model.path,
        target,
        output=tmp_path / "out",
        shapes=dict(model.shapes),
        quantize=Int8(calibration=model.calibration(2)),
        preprocess={"x": PIXELS},
        golden=False,
    )
    conformance.check(made)
    assert {"model.onnx", "model.air", "record.txt", "amct.cfg", "aipp.cfg"} <= set(made.manifest["files"])


@pytest.mark.slow
@pytest.mark.parametrize("name", ["ppocr_det", "ppocr_rec", "yolo", "bert", "resnet50_real"])
def test_int8_of_larger_models(name: str, tmp_path: Path) -> None:
    model = zoo.models()[name]
    made = uair.compile(
        model.path,
        "ascend310p",
        output=tmp_path / "out",
        shapes=dict(model.shapes),
        quantize=Int8(calibration=model.calibration(1)),
        golden=False,
    )
    conformance.check(made)


BUCKETS: dict[str, tuple[dict[str, Any], list[dict[str, tuple[int, ...]]], str]] = {
    "batch": ({}, [{"x": (1, 3, 48, 192)}, {"x": (4, 3, 48, 192)}], "dynamic_batch_size"),
    "batch with pictures": (
        {"preprocess": {"x": PIXELS}}, [{"x": (1, 3, 48, 192)}, {"x": (4, 3, 48, 192)}], "dynamic_batch_size",
    ),
    "image": ({}, [{"x": (1, 3, 48, 192)}, {"x": (1, 3, 48, 320)}, {"x": (1, 3, 64, 100)}], "dynamic_image_size"),
    "image with pictures": (
        {"preprocess": {"x": PIXELS}}, [{"x": (1, 3, 48, 192)}, {"x": (1, 3, 64, 320)}], "dynamic_image_size",
    ),
    "dims": ({}, [{"x": (1, 3, 48, 192)}, {"x": (2, 3, 48, 320)}], "dynamic_dims"),
    "dims on demand": (
        {"options": {"gears": "dims"}}, [{"x": (1, 3, 48, 192)}, {"x": (4, 3, 48, 192)}], "dynamic_dims",
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", BUCKETS)
@pytest.mark.parametrize("target", ["ascend310", "ascend910b"])
def test_buckets(kind: str, target: str, tmp_path: Path) -> None:
    more, buckets, flag = BUCKETS[kind]
    made = uair.compile(zoo.models()["ppocr_cls"].path, target, output=tmp_path / "out", buckets=buckets, **more)
    conformance.check(made)
    assert flag in conformance.flags_in(made.file("build.sh"))
    assert made.manifest["ascend"]["gears"]["extra_inputs"] == 1
    assert "model.air" not in made.manifest["files"] and "golden" in made.manifest


@pytest.mark.parametrize("target", ["ascend310p", "ascend910b"])
def test_open_sizes_where_the_chip_takes_them(target: str, tmp_path: Path) -> None:
    path = zoo.models()["ppocr_cls"].path
    made = uair.compile(path, target, output=tmp_path / "out", options={"size_ranges": "x.0:1~16"})
    conformance.check(made)
    assert conformance.flags_in(made.file("build.sh"))["input_shape"] == "x:1~16,3,-1,-1"
    for options in ({"size_ranges": {"batch": "1~4"}},):
        with pytest.raises(uair.UairError, match="no open size"):
            uair.compile(path, target, output=tmp_path / "other", options=options)


def test_a_small_model_at_every_option(tmp_path: Path) -> None:
    """All options that ascend910b takes and that go together, and all files that they make."""
    dtypes, data = tmp_path / "dtypes.txt", tmp_path / "data.bin"
    dtypes.write_text("sum::InputDtype:float16,float16,OutputDtype:float16\nOpType::Relu:InputDtype:float16\n")
    data.write_bytes(bytes(1440))
    made = uair.compile(
        models.cnn(),
        "ascend910b",
        output=tmp_path / "out",
        options={
            "soc_version": "Ascend910B4-1",
            "log": "debug",
            "precision_mode": "allow_mix_precision",
            "op_precision": "SoftmaxV2:high_precision,Relu:keep_fp16",
            "node_precision": {"sum": "high_performance"},
            "keep_dtype": "sum,OpType::Relu",
            "black_list": "SoftmaxV2",
            "white_list": "Add,Mul",
            "black_list_remove": "Relu",
            "white_list_remove": "Sub",
            "customize_dtypes": dtypes,
            "out_nodes": "y,sum",
            "output_types": {"y": "FP16"},
            "output_hw_layout": "sum_0",
            "input_fp16_nodes": "image",
            "input_hw_layout": "image",
            "graph_fusion": "ALL:off,SoftmaxFusionPass:on",
            "ub_fusion": "ALL:off",
            "optimization_switch": "SomePass:off",
            "core_type": "AiCore",
            "aicore_num": "24|48",
            "buffer_optimize": "off_optimize",
            "op_select_implmode": "high_performance",
            "optypelist_for_implmode": "Conv2D,MatMulV2",
            "op_compiler_cache_mode": "force",
            "op_debug_level": 1,
            "external_weight": 1,
            "jit_compile": 0,
            "sparsity": 1,
            "enable_small_channel": True,
            "first_layer_quantization": True,
            "calibration_data": data,
            "extra": "--deterministic=1,--debug_dir=debug",
        },
    )
    conformance.check(made)
    flags = conformance.flags_in(made.file("build.sh"))
    assert set(conformance.FLAGS) - set(flags) == {
        "dynamic_batch_size", "dynamic_image_size", "dynamic_dims", "insert_op_conf", "precision_mode_v2",
    }  # fmt: skip
    assert len(made.manifest["ascend"]["uncertain"]) == 2
