"""The base class of targets.

A target is a device description file and a small class. `Target("name")` alone, made from the file, answers verdicts; a
subclass in codegen/<vendor>/ adds what only code can say:

    class AscendTarget(Target):
        def emitted_ops(self, node):          # which ONNX operators would the writer emit for this node?
            return onnx_ops(node, self.onnx_opset)
        def legalise(self): ...               # passes that make a fused module fit
        def emit(self, module, artifact, request): ...

uair/builtin.py, or an entry point `uair.targets`, names the class under each chip's name, with which it is called.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import attrs

from uair.context import resolve
from uair.errors import UairError
from uair.ir.dims import symbols_of
from uair.ir.dtype import DType
from uair.ir.graph import Node, Tensor
from uair.ops.base import Operator
from uair.quant.scheme import Scheme
from uair.targets.description import (
    DeviceDescription,
    OperatorConstraint,
    OperatorSupport,
    confidence_of,
    load_description,
)
from uair.targets.errors import BucketError, NoEmitter
from uair.targets.options import TargetOptions, options_of, parse_options
from uair.targets.verdict import Confidence, NodeVerdict, Support, worst

if TYPE_CHECKING:
    from uair.artifact import Artifact, ArtifactBuilder
    from uair.ir.dtype import Array
    from uair.ir.module import Module
    from uair.pipeline import Pass
    from uair.request import CompileRequest
    from uair.targets.tool import VendorTool

MAX_DECOMPOSITIONS = 4
"""Decompositions within decompositions are followed this deep; no operator of UAIR needs more."""
REPLACEMENT = "uair.passes.rewrites:replacement"
QUANTIZATION = ("Quantize", "Dequantize")
REMOVE_QUANTIZATION = (
    "compile the float model, or take its quantization out first: uair opt MODEL -p remove-quantization"
)
"""Gives the nodes that a rewrite of a device file would put in a node's place; asked when a verdict needs it."""


