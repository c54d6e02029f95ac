"""The stages of a compilation for one target, after the shapes are bound."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

from uair.driver.naming import name_tensors
from uair.driver.standard import preparation, standard_passes
from uair.errors import UairError
from uair.ir.graph import Graph
from uair.ir.module import Module
from uair.pipeline import Instrument, Pass, PassContext, PassManager
from uair.quant.errors import CalibrationSourceError, SchemeError
from uair.quant.scheme import WEIGHT_ONLY, WeightScheme
from uair.quant.tensor_range import TensorRange, ranges_of
from uair.request import EFFORTS, RANGES, WEIGHT_METHODS, CompileRequest, Int8, Quantization, WeightOnly

if TYPE_CHECKING:
    from uair.passes.shape_buckets import Buckets
    from uair.quant.calibration import Calibration
    from uair.targets import DeviceDescription
    from uair.targets.check import CheckReport


class DoesNotFit(UairError):
    """A target does not take some nodes of a model, not even rewritten; every kind is listed with reason and help."""

    code = "UAIR-E0520"
    title = "Model does not fit the target"


@attrs.frozen
class Stages:
    """What is done to a module for one target.

    Attributes:
        request: what was asked for.
        target: the target.
        buckets: the sizes of each bucket.
        context: what passes report to.
        watchers: instruments.
    """

    request: CompileRequest
    target: Any
    buckets: Buckets
    context: PassContext
    watchers: Sequence[Instrument]

    @property
    def quantizes_early(self) -> bool:
        """Whether the target is given the quantized module."""
        return self.request.quantization is not None and not self.target.emits_float(self.request)

    @property
    def quantizes_late(self) -> bool:
        """Whether the target is given the float module, and the quantized one is kept beside it."""
        return self.request.quantization is not None and bool(self.target.emits_float(self.request))

    def run(self, passes: Sequence[Pass], module: Module) -> None:
        """Run passes on a module."""
        PassManager(passes, self.watchers, self.context).run(module)

    def prepare(self, module: Module) -> None:
        """Fuse, and bring into a form that suits the target."""
        self.run([*standard_passes(), *preparation(self.target, module)], module)

    def quantize(self, module: Module, samples: Calibration | None) -> None:
        """Quantize with the target's scheme."""
        settings = self.request.quantization
        assert settings is not None
        if isinstance(settings, Int8):
            self.run([*self.target.before_int8(), self._int8(settings, samples)], module)
        else:
            self.run([self._weights(settings, samples)], module)
        if isinstance(settings, Int8) and settings.statistics is not None:
            assert samples is not None
            if samples.made is not None:
                samples.made.save(settings.statistics)
        if self.quantizes_late and samples is not None and samples.stands_alone and samples.record is not None:
            self.context.reports["quantization"]["notes"].append(
                f"{self.target.name}'s own tool calibrates, with the {len(samples.record.kept)} samples that the saved "
                "calibration keeps: give the data for more"
            )

    def _int8(self, settings: Int8, samples: Calibration | None) -> Pass:
        from uair.codegen.reference import Interpreter
        from uair.passes.quantize_int8 import QuantizeInt8

        described, least = self.target.description.quantization, settings.least_cosine
        if least is None:
            least = 0.0 if described is None or not _may_be_run(samples) else described.least_cosine
        return QuantizeInt8(
            per_channel=settings.per_channel,
            skip=settings.skip,
            scheme=self.target.scheme_for(self.request),
            device=self.target.description,
            effort=settings.effort,
            range=settings.range,
            sensitivity=settings.sensitivity,
            least_cosine=least,
            most_float=1.0 if settings.most_float is None else settings.most_float,
            wide=described is not None and described.wide,
            floats=not self.target.emits_float(self.request),
            samples=samples,
            interpreter=Interpreter,
        )

    def _weights(self, settings: WeightOnly, samples: Calibration | None) -> Pass:
        from uair.codegen.reference import Interpreter
        from uair.passes.quantize_weights import QuantizeWeights

        return QuantizeWeights(
            bits=settings.bits,
            group=settings.group,
            symmetric=settings.symmetric,
            method=settings.method,
            skip=settings.skip,
            scheme=weight_scheme(self.target, settings.bits),
            samples=samples,
            interpreter=Interpreter,
        )

    def check(self, module: Module) -> list[CheckReport]:
        """The verdicts; one report for each bucket."""
        from uair.passes.shape_buckets import in_bucket
        from uair.targets.check import check_module

        modules = [in_bucket(module, sizes) for sizes in self.buckets.sizes] or [module]
        return [check_module(each, self.target) for each in modules]

    def legalise(self, module: Module, samples: Calibration | None) -> Module:
        """Legalise in place, and quantize where that comes last; the module that the target writes."""
        self.run(self.target.legalise(), module)
        if self.request.quantization is not None:
            name_tensors(module, self.target.names)
        if not self.quantizes_late:
            return module
        emitted = module.clone()
        self.quantize(module, samples)
        return emitted

    def ranges(self, module: Module, emitted: Module) -> dict[str, TensorRange]:
        """How the activations of a quantized module are quantized, by the name of the tensor in the emitted one."""
        if self.request.quantization is None:
            return {}
        known = {tensor.name for tensor in emitted.main.tensors()}
        return {tensor.name: found for tensor, found in ranges_of(module.main).items() if tensor.name in known}


