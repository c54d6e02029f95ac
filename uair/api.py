"""The Python API: load, optimise, check, compile, run.

This is the composition root: here, and in uair.cli, the IR, the frontends, the passes and the codegens meet.
"""

from __future__ import annotations

import enum
import os
import tempfile
import weakref
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, cast

import attrs
import numpy as np

from uair.artifact import Artifact, ArtifactBuilder, ArtifactError, build_artifact
from uair.context import Context
from uair.errors import EvaluationError, UairError
from uair.ir.dims import InferredShape
from uair.ir.dtype import Array
from uair.ir.graph import Graph, Tensor
from uair.ir.module import Module, Origin
from uair.ir.types import contained
from uair.pipeline import Instrument, Measure, Pass, PassContext, PassManager, Verify
from uair.preprocess import Preprocess, PreprocessError
from uair.request import CompileRequest, Int8

if TYPE_CHECKING:
    from uair.passes.shape_buckets import Buckets
    from uair.quant.calibration import Calibration
    from uair.targets.check import CheckReport

Model: TypeAlias = "Module | str | os.PathLike[str]"


class DoesNotFit(UairError):
    """A target does not take some nodes of a model, not even rewritten; every kind is listed with reason and help."""

    code = "UAIR-E0520"
    title = "Model does not fit the target"


class UnknownFormatError(UairError):
    """A model is of no format that a frontend reads."""

    code = "UAIR-E0100"
    title = "Unknown model format"


SUFFIXES = {".onnx": "onnx", ".uair": "uair"}
"""Formats by file name."""


def load(source: Model, *, format: str | None = None, **options: Any) -> Module:
    """Read a model.

    Args:
        source: path of an .onnx or .uair file; a Module is returned as it is.
        format: name of the frontend, when the file name does not tell.
        options: passed to the frontend (`external_data_root` for ONNX).

    Raises:
        UairError: the file cannot be read; names the place in it and the next step.
    """
    if isinstance(source, Module):
        return source
    path = Path(source)
    name = format or SUFFIXES.get(path.suffix.lower())
    if name is None:
        known = f"models end in {' or '.join(SUFFIXES)}"
        if path.is_dir():
            raise UnknownFormatError(f"{path} is a folder, not a model", hint=known)
        raise UnknownFormatError(f"{path} is of no known format", hint=known)
    loader = Context.default().frontend(name)
    module: Module = loader(path, **options)
    return module


def optimize(module: Module, *, instruments: Sequence[Instrument] | None = None) -> Module:
    """Canonicalise and fuse a module, in place, and return it.

    Args:
        module: the module.
        instruments: watchers; verification after every pass when not given.
    """
    manager = PassManager(standard_passes(), [Verify()] if instruments is None else instruments)
    return manager.run(module)


def standard_passes() -> list[Pass]:
    """The target-independent part of every pipeline."""
    from uair.passes.canonicalise import Canonicalise
    from uair.passes.fuse import Fuse

    return [Canonicalise(), Fuse()]


def run_pipeline(
    module: Module,
    pipeline: str,
    *,
    shapes: Mapping[str, tuple[int, ...]] | None = None,
    instruments: Sequence[Instrument] | None = None,
) -> Module:
    """Bind shapes, then run a pipeline given as text, in place; returns the module.

    Raises:
        PipelineSyntaxError: the text cannot be understood.
    """
    from uair.passes.bind_shapes import BindShapes
    from uair.pipeline_syntax import parse_pipeline

    passes = parse_pipeline(pipeline, Context.default())
    if shapes:
        passes = [BindShapes(shapes=dict(shapes)), *passes]
    return PassManager(passes, [Verify()] if instruments is None else instruments).run(module)


def export_onnx(
    module: Module, path: str | os.PathLike[str], *, opset: int | None = None, ir_version: int | None = None
) -> None:
    """Write a module as an ONNX file.

    Args:
        module: the module; it is not changed.
        path: the file.
        opset: operator set of the default domain; the newest that the writer knows when not given.
        ir_version: version of the file format; the lowest that knows the operator sets when not given.

    Raises:
        UairError: an operator cannot be expressed at that opset, or the file cannot be written.
    """
    from uair.codegen.onnx import NEWEST_OPSET, export
    from uair.passes.legalise_onnx import LegaliseOnnx

    chosen = NEWEST_OPSET if opset is None else opset
    legal = module.clone()
    PassManager([LegaliseOnnx(opset=chosen)], []).run(legal)
    export(legal, path, opset=chosen, ir_version=ir_version)


