"""INT8 post-training quantization."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Literal

import attrs

from uair.context import resolve
from uair.ir.dtype import Array
from uair.ir.graph import Tensor
from uair.ir.module import Module
from uair.passes.quantization.choose import (
    Choice,
    NodeResult,
    RangeMethod,
    choose_activations,
    quantize_constants,
)
from uair.passes.quantization.insert import Inserter
from uair.passes.quantization.placement import Plan, QuantizedNode, plan_quantization
from uair.passes.quantization.report import make_report
from uair.passes.quantization.statistics import (
    Comparison,
    Interpreter,
    Statistics,
    build_interpreter,
    collect_statistics,
    rounded_operands,
    visit_nodes,
)
from uair.pipeline import Pass, PassContext
from uair.preprocess import Preprocess
from uair.quant.calibration import Calibration, open_calibration
from uair.quant.errors import CalibrationSourceError, EmptyCalibrationError, QuantizationError, SchemeError
from uair.quant.scheme import SCHEMES, Scheme

INTERPRETER = "uair.codegen.reference:Interpreter"
REPORT = "quantization"


def _service(default: Any = None) -> Any:
    """A field that a program sets, and that is no option on the command line."""
    return attrs.field(default=default, metadata={"option": False}, repr=False, eq=False)


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
        target: name of a ready-made scheme: cpu, ascend310, rk3588.
        range: how an activation's range is chosen: "minmax", "percentile", "mse", or "auto": by trying these three on
            some of the samples and comparing the results of the nodes that use the activation.
        percentile: how much of the values "percentile" keeps, in per cent.
        per_channel: whether weights may have one scale per output channel where the scheme allows it.
        placement: "compute" or "all" instead of the scheme's; see Scheme.
        weight_search: choose weight scales by least squared error instead of by the greatest magnitude.
        skip: names of nodes, source nodes or operators, with `*` and `?`, that stay float.
        quality: compare the quantized nodes with the float ones on some of the samples, for the report.
        scheme: the target's scheme; overrides `target`.
        samples: the calibration samples, mappings of arrays by input name; overrides `calib`.
        preprocess: how calibration images become inputs, by input name, for `calib`.
        interpreter: class of what runs a module.
    """

    calib: str = ""
    limit: int = 64
    target: str = "cpu"
    range: Literal["auto", "minmax", "mse", "percentile"] = "auto"
    percentile: float = 99.99
    per_channel: bool = True
    placement: Literal["compute", "all"] | None = None
    weight_search: bool = True
    skip: tuple[str, ...] = ()
    quality: bool = True
    scheme: Scheme | None = _service()
    samples: Iterable[Mapping[str, Any]] | None = _service()
    preprocess: Mapping[str, Preprocess] | None = _service()
    interpreter: Any = _service(INTERPRETER)

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
        if not plan.nodes:
            context.reports[REPORT] = make_report(plan, [], {}, samples, None, spec=self.spec, scheme=scheme)
            return False
        interpreter = build_interpreter(resolve(self.interpreter), module)
        statistics = collect_statistics(plan, interpreter, samples)
        if not statistics.count:
            raise EmptyCalibrationError("there are no calibration samples", hint="give at least one")
        method: RangeMethod = self.range
        chosen, refused = choose_activations(
            plan, statistics, scheme, interpreter, method=method, percentile=self.percentile
        )
        quantized = self._quantize_nodes(plan, chosen, refused, scheme)
        if self.quality:
            _measure(plan, quantized, statistics, interpreter)
        reference = _outputs(interpreter, statistics) if self.quality else []
        changed = self._insert(module, context, plan, quantized, scheme)
        outputs: dict[str, Comparison] = {}
        if self.quality and changed:
            outputs = _compare_outputs(build_interpreter(resolve(self.interpreter), module), statistics, reference)
        context.reports[REPORT] = make_report(
            plan, quantized, outputs, samples, statistics, spec=self.spec, scheme=scheme
        )
        return changed

    # -------------------------------------------------------------------------------------------------------- inputs
    def _scheme(self) -> Scheme:
        scheme = self.scheme
        if scheme is None:
            if self.target not in SCHEMES:
                raise SchemeError(
                    f"there is no ready-made scheme for {self.target!r}", hint=f"there are {', '.join(SCHEMES)}"
                )
            scheme = SCHEMES[self.target]
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

    # --------------------------------------------------------------------------------------------------------- nodes
    def _quantize_nodes(
        self, plan: Plan, chosen: Mapping[Tensor, Choice], refused: Mapping[Tensor, str], scheme: Scheme
    ) -> list[NodeResult]:
        """Parameters and integers of every node that can be quantized; the others go to `plan.float_nodes`."""
        results: list[NodeResult] = []
        for item in plan.nodes:
            roots = {i: plan.groups[item.operand(i)] for i in item.activations}
            reasons = [refused[root] for root in roots.values() if root in refused]
            if reasons:
                plan.float_nodes.append((item.node, reasons[0]))
                continue
            activations = {i: chosen[root].parameters for i, root in roots.items()}
            try:
                constants = quantize_constants(
                    item, activations, scheme, per_channel=self.per_channel, search=self.weight_search
                )
            except QuantizationError as error:
                plan.float_nodes.append((item.node, error.message))
                continue
            methods = {i: chosen[root].method for i, root in roots.items()}
            results.append(NodeResult(item, activations, constants, methods))
        return results

    def _insert(
        self, module: Module, context: PassContext, plan: Plan, quantized: list[NodeResult], scheme: Scheme
    ) -> bool:
        inserter = Inserter(module.main, plan, everywhere=scheme.placement == "all")
        changed = False
        for result in quantized:
            if not context.fuel.draw(self.name, result.item.node):
                break
            inserter.quantize(result.item, result.activations, result.constants)
            changed = True
        inserter.connect_float_users()
        return changed


def _measure(plan: Plan, quantized: list[NodeResult], statistics: Statistics, interpreter: Interpreter) -> None:
    """Run some samples in float, and each quantized node beside it on the same operands."""
    results = {id(result.item): result for result in quantized}
    constants = {key: result.constants.values(result.item) for key, result in results.items()}

    def visit(item: QuantizedNode, operands: list[Array | None], expected: Array) -> None:
        result = results.get(id(item))
        if result is not None:
            rounded = rounded_operands(item, operands, result.activations, constants[id(item)])
            result.comparison.add(expected, item.node.op.evaluate_all(rounded)[0])

    visit_nodes(plan, interpreter, statistics.kept, visit)


def _outputs(interpreter: Interpreter, statistics: Statistics) -> list[dict[str, Array]]:
    return [interpreter.run(sample) for sample in statistics.kept]


def _compare_outputs(
    interpreter: Interpreter, statistics: Statistics, expected: list[dict[str, Array]]
) -> dict[str, Comparison]:
    """The model's floating-point outputs, float against quantized."""
    comparisons: dict[str, Comparison] = {}
    for sample, reference in zip(statistics.kept, expected, strict=True):
        actual = interpreter.run(sample)
        for name, array in reference.items():
            if array.dtype.kind == "f":
                comparisons.setdefault(name, Comparison()).add(array, actual[name])
    return comparisons
