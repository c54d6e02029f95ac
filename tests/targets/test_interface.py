"""Limits of inputs and outputs, and conditions on all operators."""

from __future__ import annotations

from pathlib import Path

import attrs
import pytest

from tests.driver.helpers import NPU
from tests.targets.helpers import make, tensor
from uair.ir.dtype import DType
from uair.ir.graph import Graph
from uair.ir.module import Module
from uair.ir.types import TensorType
from uair.ops import Add, Conv2D, Expand, Relu, Tile
from uair.targets import Confidence, Support, Target, check_module, load_description
from uair.targets.constraint import parse_constraint
from uair.targets.errors import ConstraintTypeError
from uair.targets.interface import Interface
from uair.text import parse_type

LIMITS = Interface(input_rank=4, batch=1, input_dtypes=(DType.F32,), max_outputs=2)
MORE = """
[interface]
input_rank = 4
batch = 1
input_dtypes = ["f32"]
max_outputs = 2
source = "manual"

[[general]]
require = "max_extent <= 100"
otherwise = "partial"
reason = "longer rows run on the CPU"
"""


def target(folder: Path) -> Target:
    file = folder / "toynpu.toml"
    text = NPU.format(name="toynpu", form="qdq", operators='"Relu", "Conv2D"')
    file.write_text(text.replace("[[operator]]", f"{MORE}\n[[operator]]", 1))
    return Target("toynpu", file=file)


@pytest.mark.parametrize(
    ("given", "taken"),
    [
        ("f32[1,3,8,8]", "f32[1,3,8,8]"),
        ("f32[7]", "f32[1,1,1,7]"),
        ("f32[4,7]", "f32[1,1,4,7]"),
        ("f32[2,4,7]", "f32[1,2,4,7]"),
        ("f32[2,3,8,9]", "f32[1,6,8,9]"),
        ("f32[1,2,3,8,9]", "f32[1,6,8,9]"),
        ("f32[]", "f32[1,1,1,1]"),
        ("i64[1,64]", "f32[1,1,1,64]"),
    ],
)
def test_the_type_that_is_given_to_the_vendor(given: str, taken: str) -> None:
    assert LIMITS.input_type(parse_type(given)) == parse_type(taken)
    assert Interface().input_type(parse_type(given)) == parse_type(given)


def test_other_element_types_stay_where_f32_is_not_listed() -> None:
    assert Interface(input_dtypes=(DType.F16,)).input_type(TensorType(DType.I64, (1,))).dtype is DType.I64


def graph(types: dict[str, str], outputs: int = 1) -> Module:
    built = Graph("main")
    for name, type_ in types.items():
        built.add_input(name, parse_type(type_))
    for i in range(outputs):
        built.add_output(f"y{i}", built.append(Relu().node(built.inputs[0])).output)
    return Module("m", {"main": built})


def test_the_report_names_what_is_changed_and_what_does_not_fit(tmp_path: Path) -> None:
    toy = target(tmp_path)
    report = check_module(graph({"x": "f32[4,8]", "ids": "i64[1,8]", "image": "f32[1,3,8,8]"}, 3), toy)
    rows = {row.name: row.verdict for row in report.interface}
    assert list(rows) == ["x", "ids", "outputs"]
    assert rows["x"].through == ("reshape the input from [1, 1, 4, 8]",)
    assert rows["ids"].through == ("cast the input from f32", "reshape the input from [1, 1, 1, 8]")
    assert rows["outputs"].support is Support.UNSUPPORTED
    assert "3 outputs are more than the 2" in rows["outputs"].reason
    assert str(rows["outputs"].source) == "Toy NPU manual"
    assert report.verdict is Support.UNSUPPORTED
    assert [entry["name"] for entry in report.to_json()["interface"]] == list(rows)
    fits = check_module(graph({"x": "f32[1,3,8,8]"}), toy)
    assert fits.interface == () and fits.verdict is Support.SUPPORTED
    double = check_module(graph({"x": "f16[1,3,8,8]"}), toy).interface
    assert double[0].verdict.support is Support.UNSUPPORTED and "this one is f16" in double[0].verdict.reason
    assert check_module(graph({"x": "f32[n,3,8,8]"}), toy).interface == ()


def test_a_general_condition_holds_for_every_supported_operator(tmp_path: Path) -> None:
    toy = target(tmp_path)
    for node in (make(Relu(), "f32[1,101]"), make(Conv2D(), "f32[1,3,8,101]", "=f32[4,3,3,3]")):
        verdict = toy.verdict(node)
        assert (verdict.support, verdict.clause) == (Support.PARTIAL, "max_extent <= 100")
        assert verdict.confidence is Confidence.DOCUMENTED and "longer rows" in verdict.reason
    assert toy.verdict(make(Relu(), "f32[1,100]")).support is Support.SUPPORTED
    assert load_description(tmp_path / "toynpu.toml").general[0].require == "max_extent <= 100"


def test_a_general_condition_speaks_of_all_operators(tmp_path: Path) -> None:
    file = tmp_path / "toynpu.toml"
    text = NPU.format(name="toynpu", form="qdq", operators='"Relu"') + '[[general]]\nrequire = "groups == 1"\n'
    file.write_text(text)
    with pytest.raises(ConstraintTypeError) as caught:
        load_description(file)
    assert "toynpu.toml" in caught.value.place


def truth(text: str, node: object) -> bool | None:
    from uair.ir.graph import Node

    assert isinstance(node, Node)
    return parse_constraint(text).check(type(node.op)).evaluate(node).truth


def test_names_over_all_operands_and_results() -> None:
    conv = make(Conv2D(), "f32[2,3,8,101]", "=f32[400,3,3,3]")
    assert truth("max_batch == 2 and max_extent == 400 and max_elements == 2 * 400 * 6 * 99", conv)
    assert truth("max_batch == 0", make(Relu(), "f32[9]"))
    assert truth("max_extent <= 8", make(Relu(), "f32[n,4]")) is None
    assert truth("max_elements <= 8", make(Relu(), "f32[n,4]")) is None
    assert truth("max_elements == 1 and max_extent == 0", make(Relu(), "f32[]"))


def test_axes_that_are_repeated() -> None:
    assert truth("repeated_axes == 2", make(Expand(shape=(2, 3, 4)), "f32[3,1]"))
    assert truth("repeated_axes == 0", make(Expand(shape=(2, 3)), "f32[2,3]"))
    assert truth("repeated_axes == 1", make(Tile(repeats=(1, 2)), "f32[2,3]"))
    assert truth("repeated_axes == 1", make(Expand(shape=(2, 3)), "f32[n,3]")) is None


def test_users_of_a_result() -> None:
    built = Graph("main")
    x = built.add_input("x", parse_type("f32[1,3,8,8]"))
    conv = built.append(Conv2D().node(x, tensor("=f32[4,3,3,3]")))
    add = built.append(Add().node(conv.output, conv.output))
    built.add_output("y", add.output)
    assert truth('users == ["Add"] and "Relu" not in users', conv)
    assert truth("users == []", add)
    assert attrs.evolve(LIMITS, batch=0).input_type(parse_type("f32[2,3,8,8]")) == parse_type("f32[2,3,8,8]")
