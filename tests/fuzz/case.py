"""Cases of the corpus of malformed models: their registry, and what each is written as."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

import attrs
import onnx

Content: TypeAlias = "onnx.ModelProto | bytes"
Build: TypeAlias = Callable[..., Content]
Prepare: TypeAlias = Callable[[Path], None]

ANY = ""
"""Expected of a case that may be read or refused, whichever is right for the versions of what UAIR builds upon."""

FINE = "fine"
"""Expected of a case that only looks dangerous: it must be read."""


@attrs.frozen
class Case:
    """One model.

    Attributes:
        name: unique; the test names it.
        group: the cases that one test runs.
        build: makes the model, the same bytes every time.
        expect: code of the error that reading it ends in (a prefix of it), FINE, or ANY.
        prepare: puts further files beside the model, which is `model/m.onnx` in the folder given.
    """

    name: str
    group: str
    build: Build
    expect: str = ANY
    prepare: Prepare | None = None

    def write(self, folder: Path) -> Path:
        """Write the model into `folder`, and give its path."""
        path = folder / "model" / "m.onnx"
        path.parent.mkdir()
        content = self.build()
        path.write_bytes(content if isinstance(content, bytes) else content.SerializeToString())
        if self.prepare is not None:
            self.prepare(folder)
        return path


@attrs.define
class Corpus:
    """The cases by name, in the order in which they were added."""

    cases: dict[str, Case] = attrs.Factory(dict[str, Case])

    def add(self, group: str, name: str, build: Build, expect: str = ANY, prepare: Prepare | None = None) -> None:
        """Add a case.

        Raises:
            ValueError: there is one of that name.
        """
        full = f"{group}/{name}"
        if full in self.cases:
            raise ValueError(f"case {full!r} is there already")
        self.cases[full] = Case(full, group, build, expect, prepare)

    def define(self, group: str, expect: str = ANY) -> Callable[[Build], Build]:
        """Decorator that adds a case named after the function."""

        def decorate(build: Build) -> Build:
            self.add(group, re.sub("_+", " ", build.__name__).strip(), build, expect)
            return build

        return decorate


CORPUS = Corpus()
