"""Which line of a stack is the user's own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import PurePosixPath

from uair.frontends.common import node

OWN = str(PurePosixPath(node.__file__.replace("\\", "/")).parents[2]) + "/"
"""The folder of UAIR's own code, which is on the stack of an export that it has started."""


def is_framework(file: str) -> bool:
    """Whether a file is PyTorch's, Python code that PyTorch has generated, or UAIR's.

    A stack in a `.pt2` file has the paths of the machine that wrote it; those inside of torch may start at `torch/`.
    """
    path = file.replace("\\", "/")
    parts = path.split("/")
    installed = any(
        part in ("site-packages", "dist-packages") and parts[i + 1 : i + 2] in (["torch"], ["functorch"])
        for i, part in enumerate(parts)
    )
    return installed or path.startswith(("<", "torch/", OWN)) or not path


def user_line(stack: str, skipped: Callable[[str], bool] = is_framework) -> str:
    """The innermost line of a stack trace that is the user's: "model.py:41"; empty when there is none.

    Args:
        stack: as Python prints it, innermost last: `File "/models/model.py", line 41, in forward`.
        skipped: whether a file is none of the user's.
    """
    for line in reversed(stack.splitlines()):
        text = line.strip()
        if text.startswith('File "'):
            file, _, rest = text.removeprefix('File "').partition('", line ')
            if not skipped(file):
                return f"{PurePosixPath(file.replace(chr(92), '/')).name}:{rest.partition(',')[0]}"
    return ""