class Target:
    """A device that modules are compiled for.

    Args:
        name: of the target; its description is `uair/targets/<name>.toml` unless `file` is given.
        file: path of the description file of a plug-in (`Path(__file__).with_name("mychip.toml")`).

    Class attributes:
        options: what a user may tell the target (`--option name=value`).
        takes_buckets: whether one artifact can serve several input shapes (`--shape-bucket`). The module that is
            emitted then has symbolic sizes where the buckets differ, and `CompileRequest.buckets` lists the shapes.
        names: regular expression of the names that the vendor's importer takes; None for any.
        fallback: the target that runs what this one does not take; None for one that runs on the CPU itself.
    """

    options: ClassVar[type[TargetOptions]] = TargetOptions
    takes_buckets: ClassVar[bool] = False
    names: ClassVar[str | None] = None
    fallback: ClassVar[str | None] = "cpu"

    def __init__(self, name: str, *, file: str | os.PathLike[str] | None = None) -> None:
        self.name = name
        self._file = file

    # ----------------------------------------------------------------------------------- to override
    def check_request(self, request: CompileRequest) -> None:
        """Refuse what the target cannot do, before anything is computed.

        Raises:
            OptionError: an option that it does not have, or a value that does not fit the chip.
            BucketError: several shapes on a target that is compiled for one.
        """
        parse_options(self.options, request.options, self.name)
        if request.buckets and not self.takes_buckets:
            raise BucketError(
                f"what is compiled for {self.name} takes one shape",
                hint="compile once for each shape, with --shape",
            )

    def emits_float(self, request: CompileRequest) -> bool:
        """Whether a quantized model is written as a float one, with ranges or samples beside it."""
        return self.description.emits_float

    def emitted_ops(self, node: Node) -> Sequence[str] | None:
        """The ONNX operator types that the artifact's model would hold for `node`, at `onnx_opset`.

        A description that lists the vendor's operators by ONNX name needs this to answer; None says that the target
        does not know (or does not emit ONNX). Operators that the writer adds on the way (Cast, Constant, Unsqueeze)
        belong to the answer. It must not write anything: `uair check` asks for every node.

        Raises:
            UairError: the exchange format has no form of the node; the message becomes the verdict's reason.
        """
        return None

    def prepare(self) -> tuple[Pass, ...]:
        """Passes, in order, that give a canonical, fused module a form that suits the target, before it is quantized.

        Rewrites into other numbers of the same meaning belong here: quantization then measures what is computed, and
        `verdict` judges what is left.
        """
        return ()

    def before_int8(self) -> tuple[Pass, ...]:
        """Passes, in order, right in front of quantization to INT8: of the model, or of each part that is the target's.

        They may put in what only shows where integers go; `legalise` takes it out again.
        """
        return ()

    def legalise(self) -> tuple[Pass, ...]:
        """Passes, in order, that make a canonical, fused (and, when asked for, quantized) module fit the target.

        After them every node that `verdict` calls supported must be taken by `emit` as it is: whatever `verdict`
        presumes in `NodeVerdict.through` (decompositions) is done here.
        """
        return ()

    def emit(self, module: Module, artifact: ArtifactBuilder, request: CompileRequest) -> None:
        """Write the vendor's files of a legalised module into `artifact`; the same input gives the same bytes.

        The driver has written `model.uair`, `golden/` and `report.json`, and writes the manifest afterwards.

        Raises:
            NoEmitter: the target is known by its description only.
            UairError: the module cannot be expressed.
        """
        raise NoEmitter(
            f"target {self.name!r} can be checked against, but UAIR writes no files for it",
            hint=f"`uair check --target {self.name}` works; docs/add-a-target.md tells how to add an emitter",
        )

    def run(self, artifact: Artifact, feeds: Mapping[str, Array]) -> dict[str, Array] | None:
        """Outputs of an artifact run on the device; None when this machine has none, or no runtime for it is known.

        `uair run` then runs the artifact's model.uair in the reference interpreter.
        """
        return None

    def tool(self) -> VendorTool | None:
        """The vendor's tool that builds an artifact; None when there is none, or none that UAIR can run."""
        return None

    # ---------------------------------------------------------------------------------------- facts
    @functools.cached_property
    def description(self) -> DeviceDescription:
        """The device description, read when first asked for.

        Raises:
            UairError: the file is wrong.
        """
        return load_description(self.name if self._file is None else self._file)

    @property
    def onnx_opset(self) -> int | None:
        """The ONNX operator set to emit; None for a target that does not read ONNX."""
        return None if self.description.onnx is None else self.description.onnx.opset

    @property
    def requires_static(self) -> bool:
        """Whether every extent must be a number."""
        return self.description.static_shapes

    @property
    def quantization(self) -> Scheme | None:
        """What INT8 looks like on the target; None when it has none."""
        return None if self.description.quantization is None else self.description.quantization.scheme

    def scheme_for(self, request: CompileRequest) -> Scheme | None:
        """`quantization` as it is with the options of a request."""
        return self.quantization

    def toolchain(self) -> dict[str, Any]:
        """The vendor's toolchain for the manifest, as plain data."""
        tool = self.description.toolchain
        confidence = confidence_of(tool.confidence, self.description.source(tool.source))
        return {
            "name": tool.name,
            "checked_versions": list(tool.checked),
            "minimum_driver": tool.driver,
            "soc_version": tool.soc_version,
            "source": str(self.description.source(tool.source) or ""),
            "confidence": confidence.value,
        }

    def describe(self) -> str:
        """The target in a few lines for people."""
        d = self.description
        peak = ", ".join(f"{tops:g} T{'FLOPS' if t.is_float else 'OPS'} {t}" for t, tops in d.compute.peak.items())
        opset = "" if d.onnx is None else f"opset {d.onnx.opset} (reads {d.onnx.oldest} to {d.onnx.newest})"
        facts = {
            "vendor": d.vendor,
            "chip": d.soc,
            "toolchain": " ".join([d.toolchain.name, *d.toolchain.checked[-1:]]),
            "written": d.summary,
            "ONNX": opset,
            "shapes": "static" if d.static_shapes else "static or open",
            "element types": f"{', '.join(str(t) for t in d.dtypes.computed)}; floats in {d.dtypes.float}",
            "INT8": "" if d.quantization is None else d.quantization.form,
            "weights alone": ""
            if d.quantization is None or d.quantization.weights is None
            else d.quantization.weights.describe(),
            "compute": f"{d.compute.cores} cores{f', {peak}' if peak else ''}",
            "alignment": f"{d.alignment.bytes} bytes",
            "layouts": ", ".join(dict.fromkeys(x.name for x in d.layouts)),
            "Kubernetes": d.kubernetes.resource,
        }
        lines = [f"{d.name}: {d.title}{' (experimental)' if d.experimental else ''}"]
        lines += [f"  {key + ':':<15}{text}" for key, text in facts.items() if text]
        lines += [f"  option {text}" for text in map(str, options_of(self.options))]
        return "\n".join([*lines, *(f"  note: {note}" for note in d.notes)])

    # -------------------------------------------------------------------------------------- verdicts
    def verdict(self, node: Node) -> NodeVerdict:
        """Whether the target takes `node`, as it is or through a rewrite that UAIR applies, with reason and source.

        The answer is about the node's operator, attributes and operand types, not about where it stands in a graph.
        """
        return self._verdict(node, 0)

    def must_decompose(self, node: Node) -> str:
        """Why legalisation has to decompose `node`; empty when the verdict takes it as it is.

        The decomposition's own nodes are asked again.
        """
        verdict = self.verdict(node)
        if verdict.through[:1] != (_decompose(node.op),):
            return ""
        entry = self.description.operators.get(node.op_type)
        stated = entry.entry.reason if entry is not None and entry.entry.prefer == "decomposed" else ""
        return stated or f"{self.description.title} takes {node.op_type} better, or only, in its decomposed form"

    def _verdict(self, node: Node, depth: int) -> NodeVerdict:
        if node.op_type == "Identity":
            return NodeVerdict(Support.SUPPORTED, through=("eliminate Identity",))
        barrier = self._barrier(node)
        if barrier is not None:
            return barrier
        direct = self.direct_verdict(node)
        if direct.support is Support.SUPPORTED or depth >= MAX_DECOMPOSITIONS:
            return direct
        rewritten = self._rewritten(node, direct, depth)
        if rewritten is not None:
            return rewritten
        entry = self.description.operators.get(node.op_type)
        parts = [] if entry is not None and entry.entry.prefer == "kept" else decomposition(node)
        if not parts:
            return direct
        through = worst(self._verdict(part, depth + 1) for part in parts)
        if through.support.rank >= direct.support.rank:
            return direct
        return _decomposed(node.op, direct, through)

    def rewrite_for(self, node: Node) -> str:
        """Name of the rewrite (uair.passes.rewrites) by which the target takes more of `node`; empty when none is."""
        entry = self.description.operators.get(node.op_type)
        if entry is None or not entry.entry.rewrites or self._barrier(node) is not None:
            return ""
        direct = self.direct_verdict(node)
        found = None if direct.support is Support.SUPPORTED else self._rewritten(node, direct, 0)
        return "" if found is None else found.through[0]

    def _rewritten(self, node: Node, direct: NodeVerdict, depth: int) -> NodeVerdict | None:
        """The verdict on a node through the first rewrite of its entry that applies and helps; None without one."""
        entry = self.description.operators.get(node.op_type)
        if entry is None or direct.on_device:
            return None
        for name in entry.entry.rewrites:
            parts = resolve(REPLACEMENT)(node, name)
            if parts is None:
                continue
            through = worst([NodeVerdict(Support.SUPPORTED), *(self._verdict(part, depth + 1) for part in parts)])
            if through.support.rank < direct.support.rank:
                return _through(name, direct, through)
        return None

    def _barrier(self, node: Node) -> NodeVerdict | None:
        """What no operator may have on this target: an element type it refuses, a size that only the data decides."""
        description = self.description
        accepted = description.dtypes.accepted
        for tensor in (*node.inputs, *node.outputs):
            if tensor is not None and description.static_shapes and not tensor.type.is_tensor:
                return _no(f"the target takes tensors only, a value is {tensor.type}")
            if tensor is not None and tensor.type.dtype not in accepted and not self._is_weight(node, tensor):
                help_ = REMOVE_QUANTIZATION if node.op_type in QUANTIZATION else _narrower(tensor, accepted)
                return _no(f"element type {tensor.type.dtype} is not accepted", suggestion=help_)
            if tensor is not None and description.max_rank and tensor.type.shape is not None:
                if tensor.type.rank > description.max_rank:
                    return _no(
                        f"rank {tensor.type.rank} is more than the {description.max_rank} axes the target takes",
                        suggestion="merge axes with Reshape",
                    )
        if description.static_shapes and data_dependent(node):
            return _no(
                "the size of its result depends on the data, and the target takes static shapes only",
                suggestion="run it on the CPU behind the model",
            )
        return None

    def _is_weight(self, node: Node, tensor: Tensor) -> bool:
        """Whether a value is a weight of few bits as the target takes it: a constant that is dequantized."""
        quantization = self.description.quantization
        if quantization is None or quantization.weights is None or node.op_type != "Dequantize":
            return False
        return tensor.is_constant and tensor.type.dtype is DType.I4 and 4 in quantization.weights.bits

    def direct_verdict(self, node: Node) -> NodeVerdict:
        """The verdict on the operator as it is (or in the decomposed form that the vendor recognises).

        What `verdict` starts from, before it tries decompositions.
        """
        entry = self.description.operators.get(node.op_type)
        if entry is not None and entry.entry.prefer == "decomposed" and entry.entry.support is not None:
            return attrs.evolve(_by_entry(node, entry, None), through=(_decompose(node.op),))
        listed = self._listed(node)
        if listed is not None and listed.support is Support.UNSUPPORTED:
            return listed
        if entry is None:
            return listed or self._unlisted(node)
        return _by_entry(node, entry, listed)

    def _listed(self, node: Node) -> NodeVerdict | None:
        """What the vendor's list of ONNX operators says; None when there is no list."""
        onnx = self.description.onnx
        names = self.description.onnx_operators
        try:
            emitted = self.emitted_ops(node)
        except UairError as error:
            return _no(error.message, suggestion=error.hint)
        if onnx is None or names is None:
            return None
        source = self.description.source(onnx.source)
        if emitted is None:
            return NodeVerdict(
                Support.UNKNOWN,
                "the target's list is by ONNX name, and the ONNX form of the node is not known",
                source=source,
                confidence=Confidence.UNCERTAIN,
            )
        missing = [name for name in dict.fromkeys(emitted) if name not in names]
        if missing:
            return NodeVerdict(
                Support.UNSUPPORTED,
                f"ONNX {', '.join(missing)} (opset {onnx.opset}) is not in the vendor's list",
                source=source,
                confidence=confidence_of(None, source),
            )
        return NodeVerdict(Support.SUPPORTED, source=source, confidence=confidence_of(None, source))

    def _unlisted(self, node: Node) -> NodeVerdict:
        support = self.description.unlisted
        if support is Support.SUPPORTED:
            return NodeVerdict(support)
        reason = f"no source says whether {node.op_type} is taken"
        if support is Support.UNSUPPORTED:
            reason = f"{node.op_type} is not among the operators of {self.description.title}"
        return NodeVerdict(support, reason, confidence=Confidence.UNCERTAIN)

    def __repr__(self) -> str:
        return f"<target {self.name}>"


