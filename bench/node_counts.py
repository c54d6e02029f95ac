"""How many nodes the optimisers leave, whether the result computes the same, and whether it is as fast.

```
python -m bench.node_counts                                        # every model of tests/zoo.py and tests/zoo_onnx.py
python -m bench.node_counts --peers ~/peers/bin/python --write     # the table becomes docs/optimizer.md
```

`--peers` is the Python that has onnxslim, onnxsim and onnxruntime (uair[bench] has them all). Each tool runs in a
process of its own, from file to file, with its own defaults; nodes in subgraphs count. UAIR stands there twice: with
the standard operators of the ONNX file that it writes at the default opset, and with its canonical ones, which include
composites such as LayerNorm or Swish; onnxruntime's "extended" level counts its private fused operators. "UAIR groups"
is what stands beside them: a convolution with its sum and activation, as form-groups finds them for the cpu, counts as
one. "UAIR, then onnxruntime" is what that level leaves of UAIR's file: the two graphs in the same private operators.

The error is the greatest difference between what onnxruntime computes from the original file and from UAIR's, relative
to the greatest magnitude of the output; beside it stands how far onnxruntime's own result moves when it optimises
nothing. The time is the processor's for UAIR's file over that for the original one, both with all of onnxruntime's own
optimisations and one thread: the median of the ratios of runs in turn.
"""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# onnx's own annotations leave type arguments open, and the tools have none.

from __future__ import annotations

import argparse
import importlib
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "optimizer.md"
PEERS = ("onnxslim", "onnxsim", "onnxruntime")
SECONDS = 300.0
"""For one run of a peer."""


# --------------------------------------------------------------------- the peers, in a process with nothing of UAIR
def run_peer(tool: str, source: str, target: str) -> None:
    """Optimise a file with one of the peers."""
    if tool == "onnxruntime":
        runtime: Any = importlib.import_module("onnxruntime")
        options = runtime.SessionOptions()
        options.graph_optimization_level = runtime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
        options.optimized_model_filepath = target
        options.log_severity_level = 3
        runtime.InferenceSession(source, options, providers=["CPUExecutionProvider"])
        return
    onnx: Any = importlib.import_module("onnx")
    module: Any = importlib.import_module(tool)
    result = module.slim(source) if tool == "onnxslim" else module.simplify(onnx.load(source))[0]
    onnx.save(result, target)


def peer_nodes(python: str, tool: str, source: Path, folder: Path) -> int | None:
    """Nodes that a peer leaves; None where it fails, which it says itself on the error stream."""
    target = folder / f"{tool}.onnx"
    command = [python, str(Path(__file__).resolve()), "--child", tool, str(source), str(target)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False, cwd=folder)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        sys.stderr.write(f"{tool} on {source.name}: {last}\n")
        return None
    return count_nodes(target)


# ----------------------------------------------------------------------------------------------------------- the table
def count_nodes(path: Path) -> int:
    """Nodes of an ONNX file, those in subgraphs included."""
    import onnx

    from tests import zoo_onnx

    return zoo_onnx.nodes_of(onnx.load(path, load_external_data=False).graph)


def count_groups(module: Any) -> int:
    """Nodes of a module when those that onnxruntime computes as one count as one."""
    from uair.targets import load_description
    from uair.targets.steps import StepFinder

    finder = StepFinder(load_description("cpu"))
    return sum(len(graph) - sum(len(nodes) - 1 for nodes in finder.groups(graph)) for graph in module.all_graphs())


