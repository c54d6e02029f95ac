"""`parse(print(m))` equals `m`, and prints as the same text."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.text.generated import EXTENTS, FLOATS, LAYOUTS, NAMES, TYPES, modules, raw_bytes
from tests.text.toys import TOYS, Choose, Mix, Pair, Sink, Twice
from uair.context import Context
from uair.errors import ArityError, TypeMismatch, UairError, VerificationError
from uair.ir import (
    ArrayData,
    Data,
    DType,
    Graph,
    Layout,
    Location,
    Module,
    Node,
    SplatData,
    Tensor,
    TensorType,
    constant,
)
from uair.ir.compare import difference
from uair.ir.data import unpack_bytes
from uair.ir.verify import verify
from uair.text import parse_module, parse_type, print_graph, print_module, print_node, type_text, weights_of
from uair.text.names import quote, unquote
from uair.text.spelling import element_text, float_from_text, float_text

F32 = TensorType(DType.F32, (2,))
MANY = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])


def check(module: Module, context: Context = TOYS) -> Module:
    """Print, read, compare, print again."""
    text = print_module(module)
    text.encode()
    again = parse_module(text, context=context, weights=weights_of(module))
    assert difference(module, again) == ""
    assert print_module(again) == text
    return again


def single(tensor: Tensor) -> Module:
    graph = Graph()
    graph.add_output("y", tensor)
    return Module("m", {"main": graph})


@given(modules(list(TOYS.operators.values())))
@settings(MANY, max_examples=150)
def test_any_module(module: Module) -> None:
    check(module)


@given(modules(list(Context.default().operators.values())))
@settings(MANY, max_examples=80)
def test_any_module_over_the_canonical_operators(module: Module) -> None:
    check(module, Context.default())


@given(st.one_of(TYPES, st.builds(TensorType, st.just(DType.F32), st.tuples(EXTENTS), LAYOUTS)))
@settings(MANY, max_examples=200)
def test_any_type(t: TensorType) -> None:
    assert parse_type(type_text(t)) == t


@given(st.one_of(NAMES, st.text()))
@settings(MANY)
def test_any_string(text: str) -> None:
    quoted = quote(text)
    assert unquote(quoted) == text
    assert "\n" not in quoted
    quoted.encode()


@given(FLOATS)
@settings(MANY)
def test_any_double(value: float) -> None:
    text = float_text(value, DType.F64)
    assert float_from_text(text, DType.F64).tobytes() == np.float64(value).tobytes()


@pytest.mark.parametrize("dtype", [d for d in DType if d.is_float and d.bits <= 16], ids=str)
def test_every_value_of_a_narrow_float(dtype: DType) -> None:
    codes = np.arange(1 << dtype.bits, dtype=np.uint8 if dtype.bits <= 8 else np.uint16)
    if dtype.bits == 16:
        codes = codes[::37]
    values = codes.view(dtype.numpy)
    for value in values:
        text = float_text(value, dtype)
        assert float_from_text(text, dtype).tobytes() == value.tobytes(), text


@given(st.sampled_from([DType.F32, DType.BF16, DType.C64]), st.data())
@settings(MANY)
def test_any_bits_of_a_float(dtype: DType, data: st.DataObject) -> None:
    value = unpack_bytes(data.draw(raw_bytes(dtype.bits // 8, dtype)), dtype, ())
    check(single(Tensor(TensorType(dtype, ()), "c", ArrayData(value, dtype))))


@pytest.mark.parametrize(
    ("value", "dtype", "text"),
    [
        (0.1, DType.F32, "0.1"),
        (1.0, DType.F32, "1.0"),
        (-0.0, DType.F32, "-0.0"),
        (1e-5, DType.F32, "1e-05"),
        (16777216.0, DType.F32, "16777216.0"),
        (float("inf"), DType.F16, "inf"),
        (float("nan"), DType.BF16, "nan"),
        (0.1, DType.BF16, "0.1"),
        (448.0, DType.F8E4M3, "448.0"),
        (0.1, DType.F64, "0.1"),
        (True, DType.BOOL, "true"),
        (-8, DType.I4, "-8"),
        (2**64 - 1, DType.U64, "18446744073709551615"),
        (1 - 2j, DType.C64, "(1.0,-2.0)"),
        ('a"b', DType.STRING, '"a\\"b"'),
    ],
)
def test_spelling_of_elements(value: Any, dtype: DType, text: str) -> None:
    assert element_text(np.asarray(value, dtype.numpy)[()], dtype) == text


def test_the_whole_form() -> None:
    text = """\