def check(
    model: Model, targets: Sequence[str] | str = "all", *, shapes: Mapping[str, tuple[int, ...]] | None = None
) -> list[CheckReport]:
    """Which nodes of a model each target takes, and why not; no vendor tool is needed.

    Args:
        model: a module or a path.
        targets: names of targets, or "all".
        shapes: fixed shapes by input name; open shapes leave some answers unknown.
    """
    from uair.targets.check import check_module

    context = Context.default()
    if isinstance(targets, str):
        names = sorted(context.targets) if targets == "all" else [targets]
    else:
        names = list(targets)
    module = load(model).clone()
    from uair.passes.bind_shapes import BindShapes

    PassManager([BindShapes(shapes=dict(shapes or {})), *standard_passes()], []).run(module)
    return [check_module(_prepared(module, target), target) for target in map(context.target, names)]


def _prepared(module: Module, target: Any) -> Module:
    """The module as a target's rewrites leave it; the module itself when there are none."""
    passes = target.prepare()
    return PassManager(passes, []).run(module.clone()) if passes else module


@attrs.define(eq=False)
class _Compilation:
    """State of one compilation."""

    request: CompileRequest
    target: Any
    reference: Module
    module: Module
    context: PassContext
    measure: Measure
    report: CheckReport
    sample: Mapping[str, Array] | None


def compile(
    model: Model,
    target: str,
    *,
    output: str | os.PathLike[str] | None = None,
    shapes: Mapping[str, tuple[int, ...]] | None = None,
    quantize: Int8 | None = None,
    preprocess: Mapping[str, Preprocess] | None = None,
    options: Mapping[str, Any] | None = None,
    buckets: Sequence[Mapping[str, Sequence[int]]] = (),
    overwrite: bool = False,
    golden: bool | Mapping[str, Any] = True,
    instruments: Sequence[Instrument] = (),
) -> Artifact:
    """Compile a model for a target.

    Args:
        model: a module (which is not changed) or a path.
        target: name of the target, see `uair targets`.
        output: the folder to make, or a file name with a suffix for one zip file; a temporary folder that lives as long
            as the result when not given.
        shapes: fixed shapes by input name, for inputs with symbolic sizes.
        quantize: INT8 quantization with its calibration data.
        preprocess: how images become inputs, by input name; recorded and handed to the vendor's tool.
        options: what the target is told, by name, see `uair targets NAME`.
        buckets: the input shapes that one compiled model is to take, each by input name, for targets that can; sizes in
            which they differ must be open in the model.
        overwrite: replace an existing output.
        golden: compute and store a reference input and output; an input by name is the one to take, otherwise it is the
            first calibration sample, or random numbers.
        instruments: further watchers of the passes.

    Returns:
        the artifact.

    Raises:
        UairError: nothing is left behind.
    """
    request = CompileRequest(
        target,
        dict(shapes or {}),
        quantize,
        dict(preprocess or {}),
        dict(options or {}),
        tuple({name: tuple(shape) for name, shape in bucket.items()} for bucket in buckets),
    )
    state = _transform(load(model), request, instruments)
    if output is not None:
        with build_artifact(output, overwrite=overwrite) as builder:
            _emit(state, builder, golden=golden)
        return Artifact.open(output, verify=False)
    temporary = tempfile.TemporaryDirectory(prefix="uair-")
    try:
        with build_artifact(Path(temporary.name) / "artifact") as builder:
            _emit(state, builder, golden=golden)
        artifact = Artifact.open(Path(temporary.name) / "artifact", verify=False)
    except BaseException:
        temporary.cleanup()
        raise
    weakref.finalize(artifact, temporary.cleanup)
    return artifact


