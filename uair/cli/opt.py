"""`uair opt`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from uair.cli import options, output
from uair.pipeline import Instrument, Measure, Pass
from uair.ir.module import Module


class PrintAfter(Instrument):
    """Prints the module after every pass that changed it."""

    def after(self, pass_: Pass, module: Module, changed: bool) -> None:
        """Print."""
        from uair.text import print_module

        if changed:
            output.print_text(f"// after {pass_.spec}\n{print_module(module)}")


@click.command("opt")
@options.model_argument
@click.option("--passes", "-p", default="canonicalise,fuse", show_default=True, help="The pipeline.")
@options.shape_option
@click.option(
    "--output", "-o", type=click.Path(path_type=Path), help="Write a .uair or .onnx file instead of printing."
)
@click.option("--opset", type=int, help="Operator set of an .onnx output.")
@click.option("--print-after", is_flag=True, help="Print the IR after every pass that changed it.")
@click.option("--dump-dir", type=click.Path(path_type=Path), help="Write the IR after every pass into this folder.")
@click.option("--timing", is_flag=True, help="Show time, memory and node count of every pass.")
@click.option(
    "--check-numerics", type=float, help="Compare the outputs after every pass: greatest relative error allowed."
)
@click.option("--no-verify", is_flag=True, help="Do not check the IR after every pass.")
@click.option(
    "--list-passes", is_flag=True, is_eager=True, expose_value=False, callback=lambda c, p, v: list_passes(c, v)
)
@options.external_data_option
@options.json_option
def command(**given: Any) -> None:
    """Run passes over MODEL.

    \b
    uair opt model.onnx -p "canonicalise,fuse" -o model.opt.onnx
    uair opt model.uair -p "quantize-int8{calib=images per-channel=false}" --timing
    """
    from uair.api import export_onnx, run_pipeline
    from uair.pipeline import Dump, Verify
    from uair.text import print_module, save

    measure = Measure()
    instruments: list[Instrument] = [] if given["no_verify"] else [Verify()]
    instruments.append(measure)
    if given["print_after"]:
        instruments.append(PrintAfter())
    if given["dump_dir"]:
        instruments.append(Dump(given["dump_dir"], print_module))
    if given["check_numerics"] is not None:
        from uair.codegen.reference import CheckNumerics

        instruments.append(CheckNumerics(tolerance=given["check_numerics"]))
    module = options.load_model(given["model"], given["external_data_root"])
    run_pipeline(module, given["passes"], shapes=dict(given["shapes"]), instruments=instruments)
    target: Path | None = given["output"]
    if target is not None and target.suffix == ".onnx":
        export_onnx(module, target, opset=given["opset"])
    elif target is not None:
        save(module, target)
    elif not given["print_after"] and not given["as_json"]:
        output.print_text(print_module(module))
    _show_timing(measure, given)


def _show_timing(measure: Measure, given: dict[str, Any]) -> None:
    if given["as_json"]:
        import attrs

        output.print_json({"passes": [attrs.asdict(r) for r in measure.records]})
    elif given["timing"]:
        rows = [
            (r.name, f"{r.seconds * 1e3:.1f}", f"{r.cpu_seconds * 1e3:.1f}", output.size(r.peak_bytes), r.nodes)
            for r in measure.records
        ]
        output.table("", ("pass", "ms", "CPU ms", "peak memory", "nodes"), rows, right=(1, 2, 3, 4))


def list_passes(context: click.Context, wanted: bool) -> None:
    """Print all passes with their options."""
    if not wanted:
        return
    import attrs

    from uair.context import Context

    known = Context.default()
    rows = []
    for name in sorted(known.passes):
        cls: Any = known.pass_class(name)
        fields = [a.name.replace("_", "-") for a in attrs.fields(cls) if a.metadata.get("option", True)]
        rows.append((name, cls.description(), ", ".join(fields)))
    output.table("", ("pass", "what it does", "options"), rows)
    context.exit()