class Row:
    """One model: what every tool leaves, and how UAIR's file does in onnxruntime."""

    def __init__(self, name: str, source: Path, feeds: Sequence[Mapping[str, Any]]) -> None:
        self.name = name
        self.source = source
        self.feeds = feeds
        self.before = count_nodes(source)
        self.peers: dict[str, int | None] = {}
        self.standard = self.canonical = self.groups = 0
        self.after: int | None = None
        self.error = self.own = self.time = 0.0

    def measure(self, python: str, runs: int, peers: Sequence[str]) -> None:
        """Run every tool."""
        import uair

        with tempfile.TemporaryDirectory(prefix="uair-bench-") as name:
            folder = Path(name)
            self.peers = {tool: peer_nodes(python, tool, self.source, folder) for tool in peers}
            module = uair.optimize(uair.load(self.source))
            self.canonical = sum(len(graph) for graph in module.all_graphs())
            self.groups = count_groups(module)
            written = folder / "uair.onnx"
            uair.export_onnx(module, written)
            self.standard = count_nodes(written)
            if "onnxruntime" in peers:
                self.after = peer_nodes(python, "onnxruntime", written, folder)
            self._compare(written, runs)

    def _compare(self, written: Path, runs: int) -> None:
        from tests import zoo_onnx

        original, ours = zoo_onnx.session(self.source), zoo_onnx.session(written)
        plain = zoo_onnx.session(self.source, optimise=False)
        for feeds in self.feeds:
            wants, gots, owns = (list(each.run(None, feeds)) for each in (original, ours, plain))
            self.error = max([self.error, *map(zoo_onnx.error, wants, gots)])
            self.own = max([self.own, *map(zoo_onnx.error, wants, owns)])
        ratios: list[float] = []
        for number in range(runs):
            seconds: dict[Any, float] = {}
            for each in (original, ours) if number % 2 else (ours, original):
                start = time.process_time()  # a run has one thread, and others may want the processor
                each.run(None, self.feeds[0])
                seconds[each] = time.process_time() - start
            ratios.append(seconds[ours] / seconds[original])
        self.time = statistics.median(ratios) if ratios else 0.0

    def cells(self) -> list[str]:
        """The columns."""
        peers = [str(self.peers[tool] or "fails") if tool in self.peers else "" for tool in PEERS]
        return [
            self.name,
            str(self.before),
            *peers[:2],
            str(self.standard),
            peers[2],
            str(self.after or "fails") if "onnxruntime" in self.peers else "",
            str(self.canonical),
            str(self.groups),
            *(f"{error:.1e}" if error else "0" for error in (self.error, self.own)),
            f"{self.time:.2f}",
        ]


COLUMNS = (
    "model", "nodes", "onnxslim", "onnxsim", "UAIR", "onnxruntime extended", "UAIR, then onnxruntime", "UAIR canonical",
    "UAIR groups", "error", "its own", "time",
)  # fmt: skip


def models() -> dict[str, tuple[Path, Sequence[Mapping[str, Any]]]]:
    """File and inputs of every model by name; those that are in both zoos once."""
    from tests import zoo, zoo_onnx

    found: dict[str, Any] = {name: (model, [model.feeds()]) for name, model in zoo.models().items()}
    found |= {name: (model, model.feeds()) for name, model in zoo_onnx.MODELS.items() if name not in found}
    return {name: (model.path, feeds) for name, (model, feeds) in found.items()}


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m bench.node_counts", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--models", nargs="+", metavar="NAME")
    parser.add_argument("--peers", default=sys.executable, metavar="PYTHON", help="has onnxslim, onnxsim, onnxruntime")
    parser.add_argument("--tools", nargs="*", choices=PEERS, default=list(PEERS))
    parser.add_argument("--runs", type=int, default=31, help="of each file in onnxruntime")
    parser.add_argument("--write", action="store_true", help="into docs/optimizer.md: all rows, or those of --models")
    parser.add_argument("--child", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        run_peer(*options.child)
        return 0
    lines = [f"| {' | '.join(COLUMNS)} |", f"|{'---|' * len(COLUMNS)}"]
    print("\n".join(lines), flush=True)
    for name, (source, feeds) in models().items():
        if options.models and name not in options.models:
            continue
        row = Row(name, source, feeds)
        row.measure(options.peers, options.runs, options.tools)
        lines.append(f"| {' | '.join(row.cells())} |")
        print(lines[-1], flush=True)
    if options.write:
        start, end = "<!-- node counts -->\n", "<!-- end -->\n"
        page = PAGE.read_text("utf-8")
        head, _, rest = page.partition(start)
        table, _, rest = rest.partition(end)
        if options.models:
            lines = merged(table.splitlines(), lines)
        PAGE.write_text(f"{head}{start}{chr(10).join(lines)}\n{end}{rest}", "utf-8")
    return 0


def merged(table: Sequence[str], measured: Sequence[str]) -> list[str]:
    """A table with other numbers for the models that were measured; those of tools that did not run stay."""
    rows = {line.split("|")[1].strip(): line for line in measured[2:]}
    found = list(table)
    for number, line in enumerate(table):
        before = line.split("|")
        if (row := rows.pop(before[1].strip(), None)) is not None:
            cells = zip(row.split("|"), before, strict=True)
            found[number] = "|".join(new if new.strip() else old for new, old in cells)
    return [*found, *rows.values()]


if __name__ == "__main__":
    for _variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ.setdefault(_variable, "1")
    sys.exit(main())
