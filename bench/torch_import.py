"""Reading PyTorch modules: seconds and nodes, beside torch.onnx.export(dynamo=True) in the same process.

    python -m bench.torch_import [MODEL ...]

Needs torch, torchvision, transformers and onnxscript, which only torch.onnx.export uses. Both ways begin at the module:
`uair.load` and `uair.optimize` here, tracing, translation and its own optimizer there. Every way is run once before on
a module of one layer, so that imports are not counted. Nodes are those of the graph and of what it calls, without
constants. The second table is of `.pt2` files: the reader of this project, and torch.export.load, best of three.
"""

# pyright: reportAttributeAccessIssue=false, reportFunctionMemberAccess=false, reportMissingImports=false
# pyright: reportUnusedExpression=false, reportUntypedBaseClass=false, reportUntypedFunctionDecorator=false, reportArgumentType=false
# The frameworks are not installed where the checkers run.

from __future__ import annotations

import argparse
import contextlib
import io
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import attrs
import torch
from torch import nn

import uair
from tests.frameworks.torch import language, models
from uair.frontends.torch import archive

IMAGE = (1, 3, 224, 224)
FILES = ("mobilenet_v2", "resnet50")
Inputs: TypeAlias = "tuple[Any, ...]"


@attrs.frozen
class Row:
    """One model; None where a way does not read it."""

    model: str
    seconds: float | None
    nodes: int | None
    onnx_seconds: float | None
    onnx_nodes: int | None
    reason: str = ""


def cases() -> dict[str, Callable[[], tuple[nn.Module, Inputs]]]:
    """The models, each with example inputs."""
    found: dict[str, Callable[[], tuple[nn.Module, Inputs]]] = {
        name: lambda name=name: (models.torchvision_model(name), (torch.randn(*IMAGE),)) for name in models.TORCHVISION
    }
    found["unet"] = lambda: (models.randomized(models.UNet()), (torch.randn(1, 3, 64, 64),))
    found["detector"] = lambda: (models.spread(models.Detector()), (torch.randn(1, 3, 64, 64),))
    found["lstm_classifier"] = lambda: (models.LstmClassifier().eval(), (torch.randn(2, 12, 16),))
    found.update({name: lambda name=name: _transformer(name) for name in language.CASES})
    return found


def _transformer(name: str) -> tuple[nn.Module, Inputs]:
    case = language.CASES[name]
    return case.model(), case.inputs(2, 7)


def ours(model: nn.Module, inputs: Inputs) -> int:
    """Nodes of the imported and optimized module."""
    module = uair.optimize(uair.load(model, *inputs), instruments=[])
    return sum(1 for graph in module.all_graphs() for _ in graph)


def theirs(model: nn.Module, inputs: Inputs) -> int:
    """Nodes of the exported ONNX model."""
    with contextlib.redirect_stdout(io.StringIO()):
        program: Any = torch.onnx.export(model, inputs, dynamo=True, verbose=False)
    onnx_model = program.model
    graphs = [onnx_model.graph, *onnx_model.functions.values()]
    return sum(1 for graph in graphs for node in graph.all_nodes() if node.op_type != "Constant")


def timed(run: Callable[[nn.Module, Inputs], int], model: nn.Module, inputs: Inputs) -> tuple[Any, Any, str]:
    """Seconds and nodes of one way; its first line of complaint where it does not read the model."""
    start = time.perf_counter()
    try:
        nodes = run(model, inputs)
    except Exception as error:  # noqa: BLE001  a row says why a way does not read the model
        while error.__cause__ is not None and isinstance(error.__cause__, Exception):
            error = error.__cause__
        return None, None, f"{run.__name__}: {next(iter(str(error).splitlines()), type(error).__name__)[:160]}"
    return time.perf_counter() - start, nodes, ""


def measure(name: str, make: Callable[[], tuple[nn.Module, Inputs]]) -> Row:
    """One row: both ways, from the same module."""
    model, inputs = make()
    seconds, nodes, reason = timed(ours, model, inputs)
    onnx_seconds, onnx_nodes, onnx_reason = timed(theirs, model, inputs)
    return Row(name, seconds, nodes, onnx_seconds, onnx_nodes, reason or onnx_reason)


def table(rows: list[Row]) -> str:
    """The rows as Markdown, with the totals of the models that both ways read."""
    lines = ["| model | seconds | torch.onnx | ratio | nodes | torch.onnx | ratio |", "|---|---|---|---|---|---|---|"]
    both = [r for r in rows if r.seconds is not None and r.onnx_seconds is not None]
    for r in (*rows, _total(both)):
        lines.append(
            f"| {r.model} | {_shown(r.seconds, '.2f')} | {_shown(r.onnx_seconds, '.2f')} | "
            f"{_ratio(r.seconds, r.onnx_seconds)} | {_shown(r.nodes, 'd')} | {_shown(r.onnx_nodes, 'd')} | "
            f"{_ratio(r.nodes, r.onnx_nodes)} |"
        )
    return "\n".join([*lines, *(f"\n{r.model}: {r.reason}" for r in rows if r.reason)])


def _total(rows: list[Row]) -> Row:
    columns = ("seconds", "nodes", "onnx_seconds", "onnx_nodes")
    return Row(f"{len(rows)} models", *(sum(getattr(r, c) for r in rows) for c in columns))


def _shown(value: float | None, form: str) -> str:
    return "refused" if value is None else format(value, form)


def _ratio(a: float | None, b: float | None) -> str:
    return "" if a is None or not b else f"{a / b:.2f}"


def files(folder: Path) -> str:
    """Reading `.pt2` files: this project's reader, and torch's, which also runs the pickles in them."""
    lines = ["| file | MiB | seconds | torch.export.load | ratio |", "|---|---|---|---|---|"]
    for name in FILES:
        path = folder / f"{name}.pt2"
        torch.export.save(torch.export.export(models.torchvision_model(name), (torch.randn(*IMAGE),)), path)
        own, torchs = (min(_seconds(read, path) for _ in range(3)) for read in (archive.read, torch.export.load))
        size = path.stat().st_size / 2**20
        lines.append(f"| {name} | {size:.0f} | {own:.3f} | {torchs:.3f} | {own / torchs:.2f} |")
    return "\n".join(lines)


def _seconds(read: Callable[[Any], Any], path: Path) -> float:
    start = time.perf_counter()
    read(path)
    return time.perf_counter() - start


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    known = cases()
    parser.add_argument("models", nargs="*", choices=[[], *known], default=[])
    chosen = parser.parse_args().models or list(known)
    warnings.simplefilter("ignore")
    warm = (nn.Sequential(nn.Linear(3, 2), nn.ReLU()).eval(), (torch.randn(1, 3),))
    ours(*warm), theirs(*warm)
    print(table([measure(name, known[name]) for name in chosen]), end="\n\n")
    with tempfile.TemporaryDirectory() as folder:
        print(files(Path(folder)))


if __name__ == "__main__":
    main()
