"""Error codes are unique and explained; names in the built-in tables resolve."""

from __future__ import annotations

import re

import pytest

from tools.generate_docs import modules
from uair.context import Context
from uair.errors import UairError


def error_classes() -> list[type[UairError]]:
    """Every error class of UAIR that states a code of its own."""
    for _ in modules():
        pass
    found: list[type[UairError]] = []
    pending: list[type[UairError]] = [UairError]
    while pending:
        cls = pending.pop()
        pending += cls.__subclasses__()
        if cls.__module__.startswith("uair") and "code" in cls.__dict__:
            found.append(cls)
    return found


def test_codes_are_unique_well_formed_and_explained() -> None:
    seen: dict[str, type[UairError]] = {}
    for cls in error_classes():
        assert re.fullmatch(r"UAIR-E\d{4}", cls.code), cls
        assert cls.code not in seen, f"{cls} and {seen[cls.code]} share {cls.code}"
        seen[cls.code] = cls
        assert "title" in cls.__dict__, f"{cls} has no title"
        assert cls.__doc__, f"{cls} is not explained"
    assert len(seen) > 30


@pytest.mark.parametrize("kind", ["passes", "targets", "frontends"])
def test_builtin_names_resolve(kind: str) -> None:
    context = Context.default()
    for name in getattr(context, kind):
        if kind == "passes":
            assert context.pass_class(name).name == name
        elif kind == "targets":
            assert context.target(name).name == name
            assert context.target(name).description.name == name
        else:
            assert callable(context.frontend(name))