def _transform(source: Module, request: CompileRequest, instruments: Sequence[Instrument]) -> _Compilation:
    """Run the pipeline of the request's target on a copy of the module."""
    from uair.passes.bind_shapes import BindShapes
    from uair.passes.shape_buckets import in_bucket
    from uair.targets.check import check_module

    target = Context.default().target(request.target)
    target.check_request(request)
    module = source.clone()
    measure = Measure()
    context = PassContext()
    watchers: list[Instrument] = [Verify(), measure, *instruments]
    buckets, request = _resolve_buckets(module.main, request)
    bind = BindShapes(
        shapes=dict(request.shapes), sizes=dict(buckets.common), static=target.requires_static and not buckets.sizes
    )
    PassManager([bind], [Verify()], context).run(module)
    _require_preprocess_fits(module.main, request.preprocess)
    references = [in_bucket(module, sizes) for sizes in buckets.sizes]
    reference = references[0] if references else module.clone()
    calibration = _calibration(request, module.main)
    passes = [*standard_passes(), *target.prepare(), *_quantization(request, target, calibration)]
    PassManager(passes, watchers, context).run(module)
    reports = [check_module(each, target) for each in ([in_bucket(module, z) for z in buckets.sizes] or [module])]
    for report in reports:
        require_fit(report)
    report = reports[0]
    PassManager(target.legalise(), watchers, context).run(module)
    sample = None if calibration is None else calibration.first
    return _Compilation(request, target, reference, module, context, measure, report, sample)


def _resolve_buckets(graph: Graph, request: CompileRequest) -> tuple[Buckets, CompileRequest]:
    """The buckets asked for, and the request with the shape of every input in each.

    Raises:
        BucketError, ShapeBindingError: they do not fit the model.
    """
    from uair.passes.shape_buckets import Buckets, resolve_buckets

    if not request.buckets:
        return Buckets({}, (), ()), request
    buckets = resolve_buckets(graph, request.buckets, request.shapes)
    return buckets, attrs.evolve(request, buckets=buckets.shapes)


def _require_preprocess_fits(graph: Graph, preprocess: Mapping[str, Preprocess]) -> None:
    """Refuse preprocessing for what is no image input of the model.

    Raises:
        PreprocessError: see there.
    """
    for name, chosen in preprocess.items():
        if name not in graph.input_names:
            raise PreprocessError(
                f"preprocessing is given for {name!r}, which is no input",
                hint=f"the inputs are {', '.join(graph.input_names)}",
            )
        chosen.image_size(graph.input(name).type.shape or ())


