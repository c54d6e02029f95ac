"""The files of the csinn route: model.c, model.h, model.params, what runs them, and a Makefile."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import attrs

from uair.artifact import ArtifactBuilder
from uair.codegen.thead.lower import Arithmetic, Lowering
from uair.codegen.thead.program import CType
from uair.codegen.thead.source import Port, Session, Source, header
from uair.ir.graph import Graph

MODEL, HEADER, PARAMS, MAKEFILE = "model.c", "model.h", "model.params", "Makefile"
RUNTIME = ("main.c", "uair_csinn.h", "uair_io.c", "uair_io.h")
FOLDER = Path(__file__).with_name("runtime")


@attrs.frozen
class Platform:
    """What differs between the chips for which C is written.

    Attributes:
        api: suffix of CSINN_ of the library's backend.
        folder: of the wheel's install_nn2 that holds headers and library.
        library: flags of the linker that name the library.
        compiler: the C compiler unless CC is given.
        include: public header of the backend.
        npu: whether the graph is compiled for an NPU.
    """

    api: str
    folder: str
    library: str
    compiler: str
    include: str = "shl_public/shl_ref.h"
    npu: bool = False

    def session(self, *, quantized: bool, real: CType) -> Session:
        """The session of a float or a quantized graph."""
        number = "INT8_ASYM_W_SYM" if quantized else real.value[0]
        return Session(
            api=self.api,
            mode="NPU_GRAPH" if self.npu else "CPU_GRAPH",
            quant=number,
            ctype=CType.INT8 if quantized else real,
            include=self.include,
            save="SAVE_AND_RUN" if self.npu else "RUN_ONLY",
        )


@attrs.frozen
class Written:
    """What was written.

    Attributes:
        inputs: of the program, in order.
        outputs: likewise.
        operators: number of csinn operators.
        params: bytes of model.params.
    """

    inputs: Sequence[Port]
    outputs: Sequence[Port]
    operators: int
    params: int


def write_csinn(
    graph: Graph, artifact: ArtifactBuilder, platform: Platform, arithmetic: Arithmetic, *, quantized: bool
) -> Written:
    """Write the csinn route of a legalised graph.

    Raises:
        NotInCsinn, UnknownRange: a node has no form.
    """
    lowering = Lowering(graph, arithmetic)
    inputs, outputs = lowering.run()
    source = Source(lowering.program, platform.session(quantized=quantized, real=arithmetic.real))
    artifact.add_text(MODEL, source.model())
    artifact.add_text(HEADER, header(inputs, outputs))
    with artifact.path_for(PARAMS).open("wb") as file:
        file.writelines(source.constants.chunks)
    for name in RUNTIME:
        artifact.add_text(name, (FOLDER / name).read_text(encoding="utf-8"))
    artifact.add_text(MAKEFILE, makefile(platform, len(inputs)))
    return Written(list(inputs.values()), list(outputs.values()), len(lowering.program.calls), source.constants.size)


def makefile(platform: Platform, inputs: int) -> str:
    """The Makefile for a program of that many inputs."""
    files = " ".join(f"golden/input_{i}.npy" for i in range(inputs))
    return f"""# Written by UAIR. Builds `model`, which runs the graph on files (main.c says how).
#
#   make SHL=/path/to/install_nn2/{platform.folder}    SHL's headers and library, from the wheel of HHB 3.2.3
#   make run SHL=...                      run it on the golden input; results go to output_*.npy
SHL ?= install_nn2/{platform.folder}
CC = {platform.compiler}
CFLAGS ?= -O2 -Wall -Wno-unused-variable
LIBRARY = {platform.library}

model: model.c main.c uair_io.c model.h uair_io.h uair_csinn.h
\t$(CC) $(CFLAGS) -I$(SHL)/include -fopenmp -o $@ model.c main.c uair_io.c $(LIBRARY) -lm

.PHONY: run clean
run: model
\t./model {files}

clean:
\trm -f model
"""