# ----------------------------------------------------------------------------------------- verdicts
def _by_entry(node: Node, table: OperatorSupport, listed: NodeVerdict | None) -> NodeVerdict:
    """The verdict of an operator entry and its constraints."""
    entry = table.entry
    if entry.support is not None:
        words = {Support.PARTIAL: " does not run on the accelerator", Support.UNSUPPORTED: " is not taken"}
        reason = entry.reason or (f"{node.op_type}{words[entry.support]}" if entry.support in words else "")
        base = NodeVerdict(
            entry.support,
            reason,
            source=table.source,
            confidence=table.confidence,
            suggestion=entry.suggestion,
            stays=entry.stays,
        )
    else:
        base = listed or NodeVerdict(Support.UNKNOWN, "the vendor's list was not consulted")
    if entry.prefer == "decomposed" and entry.support is None and base.support is Support.SUPPORTED:
        base = NodeVerdict(
            Support.UNSUPPORTED,
            entry.reason or f"{node.op_type} is taken in its decomposed form only",
            source=table.source,
            confidence=table.confidence,
            suggestion=entry.suggestion,
        )
    answers = (constraint_verdict(node, each) for each in table.constraints)
    return worst([base, *(a for a in answers if a is not None)])


def constraint_verdict(node: Node, each: OperatorConstraint) -> NodeVerdict | None:
    """The verdict of a constraint that does not hold; None when it does."""
    outcome = each.constraint.evaluate(node)
    if outcome.truth is True:
        return None
    clauses = outcome.failing or outcome.undecided
    text = "; ".join(c.text for c in clauses)
    values = ", ".join(dict.fromkeys(c.values for c in clauses if c.values))
    if outcome.truth is None:
        return NodeVerdict(
            Support.UNKNOWN,
            f"whether {text} depends on a size that is not known: {values}",
            text,
            values,
            each.source,
            each.confidence,
            suggestion="bind the sizes, e.g. --shape x=1,3,224,224",
        )
    reason = f"needs {text}, but {values}" if values else f"needs {text}"
    if each.entry.reason:
        reason += f": {each.entry.reason}"
    return NodeVerdict(
        each.entry.otherwise,
        reason,
        text,
        values,
        each.source,
        each.confidence,
        suggestion=each.entry.suggestion,
        stays=each.entry.stays,
    )


