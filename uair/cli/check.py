"""`uair check`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from uair.cli import options, output

if TYPE_CHECKING:
    from uair.targets.check import CheckReport, NodeRow

UNSUPPORTED_STATUS = 3


@click.command("check")
@options.model_argument
@click.option(
    "--target",
    "-t",
    "targets",
    multiple=True,
    default=("all",),
    show_default=True,
    type=options.TargetName(),
    help="Target; may be given several times.",
)
@options.shape_option
@options.value_option
@click.option("--all-nodes", is_flag=True, help="Also list the nodes that are supported.")
@options.loading_options
@options.json_option
def command(**given: Any) -> int:
    """Say which nodes of MODEL each target takes, and why not. No vendor tool is needed.

    The answers are about the model after simplification and fusion. Exit status 3: a target does not take some node.

    \b
    uair check model.onnx
    uair check model.onnx --target rk3588 --shape x=1,3,224,224
    """  # noqa: D301  \b is click's mark of text that is not to be wrapped
    from uair.api import check
    from uair.targets.verdict import Support

    with output.progress(f"reading {given['model'].name}"):
        module, shapes = options.load_model(given["model"], given)
        reports = check(
            module,
            "all" if "all" in given["targets"] else list(given["targets"]),
            shapes=shapes,
            values=options.values_by_input(given["values"]),
        )
    if given["as_json"]:
        output.print_json({report.target: report.to_json() for report in reports})
    else:
        _show(reports, all_nodes=given["all_nodes"])
    return UNSUPPORTED_STATUS if any(r.verdict is Support.UNSUPPORTED for r in reports) else 0


def _show(reports: list[CheckReport], *, all_nodes: bool) -> None:
    from uair.targets.verdict import Support

    rows = []
    for report in reports:
        share = "" if report.device_share is None else f"{report.device_share:.1%}"
        peak = "" if report.peak_bytes is None else output.size(report.peak_bytes)
        rows.append((report.target, *(report.counts[level] for level in Support), share, peak))
    columns = ("target", *(level.value for level in Support), "on device", "activations")
    output.table(columns, rows, right=(1, 2, 3, 4, 5, 6))
    for report in reports:
        _show_problems(report)
        if all_nodes:
            for each in report.interface:
                output.print_prose(f"{report.target}, {each.name}: {', '.join(each.verdict.through)}", "", "    ")
            output.print_text(f"\n{report.target}, all nodes:\n\n")
            output.table(
                ("node", "operator", "verdict", "through"),
                [(row.node, row.op_type, row.level, ", ".join(row.verdict.through)) for row in report.rows],
            )


def _show_problems(report: CheckReport) -> None:
    """What the target does not take as it is: nodes of the same kind and reason together, worst first."""
    kinds: dict[tuple[str, ...], list[NodeRow]] = {}
    for row in report.problems():
        kinds.setdefault((row.level.value, row.op_type, row.reason, row.rewrite, row.source), []).append(row)
    refused = [row for row in report.interface if row.verdict.reason]
    if kinds or report.unbound or refused:
        output.print_text(f"\n{report.target}: {report.title}")
    for name, type_ in report.unbound.items():
        output.print_prose(
            f"open sizes: input {name} is {type_}, the target takes numbers: give --shape {name}=...", "  ", "    "
        )
    for port in refused:
        verdict = port.verdict
        output.print_prose(f"{verdict.support.value}: {port.name}: {verdict.reason}", "  ", "    ")
        output.print_facts({"help": verdict.suggestion, "source": str(verdict.source or "")}, "    ")
    for (level, op_type, reason, rewrite, source), rows in kinds.items():
        output.print_prose(f"{level}: {len(rows)} x {op_type}: {reason}", "  ", "    ")
        facts = {"nodes": output.listed([row.node for row in rows]), "help": rewrite, "source": source}
        output.print_facts(facts, "    ")
