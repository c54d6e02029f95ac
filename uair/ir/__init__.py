"""The intermediate representation: types, tensors, nodes, graphs, modules."""

from uair.ir.data import ArrayData, ComputedData, Data, MappedData, MappedFile, PackedData, SplatData, derive
from uair.ir.dtype import Array, DType
from uair.ir.graph import Graph, Node, Tensor, constant
from uair.ir.layout import Layout
from uair.ir.location import UNKNOWN, Location, Source
from uair.ir.module import AppliedPass, Module, Origin, clone_graph
from uair.ir.types import TensorType

__all__ = [
    "UNKNOWN",
    "AppliedPass",
    "Array",
    "ArrayData",
    "ComputedData",
    "DType",
    "Data",
    "Graph",
    "Layout",
    "Location",
    "MappedData",
    "MappedFile",
    "Module",
    "Node",
    "Origin",
    "Source",
    "PackedData",
    "SplatData",
    "Tensor",
    "TensorType",
    "clone_graph",
    "constant",
    "derive",
]
