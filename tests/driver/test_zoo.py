"""Real models for every target, in the target's arithmetic, whole and in parts, against the float reference."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

import pytest

import uair
from tests import zoo
from uair.api import compare
from uair.builtin import TARGETS
from uair.codegen.reference import Interpreter
from uair.context import Context
from uair.ir.dtype import DType
from uair.passes.bind_shapes import bind_shapes

CLOSE = {DType.F16: 0.9995, DType.BF16: 0.99, DType.F32: 0.999999}
"""Least cosine by the type that a target holds floats in; of an integer device the float module is run."""
EVERYWHERE = ("ppocr_cls", "magika")
"""Models of a blink: an image classifier, and a classifier of bytes with normalisations that overflow in float16."""


@functools.cache
def reference(name: str) -> tuple[uair.Module, Mapping[str, Any], Mapping[str, Any]]:
    """A model with its sizes bound, an input, and its output."""
    model = zoo.models()[name]
    module = uair.load(model.path)
    bind_shapes(module, dict(model.shapes))
    feeds = model.feeds(0)
    return module, feeds, Interpreter(module).run(feeds)


def least(target: str) -> float:
    dtype = Context.default().target(target).description.dtypes.float
    return CLOSE.get(dtype, CLOSE[DType.F32])


def require_close(artifact: uair.Artifact, name: str, target: str, arithmetic: Any) -> None:
    """The artifact's outputs are the reference's."""
    _, feeds, want = reference(name)
    got = uair.run(artifact, feeds, arithmetic=arithmetic)
    for output, array in want.items():
        cosine = compare(array, got[output])["cosine"]
        assert cosine is not None and cosine >= least(target), (output, cosine)


@pytest.mark.parametrize("target", sorted(TARGETS))
@pytest.mark.parametrize("name", EVERYWHERE)
def test_the_targets_arithmetic_stays_close(name: str, target: str) -> None:
    artifact = uair.compile(reference(name)[0], target, golden=False)
    require_close(artifact, name, target, "device")


@pytest.mark.parametrize("target", [t for t in sorted(TARGETS) if Context.default().target(t).fallback])
def test_in_parts(target: str) -> None:
    """With a convolution in the middle on the CPU: parts on the device before and behind it."""
    module, _, _ = reference("ppocr_cls")
    convolutions = [node for node in module.main if node.op_type == "Conv2D"]
    (source, *_) = convolutions[len(convolutions) // 2].loc.sources
    artifact = uair.compile(module, target, pins={source.name: "cpu"}, min_island=1, golden=False)
    parts = artifact.manifest["partitions"]
    assert {part["target"] for part in parts} == {target, "cpu"} and len(parts) >= 3
    for part in parts:
        assert f"{part['folder']}/manifest.json" in artifact.manifest["files"]
    require_close(artifact, "ppocr_cls", target, "device")
    require_close(artifact, "ppocr_cls", target, None)


@pytest.mark.parametrize("target", ["ascend310", "jetson_orin"])
def test_logarithms_of_quiet_sounds_are_finite(target: str) -> None:
    """basic_pitch takes the logarithm of 1e-10, which float16 does not hold."""
    artifact = uair.compile(reference("basic_pitch")[0], target, golden=False)
    require_close(artifact, "basic_pitch", target, "device")
