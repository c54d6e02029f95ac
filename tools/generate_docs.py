"""Writes the pages of docs/ that are made from the code, or with --check says whether they are up to date.

docs/operators.md from the operator classes, docs/errors.md from the error classes, docs/passes.md from the passes,
docs/rules.md from the rules and the examples of their tests, docs/source-operators.md from the handlers of the
frontends.
"""

from __future__ import annotations

import argparse
import importlib
import inspect
import pkgutil
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import attrs

from tools import rule_pairs
from tools.source_operators import emitted, table

DOCS = Path(__file__).resolve().parent.parent / "docs"
NOTE = "<!-- Made by `make docs` from the code; changes here are overwritten. -->\n"


def modules() -> Iterator[Any]:
    """Every module of UAIR that needs no framework to be imported."""
    import uair

    yield uair
    for info in pkgutil.walk_packages(uair.__path__, "uair."):
        if not info.name.endswith("__main__"):
            yield importlib.import_module(info.name)


def operators() -> str:
    """One section per family, one entry per operator."""
    import uair.ops
    from uair.ops.base import Operator, attribute_kinds

    families: dict[str, list[type[Operator]]] = {}
    for name in uair.ops.OPERATORS:
        cls: type[Operator] = getattr(uair.ops, name)
        families.setdefault(cls.family, []).append(cls)
    lines = [
        "# Operators",
        NOTE,
        "The canonical operators: one meaning each, whatever the framework calls it. `?` marks an operand that may be "
        "omitted, `*` any number of operands. Tensors are in the framework-neutral order (images are [N, C, H, W]).\n",
    ]
    for family, classes in sorted(families.items()):
        lines.append(f"## {family}\n")
        for cls in sorted(classes, key=lambda c: c.__name__):
            lines.append(f"### {cls.signature()}\n")
            lines.append((inspect.getdoc(cls) or "").strip() + "\n")
            kinds = attribute_kinds(cls)
            if kinds:
                lines += ["| attribute | type | default |", "|---|---|---|"]
                defaults = {a.name: a.default for a in attrs.fields(cast(Any, cls))}
                lines += [f"| {k} | {_cell(str(v))} | {_cell(repr(defaults[k]))} |" for k, v in kinds.items()]
                lines.append("")
    return "\n".join(lines)


def errors() -> str:
    """One section per error code."""
    from uair.errors import UairError

    for _ in modules():
        pass
    found: dict[str, type[UairError]] = {}
    pending = [UairError]
    while pending:
        cls = pending.pop()
        pending += cls.__subclasses__()
        if cls.__module__.startswith("uair"):
            found.setdefault(cls.code, cls)
    lines = [
        "# Errors",
        NOTE,
        "Every error that UAIR reports has a code that stays. The message names the object in your own model, the "
        "reason and the next step.\n",
    ]
    for code, cls in sorted(found.items()):
        lines += [f"## {code}: {cls.title}\n", _description(cls) + "\n"]
    return "\n".join(lines)


def passes() -> str:
    """Passes with their options."""
    from uair.context import Context

    context = Context.default()
    lines = ["# Passes", NOTE, "What the rules of a pass do stands in [Rules](rules.md).\n"]
    for name in sorted(context.passes):
        cls: Any = context.pass_class(name)
        lines += [f"## {name}\n", (inspect.getdoc(cls) or "") + "\n"]
    return "\n".join(lines)


def rules() -> str:
    """Every rule with its picture."""
    return rule_pairs.page(NOTE)


SOURCES = (
    ("PyTorch", "torch", "ATen's operators as `torch.export` records them, every overload of a name."),
    ("TensorFlow", "tensorflow", "Operators of graphs (SavedModel, GraphDef)."),
    ("Keras", "keras", "Layers and operations of `.keras` and `.h5` files and of models in memory."),
    (
        "TFLite",
        "tflite",
        "Builtin operators of the schema. A quantized operand passes through Dequantize and a quantized result through "
        "Quantize, which the table leaves out; a custom operator is kept as it is. See [TFLite](tflite.md).",
    ),
)
"""Frontends whose handlers stand in a table by name: title, folder, what the names are."""


