"""The TensorRT target: what is written for the engine builder of a Jetson."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

import attrs

from uair.artifact import ArtifactBuilder
from uair.codegen.onnx.interface import legal_interface, ports
from uair.codegen.onnx.model import emitted_ops
from uair.codegen.onnx.target import OnnxTarget
from uair.codegen.onnx.written import WrittenNames, check_symmetric_qdq
from uair.codegen.standalone import standalone
from uair.codegen.tensorrt.calibration import VERSIONS, cache_text
from uair.codegen.tensorrt.dla import placement
from uair.codegen.tensorrt.flags import MAJORS, Major
from uair.codegen.tensorrt.implicit import LEGAL, FloatModel, float_model, unique_names
from uair.codegen.tensorrt.scripts import CHOOSER, LAYERS, PLAN, SCRIPTS, Plan, build_script, profile_of
from uair.codegen.tensorrt.tool import Trtexec
from uair.codegen.tensorrt.weights import FloatWeights, holds_four_bits
from uair.codegen.triton import BACKENDS, Backend, Repository
from uair.codegen.triton.repository import graph_ports, model_name
from uair.ir.graph import Node, Tensor
from uair.ir.module import Module
from uair.ops import Quantize
from uair.passes.narrow_floats import NarrowFloats
from uair.passes.pool_as_image import PoolAsImage
from uair.passes.pruning.two_four import has_sparse_weights
from uair.pipeline import Pass, PassManager
from uair.request import CompileRequest, WeightOnly
from uair.targets.errors import OptionError
from uair.targets.options import TargetOptions, option, parse_options
from uair.targets.tool import VendorTool

MODEL, TYPED, IMPLICIT = "model.onnx", "model_f16.onnx", "implicit/model.onnx"
BUILD, CHOOSE, SETTINGS, DLA = "build.py", "build.sh", "build.json", "dla.json"
MANIFEST_KEY = "tensorrt"
TYPED_OPSET = 19
"""QuantizeLinear takes f16 from opset 19 on; TensorRT 11 reads opsets 9 to 25."""
GROWN: Mapping[str, tuple[str, ...]] = {
    "8.5": ("GroupNormalization", "IsInf", "LayerNormalization", "CastLike", "DeformConv", "Gelu", "Hardmax", "Mish"),
    "8.6": ("CastLike", "DeformConv", "Gelu", "Hardmax", "Mish"),
}
"""Operators of the description's list, which is that of 10.1, that an older parser lacks. Source: onnx-tensorrt,
docs/operators.md of 8.5-GA, 8.6-GA and 10.1-GA."""


@attrs.frozen
class TensorrtOptions(TargetOptions):
    """What a user may tell the target."""

    precision: Literal["f16", "f32"] = option("f16", help="what floats may be computed in")
    dla: Literal["none", "0", "1"] = option("none", help="the deep learning accelerator to use, the GPU for the rest")
    int8: Literal["explicit", "implicit"] = option(
        "explicit", help="quantization in the model, or in a calibration cache beside a float model (TensorRT 8 and 10)"
    )
    workspace: int = option(4096, help="MiB that the builder may use")
    effort: int = option(3, help="builderOptimizationLevel, 0 to 5")
    bucket: int = option(1, help="which shape bucket the engine is optimised for, counted from 1")
    triton: tuple[Backend, ...] = option(("tensorrt",), help="Triton repositories: tensorrt, onnx, python")

    def __attrs_post_init__(self) -> None:
        if not 0 <= self.effort <= 5:
            raise OptionError(f"effort {self.effort} is not among 0 to 5")
        if self.workspace < 1:
            raise OptionError(f"a workspace of {self.workspace} MiB is none")
        if self.bucket < 1:
            raise OptionError(f"there is no bucket {self.bucket}: they are counted from 1")


class TensorrtTarget(OnnxTarget):
    """A Jetson, whose TensorRT builds an engine from ONNX on the device."""

    names: ClassVar[str | None] = LEGAL
    options: ClassVar[type[TargetOptions]] = TensorrtOptions
    takes_buckets: ClassVar[bool] = True

    def check_request(self, request: CompileRequest) -> None:
        """Refuse what the accelerator or the profile cannot do.

        Raises:
            OptionError: see there.
        """
        super().check_request(request)
        chosen = parse_options(TensorrtOptions, request.options, self.name)
        if chosen.dla != "none" and request.buckets:
            raise OptionError("the DLA takes one shape, several are asked for", hint="compile once for each shape")
        if chosen.dla != "none" and isinstance(request.quantization, WeightOnly):
            raise OptionError(
                "the DLA computes with no weights of few bits", hint="leave out dla, or choose --quantize int8"
            )
        if chosen.bucket > max(len(request.buckets), 1):
            raise OptionError(f"there is no bucket {chosen.bucket}", hint=f"there are {len(request.buckets)}")

    def prepare(self) -> tuple[Pass, ...]:
        """Pooling over two axes at least."""
        return (*super().prepare(), PoolAsImage())

    def legalise(self) -> tuple[Pass, ...]:
        """Decompose and clean up; weights become floats between Quantize and Dequantize, which nothing folds again."""
        return (*super().legalise(), FloatWeights())

    def emitted_ops(self, node: Node) -> Sequence[str] | None:
        """The ONNX operators of a node, at the opset that its model is written at."""
        return emitted_ops(node, self._opset_of(node, self.opset), self.emitters)

    def unsupported(self, node: Node, opset: int) -> str:
        """Why a node must be decomposed before it is written; empty when it need not."""
        return super().unsupported(node, self._opset_of(node, opset))

    def _opset_of(self, node: Node, opset: int) -> int:
        """The opset at which a node is written: a later one for weights of 4 bits, which only later versions read."""
        described = self.description.quantization
        weights = None if described is None else described.weights
        return max(opset, weights.opset) if weights is not None and holds_four_bits(node) else opset

    def tool(self) -> VendorTool:
        """Trtexec."""
        return Trtexec()

    def emit(self, module: Module, artifact: ArtifactBuilder, request: CompileRequest) -> None:
        """Write the ONNX files, the scripts, what belongs to the accelerator, and the Triton repositories.

        Raises:
            NotExpressible: an operator has no form at the opset.
            RuleViolation: the quantization of the file that was written is not what TensorRT reads.
            TritonError: an input or output is of a type that Triton does not transport.
        """
        chosen = parse_options(TensorrtOptions, request.options, self.name)
        written = module.clone()
        inputs, outputs = list(module.main.input_names), list(module.main.output_names)
        legal_interface(written.main, LEGAL)
        unique_names(written.main)
        names = self._write_models(written, artifact, chosen)
        quantized = any(isinstance(node.op, Quantize) for node in written.main)
        implicit = self._implicit(written, artifact, chosen) if quantized and _is_implicit(chosen) else None
        if chosen.dla != "none":
            _write_placement(implicit or float_model(written), artifact)
        taken = ports(inputs, written.main.input_names, written.main.inputs)
        given = ports(outputs, written.main.output_names, written.main.outputs)
        folders = self._write_triton(written, artifact, chosen.triton)
        plan = self._plan(written, request, chosen, implicit, names, folders)
        _write_scripts(plan, artifact, [p["name"] for p in taken], [p["name"] for p in given])
        artifact.manifest[MANIFEST_KEY] = {
            "engine": PLAN,
            "inputs": _open(taken),
            "outputs": _open(given),
            "models": {str(major): model for major, model in plan.models.items()},
            "precision": chosen.precision,
            "quantization": _form(plan, chosen, implicit),
            "dla": plan.dla,
            "sparse_weights": plan.sparse,
            "profile": plan.profile.to_json() if plan.profile.is_dynamic else None,
            "missing_operators": {version: list(ops) for version, ops in plan.missing.items()},
            "triton": folders,
            "uncertain": _uncertain(plan),
        }

    def _write_models(self, module: Module, artifact: ArtifactBuilder, chosen: TensorrtOptions) -> WrittenNames:
        """model.onnx, and model_f16.onnx where TensorRT 11 needs it; the names in the first."""
        path = artifact.path_for(MODEL)
        least = max((self._opset_of(node, 0) for graph in module.all_graphs() for node in graph), default=0)
        self.write_onnx(module, path, opset=max(least, self.opset))
        check_symmetric_qdq(path, "TensorRT")
        if chosen.precision == "f16":
            typed = module.clone()
            PassManager([NarrowFloats()], []).run(typed)
            target = artifact.path_for(TYPED)
            self.write_onnx(typed, target, opset=max(least, TYPED_OPSET))
            check_symmetric_qdq(target, "TensorRT")
        return WrittenNames.of(path)

    def _implicit(self, module: Module, artifact: ArtifactBuilder, chosen: TensorrtOptions) -> FloatModel:
        """implicit/: the float model and one calibration cache for each version."""
        model = float_model(module)
        names = unique_names(model.module.main)
        path = artifact.path_for(IMPLICIT)
        self.write_onnx(model.module, path)
        scales = {names[tensor]: scale for tensor, scale in model.scales.items()}
        for version in VERSIONS:
            artifact.add_text(_cache_file(version), cache_text(scales, version))
        return model

    def _plan(
        self,
        module: Module,
        request: CompileRequest,
        chosen: TensorrtOptions,
        implicit: FloatModel | None,
        names: WrittenNames,
        folders: Mapping[str, str],
    ) -> Plan:
        """What the scripts do."""
        typed = TYPED if chosen.precision == "f16" else MODEL
        weak = MODEL if implicit is None else IMPLICIT
        four_bits = any(holds_four_bits(node) for graph in module.all_graphs() for node in graph)
        models: dict[Major, str] = {major: typed if major == 11 or four_bits else weak for major in MAJORS}
        if four_bits:
            del models[8]
        missing = {version: tuple(op for op in gone if op in names.operators) for version, gone in GROWN.items()}
        copies = [f"{folders['tensorrt']}/{model_name(module.name)}/1"] if "tensorrt" in folders else []
        return Plan(
            models=models,
            int8=any(isinstance(node.op, Quantize) for node in module.main),
            four_bits=four_bits,
            half=chosen.precision == "f16",
            profile=profile_of(_shapes(module, request), chosen.bucket - 1),
            dla=None if chosen.dla == "none" else int(chosen.dla),
            workspace=chosen.workspace,
            effort=chosen.effort,
            caches={} if implicit is None else {version: _cache_file(version) for version in VERSIONS},
            int8_layers=() if implicit is None else _layer_names(implicit),
            missing={version: gone for version, gone in missing.items() if gone},
            copies=tuple(copies),
            sparse=has_sparse_weights(module.main),
        )

    def _write_triton(self, module: Module, artifact: ArtifactBuilder, backends: tuple[Backend, ...]) -> dict[str, str]:
        inputs, outputs = graph_ports(module.main)
        capability = self.description.toolchain.soc_version.removeprefix("sm_")
        repository = Repository(
            model_name(module.name), inputs, outputs, "KIND_GPU", f"{capability[:-1]}.{capability[-1:]}"
        )
        return repository.write(artifact, [b for b in BACKENDS if b in backends], MODEL)


def _form(plan: Plan, chosen: TensorrtOptions, implicit: FloatModel | None) -> str | None:
    """How the artifact states its quantization; None when there is none."""
    if implicit is not None:
        return "implicit"
    if plan.int8:
        return chosen.int8
    return "weights" if plan.four_bits else None


def _is_implicit(chosen: TensorrtOptions) -> bool:
    """The accelerator of TensorRT 8 and 10 takes implicit quantization only."""
    return chosen.int8 == "implicit" or chosen.dla != "none"


def _cache_file(version: str) -> str:
    return f"implicit/calibration_{version}.cache"


def _shapes(module: Module, request: CompileRequest) -> list[Mapping[str, tuple[int, ...]]]:
    """The shape of every input in every bucket, by its name in the file."""
    graph = module.main
    if not request.buckets:
        return [{n: tuple(d if isinstance(d, int) else -1 for d in t.type.dims) for n, t in _inputs(module)}]
    return [dict(zip(graph.input_names, bucket.values(), strict=True)) for bucket in request.buckets]


def _inputs(module: Module) -> list[tuple[str, Tensor]]:
    return list(zip(module.main.input_names, module.main.inputs, strict=True))


def _layer_names(model: FloatModel) -> tuple[str, ...]:
    """Names of the ONNX nodes of layers that compute on integers, which are those of their results."""
    return tuple(layer.name or layer.output.name for layer in model.layers)


def _write_placement(model: FloatModel, artifact: ArtifactBuilder) -> None:
    names: dict[Node, str] = {node: node.name or node.outputs[0].name for node in model.module.main}
    artifact.add_json(DLA, placement(model.module.main, names))


def _write_scripts(plan: Plan, artifact: ArtifactBuilder, inputs: list[str], outputs: list[str]) -> None:
    for major, script in SCRIPTS.items():
        artifact.add_text(script, build_script(plan, major), executable=True)
    artifact.add_text(CHOOSE, CHOOSER, executable=True)
    artifact.add_text(BUILD, standalone(Path(__file__).with_name("build_script.py")), executable=True)
    artifact.add_json(
        SETTINGS,
        {
            "schema": 1,
            "engine": PLAN,
            "models": {str(major): model for major, model in plan.models.items()},
            "inputs": inputs,
            "outputs": outputs,
            "int8": plan.int8,
            "half": plan.half,
            "typed": plan.four_bits,
            "workspace": plan.workspace << 20,
            "effort": plan.effort,
            "dla": plan.dla,
            "sparse": plan.sparse,
            "caches": dict(plan.caches),
            "profile": plan.profile.to_json() if plan.profile.is_dynamic else {},
        },
    )


def _open(entries: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Ports as plain data: open sizes as text."""
    return [{**e, "shape": [d if isinstance(d, int) else str(d) for d in e["shape"]]} for e in entries]


def _uncertain(plan: Plan) -> list[str]:
    """What in the artifact no source settles."""
    found = [f"flags of trtexec between the versions that were compared (8.6.1, 10.7, 11.1); {LAYERS} is a by-product"]
    if plan.caches:
        unsure = ", ".join(version for version, certain in VERSIONS.items() if not certain)
        found.append(f"the digits {unsure} in the header of a calibration cache")
    if plan.four_bits:
        found.append("weights of 4 bits: the rules are NVIDIA's documents', no engine was built of such a model")
    if plan.dla is not None:
        found.append("which layers the DLA takes: the numbers of its limits are from memory of NVIDIA's guide")
    return found
