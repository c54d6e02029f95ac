"""onnx's backend suite through UAIR and its peers, in one run.

    python bench/onnx_suite.py [--ways import,text,export,reference,onnxruntime] [--opsets 28,27,17,13,11]
    python bench/onnx_suite.py --ways export --write     the page of what cannot be written, docs/onnx-export.md

Every case goes through
    import       import, verifier and reference interpreter, held against the suite's expectation;
    text         print and parse: the module that comes back must be the same;
    export@N     legalised for opset N, written, checked by onnx.checker, run by onnxruntime, held against what
                 onnxruntime computes from the original (exactly for integers, within the suite's tolerance for floats);
    reference    onnx.reference.ReferenceEvaluator on the original model;
    onnxruntime  onnxruntime on the original model.

A worker process runs the cases, so that one that crashes or hangs is counted and the rest goes on. Times are CPU time
on one thread: of preparing (import; making the evaluator, the session, the file), and of running.
"""

# ruff: noqa: E402
from __future__ import annotations

import os

for _variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_variable, "1")  # before NumPy starts its BLAS

import argparse
import functools
import json
import multiprocessing
import multiprocessing.connection
import re
import sys
import time
import warnings
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import attrs

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tests import onnx_suite as suite
from uair.codegen.onnx import NEWEST_OPSET
from uair.errors import UairError

WAYS = ("import", "text", "export", "reference", "onnxruntime")
STATUSES = ("pass", "fail", "refused", "unjudged", "crash", "timeout")
OPSETS = (NEWEST_OPSET, 27, 17, 13, 11)  # onnxruntime 1.32 lacks kernels of opset 28
START = 180
"""Seconds that a worker may need to make the cases."""

Row = dict[str, suite.Outcome]


@attrs.frozen
class Plan:
    """What to run.

    Attributes:
        kinds: kinds of cases.
        pattern: regular expression of the cases' names.
        ways: what to do with each, exports as "export@17".
    """

    kinds: tuple[str, ...]
    pattern: str
    ways: tuple[str, ...]

    def cases(self) -> list[suite.Case]:
        """The cases in order."""
        return [c for kind in self.kinds for c in suite.cases(kind) if re.search(self.pattern, c.name)]


def outcomes(case: suite.Case, ways: Sequence[str]) -> Row:
    """One case on every way."""
    row: Row = {}
    exports = [way for way in ways if way.startswith("export@")]
    peers = {"reference": suite.reference, "onnxruntime": suite.ort}
    row.update({way: suite.judged(case, peers[way]) for way in ways if way in peers})
    if "import" in ways:
        row["import"] = suite.interpreted(case)
    if exports or "text" in ways:
        try:
            module = suite.imported(case)
        except UairError as error:
            row.update({way: suite.refusal(error) for way in (*exports, "text") if way in ways})
            return row
        if "text" in ways:
            row["text"] = suite.printed(case, module)
        want = suite.original(case) if exports else None
        row.update({way: suite.exported(case, int(way.partition("@")[2]), module, want) for way in exports})
    case.forget()
    return row


def work(plan: Plan, first: int, pipe: multiprocessing.connection.Connection) -> None:
    """Run the cases from `first` on and report each; the process may die on the way."""
    warnings.simplefilter("ignore")
    cases = plan.cases()
    if cases:
        outcomes(cases[0], plan.ways)  # what is imported late is imported now
    for i in range(first, len(cases)):
        pipe.send((i, None))
        pipe.send((i, outcomes(cases[i], plan.ways)))
    pipe.send((len(cases), None))


def run(plan: Plan, limit: float) -> dict[str, Row]:
    """The outcomes by case; a case that takes longer than `limit` seconds, or ends its process, is counted as such."""
    context = multiprocessing.get_context("spawn")
    names = [str(c) for c in plan.cases()]
    rows: dict[str, Row] = {}
    position = 0
    while position < len(names):
        here, there = context.Pipe(duplex=False)
        process = context.Process(target=work, args=(plan, position, there), daemon=True)
        process.start()
        there.close()
        patience, started = START + limit, False
        while here.poll(patience):
            try:
                position, row = here.recv()
            except EOFError:
                break
            if row is not None:
                rows[names[position]] = row
                position += 1
                progress(position, len(names))
            started, patience = True, limit
            if position >= len(names):
                break
        if position < len(names):
            hung = process.is_alive()
            process.kill()
            process.join()
            if not started:
                raise SystemExit(f"the worker ended with status {process.exitcode} before the first case")
            status = "timeout" if hung else "crash"
            rows[names[position]] = dict.fromkeys(plan.ways, suite.Outcome(status, f"exit status {process.exitcode}"))
            position += 1
        process.join()
    return rows


