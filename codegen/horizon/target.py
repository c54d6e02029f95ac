"""The Horizon targets: what is written for hb_mapper and hb_compile."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from uair.artifact import ArtifactBuilder
from uair.codegen.horizon.config import CALIBRATION, MODEL, configuration, to_yaml
from uair.codegen.horizon.errors import HorizonInterfaceError
from uair.codegen.horizon.inputs import InputSpec, input_specs
from uair.codegen.horizon.options import CHIPS, Chip, HorizonOptions
from uair.codegen.horizon.scripts import RESULT, build_script, deploy_script
from uair.codegen.horizon.tool import HbCompile, HbMapper
from uair.codegen.onnx.interface import adapt_inputs, drop_unused_inputs, legal_interface, name_values, ports
from uair.codegen.onnx.nodes import WrittenNode, written_nodes
from uair.codegen.onnx.target import OnnxTarget
from uair.ir.graph import Graph, Node
from uair.ir.module import Module
from uair.passes.canonicalise import Canonicalise
from uair.passes.propagate_layout import PropagateLayout
from uair.pipeline import Pass
from uair.request import CompileRequest
from uair.targets.check import check_module
from uair.targets.options import TargetOptions, parse_options
from uair.targets.tool import VendorTool
from uair.targets.verdict import Support

CONFIG, BUILD, DEPLOY, PREDICTION = "config.yaml", "build.sh", "deploy.sh", "placement.json"
MANIFEST_KEY = "horizon"
NAMES = r"[A-Za-z0-9_][A-Za-z0-9_./-]*"
"""Semicolons and blanks separate names in the configuration."""
SIXTEEN = {"ON": "BPU", "InputType": "int16", "OutputType": "int16"}


class HorizonTarget(OnnxTarget):
    """A chip with a BPU that hb_mapper or hb_compile compiles ONNX for."""

    options: ClassVar[type[TargetOptions]] = HorizonOptions
    names: ClassVar[str | None] = NAMES

    @property
    def chip(self) -> Chip:
        """What the tool takes for the chip."""
        return CHIPS[self.description.toolchain.soc_version]

    def check_request(self, request: CompileRequest) -> None:
        """Refuse options that the chip or its tool does not know.

        Raises:
            OptionError, BucketError: see there.
        """
        super().check_request(request)
        self.chip.check(parse_options(HorizonOptions, request.options, self.name))

    def prepare(self) -> tuple[Pass, ...]:
        """Channels first where that saves transposes, which run on the CPU of the older chips, as LayerNorm does."""
        return (PropagateLayout(pointwise="arithmetic"), Canonicalise(), *super().prepare())

    def tool(self) -> VendorTool:
        """hb_mapper or hb_compile."""
        return HbMapper() if self.chip.tool == "hb_mapper" else HbCompile()

    def emit(self, module: Module, artifact: ArtifactBuilder, request: CompileRequest) -> None:
        """Write model.onnx, config.yaml, calibration/, placement.json, build.sh and deploy.sh.

        Raises:
            HorizonInputError: an input, its preprocessing and the options do not go together.
            HorizonInterfaceError: there are too many outputs.
            NotExpressible: an operator has no form at the tool's opset.
        """
        options = parse_options(HorizonOptions, request.options, self.name)
        written = module.clone()
        unused = drop_unused_inputs(written.main)
        self._check_outputs(written.main)
        inputs, outputs = list(written.main.input_names), list(written.main.output_names)
        legal_interface(written.main, NAMES)
        adapt_inputs(written.main, self.description.interface)
        sources = dict(zip(written.main.input_names, inputs, strict=True))
        name_values(written.main, NAMES)
        specs = input_specs(written.main, sources, request.preprocess, self.chip, options)
        self.write_onnx(written, artifact.path_for(MODEL))
        nodes = written_nodes(artifact.path_for(MODEL))
        node_info = self._node_info(written.main, nodes, artifact.report.get("quantization"), options)
        config = configuration(self.chip, options, specs, samples=request.samples is not None, node_info=node_info)
        artifact.add_text(CONFIG, to_yaml(config))
        count = self._write_samples(artifact, request, specs)
        artifact.add_json(PREDICTION, self._prediction(written, nodes))
        artifact.add_text(BUILD, build_script(self.chip, specs), executable=True)
        artifact.add_text(DEPLOY, deploy_script(self.chip), executable=True)
        taken = ports(inputs, written.main.input_names, written.main.inputs)
        for port, spec in zip(taken, specs, strict=True):
            port |= {"on_the_board": spec.type_rt, "layout": spec.layout_rt or "nv12", "normalized": spec.norm_type}
        artifact.manifest[MANIFEST_KEY] = {
            "model": RESULT[self.chip.tool],
            "march": self.chip.march,
            "calibration_samples": count,
            "speed_only": config["calibration_parameters"]["calibration_type"] == "skip",
            "int16": sorted(name for name, info in node_info.items() if "InputType" in info),
            "inputs": taken,
            "outputs": ports(outputs, written.main.output_names, written.main.outputs),
            "unused_inputs": unused,
        }

    def _check_outputs(self, graph: Graph) -> None:
        most = self.description.interface.max_outputs
        if most and len(graph.outputs) > most:
            raise HorizonInterfaceError(
                f"the model has {len(graph.outputs)} outputs, {self.chip.tool} takes {most}",
                hint="leave outputs away, or join them with Concat",
            )

    def _node_info(
        self, graph: Graph, nodes: Sequence[WrittenNode], report: Mapping[str, Any] | None, options: HorizonOptions
    ) -> dict[str, dict[str, str]]:
        """What single nodes are told, by the names in the ONNX file."""
        told: dict[str, dict[str, str]] = {}
        names = {value: node.name for node in nodes for value in node.outputs}
        if options.int16 == "auto" and self.chip.node_info:
            moved = self.quantization.pass_through if self.quantization is not None else ()
            for node in sensitive(graph, report, options.int16_below, moved):
                told[names[node.outputs[0].name]] = dict(SIXTEEN)
        if options.softmax == "bpu":
            for name in _softmaxes(nodes, self.chip):
                told.setdefault(name, {})["ON"] = "BPU"
        return told

    def _write_samples(self, artifact: ArtifactBuilder, request: CompileRequest, specs: Sequence[InputSpec]) -> int:
        """The calibration samples, a file for each sample and input; their number."""
        mapper = self.chip.tool == "hb_mapper"
        count = 0
        for feeds in request.samples or ():
            for spec in specs:
                x = spec.sample(feeds[spec.source], pixels=mapper)
                path = artifact.path_for(f"{CALIBRATION}/{spec.folder}/{count:04}.{'bin' if mapper else 'npy'}")
                if mapper:
                    x.tofile(path)
                else:
                    np.save(path, x, allow_pickle=False)
            count += 1
        return count

    def _prediction(self, module: Module, nodes: Sequence[WrittenNode]) -> dict[str, Any]:
        """Which node of the ONNX file is expected on the BPU; the tool's own answer is in its log."""
        names = {value: node.name for node in nodes for value in node.outputs}
        report = check_module(module, self)
        rows = [
            {
                "node": names.get(row.name, row.name),  # of what is folded there is none
                "operator": row.op_type,
                "on": "BPU" if row.verdict.on_device else "unknown" if row.level is Support.UNKNOWN else "CPU",
                "reason": row.reason,
                "source": row.source,
            }
            for row in report.rows
        ]
        return {"flops_on_bpu": report.device_share, "nodes": rows}


