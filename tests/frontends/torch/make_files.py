"""Makes the fixture files beside this script; run it with a Python that has PyTorch (tools/vendor/frameworks.sh).

    python tests/frontends/torch/make_files.py

small.npz holds an input and PyTorch's own results.
"""

# pyright: reportAttributeAccessIssue=false, reportFunctionMemberAccess=false, reportMissingImports=false
# pyright: reportUntypedBaseClass=false, reportUntypedFunctionDecorator=false, reportArgumentType=false
# The frameworks are not installed where the checkers run.

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

FOLDER = Path(__file__).parent / "files"


class Small(nn.Module):
    """An open batch, an in-place operator, a write through a view, a transposed buffer and a tied weight."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, 4, 3)
        self.norm = nn.BatchNorm2d(4)
        self.first = nn.Linear(4, 4, bias=False)
        self.tied = nn.Linear(4, 4, bias=False)
        self.tied.weight = self.first.weight
        self.register_buffer("turned", torch.arange(12.0).reshape(3, 4).T / 12)

    def forward(self, x: torch.Tensor, options: dict[str, torch.Tensor]) -> dict[str, Any]:
        y = torch.relu_(self.norm(self.conv(x)))
        y[:, 1] += 1.0
        z = self.tied(self.first(y.mean((2, 3))))
        return {"scores": z @ self.turned, "rest": (z + options["bias"], y)}


def main() -> None:
    """Write the files."""
    torch.manual_seed(0)
    module = Small().eval()
    x, bias = torch.randn(2, 2, 5, 5), torch.randn(4)
    dynamic = {"x": {0: torch.export.Dim("batch", min=1, max=8)}, "options": {"bias": None}}
    exported = torch.export.export(module, (x, {"bias": bias}), dynamic_shapes=dynamic)
    torch.export.save(exported, FOLDER / "small.pt2")
    found = module(x, {"bias": bias})
    np.savez(
        FOLDER / "small.npz",
        **{"x": x, "options.bias": bias},
        **{
            f"to.{k}": v.detach()
            for k, v in zip(("scores", "rest.0", "rest.1"), (found["scores"], *found["rest"]), strict=True)
        },
    )


if __name__ == "__main__":
    main()
