"""UAIR: one intermediate representation and compiler for many AI accelerators.

```python
import uair

module = uair.load("model.onnx")
artifact = uair.compile(module, target="ascend310", shapes={"x": (1, 3, 224, 224)})
outputs = uair.run(artifact, {"x": image})
```

The names below are imported when they are first used, so that `import uair` costs almost nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from uair._version import __version__

if TYPE_CHECKING:
    from uair.api import bisect, check, compile, diff, export_onnx, load, optimize, quantize, run, why_not
    from uair.artifact import Artifact
    from uair.building import build
    from uair.errors import ModelWarning, UairError
    from uair.ir import DType, Graph, Layout, Location, Module, Node, Tensor, TensorType, constant
    from uair.ops.base import Operator, operator
    from uair.pipeline import Instrument, Pass, PassContext, PassManager, RulePass, Spec
    from uair.preprocess import Preprocess
    from uair.request import W4A16, W8A16, Int8
    from uair.rewrite import Rule, RuleSet, any_of, no, of, optional

_HOMES = {
    "uair.api": ("bisect", "check", "compile", "diff", "export_onnx", "load", "optimize", "quantize", "run", "why_not"),
    "uair.artifact": ("Artifact",),
    "uair.building": ("build",),
    "uair.errors": ("ModelWarning", "UairError"),
    "uair.ir": ("DType", "Graph", "Layout", "Location", "Module", "Node", "Tensor", "TensorType", "constant"),
    "uair.ops.base": ("Operator", "operator"),
    "uair.pipeline": ("Instrument", "Pass", "PassContext", "PassManager", "RulePass", "Spec"),
    "uair.preprocess": ("Preprocess",),
    "uair.request": ("Int8", "W4A16", "W8A16"),
    "uair.rewrite": ("Rule", "RuleSet", "any_of", "no", "of", "optional"),
}
_HOME_OF = {name: module for module, names in _HOMES.items() for name in names}

__all__ = [
    "Artifact",
    "DType",
    "Graph",
    "Instrument",
    "Int8",
    "Layout",
    "Location",
    "ModelWarning",
    "Module",
    "Node",
    "Operator",
    "Pass",
    "PassContext",
    "PassManager",
    "Preprocess",
    "Rule",
    "RulePass",
    "RuleSet",
    "Spec",
    "Tensor",
    "TensorType",
    "UairError",
    "W4A16",
    "W8A16",
    "__version__",
    "any_of",
    "bisect",
    "build",
    "check",
    "compile",
    "constant",
    "diff",
    "export_onnx",
    "load",
    "no",
    "of",
    "operator",
    "optimize",
    "optional",
    "quantize",
    "run",
    "why_not",
]


def __getattr__(name: str) -> Any:
    if name in _HOME_OF:
        return getattr(importlib.import_module(_HOME_OF[name]), name)
    raise AttributeError(f"module 'uair' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
