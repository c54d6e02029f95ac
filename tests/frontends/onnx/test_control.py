"""If, Loop, Scan: imported, interpreted, optimized and written, as onnxruntime runs the model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
import onnx.parser
import pytest

import uair
from tests.codegen.onnx.running import run as run_bytes
from tests.frontends.onnx.models import floats, imported, interpreted, onnxruntime_outputs
from uair.codegen.onnx import model_bytes
from uair.frontends.onnx.errors import OnnxAttributeError, OnnxDuplicateError
from uair.ir.dtype import Array

HEADER = '<ir_version: 10, opset_import: ["" : 17, "my" : 1]>\n'
TRUE = "go = Constant <value = bool {1}> ()"
ROW = np.arange(-1, 2, dtype=np.float32)
TABLE = floats(3, 2)


def parsed(text: str) -> onnx.ModelProto:
    return onnx.parser.parse_model(HEADER + text)


def number(value: int) -> Array:
    return np.array(value, np.int64)


def truth(value: int) -> Array:
    return np.array(bool(value))


def check(text: str, *runs: Mapping[str, Array]) -> onnx.ModelProto:
    """The model, the optimized one, and what is written of both give what onnxruntime gives."""
    proto = parsed(text)
    modules = [imported(proto), imported(proto)]
    uair.optimize(modules[1])
    for feeds in runs:
        want = onnxruntime_outputs(proto, feeds)
        for module in modules:
            same(interpreted(module, feeds), want)
            for opset in (13, 21):
                written = run_bytes(model_bytes(module, opset=opset), feeds)
                same([written[value.name] for value in proto.graph.output], want)
    return proto


def same(got: list[Array], want: list[Array]) -> None:
    assert [(a.dtype, a.shape) for a in got] == [(a.dtype, a.shape) for a in want]
    for mine, theirs in zip(got, want, strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-5, atol=1e-6)


def test_branches_within_branches_capture_values_around_them() -> None:
    check(
        """g (bool c, bool d, float[N] x) => (float[M] y) {
            two = Constant <value = float {2}> ()
            z = Mul(x, two)
            y = If(c) <
                then_branch = t () => (float[K] a) {
                    a = If(d) <
                        then_branch = tt () => (float[K] b) { b = Add(z, x) },
                        else_branch = te () => (float[K] b) { b = Concat <axis = 0> (z, x) }
                    >
                },
                else_branch = e () => (float[K] z2) { z2 = Neg(z) }
            >
        }""",
        *({"c": truth(c), "d": truth(d), "x": ROW} for c in (0, 1) for d in (0, 1)),
    )


def test_a_branch_may_give_what_it_stores() -> None:
    check(
        """g (bool c, float[N] x) => (float[M] y) {
            y = If(c) <
                then_branch = t () => (float[2] a) <float[2] a = {1, 2}> { },
                else_branch = e () => (float[N] b) { b = Neg(x) }
            >
        }""",
        *({"c": truth(c), "x": ROW} for c in (0, 1)),
    )


def test_branches_that_name_their_values_alike() -> None:
    branch = "=> (float[N] a) {{ q = {}(x) a = Neg(q) }}"
    nodes = [
        f"{y} = If(c) <then_branch = t () {branch.format(f)}, else_branch = e () {branch.format(g)}>"
        for y, f, g in (("y", "Abs", "Exp"), ("z", "Cos", "Relu"))
    ]
    text = f"g (bool c, float[N] x) => (float[N] y, float[N] z) {{ {' '.join(nodes)} }}"
    check(text, *({"c": truth(c), "x": ROW} for c in (0, 1)))


def test_a_state_that_grows_and_branches_of_different_shapes() -> None:
    check(
        f"""g (float[N] x, int64 n) => (float[M] y, float[R] s) {{
            {TRUE}
            y, s = Loop(n, go, x) <
                body = b (int64 i, bool g, float[K] state) => (bool again, float[L] next, float sum) {{
                    again = Identity(g)
                    two = Constant <value = int64 {{2}}> ()
                    rest = Mod(i, two)
                    odd = Cast <to = 9> (rest)
                    next = If(odd) <
                        then_branch = t () => (float[Q] r) {{ r = Concat <axis = 0> (state, x) }},
                        else_branch = e () => (float[Q] r) {{ r = Neg(state) }}
                    >
                    sum = ReduceSum <keepdims = 0> (next)
                }}
            >
        }}""",
        *({"x": ROW, "n": number(n)} for n in (0, 1, 4)),
    )


def test_a_state_whose_rank_changes() -> None:
    proto = parsed(
        f"""g (float[N] x, int64 n) => (float[] y) {{
            {TRUE}
            y = Loop(n, go, x) <
                body = b (int64 i, bool g, float[] state) => (bool again, float[] next) {{
                    again = Identity(g)
                    axis = Constant <value = int64[1] {{0}}> ()
                    next = Unsqueeze(state, axis)
                }}
            >
        }}"""
    )
    module = imported(proto)
    for n in (0, 1, 3):
        (y,) = interpreted(module, {"x": ROW, "n": number(n)})
        assert y.shape == (1,) * n + (3,)


def test_states_that_change_places_and_values_listed_twice() -> None:
    """A subgraph's outputs count by their place: one value may stand at several."""
    check(
        f"""g (float[N] x, float[N] z, int64 n) => (float[N] y, float[N] w, float[R, N] s) {{
            {TRUE}
            y, w, s = Loop(n, go, x, z) <
                body = b (int64 i, bool g, float[N] p, float[N] q) => (bool g, float[N] q, float[N] p, float[N] q) {{ }}
            >
        }}""",
        *({"x": ROW, "z": -2 * ROW, "n": number(n)} for n in (1, 2, 3)),
    )


