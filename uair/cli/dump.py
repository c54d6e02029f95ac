"""`uair dump`."""

from __future__ import annotations

from typing import Any

import click

from uair.cli import options, output


@click.command("dump")
@options.model_argument
@options.passes_option('Passes to run first: "canonicalise,fuse". See `uair opt`.')
@options.shape_option
@options.value_option
@options.output_option("Write to this .uair file, large weights beside it, instead of printing.")
@options.loading_options
def command(**given: Any) -> None:
    """Print MODEL, a model file or an artifact, as IR text.

    \b
    uair dump model.onnx
    uair dump model.onnx --shape x=1,3,224,224 -p canonicalise,fuse
    uair dump model-cpu/
    """  # noqa: D301  \b is click's mark of text that is not to be wrapped
    from uair.api import is_artifact, run_pipeline
    from uair.artifact import Artifact
    from uair.text import print_module, save

    artifact = Artifact.open(given["model"]) if is_artifact(given["model"]) else None
    path = given["model"] if artifact is None else artifact.file("model.uair")
    module, shapes = options.load_model(path, given)
    run_pipeline(module, given["passes"], shapes=shapes, values=options.values_by_input(given["values"]))
    if given["output"]:
        save(module, given["output"])
    else:
        output.print_text(print_module(module))
