"""The rewrites of rk3588's device file in the compiler's own table: on the CPU before, on the NPU after."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import uair
from tests.vendor import rknn
from uair.codegen.rockchip.target import RockchipTarget
from uair.context import Context
from uair.passes import rewrites
from uair.targets.target import Target
from uair.text import parse_module

pytestmark = pytest.mark.vendor
CASES = {
    "minimum-by-maximum": ("16,16,16", "%s = Sigmoid(%x)  %y = Minimum(%x, %s)", {"Min"}),
    "reciprocal-by-power": ("16,16,16", "%m = Mul(%x, %x)  %n = Add(%m, @one)  %y = Reciprocal(%n)", {"Div"}),
    "rsqrt-by-power": ("16,16,16", "%m = Mul(%x, %x)  %n = Add(%m, @one)  %y = Rsqrt(%n)", {"Div"}),
    "tile-by-concat": ("16,16,16", "%y = Tile(%x) {repeats = [1,2,1,2]}", {"Tile"}),
    "slice-by-convolution": (
        "16,16,16", "%y = Slice(%x) {axes = [2,3], starts = [0,1], ends = [16,16], steps = [2,2]}", {"Slice"},
    ),
    "flip-by-gather": ("16,16,16", "%y = Flip(%x) {axes = [1,2]}", {"ReverseSequence", "Slice"}),
    "trilu-by-mask": ("16,16,16", "%y = Trilu(%x)", {"Trilu"}),
    "space-to-depth-by-convolution": ("16,16,16", "%y = SpaceToDepth(%x) {block = 2}", {"SpaceToDepth", "Transpose"}),
    "transpose-of-few-axes": (
        "16,16,16", "%r = Reshape(%x) {shape = [4,2,2,16,16]}  %t = Transpose(%r) {perm = [0,3,1,4,2]}"
        "  %y = Reshape(%t) {shape = [1,4,32,32]}", {"Transpose"},
    ),
    "reduce-max-by-pool": ("16,16,16", "%y = ReduceMax(%x) {axes = [2,3]}", {"ReduceMax"}),
    "avg-pool-by-convolution": ("16,16,16", "%y = AvgPool2D(%x) {kernel = [3,3], pads = [1,1,1,1]}", {"AveragePool"}),
    "lrn-by-convolution": ("16,16,16", "%y = LRN(%x) {size = 5, alpha = 0.01}", {"LRN"}),
    "resize-by-products": (
        "16,16,16", '%y = Resize(%x) {scales = [1.0,1.0,1.5,1.5], mode = "linear"}', {"Resize"},
    ),
}  # fmt: skip
"""By rewrite: extents of x behind the batch, the operator between two convolutions, what runs on the CPU before."""


def test_every_rewrite_of_the_device_file_is_measured() -> None:
    assert set(CASES) == Context.default().target("rk3588").description.rewrites


def module_of(shape: str, text: str) -> uair.Module:
    """The operator behind a convolution, in front of an activation."""
    channels = int(shape.split(",", maxsplit=1)[0])
    rng = np.random.default_rng(0)
    values = ",".join(repr(float(v)) for v in (rng.standard_normal(channels**2) * 0.25).astype(np.float32))
    return parse_module(
        f"constant @one = 0.5 : f32[]  constant @w = [{values}] : f32[{channels},{channels},1,1]  "
        f"%in: f32[1,{shape}]  %x = Conv2D(%in, @w)  {text}  %z = LeakyRelu(%y) {{alpha = 0.1}}  return %z"
    )


def built(shape: str, text: str, folder: Path) -> rknn.Build:
    feeds = {"in": np.random.default_rng(1).standard_normal([1, *map(int, shape.split(","))]).astype(np.float32)}
    artifact = uair.compile(module_of(shape, text), "rk3588", output=folder / "artifact", golden=feeds)
    return rknn.build(artifact, folder / "build")


@pytest.mark.parametrize("name", CASES)
def test_moves_the_work_to_the_npu(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shape, text, on_cpu = CASES[name]
    (tmp_path / "after").mkdir()
    after = built(shape, text, tmp_path / "after")
    assert after.cosine is not None and after.cosine > 0.9999
    assert not set(after.layers["cpu"]) - {"Reshape"}, after.layers["cpu"]
    assert rewrites.rule(name).name
    (tmp_path / "before").mkdir()
    monkeypatch.setattr(Target, "rewrite_for", lambda self, node: "")
    monkeypatch.setattr(RockchipTarget, "rewrite_for", lambda self, node: "")
    before = built(shape, text, tmp_path / "before")
    assert set(before.layers["cpu"]) & on_cpu, before.layers
