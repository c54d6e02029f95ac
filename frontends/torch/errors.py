"""Errors of the PyTorch frontend."""

from __future__ import annotations

from uair.errors import UairError


class TorchExportError(UairError):
    """torch.export cannot trace the module: its control flow or a shape depends on data, or it calls what it cannot."""

    code = "UAIR-E0130"
    title = "Module cannot be exported"


class TorchScriptError(UairError):
    """The file is a TorchScript archive, a format that PyTorch has deprecated."""

    code = "UAIR-E0131"
    title = "TorchScript is not read"


class TorchMutationError(UairError):
    """The program changes a tensor in place through a view, in a way that cannot be followed."""

    code = "UAIR-E0132"
    title = "In-place change cannot be followed"


class TorchWeightsError(UairError):
    """The file holds weights and no program: the code that computes with them is in a Python module."""

    code = "UAIR-E0133"
    title = "File of weights has no graph"


class TorchModuleError(UairError):
    """The user's code that makes a module fails, or weights or example inputs do not fit the module."""

    code = "UAIR-E0134"
    title = "Module cannot be made"