def test_an_output_of_the_model_is_listed_once() -> None:
    with pytest.raises(OnnxDuplicateError, match="listed twice"):
        imported(parsed("g (float[N] x) => (float[N] y, float[N] y) { y = Neg(x) }"))


def test_a_stack_over_no_runs_has_the_extents_that_are_known() -> None:
    proto = parsed(
        f"""g (float[N] x, int64 n) => (float[R, N] s) {{
            {TRUE}
            s = Loop(n, go) <body = b (int64 i, bool g) => (bool h, float[N] y) {{ h = Identity(g) y = Neg(x) }}>
        }}"""
    )
    module = imported(proto)
    shapes = [interpreted(module, {"x": ROW, "n": number(n)})[0].shape for n in (0, 2)]
    assert shapes == [(0, 3), (2, 3)]


def test_a_loop_in_a_loop() -> None:
    """Also where the inner one hides names of the outer, which onnxruntime refuses."""
    text = f"""g (float[N] x, int64 n) => (float[N] y) {{
        {TRUE}
        k = Constant <value = float {{1.5}}> ()
        y = Loop(n, go, x) <
            body = b (int64 i, bool g, float[N] state) => (bool again, float[N] next) {{
                again = Identity(g)
                outer = Cast <to = 1> (i)
                next = Loop(n, g, state) <
                    body = bb (int64 j, bool h, float[N] inner) => (bool again_, float[N] next_) {{
                        again_ = Identity(h)
                        scaled = Mul(inner, k)
                        moved = Add(scaled, outer)
                        next_ = Add(moved, state)
                    }}
                >
            }}
        >
    }}"""
    runs: list[dict[str, Array]] = [{"x": ROW, "n": number(n)} for n in (0, 1, 3)]
    module = imported(check(text, *runs))
    for name in ("again", "next"):
        text = text.replace(f"{name}_", name)
    hidden = imported(parsed(text.replace("int64 j, bool h", "int64 i, bool g").replace("(h)", "(g)")))
    for feeds in runs:
        same(interpreted(hidden, feeds), interpreted(module, feeds))


