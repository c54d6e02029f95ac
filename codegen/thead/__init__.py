"""T-Head: C against the csinn operators of SHL, and command lines for HHB."""

from uair.codegen.thead.target import THeadTarget

__all__ = ["THeadTarget"]
