"""What the targets share whose vendors read ONNX."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from uair.codegen.onnx.model import emitted_ops, export, unsupported_reason
from uair.codegen.onnx.table import Emitters
from uair.ir.dtype import DType
from uair.ir.graph import Node
from uair.ir.module import Module
from uair.passes.canonicalise import Canonicalise
from uair.passes.finite_constants import FiniteConstants
from uair.passes.legalise_onnx import LegaliseOnnx
from uair.passes.log_of_squares import LogOfSquares
from uair.passes.root_of_squares import RootOfSquares
from uair.passes.target_rewrites import TargetRewrites
from uair.pipeline import Pass
from uair.targets.target import Target


class OnnxTarget(Target):
    """A target whose artifact holds an ONNX model at the opset of its description.

    Class attributes:
        emitters: how the vendor's own operators are written; None when there are none.
    """

    emitters: ClassVar[Emitters | None] = None

    def emitted_ops(self, node: Node) -> Sequence[str] | None:
        """The ONNX operators that the writer makes of a node."""
        return emitted_ops(node, self.opset, self.emitters)

    def prepare(self) -> tuple[Pass, ...]:
        """Numbers that float16 can hold where the device computes in it, and the rewrites that its file asks for."""
        half = self.description.dtypes.float is DType.F16
        passes: tuple[Pass, ...] = (FiniteConstants(), LogOfSquares(), RootOfSquares()) if half else ()
        if self.description.rewrites:
            passes = (*passes, Canonicalise(), TargetRewrites(target=self.name, chooser=self))
        return (*passes, Canonicalise()) if passes else ()

    def legalise(self) -> tuple[Pass, ...]:
        """Decompose what the opset lacks, then clean up."""
        return (LegaliseOnnx(opset=self.opset, unsupported=self.unsupported), Canonicalise())

    def unsupported(self, node: Node, opset: int) -> str:
        """Why a node must be decomposed before it is written; empty when it need not."""
        return unsupported_reason(node, opset, self.emitters) or self.must_decompose(node)

    @property
    def opset(self) -> int:
        """The opset to write."""
        opset = self.onnx_opset
        assert opset is not None, f"the description of {self.name} names no ONNX opset"
        return opset

    def write_onnx(self, module: Module, path: Path, *, opset: int | None = None) -> None:
        """Write a legalised module, at the description's opset unless another is given."""
        onnx = self.description.onnx
        assert onnx is not None
        export(
            module,
            path,
            opset=opset or onnx.opset,
            ir_version=onnx.ir_version if opset in (None, onnx.opset) else None,
            emitters=self.emitters,
            names=self.names,
        )
