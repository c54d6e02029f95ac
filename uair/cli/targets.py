"""`uair targets`."""

from __future__ import annotations

from typing import Any

import click

from uair.cli import options, output


@click.command("targets")
@click.argument("name", required=False)
@options.json_option
def command(name: str | None, as_json: bool) -> None:
    """List the targets, or describe target NAME."""
    import attrs

    from uair.context import Context

    context = Context.default()
    names = [name] if name else sorted(context.targets)
    described = {n: context.target(n) for n in names}
    if as_json:
        output.print_json({n: attrs.asdict(t.description) for n, t in described.items()})
    elif name:
        output.print_text(described[name].describe())
    else:
        rows: list[Any] = [
            (n, t.description.vendor, t.description.soc, t.description.toolchain.name, t.description.summary)
            for n, t in described.items()
        ]
        output.table("", ("target", "vendor", "chip", "toolchain", "what is written"), rows)
