"""Building and running csinn programs with SHL, the library in the wheel of HHB (tools/vendor/hhb.sh)."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import attrs
import numpy as np

from uair.artifact import ArtifactBuilder
from uair.codegen.reference import run
from uair.codegen.thead.csinn import Written, write_csinn
from uair.codegen.thead.lower import Arithmetic
from uair.codegen.thead.target import CHIPS
from uair.ir.dtype import Array
from uair.ir.graph import Graph, Node
from uair.ir.module import Module
from uair.ops import Dequantize, Quantize
from uair.vendor import Limits, ToolResult, run_tool

REFERENCE = CHIPS["x86_ref"]
LIMITS = Limits(seconds=300.0, memory=6 << 30)


def environment() -> Path:
    """The environment of HHB."""
    home = os.environ.get("UAIR_VENDOR_HOME")
    folder = Path(home) if home else Path.home() / ".cache" / "uair" / "vendor"
    found = folder / "hhb"
    assert (found / "shl" / "x86").is_dir(), f"{found} has no HHB: run make vendor-hhb"
    return found


@attrs.frozen
class Run:
    """What a program gave.

    Attributes:
        outputs: by name.
        milliseconds: of the repeated runs.
    """

    outputs: Mapping[str, Array]
    milliseconds: Sequence[float]


def make(folder: Path, shl: str = "x86", target: str = "model") -> ToolResult:
    """`make` in the folder of a csinn program."""
    command = ["make", "-s", "-C", str(folder), f"SHL={environment() / 'shl' / shl}", target]
    return run_tool(command, log=folder / "make.log", limits=LIMITS, environment={"OMP_NUM_THREADS": "1"})


def execute(folder: Path, inputs: Sequence[Array], outputs: Sequence[str], repeat: int = 0) -> Run:
    """Run a program that was made on arrays in the order of its inputs."""
    files: list[str] = []
    for i, array in enumerate(inputs):
        np.save(folder / f"input_{i}.npy", np.ascontiguousarray(array))
        files.append(f"input_{i}.npy")
    command = [str(folder / "model"), "--repeat", str(repeat), *files]
    done = run_tool(command, log=folder / "run.log", limits=LIMITS, environment={"OMP_NUM_THREADS": "1"}, folder=folder)
    assert done.ok, done.describe()
    return Run({name: np.load(folder / f"output_{i}.npy") for i, name in enumerate(outputs)}, times(folder / "run.log"))


def times(log: Path) -> list[float]:
    """The milliseconds that a program printed, a number in a line each."""
    return [float(line) for line in log.read_text().splitlines() if line.replace(".", "", 1).isdigit()]


def written(module: Module, folder: Path, *, quantized: bool = False, arithmetic: Arithmetic | None = None) -> Written:
    """Write a module's program for x86, in the arithmetic of x86 or another."""
    folder.mkdir(parents=True, exist_ok=True)
    chosen = arithmetic or REFERENCE.arithmetic
    return write_csinn(module.main, ArtifactBuilder(folder), REFERENCE.platform, chosen, quantized=quantized)


def compute(
    module: Module,
    folder: Path,
    feeds: Mapping[str, Array],
    *,
    quantized: bool = False,
    arithmetic: Arithmetic | None = None,
) -> Run:
    """Write, make and run a module on x86."""
    program = written(module, folder, quantized=quantized, arithmetic=arithmetic)
    done = make(folder)
    assert done.ok, f"{done.describe()}\n{(folder / 'make.log').read_text()[-2000:]}"
    return execute(folder, [feeds[port.name] for port in program.inputs], [port.name for port in program.outputs])


# ----------------------------------------------------------------------------------------------- integers, one by one
@attrs.frozen
class Steps:
    """How far integers are from the interpreter's.

    Attributes:
        tensors: number of quantized activations.
        elements: in all of them.
        different: elements that differ.
        greatest: greatest difference, in steps of the scale.
    """

    tensors: int
    elements: int
    different: int
    greatest: int

    @property
    def share(self) -> float:
        """Of the elements that differ."""
        return self.different / max(self.elements, 1)


def activations(graph: Graph) -> list[Node]:
    """The Dequantize of every quantized activation that an operator computes and that is no output."""
    found = [n for n in graph if isinstance(n.op, Dequantize) and not n.output.is_output]
    made = [(n, n.inputs[0].producer) for n in found if n.inputs[0] is not None and not n.inputs[0].is_constant]
    return [n for n, q in made if q is not None and q.inputs[0] is not None and q.inputs[0].producer is not None]


def compare_steps(
    module: Module,
    folder: Path,
    feeds: Mapping[str, Array],
    *,
    one_by_one: bool,
    arithmetic: Arithmetic | None = None,
) -> Steps:
    """Compare every quantized activation of a module with the interpreter's.

    Args:
        module: a quantized module; not changed.
        folder: for the program.
        feeds: the input.
        one_by_one: give every operator the interpreter's integers; otherwise the model runs as a whole, and what one
            operator does otherwise goes into all that follow.
        arithmetic: of another chip than x86.
    """
    shown = module.clone()
    nodes = activations(shown.main)
    scales = [_scale(node) for node in nodes]
    for i, node in enumerate(nodes):
        shown.main.add_output(f"activation{i}", node.output)
    expected = run(shown, feeds)
    given = dict(feeds)
    if one_by_one:
        for i, node in enumerate(nodes):
            _feed_anew(shown.main, node, f"given{i}")
            given[f"given{i}"] = expected[f"activation{i}"]
    got = compute(shown, folder, given, quantized=True, arithmetic=arithmetic).outputs
    apart = [
        np.rint(np.abs(got[f"activation{i}"].reshape(-1) - expected[f"activation{i}"].reshape(-1)) / scale)
        for i, scale in enumerate(scales)
    ]
    return Steps(
        len(nodes),
        sum(a.size for a in apart),
        sum(int((a > 0).sum()) for a in apart),
        max((int(a.max(initial=0)) for a in apart), default=0),
    )


def _scale(node: Node) -> float:
    scale = node.inputs[1]
    assert scale is not None
    return float(scale.numpy())


def _feed_anew(graph: Graph, node: Node, name: str) -> None:
    """Let the users of a dequantized activation take an input of the model, quantized alike; it stays an output."""
    start = next(iter(graph))
    maker = node.inputs[0]
    assert maker is not None and maker.producer is not None
    quantize = maker.producer
    users = [(user, i) for user, i in node.output.uses if not user.is_return]
    fed = graph.add_input(name, node.output.type)
    again = Node(Quantize(dtype=quantize.op.attributes["dtype"]), [fed, *quantize.inputs[1:]])
    graph.insert_before(start, again)
    real = Node(node.op, [again.output, *node.inputs[1:]])
    graph.insert_before(start, real)
    for user, i in users:
        user.set_input(i, real.output)