def _decompose(op: Operator) -> str:
    return f"decompose {op.op_type}"


def _decomposed(op: Operator, direct: NodeVerdict, through: NodeVerdict) -> NodeVerdict:
    """The verdict of an operator that the target takes through its decomposition."""
    return _through(_decompose(op), direct, through, where="in its decomposition")


def _through(name: str, direct: NodeVerdict, through: NodeVerdict, where: str = "rewritten") -> NodeVerdict:
    """The verdict of an operator that the target takes through others."""
    rewrites = (name, *through.through)
    reason = "" if through.support is Support.SUPPORTED else f"{where}: {through.reason}"
    return NodeVerdict(
        through.support,
        reason,
        through.clause,
        through.values,
        through.source or direct.source,
        through.confidence,
        tuple(dict.fromkeys(rewrites)),
        through.suggestion,
    )


def _no(reason: str, suggestion: str = "") -> NodeVerdict:
    return NodeVerdict(Support.UNSUPPORTED, reason, suggestion=suggestion)


def _narrower(tensor: Tensor, accepted: Sequence[DType]) -> str:
    """What to do about an element type that is not accepted."""
    if tensor.type.dtype.is_float and DType.F32 in accepted:
        return "convert the model to f32: uair opt MODEL -p to-f32 -o MODEL_F32.onnx"
    if tensor.type.dtype.is_integer and DType.I32 in accepted:
        return "convert the values to i32"
    return ""