def test_what_a_loop_collects_from_the_data() -> None:
    check(
        f"""g (float[N] x, int64 n) => (int64[M] y) {{
            {TRUE}
            first = Constant <value = int64[1] {{0}}> ()
            last, y = Loop(n, go, x, first) <
                body = b (int64 i, bool g, float[K] state, int64[J] found) => (bool h, float[L] next, int64[U] more) {{
                    h = Identity(g)
                    places = NonZero(state)
                    all = Constant <value = int64[1] {{-1}}> ()
                    flat = Reshape(places, all)
                    more = Concat <axis = 0> (found, flat)
                    one = Constant <value = float {{1}}> ()
                    less = Sub(state, one)
                    next = Relu(less)
                }}
            >
        }}""",
        *({"x": np.arange(5, dtype=np.float32), "n": number(n)} for n in (0, 1, 4)),
    )


def test_a_scan_in_a_branch_in_a_loop() -> None:
    check(
        f"""g (float[B] s, float[T, B] x, int64 n) => (float[B] y) {{
            {TRUE}
            y = Loop(n, go, s) <
                body = b (int64 i, bool g, float[B] state) => (bool again, float[B] next) {{
                    again = Identity(g)
                    one = Constant <value = int64 {{1}}> ()
                    second = Equal(i, one)
                    next = If(second) <
                        then_branch = t () => (float[B] total) {{
                            total, o = Scan(state, x) <
                                num_scan_inputs = 1,
                                body = sb (float[B] a, float[B] row) => (float[B] sum, float[B] product) {{
                                    sum = Add(a, row)
                                    product = Mul(sum, state)
                                }}
                            >
                        }},
                        else_branch = e () => (float[B] negated) {{ negated = Neg(state) }}
                    >
                }}
            >
        }}""",
        *({"s": np.ones(2, np.float32), "x": TABLE, "n": number(n)} for n in (0, 1, 2, 3)),
    )


def test_axes_and_directions_of_a_scan() -> None:
    check(
        """g (float[B] s, float[T, B] x, float[B, T] z) => (float[B] last, float[T, B] p, float[B, T] q) {
            last, p, q = Scan(s, x, z) <
                num_scan_inputs = 2, scan_input_axes = [0, -1], scan_input_directions = [0, 1],
                scan_output_axes = [0, -1], scan_output_directions = [1, 0],
                body = b (float[B] state, float[B] a, float[B] c) => (float[B] next, float[B] sum, float[B] less) {
                    sum = Add(state, a)
                    next = Mul(sum, c)
                    less = Sub(next, s)
                }
            >
        }""",
        {"s": np.ones(2, np.float32), "x": TABLE, "z": floats(2, 3, seed=1)},
    )


def test_a_scan_of_opset_8_runs_over_the_batch() -> None:
    """Operands [batch, steps, ...]; the first stands for the lengths, which are left out."""
    results = "(float[2] sum, float[2] product) { sum = Add(a, row) product = Mul(sum, w) }"
    body = f"b (float[2] a, float[2] row, float[2] w) => {results}"
    proto = onnx.parser.parse_model(
        f"""<ir_version: 3, opset_import: ["" : 8]>
        g (float[B, 2] s, float[B, T, 2] x, float[B, T, 2] w) => (float[B, 2] last, float[B, T, 2] products) {{
            last, products = Scan(, s, x, w) <num_scan_inputs = 2, directions = [0, 1], body = {body}>
        }}"""
    )
    s, x, w = floats(3, 2, seed=1), floats(3, 4, 2, seed=2), floats(3, 4, 2, seed=3)
    sums = s[:, np.newaxis] + np.cumsum(x, axis=1)
    last, products = interpreted(imported(proto), {"s": s, "x": x, "w": w})
    np.testing.assert_allclose(last, sums[:, -1], rtol=1e-5)
    np.testing.assert_allclose(products, sums * w[:, ::-1], rtol=1e-5)