def progress(done: int, total: int) -> None:
    """A line that is written over, on a terminal only."""
    if sys.stderr.isatty():
        sys.stderr.write(f"\r{done} of {total} ")
        sys.stderr.flush()


# ------------------------------------------------------------------------------------------------------------ printing
def table(rows: dict[str, Row], ways: Sequence[str]) -> str:
    """Outcomes by way and kind."""
    lines = [
        f"| way | kind | cases | {' | '.join(STATUSES)} | prepare s | run s |",
        "|---|---|" + "---|" * (len(STATUSES) + 3),
    ]
    for way in ways:
        groups: dict[str, list[suite.Outcome]] = {}
        for name, row in rows.items():
            groups.setdefault(kind_of(name), []).append(row[way])
        if len(groups) > 1:
            groups["all"] = [row[way] for row in rows.values()]
        for kind, found in groups.items():
            counts = Counter(o.status for o in found)
            times = (f"{sum(o.setup for o in found):.1f}", f"{sum(o.seconds for o in found):.1f}")
            cells = (way, kind, str(len(found)), *(str(counts[status] or "") for status in STATUSES), *times)
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def kind_of(name: str) -> str:
    """The kind for the table: the node cases whose function bodies were expanded by onnx stand apart."""
    kind = name.partition("/")[0]
    return "node, expanded" if "_expanded" in name else kind


def ratio(rows: dict[str, Row]) -> str:
    """Total times of the interpreter and onnx's evaluator on what both pass."""
    lines: list[str] = []
    both = {name: row for name, row in rows.items() if row["import"].passed and row["reference"].passed}
    small = {name: row for name, row in both.items() if not name.startswith("real/")}
    for what, chosen in (("pass in both", both), ("of them without the light models", small)):
        run_ours, run_theirs = (sum(row[way].seconds for row in chosen.values()) for way in ("import", "reference"))
        ours, theirs = (sum(row[w].setup + row[w].seconds for row in chosen.values()) for w in ("import", "reference"))
        lines.append(
            f"{len(chosen)} cases {what}: interpreter {run_ours:.2f} s, onnx's evaluator {run_theirs:.2f} s, ratio "
            f"{run_ours / max(run_theirs, 1e-9):.2f}; with preparing {ours:.2f} s, {theirs:.2f} s, "
            f"{ours / max(theirs, 1e-9):.2f}"
        )
    return "\n".join(lines)


def judges(rows: dict[str, Row], way: str) -> str:
    """Who judged an export."""
    counts = Counter(row[way].judge or "onnxruntime" for row in rows.values() if row[way].passed)
    return f"{way}: " + ", ".join(f"{count} passed in {judge}" for judge, count in counts.most_common())


# ------------------------------------------------------------------------------------------------------------ the page
PAGE = Path(__file__).resolve().parent.parent / "docs" / "onnx-export.md"
HEAD = """# Export to ONNX, opset by opset
<!-- Made by `python bench/onnx_suite.py --ways export --write`; a test reads the tables. -->

Every case of onnx's backend suite is imported and written at each of these opsets, in operators of that opset alone:
what came later is decomposed. What is written passes onnx.checker with strict shape inference, and computes what
onnxruntime computes from the original, exactly for integers and within the suite's tolerance for floats; where
onnxruntime does not pass a case itself, or lacks a kernel of the opset, the suite's own results are the measure.
"""
REASONS = """
## What an opset has no form for

An element type or an operator that ONNX took up later and that nothing older expresses. The error that the user gets
(UAIR-E0511) names the node and the same reason.

| opset | operator | reason | cases |
|---|---|---|---|
"""


