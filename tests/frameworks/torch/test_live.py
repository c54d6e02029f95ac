"""Reading modules and exported programs: names, places, memory, sizes, and what cannot be read."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

import uair
from tests.frameworks.torch.harness import WARNINGS, check
from uair.frontends.common.errors import UnmappedOperatorError
from uair.frontends.torch.errors import TorchExportError

pytestmark = WARNINGS

X = torch.randn(3, 4)
BATCH = torch.export.Dim("batch", min=2, max=64)


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Linear(4, 4)
        self.head = nn.Linear(4, 4)
        self.head.weight = self.embed.weight
        self.register_buffer("scale", torch.full((4,), 2.0), persistent=False)

    def forward(self, x: torch.Tensor, *, extra: dict[str, Any] | None = None) -> dict[str, Any]:
        y = self.head(F.relu(self.embed(x))) * self.scale
        return {"y": y, "parts": [y + 1, y if extra is None else y * extra["gain"][0]]}


def test_tied_parameters_are_one_and_nothing_is_copied() -> None:
    model = Tied()
    module = check(model, X)
    constants = {t.name: t for t in module.main.constants()}
    (weight,) = (t for t in constants.values() if t.name.endswith("weight"))
    assert weight.numpy().ctypes.data == model.embed.weight.data_ptr()
    assert {"embed.bias", "head.bias", "scale"} <= set(constants)


def test_names_of_inputs_and_outputs_are_paths() -> None:
    gain = torch.randn(4)
    module = check(Tied(), X, kwargs={"extra": {"gain": [gain]}})
    assert module.main.input_names == ["x", "extra.gain.0"]
    assert module.main.output_names == ["y", "parts.0", "parts.1"]
    assert check(nn.Linear(4, 2), X).main.output_names == ["output"]
    assert check(lambda x: (x, x + 1), X).main.output_names == ["output.0", "output.1"]


def test_places_name_module_operator_and_line() -> None:
    module = check(Tied(), X)
    sources = [node.loc.sources[0] for node in module.main]
    assert [(s.name, s.kind) for s in sources[:3]] == [
        ("embed", "aten.linear.default"),
        ("relu", "aten.relu.default"),
        ("head", "aten.linear.default"),
    ]
    assert all(s.file.startswith("test_live.py:") for s in sources)


def test_named_and_nameless_sizes() -> None:
    double = lambda x: torch.cat([x, x])  # noqa: E731
    module = check(double, X, dynamic_shapes=(({0: BATCH},),), others=[[torch.randn(5, 4)]])
    assert str(module.main.outputs[0].type) == "f32[2*batch,4]"
    free = torch.export.Dim.DYNAMIC
    module = check(double, X, dynamic_shapes=(({0: free, 1: free},),), others=[[torch.randn(5, 7)]])
    symbols = [str(d) for d in module.main.inputs[0].type.dims]
    assert len(set(symbols)) == 2 and all(s.endswith((".0", ".1")) for s in symbols)


def test_exported_program() -> None:
    model = Tied()
    module = uair.load(torch.export.export(model, (X,)))
    assert np.allclose(uair.run(module, {"x": X.numpy()})["y"], model(X)["y"].detach().numpy(), atol=1e-6)
    assert module.origin.producer.startswith("pytorch 2.")


def test_graph_that_runs_without_gradients_is_part_of_the_program() -> None:
    def function(x: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            y = F.relu(x) * 2
        return y + x

    module = check(function, X)
    assert [node.op_type for node in module.main] == ["Relu", "Mul", "Add"]


def test_casts_of_autocast_are_nodes() -> None:
    class Mixed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = nn.Linear(4, 4)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            with torch.autocast("cpu", dtype=torch.bfloat16):
                y = self.fc(x)
                with torch.autocast("cpu", enabled=False):
                    y = y.to(torch.float32) * 2
            return y

    module = check(Mixed(), X, tolerance=1e-2)
    assert [str(n.output.type.dtype) for n in module.main if n.op_type == "Linear"] == ["bf16"]


def test_number_from_sizes_that_is_no_whole_number() -> None:
    check(lambda x: x * (x.shape[0] / 4), X, dynamic_shapes=(({0: BATCH},),), others=[[torch.randn(6, 4)]])


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64], ids=str)
def test_parameters_of_every_width(dtype: torch.dtype) -> None:
    module = check(nn.Linear(4, 3, dtype=dtype), X.to(dtype), tolerance=1e-2)
    assert {t.type.dtype for t in module.main.constants()} == {module.main.inputs[0].type.dtype}


def test_float8_is_viewed() -> None:
    class Scaled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("w", torch.randn(4, 4).to(torch.float8_e4m3fn))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x @ self.w.to(torch.float32)

    check(Scaled(), X)


def test_weights_that_do_not_lie_in_order() -> None:
    layer = nn.Linear(4, 3)
    layer.weight = nn.Parameter(torch.randn(4, 3).t())
    check(layer, X)


# ------------------------------------------------------------------------------------------------ what is refused
class Branches(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x if x.sum() > 0 else -x


def test_branch_on_data() -> None:
    with pytest.raises(TorchExportError) as caught:
        uair.load(Branches(), X)
    assert "Branches" in caught.value.message and "torch.cond" in caught.value.hint


def test_only_the_error_is_seen(capfd: pytest.CaptureFixture[str]) -> None:
    """torch.export prints the graph so far, and warns in its log."""

    class Branch(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            print("in forward", file=sys.stderr)
            return x if x.sum() > 0 else -x

    with pytest.raises(TorchExportError):
        uair.load(Branch().eval(), X)
    assert capfd.readouterr() == ("", "")

    class Plain(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            print("in forward", file=sys.stderr)
            return -x

    uair.load(Plain().eval(), X)
    assert capfd.readouterr().err == "in forward\n"


def test_without_example_inputs() -> None:
    with pytest.raises(TorchExportError, match="example inputs") as caught:
        uair.load(nn.Linear(4, 3))
    assert "torch.randn" in caught.value.hint and "--example 'input=" in caught.value.hint


def test_shapes_that_do_not_fit() -> None:
    with pytest.raises(TorchExportError) as caught:
        uair.load(nn.Linear(4, 3), torch.randn(2, 5))
    assert "linear.py" not in caught.value.place
    assert "fails on the example inputs" in caught.value.hint


def test_inputs_in_a_tuple() -> None:
    with pytest.raises(TorchExportError) as caught:
        uair.load(nn.Linear(4, 3), (X,))
    assert "one by one" in caught.value.hint


def test_inputs_that_forward_does_not_have() -> None:
    for inputs, names in (((X, X), {}), ((), {"y": X})):
        with pytest.raises(TorchExportError) as caught:
            uair.load(nn.Linear(4, 3), *inputs, kwargs=names)
        assert "forward takes input" in caught.value.hint


def test_sizes_that_forward_fixes() -> None:
    with pytest.raises(TorchExportError) as caught:
        uair.load(nn.Linear(4, 3), X, dynamic_shapes=({1: torch.export.Dim("features")},))
    assert "torch suggests" in caught.value.hint or "dynamic_shapes" in caught.value.hint


def test_parameters_without_values() -> None:
    with pytest.raises(TorchExportError, match="meta device") as caught:
        uair.load(nn.Linear(4, 3, device="meta"), torch.randn(2, 4, device="meta"))
    assert "'weight'" in caught.value.message


class Unknown(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = Inner()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.inner(x) + 1


class Inner(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.special.bessel_j0(x) + torch.special.i1(x)


def test_operators_without_a_counterpart_are_named_with_module_and_line() -> None:
    with pytest.raises(UnmappedOperatorError) as caught:
        uair.load(Unknown(), X)
    for text in ("aten.special_bessel_j0", "aten.special_i1", "'inner' test_live.py:"):
        assert text in caught.value.message, caught.value.message


@torch.library.custom_op("uair_test::twice", mutates_args=())
def twice(x: torch.Tensor, factor: float) -> torch.Tensor:
    return x * factor


@twice.register_fake
def _(x: torch.Tensor, factor: float) -> torch.Tensor:
    return torch.empty_like(x)


def test_custom_operator_is_kept() -> None:
    module = uair.load(nn.Sequential(nn.ReLU(), Own()), X)
    node = list(module.main)[-1]
    assert (node.op_type, node.attributes["domain"]) == ("Opaque", "uair_test")
    assert str(node.output.type) == "f32[3,4]"


class Own(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.ops.uair_test.twice(x, 2.0)