@pytest.mark.parametrize("n", [0, 1, 3])
def test_functions_in_bodies_read_the_calls_attributes(n: int) -> None:
    text = f"""g (float[N] x, int64 n) => (float[N] y) {{
            {TRUE}
            y = Loop(n, go, x) <
                body = b (int64 i, bool g, float[N] t) => (bool again, float[N] next) {{
                    again = Identity(g)
                    next = my.Outer <alpha = 0.5> (t, g)
                }}
            >
        }}
        <domain: "my", opset_import: ["" : 17, "my" : 1]>
        Outer <alpha> (a, c) => (b) {{
            t = Neg(a)
            b = If(c) <
                then_branch = t1 () => (float[N] r) {{ r = my.Inner <beta: float = @alpha> (a, t) }},
                else_branch = t2 () => (float[N] r) {{ r = Identity(t) }}
            >
        }}
        <domain: "my", opset_import: ["" : 17]>
        Inner <beta> (a, t) => (b) {{ s = Sub(a, t) b = Elu <alpha: float = @beta> (s) }}"""
    check(text, {"x": ROW, "n": number(n)})


def test_what_a_body_must_keep() -> None:
    text = (
        "g (float[N] x, int64 n) => (float[N] y) {{ "
        + TRUE.replace("{1}", "{{1}}")
        + " y = Loop(n, go{}) <body = {}> }}"
    )
    body: dict[str, Any] = {
        "takes 3 inputs, 2 are given": ("", "b (int64 i, bool g, float[N] s) => (bool g, float[N] t) { t = Neg(s) }"),
        "state 0 is f32\\[N\\] at first, the body gives f64": (
            ", x",
            "b (int64 i, bool g, float[N] s) => (bool g, double[N] t) { t = Cast <to = 11> (s) }",
        ),
    }
    for message, given in body.items():
        with pytest.raises(OnnxAttributeError, match=message) as caught:
            imported(parsed(text.format(*given)))
        assert "ONNX node that gives 'y' (Loop" in caught.value.place


@pytest.mark.parametrize("n", [0, 2, 9])
@pytest.mark.parametrize(
    ("control", "body"),
    [
        ("int64[1] n, bool[1] c", "(int64[1] i, bool[1] g, float[N] s) => (bool[1] again, float[N] t) {}"),
        ("int64[1] n, bool c", "(int64 i, bool g, float[N] s) => (bool again, float[N] t) {}"),
        ("int64 n, bool[1] c", "(int64 i, bool[1] g, float[N] s) => (bool[1] again, float[N] t) {}"),
        ("int64 n, bool[1] c", "(int64[1] i, bool[1] g, float[N] s) => (bool[1] again, float[N] t) {}"),
    ],
)
def test_control_values_may_be_lists_of_one(control: str, body: str, n: int) -> None:
    nodes = "{ again = Identity(g) f = Cast <to = 1> (i) t = Add(s, f) }"
    text = f"g (float[N] x, {control}) => (float[N] y) {{ y = Loop(n, c, x) <body = b {body.format(nodes)}> }}"
    trips, condition = number(n), truth(1)
    if "int64[1] n" in control:
        trips = trips.reshape(1)
    if "bool[1] c" in control:
        condition = condition.reshape(1)
    check(text, {"x": ROW, "n": trips, "c": condition})


def test_a_condition_computed_as_a_list_of_one() -> None:
    check(
        """g (float[N] x, int64 n) => (float[N] y) <int64[1] most = {3}> {
            c = Less(n, most)
            y = Loop(n, c, x) <
                body = b (int64 i, bool[1] g, float[N] s) => (bool[1] again, float[N] t) {
                    again = Less(i, most)
                    t = Add(s, s)
                }
            >
        }""",
        *({"x": ROW, "n": number(n)} for n in (0, 2, 9)),
    )


def test_branches_give_results_of_one_element_type() -> None:
    then = "then_branch = t () => (double[N] a) { a = Cast <to = 11> (x) }"
    other = "else_branch = e () => (float[N] b) { b = Neg(x) }"
    text = f"g (float[N] x, bool c) => (float[N] y) {{ y = If(c) <{then}, {other}> }}"
    with pytest.raises(OnnxAttributeError, match=r"result 0 is f64\[N\] in then_branch and f32\[N\] in else_branch"):
        imported(parsed(text))
