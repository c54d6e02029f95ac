"""`uair doctor`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from uair.cli import options, output

if TYPE_CHECKING:
    from uair.building import Health

NOT_READY_STATUS = 1


@click.command("doctor")
@click.option(
    "--target",
    "-t",
    "targets",
    multiple=True,
    type=options.TargetName(),
    help="Only this target; may be given several times. Exit status 1: its tool is not here, or too old.",
)
@options.json_option
def command(targets: tuple[str, ...], as_json: bool) -> int:
    """Look for the vendors' tools, their versions, the devices and their drivers on this machine.

    \b
    uair doctor
    uair doctor --target rk3588
    """  # noqa: D301  \b is click's mark of text that is not to be wrapped
    from uair.building import examine

    with output.progress("looking for tools and devices"):
        found = examine(targets or None)
    if as_json:
        output.print_json({health.target: health.to_json() for health in found})
    else:
        _show(found, named=bool(targets))
    return NOT_READY_STATUS if targets and any(h.tool and not h.can_build for h in found) else 0


def _show(found: list[Health], *, named: bool) -> None:
    rows = [
        (h.target, h.tool or "-", _tool_state(h), "here" if h.device.is_present else "-", h.device.driver)
        for h in found
    ]
    output.table(("target", "tool", "installed", "device", "driver"), rows)
    for health in found:
        if health.problem and (named or health.can_build or health.device.is_present):
            output.print_text(f"\n{health.target}: {health.title}")
            output.print_facts({"problem": health.problem, "help": health.advice}, "  ")
        if named:
            facts = {
                "tool": health.place,
                "version": health.version,
                "checked with": ", ".join(health.known_versions),
                "device": ", ".join(health.device.evidence),
            }
            output.print_facts(facts, "  ")
    if not named:
        output.print_text("\n`uair doctor --target T` says where a tool was looked for and how to get it.")


def _tool_state(health: Health) -> str:
    if not health.tool:
        return ""
    return (health.version or "yes") if health.can_build else "no"
