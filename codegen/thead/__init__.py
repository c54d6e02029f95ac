"""T-Head: C against the csinn operators of SHL, and command lines for HHB."""

from uair.codegen.thead.target import NpuTarget, THeadTarget

__all__ = ["NpuTarget", "THeadTarget"]
