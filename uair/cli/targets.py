"""`uair targets`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from uair.cli import options, output

if TYPE_CHECKING:
    from uair.targets.description import DeviceDescription


@click.command("targets")
@click.argument("name", required=False)
@options.json_option
def command(name: str | None, as_json: bool) -> None:
    """List the targets, or describe target NAME."""
    from uair.context import Context

    context = Context.default()
    names = [name] if name else sorted(context.targets)
    described = {n: context.target(n).description for n in names}
    if as_json:
        output.print_json({n: facts(d) for n, d in described.items()})
    elif name:
        show(described[name])
    else:
        rows: list[Any] = [(n, d.title, d.vendor, d.soc, d.toolchain.name) for n, d in described.items()]
        output.table("", ("target", "", "vendor", "chip", "toolchain"), rows)


def facts(description: DeviceDescription) -> dict[str, Any]:
    """A description as plain data, the operators by name."""
    import attrs

    from uair.api import plain_value

    skipped = attrs.filters.exclude("operator", "operators", "file")
    return attrs.asdict(description, filter=skipped, value_serializer=_serialized(plain_value)) | {
        "operators": sorted(description.operators)
    }


def _serialized(plain: Any) -> Any:
    def serialize(owner: Any, field: Any, value: Any) -> Any:
        if isinstance(value, dict):
            return {plain(None, None, k): plain(None, None, v) for k, v in value.items()}
        return plain(owner, field, value)

    return serialize


def show(description: DeviceDescription) -> None:
    """Print a description."""
    d = description
    onnx = f"ONNX opset {d.onnx.opset}" if d.onnx else "no ONNX"
    output.print_text(f"{d.name}: {d.title} ({d.vendor}, {d.soc})")
    output.print_text(
        f"toolchain: {d.toolchain.name}, checked with {', '.join(d.toolchain.checked) or 'none'}; takes {onnx}"
    )
    output.print_text(f"static shapes: {'required' if d.static_shapes else 'not required'}")
    output.print_text(f"element types: {', '.join(str(t) for t in d.dtypes.accepted)}")
    for note in d.notes:
        output.print_text(f"note: {note}")
    if d.memory:
        output.table("memory", ("level", "size"), [(m.name, output.size(m.bytes)) for m in d.memory], right=(1,))
    rows = [
        (name, entry.entry.support or "by the vendor's list", "; ".join(c.constraint.text for c in entry.constraints))
        for name, entry in sorted(d.operators.items())
    ]
    output.table("operators with an entry of their own", ("operator", "verdict", "constraints"), rows)
    output.table("sources", ("key", "document"), [(k, str(v)) for k, v in d.sources.items()])
