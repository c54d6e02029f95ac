"""The ATC commands: what is compiled, with which options.

Sources: mindspore-ai/graphengine branch r1.9, ge/offline/main.cc (CANN 6.0); hicann/ge, api/atc/atc_flags.cc and docs,
CLI_options (CANN 9.2).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import attrs

from uair.codegen.ascend.gears import Gears
from uair.codegen.ascend.options import AscendOptions, newer_options
from uair.ir.graph import Graph
from uair.targets.errors import OptionError

ONNX, AIR = 5, 1
"""Values of --framework."""
HIGHEST_RANK = 5


@attrs.frozen
class AtcCommand:
    """One call of ATC.

    Attributes:
        model: the file that is compiled.
        framework: what it is.
        output: name of the result without ".om".
        soc: the chip.
        input_format: "NCHW", "NCDHW", or "ND" for a model without images.
        input_shape: shapes by input name, as ATC wants them; empty for what the file itself states.
        options: further options in order, by name.
    """

    model: str
    framework: int
    output: str
    soc: str
    input_format: str
    input_shape: str
    options: Mapping[str, str] = attrs.Factory(dict[str, str])

    def flags(self) -> list[str]:
        """The options as they stand on the command line; those with characters of the shell are quoted."""
        given = {
            "model": self.model,
            "framework": str(self.framework),
            "output": self.output,
            "soc_version": self.soc,
            "input_format": self.input_format,
            **({"input_shape": self.input_shape} if self.input_shape else {}),
            **self.options,
        }
        return [f"--{name}={quoted(value)}" for name, value in given.items()]


def quoted(value: str) -> str:
    """A value for a shell."""
    return f'"{value}"' if any(c in value for c in ":;,|~") else value


def input_shapes(names: Sequence[str], shapes: Sequence[Sequence[object]]) -> str:
    """The value of --input_shape: `x:1,3,224,224;ids:1,64`."""
    return ";".join(f"{name}:{','.join(map(str, shape))}" for name, shape in zip(names, shapes, strict=True))


def input_format(graph: Graph, gears: Gears | None, *, newer: bool) -> str:
    """One format for all inputs: NCHW as soon as there is an image, ND for inputs of fewer axes.

    ND is what Huawei's own scripts give for language models (Ascend/ModelZoo-PyTorch, ACL_PyTorch/built-in/nlp), and
    what --dynamic_dims demands; it is for at most four axes.

    Raises:
        OptionError: an input has more axes than any format.
    """
    rank = max(t.type.rank for t in graph.inputs)
    if rank > (HIGHEST_RANK if newer else HIGHEST_RANK - 1):
        name = next(n for n, t in zip(graph.input_names, graph.inputs, strict=True) if t.type.rank == rank)
        raise OptionError(
            f"input {name!r} has {rank} axes: ATC has no format for it on this chip",
            hint="merge axes of the input with a Reshape in front of the model",
        )
    if gears is not None and gears.kind == "dims":
        return "ND"
    return "NCDHW" if rank == HIGHEST_RANK else "NCHW" if rank == HIGHEST_RANK - 1 else "ND"


def precision_options(options: AscendOptions) -> dict[str, str]:
    """How ATC chooses element types; the first name is the one that every release knows."""
    if options.precision_mode_v2:
        return {"precision_mode_v2": options.precision_mode_v2}
    return {"precision_mode": options.precision_mode or "force_fp16"}


def plain_options(options: AscendOptions) -> dict[str, str]:
    """The options whose values go to the command line as they are."""
    words = {
        "core_type": options.core_type,
        "aicore_num": options.aicore_num,
        "buffer_optimize": options.buffer_optimize,
        "op_select_implmode": options.op_select_implmode,
        "optypelist_for_implmode": ",".join(options.optypelist_for_implmode),
        "op_compiler_cache_mode": options.op_compiler_cache_mode,
        "optimization_switch": ";".join(f"{name}:{state}" for name, state in options.optimization_switch.items()),
    }
    numbers = {
        "op_debug_level": options.op_debug_level,
        "external_weight": options.external_weight,
        "jit_compile": options.jit_compile,
        "sparsity": options.sparsity,
    }
    extra = [flag.removeprefix("--").partition("=") for flag in options.extra]
    return {
        **{name: value for name, value in words.items() if value},
        **{name: str(value) for name, value in numbers.items() if value is not None},
        **{name: value for name, _, value in extra},
    }


def newer_flags(options: AscendOptions, format: str) -> list[str]:
    """Options of a command that CANN 6.0 lacks, for the script to ask for."""
    return newer_options(options) + (["input_format=NCDHW"] if format == "NCDHW" else [])
