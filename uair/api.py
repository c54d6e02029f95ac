"""The Python API: load, optimise, check, compile, run.

This is the composition root: here, and in uair.cli, the IR, the frontends, the passes and the codegens meet.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from uair.context import Context
from uair.driver.formats import SUFFIXES
from uair.driver.loading import Loader, read_model
from uair.driver.standard import standard_passes
from uair.ir.module import Module
from uair.pipeline import Instrument, Pass, PassContext, PassManager, Verify

if TYPE_CHECKING:  # what reading, optimising and writing a model do without is imported where it is used
    from uair.artifact import Artifact
    from uair.debugging.bisect import Bisection
    from uair.debugging.why_not import WhyNot
    from uair.driver.describe import compare, describe_interface, describe_origin, interface_type, plain_value
    from uair.driver.difference import LayerErrors
    from uair.driver.formats import UnknownFormatError
    from uair.driver.quantizing import Quantized
    from uair.driver.running import Arithmetic
    from uair.driver.stages import DoesNotFit, require_fit
    from uair.preprocess import Preprocess
    from uair.request import Quantization
    from uair.rewrite import Rule
    from uair.targets.check import CheckReport

Model: TypeAlias = "Module | str | os.PathLike[str]"

__all__ = [
    "DoesNotFit",
    "UnknownFormatError",
    "bisect",
    "check",
    "comparable",
    "compare",
    "compile",
    "describe_interface",
    "describe_origin",
    "diff",
    "export_onnx",
    "golden_input",
    "interface_type",
    "is_artifact",
    "load",
    "optimize",
    "plain_value",
    "quantize",
    "require_fit",
    "run",
    "run_pipeline",
    "standard_passes",
    "why_not",
]

_MODULES: Mapping[str, tuple[str, ...]] = {
    "uair.driver.describe": ("compare", "describe_interface", "describe_origin", "interface_type", "plain_value"),
    "uair.driver.formats": ("UnknownFormatError",),
    "uair.driver.stages": ("DoesNotFit", "require_fit"),
}
_HOME_OF = {name: module for module, names in _MODULES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name in _HOME_OF:
        return getattr(importlib.import_module(_HOME_OF[name]), name)
    raise AttributeError(f"module 'uair.api' has no attribute {name!r}")


def load(source: Model | Any, *inputs: Any, format: str | None = None, **options: Any) -> Module:
    """Read a model.

    Args:
        source: path of a model file or folder, or a model object of a framework; a Module is returned as it is.
        inputs: for a framework's model that is traced: the example inputs.
        format: name of the frontend, when the file name does not tell.
        options: of the frontend: the parameters of its `load` (`external_data_root` for ONNX, `channels` for Keras).

    Raises:
        LoadOptionError: the frontend has no such option.
        UairError: the file cannot be read; names the place in it and the next step.
    """
    if isinstance(source, Module):
        return source
    given = Path(source) if isinstance(source, (str, os.PathLike)) else source
    return Loader.of(given, format).read(given, inputs, options)


def optimize(module: Module, *, instruments: Sequence[Instrument] | None = None) -> Module:
    """Canonicalise and fuse a module, in place, and return it.

    Args:
        module: the module.
        instruments: watchers; verification after every pass when not given.
    """
    manager = PassManager(standard_passes(), [Verify()] if instruments is None else instruments)
    return manager.run(module)


def run_pipeline(
    module: Module,
    pipeline: str,
    *,
    shapes: Mapping[str, tuple[int, ...]] | None = None,
    values: Mapping[str, Any] | None = None,
    instruments: Sequence[Instrument] | None = None,
    context: PassContext | None = None,
) -> Module:
    """Bind values and shapes, then run a pipeline given as text, in place; returns the module.

    What passes report is in `context` afterwards, when one is given.

    Raises:
        PipelineSyntaxError: the text cannot be understood.
    """
    from uair.pipeline_syntax import parse_pipeline

    passes = [*_binding(module, shapes, values), *parse_pipeline(pipeline, Context.default())]
    watching = [Verify()] if instruments is None else instruments
    return PassManager(passes, watching, PassContext() if context is None else context).run(module)


def _binding(
    module: Module, shapes: Mapping[str, tuple[int, ...]] | None, values: Mapping[str, Any] | None
) -> list[Pass]:
    """The passes that give inputs the values and shapes that the user gave."""
    from uair.passes.bind_inputs import value_passes
    from uair.passes.bind_shapes import BindShapes

    passes, rest = value_passes(module.main, shapes or {}, values or {})
    return [*passes, BindShapes(shapes=rest)] if rest else passes


def export_onnx(
    module: Module, path: str | os.PathLike[str], *, opset: int | None = None, ir_version: int | None = None
) -> None:
    """Write a module as an ONNX file.

    Args:
        module: the module; it is not changed.
        path: the file.
        opset: operator set of the default domain. When not given, the lowest that expresses the module, from 17 on or
            from that of the ONNX file that it was read from, 20 at most. That may mean that operators such as Gelu are
            written as arithmetic: runtimes and vendors' tools lag years behind the newest operator set.
        ir_version: version of the file format; the lowest that knows the operator sets when not given.

    Raises:
        UairError: an operator cannot be expressed at that opset, or the file cannot be written.
    """
    from uair.driver.exporting import export_onnx as write

    write(module, path, opset=opset, ir_version=ir_version)


def check(
    model: Model,
    targets: Sequence[str] | str = "all",
    *,
    shapes: Mapping[str, tuple[int, ...]] | None = None,
    values: Mapping[str, Any] | None = None,
) -> list[CheckReport]:
    """Which nodes of a model each target takes, and why not; no vendor tool is needed.

    Args:
        model: a module or a path.
        targets: names of targets, or "all".
        shapes: fixed shapes by input name; open shapes leave some answers unknown.
        values: of inputs that become constants, by name; see `compile`.
    """
    from uair.codegen.onnx.model import shared_emissions
    from uair.driver.preparing import Prepared
    from uair.targets.check import check_module

    context = Context.default()
    if isinstance(targets, str):
        names = sorted(context.targets) if targets == "all" else [targets]
    else:
        names = list(targets)
    module, shapes = read_model(model, shapes)
    module = module.clone()
    PassManager([*_binding(module, shapes, values), *standard_passes()], []).run(module)
    loaded = Prepared(module)
    asked = [(target, loaded.for_target(target)) for target in map(context.target, names)]
    with shared_emissions():
        return [check_module(prepared.module, target, prepared.facts) for target, prepared in asked]


def bisect(
    model: Model,
    passes: str | Sequence[Pass | Rule] = "canonicalise,fuse",
    inputs: Mapping[str, Any] | Any = None,
    *,
    target: str | None = None,
    shapes: Mapping[str, tuple[int, ...]] | None = None,
    values: Mapping[str, Any] | None = None,
    options: Mapping[str, Any] | None = None,
    tolerance: float = 1e-4,
    reduce: bool = True,
) -> Bisection:
    """Find the one change of a pipeline that changes what a model computes, as the reference interpreter has it.

        found = uair.bisect(module, [MyRule()])
        print(found)                      # which change, where, and by how much the outputs differ
        found.save("fault")               # the smallest module that shows it, with its inputs

    Args:
        model: a module, which is not changed, or a path.
        passes: a pipeline as text, or passes and rules in order.
        inputs: arrays by input name, or one array; random numbers when not given.
        target: bisect the whole pipeline of `compile` for this target, without quantization, instead of `passes`.
        shapes: fixed shapes by input name; binding them is the first of the passes that are bisected.
        values: of inputs that become constants, by name; what is bisected begins behind that.
        options: what the target is told, by name.
        tolerance: greatest error allowed in an output, relative to its greatest magnitude.
        reduce: whether to cut out the smallest module that shows the fault.

    Raises:
        NotComparable: inputs are missing for a model with open sizes, or the model is not repeatable.
        UairError: the model itself cannot be read or run.
    """
    from uair.codegen.reference.numerics import drawn_feeds
    from uair.debugging.bisect import as_passes, bisect_passes, bisect_target
    from uair.driver.running import named
    from uair.passes.bind_inputs import value_passes
    from uair.passes.bind_shapes import BindShapes, bound_inputs
    from uair.pipeline_syntax import parse_pipeline
    from uair.request import CompileRequest

    module, shapes = read_model(model, shapes)
    module = module.clone()
    first, shapes = value_passes(module.main, shapes, values or {})
    PassManager(first, [Verify()]).run(module)
    graph = bound_inputs(module.main, shapes)
    feeds = drawn_feeds(graph) if inputs is None else named(inputs, graph.input_names)
    binding: list[Pass] = [BindShapes(shapes=shapes)] if shapes else []
    if target is None:
        chosen = parse_pipeline(passes, Context.default()) if isinstance(passes, str) else as_passes(passes)
        return bisect_passes(module, [*binding, *chosen], feeds, tolerance=tolerance, reduce=reduce)
    if binding:
        found = bisect_passes(module, binding, feeds, tolerance=tolerance, reduce=reduce)
        if found.found:
            return found
        PassManager(binding, [Verify()]).run(module)
    request = CompileRequest(target, {}, options=dict(options or {}))
    return bisect_target(module, request, feeds, tolerance=tolerance, reduce=reduce)


def compile(
    model: Model,
    target: str,
    *,
    output: str | os.PathLike[str] | None = None,
    shapes: Mapping[str, tuple[int, ...]] | None = None,
    values: Mapping[str, Any] | None = None,
    quantize: Quantization | None = None,
    preprocess: Mapping[str, Preprocess] | None = None,
    options: Mapping[str, Any] | None = None,
    buckets: Sequence[Mapping[str, Sequence[int]]] = (),
    pins: Mapping[str, str] | None = None,
    fallback: bool = True,
    min_island: int = 4,
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
        values: of inputs that become constants of the compiled model, which then lacks them: a number (which fills the
            input's shape), a list or an array by input name. What they decide is decided: branches, limits, modes.
        quantize: `Int8`, `W8A16` or `W4A16`, with calibration data; None for float.
        preprocess: how images become inputs, by input name; recorded and handed to the vendor's tool.
        options: what the target is told, by name, see `uair targets NAME`.
        buckets: the input shapes that one compiled model is to take, each by input name, for targets that can; sizes in
            which they differ must be open in the model.
        pins: "cpu" by pattern (`*`, `?`) of names of nodes or of their source nodes, for those that are not to run on
            the target; the target's name for those that must not follow others to the CPU.
        fallback: let the CPU run what the target does not take; otherwise such a model is refused.
        min_island: groups of fewer nodes that the target takes, between nodes that it does not, go to the CPU too.
        overwrite: replace an existing output.
        golden: compute and store a reference input and output; an input by name is the one to take, otherwise it is the
            first calibration sample, or random numbers.
        instruments: further watchers of the passes.

    Returns:
        the artifact.

    Raises:
        UairError: nothing is left behind.
    """
    import tempfile
    import weakref

    from uair.artifact import Artifact, build_artifact, require_place
    from uair.driver.transform import transform
    from uair.driver.writing import emit
    from uair.request import CompileRequest

    if output is not None:
        require_place(output, overwrite=overwrite)
    sets = tuple({name: tuple(shape) for name, shape in bucket.items()} for bucket in buckets)
    module, shapes = read_model(model, shapes, fed=sets)
    request = CompileRequest(
        target,
        dict(shapes),
        quantize,
        dict(preprocess or {}),
        dict(options or {}),
        sets,
        dict(pins or {}),
        fallback,
        min_island,
        values=dict(values or {}),
    )
    state = transform(module, request, instruments)
    if output is not None:
        with build_artifact(output, overwrite=overwrite) as builder:
            emit(state, builder, golden=golden)
        return Artifact.open(output, verify=False)
    temporary = tempfile.TemporaryDirectory(prefix="uair-")
    try:
        with build_artifact(Path(temporary.name) / "artifact") as builder:
            emit(state, builder, golden=golden)
        artifact = Artifact.open(Path(temporary.name) / "artifact", verify=False)
    except BaseException:
        temporary.cleanup()
        raise
    weakref.finalize(artifact, temporary.cleanup)
    return artifact


