"""The Rockchip targets: what is written for rknn-toolkit2."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import attrs
import numpy as np

from uair.artifact import ArtifactBuilder
from uair.codegen.onnx import Emitters
from uair.codegen.onnx.interface import drop_unused_inputs, legal_interface, ports
from uair.codegen.onnx.target import OnnxTarget
from uair.codegen.rockchip.between import state_between
from uair.codegen.rockchip.emitters import EMITTERS
from uair.codegen.rockchip.few_bits import quantized_dtype, require_toolkit_weights
from uair.codegen.rockchip.options import RockchipOptions
from uair.codegen.rockchip.settings import DATASET, normalization, pixels, settings, shell_script
from uair.codegen.rockchip.weights import WEIGHTED, state_symmetric, state_weights
from uair.ir.data import Data
from uair.ir.graph import Graph, Node, Tensor, constant
from uair.ir.module import Module
from uair.ops import Dequantize, Quantize, Reshape
from uair.passes.clip_gates import ClipGates
from uair.passes.flatten_linear import FlattenLinear
from uair.passes.fold_long_convolutions import FoldLongConvolutions
from uair.passes.fuse import Fuse
from uair.passes.last_state import LastStateOfOutputs
from uair.passes.recognize_lstm import RecognizeLstm
from uair.passes.remove_quantization import RemoveQuantization
from uair.passes.stage_means import StageMeans
from uair.passes.to_f32 import ToF32
from uair.pipeline import Pass
from uair.quant.scheme import Scheme
from uair.request import CompileRequest, Int8, WeightOnly
from uair.targets.errors import OptionError
from uair.targets.options import TargetOptions, parse_options

if TYPE_CHECKING:
    from uair.targets.tool import VendorTool

MODEL, RKNN, SETTINGS, BUILD, SCRIPT = "model.onnx", "model.rknn", "build.json", "build.py", "build.sh"
PIXELS = "golden/pixels.npz"
MANIFEST_KEY = "rockchip"
NAMES = "[A-Za-z][A-Za-z0-9_]*"
"""rknn-toolkit2 2.5.0 raises KeyError for names with ':' or ';', in its build as in its simulator."""
LONGEST_KERNEL, LONGEST_STRIDE = 31, 7
"""What the NPU does in one step; the toolkit splits longer convolutions. Source: operator list 2.3.2."""


class RockchipTarget(OnnxTarget):
    """A chip with an NPU that rknn-toolkit2 compiles ONNX for."""

    emitters: ClassVar[Emitters | None] = EMITTERS
    names: ClassVar[str | None] = NAMES
    options: ClassVar[type[TargetOptions]] = RockchipOptions
    takes_buckets: ClassVar[bool] = True

    def prepare(self) -> tuple[Pass, ...]:
        """Float for quantized models, short convolutions for long ones, and what every target of its kind needs.

        Means over large images and gates have forms that the toolkit computes exactly on integers.

        What quantization stood between is fused once more.
        """
        channels = max(self.description.alignment.channels.values())
        narrow = ToF32(types=("f64",), inputs=False)
        plain = (RemoveQuantization(which="auto"), RecognizeLstm(), Fuse(), LastStateOfOutputs(), narrow)
        fold = FoldLongConvolutions(kernel=LONGEST_KERNEL, stride=LONGEST_STRIDE, channels=channels)
        return (*plain, fold, StageMeans(kernel=LONGEST_STRIDE), ClipGates(), FlattenLinear(), *super().prepare())

    def tool(self) -> VendorTool:
        """rknn-toolkit2."""
        from uair.codegen.rockchip.tool import RknnToolkit  # here: a compilation runs no tool

        return RknnToolkit()

    def emits_float(self, request: CompileRequest) -> bool:
        """Whether the toolkit quantizes: weights of few bits always, INT8 where an option says so.

        Raises:
            OptionError: it is told how, but INT8 was not asked for, or its samples would not be what the model takes.
            CalibrationSourceError, SchemeError: see `require_toolkit_weights`.
        """
        quantizer = parse_options(RockchipOptions, request.options, self.name).quantizer
        few_bits = isinstance(request.quantization, WeightOnly)
        if quantizer == "uair" and not few_bits:
            return False
        asked = f"quantizer={quantizer}"
        if quantizer != "uair" and not isinstance(request.quantization, Int8):
            raise OptionError(f"{asked} is for INT8", hint="add --quantize int8 --calib SAMPLES")
        if isinstance(request.quantization, WeightOnly):
            require_toolkit_weights(request.quantization)
            asked = quantized_dtype(request.quantization)
        if request.buckets:
            raise OptionError(f"{asked} takes samples of one shape", hint="leave it out, or compile for one shape")
        return True

    def scheme_for(self, request: CompileRequest) -> Scheme | None:
        """Below optimization level 3 the toolkit rounds wherever the file says so."""
        scheme = self.quantization
        if scheme is None or parse_options(RockchipOptions, request.options, self.name).optimization_level == 3:
            return scheme
        return attrs.evolve(scheme, fused_to_convolution=(), fused_sums=False)

    def _mark(self, module: Module) -> str:
        """What the .rknn file says about itself unless the user says something else."""
        digest = module.origin.sha256
        return f"uair {self.name} sha256:{digest}" if digest else f"uair {self.name}"

    def emit(self, module: Module, artifact: ArtifactBuilder, request: CompileRequest) -> None:
        """Write model.onnx, build.json, build.py and build.sh.

        Raises:
            NotExpressible: an operator has no form at the toolkit's opset.
        """
        written = module.clone()
        unused = drop_unused_inputs(written.main)
        inputs, outputs = list(written.main.input_names), list(written.main.output_names)
        legal_interface(written.main, NAMES)
        widen_scalar_inputs(written.main)
        unshare_weights(written.main)
        unshare_dequantized(written.main)
        state_between(written.main)
        state_weights(written.main)
        state_symmetric(written.main)
        self.write_onnx(written, artifact.path_for(MODEL))
        options = parse_options(RockchipOptions, request.options, self.name)
        taken = ports(inputs, written.main.input_names, written.main.inputs)
        for port in taken:
            port["normalization"] = normalization(request.preprocess.get(port["source"]))
        given = ports(outputs, written.main.output_names, written.main.outputs)
        quantized = any(isinstance(node.op, Quantize) for node in written.main)
        content = settings(
            model=MODEL,
            output=RKNN,
            chip=self.description.toolchain.soc_version,
            quantization="toolkit" if self.emits_float(request) else "model" if quantized else "none",
            weights=request.quantization if isinstance(request.quantization, WeightOnly) else None,
            inputs=taken,
            outputs=given,
            golden=_golden(artifact, taken),
            options=options,
            custom_string=options.custom_string or self._mark(module),
            shapes=[[bucket[name] for name in inputs] for bucket in request.buckets],
        )
        artifact.add_json(SETTINGS, content)
        if self.emits_float(request):
            write_samples(artifact, request, taken)
        artifact.add_text(BUILD, Path(__file__).with_name("build_script.py").read_text(encoding="utf-8"))
        artifact.add_text(SCRIPT, shell_script(self.description.toolchain, RKNN), executable=True)
        artifact.manifest[MANIFEST_KEY] = {"model": RKNN, "inputs": taken, "outputs": given, "unused_inputs": unused}


def write_samples(artifact: ArtifactBuilder, request: CompileRequest, taken: Sequence[Mapping[str, Any]]) -> None:
    """The calibration samples for the toolkit: a file for each sample and input, and the list of them.

    Inputs that the compiled model normalizes are pixels here: the toolkit normalizes samples as it does inputs.
    """
    lines: list[str] = []
    for i, feeds in enumerate(request.samples or ()):
        names = [f"{i:04}_{j}.npy" for j in range(len(taken))]
        for name, port in zip(names, taken, strict=True):
            x = pixels(feeds[port["source"]], port["normalization"])
            np.save(artifact.path_for(f"{Path(DATASET).parent}/{name}"), np.ascontiguousarray(x), allow_pickle=False)
        lines.append(" ".join(names))
    artifact.add_text(DATASET, "\n".join(lines) + "\n")


def widen_scalar_inputs(graph: Graph) -> None:
    """Let inputs without axes have one of extent 1: the simulator raises IndexError for others."""
    for tensor in graph.inputs:
        if tensor.type.shape == ():
            users = tensor.uses
            tensor.type = tensor.type.with_shape((1,))
            number = Node(Reshape(shape=()), [tensor], name=tensor.name)
            graph.insert_before(next(iter(graph), graph.end), number)
            for user, i in users:
                user.set_input(i, number.output)


def unshare_weights(graph: Graph) -> None:
    """Give every operator with weights its own: the toolkit's tiling crashes (SIGSEGV) when two share one.

    Shared scales and zero points do no harm.
    """
    taken: set[Tensor | Data] = set()
    for node in graph:
        if isinstance(node.op, WEIGHTED):
            for i, tensor in enumerate(node.inputs):
                source = None if tensor is None else weight_source(tensor)
                if tensor is None or source is None:
                    continue
                if tensor in taken or source in taken:
                    node.set_input(i, _copy(graph, node, tensor))
                taken |= {tensor, source}


def unshare_dequantized(graph: Graph) -> None:
    """Give every user of a dequantized activation a Dequantize of its own.

    Where an operator on integers shares one with an operator in float16, the toolkit takes its weights for float16,
    too ("Invalid w_par['dtype'] = float16"), or crashes.
    """
    for node in list(graph):
        if not isinstance(node.op, Dequantize) or node.inputs[0] is None or node.inputs[0].is_constant:
            continue
        for user, i in node.output.uses[1:]:
            if user.is_return:
                continue
            twin = Node(node.op, node.inputs, name=node.name, loc=node.loc, output_names=[node.output.name])
            graph.insert_before(user, twin)
            user.set_input(i, twin.output)


def weight_source(tensor: Tensor) -> Data | None:
    """The data of a constant, or of the integers of a dequantized constant; None for what is computed."""
    node = tensor.producer
    if node is not None and isinstance(node.op, Dequantize):
        return None if node.inputs[0] is None else node.inputs[0].data
    return tensor.data


def _copy(graph: Graph, user: Node, tensor: Tensor) -> Tensor:
    """Another constant of the same values, dequantized in front of `user` if `tensor` is."""
    node = tensor.producer
    if node is None:
        assert tensor.data is not None
        return constant(copy.copy(tensor.data), tensor.name)
    integers, *parameters = node.inputs
    assert integers is not None and integers.data is not None
    stored = constant(copy.copy(integers.data), integers.name)
    twin = Node(node.op, [stored, *parameters], name=node.name, loc=node.loc, output_names=[tensor.name])
    graph.insert_before(user, twin)
    return twin.output


def _golden(artifact: ArtifactBuilder, inputs: list[dict[str, Any]]) -> dict[str, str] | None:
    """The reference files of the artifact; inputs that the compiled model normalizes are given as pixels."""
    files = artifact.golden_files()
    if files is not None and any(port["normalization"] for port in inputs):
        with np.load(artifact.path_for(files["inputs"]), allow_pickle=False) as archive:
            fed = {port["source"]: pixels(archive[port["source"]], port["normalization"]) for port in inputs}
        artifact.add_arrays(PIXELS, fed)
        files["inputs"] = PIXELS
    return files