def source_operators() -> str:
    """One table per source framework: its operators and the canonical ones that they become."""
    from uair.frontends.common.table import joined
    from uair.frontends.onnx.table import handlers

    lines = [
        "# Operators of the source frameworks",
        NOTE,
        "Every operator that a frontend reads, and the [canonical operators](operators.md) that it can become; which "
        "of them, its attributes decide. Casts, reshapes and transposes that only adapt operands are left out where "
        "the code that reads the operator names others itself.\n",
    ]
    for title, folder, what in SOURCES:
        families = importlib.import_module(f"uair.frontends.{folder}.handlers").FAMILIES
        read = joined(families)
        lines += [f"## {title}\n", f"{len(read)} names. {what}\n", "| operator | becomes |", "|---|---|"]
        lines += [*table(read.items()), ""]
    versions: dict[tuple[str, str], set[int]] = {}
    newest: dict[tuple[str, str], Any] = {}
    for (domain, name, version), handler in sorted(handlers().items()):
        versions.setdefault((domain, name), set()).add(version)
        newest[domain, name] = handler
    lines += [
        "## ONNX\n",
        f"{len(newest)} operators. A version is the operator set in which an operator last changed; each is read with "
        "the meaning it has there. An operator that is not listed, and that ONNX defines in terms of others (windows, "
        "losses), is expanded. Any other is kept as it is where the model declares the types of its results.\n",
        "| operator | versions | becomes |",
        "|---|---|---|",
    ]
    for key, handler in sorted(newest.items()):
        numbers = ", ".join(map(str, sorted(versions[key])))
        lines.append(f"| `{'.'.join(filter(None, key))}` | {numbers} | {', '.join(emitted(handler)) or '(nothing)'} |")
    return "\n".join(lines)


def command_line() -> str:
    """The help of every command, and what holds for all of them."""
    import click

    import uair.cli

    general = (inspect.getdoc(uair.cli) or "").split("\n\n", 1)[1]
    lines = [
        "# The command line",
        NOTE,
        "Also `python -m uair`. Commands are completed by bash, zsh and fish: `uair completion SHELL`.\n",
        general + "\n",
        "`UAIR_DEBUG=1` in the environment adds the traceback to every error.\n",
        _help(uair.cli.group, click.Context(uair.cli.group, info_name="uair", terminal_width=80)),
    ]
    for name in uair.cli.COMMANDS:
        command: click.Command = importlib.import_module(f"uair.cli.{name.replace('-', '_')}").command
        parent = click.Context(uair.cli.group, info_name="uair")
        context = click.Context(command, info_name=name, parent=parent, terminal_width=80)
        lines += [f"## uair {name}\n", _help(command, context)]
    return "\n".join([*lines, *load_options()])


def load_options() -> Iterator[str]:
    """A table of what the reader of each format may be told."""
    from uair.builtin import FRONTENDS
    from uair.driver.loading import Loader
    from uair.typed_values import takes

    yield "## What `--load` takes\n"
    yield "By the format of the model. In Python these are options of `uair.load`, which takes some more."
    yield "`--external-data-root` is `--load external_data_root=`.\n"
    yield "| format | option | takes | what it does |"
    yield "|---|---|---|---|"
    for format in sorted(FRONTENDS):
        loader = Loader.of("", format)
        help = _arguments(inspect.getdoc(loader.function) or "")
        for name, annotation in loader.annotations().items():
            yield f"| {format} | `{name}` | {takes(annotation)} | {_cell(help[name])} |"


def _arguments(doc: str) -> dict[str, str]:
    """What a docstring says of every parameter."""
    section = doc.partition("\nArgs:\n")[2].partition("\n\n")[0]
    entries = re.findall(r"^    (\w+): (.*(?:\n {8}.*)*)", section, re.MULTILINE)
    return {name: " ".join(text.split()).rstrip(".") for name, text in entries}


def _help(command: Any, context: Any) -> str:
    context.help_option_names = ["-h", "--help"]
    return f"```\n{command.get_help(context)}\n```\n"


def _description(cls: type[Any]) -> str:
    return (inspect.getdoc(cls) or "").split("\n\nArgs:")[0]


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


PAGES: dict[str, Callable[[], str]] = {
    "operators.md": operators,
    "errors.md": errors,
    "passes.md": passes,
    "rules.md": rules,
    "cli.md": command_line,
    "source-operators.md": source_operators,
}


def main() -> int:
    """Write the pages, or compare them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; fail when a page is not up to date")
    check = parser.parse_args().check
    stale: list[str] = []
    for name, make in PAGES.items():
        path = DOCS / name
        try:
            made = make()
        except rule_pairs.PairError as error:
            sys.stderr.write(f"{name}: {error}\n")
            return 1
        text = "\n".join(line.rstrip() for line in made.rstrip().split("\n")) + "\n"
        if check and (not path.exists() or path.read_text() != text):
            stale.append(name)
        elif not check:
            path.write_text(text)
    if stale:
        sys.stderr.write(f"not up to date: {', '.join(stale)}; run `make docs`\n")
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main())
