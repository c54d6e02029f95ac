"""`uair check`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from uair.cli import options, output

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
    help="Target; may be given several times.",
)
@options.shape_option
@click.option("--all-nodes", is_flag=True, help="Also list the nodes that are supported.")
@options.external_data_option
@options.json_option
def command(
    model: Path, targets: tuple[str, ...], shapes: Any, all_nodes: bool, external_data_root: Path | None, as_json: bool
) -> int:
    """Say which nodes of MODEL each target takes, and why not. No vendor tool is needed.

    Exit status 3: a target does not take some node.
    """
    from uair.api import check

    module = options.load_model(model, external_data_root)
    reports = check(module, "all" if "all" in targets else list(targets), shapes=dict(shapes))
    if as_json:
        output.print_json({report.target: report.to_json() for report in reports})
    else:
        _show(reports, all_nodes=all_nodes)
    return UNSUPPORTED_STATUS if any(report.summary()["unsupported"] for report in reports) else 0


def _show(reports: Any, *, all_nodes: bool) -> None:
    columns = ("target", "supported", "partial", "unsupported", "unknown", "share of operations on the device")
    rows = []
    for report in reports:
        facts = report.summary()
        share = facts.get("device_flops_share")
        shown = "unknown: open shapes" if share is None else f"{share:.1%}"
        rows.append((report.target, *(facts[c] for c in columns[1:5]), shown))
    output.table("", columns, rows, right=(1, 2, 3, 4, 5))
    for report in reports:
        shown_rows = [r for r in report.rows if all_nodes or str(r.level) != "supported"]
        if shown_rows:
            output.table(
                report.target,
                ("node", "operator", "verdict", "reason", "source", "what would help"),
                [(r.node, r.op_type, r.level, r.reason, r.source, r.rewrite) for r in shown_rows],
            )
