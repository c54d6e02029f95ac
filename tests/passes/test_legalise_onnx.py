from __future__ import annotations

import pytest

from uair.ir import DType, Graph, Location, Module, Node, TensorType
from uair.ir.dims import symbol
from uair.ir.verify import verify
from uair.ops.activation import HardSwish, Mish, Relu
from uair.ops.elementwise import Mul
from uair.ops.image import DecodeImage
from uair.passes.legalise_onnx import LegaliseOnnx, NotLegalisable
from uair.pipeline import PassContext, PassManager
from uair.rewrite import Fuel


def chain(*ops: object) -> Module:
    graph = Graph()
    tensor = graph.add_input("x", TensorType(DType.F32, (2, 3)))
    for i, op in enumerate(ops):
        node = Node(op, [tensor], name=f"n{i}", loc=Location.of(f"n{i}", "Source"))  # type: ignore[arg-type]
        tensor = graph.append(node).output
    graph.add_output("y", tensor)
    return Module("m", {"main": graph})


def kinds(module: Module) -> list[str]:
    return [n.op_type for n in module.main]


def test_only_what_the_opset_lacks_is_decomposed() -> None:
    module = chain(Relu(), HardSwish(), Mish())
    for opset, expected in (
        (18, ["Relu", "HardSwish", "Mish"]),
        (17, ["Relu", "HardSwish", "Softplus", "Tanh", "Mul"]),
        (13, ["Relu", "HardSigmoid", "Mul", "Softplus", "Tanh", "Mul"]),
    ):
        changed = LegaliseOnnx(opset=opset).run(module, PassContext())
        assert changed == (opset != 18)
        assert kinds(module) == expected
        verify(module)


def test_new_nodes_know_where_they_come_from() -> None:
    module = chain(HardSwish())
    LegaliseOnnx(opset=11).run(module, PassContext())
    for node in module.main:
        assert [s.name for s in node.loc.sources] == ["n0"]
        assert node.loc.by == ("legalise-onnx",)
    *_, last = module.main
    assert isinstance(last.op, Mul) and last.name == "n0"


def test_what_cannot_be_expressed_is_an_error_with_the_next_step() -> None:
    graph = Graph()
    data = graph.add_input("data", TensorType(DType.U8, (symbol("n"),)))
    node = Node(DecodeImage(), [data], name="photo", loc=Location.of("photo", "ImageDecoder"))
    graph.add_output("y", graph.append(node).output)
    module = Module("m", {"main": graph})
    with pytest.raises(NotLegalisable, match="from opset 20 on") as caught:
        PassManager([LegaliseOnnx(opset=13)]).run(module)
    assert caught.value.code == "UAIR-E0511"
    assert "'photo'" in caught.value.place
    assert "later opset" in caught.value.hint
    assert kinds(module) == ["DecodeImage"]


def test_a_vendor_may_refuse_more() -> None:
    def reason(node: Node, opset: int) -> str:
        return "the device has none" if isinstance(node.op, HardSwish) and opset == 17 else ""

    module = chain(HardSwish())
    LegaliseOnnx(opset=17, unsupported=reason).run(module, PassContext())
    assert kinds(module) == ["HardSigmoid", "Mul"]
    assert LegaliseOnnx(opset=17, unsupported=reason).spec == "legalise-onnx"
    assert LegaliseOnnx(opset=11).spec == "legalise-onnx{opset=11}"


def test_every_decomposition_draws_fuel() -> None:
    module = chain(HardSwish(), HardSwish())
    context = PassContext(fuel=Fuel(limit=1))
    assert LegaliseOnnx(opset=11).run(module, context)
    assert kinds(module) == ["HardSigmoid", "Mul", "HardSwish"]
    assert context.statistics.applied == {"legalise-onnx:HardSwish": 1}
