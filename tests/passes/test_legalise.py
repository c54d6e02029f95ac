"""Legalisation for a target, as a step of a pipeline."""

from __future__ import annotations

import pytest

from uair.context import Context
from uair.errors import UnknownNameError
from uair.pipeline import PassContext, PassManager
from uair.pipeline_syntax import parse_pipeline
from uair.text import parse_module


def test_legalise_decomposes_what_the_target_lacks() -> None:
    module = parse_module("%x: f32[1,8,4,4]  %y = HardSwish(%x)")
    PassManager(parse_pipeline("legalise{target=ascend310}", Context.default())).run(module)
    operators = [node.op_type for node in module.main]
    assert "HardSwish" not in operators
    assert operators.count("Mul") >= 1
    assert [step.spec for step in module.applied] == ["legalise{target=ascend310}"]


def test_legalise_keeps_what_the_target_has() -> None:
    module = parse_module("%x: f32[1,8,4,4]  %y = HardSwish(%x)")
    PassManager(parse_pipeline("legalise{target=cpu}", Context.default())).run(module)
    assert [node.op_type for node in module.main] == ["HardSwish"]


UNKNOWN = [("legalise", "needs a target"), ("legalise{target=ascend31}", "ascend310")]


@pytest.mark.parametrize(("text", "words"), UNKNOWN)
def test_the_target_must_be_known(text: str, words: str) -> None:
    (pass_,) = parse_pipeline(text, Context.default())
    with pytest.raises(UnknownNameError, match=words):
        pass_.run(parse_module("%x: f32[4]  %y = Relu(%x)"), PassContext())