def quantize(
    model: Model,
    settings: Quantization,
    target: str = "cpu",
    *,
    shapes: Mapping[str, tuple[int, ...]] | None = None,
    values: Mapping[str, Any] | None = None,
    preprocess: Mapping[str, Preprocess] | None = None,
    instruments: Sequence[Instrument] = (),
) -> Quantized:
    """Quantize a model with the scheme of a target, without compiling it.

    Args:
        model: a module (which is not changed) or a path.
        settings: `Int8`, `W8A16` or `W4A16`, with calibration data.
        target: name of the target whose scheme decides what is quantized and how finely.
        shapes: fixed shapes by input name; sizes that are not given stay open.
        values: of inputs that become constants, by name; see `compile`.
        preprocess: how calibration images become inputs, by input name.
        instruments: further watchers of the passes.

    Returns:
        the module with Quantize and Dequantize nodes and the report; it can be saved.

    Raises:
        UairError: from the calibration data, or a pass.
    """
    from uair.driver.quantizing import quantize_module
    from uair.request import CompileRequest

    module, shapes = read_model(model, shapes)
    request = CompileRequest(
        target, dict(shapes), settings, preprocess=dict(preprocess or {}), values=dict(values or {})
    )
    return quantize_module(module, request, instruments)


def run(
    model: Model | Artifact, inputs: Mapping[str, Any] | Any = None, *, arithmetic: Arithmetic | None = None
) -> dict[str, Any]:
    """Run a model or an artifact.

    What an artifact has for the CPU runs in onnxruntime; what it has for a device that this machine lacks, and a
    module, in the reference interpreter.

    Args:
        model: a module, a path of a model or of an artifact, or an Artifact.
        inputs: arrays by input name, or one array for a model with one input; a list of arrays for a sequence, None for
            an empty optional, a dict for a map.
        arithmetic: of an artifact: "float" for the interpreter in the module's types, "device" for the interpreter with
            floats rounded as each part's device holds them (f16 or bf16), whatever is installed.

    Returns:
        outputs by name, of the same kinds.
    """
    from uair.artifact import Artifact
    from uair.driver.running import named, run_artifact, shapes_of

    if isinstance(model, Artifact):
        return run_artifact(model, inputs, arithmetic)
    if not isinstance(model, Module) and is_artifact(Path(model)):
        return run_artifact(Artifact.open(model), inputs, arithmetic)
    from uair.codegen.reference import run as interpret

    module, _ = read_model(model, shapes_of(inputs))
    return interpret(module, named(inputs, module.main.input_names))


