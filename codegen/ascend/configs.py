"""The small files that options of ATC name: precision by operator, mixed-precision lists, fusion switches, compression.

Source of their formats: hicann/ge, docs, CLI_options (--op_precision_mode, --modify_mixlist, --keep_dtype,
--fusion_switch_file, --compression_optimize_conf, --customize_dtypes).
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from uair.artifact import ArtifactBuilder
from uair.codegen.ascend.lower import NAMES
from uair.codegen.ascend.options import AscendOptions
from uair.names import Namer
from uair.targets.errors import OptionError

PRECISION, MIXLIST, KEEP, FUSION, COMPRESSION, DTYPES, CALIBRATION = (
    "op_precision.ini",
    "mixlist.json",
    "keep_dtype.txt",
    "fusion_switch.json",
    "compression.cfg",
    "customize_dtypes.cfg",
    "calibration.bin",
)
_TYPES = r"(Input|Output)Dtype:[a-z0-9_]+(,[a-z0-9_]+)*"
DTYPE_LINE = re.compile(rf"(OpType::[A-Za-z0-9]+:|[A-Za-z0-9_.-]+::){_TYPES}(,{_TYPES})?")


def add_configs(
    artifact: ArtifactBuilder, options: AscendOptions, nodes: Iterable[str], soc: str, shapes: Mapping[str, Any]
) -> dict[str, str]:
    """Write the files that the options ask for; ATC's options that name them.

    Args:
        artifact: written into.
        options: as given.
        nodes: names of the model's nodes.
        soc: the chip.
        shapes: shape of every input by name.

    Raises:
        OptionError: a node that the model does not have, or a file that cannot be read.
    """
    known = list(nodes)
    flags: dict[str, str] = {}
    if options.op_precision or options.node_precision:
        by_node = {node_named("node_precision", n, known): mode for n, mode in options.node_precision.items()}
        artifact.add_text(PRECISION, precision_text(options.op_precision, by_node))
        flags["op_precision_mode"] = PRECISION
    if options.black_list or options.white_list or options.black_list_remove or options.white_list_remove:
        artifact.add_text(MIXLIST, json.dumps(mixlist(options), indent=2) + "\n")
        flags["modify_mixlist"] = MIXLIST
    if options.keep_dtype:
        kept = [n if n.startswith("OpType::") else node_named("keep_dtype", n, known) for n in options.keep_dtype]
        artifact.add_text(KEEP, "".join(f"{name}\n" for name in kept))
        flags["keep_dtype"] = KEEP
    if options.graph_fusion or options.ub_fusion:
        artifact.add_text(FUSION, json.dumps(fusion_switches(options), indent=2) + "\n")
        flags["fusion_switch_file"] = FUSION
    if options.customize_dtypes is not None:
        artifact.add_text(DTYPES, dtypes_text(options.customize_dtypes, known))
        flags["customize_dtypes"] = DTYPES
    if options.first_layer_quantization or options.calibration_data is not None:
        artifact.add_text(COMPRESSION, compression_text(options, soc, shapes))
        flags["compression_optimize_conf"] = COMPRESSION
    if options.calibration_data is not None:
        _copy(options.calibration_data, artifact.path_for(CALIBRATION))
    return flags


def node_named(option: str, name: str, known: list[str]) -> str:
    """The written model's name of a node, which is that of the user's model as far as ATC can state it.

    Raises:
        OptionError: there is none, with near ones.
    """
    for written in (name, Namer(NAMES).legal(name)):
        if written in known:
            return written
    near = difflib.get_close_matches(name, known, n=3)
    hint = f"did you mean {' or '.join(near)}?" if near else "the nodes are those of the written model"
    raise OptionError(f"{option} names {name!r}, which is no node of the model", hint=hint)


def precision_text(by_type: Mapping[str, str], by_node: Mapping[str, str]) -> str:
    """The ini file of --op_precision_mode."""
    sections = (("ByOpType", by_type), ("ByNodeName", by_node))
    lines = ([f"[{name}]", *(f"{key}={mode}" for key, mode in values.items())] for name, values in sections if values)
    return "".join(f"{line}\n" for section in lines for line in section)


def mixlist(options: AscendOptions) -> dict[str, dict[str, list[str]]]:
    """The content of --modify_mixlist."""
    lists = {
        "black-list": {"to-remove": options.black_list_remove, "to-add": options.black_list},
        "white-list": {"to-remove": options.white_list_remove, "to-add": options.white_list},
    }
    chosen = {name: {key: list(types) for key, types in each.items() if types} for name, each in lists.items()}
    return {name: each for name, each in chosen.items() if each}


def fusion_switches(options: AscendOptions) -> dict[str, Any]:
    """The content of --fusion_switch_file."""
    groups = {"GraphFusion": options.graph_fusion, "UBFusion": options.ub_fusion}
    return {"Switch": {name: dict(switches) for name, switches in groups.items() if switches}}


def dtypes_text(path: Path, known: list[str]) -> str:
    """The lines of a file of element types.

    Raises:
        OptionError: it cannot be read, or a line is not of the form `node::InputDtype:float16,OutputDtype:int8`.
    """
    try:
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise OptionError(f"customize_dtypes: {path} cannot be read: {error}") from None
    for number, line in enumerate(filter(None, (x.strip() for x in text.splitlines())), 1):
        if not DTYPE_LINE.fullmatch(line):
            raise OptionError(
                f"customize_dtypes: line {number} of {path}, {line!r}, says no element types",
                hint="write node::InputDtype:float16,OutputDtype:int8 or OpType::Relu:InputDtype:float16",
            )
        if not line.startswith("OpType::"):
            node_named("customize_dtypes", line.partition("::")[0], known)
    return text if text.endswith("\n") else text + "\n"


def compression_text(options: AscendOptions, soc: str, shapes: Mapping[str, Any]) -> str:
    """The text of --compression_optimize_conf."""
    lines = ["enable_first_layer_quantization: true"] if options.first_layer_quantization else []
    if options.calibration_data is not None:
        shape = ";".join(f"{name}:{','.join(map(str, extents))}" for name, extents in shapes.items())
        lines += [
            "calibration: {",
            f"  input_data_dir: ./{CALIBRATION}",
            f"  input_shape: {shape}",
            f"  infer_soc: {soc}",
            "}",
        ]
    return "\n".join(lines) + "\n"


def _copy(source: Path, target: Path) -> None:
    """Copy a file.

    Raises:
        OptionError: it cannot be read.
    """
    try:
        target.write_bytes(source.read_bytes())
    except OSError as error:
        raise OptionError(f"calibration_data: {source} cannot be read: {error}") from None
