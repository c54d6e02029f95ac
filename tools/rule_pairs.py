"""The rules by family, and for each the pair of modules that its test runs: before and after.

The pairs stand in tests/passes/pairs/FAMILY.txt, in the order of the rules:

    === drop-identity
    %x: f32[2,3]
    %a = Identity(%x)
    %y = Relu(%a)
    --- becomes
    %x: f32[2,3]
    %y = Relu(%x)

tests/passes/test_rule_pairs.py checks them; docs/rules.md shows them as pictures and text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import attrs

from uair.ir.graph import Graph, Tensor
from uair.rewrite import Rule
from uair.text import parse_module

FOLDER = Path(__file__).resolve().parent.parent / "tests" / "passes" / "pairs"
HEADER, BECOMES = "=== ", "--- becomes\n"

UNPAIRED = {"spell-out": "it is made for nodes that propagate-layout has chosen"}
"""Rules that are no pattern of their own, and why."""


@attrs.frozen
class Family:
    """Rules that are applied together.

    Attributes:
        name: of the pass that applies them, and of the file with their pairs.
        about: when they are applied, one sentence.
        rules: in order of priority.
    """

    name: str
    about: str
    rules: Sequence[Rule]


@attrs.frozen
class Pair:
    """What a rule finds and what it leaves, as sketches of modules."""

    before: str
    after: str


class PairError(ValueError):
    """A rule has no pair of modules that shows what it does, or there is a pair of no rule."""


def families() -> Iterator[Family]:
    """All families, those of every compilation first."""
    from uair.passes import fuse, remove_quantization, rewrites, simplify
    from uair.passes.recognize_attention import RecognizeAttention
    from uair.passes.recurrent import flips, recognize

    yield Family("simplify", "Part of `canonicalise`, in every compilation.", simplify.ruleset().rules)
    fusion = [rule for rules in fuse.Fuse().rulesets() for rule in rules.rules]
    yield Family("fuse", "In every compilation, after `canonicalise`.", fusion)
    yield Family(
        "recognize-recurrent",
        "Part of `fuse`, for models with a layer step by step, or a bidirectional one in two parts.",
        (*recognize.STEPS.rules, *flips.FLIPS.rules),
    )
    yield Family("recognize-attention", "For targets that have the whole operator.", RecognizeAttention().rules().rules)
    yield Family(
        "remove-quantization",
        "For targets that compute a quantized model in floating point.",
        remove_quantization.ALL.rules,
    )
    yield Family(
        "target-rewrites",
        "Where a device file names the rewrite and more of the model stays on the device with it.",
        tuple(rewrites.rules().values()),
    )
    yield Family("devices", "Passes of one rule, each asked for by the targets that need it.", tuple(device_rules()))


def device_rules() -> Iterator[Rule]:
    """The rules of passes that only some targets run."""
    from uair.passes.clip_gates import ClipGates
    from uair.passes.finite_constants import FiniteConstants
    from uair.passes.flatten_linear import FlattenLinear
    from uair.passes.fold_long_convolutions import FoldLongConvolutions
    from uair.passes.last_state import LastStateOfOutputs
    from uair.passes.log_of_squares import LogOfSquares
    from uair.passes.pool_as_image import PoolAsImage
    from uair.passes.root_of_squares import RootOfSquares
    from uair.passes.spell_out_classifiers import SpellOutClassifiers
    from uair.passes.stage_means import StageMeans

    passes = (FlattenLinear, PoolAsImage, FoldLongConvolutions, FiniteConstants, LastStateOfOutputs, RootOfSquares)
    for make in (*passes, LogOfSquares, StageMeans, ClipGates, SpellOutClassifiers):
        yield from make().rules().rules


def pairs(family: Family) -> dict[str, Pair]:
    """The pairs of a family's rules, in their order.

    Raises:
        PairError: a rule has none, or a pair is of no rule.
    """
    found: dict[str, Pair] = {}
    for entry in re.split(rf"^{HEADER}", (FOLDER / f"{family.name}.txt").read_text("utf-8"), flags=re.MULTILINE)[1:]:
        name, _, texts = entry.partition("\n")
        before, _, after = texts.partition(BECOMES)
        found[name] = Pair(before.strip(), after.strip())
    names = [rule.name for rule in family.rules]
    lacking = [name for name in names if name not in found or not found[name].after]
    strange = sorted(found.keys() - set(names))
    if lacking or strange:
        raise PairError(
            f"rules of {family.name} without before and after: {lacking}; pairs of no rule: {strange}; "
            f"write both modules into tests/passes/pairs/{family.name}.txt"
        )
    return {name: found[name] for name in names}


def unlisted() -> list[str]:
    """Names of UAIR's rules that stand in no family, for a check that `families` is complete."""
    listed = {type(rule) for family in families() for rule in family.rules}
    pending, found = [Rule], set[str]()
    while pending:
        cls = pending.pop()
        pending += cls.__subclasses__()
        own = cls.__module__.startswith("uair.passes") and hasattr(cls, "rewrite") and not cls.__name__.startswith("_")
        if own and cls not in listed and cls.name not in UNPAIRED:
            found.add(cls.name)
    return sorted(found)


