"""What the compiled model takes and gives: names, element types, and ATC's options that change them.

--out_nodes, --output_type, --input_fp16_nodes, --is_input_adjust_hw_layout and --is_output_adjust_hw_layout.
Source: hicann/ge, docs, CLI_options.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from typing import Any

import attrs

from uair.codegen.ascend.aipp import AippInput
from uair.codegen.ascend.lower import NAMES
from uair.codegen.ascend.options import AscendOptions
from uair.codegen.onnx.index import OnnxIndex
from uair.ir.dims import Shape
from uair.ir.dtype import DType
from uair.ir.graph import Graph
from uair.names import Namer
from uair.targets.errors import OptionError

OUTPUT_TYPES = {
    "FP32": DType.F32, "FP16": DType.F16, "UINT8": DType.U8, "INT8": DType.I8, "INT16": DType.I16,
    "UINT16": DType.U16, "INT32": DType.I32, "UINT32": DType.U32, "INT64": DType.I64, "UINT64": DType.U64,
    "DOUBLE": DType.F64,
}  # fmt: skip
HARDWARE = "NC1HWC0"


@attrs.frozen
class Output:
    """An output of the compiled model.

    Attributes:
        name: of the value in the ONNX file.
        source: its name in the user's model; the same for a value that is no output there.
        node: name of the node that gives it.
        index: which of the node's results it is.
        dtype: element type.
        shape: extents; open ones as text.
        hardware: whether it is given in the chip's layout.
    """

    name: str
    source: str
    node: str
    index: int
    dtype: DType
    shape: Sequence[int | str]
    hardware: bool = False

    @property
    def reference(self) -> str:
        """As --out_nodes names it."""
        return f"{self.node}:{self.index}"

    def manifest(self) -> dict[str, Any]:
        """For the manifest."""
        layout = {"layout": HARDWARE} if self.hardware else {}
        return {
            "name": self.name,
            "source": self.source,
            "dtype": str(self.dtype),
            "shape": list(self.shape),
            "node": self.reference,
            **layout,
        }


def outputs_of(graph: Graph, sources: Sequence[str], index: OnnxIndex, options: AscendOptions) -> list[Output]:
    """The outputs that the options leave.

    Args:
        graph: as written, its outputs under legal names.
        sources: names of the outputs in the user's model.
        index: the file's names.
        options: as given.

    Raises:
        OptionError: a value or node that the model does not have.
    """
    own = dict(zip(sources, graph.output_names, strict=True))
    named = [own.get(name, name) for name in options.out_nodes] or graph.output_names
    back = {name: source for source, name in own.items()}
    made = [_output(name, back, index) for name in named]
    typed = {_named(own, made, n, "output_types"): OUTPUT_TYPES[t] for n, t in options.output_types.items()}
    hardware = {_named(own, made, n, "output_hw_layout") for n in options.output_hw_layout}
    result: list[Output] = []
    for output in made:
        dtype = OUTPUT_TYPES[options.output_type] if options.output_type else output.dtype
        is_hardware = output.name in hardware
        if is_hardware and len(output.shape) != 4:
            raise OptionError(f"output_hw_layout: {output.name!r} is no image, {HARDWARE} is for four axes")
        dtype = DType.F16 if is_hardware else typed.get(output.name, dtype)
        result.append(attrs.evolve(output, dtype=dtype, hardware=is_hardware))
    return result


def _output(name: str, sources: Mapping[str, str], index: OnnxIndex) -> Output:
    """A value by its name, by `node:0`, or by the name of a node, as the user's model or the file has them."""
    legal = Namer(NAMES).legal
    node, _, number = name.rpartition(":")
    if number.isdecimal():
        node = node if node in index.nodes else legal(node)
    elif name not in index.results and name not in index.nodes:
        name = legal(name)
    found = index.results.get(name)
    if found is None:
        wanted = (node, int(number)) if number.isdecimal() else (name, 0)
        value = next((v for v, place in index.results.items() if place == wanted), None)
        if value is None:
            near = difflib.get_close_matches(name, [*index.results, *index.nodes], n=3)
            hint = f"did you mean {' or '.join(near)}?" if near else "name a value or a node of the written model"
            raise OptionError(f"out_nodes names {name!r}, which the model does not have", hint=hint)
        name, found = value, wanted
    dtype, shape = index.types[name]
    return Output(name, sources.get(name, name), found[0], found[1], dtype, shape)


