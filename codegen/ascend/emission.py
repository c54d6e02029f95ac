"""The files of an Ascend artifact; imported when one is written, because that takes more than to say what is legal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import attrs

from uair.artifact import ArtifactBuilder
from uair.codegen.ascend import configs, scripts
from uair.codegen.ascend.aipp import AippInput, Picture, aipp_inputs, aipp_text
from uair.codegen.ascend.atc import (
    AIR,
    ONNX,
    AtcCommand,
    input_format,
    input_shapes,
    newer_flags,
    plain_options,
    precision_options,
)
from uair.codegen.ascend.check import atc_rules
from uair.codegen.ascend.ge import NoGeForm, write_air
from uair.codegen.ascend.gears import Gears, gears_of, open_shapes
from uair.codegen.ascend.kernels import add_kernels
from uair.codegen.ascend.lower import LAYERS, NAMES, REPORT, has_quantization
from uair.codegen.ascend.options import AscendOptions, uncertain_options
from uair.codegen.ascend.plan_layout import is_static
from uair.codegen.ascend.ports import Output, input_flags, inputs_manifest, output_flags, outputs_of
from uair.codegen.ascend.record import record_text, simple_config
from uair.codegen.onnx.index import OnnxIndex, index_of
from uair.codegen.onnx.interface import adapt_inputs, legal_interface
from uair.ir.graph import Graph
from uair.ir.module import Module
from uair.ops import AvgPool2D, Pack, Unpack
from uair.request import CompileRequest
from uair.targets.errors import OptionError
from uair.targets.interface import Interface

if TYPE_CHECKING:
    from uair.codegen.ascend.target import AscendTarget

MODEL, OM, AIR_MODEL, AIR_OM = "model.onnx", "model", "model.air", "model-air"
AIPP, RECORD, AMCT, LAYOUT = "aipp.cfg", "record.txt", "amct.cfg", "layout.json"
BUILD, BUILD_AIR, CHECK, DUMP = "build.sh", "build_air.sh", "check.sh", "dump.sh"
MANIFEST_KEY = "ascend"
BY_NODE = ("keep_dtype", "customize_dtypes", "op_precision_mode")
"""Options whose files name nodes of the ONNX model, which those of the GE IR file are not."""


@attrs.define(eq=False)
class Emitter:
    """One artifact that is being filled.

    Attributes:
        written: the module without conversions between layouts, its inputs and outputs under names that ATC takes.
        notes: what is uncertain about what was asked for.
    """

    target: AscendTarget
    module: Module
    artifact: ArtifactBuilder
    request: CompileRequest
    options: AscendOptions
    written: Module = attrs.field(init=False)
    notes: list[str] = attrs.field(init=False)

    def run(self) -> None:
        """Write everything."""
        graph = self.module.main
        if has_quantization(self.module) and not is_static(self.module):
            raise OptionError(
                "a quantized model is compiled for one shape, this one has open sizes", hint="give --shape"
            )
        buckets = [[bucket[name] for name in graph.input_names] for bucket in self.request.buckets]
        picture = Picture.of(self.options, self.target.chip)
        prepared = aipp_inputs(graph, self.request.preprocess, picture, buckets)
        self.written = written_module(self.module, self.target.description.interface)
        self.notes = uncertain_options(self.options)
        gears = None
        if buckets:
            gears = gears_of(self.written.main, buckets, self.options.gears, pictures=bool(prepared))
        index = self._onnx()
        outputs = outputs_of(self.written.main, graph.output_names, index, self.options)
        command = self._command(gears, prepared, index, outputs)
        self._side_files(prepared)
        air = self._air(command)
        self._scripts(command, air is not None)
        if self.options.kernels and is_static(self.written):
            add_kernels(self.written, self.target.description, self.artifact)
        self._manifest(command, gears, prepared, outputs, air)

    def _onnx(self) -> OnnxIndex:
        """model.onnx, checked; it also gives nodes and outputs their names when only GE IR is wanted."""
        path = self.artifact.path_for(MODEL)
        self.target.write_onnx(self.written, path)
        rules = atc_rules(self.target.description)
        attrs.evolve(rules, open_sizes=bool(self.request.buckets) or self.target.chip.ranges).check(path)
        index = index_of(path)
        if self.options.format == "air":
            for each in path.parent.glob(f"{MODEL}*"):
                each.unlink()
        return index

    def _side_files(self, prepared: Sequence[AippInput]) -> None:
        """AIPP, quantization, layout."""
        if has_quantization(self.module):
            self.artifact.add_text(RECORD, record_text(self.artifact.report[REPORT]["layers"]))
            scheme = self.target.quantization
            assert scheme is not None
            kept = [n.name for n in self.module.main if isinstance(n.op, (*LAYERS, AvgPool2D))]
            self.artifact.add_text(AMCT, simple_config(kept, activation_offset=not scheme.symmetric))
        if prepared:
            self.artifact.add_text(AIPP, aipp_text(prepared))
        if is_static(self.module):
            self.artifact.add_json(LAYOUT, self.target.layout_pass.report(self.module.main))

    def _command(
        self, gears: Gears | None, prepared: Sequence[AippInput], index: OnnxIndex, outputs: Sequence[Output]
    ) -> AtcCommand:
        """The call of ATC for the ONNX file."""
        graph, options, sources = self.written.main, self.options, self.module.main.input_names
        shapes: Sequence[Sequence[object]] = (
            gears.shapes if gears is not None else open_shapes(graph, options.size_ranges)
        )
        format = input_format(graph, gears, newer=self.target.chip.newer_options)
        if prepared and format not in ("NCHW", "NHWC"):
            raise OptionError(f"AIPP prepares images only, the inputs together have the format {format}")
        soc = options.soc_version or self.target.description.toolchain.soc_version
        static = {n: t.type.dims for n, t in zip(graph.input_names, graph.inputs, strict=True)}
        small = options.enable_small_channel
        if small is None and prepared and options.aipp == "static":
            small = True
        flags = {
            **({gears.flag: gears.value} if gears is not None else {}),
            **output_flags(outputs, options),
            **input_flags(graph, sources, prepared, options),
            **precision_options(options),
            **configs.add_configs(self.artifact, options, index.nodes, soc, static),
            **plain_options(options),
            "log": options.log,
            **({"insert_op_conf": AIPP} if prepared else {}),
            **({"enable_small_channel": str(int(small))} if small is not None else {}),
        }
        return AtcCommand(MODEL, ONNX, OM, soc, format, input_shapes(graph.input_names, shapes), flags)

    def _air(self, command: AtcCommand) -> dict[str, Any] | None:
        """model.air and what is in it; None when it is not wanted, or has no form and need not have one.

        Raises:
            NoGeForm: it has no form, and nothing else is wanted.
        """
        if self.options.format == "onnx":
            return None
        try:
            file = write_air(self.written, self.artifact.path_for(AIR_MODEL))
        except NoGeForm as error:
            if self.options.format == "air":
                raise
            self.artifact.report["air"] = {"refused": str(error)}
            return None
        if file.inferred:
            self.notes.append(f"{AIR_MODEL}: the ports of {', '.join(file.inferred)} are inferred from their kind")
        self.notes.append(f"{AIR_MODEL}: no ATC has read it; it follows the schema and the rules of CANN's reader")
        self.artifact.report["air"] = {"operators": file.operators, "inferred": file.inferred}
        return {"model": AIR_MODEL, "om": f"{AIR_OM}.om", "weights": file.weights}

    def _scripts(self, command: AtcCommand, has_air: bool) -> None:
        """The scripts; the one that `uair build` runs is build.sh."""
        newer = newer_flags(self.options, command.input_format)
        release = "For CANN 6.0, or a later release that knows the chip."
        if self.target.chip.newer_options:
            release = "For a release of CANN that knows the chip; the options are those of 9.2."
        is_air = self.options.format == "air"
        model, framework = (AIR_MODEL, AIR) if is_air else (MODEL, ONNX)
        if has_air:
            name = BUILD if is_air else BUILD_AIR
            own = air_command(command, OM if is_air else AIR_OM)
            left = [n for n in newer if n in own.options]
            self.artifact.add_text(name, scripts.build_script(own, release, left, name), executable=True)
        if not is_air:
            self.artifact.add_text(BUILD, scripts.build_script(command, release, newer), executable=True)
        self.artifact.add_text(CHECK, scripts.check_script(model, framework, command.soc), executable=True)
        if not is_air:
            newer_tool = self.target.chip.newer_options
            self.artifact.add_text(DUMP, scripts.dump_script(MODEL, ONNX, OM, info=newer_tool), executable=True)

    def _manifest(
        self,
        command: AtcCommand,
        gears: Gears | None,
        prepared: Sequence[AippInput],
        outputs: Sequence[Output],
        air: dict[str, Any] | None,
    ) -> None:
        """What the compiled model takes and gives, how it is compiled, and what is uncertain."""
        if gears is not None and any(p.picture.any_size for p in prepared):
            self.notes.append("AIPP with --dynamic_image_size: src_image_size 0 for pictures of any gear's size")
        if gears is not None and not self.target.chip.newer_options:
            self.notes.append(
                f"--{gears.flag}: with CANN 7.0 a user met 'Dynamic shape is not supported on this chip' (EZ3002); "
                "whether a model with gears is such a one is uncertain"
            )
        entry: dict[str, Any] = {
            "model": f"{OM}.om",
            "soc_version": command.soc,
            "inputs": inputs_manifest(self.written.main, self.module.main.input_names, prepared, self.options),
            "outputs": [o.manifest() for o in outputs],
            "atc": command.flags(),
            "uncertain": self.notes,
        }
        if gears is not None:
            entry["gears"] = {"option": f"--{gears.flag}", "value": gears.value, "extra_inputs": 1}
        if air is not None:
            entry["air"] = air
        self.artifact.manifest[MANIFEST_KEY] = entry


def air_command(command: AtcCommand, output: str) -> AtcCommand:
    """The call of ATC for the GE IR file: NCHW, shapes as in the file, without what names nodes of the ONNX one."""
    dropped = {*BY_NODE, "out_nodes", "output_type", "is_output_adjust_hw_layout", "input_fp16_nodes",
               "is_input_adjust_hw_layout"}  # fmt: skip
    kept = {name: value for name, value in command.options.items() if name not in dropped}
    return attrs.evolve(
        command, model=AIR_MODEL, framework=AIR, output=output, input_format="NCHW", input_shape="", options=kept
    )


def written_module(module: Module, limits: Interface) -> Module:
    """A module as the files hold it: plain tensors, inputs and names that ATC and its command line take."""
    written = module.clone()
    for graph in written.all_graphs():
        drop_layouts(graph)
    legal_interface(written.main, NAMES)
    adapt_inputs(written.main, limits)
    return written


def drop_layouts(graph: Graph) -> None:
    """Remove conversions between layouts: in the ONNX file every tensor is plain, and ATC inserts its own."""
    for node in graph:
        if isinstance(node.op, (Pack, Unpack)):
            x = node.inputs[0]
            assert x is not None
            graph.replace(node, [x])