def page(note: str) -> str:
    """The text of docs/rules.md.

    Raises:
        PairError: a rule has no pair.
    """
    missing = unlisted()
    if missing:
        raise PairError(f"rules in no family: {missing}; name them in tools/rule_pairs.py")
    lines = [
        "# Rules",
        note,
        "Every rule, with the example that its test runs: the left part of a picture becomes the right one. The test "
        "(`tests/passes/test_rule_pairs.py`) compares the texts and computes both on the same random inputs. "
        "[How to add a rule](add-a-rule.md), [all passes](passes.md).\n",
    ]
    for family in families():
        lines += [f"## {family.name}\n", f"{family.about}\n"]
        shown = pairs(family)
        for rule in family.rules:
            lines += entry(rule, shown[rule.name])
    return "\n".join(lines)


def entry(rule: Rule, pair: Pair) -> list[str]:
    """A rule's name, description, picture and texts."""
    lines = [f"### {rule.name}\n", f"{rule.description}\n", "```mermaid", "flowchart LR"]
    for title, text in (("before", pair.before), ("after", pair.after)):
        graph = parse_module(text).main
        lines += [f"  subgraph {title}", *(f"    {line}" for line in picture(graph, title[0])), "  end"]
    texts = f"```\n{pair.before}\n```\nbecomes\n```\n{pair.after}\n```"
    return [*lines, "```\n", f"<details><summary>As text</summary>\n\n{texts}\n</details>\n"]


def picture(graph: Graph, prefix: str) -> list[str]:
    """A graph in mermaid's language; identifiers begin with `prefix`."""
    known: dict[Tensor, str] = {}
    lines: list[str] = []

    def source(tensor: Tensor) -> str:
        if tensor not in known:
            known[tensor] = f"{prefix}c{len(known)}"
            value = f"@{tensor.name}" if tensor.name else "constant"
            lines.append(f'{known[tensor]}[/"{value}"/]')
        return known[tensor]

    for tensor in graph.inputs:
        known[tensor] = f"{prefix}i{len(known)}"
        lines.append(f'{known[tensor]}(["{tensor.name}: {tensor.type}"])')
    for number, node in enumerate(graph):
        lines.append(f'{prefix}{number}["{node.op_type}"]')
        for operand in dict.fromkeys(t for t in node.inputs if t is not None):
            lines.append(f"{source(operand)} --> {prefix}{number}")
        known.update(dict.fromkeys(node.outputs, f"{prefix}{number}"))
    for number, tensor in enumerate(graph.outputs):
        lines.append(f'{source(tensor)} --> {prefix}o{number}(["{tensor.name or "y"}"])')
    return lines