def sensitive(graph: Graph, report: Mapping[str, Any] | None, below: float, moved: Sequence[str] = ()) -> list[Node]:
    """The nodes that need 16 bits, by UAIR's own measurement.

    They are those whose result in INT8 resembles the float one less than `below` (cosine), and those that have
    activations of 16 bits for the sake of the outputs (`least_cosine`).

    Args:
        graph: the float graph.
        report: of the quantization; None when there was none.
        below: cosine similarity.
        moved: operators that only move numbers: what they show are errors of the nodes before.
    """
    if report is None:
        return []
    poor = {
        each["name"]
        for each in report["nodes"]
        if each.get("quality", {}).get("cosine", 1.0) < below
        or any(a["dtype"] == "i16" for a in each["activations"].values())
    }
    return [n for n in graph if (n.name or n.outputs[0].name) in poor and n.op_type not in moved]


def _softmaxes(nodes: Sequence[WrittenNode], chip: Chip) -> list[str]:
    """Names of the Softmax nodes of an ONNX file that the BPU takes when it is asked to.

    bernoulli2: along axis 1, at the end of the model. The others: along axis 3 of four axes, as the writer makes of any
    axis, with Transpose around it. Source: rdk_doc, supported_op_list.md.
    """
    found = [node for node in nodes if node.op_type == "Softmax"]
    if not chip.node_info:
        return [node.name for node in found if node.axis == 1 and node.at_end]
    return [node.name for node in found if (node.axis, node.rank) == (3, 4)]
