"""INT8 post-training quantization."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Literal

import attrs

from uair.context import resolve
from uair.ir.dtype import Array, DType
from uair.ir.graph import Graph
from uair.ir.module import Module
from uair.passes.quantization.broken import blamed, broken_weights
from uair.passes.quantization.choose import NodeResult, Settings
from uair.passes.quantization.even_channels import axes_to_watch, even_channels
from uair.passes.quantization.facts import facts_by_operand, worst_tensors
from uair.passes.quantization.insert import Inserter
from uair.passes.quantization.mixed import Budget, Runner, Split, beyond_budget, float_share, spent, split_precision
from uair.passes.quantization.placement import Plan, plan_quantization
from uair.passes.quantization.quality import measure_quality
from uair.passes.quantization.recording import Recorded, calibrate
from uair.passes.quantization.report import Findings, make_report
from uair.passes.quantization.trial import Study, Trial, choose_trial
from uair.pipeline import DIFFERENTIATOR, INTERPRETER, Pass, PassContext, service
from uair.preprocess import Preprocess
from uair.quant.calibration import Calibration, open_calibration
from uair.quant.errors import CalibrationSourceError, EmptyCalibrationError, QuantizationError, SchemeError
from uair.quant.scheme import Scheme
from uair.request import RangeMethod
from uair.targets import DeviceDescription, load_description

if TYPE_CHECKING:
    from uair.passes.quantization.refine import Refinement

REPORT = "quantization"
FALLBACK: RangeMethod = "mse"
WITHOUT_SAMPLES = (
    "the calibration keeps no samples: ways to choose ranges were not compared (range=auto means the least squared "
    "error), weights are rounded to the nearest, and the outputs were not measured"
)


@attrs.frozen
class QuantizeInt8(Pass):
    """Let convolutions and matrix products compute on 8-bit integers, with parameters from calibration samples.

    Quantize and Dequantize nodes are inserted explicitly: a pair in front of every quantized operand, and a Dequantize
    behind the integers of weights and biases. Which operators are quantized, how finely, and whether the graph between
    them is quantized too, is the scheme's affair. Nodes that cannot be quantized stay float and are reported with the
    reason in `context.reports["quantization"]`.

    Attributes:
        calib: path of the calibration data, see uair.quant.calibration.
        limit: how many samples are used at most.
        target: name of the target whose scheme is used.
        range: how activation ranges are chosen: "minmax", "percentile", "mse", "entropy" (least Kullback-Leibler
            divergence), or "auto": by trying the first three on some of the samples, and comparing the model's outputs.
        percentile: how much of the values "percentile" keeps, in per cent.
        per_channel: whether weights may have one scale per output channel where the scheme allows it.
        placement: "compute", "all" or "residual" instead of the scheme's; see Scheme.
        weight_search: choose weight scales by least squared error instead of by the greatest magnitude.
        weight_rounding: round weights, and correct biases, by what some of the samples say that it does to the results
            of each layer, where samples that this was not learned from and the model's outputs agree; else to the
            nearest.
        even_channels: bring the channels of an activation to similar ranges: the layer in front takes the division, or,
            where much is gained and what lies between layers is float, a multiplication.
        skip: names of nodes, source nodes or operators, with `*` and `?`, that stay float.
        quality: compare the quantized nodes with the float ones on some of the samples, for the report.
        sensitivity: also measure, for the report, what each node alone and the first few together would gain in float;
            it takes about as many runs of the kept samples as half the number of nodes.
        effort: "high" also judges the ways of choosing ranges by samples that did not make them, equalises channels,
            each only where samples that it did not learn from say that it helps, and tunes scales, zero points and
            biases by gradients of what rounding does to the outputs, unless they say that it does harm; else the
            default's result stays. It takes minutes.
        least_cosine: parts of the model stay float until every output has at least this cosine similarity with the
            float model's, on some of the samples; 0: everything that can be is quantized.
        most_float: greatest share of the multiply-adds that may be in float for the sake of that; a note says what was
            reached where it is not enough.
        wide: whether these parts may have activations of 16 bits, which is tried before float.
        floats: whether parts may be in float at all.
        scheme: the target's scheme; overrides that of `target`.
        device: the description of the target; overrides `target`, but for the scheme.
        samples: the calibration samples, mappings of arrays by input name; overrides `calib`.
        preprocess: how calibration images become inputs, by input name, for `calib`.
        interpreter: class of what runs a module.
        differentiator: class of what finds gradients, for `effort = "high"`.
    """

    calib: str = ""
    limit: int = 64
    target: str = "cpu"
    range: Literal["auto", "entropy", "minmax", "mse", "percentile"] = "auto"
    percentile: float = 99.99
    per_channel: bool = True
    placement: Literal["compute", "all", "residual"] | None = None
    weight_search: bool = True
    weight_rounding: bool = True
    even_channels: bool = True
    skip: tuple[str, ...] = ()
    quality: bool = True
    sensitivity: bool = False
    effort: Literal["default", "high"] = "default"
    least_cosine: float = 0.0
    most_float: float = 1.0
    wide: bool = False
    floats: bool = True
    scheme: Scheme | None = service()
    device: DeviceDescription | None = service()
    samples: Iterable[Mapping[str, Any]] | None = service()
    preprocess: Mapping[str, Preprocess] | None = service()
    interpreter: Any = service(INTERPRETER)
    differentiator: Any = service(DIFFERENTIATOR)

    def run(self, module: Module, context: PassContext) -> bool:
        """Quantize the main graph.

        Raises:
            CalibrationSourceError, CalibrationDataError, EmptyCalibrationError: the samples; QuantizationError: an
            activation is not finite on them; UnknownNameError: `skip` names what does not exist.
        """
        scheme = self._scheme()
        graph = module.main
        plan = plan_quantization(graph, scheme, self.skip)
        samples = self._samples(module)
        broken = broken_weights(graph)
        if not plan.nodes:
            report = make_report(plan, Trial(), Findings(), samples, None, spec=self.spec, scheme=scheme)
            share = float_share(graph, [])
            report["summary"] |= self._spent(graph, Split([]))
            report["notes"] += [*broken, *beyond_budget(share, self._budget())]
            context.reports[REPORT] = report
            return False
        try:
            calibrated = self._calibrated(module, plan, samples, context)
        except QuantizationError as error:
            raise blamed(error, broken) from error
        statistics = calibrated.statistics
        if not statistics.count:
            raise EmptyCalibrationError("there are no calibration samples", hint="give at least one")
        if not statistics.kept:
            self._require_no_trials()
            calibrated.notes.append(WITHOUT_SAMPLES)
        method = self.range if statistics.kept or self.range != "auto" else FALLBACK
        settings = Settings(method, self.percentile, self.per_channel, self.weight_search, self.weight_rounding)
        study = Study(module, plan, statistics, scheme, resolve(self.interpreter))
        evened = 0
        if self.even_channels:
            study, evened = self._even_channels(study, context)
        context.tell("choosing ranges")
        trial = choose_trial(study, settings, shows_outputs=self.quality and self._budget().float_type is DType.F32)
        refinement = self._refined(study, trial, samples, settings, context) if self.effort == "high" else None
        if refinement is not None:
            study, trial = refinement.study, refinement.trial
            calibrated.notes += refinement.notes
        plan = study.plan
        split = split_precision(study, trial.results, self._budget(), self._device_run())
        trial.outputs, trial.results = trial.outputs if split.results is trial.results else {}, split.results
        plan.float_nodes += [*trial.failed, *split.stay]
        plan.nodes = [result.item for result in trial.results]
        context.tell("measuring the result")
        findings = self._findings(study, trial, context)
        changed = self._insert(module, context, plan, trial.results, scheme) or evened > 0
        report = make_report(plan, trial, findings, samples, statistics, spec=self.spec, scheme=scheme)
        report["summary"]["stages"] = [] if refinement is None else [each.to_json() for each in refinement.stages]
        report["summary"]["evened"] = evened
        report["summary"] |= self._spent(study.module.main, split)
        report["notes"] += [*broken, *calibrated.notes, *split.notes]
        if calibrated.digest:
            report["summary"]["calibration"]["statistics"] = calibrated.digest
        context.reports[REPORT] = report
        return changed

    def _calibrated(
        self, module: Module, plan: Plan, samples: Iterable[Mapping[str, Array]], context: PassContext
    ) -> Recorded:
        most = samples.limit if isinstance(samples, Calibration) else 0
        return calibrate(
            module,
            plan,
            resolve(self.interpreter)(module),
            samples,
            lambda n: context.tell("calibration samples", n, most),
            axes_to_watch(plan, self._scheme_to_even()) if self.even_channels else {},
        )

    def _even_channels(self, study: Study, context: PassContext) -> tuple[Study, int]:
        """The study of the model with evened channels, and how many activations were changed."""
        found, changes = even_channels(
            study, self._scheme_to_even(), self.skip, lambda node: context.fuel.draw(self.name, node)
        )
        study.statistics.channels = {}  # nothing else asks for them
        return found, len(changes)

    def _refined(
        self,
        study: Study,
        trial: Trial,
        samples: Iterable[Mapping[str, Array]],
        settings: Settings,
        context: PassContext,
    ) -> Refinement:
        """What more effort makes of the default's result."""
        from uair.passes.quantization.refine import Refinement

        context.tell("judging ranges, equalising channels, tuning parameters")
        refinement = Refinement(
            study, trial, samples, settings, self.skip, resolve(self.differentiator), context, self.name
        )
        refinement.run()
        return refinement

    def _scheme_to_even(self) -> Scheme:
        scheme = self._scheme()
        return scheme if self.per_channel else attrs.evolve(scheme, per_channel=())

    def _budget(self) -> Budget:
        device = self._description()
        return Budget(
            self.least_cosine,
            self.most_float,
            self.wide,
            self.floats,
            device.dtypes.float if device.dtypes.float.is_float else DType.F32,
        )

    def _description(self) -> DeviceDescription:
        return load_description(self.target) if self.device is None else self.device

    def _device_run(self) -> Runner:
        """What runs a module with floats as the device holds them."""
        made, dtype = resolve(self.interpreter), self._budget().float_type
        runner: Runner = made if dtype is DType.F32 else functools.partial(made, rounding={"": dtype})
        return runner

    def _spent(self, graph: Graph, split: Split) -> dict[str, Any]:
        """Of the summary: the share in float, in which type, and how that keeps to what was wanted."""
        budget = self._budget()
        found = spent(budget, split, graph)
        shown = {key: found[key] for key in ("float_share", "float_type")}
        return {**shown, "budget": found} if budget.is_stated else shown

    def _findings(self, study: Study, trial: Trial, context: PassContext) -> Findings:
        """What the report says beyond the parameters."""
        results = trial.results
        ranges = facts_by_operand(study, results)
        if not self.quality:
            return Findings(ranges=ranges)
        quality = measure_quality(study, results, self._device_run(), trial.outputs)
        sensitivity: dict[str, Any] = {}
        if self.sensitivity:
            from uair.passes.quantization.sensitivity import measure_sensitivity

            context.tell("measuring what each node costs")
            sensitivity = measure_sensitivity(study, results, self._device_run(), self._budget().float_type)
        return Findings(quality, ranges, worst_tensors(study, results, quality), sensitivity)

    def _require_no_trials(self) -> None:
        """Refuse what is decided by running samples, where a record keeps none.

        Raises:
            EmptyCalibrationError: see there.
        """
        wanted = {
            f"effort={self.effort}": self.effort != "default",
            "least-cosine": self.least_cosine > 0,
            "sensitivity": self.sensitivity,
        }
        for asked in (name for name, given in wanted.items() if given):
            raise EmptyCalibrationError(
                f"{asked} is decided by running some of the samples, and the calibration keeps none",
                hint="give the calibration data, or save the calibration with some samples in it",
            )

    # -------------------------------------------------------------------------------------------------------- inputs
    def _scheme(self) -> Scheme:
        scheme = self.scheme
        if scheme is None:
            described = load_description(self.target).quantization
            if described is None:
                raise SchemeError(f"target {self.target!r} does not run quantized models", hint="choose another target")
            scheme = described.scheme
        return scheme if self.placement is None else attrs.evolve(scheme, placement=self.placement)

    def _samples(self, module: Module) -> Iterable[Mapping[str, Array]]:
        types = {n: t.type for n, t in zip(module.main.input_names, module.main.inputs, strict=True)}
        if isinstance(self.samples, Calibration):
            return self.samples
        if self.samples is None and not self.calib:
            raise CalibrationSourceError(
                "INT8 quantization needs calibration data", hint="give it with --calib, or quantize-int8{calib=FOLDER}"
            )
        source = self.calib if self.samples is None else self.samples
        return open_calibration(source, types, preprocess=self.preprocess, limit=self.limit)

    def _insert(
        self, module: Module, context: PassContext, plan: Plan, quantized: list[NodeResult], scheme: Scheme
    ) -> bool:
        inserter = Inserter.of(module.main, plan, scheme)
        changed = False
        for result in quantized:
            if not context.fuel.draw(self.name, result.item.node):
                break
            inserter.quantize(result.item, result.activations, result.constants)
            changed = True
        inserter.connect_float_users()
        return changed
