"""Error classes: codes that stay and do not collide, and how an error is shown."""

from __future__ import annotations

import re

from tools.generate_docs import modules
from uair.errors import UairError


def classes() -> list[type[UairError]]:
    for _ in modules():
        pass
    found: list[type[UairError]] = []
    pending = [UairError]
    while pending:
        cls = pending.pop()
        pending += cls.__subclasses__()
        if cls.__module__.startswith("uair"):
            found.append(cls)
    return found


def test_codes_are_unique_and_documented() -> None:
    """A class without a code of its own shares that of its base."""
    codes: dict[str, str] = {}
    for cls in classes():
        assert (cls.__doc__ or "").strip(), cls
        if "code" in vars(cls):
            assert re.fullmatch(r"UAIR-E\d{4}", cls.code), cls
            assert codes.setdefault(cls.code, cls.__qualname__) == cls.__qualname__, (cls.code, codes[cls.code], cls)
            assert "title" in vars(cls) and not cls.title.endswith("."), cls
    assert len(codes) > 50


def test_how_an_error_is_shown() -> None:
    error = UairError("the reason", hint="do this", place="node 'a' of m.onnx", window="> 3 | %a = Relu(%x)")
    error.pass_name = "fuse"
    assert str(error).splitlines() == [
        "UAIR-E0001 the reason  [pass: fuse]",
        "   at node 'a' of m.onnx",
        "> 3 | %a = Relu(%x)",
        "   hint: do this",
    ]
    assert str(UairError("alone")) == "UAIR-E0001 alone"


def test_the_hint_of_a_class() -> None:
    class Mine(UairError):
        next_step = "look again"

    assert Mine("x").hint == "look again"
    assert Mine("x", hint="no, there").hint == "no, there"
