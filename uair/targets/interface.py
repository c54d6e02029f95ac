"""What a vendor's importer demands of a model's inputs and outputs, as a part of a device description."""

from __future__ import annotations

import math
from collections.abc import Iterator

import attrs

from uair.ir.dims import static
from uair.ir.dtype import DType
from uair.ir.graph import Graph
from uair.ir.types import TensorType
from uair.targets.verdict import Confidence, NodeVerdict, Source, Support


@attrs.frozen
class Interface:
    """Limits of inputs and outputs; what is left out is not limited.

    Attributes:
        input_rank: axes that every input must have. Inputs of another rank, or of another `batch`, get a Reshape in
            front of the model.
        batch: extent of axis 0 that every input must have.
        input_dtypes: element types of inputs. Other integers and bool are cast in front of the model when it lists f32.
        max_outputs: greatest number of outputs.
        source: key in `sources`.
        confidence: when it differs from the source's.
    """

    input_rank: int = 0
    batch: int = 0
    input_dtypes: tuple[DType, ...] = ()
    max_outputs: int = 0
    source: str = ""
    confidence: Confidence | None = None

    def input_type(self, type_: TensorType) -> TensorType:
        """The type in which an input of type `type_` is given to the vendor; `type_` itself when that fits.

        Axes are added in front, or merged into axis 1: the values keep their order in memory. The sizes of the type
        must be known where `input_rank` or `batch` says something.
        """
        shape = type_.dims
        if self.input_rank and (len(shape) != self.input_rank or (self.batch and shape[0] != self.batch)):
            shape = self._reshaped(static(shape))
        dtype = type_.dtype
        if self.input_dtypes and dtype not in self.input_dtypes and DType.F32 in self.input_dtypes:
            dtype = DType.F32
        return TensorType(dtype, shape)

    def _reshaped(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """`shape` with `input_rank` axes, the first of extent 1."""
        kept = min(len(shape), self.input_rank - 2)
        merged, rest = math.prod(shape[: len(shape) - kept]), shape[len(shape) - kept :]
        return (*([1] * (self.input_rank - 1 - kept)), merged, *rest)


@attrs.frozen
class InterfaceRow:
    """The verdict on an input, or on all outputs.

    Attributes:
        name: the input, or "outputs".
        verdict: the answer.
    """

    name: str
    verdict: NodeVerdict


def interface_rows(
    graph: Graph, limits: Interface, source: Source | None, confidence: Confidence
) -> Iterator[InterfaceRow]:
    """What the limits say about a graph: the inputs that are changed, or do not fit, and the outputs when too many.

    Inputs of open sizes are left out: what is open is reported by itself.
    """
    for name, tensor in zip(graph.input_names, graph.inputs, strict=True):
        if tensor.type.is_tensor and tensor.type.is_static:
            verdict = _input_verdict(tensor.type, limits, source, confidence)
            if verdict is not None:
                yield InterfaceRow(name, verdict)
    count = len(graph.outputs)
    if limits.max_outputs and count > limits.max_outputs:
        reason = f"{count} outputs are more than the {limits.max_outputs} that the vendor's tool takes"
        refused = NodeVerdict(
            Support.UNSUPPORTED,
            reason,
            source=source,
            confidence=confidence,
            suggestion="leave outputs away, or join them with Concat",
        )
        yield InterfaceRow("outputs", refused)


def _input_verdict(
    type_: TensorType, limits: Interface, source: Source | None, confidence: Confidence
) -> NodeVerdict | None:
    """The verdict on an input that is not given as it is; None when it is."""
    taken = limits.input_type(type_)
    steps: list[str] = []
    if taken.dtype is not type_.dtype:
        if not type_.dtype.is_integer and type_.dtype is not DType.BOOL:
            names = ", ".join(map(str, limits.input_dtypes))
            return NodeVerdict(
                Support.UNSUPPORTED,
                f"inputs may be {names}, this one is {type_.dtype}",
                source=source,
                confidence=confidence,
                suggestion=f"convert the input to {names}",
            )
        steps.append(f"cast the input from {taken.dtype}")
    if taken.dims != type_.dims:
        steps.append(f"reshape the input from {list(static(taken.dims))}")
    return NodeVerdict(Support.SUPPORTED, source=source, confidence=confidence, through=tuple(steps)) if steps else None
