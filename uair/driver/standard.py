"""The target-independent part of every pipeline."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from uair.ir import DType, Node, Tensor, TensorType, constant
from uair.pipeline import Pass

if TYPE_CHECKING:
    from uair.ir.module import Module
    from uair.targets.target import Target


def standard_passes() -> list[Pass]:
    """The target-independent part of every pipeline."""
    from uair.passes.canonicalise import Canonicalise
    from uair.passes.fuse import Fuse

    return [Canonicalise(), Fuse()]


def preparation(target: Target, module: Module) -> tuple[Pass, ...]:
    """What gives a canonical, fused module the form that suits a target, before it is quantized.

    A model that is quantized already keeps its integers where the target takes them: as they are, or as i8. Otherwise
    it is a float model again, for a device that would send every other node to the CPU is of no use. Classifiers are
    taken apart where the target has none of its own.
    """
    integers = _requantization(target) if _is_quantized(module) else ()
    return (*integers, *_classifiers(target, module), *target.prepare())


def _classifiers(target: Target, module: Module) -> tuple[Pass, ...]:
    """What takes classifiers apart that a target does not have whole."""
    from uair.ops import LinearClassifier, TreeClassifier
    from uair.passes.spell_out_classifiers import SpellOutClassifiers
    from uair.targets.verdict import Support

    kinds = (LinearClassifier, TreeClassifier)
    found = [node for graph in module.all_graphs() for node in graph if isinstance(node.op, kinds)]
    answers = map(target.verdict, found)
    whole = all(answer.support is Support.SUPPORTED and not answer.through for answer in answers)
    return () if whole else (SpellOutClassifiers(), *standard_passes())


def _is_quantized(module: Module) -> bool:
    names = {node.op_type for graph in module.all_graphs() for node in graph}
    return any("quantize" in name.lower() or name.startswith("Integer") for name in names)


def _requantization(target: Target) -> tuple[Pass, ...]:
    """What gives a quantized model the numbers that a target takes."""
    from uair.passes.fuse import Fuse
    from uair.passes.recognize_lstm import RecognizeLstm
    from uair.passes.remove_quantization import RemoveQuantization
    from uair.passes.signed_integers import SignedIntegers

    unsigned, signed, dynamic = (_takes(target, quantize) for quantize in _quantizing())
    removed = () if dynamic else (RemoveQuantization(which="dynamic" if unsigned or signed else "all"),)
    shifted = (SignedIntegers(),) if signed and not unsigned else ()
    again = (RecognizeLstm(), Fuse()) if removed else ()
    return (*removed, *again, *shifted)


def _takes(target: Target, node: Node) -> bool:
    from uair.targets.verdict import Support

    return target.verdict(node).support is not Support.UNSUPPORTED


def _quantizing() -> Iterator[Node]:
    """A Quantize to u8 and one to i8, with the middle one as zero point, and a DynamicQuantize."""
    from uair.ops import DynamicQuantize, Quantize

    x, scale = Tensor(TensorType(DType.F32, (1, 4)), "x"), constant(np.array(0.1, np.float32))
    yield Quantize(dtype=DType.U8).node(x, scale, constant(np.array(128, np.uint8)))
    yield Quantize(dtype=DType.I8).node(x, scale, constant(np.array(0, np.int8)))
    yield DynamicQuantize().node(x)
