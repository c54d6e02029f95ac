"""Names and what they stand for: built-in, of plug-ins, unknown, broken."""

from __future__ import annotations

import importlib.metadata
import inspect

import attrs
import pytest

from uair import builtin
from uair.context import Context, installed, lookup, resolve
from uair.errors import UairError, UnavailableError, UnknownNameError
from uair.ops.elementwise import Add
from uair.passes.catalogue import find_rule
from uair.targets.target import Target


@pytest.mark.parametrize("name", sorted(builtin.PASSES))
def test_a_built_in_pass_has_its_own_name(name: str) -> None:
    cls = Context.default().pass_class(name)
    assert cls.name == name and cls.description().endswith(".") and "\n" not in cls.description()
    assert not inspect.isabstract(cls)
    assert attrs.has(cls)


@pytest.mark.parametrize("name", sorted(builtin.TARGETS))
def test_a_built_in_target_has_its_own_name(name: str) -> None:
    target = Context.default().target(name)
    assert isinstance(target, Target) and target.name == name and target.description.name == name


@pytest.mark.parametrize("name", sorted(builtin.FRONTENDS))
def test_a_built_in_frontend_can_be_called(name: str) -> None:
    assert callable(Context.default().frontend(name))


def test_operators_are_found_by_name() -> None:
    context = Context.default()
    assert context.operator("Add") is Add
    assert all(cls.__name__ == name for name, cls in context.operators.items())


def test_unknown_names_have_near_ones() -> None:
    context = Context.default()
    for look, name, near in (
        (context.operator, "Conv2d", "Conv2D"),
        (context.pass_class, "canonicalize", "canonicalise"),
        (context.target, "rk3399", "rk3588"),
        (context.frontend, "onxx", "onnx"),
    ):
        with pytest.raises(UnknownNameError) as caught:
            look(name)
        assert repr(name) in caught.value.message and near in caught.value.hint
    with pytest.raises(UnknownNameError) as caught:
        lookup({"a": 1, "b": 2}, "quite different", "letter")
    assert caught.value.hint == "known: a, b"


def test_a_small_context_of_ones_own() -> None:
    context = Context({"Add": Add}, targets={"mine": str})
    assert context.operator("Add") is Add
    assert type(context.target("mine")) is str
    with pytest.raises(UnknownNameError):
        context.pass_class("fuse")


@pytest.mark.parametrize("reference", ["no_such_module_at_all:X", "uair.errors:NoSuchName", "uair.errors"])
def test_a_broken_plug_in_is_named(reference: str) -> None:
    with pytest.raises(UnavailableError) as caught:
        Context({}, targets={"broken": reference}).target("broken")
    assert reference in caught.value.message and caught.value.hint


def test_objects_resolve_to_themselves() -> None:
    thing = object()
    assert resolve(thing) is thing
    assert resolve("uair.errors:UairError") is UairError


def test_entry_points_add_names(monkeypatch: pytest.MonkeyPatch) -> None:
    known = {
        "uair.passes": "uair.passes.fuse:Fuse",
        "uair.operators": "uair.ops.elementwise:Sub",
        "uair.rules": "uair.passes.fusion.batch_norm:FoldBatchNorm",
        "others": "module:thing",
    }
    found = [importlib.metadata.EntryPoint("theirs", value, group) for group, value in known.items()]
    monkeypatch.setattr("uair.context.entry_points", lambda: importlib.metadata.EntryPoints(found))
    context = installed.__wrapped__()
    assert context.pass_class("theirs").name == "fuse"
    assert context.operator("theirs").__name__ == "Sub"
    assert "fuse" in context.passes
    assert find_rule("theirs", context).rule.name == "fold-batch-norm"
    with pytest.raises(UnknownNameError) as caught:
        attrs.evolve(context, passes={}).pass_class("theirs")
    assert caught.value.hint == "write apply-rules{rules=[theirs]}"


def test_a_context_is_in_force_in_its_block_only() -> None:
    own = Context({"Add": Add})
    with own.in_force():
        assert Context.default() is own
        with installed().in_force():
            assert Context.default() is installed()
        assert Context.default() is own
    assert Context.default() is installed()
