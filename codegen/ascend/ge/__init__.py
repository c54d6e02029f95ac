"""GE IR, the graph format of CANN's compiler (.air), written without CANN."""

from uair.codegen.ascend.ge.convert import AirFile, to_ge, write_air
from uair.codegen.ascend.ge.table import NoGeForm

__all__ = ["AirFile", "NoGeForm", "to_ge", "write_air"]
