"""The errors of UAIR.

Every error that a user can cause is a `UairError`. It carries a stable code, the place in the user's own model, the
reason, a window of the printed IR where that helps, and the next step. Codes are grouped: 01 reading models, 02 the
text form, 03 types and structure of the IR, 04 passes and rewriting, 05 targets and legality, 06 artifacts, 07
calibration and quantization, 08 vendor tools, 09 the command line. docs/errors.md is generated from the classes.
"""

from __future__ import annotations

import traceback
from typing import ClassVar


class UairError(Exception):
    """Base of all errors of UAIR.

    Args:
        message: the reason, one sentence, naming the object in the user's own words.
        hint: the next step the user can take.
        place: where in the user's model or file the fault lies.
        window: lines of printed IR around the fault.

    Attributes:
        pass_name: the pass that was running.
        rule_name: the rewrite rule that was being applied.
        node: the node that it is about (a `uair.ir.Node`); the pass manager prints the lines around it.
    """

    code: ClassVar[str] = "UAIR-E0001"
    title: ClassVar[str] = "Unclassified error"
    next_step: ClassVar[str] = ""
    """The hint of errors of this class that are raised without one."""

    def __init__(self, message: str, *, hint: str = "", place: str = "", window: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint or self.next_step
        self.place = place
        self.window = window
        self.pass_name = ""
        self.rule_name = ""
        self.node: object | None = None

    def __str__(self) -> str:
        head = f"{self.code} {self.message}"
        if self.pass_name or self.rule_name:
            running = {"pass": self.pass_name, "rule": self.rule_name}
            head += f"  [{', '.join(f'{kind}: {name}' for kind, name in running.items() if name)}]"
        lines = [head]
        if self.place:
            lines.append(f"   at {self.place}")
        if self.window:
            lines.append(self.window)
        if self.hint:
            lines.append(f"   hint: {self.hint}")
        return "\n".join(lines)


class ModelWarning(UserWarning):
    """Something in a model is wrong, and it was read without it."""


class InternalError(UairError):
    """UAIR itself is wrong: an invariant that no input may break was broken. Please report it with the model."""

    code = "UAIR-E0002"
    title = "Internal error"


class UnknownNameError(UairError):
    """A name given by the user (a pass, rule, target, operator, graph) is not known; the hint lists near matches."""

    code = "UAIR-E0003"
    title = "Unknown name"


class UnavailableError(UairError):
    """A pass, target, operator or frontend is known by name, but its module cannot be imported: a broken plug-in."""

    code = "UAIR-E0004"
    title = "Part cannot be imported"


class TypeInferenceError(UairError):
    """An operator cannot be applied to operands of these types; the message says which requirement failed."""

    code = "UAIR-E0301"
    title = "Operand types do not fit the operator"


class AttributeTypeError(UairError):
    """An operator's attribute has a value of the wrong type or outside its range."""

    code = "UAIR-E0302"
    title = "Wrong attribute"


class ArityError(UairError):
    """A node has too few, too many or missing operands for its operator."""

    code = "UAIR-E0303"
    title = "Wrong number of operands"


class VerificationError(UairError):
    """The graph breaks a structural rule: operand defined later, foreign tensor, wrong use list, wrong result type."""

    code = "UAIR-E0310"
    title = "Invalid IR"


class TypeMismatch(VerificationError):
    """A tensor's recorded type is not what its operator infers from its operands."""

    code = "UAIR-E0311"
    title = "Recorded type differs from the inferred type"


class StillUsed(UairError):
    """A node was to be removed whose results are still used."""

    code = "UAIR-E0312"
    title = "Node is still used"


class ShapeBindingError(UairError):
    """The shapes or dimensions given by the user contradict the model's inputs."""

    code = "UAIR-E0320"
    title = "Shape cannot be bound"


class InputValueError(ShapeBindingError):
    """The value given for an input, which is to become a constant, does not fit it, or there is no such input."""

    code = "UAIR-E0321"
    title = "Value cannot be bound"


class EvaluationError(UairError):
    """An operator cannot be evaluated on these values: an index out of range, a shape that does not fit the data."""

    code = "UAIR-E0330"
    title = "Values do not fit the operator"


class OpaqueError(EvaluationError):
    """A custom operator that UAIR keeps but does not know was to be evaluated."""

    code = "UAIR-E0331"
    title = "Unknown custom operator"


class SymbolicValueError(EvaluationError):
    """A value depends on a size that is not known yet."""

    code = "UAIR-E0332"
    title = "Value depends on a symbolic size"


def raised_at(error: BaseException) -> str:
    """File, line and function where an exception was raised; "" where that is not known."""
    if isinstance(error, SyntaxError) and error.filename:
        return f"{error.filename}:{error.lineno}"
    frames = traceback.extract_tb(error.__traceback__)
    return f"{frames[-1].filename}:{frames[-1].lineno} in {frames[-1].name}" if frames else ""