def diff(
    first: Model | Artifact,
    second: Model | Artifact,
    samples: Any = None,
    *,
    preprocess: Mapping[str, Preprocess] | None = None,
    limit: int = 8,
) -> LayerErrors:
    """How far two models of one origin are apart, layer by layer, by the names of the user's model.

    Both are run by the reference interpreter on the same inputs: a float model and its INT8 artifact, a model before
    and after a pass, an ONNX file and the PyTorch module that it was exported from.

    Args:
        first: what the other is held against: a module, a path of a model or of an artifact, or an Artifact.
        second: the other.
        samples: inputs by the first model's names: one mapping of arrays, or what calibration data may be (a folder, a
            file, an iterable). When not given: the golden input of an artifact, or noise.
        preprocess: how images become inputs, by input name.
        limit: how many samples are run at most.

    Raises:
        NotComparable: the models share no inputs or outputs.
        UairError: a model or a sample cannot be read, or a node cannot be evaluated.
    """
    from uair.driver.difference import common_types, compare_layers, random_inputs
    from uair.quant.calibration import open_calibration

    a, b = comparable(first), comparable(second)
    if samples is None:
        samples = golden_input(first) or golden_input(second) or random_inputs(common_types(a.main, b.main))
    if isinstance(samples, Mapping):
        return compare_layers(a, b, [samples])
    types = common_types(a.main, b.main)
    return compare_layers(a, b, open_calibration(samples, types, preprocess=preprocess, limit=limit))


