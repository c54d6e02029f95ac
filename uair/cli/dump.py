"""`uair dump`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from uair.cli import options, output


@click.command("dump")
@options.model_argument
@click.option("--passes", "-p", default="", help='Passes to run first: "canonicalise,fuse".')
@options.shape_option
@click.option(
    "--output",
    "-o",
    type=click.Path(path_type=Path),
    help="Write to this .uair file, large weights beside it, instead of printing.",
)
@options.external_data_option
def command(**given: Any) -> None:
    """Print MODEL as IR text.

    \b
    uair dump model.onnx
    uair dump model.onnx --shape x=1,3,224,224 -p canonicalise,fuse
    """
    from uair.api import run_pipeline
    from uair.text import print_module, save

    module = run_pipeline(
        options.load_model(given["model"], given["external_data_root"]), given["passes"], shapes=dict(given["shapes"])
    )
    if given["output"]:
        save(module, given["output"])
    else:
        output.print_text(print_module(module))
