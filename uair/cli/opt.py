"""`uair opt`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from uair.cli import options, output, replay

if TYPE_CHECKING:
    from uair.ir.module import Module
    from uair.pipeline import Instrument, Measure


def list_passes(context: click.Context, parameter: click.Parameter, wanted: bool) -> None:
    """Print all passes with their options."""
    if not wanted or context.resilient_parsing:
        return
    import attrs

    from uair.context import Context
    from uair.pipeline import option_text

    known = Context.default()
    for name in sorted(known.passes):
        cls: Any = known.pass_class(name)
        output.print_text(name)
        output.print_prose(cls.description(), "    ")
        fields = [a for a in attrs.fields(cls) if a.metadata.get("option", True)]
        shown = [f"{a.name.replace('_', '-')}={option_text(default_of(a))}" for a in fields]
        if shown:
            output.print_prose(f"{{{' '.join(shown)}}}", "    ")
    context.exit()


def default_of(field: Any) -> Any:
    """The value of a pass's option that is not given."""
    return field.default.factory() if hasattr(field.default, "factory") else field.default


@click.command("opt")
@options.model_argument
@options.passes_option("The passes, in order, with options in braces.", default="canonicalise,fuse")
@options.shape_option
@options.value_option
@options.output_option("Write a .uair or .onnx file instead of printing.")
@click.option("--opset", type=click.IntRange(1), help="Operator set of an .onnx output.")
@click.option("--print-after", is_flag=True, help="Print the IR after every pass that changed it.")
@options.dump_dir_option
@click.option(
    "--report",
    metavar="FILE",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write what passes report (pruning, quantization) to this file, as JSON.",
)
@click.option("--timing", is_flag=True, help="Show time, memory and node count of every pass on the error stream.")
@click.option(
    "--check-numerics",
    metavar="ERROR",
    type=click.FloatRange(0),
    help="Run the model after every pass: greatest relative error allowed.",
)
@options.reproducer_option
@click.option("--no-verify", is_flag=True, help="Do not check the IR after every pass.")
@click.option(
    "--list-passes",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=list_passes,
    help="List the passes with their options and defaults, and exit.",
)
@options.loading_options
@options.json_option
def command(**given: Any) -> None:
    """Run passes over MODEL and print or write the result.

    \b
    uair opt model.onnx -o model.opt.onnx
    uair opt model.onnx --shape x=1,3,224,224 --timing --check-numerics 1e-4
    uair opt model.uair -p "canonicalise{max-rounds=2},fuse" --print-after
    uair opt m.onnx -p "fuse,prune-channels{flops=0.7}" -o p.onnx --report r.json
    """  # noqa: D301  \b is click's mark of text that is not to be wrapped
    from uair.api import run_pipeline
    from uair.pipeline import Measure, PassContext

    measure, context = Measure(), PassContext()
    require_output(given)
    module, shapes = options.load_model(given["model"], given)
    run_pipeline(
        module,
        given["passes"],
        shapes=shapes,
        values=options.values_by_input(given["values"]),
        instruments=[*_instruments(given), measure],
        context=context,
    )
    _write(module, given)
    if given["report"] is not None:
        _write_report(context.reports, given["report"])
    _show_timing(measure, given)


def require_output(given: dict[str, Any]) -> None:
    """Refuse an output that could not be written, before the work.

    Raises:
        click.UsageError: see there.
    """
    target: Path | None = given["output"]
    if target is not None and target.suffix not in (".onnx", ".uair"):
        raise click.UsageError(f"--output {target}: the name must end in .uair or .onnx")
    if given["opset"] is not None and (target is None or target.suffix != ".onnx"):
        raise click.UsageError("--opset is for an .onnx output")
    if given["print_after"] and given["as_json"]:
        raise click.UsageError("--print-after prints IR text: it cannot be used with --json")


def _instruments(given: dict[str, Any]) -> list[Instrument]:
    from uair.cli.printing import PrintAfter
    from uair.pipeline import Dump, Verify
    from uair.text import print_module

    instruments: list[Instrument] = [] if given["no_verify"] else [Verify()]
    if given["print_after"]:
        instruments.append(PrintAfter())
    if given["dump_dir"]:
        instruments.append(Dump(given["dump_dir"], print_module))
    if given["check_numerics"] is not None:
        from uair.codegen.reference import CheckNumerics

        instruments.append(CheckNumerics(tolerance=given["check_numerics"], replay=replay.bisecting()))
    if given["reproducer"]:
        from uair.debugging.reproducer import Reproducer

        folder, plugins = given["reproducer"], given["plugins"]
        instruments.append(Reproducer(folder, replay.running(), plugins, given["check_numerics"]))
    return instruments


def _write(module: Module, given: dict[str, Any]) -> None:
    from uair.api import export_onnx
    from uair.text import print_module, save

    target: Path | None = given["output"]
    if target is not None and target.suffix == ".onnx":
        export_onnx(module, target, opset=given["opset"])
    elif target is not None:
        save(module, target)
    elif not given["print_after"] and not given["as_json"]:
        output.print_text(print_module(module))


def _write_report(reports: dict[str, Any], path: Path) -> None:
    from uair.artifact import to_json
    from uair.atomic import atomic_file

    with atomic_file(path) as file:
        file.write(to_json(reports).encode())


def _show_timing(measure: Measure, given: dict[str, Any]) -> None:
    if given["as_json"]:
        import attrs

        output.print_json({"passes": [attrs.asdict(r) for r in measure.records]})
    elif given["timing"]:
        rows = [
            (r.name, f"{r.seconds * 1e3:.1f}", f"{r.cpu_seconds * 1e3:.1f}", output.size(r.peak_bytes), r.nodes)
            for r in measure.records
        ]
        output.table(("pass", "ms", "CPU ms", "peak memory", "nodes"), rows, right=(1, 2, 3, 4), stream=sys.stderr)
