"""`uair bisect`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from uair.cli import options, output
from uair.ir.location import UNKNOWN

if TYPE_CHECKING:
    from uair.bisection import Culprit
    from uair.debugging.bisect import Bisection
    from uair.ir.graph import Graph

FOUND_STATUS = 4
MOST_LINES = 40


@click.command("bisect")
@options.model_argument
@options.passes_option("The passes, in order, with options in braces. See `uair opt`.", default="canonicalise,fuse")
@click.option(
    "--target",
    "-t",
    type=options.TargetName(),
    help="Bisect the whole pipeline of `uair compile` for this target, without quantization, instead of --passes.",
)
@options.target_option
@click.option(
    "--tolerance",
    "--check-numerics",
    metavar="ERROR",
    default=1e-4,
    show_default=True,
    type=click.FloatRange(0),
    help="Greatest error accepted in an output, relative to its greatest value.",
)
@click.option(
    "--input",
    "-i",
    "inputs",
    metavar="[INPUT=]FILE",
    multiple=True,
    help="An input, as `uair run --input`.  [default: random numbers]",
)
@click.option("--seed", default=0, show_default=True, type=click.IntRange(0), help="Of the random numbers.")
@options.preprocess_option
@click.option(
    "--output",
    "-o",
    metavar="FOLDER",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder for the smallest module that shows the fault.  [default: MODEL-bisect]",
)
@click.option("--no-reduce", is_flag=True, help="Only find the change; cut out and write nothing.")
@options.shape_option
@options.value_option
@options.loading_options
@options.json_option
def command(**given: Any) -> int:
    """Find which change of a pipeline changes what MODEL computes.

    The passes run on MODEL, and the reference interpreter compares the outputs. When they differ, bisection finds the
    pass, then the one application of a rule (or other change) in it that did it; and the smallest module that shows it
    is cut out and written, with its inputs and the command that replays it. A pass that raises is searched in the same
    way. Exit status 4: a change was found; 0: the numbers agree.

    \b
    uair bisect model.onnx
    uair bisect model.onnx --shape x=1,3,224,224 -p canonicalise,fuse
    uair bisect model.onnx --target rk3588 --input x=image.npy
    uair bisect model.onnx --plugin mine.py -p "apply-rules{rules=[my-rule]}"
    """  # noqa: D301  \b is click's mark of text that is not to be wrapped
    with output.progress(f"reading {given['model'].name}"):
        found = _search(given)
    files, replay = _save(found, given)
    if given["as_json"]:
        output.print_json(to_json(found, files, replay))
    else:
        _show(found, files, replay)
    return FOUND_STATUS if found.found else 0


def _search(given: Mapping[str, Any]) -> Bisection:
    from uair.api import bisect
    from uair.cli.inputs import array_shapes
    from uair.context import Context
    from uair.passes.bind_inputs import value_passes
    from uair.passes.bind_shapes import bound_inputs
    from uair.pipeline import PassManager
    from uair.pipeline_syntax import parse_pipeline
    from uair.targets.options import given_options

    if given["options"] and not given["target"]:
        raise click.UsageError("--option is for a target: add --target")
    if given["preprocess"] and not given["inputs"]:
        raise click.UsageError("--preprocess is for images: add --input")
    parse_pipeline(given["passes"], Context.default())  # a slip in it is told before the model is read
    module, shapes = options.load_model(given["model"], given, [array_shapes(given["inputs"])])
    first, shapes = value_passes(module.main, shapes, options.values_by_input(given["values"]))
    PassManager(first, ()).run(module)
    return bisect(
        module,
        given["passes"],
        _feeds(bound_inputs(module.main, shapes), given),
        target=given["target"],
        shapes=shapes,
        options=given_options(given["options"]),
        tolerance=given["tolerance"],
        reduce=not given["no_reduce"],
    )


def _feeds(graph: Graph, given: Mapping[str, Any]) -> dict[str, Any] | None:
    """The inputs that are given, for a graph with them; else random ones, when the sizes are known."""
    from uair.api import describe_interface
    from uair.cli.inputs import InputReader
    from uair.codegen.reference import random_feeds

    if not given["inputs"]:
        known = all(t.type.is_static and t.type.is_tensor for t in graph.inputs)
        return random_feeds(graph, given["seed"]) if known else None
    entries = describe_interface(graph.input_names, graph.inputs)
    preprocess = options.preprocess_by_input(given["preprocess"], graph.input_names)
    sequences = {e["name"] for e in entries if "seq" in e.get("containers", ())}
    return InputReader({e["name"]: e["shape"] for e in entries}, preprocess, sequences=sequences).read(given["inputs"])


def _save(found: Bisection, given: Mapping[str, Any]) -> tuple[list[Path], str]:
    """Write the smallest module; the files, and the command that replays it."""
    if found.smallest is None:
        return [], ""
    folder: Path = given["output"] or Path(f"{given['model'].stem.replace(':', '-')}-bisect")
    return found.save(folder, given["plugins"]), found.replay(given["plugins"])


def to_json(found: Bisection, files: list[Path], replay: str) -> dict[str, Any]:
    """What was found, as plain data."""
    shown: dict[str, Any] = {"found": found.found, "tolerance": found.tolerance, "errors": dict(found.errors)}
    culprit = found.culprit
    if culprit is None or found.fault is None:
        return shown
    made, node = culprit.application, culprit.node
    smallest = None if found.smallest is None else {"nodes": found.smallest.size, "files": [str(f) for f in files]}
    return shown | {
        "fault": found.fault.text,
        "pass": culprit.pass_.spec,
        "rule": None if made is None else made.rule,
        "change": culprit.number or None,
        "changes": culprit.total,
        "node": None if made is None else made.node,
        "sources": [] if node is None else [{"name": s.name, "kind": s.kind, "file": s.file} for s in node.loc.sources],
        "smallest": smallest,
        "replay": replay,
    }


def _show(found: Bisection, files: list[Path], replay: str) -> None:
    """For people."""
    culprit = found.culprit
    if culprit is None or found.fault is None:
        worst = max(found.errors.values(), default=0.0)
        output.print_prose(
            f"The numbers agree: the outputs differ by at most {worst:.3g} of their greatest magnitude after "
            f"{found.steps} passes that changed something; {found.tolerance:g} is allowed."
        )
        return
    output.print_prose(found.fault.text[:1].upper() + found.fault.text[1:] + ".")
    output.print_text("")
    output.print_facts(_facts(found, culprit))
    if culprit.node is not None and culprit.node.graph is not None:
        from uair.text import print_window

        output.print_text(f"\nBefore the change:\n{print_window(culprit.node.graph, culprit.node)}")
    _show_smallest(found, files, replay)


def _facts(found: Bisection, culprit: Culprit) -> dict[str, str]:
    made = culprit.application
    of = f"the {ordinal(found.step)} of {found.steps} that changed something" if found.steps > 1 else ""
    facts = {"pass": f"{culprit.pass_.spec}{f' ({of})' if of else ''}"}
    if made is not None:
        what = {} if made.rule == culprit.pass_.name else {"rule": made.rule}
        number = f"{culprit.number} of {culprit.total} in this pass"
        return facts | what | {"change": number, "node": made.node, "in the model": _known(made.location)}
    if culprit.after is None or culprit.number:
        return facts | {
            "change": f"none: it raises after {culprit.total} changes" if culprit.total else "none: it raises"
        }
    return facts | {"change": "one that the pass makes without drawing fuel, so it has no number"}


def _known(location: str) -> str:
    return "" if location == str(UNKNOWN) else location


def _show_smallest(found: Bisection, files: list[Path], replay: str) -> None:
    from uair.text import print_graph

    if found.smallest is None:
        return
    if not files:
        return
    nodes = found.smallest.size
    output.print_text(f"\nThe smallest module that shows it, {nodes} node{'s' * (nodes != 1)}:")
    text = print_graph(found.smallest.module.main)
    if len(text.splitlines()) <= MOST_LINES:
        output.print_text(text)
    output.print_text("\nWritten: " + ", ".join(str(file) for file in files))
    if replay:
        output.print_text(f"Replay:  sh {files[-1]}")


def ordinal(number: int) -> str:
    """1st, 2nd, 3rd, 4th, 11th."""
    ending = {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th") if number % 100 not in (11, 12, 13) else "th"
    return f"{number}{ending}"
