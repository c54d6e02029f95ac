"""The table of source operators: what the tool reads out of a handler's code."""

from __future__ import annotations

from typing import Any

from tools.source_operators import emitted
from uair.frontends.common.table import joined
from uair.frontends.tflite.handlers import FAMILIES
from uair.ops import Add, Cast, Relu, Reshape


def adapting(n: Any) -> Any:
    return n(Relu(), n(Reshape(shape=(-1,)), n.cast(n[0])))


def casting(n: Any) -> Any:
    return n(Cast(to=n.wanted), _helper(n))


def by_method(n: Any) -> Any:
    return n.cast(n[0], n.wanted)


def _helper(n: Any) -> Any:
    return n(Add(), n[0], n[1])


def test_what_only_adapts_operands_is_left_out_beside_others() -> None:
    assert emitted(adapting) == ["Relu"]


def test_a_conversion_is_named() -> None:
    assert emitted(casting) == ["Cast"]  # helpers outside of the handlers' modules are not followed
    assert emitted(by_method) == ["Cast"]


def test_a_conversion_is_named_beside_what_its_helpers_emit() -> None:
    for name in ("CAST", "STABLEHLO_CONVERT"):
        assert emitted(joined(FAMILIES)[name]) == ["Cast", "Slice", "Squeeze"]