def comparable(model: Model | Artifact) -> Module:
    """A model, or the final module of an artifact, as one graph.

    Raises:
        UairError: it cannot be read.
    """
    from uair.driver.difference import without_placement

    found = _artifact(model)
    if found is None:
        return without_placement(load(model))
    from uair.text import load as load_text

    return without_placement(load_text(found.file("model.uair")))


def _artifact(model: Model | Artifact) -> Artifact | None:
    from uair.artifact import Artifact

    if isinstance(model, (Artifact, Module)):
        return model if isinstance(model, Artifact) else None
    return Artifact.open(model) if is_artifact(Path(model)) else None


def golden_input(model: Model | Artifact) -> dict[str, Any] | None:
    """The golden input of an artifact that has one; None for a model."""
    found = _artifact(model)
    golden: dict[str, str] = {} if found is None else found.manifest.get("golden", {})
    return found.arrays(golden["inputs"]) if found is not None and golden else None


def is_artifact(path: Path) -> bool:
    """Whether a path looks like an artifact rather than a model: a folder with a manifest, or a zip file."""
    from uair.artifact import MANIFEST

    if path.is_dir():  # SavedModels are folders, too
        return (path / MANIFEST).is_file()
    import zipfile

    if not zipfile.is_zipfile(path):
        return False
    if path.suffix.lower() not in SUFFIXES:
        return True
    try:
        with zipfile.ZipFile(path) as archive:  # model.bin may also be PyTorch's
            return MANIFEST in archive.namelist()
    except (zipfile.BadZipFile, NotImplementedError):
        return False


