"""`uair check`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from uair.cli import options, output
from uair.targets.verdict import Support

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
    return UNSUPPORTED_STATUS if any(r.verdict is Support.UNSUPPORTED for r in reports) else 0


def _show(reports: Any, *, all_nodes: bool) -> None:
    levels = list(Support)
    rows = []
    for report in reports:
        share = "" if report.device_share is None else f"{report.device_share:.1%}"
        peak = "" if report.peak_bytes is None else output.size(report.peak_bytes)
        rows.append((report.target, *(report.counts[level] for level in levels), share, peak))
    columns = ("target", *(level.value for level in levels), "operations on device", "peak activations")
    output.table("", columns, rows, right=(1, 2, 3, 4, 5, 6))
    for report in reports:
        for name, shape in report.unbound.items():
            output.print_text(
                f"{report.target}: input {name} is {shape}, the target takes fixed sizes: --shape {name}=..."
            )
        chosen = report.rows if all_nodes else report.problems()
        if chosen:
            output.table(
                f"{report.target}: {report.title}",
                ("node", "operator", "verdict", "reason", "source"),
                [(row.node, row.op_type, row.level, reason(row.verdict), row.source) for row in chosen],
            )


def reason(verdict: Any) -> str:
    """The reason, the rewrites that the answer presumes, and what would help."""
    through = f"after {', '.join(verdict.through)}" if verdict.through else ""
    return "; ".join(filter(None, (verdict.reason, through, verdict.suggestion)))
