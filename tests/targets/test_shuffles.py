"""A shuffle of channels is found in every form that a rewrite leaves it in, and nothing else is taken for one."""

from __future__ import annotations

import pytest

from uair.passes.target_rewrites import TargetRewrites
from uair.pipeline import PassContext
from uair.targets import load_description
from uair.targets.steps import StepFinder, shuffled
from uair.text import parse_module

IMAGES = "%x: f32[1,12,5,7]  %i = Relu(%x)  "


def found(text: str) -> list[tuple[int, ...]]:
    module = parse_module(IMAGES + text)
    return [shape for node in module.main if (shape := shuffled(node)) is not None]


@pytest.mark.parametrize(
    ("split", "perm"),
    [
        ("[1,3,4,5,7]", "[0,2,1,3,4]"),
        ("[1,3,4,35]", "[0,2,1,3]"),
        ("[3,4,35]", "[1,0,2]"),
        ("[1,3,4,1,35]", "[0,2,1,3,4]"),
    ],
)
def test_channels_in_groups_are_shuffled(split: str, perm: str) -> None:
    text = f"%a = Reshape(%i) {{shape = {split}}}  %t = Transpose(%a) {{perm = {perm}}}  "
    assert found(text + "%y = Reshape(%t) {shape = [1,12,5,7]}") == [(1, 12, 5, 7)]


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("%t = Transpose(%i) {perm = [0,2,3,1]}", id="no-groups"),
        pytest.param("%a = Reshape(%i) {shape = [12,5,7]}  %t = Transpose(%a) {perm = [0,2,1]}  "
                     "%y = Reshape(%t) {shape = [1,12,5,7]}", id="the-image-s-axes"),
        pytest.param("%a = Reshape(%i) {shape = [1,6,2,35]}  %t = Transpose(%a) {perm = [0,2,1,3]}  "
                     "%y = Reshape(%t) {shape = [1,2,6,35]}", id="not-joined-again"),
        pytest.param("%a = Reshape(%i) {shape = [3,4,35]}  %t = Transpose(%a) {perm = [2,1,0]}  "
                     "%y = Reshape(%t) {shape = [1,12,5,7]}", id="turned-round"),
        pytest.param("%a = Reshape(%i) {shape = [12,5,7]}  %t = Transpose(%a) {perm = [1,0,2]}  "
                     "%y = Reshape(%t) {shape = [1,12,5,7]}", id="channels-and-rows"),
    ],
)  # fmt: skip
def test_other_exchanges_are_no_shuffles(text: str) -> None:
    assert found(text) == []


def test_the_rewritten_shuffle_costs_what_the_compiler_makes_of_it() -> None:
    """rknn-toolkit2 computes a shuffle as a dense convolution of 1 by 1, also behind the rewrite to few axes."""
    text = "%a = Reshape(%i) {shape = [1,3,4,5,7]}  %t = Transpose(%a) {perm = [0,2,1,3,4]}  "
    module = parse_module(IMAGES + text + "%y = Reshape(%t) {shape = [1,12,5,7]}")
    assert TargetRewrites(target="rk3588").run(module, PassContext())
    (node,) = (n for n in module.main if n.op_type == "Transpose")
    assert len(node.outputs[0].type.dims) < 5
    (step,) = StepFinder(load_description("rk3588")).of_graph(module.main)[node]
    assert step.work is not None
    assert (step.work.inputs, step.work.outputs, step.work.taps, step.work.rows) == (12, 12, 1, 35)
