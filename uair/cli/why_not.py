"""`uair why-not`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from uair.cli import options, output

if TYPE_CHECKING:
    from uair.debugging.why_not import Answer, WhyNot

MOST_APPLIED = 8


def list_rules(context: click.Context, parameter: click.Parameter, wanted: bool) -> None:
    """Print all rules."""
    if not wanted or context.resilient_parsing:
        return
    from uair.passes.catalogue import all_rules

    for name, known in all_rules().items():
        passes = f"  [{', '.join(known.passes)}]" if known.passes else ""
        output.print_text(f"{name}{passes}")
        output.print_prose(known.rule.description, "    ")
    context.exit()


@click.command("why-not")
@click.argument("rule")
@options.model_argument
@click.argument("node", default="")
@options.passes_option('Passes to run first: "canonicalise". See `uair opt`.')
@options.shape_option
@options.value_option
@click.option(
    "--list-rules",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=list_rules,
    help="List the rules with the passes that apply them, and exit.",
)
@options.loading_options
@options.json_option
def command(**given: Any) -> None:
    """Say why RULE does not apply to MODEL, at NODE or at every node that it could start from.

    NODE is written as `uair dump` prints its result (%conv1), or is the name that it has in the model. The answer is
    about the model as it was read, or behind the passes that are given; it comes from the matcher that the passes use.

    \b
    uair why-not fold-batch-norm model.onnx
    uair why-not fold-batch-norm model.onnx -p canonicalise layer1/bn2
    uair why-not --list-rules
    """  # noqa: D301  \b is click's mark of text that is not to be wrapped
    from uair.api import run_pipeline, why_not
    from uair.passes.catalogue import find_rule

    find_rule(given["rule"])  # a slip in it is told before the model is read
    with output.progress(f"reading {given['model'].name}"):
        module, shapes = options.load_model(given["model"], given)
        run_pipeline(module, "", shapes=shapes, values=options.values_by_input(given["values"]), instruments=())
        found = why_not(module, given["rule"], given["node"], passes=given["passes"])
    if given["as_json"]:
        output.print_json(found.to_json())
    else:
        _show(found, given["passes"])


def _show(found: WhyNot, passes: str) -> None:
    """For people."""
    rule = found.known.rule
    by = f" (pass {', '.join(found.known.passes)})" if found.known.passes else ""
    output.print_prose(f"{rule.name}{by}: {rule.description}")
    output.print_text("")
    if len(found.answers) == 1 and found.asked:
        _show_one(found.answers[0])
    elif found.answers:
        _show_table(found.answers)
    elif not found.asked:
        kinds = " or ".join(op.__name__ for op in rule.root_ops)
        output.print_text(f"No node of the {'module behind these passes' if passes else 'model'} is a {kinds}.")
    for note in found.notes:
        output.print_prose(note[:1].upper() + note[1:] + ".")
    if found.applied and not found.asked:
        _show_applied(found)


def _show_one(answer: Answer) -> None:
    from uair.text import print_window

    if answer.applies:
        output.print_prose(f"It applies at {answer.name} ({answer.node.loc}).")
    else:
        output.print_prose(f"It does not apply at {answer.name} ({answer.node.loc}): {answer.reason}.")
        if answer.wanted > 1:
            output.print_prose(f"{answer.matched} of the {answer.wanted} nodes of the pattern matched.")
        if answer.culprit_location:
            output.print_prose(f"That is from {answer.culprit_location} in the model.")
    if answer.node.graph is not None:
        output.print_text("\n" + print_window(answer.node.graph, answer.node))


def _show_table(answers: Any) -> None:
    count = sum(answer.applies for answer in answers)
    output.print_text(f"{len(answers)} candidates; it applies to {count}:\n")
    rows = [
        (
            output.shortened(answer.name),
            answer.node.op_type,
            output.location(answer.node.loc),
            f"{answer.matched}/{answer.wanted}",
            answer.reason + (f" (from {output.location(culprit)})" if (culprit := answer.origin_of_culprit) else "")
            if not answer.applies
            else "applies",
        )
        for answer in answers
    ]
    output.table(("node", "operator", "in the model", "matched", "answer"), rows, right=(3,))


def _show_applied(found: WhyNot) -> None:
    output.print_text(f"\nThe passes have applied it {len(found.applied)} times already:\n")
    rows = [
        (made.number, made.pass_spec, output.shortened(made.node), made.location)
        for made in found.applied[:MOST_APPLIED]
    ]
    output.table(("change", "pass", "node", "in the model"), rows, right=(0,))
    if len(found.applied) > MOST_APPLIED:
        output.print_text(f"and {len(found.applied) - MOST_APPLIED} more")
