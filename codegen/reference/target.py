"""The `reference` target: an artifact that is interpreted."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

from uair.codegen.reference.interpreter import run
from uair.targets.target import Target

if TYPE_CHECKING:
    from uair.artifact import Artifact, ArtifactBuilder
    from uair.ir.dtype import Array
    from uair.ir.module import Module
    from uair.request import CompileRequest


class ReferenceTarget(Target):
    """The NumPy interpreter. It takes every module as it is, so an artifact is nothing but the module."""

    fallback: ClassVar[str | None] = None

    def emit(self, module: Module, artifact: ArtifactBuilder, request: CompileRequest) -> None:
        """Nothing: `model.uair`, which every artifact holds, is what is run."""

    def run(self, artifact: Artifact, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """Interpret the artifact's module."""
        from uair.text import load

        return run(load(artifact.file("model.uair")), feeds)