def _named(own: Mapping[str, str], made: Sequence[Output], name: str, option: str) -> str:
    """The written name of an output that an option names.

    Raises:
        OptionError: there is none.
    """
    written = own.get(name, name)
    if written not in [o.name for o in made]:
        near = difflib.get_close_matches(name, [o.source for o in made], n=2)
        hint = f"did you mean {' or '.join(near)}?" if near else f"the outputs are {', '.join(o.source for o in made)}"
        raise OptionError(f"{option} names {name!r}, which is no output", hint=hint)
    return written


def output_flags(outputs: Sequence[Output], options: AscendOptions) -> dict[str, str]:
    """ATC's options for the outputs; none when all are as the file has them."""
    flags: dict[str, str] = {}
    each = options.output_types or options.output_hw_layout
    if options.out_nodes or each:
        flags["out_nodes"] = ";".join(o.reference for o in outputs)
    if each:
        words = {dtype: word for word, dtype in OUTPUT_TYPES.items()}
        flags["output_type"] = ";".join(f"{o.reference}:{words[o.dtype]}" for o in outputs if o.dtype in words)
    elif options.output_type:
        flags["output_type"] = options.output_type
    if options.output_hw_layout:
        flags["is_output_adjust_hw_layout"] = ",".join("true" if o.hardware else "false" for o in outputs)
    return flags


# -------------------------------------------------------------------------------------------------------------- inputs
def input_flags(
    graph: Graph, sources: Sequence[str], prepared: Sequence[AippInput], options: AscendOptions
) -> dict[str, str]:
    """ATC's options for inputs that are given as float16.

    Raises:
        OptionError: an input that the model does not have, that is no float, or that AIPP prepares.
    """
    half = half_inputs(graph, sources, options)
    for name in half:
        if name in [p.name for p in prepared]:
            raise OptionError(f"input_fp16_nodes: AIPP gives input {name!r}", hint="leave it out, or --preprocess")
    flags: dict[str, str] = {}
    if half:
        flags["input_fp16_nodes"] = ";".join(half.values())
    if options.input_hw_layout:
        flags["is_input_adjust_hw_layout"] = ",".join(
            "true" if name in options.input_hw_layout else "false" for name in half
        )
    return flags


def half_inputs(graph: Graph, sources: Sequence[str], options: AscendOptions) -> dict[str, str]:
    """Inputs that are given as float16: the name in the file by the user's.

    Raises:
        OptionError: see `input_flags`.
    """
    own = dict(zip(sources, graph.input_names, strict=True))
    for option, names in (("input_fp16_nodes", options.input_fp16_nodes), ("input_hw_layout", options.input_hw_layout)):
        for name in names:
            if name not in own:
                near = difflib.get_close_matches(name, own, n=2)
                hint = f"did you mean {' or '.join(near)}?" if near else f"the inputs are {', '.join(own)}"
                raise OptionError(f"{option} names {name!r}, which is no input", hint=hint)
            if not graph.input(own[name]).type.dtype.is_float:
                raise OptionError(
                    f"{option}: input {name!r} is {graph.input(own[name]).type}, no floating-point number"
                )
    missing = [n for n in options.input_hw_layout if n not in options.input_fp16_nodes]
    if missing:
        raise OptionError(f"input_hw_layout: {missing[0]!r} must be among input_fp16_nodes")
    flat = [n for n in options.input_hw_layout if graph.input(own[n]).type.rank != 4]
    if flat:
        raise OptionError(f"input_hw_layout: {flat[0]!r} is no image, {HARDWARE} is for four axes")
    return {name: own[name] for name in sources if name in options.input_fp16_nodes}


def inputs_manifest(
    graph: Graph, sources: Sequence[str], prepared: Sequence[AippInput], options: AscendOptions
) -> list[dict[str, Any]]:
    """What the compiled model takes, by its names."""
    by_index = {each.index: each for each in prepared}
    taken: list[dict[str, Any]] = []
    for i, (name, tensor) in enumerate(zip(graph.input_names, graph.inputs, strict=True)):
        dtype = DType.F16 if sources[i] in options.input_fp16_nodes else tensor.type.dtype
        plain: dict[str, Any] = {"dtype": str(dtype), "shape": _plain(tensor.type.dims)}
        if sources[i] in options.input_hw_layout:
            plain["layout"] = HARDWARE
        own = by_index[i].manifest() if i in by_index else plain
        taken.append({"name": name, "source": sources[i], **own})
    return taken


def _plain(shape: Shape) -> list[int | str]:
    return [d if isinstance(d, int) else str(d) for d in shape]
