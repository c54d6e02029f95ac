"""`uair targets`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from uair.cli import options, output

if TYPE_CHECKING:
    from uair.targets.description import DeviceDescription
    from uair.targets.target import Target


@click.command("targets")
@click.argument("name", required=False, type=options.TargetName())
@options.json_option
def command(name: str | None, as_json: bool) -> None:
    """List the targets, or describe target NAME."""
    from uair.context import Context

    context = Context.default()
    names = [name] if name else sorted(context.targets)
    targets = {n: context.target(n) for n in names}
    described = {n: t.description for n, t in targets.items()}
    if as_json:
        output.print_json({n: facts(d) | {"options": _options(targets[n])} for n, d in described.items()})
    elif name:
        for line in targets[name].describe().splitlines():
            indent = " " * (len(line) - len(line.lstrip()))
            output.print_prose(line.lstrip(), indent, indent + " " * 15)
    else:
        rows: list[Any] = [(n, d.title, d.vendor, d.soc, d.toolchain.name) for n, d in described.items()]
        output.table(("target", "device", "vendor", "chip", "toolchain"), rows)


def facts(description: DeviceDescription) -> dict[str, Any]:
    """A description as plain data, the operators by name."""
    import attrs

    from uair.api import plain_value

    skipped = attrs.filters.exclude("operator", "operators", "file")
    return attrs.asdict(description, filter=skipped, value_serializer=_serialized(plain_value)) | {
        "operators": sorted(description.operators)
    }


def _options(target: Target) -> dict[str, Any]:
    """What `--option` takes, by name."""
    from uair.targets.options import options_of, plain_value

    return {
        o.name: {"takes": o.takes, "default": plain_value(o.default), "help": o.help}
        for o in options_of(target.options)
    }


def _serialized(plain: Any) -> Any:
    def serialize(owner: Any, field: Any, value: Any) -> Any:
        if isinstance(value, dict):
            return {plain(None, None, k): plain(None, None, v) for k, v in value.items()}
        return plain(owner, field, value)

    return serialize
