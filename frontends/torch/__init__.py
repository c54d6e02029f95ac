"""PyTorch: modules, exported programs, and `.pt2` files.

    module = load(torch_module.eval(), torch.randn(1, 3, 224, 224))

What is imported is the program that `torch.export.export` gives, with its high-level operators: it is decomposed only
where an operator has no counterpart. Parameters are viewed, not copied: do not train the module while the result is in
use.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from uair.frontends.torch.program import Program
from uair.ir.module import Module


def load(
    source: Any,
    *inputs: Any,
    kwargs: Mapping[str, Any] | None = None,
    dynamic_shapes: Any = None,
    name: str = "",
) -> Module:
    """Read a PyTorch model.

    Args:
        source: a `torch.nn.Module`, a `torch.export.ExportedProgram`, or the path of a file.
        inputs: for a module: example inputs of `forward`, by which it is traced.
        kwargs: example keyword inputs.
        dynamic_shapes: which of their extents may vary, as `torch.export.export` takes it; a `torch.export.Dim("n")`
            becomes the symbolic size `n`. All others are fixed to those of the example.
        name: of the module; its class, in lower case, when not given.

    Raises:
        TorchExportError: torch.export cannot trace the module.
        UnmappedOperatorError: it uses operators without a counterpart; all are named, with module and line.
        UairError: a call cannot be expressed; the error names its module and line.
    """
    if isinstance(source, (str, Path)):
        from uair.frontends.torch.files import load_file

        return load_file(Path(source), name)
    from uair.frontends.torch import live
    from uair.frontends.torch.errors import TorchMutationError
    from uair.frontends.torch.importer import Importer, unmapped
    from uair.frontends.torch.mutation import functionalised

    program = (
        source if type(source).__name__ == "ExportedProgram" else live.exported(source, inputs, kwargs, dynamic_shapes)
    )
    program = live.made_explicit(program)
    title = name or ("model" if type(source).__name__ == "ExportedProgram" else type(source).__name__.lower())
    try:
        plain: Program = functionalised(live.read(program))
    except TorchMutationError:  # strides decide, which the neutral program does not have; PyTorch knows them
        program = program.run_decompositions({})
        plain = functionalised(live.read(program))
    missing = unmapped(plain)
    if missing:
        plain = functionalised(live.read(live.decomposed(program, missing)))
    return Importer(plain).run(title)


__all__ = ["load"]