def reason_of(outcome: suite.Outcome) -> str:
    """Why something is not written, without what differs from node to node: "Operator: reason"."""
    found = re.fullmatch(r"(\w+) cannot be written at ONNX opset \d+: (.*)", outcome.detail, re.S)
    if outcome.status != "refused" or found is None:
        return f"{outcome.status} {outcome.detail}"
    operator = "any" if re.match(r"ONNX has \w+ from opset", found[2]) else found[1]
    return f"{operator}: {found[2]}".replace("|", "/")


@functools.cache
def listed() -> dict[tuple[str, int], str]:
    """What the page says: the reasons by case and opset."""
    result: dict[tuple[str, int], str] = {}
    for line in PAGE.read_text(encoding="utf-8").partition(REASONS)[2].splitlines():
        opset, operator, reason, names = (cell.strip() for cell in line.strip("|").split("|"))
        result.update({(name, int(opset)): f"{operator}: {reason}" for name in names.split()})
    return result


def page(rows: dict[str, Row]) -> str:
    """The page, from the outcomes of exports."""
    ways = [way for way in next(iter(rows.values())) if way.startswith("export@")]
    lines = [
        HEAD,
        "| opset | cases written | run by onnxruntime | run by onnx's evaluator | refused |",
        "|---|---|---|---|---|",
    ]
    reasons: dict[tuple[int, str], list[str]] = {}
    for way in sorted(ways, key=lambda w: int(w.partition("@")[2])):
        opset = int(way.partition("@")[2])
        counts = Counter(row[way].status for row in rows.values())
        alone = sum(row[way].passed and not row[way].judge for row in rows.values())
        lines.append(f"| {opset} | {counts['pass']} | {alone} | {counts['pass'] - alone} | {counts['refused']} |")
        for name, row in rows.items():
            if row[way].status == "refused":
                reasons.setdefault((opset, reason_of(row[way])), []).append(name)
    found = [(opset, *reason.split(": ", 1), " ".join(names)) for (opset, reason), names in sorted(reasons.items())]
    table = "".join(f"| {opset} | {operator} | {reason} | {names} |\n" for opset, operator, reason, names in found)
    return "\n".join(lines) + "\n" + REASONS + table


def faults(rows: dict[str, Row], ways: Sequence[str]) -> str:
    """What does not pass, by reason."""
    groups: dict[tuple[str, str, str], list[str]] = {}
    for name, row in rows.items():
        for way in ways:
            if not row[way].passed:
                groups.setdefault((way, row[way].status, row[way].detail[:160]), []).append(name.partition("/")[2])
    return "\n".join(
        f"{way:12} {status:8} {len(names):4}  {detail}\n{'':27}{' '.join(names[:3])}{' ...' if names[3:] else ''}"
        for (way, status, detail), names in sorted(groups.items())
    )


def main() -> int:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ways", default=",".join(WAYS))
    parser.add_argument("--opsets", default=",".join(map(str, OPSETS)))
    parser.add_argument("--kinds", default=",".join(suite.KINDS))
    parser.add_argument("--filter", default="", metavar="REGEX", help="only the cases whose names it is found in")
    parser.add_argument("--limit", type=float, default=600, metavar="SECONDS", help="for one case on all ways")
    parser.add_argument("--faults", action="store_true", help="list what does not pass")
    parser.add_argument("--write", action="store_true", help="write docs/onnx-export.md")
    parser.add_argument("--json", type=Path, metavar="FILE", help="keep every outcome")
    arguments = parser.parse_args()
    opsets = arguments.opsets.split(",")
    exports = [f"export@{opset}" for opset in opsets]
    ways = tuple(w for way in arguments.ways.split(",") for w in (exports if way == "export" else [way]))
    start = time.perf_counter()
    rows = run(Plan(tuple(arguments.kinds.split(",")), arguments.filter, ways), arguments.limit)
    print(table(rows, ways))
    if {"import", "reference"} <= set(ways):
        print(ratio(rows))
    for way in ways:
        if way.startswith("export@"):
            print(judges(rows, way))
    if arguments.faults:
        print(faults(rows, ways))
    print(f"{len(rows)} cases, {time.perf_counter() - start:.0f} s")
    if arguments.write:
        PAGE.write_text(page(rows), encoding="utf-8")
    if arguments.json:
        content: dict[str, Any] = {name: {w: attrs.asdict(o) for w, o in row.items()} for name, row in rows.items()}
        arguments.json.write_text(json.dumps(content, indent=0))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