def require_fit(report: CheckReport, *, refused_by: str = "") -> None:
    """Refuse a module with nodes that the target does not take.

    Args:
        report: what the target says.
        refused_by: the target that did not take the nodes before, when this one is its fallback.

    Raises:
        DoesNotFit: naming every kind of node, its reason and what would help.
    """
    from uair.targets.verdict import Support

    refused = [row for row in report.rows if row.verdict.support is Support.UNSUPPORTED]
    if not refused:
        return
    lines: dict[str, list[str]] = {}
    for row in refused:
        help_text = f" ({row.verdict.suggestion})" if row.verdict.suggestion else ""
        lines.setdefault(f"{row.op_type}: {row.verdict.reason}{help_text}", []).append(row.node)
    shown = [f"   {what}: {', '.join(n[:3])}" + (f" and {len(n) - 3} more" * (len(n) > 3)) for what, n in lines.items()]
    fault = (
        f"fit neither {refused_by} nor its fallback, {report.target}" if refused_by else f"do not fit {report.target}"
    )
    raise DoesNotFit(
        f"{len(refused)} of {len(report.rows)} nodes {fault}",
        window="\n".join(shown[:20]),
        hint=f"`uair check MODEL --target {report.target}` shows every node with the source of the answer",
    )


def weight_scheme(target: Any, bits: int) -> WeightScheme:
    """What weights of so many bits a target computes with in floating point; the interpreter takes any.

    Raises:
        SchemeError: it takes none.
    """
    from uair.targets import description_names, load_description

    described = target.description.quantization
    weights: WeightScheme | None = None if described is None else described.weights
    if weights is not None and bits in weights.bits:
        return weights
    if target.quantization is None and target.fallback is None:
        return WEIGHT_ONLY
    taking = [name for name in description_names() if takes_weights(load_description(name), bits)]
    other = "int8" if weights is None else f"what it takes ({weights.describe()}) or int8"
    reason = described.few_bits if described is not None else ""
    raise SchemeError(
        f"target {target.name!r} does not compute in floating point with weights of {bits} bits"
        + (f": {reason}" if reason else ""),
        hint=f"choose {other}, or a target that does: {', '.join(taking)}",
    )


def takes_weights(description: DeviceDescription, bits: int) -> bool:
    """Whether a device's file says that it computes with weights of so many bits."""
    quantization = description.quantization
    return quantization is not None and quantization.weights is not None and bits in quantization.weights.bits


def require_quantizable(settings: Quantization, target: Any) -> None:
    """Refuse what a device does not run (the interpreter, which is no device, runs what the CPU does), wrong settings.

    Raises:
        SchemeError: see there.
    """
    if isinstance(settings, WeightOnly):
        if settings.method not in WEIGHT_METHODS:
            raise SchemeError(
                f"there is no method {settings.method!r}", hint=f"it is one of {', '.join(WEIGHT_METHODS)}"
            )
        weight_scheme(target, settings.bits)
        return
    if target.quantization is None and target.fallback is not None:
        raise SchemeError(
            f"target {target.name!r} does not run quantized models",
            hint="compile it in float, or choose a target with INT8 (`uair targets NAME` says)",
        )
    least = settings.least_cosine
    if least is not None and not 0 <= least <= 1:
        raise SchemeError(f"least_cosine is {least}", hint="a cosine similarity that can be asked for is from 0 to 1")
    share = settings.most_float
    if share is not None and not 0 <= share <= 1:
        raise SchemeError(f"most_float is {share}", hint="a share of the multiply-adds is from 0 to 1")
    for name, value, known in (("effort", settings.effort, EFFORTS), ("range", settings.range, RANGES)):
        if value not in known:
            raise SchemeError(f"there is no {name} {value!r}", hint=f"it is one of {', '.join(known)}")


def open_samples(request: CompileRequest, graph: Graph) -> Calibration | None:
    """The calibration samples, when quantization is asked for.

    Raises:
        CalibrationSourceError: there are none, or what is wanted cannot be told by what a file kept of them.
    """
    if request.quantization is None or request.quantization.calibration is None:
        return None
    from uair.quant.calibration import open_calibration

    settings = request.quantization
    samples = open_calibration(
        settings.calibration,
        {n: t.type for n, t in zip(graph.input_names, graph.inputs, strict=True)},
        preprocess=request.preprocess,
        limit=settings.samples,
    )
    if isinstance(settings, WeightOnly):
        if not _may_be_run(samples):
            raise CalibrationSourceError(
                f"{samples.description} keeps no samples, and weights are rounded by what samples show",
                hint="give the samples themselves, or leave them out: weights are then rounded to the nearest",
            )
        return samples
    if settings.statistics is not None and not samples.stands_alone:
        from uair.quant.record import CalibrationRecord

        samples.keep = settings.keep_samples
        saved = Path(settings.statistics)
        samples.record = CalibrationRecord.load(saved) if saved.exists() else None
    return samples


def _may_be_run(samples: Calibration | None) -> bool:
    """Whether there are samples, and not only what they showed."""
    return samples is None or samples.record is None or not samples.stands_alone or bool(samples.record.kept)