uair 1
module @net {format = "onnx", file = "net.onnx", producer = "pytorch 2.13"} {
  version "ai.onnx" = "17"
  metadata "author" = "a \\"b\\""
  applied "fuse" changed
  applied "quantize-int8{per-channel=false}" unchanged
  constant @w = [1,-1] : i64[2]
  constant @0 = splat<0.5> : f32[3,3]
  constant @"a/b" = 2.5 : f16[]
  constant @w#1 = dense<sha256:HASH> : i8[256]
  graph @main(%x: f32[N,3,floor(N/2)+1], "in" = %y: u8[*]) -> ("out" = %a: f32[N], @w#1: i8[256], %y: u8[*]) {
    %a = Mix(%x, none, @w) {ratio = -0.0, axes = [1,2], to = bf16} : f32[N] loc("c" Conv, "bn" in "m.py:3" by fold-bn)
    %b, %b#1 = Pair(%a, %x, @0) : f32[4; NHWC], f32[4; NC1HWC0<16>] name("pair")
    Sink(@"a/b")
    %"b#1" = Twice(%b#1) : f32[*; plain(align=32)] loc(by make-up)
  }
}
"""
    data = ArrayData(np.arange(256).astype(np.int8))
    text = text.replace("HASH", data.sha256)
    module = parse_module(text, context=TOYS, weights={data.sha256: data})
    assert print_module(module) == text
    assert print_module(check(module)) == print_module(module)
    node = next(iter(module.main))
    assert node.name == "c"
    assert str(node.loc) == "Conv 'c', 'bn' (by fold-bn)"
    assert module.main.outputs[1].is_constant


def test_names() -> None:
    graph = Graph()
    hints = ["x", "", "x", "x#1", "", "0", "a b", "a b", "a.b", "none", '"', "\ud800", "x#1"]
    for i, hint in enumerate(hints):
        graph.add_input(f"i{i}", F32).name = hint
    for tensor in graph.inputs:
        graph.add_output(tensor.name, tensor)
    again = check(Module("", {"": graph}))
    assert [t.name for t in again.graphs[""].inputs] == hints
    head = print_graph(graph).split("\n")[0]
    for name in (
        "%x:",
        "%0:",
        "%x#1:",
        '%"x#1":',
        "%1:",
        '%"0":',
        '%"a b":',
        '%"a b"#1:',
        "%a.b:",
        "%none:",
        '%"\\u{d800}":',
        '%"x#1"#1:',
    ):
        assert head.split(" -> ")[0].count(f"= {name}") == 1, name


def test_needless_quotes_name_the_same_value() -> None:
    module = parse_module('%"x": f32[2]\n%y = Twice(%x)\nreturn %"y"', context=TOYS)
    assert module.main.outputs[0].producer is next(iter(module.main))


def test_outputs_of_every_kind() -> None:
    graph = Graph()
    x = graph.add_input("x", F32)
    y = graph.append(Twice().node(x)).output
    c = constant(np.array([1, 2], np.float32), "c")
    for i, tensor in enumerate((y, y, x, c, c)):
        graph.add_output(f"o{i}", tensor)
    again = check(Module("m", {"main": graph})).main
    assert again.outputs[0] is again.outputs[1]
    assert again.outputs[2] is again.inputs[0]
    assert again.outputs[3] is again.outputs[4]
    assert again.outputs[3].is_constant


def test_a_constant_of_two_graphs_stays_one() -> None:
    c = constant(np.array([1, 2], np.float32), "c")
    module = Module("m")
    for name in ("main", "other"):
        module.graphs[name] = graph = Graph(name)
        graph.append(Pair().node(c, c))
    again = check(module)
    assert again.main.constants() == again.graphs["other"].constants()


def test_nested_graphs_capture_values() -> None:
    graph = Graph()
    x = graph.add_input("x", F32)
    inner = Graph("yes")
    p = inner.add_input("p", F32)
    inner.add_output("r", inner.append(Mix().node(p, x)).output)
    deeper = Graph("no")
    deeper.add_output("r", deeper.append(Choose(then_branch=inner).node(x)).output)
    y = graph.append(Choose(else_branch=deeper).node(x, name="if")).output
    graph.add_output("y", y)
    module = Module("m", {"main": graph})
    verify(module)
    again = check(module)
    verify(again)
    assert "else_branch = @no() -> (" in print_module(module)


@pytest.mark.parametrize(
    "data",
    [
        SplatData(0.5, DType.F32, (3, 5)),
        SplatData(0.5, DType.F32, ()),
        SplatData(1, DType.I4, (2,)),
        SplatData(0.0, DType.F32, (1 << 30, 1 << 8)),
        ArrayData(np.zeros(1000, np.float32)),
        ArrayData(np.full(100_000, np.nan, np.float32)),
        ArrayData(np.arange(32)),
        ArrayData(np.arange(33)),
        ArrayData(np.array(["a", "", 'ä"\n'] * 40, dtype=object)),
        ArrayData(np.zeros((0, 3), np.uint8)),
        ArrayData(np.arange(40, dtype=np.int8).astype(DType.U4.numpy)),
    ],
    ids=repr,
)
def test_constants(data: Data) -> None:
    check(single(constant(data, "c")))


def test_form_of_a_constant_follows_its_value() -> None:
    def form(data: Data) -> str:
        return print_module(single(constant(data))).split(" = ")[1].split(" : ")[0]

    assert form(ArrayData(np.zeros(5, np.int8))) == form(SplatData(0, DType.I8, (5,))) == "splat<0>"
    assert form(ArrayData(np.zeros(2, np.int8))) == form(SplatData(0, DType.I8, (2,))) == "[0,0]"
    assert form(ArrayData(np.arange(32, dtype=np.int8))).startswith("[0,1,2")
    assert form(ArrayData(np.arange(33, dtype=np.int8))).startswith("dense<sha256:")


def test_equal_constants_share_the_sidecar_entry_but_stay_two() -> None:
    values = np.arange(64, dtype=np.float32)
    graph = Graph()
    graph.append(Pair().node(constant(values), constant(values.reshape(8, 8))))
    module = Module("m", {"main": graph})
    assert len(weights_of(module)) == 1
    assert len(check(module).main.constants()) == 2


def test_default_attributes_are_not_printed_but_negative_zero_is() -> None:
    x = Tensor(F32, "x")
    assert print_node(Node(Mix(), [x])) == "%0 = Mix(outside(%x: f32[2])) : f32[2]"
    assert "{ratio = -0.0}" in print_node(Node(Mix(ratio=-0.0), [x]))
    assert "{limit = nan}" in print_node(Node(Mix(limit=float("nan")), [x]))
    assert "{}" not in print_node(Node(Mix(ratio=0.0, label="", axes=()), [x]))


def test_symbols_stay_the_same_size() -> None:
    module = parse_module("%x: f32[N, N//2+1]\n%y = Twice(%x)", context=TOYS)
    shape = module.main.inputs[0].type.dims
    assert module.main.outputs[0].type.dims == shape
    assert type_text(module.main.inputs[0].type) == "f32[N,floor(N/2)+1]"


# --------------------------------------------------------------- invalid modules
def invalid_later() -> Module:
    graph = Graph()
    x = graph.add_input("x", F32)
    late = Twice().node(x)
    graph.append(Twice().node(late.output, name="early"))
    graph.append(late)
    return Module("m", {"main": graph})


def invalid_foreign() -> Module:
    graph = Graph()
    stranger = Tensor(F32, "s")
    graph.append(Pair().node(stranger, stranger))
    graph.add_output("s", stranger)
    return Module("m", {"main": graph})


def invalid_type() -> Module:
    graph = Graph()
    graph.append(Node(Twice(), [graph.add_input("x", F32)], output_types=[F32.with_dtype(DType.I8)]))
    return Module("m", {"main": graph})


def invalid_arity() -> Module:
    graph = Graph()
    x = graph.add_input("x", F32)
    node = graph.append(Mix().node(x, x, x))
    for i in range(3):
        node.set_input(i, None)
    return Module("m", {"main": graph})


def invalid_result_count() -> Module:
    graph = Graph()
    graph.append(Node(Twice(), [graph.add_input("x", F32)], output_types=[F32, F32]))
    return Module("m", {"main": graph})


def invalid_constant() -> Module:
    graph = Graph()
    for data in (ArrayData(np.array([1, 2, 3], np.float32)), SplatData(1, DType.I8, (6,)), ArrayData(np.arange(99))):
        graph.append(Twice().node(Tensor(F32, "c", data)))
    return Module("m", {"main": graph})


def invalid_self() -> Module:
    graph = Graph()
    node = graph.append(Twice().node(graph.add_input("x", F32)))
    node.set_input(0, node.output)
    return Module("m", {"main": graph})


def invalid_use_of_an_inner_value() -> Module:
    graph = Graph()
    x = graph.add_input("x", F32)
    inner = Graph("then_branch")
    value = inner.append(Twice().node(x)).output
    graph.append(Choose(then_branch=inner).node(x))
    graph.append(Twice().node(value))
    return Module("m", {"main": graph})


@pytest.mark.parametrize(
    ("module", "error"),
    [
        (invalid_later(), VerificationError),
        (invalid_foreign(), VerificationError),
        (invalid_type(), TypeMismatch),
        (invalid_arity(), ArityError),
        (invalid_result_count(), TypeMismatch),
        (invalid_constant(), TypeMismatch),
        (invalid_self(), VerificationError),
        (invalid_use_of_an_inner_value(), VerificationError),
    ],
    ids=lambda v: v.__name__ if isinstance(v, type) else "",
)
def test_invalid_modules_too(module: Module, error: type[UairError]) -> None:
    with pytest.raises(error) as before:
        verify(module)
    again = check(module)
    with pytest.raises(error) as after:
        verify(again)
    assert after.value.message == before.value.message


def test_generic_form_is_read_without_inference() -> None:
    module = parse_module('%x: f32[2]\n%y, %z = "Twice"(%x, none, %x, none) : i8[3], f64[*]', context=TOYS)
    node = next(iter(module.main))
    assert [t and t.name for t in node.inputs] == ["x", None, "x", None]
    assert type(node.op) is Twice
    assert node.outputs[0].use_count == 1
    check(module)


def test_location_without_name_and_name_without_location() -> None:
    graph = Graph()
    x = graph.add_input("x", F32)
    graph.append(Node(Twice(), [x], name="", loc=Location.of("a", "Conv")))
    graph.append(Node(Twice(), [x], name="b"))
    graph.append(Node(Twice(), [x], name="c", loc=Location.of("c", "in", "by")))
    lines = print_graph(graph).split("\n")
    assert lines[1].endswith('loc("a" Conv) name("")')
    assert lines[2].endswith(' name("b")')
    assert lines[3].endswith('loc("c" "in" in "by")')
    check(Module("m", {"main": graph}))


def test_two_graphs_with_the_same_value_names() -> None:
    module = Module("m")
    for name in ("main", "b"):
        graph = module.graphs[name] = Graph(name)
        graph.append(Sink().node(graph.add_input("x", F32)))
    check(module)


def test_products_keep_their_sign() -> None:
    """As SymPy holds them: -1 times sums, which it multiplies into a sum that stands alone."""
    import sympy

    n, m = (sympy.Symbol(name, integer=True, nonnegative=True) for name in "NM")
    for factors in ((-1, n - 1, n + 1), (-3, n - 1, n + 1), (1 - n, n + 1), (-1, n - 1, m), (-1, n)):
        product: Any = sympy.Mul(*factors)
        t = TensorType(DType.F32, (product,))
        assert parse_type(type_text(t)) == t


def test_layout_of_a_scalar() -> None:
    assert parse_type("f32[; plain]") == TensorType(DType.F32, (), Layout.PLAIN)
