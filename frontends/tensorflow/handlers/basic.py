"""Constants, variables, calls, and what only passes a value on."""

from __future__ import annotations

from uair.frontends.tensorflow.errors import GraphInterfaceError, VariableError
from uair.frontends.tensorflow.node import Family, Nothing, Result, TensorList, TfNode, Variable
from uair.frontends.tensorflow.tensors import tensor_data
from uair.ir.dtype import DType
from uair.ops import BitCast, Cast

FAMILY = Family()


@FAMILY.op("Const")
def _const(n: TfNode) -> Result:
    value = n.attribute("value")
    if value is None:
        n.refuse("the constant has no value")
    return n.keep(tensor_data(value.message.message(8), n.place))


@FAMILY.op("Placeholder", "_Arg")
def _placeholder(n: TfNode) -> Result:
    raise GraphInterfaceError(
        f"the outputs need the placeholder {n.name!r}, which is no input",
        place=n.place,
        hint=f"name it as an input: inputs=[..., {n.name!r}]",
    )


@FAMILY.op("PlaceholderWithDefault")
def _placeholder_with_default(n: TfNode) -> Result:
    """A placeholder that is no input has its default."""
    return n.value(0)


@FAMILY.op("VarHandleOp", "VariableV2", "Variable")
def _handle(n: TfNode) -> Result:
    variable = n.importer.program.variable(n.proto)
    declared = n.shape_attribute("shape")
    if declared is not None and len(declared) != len(variable.data.shape):
        raise VariableError(
            f"variable {variable.name!r} has the shape {list(variable.data.shape)}, the graph says {list(declared)}",
            place=n.place,
        )
    return variable


@FAMILY.op("ReadVariableOp")
def _read(n: TfNode) -> Result:
    variable = n.value(0)
    if not isinstance(variable, Variable):
        n.refuse("its operand is no variable")
    return n.importer.read(variable)


@FAMILY.op("ResourceGather")
def _resource_gather(n: TfNode) -> Result:
    from uair.ops import Gather

    variable = n.value(0)
    if not isinstance(variable, Variable) or n.integer("batch_dims"):
        n.refuse("its operand is no variable, or batch_dims is not 0")
    return n(Gather(axis=0), n.importer.read(variable), n[1])


@FAMILY.op("Identity", "StopGradient", "PreventGradient", "Snapshot", "CheckNumerics", "EnsureShape", "DebugIdentity",
           "DebugIdentityV2", "DebugIdentityV3", "CheckNumericsV2", "RefIdentity", "_Retval", "DeepCopy")  # fmt: skip
def _identity(n: TfNode) -> Result:
    return n.value(0)


@FAMILY.op("IdentityN", "TupleOutput")
def _identity_n(n: TfNode) -> Result:
    return list(n.inputs)


@FAMILY.op("NoOp", "Assert", "Print", "PrintV2", "StringFormat")
def _nothing(n: TfNode) -> Result:
    """Print passes its first operand on; the others give nothing."""
    return n.value(0) if n.op_type == "Print" else Nothing(f"what {n.op_type} gives")


@FAMILY.op("PartitionedCall", "StatefulPartitionedCall")
def _call(n: TfNode) -> Result:
    return n.importer.call(n, n.function("f"), n.inputs)


@FAMILY.op("Cast")
def _cast(n: TfNode) -> Result:
    value = n.value(0)
    if isinstance(value, (TensorList, Nothing)):
        n.refuse("only tensors can be cast")
    to = n.dtype("DstT")
    x = n[0]
    if to is DType.BOOL or not x.type.dtype.is_float or not to.is_integer:
        return n.cast(x, to)
    return x if x.type.dtype is to else n(Cast(to=to, saturate=False), x)


@FAMILY.op("Bitcast")
def _bitcast(n: TfNode) -> Result:
    to = n.dtype("type")
    if to.bits != n[0].type.dtype.bits:
        n.refuse("the element types have different widths", "view it as elements of the same width")
    return n(BitCast(to=to), n[0])