# -------------------------------------------------------------------------------------------- graphs
def decomposition(node: Node) -> list[Node]:
    """The nodes that `node` stands for, operands first; empty when its operator has no decomposition for it.

    Nodes that only compute on constants are left out: they are folded.
    """
    made = node.op.decompose(*node.inputs)
    if made is None:
        return []
    results = made if isinstance(made, tuple) else (made,)
    known = {t for t in node.inputs if t is not None}
    found: dict[Node, None] = {}

    def visit(tensor: Tensor) -> Iterator[Node]:
        producer = tensor.producer
        if tensor in known or producer is None or producer in found:
            return
        for operand in producer.inputs:
            if operand is not None:
                yield from visit(operand)
        found[producer] = None
        yield producer

    parts = [part for tensor in results for part in visit(tensor)]
    return [part for part in parts if not all(t is None or t.is_constant for t in part.inputs)]


def data_dependent(node: Node) -> bool:
    """Whether a result has a symbolic size that neither the operands' types nor the attributes have.

    What the graphs of control flow see of the graph around them counts as operands.
    """
    sizes: set[str] = set()
    for tensor in node.outputs:
        if tensor.type.shape is None or not tensor.type.is_tensor:
            return True
        sizes.update(symbols_of(tensor.type.shape))
    if not sizes:
        return False
    captured = (t for region in node.regions for t in region.captures())
    for operand in (*node.inputs, *captured):
        if operand is not None and operand.type.shape is not None:
            sizes.difference_update(symbols_of(operand.type.shape))
    return bool(sizes - set(node.op.symbols()))
