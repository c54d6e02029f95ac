"""Options of targets and shape buckets: declared, read, refused, recorded."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import attrs
import pytest

import uair
from uair.context import Context
from uair.errors import ShapeBindingError
from uair.ir import DType, Graph, Module, Node, TensorType
from uair.ir.dims import symbol
from uair.ops import Add, Relu
from uair.passes.shape_buckets import in_bucket, resolve_buckets
from uair.request import CompileRequest
from uair.targets import Target
from uair.targets.errors import BucketError, OptionError
from uair.targets.options import (
    TargetOptions,
    given_options,
    option,
    options_of,
    parse_options,
    plain,
)


@attrs.frozen
class Toy(TargetOptions):
    level: int = option(2, help="effort")
    scale: float = option(1.0, help="a number")
    precision: Literal["f16", "f32"] = option("f16", help="what floats are computed in")
    fast: bool = option(False, help="hurry")
    nodes: tuple[str, ...] = option((), help="names")
    gears: tuple[int, ...] = option((), help="numbers")
    switches: Mapping[str, str] = option(attrs.Factory(dict), help="by name")
    file: Path | None = option(None, help="more of it")

    def __attrs_post_init__(self) -> None:
        if not 0 <= self.level <= 3:
            raise OptionError(f"level is 0 to 3, not {self.level}")


class ToyTarget(Target):
    options = Toy


def parse(**given: Any) -> Toy:
    return parse_options(Toy, given, "toy")


def test_text_becomes_values_of_the_fields_types() -> None:
    made = parse(
        level="3",
        scale="0.5",
        precision="f32",
        fast="yes",
        nodes="a:0, b",
        gears="1,2,4",
        switches="Soft:max:off,X:on",
        file="a/b.cfg",
    )
    assert made == Toy(3, 0.5, "f32", True, ("a:0", "b"), (1, 2, 4), {"Soft:max": "off", "X": "on"}, Path("a/b.cfg"))


def test_values_of_the_api_are_taken_as_they_are() -> None:
    made = parse(level=3, scale=1, fast=True, nodes=["a"], gears=(1, 2), switches={"X": "on"}, file=Path("b"))
    assert made == Toy(3, 1.0, "f16", True, ("a",), (1, 2), {"X": "on"}, Path("b"))
    assert parse() == Toy()


@pytest.mark.parametrize(
    ("given", "message", "hint"),
    [
        ({"levle": "1"}, "target toy has no option 'levle'", "did you mean level?"),
        ({"quite-other": "1"}, "has no option 'quite-other'", "its options are level, scale,"),
        ({"level": "high"}, "option level of target toy cannot be 'high'", "it takes a whole number"),
        ({"level": True}, "cannot be True", "a whole number"),
        ({"level": 1.5}, "cannot be 1.5", "a whole number"),
        ({"level": "7"}, "level is 0 to 3, not 7", ""),
        ({"precision": "f64"}, "cannot be 'f64'", "one of f16, f32"),
        ({"fast": "maybe"}, "cannot be 'maybe'", "true or false"),
        ({"gears": "1,x"}, "cannot be '1,x'", "several separated by commas"),
        ({"switches": "Soft"}, "cannot be 'Soft'", "name:value"),
        ({"nodes": 3}, "cannot be 3", "text, several"),
        ({"file": 3}, "cannot be 3", "a file"),
    ],
)
def test_what_is_wrong_says_so(given: dict[str, Any], message: str, hint: str) -> None:
    with pytest.raises(OptionError) as caught:
        parse(**given)
    assert message in caught.value.message and hint in (caught.value.hint or "")


def test_a_target_without_options_says_that() -> None:
    with pytest.raises(OptionError, match="has no option 'x'") as caught:
        parse_options(TargetOptions, {"x": "1"}, "cpu")
    assert caught.value.hint == "it has no options"


def test_the_command_line_gives_text_by_name() -> None:
    assert given_options(["a=1", "b-c= x=y "]) == {"a": "1", "b_c": " x=y "}
    for wrong in (["a"], ["=1"], ["a=1", "a=2"]):
        with pytest.raises(OptionError):
            given_options(wrong)


def test_help_and_manifest() -> None:
    infos = {o.name: o for o in options_of(Toy)}
    assert infos["gears"].takes == "a whole number, several separated by commas" and infos["level"].default == 2
    assert infos["file"].takes == "a file" and infos["fast"].help == "hurry"
    assert plain(Toy(file=Path("/somewhere/x.cfg"), gears=(1,))) == {"gears": [1], "file": "x.cfg"}
    assert plain(Toy()) == {}
    described = ToyTarget("reference").describe()
    assert "option precision: what floats are computed in; takes one of f16, f32 [f16]" in described


def test_options_are_refused_before_anything_is_computed(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="target reference has no option 'x'"):
        uair.compile(model(), "reference", output=tmp_path / "out", options={"x": "1"})
    assert not list(tmp_path.iterdir())


# ------------------------------------------------------------------------------------------------------------- buckets
def model() -> Module:
    graph = Graph()
    n, length = symbol("n"), symbol("length")
    x = graph.add_input("x", TensorType(DType.F32, (n, length, 4)))
    y = graph.add_input("y", TensorType(DType.F32, (n, 1, 4)))
    t = graph.append(Node(Add(), [x, y])).output
    graph.add_output("z", graph.append(Node(Relu(), [t])).output)
    return Module("m", {"main": graph})


def test_buckets_say_which_sizes_stay_open() -> None:
    found = resolve_buckets(model().main, [{"x": (1, 8, 4)}, {"x": (1, 16, 4)}, {"x": (1, 8, 4)}], {})
    assert (dict(found.common), [dict(s) for s in found.sizes]) == ({"n": 1}, [{"length": 8}, {"length": 16}])
    assert found.shapes[1] == {"x": (1, 16, 4), "y": (1, 1, 4)}
    bound = in_bucket(model(), {"n": 2, "length": 3})
    assert bound.main.outputs[0].type.shape == (2, 3, 4)


@pytest.mark.parametrize(
    ("buckets", "fixed", "error", "message"),
    [
        ([{"x": (1, 8, 4)}], {}, BucketError, "one bucket is no choice"),
        ([{"x": (1, 8, 4)}, {"x": (1, 8, 4)}], {}, BucketError, "one bucket is no choice"),
        ([{"y": (1, 1, 4)}, {"y": (2, 1, 4)}], {}, BucketError, "leaves the size 'length' open"),
        ([{"x": (1, 8, 4)}, {"x": (2, 8, 4)}], {"x": (1, 8, 4)}, BucketError, "both a shape and a bucket"),
        ([{"x": (1, 8, 4)}, {"x": (2, 8, 5)}], {}, ShapeBindingError, "axis 2 of input 'x' is 4 in the model"),
        ([{"x": (1, 8, 4)}, {"w": (2,)}], {}, ShapeBindingError, "'w', which is no input"),
        ([{"x": (1, 8)}, {"x": (2, 8, 4)}], {}, ShapeBindingError, "has 3 axes"),
    ],
)
def test_buckets_that_do_not_fit(buckets: Any, fixed: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        resolve_buckets(model().main, buckets, fixed)


def test_a_target_for_one_shape_refuses_several(tmp_path: Path) -> None:
    with pytest.raises(BucketError, match="what is compiled for reference takes one shape"):
        uair.compile(model(), "reference", output=tmp_path / "out", buckets=[{"x": (1, 8, 4)}, {"x": (2, 8, 4)}])
    assert not list(tmp_path.iterdir())


class Many(Target):
    takes_buckets = True

    def emit(self, module: Module, artifact: Any, request: CompileRequest) -> None:
        sizes = [str(d) for d in module.main.inputs[0].type.dims]
        artifact.add_text("told.txt", f"{sizes} {[dict(b) for b in request.buckets]}")


def test_a_target_is_given_complete_buckets_and_an_open_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    known = attrs.evolve(Context.default(), targets={"many": Many("reference")})
    monkeypatch.setattr(Context, "default", lambda: known)
    buckets = [{"x": (1, 8, 4)}, {"x": (1, 16, 4)}]
    made = uair.compile(model(), "many", output=tmp_path / "out", buckets=buckets)
    assert made.file("told.txt").read_text() == (
        "['1', 'length', '4'] [{'x': (1, 8, 4), 'y': (1, 1, 4)}, {'x': (1, 16, 4), 'y': (1, 1, 4)}]"
    )
    assert made.manifest["buckets"] == [{"x": [1, 8, 4], "y": [1, 1, 4]}, {"x": [1, 16, 4], "y": [1, 1, 4]}]
    assert made.manifest["inputs"][0]["shape"] == [1, "length", 4]
    assert made.manifest["golden"]["compiled_against_reference"]["z"]["max_abs"] == 0.0


# -------------------------------------------------------------------------------------------------------- command line
def test_options_and_buckets_on_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from tests.cli.helpers import Shell
    from tests.codegen.ascend import models
    from uair.text import save

    shell = Shell(capsys)
    path = tmp_path / "m.uair"
    b = models.Builder()
    x = b.graph.add_input("x", TensorType(DType.F32, (symbol("n"), 3, 8, 8)))
    save(b.module("m", y=b.add("relu", Relu(), x)), path)
    given = ["--shape-bucket", "x=1,3,8,8", "--shape-bucket", "x=4,3,8,8", "--option", "log=debug"]
    done = shell("compile", str(path), "-t", "ascend310", "-o", str(tmp_path / "out"), *given)
    assert done.status == 0, done.err
    script = (tmp_path / "out" / "build.sh").read_text()
    assert '--dynamic_batch_size="1,4"' in script and "--log=debug" in script
    for wrong, message in (
        (["--option", "lgo=debug"], "did you mean log?"),
        (["--option", "log"], "not of the form name=value"),
        (["--shape-bucket", "x=1,3,8,8;x=2,3,8,8"], "gives an input twice"),
        (["--shape-bucket", "x=1,3,8,8"], "one bucket is no choice"),
    ):
        failed = shell("compile", str(path), "-t", "ascend310", "-o", str(tmp_path / "none"), *wrong)
        assert failed.status in (1, 2) and message in failed.err, failed.err
    listed = json.loads(shell("targets", "ascend310", "--json").out)["ascend310"]["options"]
    assert listed["log"] == {"takes": listed["log"]["takes"], "default": "error", "help": "what ATC logs"}
