"""Errors of the TensorFlow frontend."""

from __future__ import annotations

from uair.errors import UairError


class SignatureError(UairError):
    """A SavedModel says nothing about what goes in and out, or not what was asked for."""

    code = "UAIR-E0140"
    title = "SavedModel has no such signature"


class VariableError(UairError):
    """The values of a variable cannot be found in the SavedModel's checkpoint."""

    code = "UAIR-E0141"
    title = "Variable has no values"


class LoweredControlFlowError(UairError):
    """Loops are spelled out in the operators of TensorFlow 1 (Enter, NextIteration, ...), or a branch is torn."""

    code = "UAIR-E0142"
    title = "Control flow of TensorFlow 1"
    next_step = (
        "freeze with convert_variables_to_constants_v2(function, lower_control_flow=False), "
        "or give the SavedModel itself"
    )


class StatefulGraphError(UairError):
    """The model changes variables, tables or other state while it runs."""

    code = "UAIR-E0143"
    title = "Model has state"


class FunctionError(UairError):
    """A function of the graph is missing, calls itself, or its expansion has no reasonable end."""

    code = "UAIR-E0144"
    title = "Function of the graph cannot be expanded"


class GraphInterfaceError(UairError):
    """The inputs or outputs of a graph are not told, or those named do not exist."""

    code = "UAIR-E0145"
    title = "Inputs or outputs of a graph"