def require_fit(report: CheckReport) -> None:
    """Refuse a module with nodes that the target does not take.

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
    raise DoesNotFit(
        f"{len(refused)} of {len(report.rows)} nodes do not fit {report.target}",
        window="\n".join(shown[:20]),
        hint=f"`uair check MODEL --target {report.target}` shows every node with the source of the answer",
    )


def _calibration(request: CompileRequest, graph: Graph) -> Calibration | None:
    """The calibration samples, when quantization is asked for."""
    if request.quantization is None:
        return None
    from uair.quant.calibration import open_calibration

    return open_calibration(
        request.quantization.calibration,
        {n: t.type for n, t in zip(graph.input_names, graph.inputs, strict=True)},
        preprocess=request.preprocess,
        limit=request.quantization.samples,
    )


def _quantization(request: CompileRequest, target: Any, samples: Calibration | None) -> list[Pass]:
    """The quantization pass, when asked for."""
    settings = request.quantization
    if settings is None:
        return []
    from uair.codegen.reference import Interpreter
    from uair.passes.quantize_int8 import QuantizeInt8

    return [
        QuantizeInt8(
            per_channel=settings.per_channel,
            skip=settings.skip,
            scheme=target.quantization,
            samples=samples,
            interpreter=Interpreter,
        )
    ]


def _emit(state: _Compilation, builder: ArtifactBuilder, *, golden: bool | Mapping[str, Any]) -> None:
    """Fill an artifact."""
    from uair.text import save

    module, request, report = state.module, state.request, state.report.to_json()
    builder.manifest |= {
        "target": request.target,
        "name": module.name,
        "inputs": describe_interface(module.main.input_names, module.main.inputs, request.preprocess),
        "outputs": describe_interface(module.main.output_names, module.main.outputs),
        "source": describe_origin(module.origin),
        **_describe_request(state),
        "pipeline": [step.spec for step in module.applied],
        "quantization": state.context.reports.get("quantization", {}).get("summary"),
        "toolchain": state.target.toolchain(),
        "verdicts": state.report.summary(),
    }
    builder.report |= {
        "check": report,
        "rules": dict(sorted(state.context.statistics.applied.items())),
        "passes": [{"pass": r.name, "nodes": r.nodes, "changed": r.changed} for r in state.measure.records],
        **state.context.reports,
    }
    save(module, builder.path_for("model.uair"))
    if golden is not False:
        _write_golden(state, builder, None if golden is True else golden)
    state.target.emit(module, builder, request)


def _describe_request(state: _Compilation) -> dict[str, Any]:
    """Options and buckets, when there are any."""
    from uair.targets.options import parse_options, plain

    request, target = state.request, state.target
    options = plain(parse_options(target.options, request.options, request.target))
    buckets = [{name: list(shape) for name, shape in bucket.items()} for bucket in request.buckets]
    return ({"options": options} if options else {}) | ({"buckets": buckets} if buckets else {})


def plain_value(_: Any, __: Any, value: Any) -> Any:
    """Enumerations as their text, for `attrs.asdict`."""
    return value.value if isinstance(value, enum.Enum) else value


def describe_origin(origin: Origin) -> dict[str, Any]:
    """Where a model came from, as plain data."""
    return {
        "format": origin.format,
        "file": origin.file,
        "sha256": origin.sha256,
        "producer": origin.producer,
        "versions": dict(origin.versions),
    }


def describe_interface(
    names: Sequence[str], tensors: Sequence[Tensor], preprocess: Mapping[str, Preprocess] | None = None
) -> list[dict[str, Any]]:
    """Inputs or outputs as plain data; a shape is None when the rank is unknown, and open sizes in it are text.

    What is no tensor has `containers`, outermost first, around tensors of that element type and shape.
    """
    chosen = preprocess or {}
    entries: list[dict[str, Any]] = []
    for name, tensor in zip(names, tensors, strict=True):
        extents = cast("InferredShape | None", tensor.type.shape)
        shape = (
            None if extents is None else [d if isinstance(d, int) else "?" if d is None else str(d) for d in extents]
        )
        entry: dict[str, Any] = {"name": name, "dtype": str(tensor.type.dtype), "shape": shape}
        if tensor.type.containers:
            entry["containers"] = [c.value for c in tensor.type.containers]
        if name in chosen:
            entry["preprocess"] = chosen[name].to_json()
        entries.append(entry)
    return entries


def interface_type(entry: Mapping[str, Any]) -> str:
    """The type of an entry of `describe_interface` in text form."""
    shape = "*" if entry["shape"] is None else ",".join(map(str, entry["shape"]))
    return contained(f"{entry['dtype']}[{shape}]", entry.get("containers", ()))


def _write_golden(state: _Compilation, builder: ArtifactBuilder, given: Mapping[str, Any] | None) -> None:
    """One input, the original model's output for it, and how far the compiled module's is from that.

    There are none for a model with open sizes or with custom operators, which the interpreter cannot run; none when the
    values are no tensors; and none when the model refuses numbers drawn at random (then the report says so).
    """
    from uair.codegen.reference import run as interpret
    from uair.codegen.reference.errors import ResultTypeError

    graph = state.reference.main
    tensors = all(t.type.is_static for t in graph.inputs) and all(t.type.is_tensor for t in graph.outputs)
    if not tensors or any(node.op_type == "Opaque" for inner in state.reference.all_graphs() for node in inner):
        return
    feeds = golden_feeds(state) if given is None else {name: np.asarray(array) for name, array in given.items()}
    try:
        expected = interpret(state.reference, feeds)
    except (EvaluationError, ResultTypeError) as error:
        if given is not None or state.sample is not None:
            raise
        builder.report["golden"] = {"refused": error.message}  # an index or a number of runs that makes no sense
        return
    actual = interpret(state.module, feeds)
    builder.add_arrays("golden/inputs.npz", feeds)
    builder.add_arrays("golden/outputs.npz", expected)
    builder.manifest["golden"] = {
        "inputs": "golden/inputs.npz",
        "outputs": "golden/outputs.npz",
        "compiled_against_reference": {name: compare(expected[name], actual[name]) for name in expected},
    }


def golden_feeds(state: _Compilation) -> dict[str, Array]:
    """The first calibration sample, or numbers drawn with a fixed seed."""
    if state.sample is not None:
        return dict(state.sample)
    from uair.codegen.reference import random_feeds

    return random_feeds(state.reference.main)


def compare(expected: Array, actual: Array) -> dict[str, float | None]:
    """How far two arrays are apart: greatest difference, that relative to the greatest magnitude, cosine similarity."""
    if not np.issubdtype(expected.dtype, np.number) and expected.dtype.kind not in "fV":
        same = bool(np.array_equal(expected, actual))
        return {"max_abs": 0.0 if same else None, "relative": 0.0 if same else None, "cosine": 1.0 if same else None}
    a, b = expected.astype(np.float64).reshape(-1), actual.astype(np.float64).reshape(-1)
    if a.size == 0:
        return {"max_abs": 0.0, "relative": 0.0, "cosine": 1.0}
    both = np.isfinite(a) & np.isfinite(b)
    if not np.array_equal(a[~both], b[~both], equal_nan=True):
        return {"max_abs": None, "relative": None, "cosine": None}
    a, b = a[both], b[both]
    largest = float(np.max(np.abs(a - b), initial=0.0))
    norm = float(np.linalg.norm(a) * np.linalg.norm(b))
    return {
        "max_abs": largest,
        "relative": largest / max(float(np.max(np.abs(a), initial=0.0)), 1e-30),
        "cosine": float(a @ b) / norm if norm else float(not a.any() and not b.any()),
    }


def run(model: Model | Artifact, inputs: Mapping[str, Any] | Any = None) -> dict[str, Any]:
    """Run a model or an artifact.

    A `cpu` artifact runs in onnxruntime; every other artifact, and a module, in the reference interpreter.

    Args:
        model: a module, a path of a model or of an artifact, or an Artifact.
        inputs: arrays by input name, or one array for a model with one input; a list of arrays for a sequence, None for
            an empty optional, a dict for a map.

    Returns:
        outputs by name, of the same kinds.
    """
    if isinstance(model, Artifact):
        return _run_artifact(model, inputs)
    if not isinstance(model, Module) and is_artifact(Path(model)):
        return _run_artifact(Artifact.open(model), inputs)
    from uair.codegen.reference import run as interpret

    module = load(model)
    return interpret(module, _named(inputs, module.main.input_names))


def is_artifact(path: Path) -> bool:
    """Whether a path looks like an artifact rather than a model file."""
    if path.is_dir():
        return True
    import zipfile

    return path.suffix.lower() not in SUFFIXES and zipfile.is_zipfile(path)


def _run_artifact(artifact: Artifact, inputs: Any) -> dict[str, Any]:
    target = Context.default().target(artifact.target)
    feeds = _named(inputs, [entry["name"] for entry in artifact.manifest["inputs"]])
    feeds = _checked_feeds(artifact.manifest["inputs"], feeds)
    outputs: dict[str, Any] | None = target.run(artifact, feeds)
    if outputs is not None:
        return outputs
    from uair.codegen.reference import run as interpret

    return interpret(load(artifact.file("model.uair")), feeds)


def _checked_feeds(entries: Sequence[Mapping[str, Any]], feeds: Mapping[str, Any]) -> dict[str, Any]:
    """The values as arrays; what an artifact's inputs do not take is refused in the same words for every runtime.

    Raises:
        MissingFeedError, UnknownFeedError, FeedTypeError, FeedShapeError: see there.
        ArtifactError: the manifest's own types cannot be read.
    """
    from uair.codegen.reference import check_feeds
    from uair.text import TextError, parse_type

    graph = Graph("artifact")
    for entry in entries:
        try:
            graph.add_input(entry["name"], parse_type(interface_type(entry)))
        except TextError as error:
            raise ArtifactError(f"the manifest's input {entry['name']!r} has no type: {error.message}") from None
    return check_feeds(graph, feeds)[0]


def _named(inputs: Any, names: Sequence[str]) -> dict[str, Any]:
    """Inputs by name."""
    if isinstance(inputs, Mapping):
        return {str(k): v for k, v in inputs.items()}
    if inputs is None:
        return {}
    if len(names) != 1:
        from uair.errors import ShapeBindingError

        raise ShapeBindingError(f"the model has {len(names)} inputs ({', '.join(names)}): give arrays by name")
    return {names[0]: inputs}