def why_not(
    model: Model,
    rule: str | Rule,
    node: str = "",
    *,
    passes: str = "",
    shapes: Mapping[str, tuple[int, ...]] | None = None,
    values: Mapping[str, Any] | None = None,
) -> WhyNot:
    """Why a rewrite rule does not apply to a model, as the matcher itself says.

        print(uair.why_not("model.onnx", "fold-batch-norm", "bn1"))

    Args:
        model: a module, which is not changed, or a path.
        rule: a rule, or the name of one.
        node: the node to ask about: as `uair dump` prints its result (`%conv1`), its own name, or the name of its
            source; every node that the rule could start from when not given.
        passes: a pipeline that runs first. Without it the answer is about the model as it was read.
        shapes: fixed shapes by input name.
        values: of inputs that become constants, by name.

    Raises:
        UnknownNameError: there is no such rule or node; near names are suggested.
        UairError: the model cannot be read.
    """
    from uair.debugging.why_not import ask
    from uair.passes.catalogue import KnownRule, find_rule
    from uair.pipeline_syntax import parse_pipeline

    known = find_rule(rule) if isinstance(rule, str) else KnownRule(rule)
    pipeline = parse_pipeline(passes, Context.default())
    module, shapes = read_model(model, shapes)
    module = module.clone()
    PassManager(_binding(module, shapes, values), [Verify()]).run(module)
    return ask(known, module, node, pipeline)
